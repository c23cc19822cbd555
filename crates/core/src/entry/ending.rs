//! How a request ends: here, through a durable store, or in another process.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Entry;
use crate::state::{Event, InvalidEvent, RequestStatus, State, Transition};
use crate::store::{Store, written};
use crate::{Effect, Failure, FailureKind, Outcome, StoreError, Success};

impl Entry {
    /// Cancels the request where it has not been sent. Gives whether it is cancelled now: in a shared store that is told later, if it is.
    pub(crate) fn cancel(self: &Arc<Self>) -> bool {
        let registry = &self.ledger.registry;
        let failure = Failure::new(
            FailureKind::Cancelled,
            Effect::None,
            "the request was cancelled before it was sent",
        );
        let is_elsewhere = registry.elsewhere.lock().knows(self);
        if let Some(store) = registry.store.as_ref().filter(|_| is_elsewhere) {
            // Whether it has been sent only the store knows.
            let is_asked = store.cancel(self.id);
            if is_asked || store.is_shared() {
                self.cancel_asked.store(is_asked, Ordering::SeqCst);
                return false;
            }
        }
        if let Some(store) = registry.store.as_ref().filter(|store| store.is_shared()) {
            if self.handover.begin_cancel() {
                self.observe();
                self.write_cancelled(&**store, failure);
            }
            return false;
        }
        // Counted before: the worker takes it off again as soon as it sees the cancelled job.
        registry.cancelled.fetch_add(1, Ordering::Relaxed);
        if !matches!(self.end_now(Event::Cancel, Err(failure)), Ok(Transition::To(_))) {
            registry.cancelled.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.observe();
        self.ledger.sweep_if_full();
        if let Some(store) = &registry.store
            && let Some(outcome) = self.handover.outcome()
        {
            store.ended(self.id, RequestStatus::Cancelled, &outcome, Box::new(|_| {}));
        }
        registry.notify();
        true
    }

    /// Has a shared store write that the request, which is not sent from here on, is cancelled. It may be another process's by now, without
    /// this one knowing: then that one is asked.
    fn write_cancelled(self: &Arc<Self>, store: &dyn Store, failure: Failure) {
        let (entry, losses) = (Arc::clone(self), self.losses());
        self.write_ending(store, Event::Shutdown, Err(failure), move || {
            // Where it was lost before this answer, it may have been handed out again since.
            if entry.losses() != losses {
                return;
            }
            entry.lose();
            if let Some(store) = &entry.ledger.registry.store {
                entry.cancel_asked.store(store.cancel(entry.id), Ordering::SeqCst);
            }
        });
        let registry = &self.ledger.registry;
        registry.sweep_wanted.store(true, Ordering::SeqCst);
        registry.notify();
    }

    /// Ends the request, through the store where there is one.
    pub(crate) fn end(self: &Arc<Self>, event: Event, outcome: Outcome) {
        let Some(store) = &self.ledger.registry.store else {
            // An invalid event changes nothing; the state machine's own tests say which are.
            let _ = self.end_now(event, outcome);
            return;
        };
        // One ending is written, the first: a job that is dropped after it was cancelled or refused has nothing to add.
        if self.handover.begin_ending() {
            let entry = Arc::clone(self);
            self.write_ending(&**store, event, outcome, move || entry.lose());
        }
    }

    /// Ends the request once the store has written how. `lost` is called where it is another process's by now.
    fn write_ending(
        self: &Arc<Self>,
        store: &dyn Store,
        event: Event,
        outcome: Outcome,
        lost: impl FnOnce() + Send + 'static,
    ) {
        let status = match event {
            Event::Succeed => RequestStatus::Completed,
            Event::DeadlinePassed(_) => RequestStatus::Timeout,
            Event::Cancel | Event::Shutdown => RequestStatus::Cancelled,
            _ => RequestStatus::Failed,
        };
        let entry = Arc::clone(self);
        let kept = outcome.clone();
        store.ended(
            self.id,
            status,
            &outcome,
            written(move |result| {
                let _ = match result {
                    Ok(()) => entry.end_now(event, kept),
                    Err(error) if error.is_lost() => return lost(),
                    Err(error) => match kept {
                        Ok(success) => entry.end_now(Event::Fail(Effect::Done), Err(unkept_success(success, error))),
                        // The store takes it for pending: whoever works on it next sends it, perhaps again.
                        Err(failure) if failure.effect == Effect::None => {
                            entry.end_now(Event::Left, Err(unkept_failure(failure, error)))
                        }
                        Err(failure) => entry.end_now(event, Err(unkept_failure(failure, error))),
                    },
                };
            }),
        );
    }

    /// Another process sends the request from now on: whoever waits here is told when that one is done, unless this one stops.
    pub(crate) fn lose(self: &Arc<Self>) {
        self.losses.fetch_add(1, Ordering::SeqCst);
        self.handover.give_up_ending();
        if self.ledger.registry.queue_gone.load(Ordering::SeqCst) {
            self.leave();
            return;
        }
        let before = self.handover.state();
        if before.is_ended() {
            return;
        }
        // What the other process has sent of it, this one does not know.
        if self.handover.advance(Event::Wait(Effect::Unknown)).is_ok() && before == State::Sent {
            self.ledger.unsent();
        }
        self.note_elsewhere();
        self.cancel_if_stopped();
    }

    /// Notes that the store hands the request out from here on, to this process or another. Its batch has a place for a further one.
    pub(crate) fn note_elsewhere(self: &Arc<Self>) {
        // The batch first: it may be handed out as soon as it is noted here.
        if let Some(member) = self.member.get() {
            member.note_elsewhere(self);
        }
        self.ledger.registry.elsewhere.lock().note(Arc::clone(self));
        if let Some(member) = self.member.get() {
            member.group.release();
        }
    }

    /// A batch that was stopped meanwhile did not reach the request: the store did not have it, or another process.
    pub(crate) fn cancel_if_stopped(self: &Arc<Self>) {
        if self.member.get().is_some_and(|member| member.group.is_stopped()) {
            self.cancel();
        }
    }

    /// Whether it is being cancelled: that is being written, or a shared store has been asked for it.
    pub(crate) fn is_being_cancelled(&self) -> bool {
        let state = self.handover.state();
        // What ends by itself nobody has looked at.
        let is_written = self.handover.is_ending() && self.is_observed() && state != State::Sent;
        !state.is_ended() && (is_written || self.cancel_asked.load(Ordering::SeqCst))
    }

    /// The worker drops the request, which it was to send or had sent. Gives `false` where there is no store that it stays in.
    pub(crate) fn give_up(&self) -> bool {
        let registry = &self.ledger.registry;
        let Some(store) = &registry.store else {
            return false;
        };
        // One that is dropped while the worker goes on would come back at once, and perhaps be dropped again.
        if self.leave() && registry.queue_gone.load(Ordering::SeqCst) {
            store.left(self.id);
        }
        true
    }

    /// Ends the request here, while it stays in the store. Gives whether it had not ended, and was not about to.
    pub(crate) fn leave(&self) -> bool {
        if self.ledger.registry.store.is_none() || self.handover.is_ending() {
            return false;
        }
        let mut failure = Failure::new(
            FailureKind::Shutdown,
            Effect::Unknown,
            "the worker stopped; the request stays in the store and goes on when a worker starts again",
        );
        failure.needs_reconcile = false;
        matches!(self.end_now(Event::Left, Err(failure)), Ok(Transition::To(_)))
    }

    /// Its body is gone with its job, and its answer is kept until nobody may ask for it any more.
    fn hold_answer(&self, outcome: &Outcome) {
        if self.restored {
            // The run that goes on has not asked for it.
            let before = self.bytes.swap(0, Ordering::Relaxed);
            self.ledger.held_bytes.fetch_sub(before, Ordering::Relaxed);
            return;
        }
        let answer = match outcome {
            Ok(success) => Some(&success.response),
            Err(failure) => failure.response.as_ref(),
        };
        // In doubt, the request is kept too.
        let body = self.in_doubt.get().and_then(|request| request.body.as_ref());
        let bytes = answer.map_or(0, |answer| answer.body.len()) + body.map_or(0, |body| body.bytes.len());
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.ledger.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.ledger.held_bytes.fetch_sub(before, Ordering::Relaxed);
    }

    /// Says what became known of a request that had ended with its effect unknown.
    pub(crate) fn settle(&self, event: Event, outcome: Outcome) -> Result<Transition, InvalidEvent> {
        if matches!(&outcome, Err(failure) if failure.effect == Effect::Done) {
            return Err(InvalidEvent::DoneWithoutAnswer);
        }
        let settled = self.end_now(event, outcome)?;
        if let (Transition::To(_), Some(store), Some(outcome)) =
            (settled, &self.ledger.registry.store, self.handover.outcome())
        {
            store.settled(self.id, self.status(), &outcome, Box::new(|_| {}));
        }
        Ok(settled)
    }

    /// Ends the request here and now, counts it and wakes whoever waits.
    pub(crate) fn end_now(&self, event: Event, mut outcome: Outcome) -> Result<Transition, InvalidEvent> {
        let left = event == Event::Left;
        let event = match (event, &mut outcome) {
            (Event::Fail(_), Err(failure)) if self.reads_only() => {
                failure.effect = Effect::None;
                failure.needs_reconcile = false;
                Event::Fail(Effect::None)
            }
            (Event::Left, Err(_)) if self.reads_only() => Event::Fail(Effect::None),
            (Event::DeadlinePassed(_), _) if self.reads_only() => Event::DeadlinePassed(Effect::None),
            (event, _) => event,
        };
        let ledger = &self.ledger;
        let mut first_ending = false;
        let mut statuses = None;
        let (transition, wake) = self.handover.end(event, outcome, |before, after, outcome| {
            first_ending = !before.is_ended();
            statuses = Some((before.status(), after.status()));
            if first_ending {
                ledger.ended(before, after.status());
                self.hold_answer(outcome);
                self.adopted
                    .lock()
                    .iter()
                    .for_each(|adopted| adopted.ended(after.status()));
                self.free_places();
                self.tell_ended(after.status(), outcome, left);
            } else {
                ledger.moved(before.status(), after.status());
                let (from, to) = (before.status(), after.status());
                self.adopted
                    .lock()
                    .iter()
                    .for_each(|adopted| adopted.ledger.counters.moved(from, to));
                self.tell_settled(before, after, outcome);
            }
        })?;
        wake.all();
        if let Some((before, after)) = statuses {
            self.for_each_member(|member| {
                if first_ending {
                    member.ended(self.id, after, left);
                } else {
                    member.group.counters.moved(before, after);
                }
            });
        }
        if first_ending {
            self.wake_if_idle();
        }
        Ok(transition)
    }
}

/// What was carried out and cannot be written down: whoever waits learns both, with the answer.
fn unkept_success(success: Success, error: StoreError) -> Failure {
    let made = success.object_id.as_deref();
    let message = format!(
        "the request was carried out{}, and the store could not keep that: {error}",
        made.map(|id| format!(" ({id})")).unwrap_or_default()
    );
    let mut failure = Failure::new(FailureKind::Store, Effect::Done, message);
    failure.needs_reconcile = true;
    failure.details.extend(success.object_id.map(|id| ("object_id", id)));
    failure.response = Some(success.response);
    failure.source = Some(Arc::new(error));
    failure
}

/// A failure that cannot be written down: it is still the one that whoever waits acts on. That nothing was done holds only until the store's
/// next process sends the request.
fn unkept_failure(mut failure: Failure, error: StoreError) -> Failure {
    failure.message = format!("{} (the store could not keep this ending: {error})", failure.message);
    if failure.effect == Effect::None {
        failure.effect = Effect::Unknown;
        failure.needs_reconcile = false;
    }
    failure.source.get_or_insert(Arc::new(error));
    failure
}

/// The event that this outcome of a sent request is.
pub(crate) fn event_of(outcome: &Outcome) -> Event {
    match outcome {
        Ok(_) => Event::Succeed,
        Err(failure) if failure.kind == FailureKind::Deadline => Event::DeadlinePassed(failure.effect),
        Err(failure) => Event::Fail(failure.effect),
    }
}
