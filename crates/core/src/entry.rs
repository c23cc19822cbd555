//! What the registry keeps of one request.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::group::{Group, Member};
use crate::handover::Handover;
use crate::ledger::Ledger;
use crate::queue::Job;
use crate::state::{Event, InvalidEvent, RequestStatus, State, Transition};
use crate::store::{Store, written};
use crate::sync::Mutex;
use crate::{Effect, Failure, FailureKind, Method, Outcome, Priority, Request, RequestId, StoreError, Success};

/// A session that counts a request as its own and has not submitted it in this process.
#[derive(Debug)]
struct Adopted {
    ledger: Arc<Ledger>,
    holds_place: AtomicBool,
    /// Whether its ending has not been counted there.
    counts: AtomicBool,
}

impl Adopted {
    fn ended(&self, status: RequestStatus) {
        if self.counts.swap(false, Ordering::SeqCst) {
            self.ledger.counters.ended(status);
        }
    }
}

/// One request from its submission on. The request itself travels through the queue and is gone once it has ended.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: RequestId,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) operation: Cow<'static, str>,
    pub(crate) submitted: Instant,
    pub(crate) deadline: Instant,
    pub(crate) method: Method,
    pub(crate) priority: Priority,
    pub(crate) handover: Handover,
    /// Whether it has ended in an earlier process.
    pub(crate) restored: bool,
    /// How often this process has lost it to another one while the transport had it.
    losses: AtomicU32,
    /// Whether its submission was counted and told.
    accepted: AtomicBool,
    /// Whether anyone has looked at the ending.
    observed: AtomicBool,
    /// Whether a shared store was asked to cancel it.
    cancel_asked: AtomicBool,
    /// The request itself, where it has ended and nobody knows whether it was carried out.
    in_doubt: OnceLock<Box<Request>>,
    /// What its body takes, and its answer once it has ended.
    bytes: AtomicUsize,
    /// Whether it still counts as one of its session's pending requests.
    holds_place: AtomicBool,
    /// The starts of a run that has submitted it in an earlier process, where the store had handed it out before they knew it.
    adopted: Mutex<Vec<Adopted>>,
    /// Its place among the requests that it was submitted with.
    member: OnceLock<Member>,
    /// Its places in batches of further starts of its run, which only count it.
    joined: Mutex<Vec<Arc<Member>>>,
}

impl Entry {
    pub(crate) fn new(id: RequestId, ledger: Arc<Ledger>, request: &Request, member: Option<Member>) -> Self {
        let state = if ledger.registry.store.is_some() {
            State::Recording
        } else {
            State::Queued
        };
        let submitted = ledger.registry.clock.now();
        let after = request.deadline.unwrap_or(ledger.registry.deadline);
        Self::in_state(id, ledger, request, member, state, submitted, after)
    }

    /// An entry of a request that was submitted at `submitted` and may take until `after` that.
    pub(crate) fn in_state(
        id: RequestId,
        ledger: Arc<Ledger>,
        request: &Request,
        member: Option<Member>,
        state: State,
        submitted: Instant,
        after: Duration,
    ) -> Self {
        let bytes = request.body.as_ref().map_or(0, |body| body.bytes.len());
        ledger.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        Self {
            id,
            bytes: AtomicUsize::new(bytes),
            operation: request.operation.clone(),
            submitted,
            // A deadline beyond what the clock can count is no deadline.
            deadline: submitted
                .checked_add(after)
                .unwrap_or_else(|| submitted + crate::registry::DEFAULT_DEADLINE * 1000),
            method: request.method,
            priority: request.priority,
            handover: Handover::new(state),
            restored: false,
            losses: AtomicU32::new(0),
            accepted: AtomicBool::new(false),
            observed: AtomicBool::new(false),
            cancel_asked: AtomicBool::new(false),
            in_doubt: OnceLock::new(),
            holds_place: AtomicBool::new(true),
            adopted: Mutex::default(),
            member: member.map_or_else(OnceLock::new, OnceLock::from),
            joined: Mutex::default(),
            ledger,
        }
    }

    /// Whether the request only reads, so that no ending of it has an effect.
    pub(crate) fn reads_only(&self) -> bool {
        self.method.is_safe()
    }

    /// Whether its submission was counted and told. Until then nobody knows its id, and nothing ends it.
    pub(crate) fn is_accepted(&self) -> bool {
        self.accepted.load(Ordering::Acquire)
    }

    pub(crate) fn note_accepted(&self) {
        self.accepted.store(true, Ordering::Release);
    }

