//! A request between its first attempt and its ending.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::entry::{Entry, event_of};
use crate::observer::AttemptResult;
use crate::queue::Start;
use crate::state::{Event, State, Transition};
use crate::{Effect, Failure, FailureKind, Outcome, Request, RequestId, StoreError};

/// A request that is being sent. Whoever holds it owes it an outcome: dropped, it ends as `Failed` with effect `unknown`.
pub struct InFlight {
    pub(crate) entry: Arc<Entry>,
    request: Option<Box<Request>>,
    attempts: u32,
    /// When the attempt that is under way began, where anyone wants to know.
    began: Option<Instant>,
    /// When the next attempt is due.
    due: Instant,
    phase: Phase,
    /// How often the request had been lost before it left the queue.
    losses: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// About to be sent.
    Unsent,
    Sent,
    /// Back in the queue.
    Waiting,
}

impl InFlight {
    pub(crate) fn new(entry: Arc<Entry>, request: Box<Request>, attempts: u32, losses: u32) -> Self {
        Self {
            due: entry.submitted,
            entry,
            request: Some(request),
            attempts,
            began: None,
            phase: Phase::Unsent,
            losses,
        }
    }

    /// Whether the request was lost to another process since: then this neither sends nor ends it.
    fn is_stale(&self) -> bool {
        self.entry.losses() != self.losses
    }

    /// `None` where the request was cancelled meanwhile.
    pub(crate) fn send(mut self) -> Option<Self> {
        if self.phase != Phase::Unsent {
            return self.leave_queue().then_some(self);
        }
        if self.is_stale() {
            self.request = None;
            return None;
        }
        match self.entry.handover.advance(Event::Send) {
            Ok(_) => {
                self.entry.ledger.sent();
                self.phase = Phase::Sent;
                Some(self)
            }
            // Cancelled between the queue and here.
            Err(_) => {
                self.request = None;
                self.entry.left_cancelled();
                None
            }
        }
    }

    /// Ends the request, whose next attempt the store did not write, or leaves it to the process that has taken it over.
    pub(crate) fn not_written(mut self, error: StoreError) {
        let request = self.request.take();
        if self.phase == Phase::Unsent {
            self.entry.left_cancelled();
        }
        let effect = match self.entry.handover.state() {
            State::Waiting(effect) => effect,
            _ => Effect::None,
        };
        self.leave_queue();
        if self.is_stale() {
            return;
        }
        if error.is_lost() {
            return self.entry.lose();
        }
        if let (Effect::Unknown, Some(request)) = (effect, request) {
            self.entry.keep_in_doubt(request);
        }
        let failure = Failure::new(error.failure_kind(), effect, error.to_string()).with_source(error);
        self.entry.end(Event::Fail(effect), Err(failure));
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> RequestId {
        self.entry.id
    }

    /// What is to be done.
    #[must_use]
    pub fn request(&self) -> &Request {
        self.request
            .as_deref()
            .unwrap_or_else(|| unreachable!("a request in flight is held until it is completed"))
    }

    /// The moment when the request as a whole times out.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.entry.deadline
    }

    /// The moment of submission.
    #[must_use]
    pub fn submitted(&self) -> Instant {
        self.entry.submitted
    }

    /// Whether a durable store keeps the request, so that it goes on where this is dropped: in another process, or the next.
    #[must_use]
    pub fn is_stored(&self) -> bool {
        self.entry.ledger.registry.store.is_some()
    }

    /// How many attempts have begun, those of earlier processes included.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Says that an attempt begins, and how long the transport has held it back: see
    /// [`AttemptBegan::limiter_wait`](crate::AttemptBegan::limiter_wait).
    pub fn begin_attempt(&mut self, limiter_wait: Duration) {
        self.end_attempt_unexplained();
        self.attempts += 1;
        if self.attempts > 1 {
            self.entry.ledger.retried();
        }
        if self.has_observer() {
            let now = self.entry.ledger.registry.clock.now();
            self.began = Some(now);
            let queued = now.saturating_duration_since(self.due);
            self.entry
                .tell_attempt_began(self.attempts, queued, limiter_wait.min(queued));
        }
    }

    /// Whether anyone is told of attempts, so that it is worth finding out what to tell.
    #[must_use]
    pub fn has_observer(&self) -> bool {
        !self.entry.ledger.registry.observers.is_empty()
    }

    /// Tells the observers how the attempt that is under way went. A second call does nothing. Without a call they are told when the
    /// request ends or waits, with what can be seen from that.
    pub fn end_attempt(&mut self, result: AttemptResult<'_>) {
        if let Some(began) = self.began.take() {
            let duration = self.entry.ledger.registry.clock.now().saturating_duration_since(began);
            self.entry.tell_attempt_ended(self.attempts, duration, result);
        }
    }

