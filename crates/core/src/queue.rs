//! The consumer's side of the registry: jobs to send, handed over one by one.
//!
//! A [`Job`] and an [`InFlight`] are linear: each ends its request when it is dropped, so that no path through a transport, a
//! panic included, can lose one.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::entry::Entry;
use crate::in_flight::{InFlight, overdue};
use crate::registry::RegistryShared;
use crate::state::Event;
use crate::store::written;
use crate::sync::Mutex;
use crate::{Effect, Failure, FailureKind, Priority, Request, StoreError, Transport};

/// Overdue jobs are looked for at most this often: a look walks the whole queue.
const EXPIRY_GRANULARITY: Duration = Duration::from_millis(5);

/// The jobs of a registry, for its one transport.
pub struct Queue {
    receivers: [Receiver<Job>; 3],
    /// Jobs that left the channel and could not be sent at once, by priority.
    waiting: [VecDeque<Job>; 3],
    /// No waiting job is due before this.
    next_deadline: Option<Instant>,
    /// Whether that is still to be done here.
    sweep_wanted: bool,
    takes: u32,
    shared: Arc<RegistryShared>,
}

impl Queue {
    pub(crate) fn new(receivers: [Receiver<Job>; 3], shared: Arc<RegistryShared>) -> Self {
        Self {
            receivers,
            waiting: Default::default(),
            next_deadline: None,
            sweep_wanted: false,
            takes: 0,
            shared,
        }
    }

    /// Says whom to notify of new jobs. The first call counts; what was queued before is told at once.
    pub fn attach(&self, transport: Arc<dyn Transport>) {
        if self.shared.transport.set(Arc::clone(&transport)).is_ok() {
            transport.notify();
        }
    }

    /// Takes the next job: the oldest of the highest priority, now and then one of a lower priority ([`Priority::order`]).
    pub fn pop(&mut self) -> Option<Job> {
        self.takes = self.takes.wrapping_add(1);
        let mut order = Priority::order(self.takes).into_iter();
        order.find_map(|priority| self.pop_from(priority.level()))
    }

    /// Takes the oldest job of a priority above this one.
    pub fn pop_above(&mut self, priority: Priority) -> Option<Job> {
        (0..priority.level()).find_map(|level| self.pop_from(level))
    }

    fn pop_from(&mut self, level: usize) -> Option<Job> {
        while let Some(job) = self.waiting[level]
            .pop_front()
            .or_else(|| self.receivers[level].try_recv().ok())
        {
            // A job that was cancelled meanwhile is dropped here.
            if !job.is_ended() {
                return Some(job);
            }
        }
        None
    }

