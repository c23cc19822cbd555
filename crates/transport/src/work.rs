//! A request on its way through the worker: not sent yet, or between two attempts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use inflight_core::{Effect, Failure, FailureKind, InFlight, Job, Request};
use tokio::time::Instant;

use crate::pace::PaceKey;

/// What is to be sent, and what it holds while it waits and while it is sent.
pub(crate) struct Work {
    pub(crate) stage: Stage,
    pub(crate) permit: Permit,
    pub(crate) held: Held,
}

/// How long a limit holds a request back: its lane, its server's breaker, its pace.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    since: Option<Instant>,
    so_far: Duration,
}

impl Held {
    /// It is held back from now on, if it is not already.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// It is held back no longer.
    pub(crate) fn end(&mut self, now: Instant) {
        if let Some(since) = self.since.take() {
            self.so_far += now.saturating_duration_since(since);
        }
    }

    pub(crate) fn so_far(self) -> Duration {
        self.so_far
    }
}

/// How far it has come.
pub(crate) enum Stage {
    /// No byte of it has left.
    Fresh(Job),
    /// It has been sent before.
    // Boxed: most work is fresh.
    Again(Box<Again>),
}

/// A request that has been sent before.
pub(crate) struct Again {
    pub(crate) in_flight: InFlight,
    pub(crate) progress: Progress,
    /// How the last attempt failed. Its effect speaks of all attempts together.
    pub(crate) failure: Failure,
    /// From then on it is not sent again: its deadline, or the moment when its key may be forgotten.
    pub(crate) expires: Instant,
}

/// What is known of the attempts made so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    /// How many there were, without those that were sent back to the queue.
    pub(crate) attempts: u32,
    pub(crate) requeued: u32,
    pub(crate) repeated_at_once: bool,
    /// Whether one of them may have been carried out: a later refusal says nothing about that one.
    pub(crate) in_doubt: bool,
    /// When the first of this worker was made, by the calendar.
    pub(crate) first: Option<SystemTime>,
}

impl Progress {
    /// How long ago that was. The calendar goes on while a machine sleeps, which the clock of deadlines need not do; one that was set back
    /// says nothing.
    pub(crate) fn age(&self) -> Duration {
        self.first.and_then(|first| first.elapsed().ok()).unwrap_or_default()
    }
}

/// What a request holds. Whoever has it owes it back to the schedule.
#[derive(Debug, Default)]
pub(crate) struct Permit {
    /// The lane that it has to itself.
    pub(crate) lane: Option<Arc<str>>,
    /// The pace that it is subject to.
    pub(crate) pace: Option<PaceKey>,
    /// The server that it is to find out about.
    pub(crate) probe: Option<Arc<str>>,
    /// Its place in the order in which the worker took requests: it keeps that for its further attempts.
    pub(crate) arrival: u64,
}

impl Permit {
    pub(crate) fn is_empty(&self) -> bool {
        self.lane.is_none() && self.pace.is_none() && self.probe.is_none()
    }
}

impl Work {
    pub(crate) fn fresh(job: Job, arrival: u64) -> Self {
        Self {
            stage: Stage::Fresh(job),
            permit: Permit {
                arrival,
                ..Permit::default()
            },
            held: Held::default(),
        }
    }

    pub(crate) fn request(&self) -> &Request {
        match &self.stage {
            Stage::Fresh(job) => job.request(),
            Stage::Again(again) => again.in_flight.request(),
        }
    }

    /// Its place in a list by priority: see [`Priority::level`](inflight_core::Priority::level).
    pub(crate) fn level(&self) -> usize {
        self.request().priority.level()
    }

    pub(crate) fn expires(&self) -> Instant {
        match &self.stage {
            Stage::Fresh(job) => Instant::from_std(job.deadline()),
            Stage::Again(again) => again.expires,
        }
    }

    /// Whether there is nothing left to send: it was cancelled, or its time is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let ended = match &self.stage {
            Stage::Fresh(job) => job.is_ended(),
            Stage::Again(again) => again.in_flight.is_ended(),
        };
        ended || self.expires() <= now
    }
}

impl Stage {
    /// Ends a request whose time is over. One that was cancelled has ended before, and stays as it is.
    pub(crate) fn expire(self, now: Instant) {
        match self {
            Self::Fresh(job) => job.expire(),
            Self::Again(again) => again.expire(now),
        }
    }

    /// Ends a request that is not to be sent any more, because of this.
    pub(crate) fn refuse(self, failure: Failure) {
        match self {
            Self::Fresh(job) => job.refuse(failure),
            Self::Again(again) => again.refuse(failure),
        }
    }
}

impl Again {
    pub(crate) fn expire(self, now: Instant) {
        if now >= Instant::from_std(self.in_flight.deadline()) {
            let message = format!(
                "the request's deadline passed before a further attempt; the last one failed: {}",
                self.failure
            );
            let overdue = Failure::new(FailureKind::Deadline, self.failure.effect, message).with_source(self.failure);
            self.in_flight.complete(Err(overdue));
        } else {
            self.give_up();
        }
    }

    /// Ends it as the last attempt did.
    pub(crate) fn give_up(self) {
        self.in_flight.complete(Err(self.failure));
    }

    /// The worker stops. What a store keeps goes on when a worker starts again.
    pub(crate) fn stop(self) {
        if !self.in_flight.is_stored() {
            self.give_up();
        }
    }

    fn refuse(self, mut failure: Failure) {
        failure.effect = self.failure.effect;
        failure.needs_reconcile = failure.effect == Effect::Unknown;
        self.in_flight.complete(Err(failure));
    }
}

/// Moves those of which `is_over` holds from one list to another; the rest stays in order.
pub(crate) fn take_out(list: &mut VecDeque<Work>, is_over: &mut dyn FnMut(&Work) -> bool, over: &mut Vec<Work>) {
    let (taken, left): (VecDeque<_>, VecDeque<_>) = std::mem::take(list).into_iter().partition(|work| is_over(work));
    *list = left;
    over.extend(taken);
}
