//! What can be chosen.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use inflight_core::Request;

/// Which requests must run one after another: those of one lane. `None` for all others.
pub type Lane = Arc<dyn Fn(&Request) -> Option<Arc<str>> + Send + Sync>;

/// The names of the credentials that this process has. Requests of others wait for a process that has theirs.
pub type Accounts = Arc<dyn Fn() -> Vec<Arc<str>> + Send + Sync>;

/// How a store works. [`StoreOptions::default`] is meant for production.
#[derive(Clone)]
pub struct StoreOptions {
    /// How long a process that has claimed a request may be silent before another takes it over. By default 30 s. Of no meaning for SQLite,
    /// which one process has to itself.
    pub lease: Duration,
    /// How long ended requests are kept. By default 7 days. Those whose effect is unknown are kept until someone settles them, those of
    /// a run until the run is pruned.
    pub retention: Duration,
    /// How long after its first attempt a request may be sent again: then the other side may have forgotten its key. By default 23 h, as
    /// Stripe may forget a key after 24 h.
    pub key_lifetime: Duration,
    /// How many requests a process claims ahead of its worker, where several share the work. By default 64. More saves round trips; fewer
    /// shares more evenly.
    pub prefetch: usize,
    /// How often a process looks for itself, should a notification be lost. By default 1 s.
    pub poll: Duration,
    /// How many attempts a second one account may make, over all processes on the store. By default no limit.
    pub pace: Option<f64>,
    /// How large a SQLite file may grow, in bytes. By default as large as the disk has room.
    pub max_bytes: Option<u64>,
    /// Whether a SQLite file that is not there is created. By default it is.
    pub create: bool,
    /// Whether a damaged SQLite file is opened all the same, to save what can still be read. By default it is not.
    pub accept_damage: bool,
    /// Which requests run one after another, over all processes on the store. A process that has the store to itself keeps what it sends in
    /// order by its transport's policy.
    pub lane: Option<Lane>,
    /// Which of the other side's worlds this process talks to, such as `test` or `live`. It sends only what was submitted to the same one,
    /// and a key is used for one request within one. By default the empty name.
    pub mode: String,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            retention: Duration::from_secs(7 * 24 * 3600),
            key_lifetime: Duration::from_secs(23 * 3600),
            prefetch: 64,
            poll: Duration::from_secs(1),
            pace: None,
            max_bytes: None,
            create: true,
            accept_damage: false,
            lane: None,
            mode: String::new(),
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("lease", &self.lease)
            .field("retention", &self.retention)
            .field("key_lifetime", &self.key_lifetime)
            .field("prefetch", &self.prefetch)
            .field("poll", &self.poll)
            .field("pace", &self.pace)
            .field("mode", &self.mode)
            .field("max_bytes", &self.max_bytes)
            .field("create", &self.create)
            .field("accept_damage", &self.accept_damage)
            .finish_non_exhaustive()
    }
}