    pub(crate) fn observe(&self) {
        self.observed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_observed(&self) -> bool {
        self.observed.load(Ordering::Relaxed)
    }

    /// Keeps the request for whoever is to find out what became of it.
    pub(crate) fn keep_in_doubt(&self, request: Box<Request>) {
        let _ = self.in_doubt.set(request);
    }

    /// The request, as long as its effect is unknown.
    pub(crate) fn in_doubt(&self) -> Option<&Request> {
        let unknown = matches!(
            self.handover.state(),
            State::Failed(Effect::Unknown) | State::Timeout(Effect::Unknown)
        );
        self.in_doubt.get().map(|request| &**request).filter(|_| unknown)
    }

    /// Counts the request as a pending one of this session too, until it ends. One that has ended meanwhile is not counted.
    pub(crate) fn adopt(&self, ledger: &Arc<Ledger>) {
        ledger.places.take_beyond();
        ledger.counters.submitted();
        let adopted = Adopted {
            ledger: Arc::clone(ledger),
            holds_place: AtomicBool::new(true),
            counts: AtomicBool::new(true),
        };
        self.adopted.lock().push(adopted);
        // Whoever ends it from now on sees that.
        let status = self.status();
        if status != RequestStatus::Pending {
            self.adopted.lock().iter().for_each(|adopted| adopted.ended(status));
            self.free_places();
            ledger.wake_if_idle();
        }
    }

    /// No longer counts the request as one of its sessions' pending ones.
    fn free_places(&self) {
        if self.holds_place.swap(false, Ordering::SeqCst) {
            self.ledger.places.ended();
        }
        for adopted in self.adopted.lock().iter() {
            if adopted.holds_place.swap(false, Ordering::SeqCst) {
                adopted.ledger.places.ended();
            }
        }
    }

    fn wake_if_idle(&self) {
        self.ledger.wake_if_idle();
        let ledgers: Vec<_> = self
            .adopted
            .lock()
            .iter()
            .map(|adopted| Arc::clone(&adopted.ledger))
            .collect();
        ledgers.iter().for_each(|ledger| ledger.wake_if_idle());
    }

    /// The request, which is pending, no longer counts as such in its session: nobody waits for it.
    pub(crate) fn give_back_place(&self) {
        self.free_places();
        self.wake_if_idle();
    }

    pub(crate) fn status(&self) -> RequestStatus {
        self.handover.state().status()
    }

    /// Whether it has ended, or the store is writing how.
    pub(crate) fn is_over(&self) -> bool {
        self.handover.state().is_ended() || self.handover.is_ending()
    }

    /// How often it was lost so far: what the transport has of it from before a loss is not to be sent, even if it is handed out again.
    pub(crate) fn losses(&self) -> u32 {
        self.losses.load(Ordering::SeqCst)
    }

    /// A request that has just left the queue no longer counts as a cancelled one in it. Gives whether it did.
    pub(crate) fn left_cancelled(&self) -> bool {
        let registry = &self.ledger.registry;
        let cancelled = self.handover.state() == State::Cancelled && registry.counts_cancelled();
        if cancelled {
            registry.cancelled.fetch_sub(1, Ordering::Relaxed);
        }
        cancelled
    }

    /// Lets a job of this request go to the queue: at once, or when its batch has a place for it.
    pub(crate) fn enqueue(&self, job: Job) {
        match self.member.get() {
            None => self.ledger.registry.enqueue(job),
            Some(member) => member.admit(job),
        }
    }

    /// The store has the request: whoever waits for that goes on. Gives whether that is news, which it is once: what is written may come
    /// back from another process before the answer that says so.
    pub(crate) fn recorded(&self) -> bool {
        match self.handover.advance(Event::Recorded) {
            Ok((Transition::To(_), wake)) => {
                wake.all();
                true
            }
            _ => false,
        }
    }

    /// Counts the request, which is known from an earlier run, as one of this batch.
    pub(crate) fn join(self: &Arc<Self>, group: &Arc<Group>) {
        let is_counted = |member: &Member| Arc::ptr_eq(&member.group, group);
        if self.member.get().is_some_and(is_counted) || self.joined.lock().iter().any(|member| is_counted(member)) {
            return;
        }
        let member = group.join();
        member.note_elsewhere(self);
        // The first one has a say in when it is sent.
        if let Err(member) = self.member.set(member) {
            self.joined.lock().push(Arc::new(member));
        }
        // Whoever ends it from now on sees that.
        let status = self.status();
        if status != RequestStatus::Pending {
            self.for_each_member(|member| member.ended(self.id, status, false));
        }
    }

    /// Its place in each batch that it is one of.
    fn for_each_member(&self, tell: impl Fn(&Member)) {
        if let Some(member) = self.member.get() {
            tell(member);
        }
        // Without the lock: what is told may end others.
        let joined = self.joined.lock().clone();
        joined.iter().for_each(|member| tell(member));
    }

    /// Cancels the request where it has not been sent. Gives whether it is cancelled now: in a shared store that is told later, if it is.
    pub(crate) fn cancel(self: &Arc<Self>) -> bool {
        let registry = &self.ledger.registry;
        let failure = Failure::new(
            FailureKind::Cancelled,
            Effect::None,
            "the request was cancelled before it was sent",
        );
        if let Some(store) = &registry.store
            && registry.elsewhere.lock().knows(self)
        {
            // Whether it has been sent only the store knows.
            self.cancel_asked.store(true, Ordering::SeqCst);
            store.cancel(self.id);
            return false;
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
                entry.cancel_asked.store(true, Ordering::SeqCst);
                store.cancel(entry.id);
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

impl Drop for Entry {
    fn drop(&mut self) {
        self.ledger
            .held_bytes
            .fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
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