    fn end_attempt_as(&mut self, outcome: &Outcome) {
        let (status, error) = match outcome {
            Ok(success) => (Some(success.response.status), None),
            Err(failure) => (failure.status(), Some(&failure.kind)),
        };
        self.end_attempt(AttemptResult {
            status,
            error,
            ..AttemptResult::default()
        });
    }

    /// A further attempt shows that this one failed.
    fn end_attempt_unexplained(&mut self) {
        self.end_attempt(AttemptResult {
            error: Some(&FailureKind::Http),
            ..AttemptResult::default()
        });
    }

    /// Says that a further attempt is to come at `due`: until then the request counts as unsent, and as long as no attempt can have
    /// had an effect it may be cancelled. `effect` is what is known of the attempts made so far.
    pub fn wait(&mut self, effect: Effect, due: Instant) {
        self.end_attempt_unexplained();
        self.due = due;
        if self.phase != Phase::Sent {
            return;
        }
        let effect = if self.entry.reads_only() { Effect::None } else { effect };
        if let Ok((Transition::To(_), _)) = self.entry.handover.advance(Event::Wait(effect)) {
            self.phase = Phase::Waiting;
            self.entry.ledger.back_to_queue(self.entry.priority);
        }
    }

    /// Ends a wait, after the durable store, if any, has written that a further attempt is about to leave. Without a store the future
    /// is ready at once. `None` where the request has ended meanwhile, or is overdue and ends so.
    pub fn resume(self) -> Start {
        if self.entry.ledger.registry.clock.now() < self.entry.deadline {
            return Start::of(self);
        }
        let effect = match self.entry.handover.state() {
            State::Waiting(effect) => effect,
            _ => Effect::Unknown,
        };
        self.complete_overdue(effect);
        Start::over()
    }

    /// Whether the request has ended while it waited for a further attempt, or the store is writing that it has: it was cancelled.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.is_stale() || self.entry.is_over()
    }

    /// Ends the request.
    pub fn complete(mut self, outcome: Outcome) {
        self.end_attempt_as(&outcome);
        let request = self.request.take();
        self.leave_queue();
        if self.is_stale() {
            return;
        }
        if let (Some(request), Err(failure)) = (request, &outcome)
            && failure.effect == Effect::Unknown
        {
            self.entry.keep_in_doubt(request);
        }
        self.entry.end(event_of(&outcome), outcome);
    }

    /// From here on it cannot be cancelled. Gives whether it has not ended.
    fn leave_queue(&mut self) -> bool {
        if self.phase != Phase::Waiting {
            return true;
        }
        self.phase = Phase::Sent;
        let ledger = &self.entry.ledger;
        ledger.left_queue_again(self.entry.priority);
        if self.is_stale() {
            return false;
        }
        let goes_on = self.entry.handover.advance(Event::Send).is_ok();
        if goes_on {
            ledger.sent();
        } else if self.entry.left_cancelled() {
            ledger.registry.cancelled_waiting.fetch_sub(1, Ordering::SeqCst);
        }
        goes_on
    }

    /// Ends the request as overdue, with what is known of the attempts made so far.
    pub fn complete_overdue(self, effect: Effect) {
        self.complete(Err(overdue(effect)));
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Some(request) = self.request.take() else { return };
        let effect = match self.entry.handover.state() {
            State::Waiting(effect) => effect,
            _ => Effect::Unknown,
        };
        self.leave_queue();
        if self.phase == Phase::Unsent {
            self.entry.left_cancelled();
        }
        self.end_attempt(AttemptResult {
            error: Some(&FailureKind::Shutdown),
            ..AttemptResult::default()
        });
        if self.is_stale() || self.entry.give_up() {
            return;
        }
        let (event, failure) = if self.phase == Phase::Sent {
            if effect == Effect::Unknown {
                self.entry.keep_in_doubt(request);
            }
            (
                Event::Fail(effect),
                Failure::new(
                    FailureKind::Shutdown,
                    effect,
                    "the worker stopped before an answer came",
                ),
            )
        } else {
            (
                Event::Shutdown,
                Failure::new(
                    FailureKind::Shutdown,
                    Effect::None,
                    "the worker stopped before the request was sent",
                ),
            )
        };
        self.entry.end(event, Err(failure));
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("id", &self.entry.id)
            .field("attempts", &self.attempts)
            .finish()
    }
}

pub(crate) fn overdue(effect: Effect) -> Failure {
    Failure::new(
        FailureKind::Deadline,
        effect,
        "the request's deadline passed before it was answered",
    )
}
