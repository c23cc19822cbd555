//! Waiting, for any executor and for plain threads: wake-ups, never polling.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use crate::entry::Entry;
use crate::registry::RegistryShared;
use crate::session::{Account, Session};
use crate::{Clock, Outcome, Request, RequestId, SubmitError};

/// The future of a request's ending. It holds no lock and no thread, and may be dropped at any time.
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Wait {
    entry: Arc<Entry>,
    key: Option<u32>,
}

impl Wait {
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        Self { entry, key: None }
    }
}

impl Future for Wait {
    type Output = Arc<Outcome>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let outcome = std::task::ready!(this.entry.handover.poll_outcome(cx, &mut this.key));
        this.key = None;
        this.entry.observe();
        Poll::Ready(outcome)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.entry.handover.forget(key);
        }
    }
}

/// The future of [`Session::recorded`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Recorded {
    entry: Arc<Entry>,
    key: Option<u32>,
}

impl Recorded {
    pub(crate) fn new(entry: Arc<Entry>) -> Self {
        Self { entry, key: None }
    }
}

impl Future for Recorded {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        std::task::ready!(this.entry.handover.poll_recorded(cx, &mut this.key));
        this.key = None;
        Poll::Ready(())
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.entry.handover.forget(key);
        }
    }
}

/// The future of [`Session::drained`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Drained {
    account: Arc<Account>,
    key: Option<u64>,
}

impl Drained {
    pub(crate) fn new(account: Arc<Account>) -> Self {
        Self { account, key: None }
    }
}

impl Future for Drained {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Registered before the last look, so that a request that ends in between is seen or wakes.
        this.account.idle.register(&mut this.key, cx.waker());
        if this.account.pending.load(Ordering::SeqCst) == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.account.idle.forget(key);
        }
    }
}

/// The future of [`Session::submit_when_room`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct SubmitWhenRoom {
    session: Session,
    request: Option<Request>,
    session_key: Option<u64>,
    queue_key: Option<u64>,
}

impl SubmitWhenRoom {
    pub(crate) fn new(session: Session, request: Request) -> Self {
        Self {
            session,
            request: Some(request),
            session_key: None,
            queue_key: None,
        }
    }

    /// Gives up both places in line. Each free place wakes one waiter of the session and one of the queue; a wake-up that came
    /// here and is not used goes to the next one.
    fn leave_line(&mut self, used: bool) {
        let account = self.session.account();
        let mut wake_ups = 0;
        if let Some(key) = self.session_key.take() {
            wake_ups += usize::from(!account.room.forget(key));
        }
        if let Some(key) = self.queue_key.take() {
            wake_ups += usize::from(!account.registry.room.forget(key));
        }
        if wake_ups > usize::from(used) {
            account.room.wake_one();
            account.registry.room.wake_one();
        }
    }
}

impl Future for SubmitWhenRoom {
    type Output = Result<RequestId, SubmitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let Some(mut request) = this.request.take() else {
            return Poll::Pending;
        };
        // The second try is after the registration: room that came in between is taken, room that comes later wakes.
        for registered in [false, true] {
            if registered {
                let account = this.session.account();
                account.room.register(&mut this.session_key, cx.waker());
                account.registry.room.register(&mut this.queue_key, cx.waker());
            }
            match this.session.submit(request) {
                Err(error) if error.kind().is_temporary() => request = error.into_request(),
                settled => {
                    this.leave_line(settled.is_ok());
                    return Poll::Ready(settled);
                }
            }
        }
        this.request = Some(request);
        Poll::Pending
    }
}

impl Drop for SubmitWhenRoom {
    fn drop(&mut self) {
        self.leave_line(false);
    }
}

/// Unparks a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Parks this thread until the future is ready: the smallest executor there is. Not for a thread that drives a runtime.
pub fn block_on<F: Future>(future: F) -> F::Output {
    poll_parked(future, || Park::Unlimited).unwrap_or_else(|| unreachable!("without a limit it waits for the output"))
}

/// Parks this thread until the future is ready or the time has run out.
pub(crate) fn block_on_for<F: Future>(future: F, timeout: Option<Duration>, clock: &dyn Clock) -> Option<F::Output> {
    // A time beyond what the clock can count is no limit.
    let until = timeout.and_then(|timeout| clock.now().checked_add(timeout));
    poll_parked(future, || match until {
        None => Park::Unlimited,
        Some(until) => match until.saturating_duration_since(clock.now()) {
            Duration::ZERO => Park::No,
            left => Park::For(left),
        },
    })
}

enum Park {
    No,
    For(Duration),
    Unlimited,
}

fn poll_parked<F: Future>(future: F, how_long: impl Fn() -> Park) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return Some(output);
        }
        match how_long() {
            Park::No => return None,
            Park::For(left) => std::thread::park_timeout(left),
            Park::Unlimited => std::thread::park(),
        }
    }
}

/// The future of [`Registry::room`](crate::Registry::room).
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct Room {
    registry: Arc<RegistryShared>,
    places: usize,
    key: Option<u64>,
}

impl Room {
    pub(crate) fn new(registry: Arc<RegistryShared>, places: usize) -> Self {
        Self {
            places: places.min(registry.capacity),
            registry,
            key: None,
        }
    }
}

impl Future for Room {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let registry = &this.registry;
        // Registered before the last look, so that room that comes in between is seen or wakes.
        registry.admission.register(&mut this.key, cx.waker());
        registry.admission_places.fetch_min(this.places, Ordering::SeqCst);
        if registry.free_places() >= this.places || registry.closed.load(Ordering::SeqCst) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.registry.admission.forget(key);
        }
    }
}
