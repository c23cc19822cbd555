//! What a durable store hands back: requests of an earlier process, and of other ones.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::entry::{Entry, event_of};
use crate::group::Group;
use crate::queue::Job;
use crate::state::{Event, State, Transition};
use crate::{
    Batch, BatchOptions, Effect, Outcome, Registry, Request, RequestId, RequestStatus, Session, SubmitErrorKind,
};

/// A request as a durable store has kept it.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its id.
    pub id: RequestId,
    /// What to do, the idempotency key included.
    pub request: Request,
    /// How long it may still take.
    pub deadline: Duration,
    /// How many attempts were written.
    pub attempts: u32,
    /// How long ago the first of them was written: since then the other side may know the key.
    pub sent_ago: Option<Duration>,
    /// How it ended.
    pub ended: Option<(RequestStatus, Outcome)>,
}

/// What an earlier run of a script has asked for in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The operation's name.
    pub operation: String,
    /// See [`Request::fingerprint`].
    pub fingerprint: u128,
}

/// Sessions may have taken in so many ended requests before the ones that nobody asks for are forgotten.
const MOST_TAKEN_IN: usize = 1024;

impl Session {
    /// Makes a request known that an earlier run of this session's script has submitted, ended or not. Submitting it again gives its
    /// id and sends nothing. One that has not ended is sent once [`Registry::take_in`] is called with it, here or in another process.
    pub fn restore(&self, kept: Kept) {
        let restored = Restored {
            operation: kept.request.operation.to_string(),
            fingerprint: kept.request.fingerprint(),
        };
        self.restored_requests().lock().insert(kept.id, restored);
        if let Some((status, outcome)) = &kept.ended {
            return self.make_known(&kept).learn(*status, outcome.clone());
        }
        let registry = &self.ledger().registry;
        // Held until the request is known in one place or the other: the store may hand it out at this moment.
        let mut elsewhere = registry.elsewhere.lock();
        match registry.taken_in(kept.id) {
            // The store was quicker: it is on its way already, or has ended since.
            Some(entry) => {
                entry.adopt(self.ledger());
                let replaced = self.shard(kept.id).lock().insert(kept.id, entry);
                drop(elsewhere);
                drop(replaced);
            }
            None => elsewhere.note(self.make_known(&kept)),
        }
    }

    /// What an earlier run of this session's script has asked for under this id.
    #[must_use]
    pub fn restored(&self, id: RequestId) -> Option<Restored> {
        self.restored_requests().lock().get(&id).cloned()
    }

    /// The batch that an earlier run has submitted with these ids. What is not known of it counts as not in it.
    #[must_use]
    pub fn restore_batch(&self, ids: Vec<RequestId>, options: BatchOptions) -> Batch {
        let group = Group::new(options, false);
        for id in &ids {
            self.join_restored(Some(&group), *id);
        }
        Batch::new(group, ids)
    }

    /// Whether this request is one that an earlier run has submitted.
    ///
    /// # Errors
    /// [`SubmitErrorKind::Diverged`] where that one was another.
    pub(crate) fn is_restored(&self, id: RequestId, request: &Request) -> Result<bool, SubmitErrorKind> {
        let Some(restored) = self.restored(id) else {
            return Ok(false);
        };
        let same = restored.operation == request.operation && restored.fingerprint == request.fingerprint();
        if same {
            Ok(true)
        } else {
            Err(SubmitErrorKind::Diverged { id })
        }
    }

    /// An entry of a request that was submitted before, which needs no place that is free.
    fn make_known(&self, kept: &Kept) -> Arc<Entry> {
        let ledger = self.ledger();
        let registry = &ledger.registry;
        let now = registry.clock.now();
        let submitted = kept.sent_ago.and_then(|ago| now.checked_sub(ago)).unwrap_or(now);
        let after = now.saturating_duration_since(submitted).saturating_add(kept.deadline);
        let state = if kept.attempts > 0 {
            State::Waiting(Effect::Unknown)
        } else {
            State::Queued
        };
        let mut entry = Entry::in_state(
            kept.id,
            Arc::clone(ledger),
            &kept.request,
            None,
            state,
            submitted,
            after,
        );
        entry.restored = kept.ended.is_some();
        let entry = Arc::new(entry);
        ledger.places.take_beyond();
        ledger.counters.submitted();
        registry.counters.submitted();
        registry.pending.fetch_add(1, Ordering::SeqCst);
        entry.tell_submitted();
        let replaced = self.shard(kept.id).lock().insert(kept.id, Arc::clone(&entry));
        drop(replaced);
        entry
    }
}

