//! Who wants to know what becomes of requests: metrics, traces, a monitoring page.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::{Failure, FailureKind, Method, Outcome, Priority, RequestId, RequestStatus, State, Throttle};

/// Told of what happens to requests. Every method does nothing by default.
///
/// For one request the calls come in this order: `submitted`, then for each attempt `attempt_began` and `attempt_ended`, then
/// `ended`, and `settled` where its effect was unknown and becomes known. Each attempt that began also ends, a panic of the
/// transport included. A request that is cancelled, overdue or refused before it was sent has no attempt.
///
/// Be quick, do not block, and ask the registry nothing: the calls come on the thread that submits, on the transport's or on the
/// store's, and some of them under locks of the registry. A panic costs nothing but the call.
pub trait Observer: Send + Sync + 'static {
    /// A request was accepted. Nothing has happened to it yet.
    fn submitted(&self, submitted: &Submitted<'_>) {
        let _ = submitted;
    }

    /// An attempt begins: its bytes are about to leave.
    fn attempt_began(&self, began: &AttemptBegan<'_>) {
        let _ = began;
    }

    /// An attempt is over, and what follows from it is decided.
    fn attempt_ended(&self, ended: &AttemptEnded<'_>) {
        let _ = ended;
    }

    /// A request ended, before anyone who waits can see it.
    fn ended(&self, ended: &Ended<'_>) {
        let _ = ended;
    }

    /// A request that had ended with its effect unknown is known better now, by a late answer or because someone has looked at the
    /// other side.
    fn settled(&self, settled: &Settled<'_>) {
        let _ = settled;
    }
}

/// A request that was accepted.
#[derive(Debug, Clone, Copy)]
pub struct Submitted<'a> {
    /// The request.
    pub id: RequestId,
    /// The session that submitted it.
    pub session: u64,
    /// The operation's name, as [`Request::operation`](crate::Request::operation) gives it.
    pub operation: &'a str,
    /// The HTTP method.
    pub method: Method,
    /// Which requests it goes before.
    pub priority: Priority,
    /// Whether it has ended in an earlier process, and is made known again: [`ended`](Observer::ended) follows at once.
    pub restored: bool,
}

/// An attempt that begins.
#[derive(Debug, Clone, Copy)]
pub struct AttemptBegan<'a> {
    /// The request.
    pub id: RequestId,
    /// The session that submitted it.
    pub session: u64,
    /// The operation's name.
    pub operation: &'a str,
    /// The HTTP method.
    pub method: Method,
    /// Which requests it goes before.
    pub priority: Priority,
    /// The attempt's number: 1 is the first.
    pub attempt: u32,
    /// The time since the submission; for a further attempt, since the moment when it was due.
    pub queued: Duration,
    /// The part of it that the transport held the request back although there was a place: for its lane, for its server to recover, for
    /// its pace. Where the transport keeps a pace, the wait for a free place after that is part of it.
    pub limiter_wait: Duration,
}

/// An attempt that is over.
#[derive(Debug, Clone, Copy)]
pub struct AttemptEnded<'a> {
    /// The request.
    pub id: RequestId,
    /// The session that submitted it.
    pub session: u64,
    /// The operation's name.
    pub operation: &'a str,
    /// The HTTP method.
    pub method: Method,
    /// Which requests it goes before.
    pub priority: Priority,
    /// The attempt's number: 1 is the first.
    pub attempt: u32,
    /// How long it took.
    pub duration: Duration,
    /// How it went.
    pub result: AttemptResult<'a>,
}

/// How an attempt went, as the transport tells it: see [`InFlight::end_attempt`](crate::InFlight::end_attempt).
#[derive(Debug, Clone, Copy, Default)]
pub struct AttemptResult<'a> {
    /// The HTTP status of the answer. `None` where no whole answer came.
    pub status: Option<u16>,
    /// What kind of failure it was. `None` where it was carried out.
    pub error: Option<&'a FailureKind>,
    /// The other side's own id for the attempt, such as Stripe's `Request-Id`: see
    /// [`Policy::server_request_id`](crate::Policy::server_request_id).
    pub server_request_id: Option<&'a str>,
    /// Whether the answer is that of an earlier attempt, given again: see [`Policy::is_replay`](crate::Policy::is_replay).
    pub replayed: bool,
    /// Why there is to be a further attempt, and after which pause. `None` where there is none.
    pub next: Option<(RetryReason, Duration)>,
    /// Which limit of the other side was passed, if the answer says so.
    pub throttle: Option<Throttle>,
}

