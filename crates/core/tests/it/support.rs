//! What the tests share.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use inflight_core::testing::ManualTransport;
use inflight_core::{
    Effect, Failure, FailureKind, Method, Outcome, Registry, RegistryBuilder, Request, Response, Success,
};

/// Far beyond what any of these tests takes: it only turns a hang into a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn post() -> Request {
    Request::new(Method::Post, "/v1/products").operation("product.create")
}

pub(crate) fn named(target: &str) -> Request {
    Request::new(Method::Post, target)
}

pub(crate) fn manual() -> (Registry, ManualTransport) {
    manual_with(Registry::builder())
}

pub(crate) fn manual_with(builder: RegistryBuilder) -> (Registry, ManualTransport) {
    let (registry, queue) = builder.build();
    (registry, ManualTransport::new(queue))
}

pub(crate) fn success(id: &str) -> Outcome {
    Ok(Success {
        object_id: Some(id.into()),
        response: Response::new(200, "{}"),
    })
}

pub(crate) fn failure(effect: Effect) -> Failure {
    Failure::new(FailureKind::Http, effect, "as the test says")
}

/// Counts how often it is woken.
#[derive(Default)]
pub(crate) struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A future that the test polls by hand.
pub(crate) struct Polled<F> {
    future: Pin<Box<F>>,
    woken: Arc<CountingWaker>,
}

impl<F: Future> Polled<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            woken: Arc::default(),
        }
    }

    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        let waker = Waker::from(Arc::clone(&self.woken));
        self.future.as_mut().poll(&mut Context::from_waker(&waker))
    }

    pub(crate) fn is_pending(&mut self) -> bool {
        self.poll().is_pending()
    }

    pub(crate) fn wakes(&self) -> usize {
        self.woken.0.load(Ordering::SeqCst)
    }
}
