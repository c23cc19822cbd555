//! Waiting, for any executor and for plain threads: wake-ups, never polling.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use crate::entry::Entry;
use crate::group::Group;
use crate::ledger::Ledger;
use crate::registry::RegistryShared;
use crate::session::Session;
use crate::waiters::WaiterList;
use crate::{Clock, Outcome, Request, RequestId, SubmitError, SubmitErrorKind};

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
    ledger: Arc<Ledger>,
    key: Option<u64>,
}

impl Drained {
    pub(crate) fn new(ledger: Arc<Ledger>) -> Self {
        Self { ledger, key: None }
    }
}

impl Future for Drained {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Registered before the last look, so that a request that ends in between is seen or wakes.
        this.ledger.idle.register(&mut this.key, cx.waker());
        if this.ledger.places.pending() == 0 {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.ledger.idle.forget(key);
        }
    }
}

/// The future of [`Session::submit_when_room`].
#[must_use = "a future does nothing unless it is polled"]
#[derive(Debug)]
pub struct SubmitWhenRoom {
    session: Session,
    group: Option<Arc<Group>>,
    request: Option<Request>,
    /// Where it stands: in the line for what it last found full. In both lines it would take wake-ups that it has no use for
    /// from those that have.
    place: Option<(Line, u64)>,
    closing: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Session,
    Queue,
}

impl Line {
    fn of(full: SubmitErrorKind) -> Self {
        match full {
            SubmitErrorKind::QueueFull { .. } => Self::Queue,
            _ => Self::Session,
        }
    }

    fn waiters(self, ledger: &Ledger) -> &WaiterList {
        match self {
            Self::Session => &ledger.room,
            Self::Queue => &ledger.registry.room,
        }
    }
}

impl SubmitWhenRoom {
    pub(crate) fn new(session: Session, group: Option<Arc<Group>>, request: Request) -> Self {
        Self {
            session,
            group,
            request: Some(request),
            place: None,
            closing: None,
        }
    }

    fn stand_in(&mut self, line: Line, waker: &Waker) {
        if self.place.is_some_and(|(current, _)| current != line) {
            self.leave_line(false);
        }
        let ledger = self.session.ledger();
        let mut key = self.place.map(|(_, key)| key);
        line.waiters(ledger).register(&mut key, waker);
        self.place = key.map(|key| (line, key));
        ledger.registry.closing.register(&mut self.closing, waker);
    }

    /// A wake-up that came here and was not used goes to the next one in line.
    fn leave_line(&mut self, used: bool) {
        let Some((line, key)) = self.place.take() else { return };
        let waiters = line.waiters(self.session.ledger());
        if !waiters.forget(key) && !used {
            waiters.wake_one();
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
        let mut stands_in = None;
        loop {
            match this.session.submit_in(this.group.as_ref(), request) {
                Err(error) if error.kind().is_temporary() => {
                    let line = Line::of(error.kind());
                    request = error.into_request();
                    if stands_in == Some(line) {
                        this.request = Some(request);
                        return Poll::Pending;
                    }
                    // And tried again: room that came in between is taken, room that comes later wakes.
                    this.stand_in(line, cx.waker());
                    stands_in = Some(line);
                }
                settled => {
                    this.leave_line(settled.is_ok());
                    return Poll::Ready(settled);
                }
            }
        }
    }
}

impl Drop for SubmitWhenRoom {
    fn drop(&mut self) {
        self.leave_line(false);
        if let Some(key) = self.closing {
            self.session.ledger().registry.closing.forget(key);
        }
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

/// Parks this thread until the future is ready or the time has run out, by this clock.
pub fn block_on_for<F: Future>(future: F, timeout: Option<Duration>, clock: &dyn Clock) -> Option<F::Output> {
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
