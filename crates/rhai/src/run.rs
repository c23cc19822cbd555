//! A run of a script that can be replayed: its name, its journal, and the numbers of its requests.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inflight_core::{Call, Calls, Journal, Kept, Registry, RequestId, Session, SessionLimits};

/// The task under which requests are numbered that no script function has announced: those that a host submits by itself in the
/// session of a run.
const UNANNOUNCED: u32 = u32::MAX;

/// One run of a script, that can be replayed after a crash: a value of its [`Locals`](crate::Locals).
///
/// What the script learns from outside is written to the journal; what the journal holds already is answered from there. Made anew
/// each time the script is started, with the same id.
#[derive(Clone)]
pub struct Run(Arc<Inner>);

struct Inner {
    id: Arc<str>,
    journal: Arc<dyn Journal>,
    numbers: Mutex<Numbers>,
}

/// What the next request is numbered.
#[derive(Default)]
struct Numbers {
    /// Where the call that is being made stands, and the number of its next request.
    announced: Option<(u32, u64)>,
    unannounced: u64,
}

impl Run {
    /// The run of this id, with what its journal holds.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, journal: Arc<dyn Journal>) -> Self {
        Self(Arc::new(Inner {
            id: id.into(),
            journal,
            numbers: Mutex::default(),
        }))
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The session that the script is to run in, with the requests that the store has kept of the run: its requests have the same
    /// ids each time.
    #[must_use]
    pub fn session(&self, registry: &Registry, limits: SessionLimits, kept: Vec<Kept>) -> Session {
        let session = registry.session_of_run(limits, Arc::new(Numbered(Arc::clone(&self.0))));
        for kept in kept {
            session.restore(kept);
        }
        session
    }

    pub(crate) fn journal(&self) -> &dyn Journal {
        &*self.0.journal
    }

    /// From now on requests are numbered as those of this task, from this number on.
    pub(crate) fn announce(&self, task: u32, sequence: u64) {
        self.0.lock().announced = Some((task, sequence));
    }

    /// The call that has announced requests is over.
    pub(crate) fn withdraw(&self) {
        self.0.lock().announced = None;
    }

    /// The id of the request of this number.
    pub(crate) fn request_id(&self, task: u32, sequence: u64) -> RequestId {
        self.0.call(task, sequence).request_id()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, task: u32, sequence: u64) -> Call {
        Call {
            run: Arc::clone(&self.id),
            task,
            sequence,
        }
    }
}

struct Numbered(Arc<Inner>);

impl Calls for Numbered {
    fn next(&self) -> Call {
        let mut numbers = self.0.lock();
        let (task, number) = match &mut numbers.announced {
            Some((task, next)) => (*task, next),
            None => (UNANNOUNCED, &mut numbers.unannounced),
        };
        let sequence = *number;
        *number += 1;
        self.0.call(task, sequence)
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run").field("id", &self.0.id).finish_non_exhaustive()
    }
}
