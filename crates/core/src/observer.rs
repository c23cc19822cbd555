//! Who wants to know of every ending, such as a histogram of latencies.

use std::time::Duration;

use crate::{Outcome, RequestId, RequestStatus};

/// A request that has just ended.
#[derive(Debug)]
pub struct Ended<'a> {
    /// The request.
    pub id: RequestId,
    /// The session that submitted it.
    pub session: u64,
    /// The operation's name.
    pub operation: &'a str,
    /// How it ended.
    pub status: RequestStatus,
    /// The time from submission to the ending.
    pub latency: Duration,
    /// How it ended, in full.
    pub outcome: &'a Outcome,
}

/// Told of every ending, before anyone who waits can see it.
pub trait Observer: Send + Sync + 'static {
    /// A request ended. Called under that request's own lock, mostly on the transport's thread: be quick, do not panic, and do
    /// not ask the registry about this request.
    fn ended(&self, ended: &Ended<'_>);
}