/// A request that has just ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended<'a> {
    /// The request.
    pub id: RequestId,
    /// The session that submitted it.
    pub session: u64,
    /// The operation's name.
    pub operation: &'a str,
    /// The HTTP method.
    pub method: Method,
    /// Which requests it goes before.
    pub priority: Priority,
    /// How it ended.
    pub status: RequestStatus,
    /// The time from submission to the ending. Of one that was `restored`, the time since it was first sent.
    pub latency: Duration,
    /// Whether it ended in an earlier process.
    pub restored: bool,
    /// Whether it has ended here only: it stays in the durable store, and another process or the next goes on with it.
    pub left: bool,
    /// How it ended, in full.
    pub outcome: &'a Outcome,
}

/// A request whose ending has changed: its effect was unknown.
#[derive(Debug, Clone, Copy)]
pub struct Settled<'a> {
    /// The request.
    pub id: RequestId,
    /// The session that submitted it.
    pub session: u64,
    /// The operation's name.
    pub operation: &'a str,
    /// The HTTP method.
    pub method: Method,
    /// Which requests it goes before.
    pub priority: Priority,
    /// How it had ended.
    pub before: State,
    /// How it counts as ended from now on.
    pub after: State,
    /// How it ended, in full.
    pub outcome: &'a Outcome,
}

/// Why an attempt is followed by another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RetryReason {
    /// The answer was 429: too many requests, or an object that is locked.
    RateLimited,
    /// The answer was 409: another request with the same key, or on the same object, is under way.
    Conflict,
    /// The answer was 500 or more.
    ServerError,
    /// Any other answer.
    Refused,
    /// No connection could be made.
    Connect,
    /// The connection broke.
    Connection,
    /// The attempt took too long.
    Timeout,
    /// Anything else.
    Other,
}

impl RetryReason {
    /// All reasons.
    pub const ALL: [Self; 8] = [
        Self::RateLimited,
        Self::Conflict,
        Self::ServerError,
        Self::Refused,
        Self::Connect,
        Self::Connection,
        Self::Timeout,
        Self::Other,
    ];

    /// The reason that this failure is.
    #[must_use]
    pub fn of(failure: &Failure) -> Self {
        match (failure.status(), &failure.kind) {
            (Some(429), _) => Self::RateLimited,
            (Some(409), _) => Self::Conflict,
            (Some(500..), _) => Self::ServerError,
            (Some(_), _) => Self::Refused,
            (None, FailureKind::Connect | FailureKind::Tls) => Self::Connect,
            (None, FailureKind::Connection) => Self::Connection,
            (None, FailureKind::AttemptTimeout) => Self::Timeout,
            (None, _) => Self::Other,
        }
    }

    /// `rate_limited`, `conflict`, `server_error`, `refused`, `connect`, `connection`, `timeout` or `other`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited => "rate_limited",
            Self::Conflict => "conflict",
            Self::ServerError => "server_error",
            Self::Refused => "refused",
            Self::Connect => "connect",
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for RetryReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Everyone who is told, in the order in which they were named.
#[derive(Clone, Default)]
pub(crate) struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    pub(crate) fn add(&mut self, observer: Arc<dyn Observer>) {
        self.0.push(observer);
    }

    /// Whether nobody is told, so that nothing needs to be measured.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// An observer that panics, against its contract, must cost neither the request its ending nor the others the news.
    pub(crate) fn tell(&self, news: impl Fn(&dyn Observer)) {
        for observer in &self.0 {
            let _ = catch_unwind(AssertUnwindSafe(|| news(&**observer)));
        }
    }
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observers").field(&self.0.len()).finish()
    }
}
