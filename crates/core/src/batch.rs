//! Batches: requests that are accepted, limited, waited for and cancelled together.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::group::Group;
use crate::{Counts, RequestId};

/// What a request's failure means for the others of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// What was not sent is cancelled; what was sent goes on. The default.
    #[default]
    Stop,
    /// Nothing.
    CarryOn,
}

/// How a batch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BatchOptions {
    /// How many of its requests may be in the queue or sent at once; the others are held back. By default there is no limit for a
    /// [`Batch`], and half of what its session may have unsent for [`Each`](crate::Each). Zero counts as one.
    pub concurrency: Option<usize>,
    /// What one failure means for the others. By default [`OnFailure::Stop`].
    pub on_failure: OnFailure,
}

/// How far a batch has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Requests that were submitted.
    pub total: u64,
    /// Of those, the ones that have ended, well or not.
    pub done: u64,
    /// Of those, the ones that were carried out.
    pub completed: u64,
    /// Those that failed or whose deadline passed.
    pub failed: u64,
    /// Those that were cancelled before they were sent.
    pub cancelled: u64,
}

impl Progress {
    pub(crate) fn of(counts: Counts) -> Self {
        let failed = counts.failed + counts.timeout;
        Self {
            total: counts.submitted,
            done: counts.completed + failed + counts.cancelled,
            completed: counts.completed,
            failed,
            cancelled: counts.cancelled,
        }
    }
}

/// Requests that were submitted together by [`Session::submit_batch`](crate::Session::submit_batch). Dropping it stops nothing.
///
/// ```
/// use inflight_core::testing::ManualTransport;
/// use inflight_core::{BatchOptions, Method, Registry, Request, block_on};
///
/// let (registry, queue) = Registry::new();
/// let requests = vec![Request::new(Method::Post, "/v1/products"), Request::new(Method::Post, "/v1/prices")];
/// let batch = registry.session().submit_batch(requests, BatchOptions::default())?;
///
/// let mut transport = ManualTransport::new(queue);
/// transport.next().succeed("prod_1");
/// transport.next().succeed("price_1");
/// block_on(batch.wait());
/// assert_eq!(batch.progress().completed, 2);
/// # Ok::<(), inflight_core::SubmitAllError>(())
/// ```
#[derive(Debug)]
pub struct Batch {
    group: Arc<Group>,
    ids: Vec<RequestId>,
}

impl Batch {
    pub(crate) fn new(group: Arc<Group>, ids: Vec<RequestId>) -> Self {
        Self { group, ids }
    }

    /// The requests' ids, in the order in which they were given: known in the session that the batch was submitted in.
    #[must_use]
    pub fn ids(&self) -> &[RequestId] {
        &self.ids
    }

    /// How far the batch has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.group.progress()
    }

    /// Cancels what was not sent; what was sent goes on. Gives how many are cancelled now: see [`Session::cancel`](crate::Session::cancel).
    pub fn cancel(&self) -> usize {
        self.group.stop()
    }

    /// A future that is ready when all requests have ended, for any executor.
    pub fn wait(&self) -> BatchWait {
        BatchWait {
            group: Arc::clone(&self.group),
            key: None,
        }
    }
}

/// The future of [`Batch::wait`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct BatchWait {
    group: Arc<Group>,
    key: Option<u64>,
}

impl Future for BatchWait {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Registered before the last look, so that a request that ends in between is seen or wakes.
        this.group.waiters.register(&mut this.key, cx.waker());
        match this.group.pending() {
            0 => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

impl Drop for BatchWait {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.group.waiters.forget(key);
        }
    }
}
