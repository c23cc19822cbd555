//! For tests: a transport that the test drives step by step, and a clock that it moves by hand.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{
    Clock, Failure, InFlight, Job, Outcome, Queue, Request, RequestId, Response, Success, Transport, block_on,
};

/// A transport that does nothing by itself: the test takes each request and answers it.
///
/// ```
/// use inflight_core::testing::ManualTransport;
/// use inflight_core::{Method, Registry, Request};
///
/// let (registry, queue) = Registry::new();
/// let mut transport = ManualTransport::new(queue);
///
/// let id = registry.submit(Request::new(Method::Get, "/v1/products"))?;
/// transport.next().succeed("prod_1");
/// assert_eq!(registry.is_complete(id), Some(true));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ManualTransport {
    queue: Queue,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

impl Transport for Bell {
    fn notify(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

impl ManualTransport {
    /// Takes over the queue.
    #[must_use]
    pub fn new(queue: Queue) -> Self {
        let bell = Arc::new(Bell::default());
        queue.attach(Arc::clone(&bell) as Arc<dyn Transport>);
        Self { queue, bell }
    }

    /// The next request, sent; waits for one to be submitted.
    #[allow(clippy::should_implement_trait, reason = "it never ends, and reads best in a test")]
    pub fn next(&mut self) -> Sent {
        loop {
            if let Some(sent) = self.try_next() {
                return sent;
            }
            let mut rung = self.bell.rung.lock().unwrap_or_else(PoisonError::into_inner);
            while !*rung {
                rung = self.bell.changed.wait(rung).unwrap_or_else(PoisonError::into_inner);
            }
            *rung = false;
        }
    }

    /// The next request, sent, if one is queued.
    pub fn try_next(&mut self) -> Option<Sent> {
        while let Some(job) = self.queue.pop() {
            if let Some(in_flight) = block_on(job.start()) {
                return Some(Sent(in_flight));
            }
        }
        None
    }

    /// The next job, not sent yet.
    pub fn next_job(&mut self) -> Option<Job> {
        self.queue.pop()
    }

    /// The queue itself.
    pub fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }
}

/// A request that the test has taken and owes an answer.
#[derive(Debug)]
#[must_use = "dropped, the request fails with effect unknown"]
pub struct Sent(InFlight);

impl Sent {
    /// The request's id.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.0.id()
    }

    /// What is to be done.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.0.request()
    }

    /// Answers that it was carried out, with the id of the object that came of it.
    pub fn succeed(self, object_id: &str) {
        self.complete(Ok(Success {
            object_id: Some(object_id.into()),
            response: Response::new(200, format!("{{\"id\":\"{object_id}\"}}")),
        }));
    }

    /// Answers that it failed.
    pub fn fail(self, failure: Failure) {
        self.complete(Err(failure));
    }

    /// Answers with this outcome.
    pub fn complete(self, outcome: Outcome) {
        self.0.complete(outcome);
    }

    /// The request in flight itself.
    #[must_use]
    pub fn into_inner(self) -> InFlight {
        self.0
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(Mutex<Instant>);

impl ManualClock {
    /// A clock that shows the present moment.
    #[must_use]
    pub fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