impl Registry {
    /// Has a request sent that the store has handed to this process. Where its submission or its restoration is known here, whoever
    /// waits there is told how it ends.
    pub fn take_in(&self, kept: Kept) {
        if self.taken_in.len() >= MOST_TAKEN_IN + 2 * self.taken_in.pending() {
            self.taken_in.forget_ended(|_| true);
        }
        // See `Session::restore`.
        let mut elsewhere = self.shared.elsewhere.lock();
        let known = elsewhere.take_newest(kept.id);
        let entry = known.unwrap_or_else(|| self.taken_in.make_known(&kept));
        drop(elsewhere);
        entry.take_in(kept);
    }

    /// Says how a request ended that another process has sent. Gives whether anyone here waited for it.
    pub fn learn(&self, id: RequestId, status: RequestStatus, outcome: Outcome) -> bool {
        let known = self.shared.elsewhere.lock().take(id);
        for entry in &known {
            entry.learn(status, outcome.clone());
        }
        !known.is_empty()
    }

    /// The requests that are known here and sent elsewhere: those that [`learn`](Self::learn) is waited for.
    #[must_use]
    pub fn elsewhere(&self) -> Vec<RequestId> {
        self.shared.elsewhere.lock().ids()
    }

    /// Tells whoever waits here for requests that are sent elsewhere that this process will not learn how they end: it leaves the store.
    pub fn leave_elsewhere(&self) {
        let all = self.shared.elsewhere.lock().take_all();
        for entry in all {
            entry.leave();
        }
    }

    /// How many more requests the queue has room for: none once its transport stops.
    #[must_use]
    pub fn queue_room(&self) -> usize {
        if self.shared.queue_gone.load(Ordering::SeqCst) {
            return 0;
        }
        self.shared.free_places()
    }
}

impl Entry {
    /// Queues a request that the store has handed out.
    fn take_in(self: &Arc<Self>, kept: Kept) {
        self.recorded();
        if kept.attempts > 0 && self.handover.state() == State::Queued {
            let _ = self.handover.advance(Event::Send);
            let _ = self.handover.advance(Event::Wait(Effect::Unknown));
        }
        let ledger = &self.ledger;
        ledger.registry.queued[self.priority.level()].fetch_add(1, Ordering::Relaxed);
        ledger.places.back_to_queue();
        ledger.registry.unsent.fetch_add(1, Ordering::SeqCst);
        self.enqueue(Job::after(Arc::clone(self), Box::new(kept.request), kept.attempts));
    }

    /// Ends a request as it ended elsewhere.
    fn learn(&self, status: RequestStatus, outcome: Outcome) {
        self.recorded();
        if status == RequestStatus::Cancelled {
            return self.learn_cancelled(outcome);
        }
        if self.handover.state() != State::Sent && self.handover.advance(Event::Send).is_ok() {
            self.ledger.sent();
        }
        let _ = self.end_now(event_of(&outcome), outcome);
    }

    /// It was cancelled elsewhere, which is done only as long as no attempt can have had an effect.
    fn learn_cancelled(&self, outcome: Outcome) {
        let was_sent = self.handover.advance(Event::Wait(Effect::None)).is_ok();
        let ended = self.end_now(Event::Cancel, outcome);
        let registry = &self.ledger.registry;
        if was_sent && registry.counts_cancelled() && matches!(ended, Ok(Transition::To(_))) {
            // No job of it is in this process's queue, to be taken off again.
            registry.cancelled_waiting.fetch_sub(1, Ordering::SeqCst);
        }
    }
}