    /// How many cancelled jobs have not been dropped yet, those included that the transport holds.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.shared.cancelled.load(Ordering::Relaxed)
    }

    /// How many of them waited for a further attempt. The transport holds those, with whatever it keeps for them, and should drop them
    /// soon.
    #[must_use]
    pub fn cancelled_waiting(&self) -> usize {
        self.shared.cancelled_waiting.load(Ordering::SeqCst)
    }

    /// Whether, since the last call, it was wished that what was cancelled be dropped soon: it keeps a session from submitting anything
    /// else, or a shared store has it. The transport may hold it, with what it keeps for it.
    pub fn sweep_wanted(&mut self) -> bool {
        let wanted = self.shared.sweep_wanted.swap(false, Ordering::SeqCst);
        self.sweep_wanted |= wanted;
        wanted
    }

    /// Whether there is no room for further requests.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.unsent.load(Ordering::Relaxed) >= self.shared.capacity
    }

    /// For a transport that cannot send at once: takes in what is new, ends what is overdue, forgets what was cancelled.
    /// Gives the moment by which it wants to be called again.
    pub fn tend(&mut self) -> Option<Instant> {
        for level in 0..self.waiting.len() {
            while let Ok(job) = self.receivers[level].try_recv() {
                let deadline = job.deadline();
                self.next_deadline = Some(self.next_deadline.map_or(deadline, |next| next.min(deadline)));
                self.waiting[level].push_back(job);
            }
        }
        let now = self.shared.clock.now();
        let length = self.len();
        let due = self.next_deadline.is_some_and(|next| next <= now);
        let cancelled = self.cancelled();
        let full = self.is_full();
        self.sweep_wanted();
        let wanted = std::mem::take(&mut self.sweep_wanted);
        if due || wanted || cancelled * 2 > length || (full && cancelled > 0) {
            self.clear_out(now);
        }
        self.next_deadline
    }

    /// How many jobs have left the channel and wait here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.iter().map(VecDeque::len).sum()
    }

    /// Whether no job waits here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the registry accepts no more requests.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::SeqCst)
    }

    /// Says that the transport stops: it will send nothing more. A durable store hands out nothing from here on, and what the transport
    /// drops stays in the store for the next one. Dropping the queue says the same.
    pub fn retire(&self) {
        self.shared.queue_gone.store(true, Ordering::SeqCst);
    }

    fn clear_out(&mut self, now: Instant) {
        let mut next: Option<Instant> = None;
        for level in &mut self.waiting {
            level.retain(|job| {
                let overdue = job.deadline() <= now;
                if overdue {
                    job.end_overdue();
                }
                // The ending of an overdue job may still be on its way through the store.
                let stays = !overdue && !job.is_ended();
                if stays {
                    next = Some(next.map_or(job.deadline(), |next| next.min(job.deadline())));
                }
                stays
            });
        }
        self.next_deadline = next.map(|next| next.max(now + EXPIRY_GRANULARITY));
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.retire();
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("waiting", &self.len()).finish()
    }
}

/// A request that is to be sent, and of which no byte has left. Dropped, it ends as `Cancelled`; where a durable store keeps it,
/// it stays there, and whoever waits is told that this process has left it.
pub struct Job {
    // Taken only when the job becomes something else.
    inner: Option<(Arc<Entry>, Box<Request>)>,
    /// How many attempts another process has made.
    attempts: u32,
    /// How often the request had been lost before.
    losses: u32,
}

impl Job {
    pub(crate) fn new(entry: Arc<Entry>, request: Box<Request>) -> Self {
        Self::after(entry, request, 0)
    }

    /// A job of a request of which so many attempts were made before, by a process that is gone.
    pub(crate) fn after(entry: Arc<Entry>, request: Box<Request>, attempts: u32) -> Self {
        Self {
            losses: entry.losses(),
            inner: Some((entry, request)),
            attempts,
        }
    }

    /// Whether the request was lost to another process since.
    fn is_stale(&self) -> bool {
        self.entry().is_some_and(|entry| entry.losses() != self.losses)
    }

    /// Hands the request over to whoever works on the store.
    pub(crate) fn hand_over(mut self) {
        if let Some((entry, _)) = self.inner.take() {
            entry.ledger.left_queue(entry.priority);
            entry.left_cancelled();
        }
    }

