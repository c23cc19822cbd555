//! One error type per operation, each with only the outcomes that the operation can have.

use crate::{Request, RequestId};

/// Why a request was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitErrorKind {
    /// The queue holds as many unsent requests as it may.
    #[error("the queue is full: {unsent} of {capacity} requests are waiting to be sent")]
    QueueFull {
        /// How many requests are waiting. It may be more than the bound: what waits to be sent again is never refused.
        unsent: usize,
        /// The queue's bound.
        capacity: usize,
    },
    /// The session holds as much of the queue as it may.
    #[error("{limit} requests wait to be sent already, which is all that one script or session may have")]
    SessionFull {
        /// The session's share.
        limit: usize,
    },
    /// The session has as many pending requests as it may.
    #[error("{limit} requests are pending already, which is all that one script or session may have")]
    TooManyPending {
        /// The session's limit.
        limit: usize,
    },
    /// There is no room for all requests of a batch at once, so none was accepted.
    #[error(
        "the batch has {needed} requests and there is room for {room} now, {most} at most: none was submitted; \
         `each` takes any number and sends as room appears"
    )]
    NotEnoughRoom {
        /// How many requests the batch has.
        needed: usize,
        /// How many would have been accepted.
        room: usize,
        /// How many are accepted at once when nothing else is pending.
        most: usize,
    },
    /// The idempotency key was given before, to a request that says something else. The other side would refuse it, and perhaps only
    /// after the first one has gone wrong.
    #[error("the idempotency key was used before for another request: give each request a key of its own")]
    KeyReused,
    /// A script that is run again asks for something else than it did the first time in the same place.
    #[error("the script has changed since its first run: it asked for something else here ({id})")]
    Diverged {
        /// The request that it made here the first time: see [`Session::restored`](crate::Session::restored).
        id: RequestId,
    },
    /// The registry accepts no more requests.
    #[error("no more requests are accepted: the program is shutting down")]
    Closed,
}

impl SubmitErrorKind {
    /// Whether the same request may be accepted later.
    #[must_use]
    pub fn is_temporary(self) -> bool {
        match self {
            Self::Closed | Self::KeyReused | Self::Diverged { .. } => false,
            Self::NotEnoughRoom { needed, most, .. } => needed <= most,
            _ => true,
        }
    }
}

/// A request that was not accepted. Nothing of it was sent, and nothing will be.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct SubmitError {
    kind: SubmitErrorKind,
    // Boxed: an error should not make the good path's result large.
    request: Box<Request>,
}

impl SubmitError {
    pub(crate) fn new(kind: SubmitErrorKind, request: Request) -> Self {
        Self {
            kind,
            request: Box::new(request),
        }
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> SubmitErrorKind {
        self.kind
    }

    /// The request, to be submitted again.
    #[must_use]
    pub fn into_request(self) -> Request {
        *self.request
    }
}

/// A batch that was not accepted. Nothing of it was sent, and nothing will be.
#[derive(Debug, thiserror::Error)]
#[error("{kind}")]
pub struct SubmitAllError {
    kind: SubmitErrorKind,
    requests: Vec<Request>,
}

impl SubmitAllError {
    pub(crate) fn new(kind: SubmitErrorKind, requests: Vec<Request>) -> Self {
        Self { kind, requests }
    }

    /// Why.
    #[must_use]
    pub fn kind(&self) -> SubmitErrorKind {
        self.kind
    }

    /// All requests of the batch in their order, to be submitted again.
    #[must_use]
    pub fn into_requests(self) -> Vec<Request> {
        self.requests
    }
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResultError {
    /// No request of this session has that id, or its result has been taken or has expired.
    #[error("unknown request")]
    Unknown,
    /// The request has not ended; it is kept.
    #[error("not completed yet")]
    Pending,
}

/// Why waiting ended without a result. Nothing has changed about the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// No request of this session has that id, or its result has been taken or has expired.
    #[error("unknown request")]
    Unknown,
    /// The request has not ended in that time.
    #[error("the request has not ended in that time")]
    Timeout,
}
