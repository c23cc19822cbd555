//! A request between its first attempt and its ending.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::entry::{Entry, event_of};
use crate::state::{Event, State, Transition};
use crate::{Effect, Failure, FailureKind, Outcome, Request, RequestId, StoreError};

/// A request that is being sent. Whoever holds it owes it an outcome: dropped, it ends as `Failed` with effect `unknown`.
pub struct InFlight {
    pub(crate) entry: Arc<Entry>,
    request: Option<Box<Request>>,
    attempts: u32,
    phase: Phase,
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
    pub(crate) fn new(entry: Arc<Entry>, request: Box<Request>) -> Self {
        Self {
            entry,
            request: Some(request),
            attempts: 0,
            phase: Phase::Unsent,
        }
    }

    /// `None` where the request was cancelled meanwhile.
    pub(crate) fn send(mut self) -> Option<Self> {
        match self.entry.handover.advance(Event::Send) {
            Ok(_) => {
                self.entry.account.sent();
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

    pub(crate) fn fail_unsent(mut self, error: StoreError) {
        self.request = None;
        self.entry.left_cancelled();
        let failure = Failure::new(FailureKind::Store, Effect::None, error.to_string()).with_source(error);
        self.entry.end(Event::Fail(Effect::None), Err(failure));
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

    /// How many attempts have begun.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Says that an attempt begins.
    pub fn begin_attempt(&mut self) {
        self.attempts += 1;
        if self.attempts > 1 {
            self.entry.account.retried();
        }
    }

    /// Says that a further attempt is to come later: until then the request counts as unsent, and as long as no attempt can have
    /// had an effect it may be cancelled. `effect` is what is known of the attempts made so far.
    pub fn wait(&mut self, effect: Effect) {
        if self.phase != Phase::Sent {
            return;
        }
        let effect = if self.entry.reads_only { Effect::None } else { effect };
        if let Ok((Transition::To(_), _)) = self.entry.handover.advance(Event::Wait(effect)) {
            self.phase = Phase::Waiting;
            self.entry.account.back_to_queue();
        }
    }

    /// Ends a wait. `None` where the request has ended meanwhile.
    #[must_use]
    pub fn resume(mut self) -> Option<Self> {
        self.leave_queue().then_some(self)
    }

    /// Whether the request has ended while it waited for a further attempt: it was cancelled.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.entry.handover.state().is_ended()
    }

    /// Ends the request.
    pub fn complete(mut self, outcome: Outcome) {
        let request = self.request.take();
        if let (Some(request), Err(failure)) = (request, &outcome)
            && failure.effect == Effect::Unknown
        {
            self.entry.keep_in_doubt(request);
        }
        self.leave_queue();
        self.entry.end(event_of(&outcome), outcome);
    }

    /// From here on it cannot be cancelled. Gives whether it has not ended.
    fn leave_queue(&mut self) -> bool {
        if self.phase != Phase::Waiting {
            return true;
        }
        self.phase = Phase::Sent;
        let account = &self.entry.account;
        account.left_queue_again();
        let goes_on = self.entry.handover.advance(Event::Send).is_ok();
        if goes_on {
            account.sent();
        } else if self.entry.left_cancelled() {
            account.registry.cancelled_waiting.fetch_sub(1, Ordering::SeqCst);
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
            self.entry.left_cancelled();
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