    /// Whether another process, which is gone, has sent the request before. What became of that is not known.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.attempts > 0
    }

    /// What is known of the attempts made so far.
    fn effect(&self) -> Effect {
        if self.was_sent() { Effect::Unknown } else { Effect::None }
    }

    pub(crate) fn entry(&self) -> Option<&Arc<Entry>> {
        self.inner.as_ref().map(|(entry, _)| entry)
    }

    /// The moment when the request as a whole times out.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        // A job without an entry does not outlive the call that took it.
        self.entry().map_or_else(
            || unreachable!("a job holds its entry until it is consumed"),
            |e| e.deadline,
        )
    }

    /// What is to be done.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.inner.as_ref().map_or_else(
            || unreachable!("a job holds its request until it is consumed"),
            |(_, r)| r,
        )
    }

    /// Whether the request has ended while it waited, or the store is writing that it has: it was cancelled.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_stale() || self.entry().is_none_or(|entry| entry.is_over())
    }

    /// Whether a durable store keeps the request, so that it goes on where this is dropped: in another process, or the next.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.entry().is_some_and(|entry| entry.ledger.registry.store.is_some())
    }

    /// Ends the request as overdue, with nothing sent.
    pub fn expire(self) {
        self.end_overdue();
    }

    /// Ends the request as failed, with nothing sent by this process.
    pub fn refuse(self, mut failure: Failure) {
        failure.effect = self.effect();
        failure.needs_reconcile = failure.effect == Effect::Unknown;
        if let Some(entry) = self.entry().filter(|_| !self.is_stale()) {
            entry.end(Event::Fail(self.effect()), Err(failure));
        }
    }

    fn end_overdue(&self) {
        if let Some(entry) = self.entry().filter(|_| !self.is_stale()) {
            entry.end(Event::DeadlinePassed(self.effect()), Err(overdue(self.effect())));
        }
    }

    /// Turns the job into a request in flight, after the durable store, if any, has written that it is.
    ///
    /// Without a store the future is ready at once. `None` where the request has ended meanwhile: cancelled, overdue, or
    /// refused by the store.
    pub fn start(mut self) -> Start {
        let (effect, is_over) = (self.effect(), self.is_ended());
        let Some((entry, request)) = self.inner.take() else {
            return Start(StartState::Over);
        };
        entry.ledger.left_queue(entry.priority);
        if is_over {
            entry.left_cancelled();
            return Start(StartState::Over);
        }
        if entry.ledger.registry.clock.now() >= entry.deadline {
            entry.end(Event::DeadlinePassed(effect), Err(overdue(effect)));
            return Start(StartState::Over);
        }
        Start::of(InFlight::new(entry, request, self.attempts, self.losses))
    }
}

impl Start {
    /// Of a request that has ended.
    pub(crate) fn over() -> Self {
        Self(StartState::Over)
    }

    /// Has the store write that the request's next attempt is about to leave.
    pub(crate) fn of(in_flight: InFlight) -> Self {
        match &in_flight.entry.ledger.registry.store {
            None => Start(StartState::Ready(in_flight)),
            Some(store) => {
                let slot = Arc::new(Mutex::new(Slot::default()));
                let told = Arc::clone(&slot);
                store.sent(
                    in_flight.entry.id,
                    in_flight.attempts() + 1,
                    written(move |result| {
                        let waker = {
                            let mut slot = told.lock();
                            slot.written = Some(result);
                            slot.waker.take()
                        };
                        if let Some(waker) = waker {
                            waker.wake();
                        }
                    }),
                );
                Start(StartState::Recording(in_flight, slot))
            }
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let (effect, is_stale) = (self.effect(), self.is_stale());
        let Some((entry, _)) = self.inner.take() else { return };
        entry.ledger.left_queue(entry.priority);
        entry.left_cancelled();
        if is_stale || entry.give_up() {
            return;
        }
        let failure = Failure::new(
            FailureKind::Shutdown,
            effect,
            "the worker stopped before the request was sent",
        );
        entry.end(Event::Shutdown, Err(failure));
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.entry().map(|e| e.id)).finish()
    }
}

#[derive(Default)]
struct Slot {
    written: Option<Result<(), StoreError>>,
    waker: Option<Waker>,
}

enum StartState {
    Ready(InFlight),
    Recording(InFlight, Arc<Mutex<Slot>>),
    Over,
}

/// The future of [`Job::start`] and of [`InFlight::resume`].
#[must_use = "a job that is not started ends as cancelled"]
pub struct Start(StartState);

impl Future for Start {
    type Output = Option<InFlight>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match std::mem::replace(&mut self.0, StartState::Over) {
            StartState::Over => Poll::Ready(None),
            StartState::Ready(in_flight) => Poll::Ready(in_flight.send()),
            StartState::Recording(in_flight, slot) => {
                let written = {
                    let mut slot = slot.lock();
                    if slot.written.is_none() {
                        slot.waker = Some(cx.waker().clone());
                    }
                    slot.written.take()
                };
                match written {
                    None => {
                        self.0 = StartState::Recording(in_flight, slot);
                        Poll::Pending
                    }
                    Some(Ok(())) => Poll::Ready(in_flight.send()),
                    Some(Err(error)) => {
                        in_flight.not_written(error);
                        Poll::Ready(None)
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Start")
    }
}
