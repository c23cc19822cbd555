//! What the registry keeps of one request.

mod ending;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::group::{Group, Member};
use crate::handover::Handover;
use crate::ledger::Ledger;
use crate::queue::Job;
use crate::state::{Event, RequestStatus, State, Transition};
use crate::sync::Mutex;
use crate::{Effect, Method, Priority, Request, RequestId};

pub(crate) use self::ending::event_of;

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
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.ledger
            .held_bytes
            .fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}
