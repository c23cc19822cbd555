//! One tenant's requests, known by their ids only here.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::batch::{Batch, BatchOptions};
use crate::counters::Counters;
use crate::durable::Restored;
use crate::entry::{Entry, event_of};
use crate::given_keys::GivenKeys;
use crate::group::Group;
use crate::ledger::{Ledger, Places};
use crate::registry::RegistryShared;
use crate::state::{Event, InvalidEvent, State, Transition, transition};
use crate::sync::Mutex;
use crate::wait::{Drained, Recorded, SubmitWhenRoom, Wait, block_on_for};
use crate::waiters::WaiterList;
use crate::{
    Call, Calls, Counts, Each, Effect, Failure, Outcome, Request, RequestId, RequestStatus, ResultError,
    SubmitAllError, SubmitError, WaitError,
};

/// How much of the registry one session may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// How many of its requests may be pending, sent or not. By default 1,000. With 0 nothing is accepted, and whoever waits for room
    /// waits for ever.
    pub pending: usize,
    /// How many of its requests may be unsent. By default a tenth of the queue's bound, so that no session starves the others.
    /// With 0 as above.
    pub unsent: usize,
}

/// A request id is random already: its bits need no hashing.
#[derive(Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.0 = self.0.rotate_left(32) ^ u64::from_le_bytes(word);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}

pub(crate) type Entries = HashMap<RequestId, Arc<Entry>, BuildHasherDefault<IdHasher>>;

struct SessionShared {
    ledger: Arc<Ledger>,
    shards: Box<[Mutex<Entries>]>,
    /// The keys that callers have given.
    given_keys: Mutex<GivenKeys>,
    /// What names the requests, where the session's script can be replayed.
    calls: Option<Arc<dyn Calls>>,
    /// What an earlier run of the script has submitted.
    restored: Mutex<HashMap<RequestId, Restored>>,
    closed: AtomicBool,
}

impl Drop for SessionShared {
    fn drop(&mut self) {
        self.ledger.registry.sessions.lock().remove(&self.ledger.id);
    }
}

/// One tenant's requests. Cloning gives a further handle to the same session.
///
/// An id is known only in the session that submitted it; everywhere else it is an unknown request. Results stay until the
/// session is [closed](Self::close) and for the registry's retention after that (5 minutes by default), as long as a handle
/// exists. Dropping the last handle forgets the results; it never stops what is pending.
#[derive(Clone)]
pub struct Session(Arc<SessionShared>);

/// A session to be found again, such as to sweep its results, without keeping a session alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakSession(std::sync::Weak<SessionShared>);

impl WeakSession {
    /// See [`Session::cancel`]. `None` also where the session's last handle is gone.
    pub(crate) fn cancel(&self, id: RequestId) -> Option<bool> {
        Session(self.0.upgrade()?).cancel(id)
    }

    pub(crate) fn entry(&self, id: RequestId) -> Option<Arc<Entry>> {
        Session(self.0.upgrade()?).entry(id)
    }

    pub(crate) fn is_pending(&self) -> bool {
        self.0
            .upgrade()
            .is_some_and(|shared| shared.ledger.places.pending() > 0)
    }

    pub(crate) fn forget_results(&self) -> usize {
        self.0.upgrade().map_or(0, |shared| {
            let session = Session(shared);
            session.forget_ended(|_| true)
        })
    }
}

impl Session {
    pub(crate) fn new(
        registry: Arc<RegistryShared>,
        id: u64,
        limits: SessionLimits,
        shards: usize,
        calls: Option<Arc<dyn Calls>>,
    ) -> Self {
        let shared = Arc::new(SessionShared {
            ledger: Arc::new(Ledger {
                id,
                registry,
                limits,
                counters: Counters::default(),
                places: Places::default(),
                held_bytes: std::sync::atomic::AtomicUsize::new(0),
                room: WaiterList::default(),
                idle: WaiterList::default(),
            }),
            shards: (0..shards.max(1)).map(|_| Mutex::default()).collect(),
            given_keys: Mutex::default(),
            calls,
            restored: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        let weak = WeakSession(Arc::downgrade(&shared));
        shared.ledger.registry.sessions.lock().insert(id, weak);
        Self(shared)
    }

    /// The call that is being made, in a session whose script can be replayed.
    pub(crate) fn next_call(&self) -> Option<Call> {
        self.0.calls.as_ref().map(|calls| calls.next())
    }

    /// Whether the script of this session can be replayed.
    #[must_use]
    pub fn is_of_run(&self) -> bool {
        self.0.calls.is_some()
    }

    /// Whether the registry accepts no more requests, since the program shuts down: what is learned of a request from then on may be
    /// no more than that this process leaves it.
    #[must_use]
    pub fn is_shut_down(&self) -> bool {
        self.0.ledger.registry.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn restored_requests(&self) -> &Mutex<HashMap<RequestId, Restored>> {
        &self.0.restored
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.0.ledger
    }

    /// The session's number in its registry.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.ledger.id
    }

    /// Accepts a request and gives its id at once, without waiting for anything.
    ///
    /// # Errors
    /// [`SubmitError`] where the queue or the session's share of it is full, the registry is closed, or the request brings an
    /// idempotency key that the session knows from another request: one that is pending, or whose result is kept. It holds the
    /// request.
    pub fn submit(&self, request: Request) -> Result<RequestId, SubmitError> {
        self.submit_in(None, request)
    }

    /// Accepts all of these requests or none, and gives their ids in the same order, without waiting for anything.
    ///
    /// # Errors
    /// [`SubmitAllError`] as for [`submit`](Self::submit), with [`NotEnoughRoom`](crate::SubmitErrorKind::NotEnoughRoom) where there is
    /// no room for all. It holds the requests.
    pub fn submit_all(&self, requests: Vec<Request>) -> Result<Vec<RequestId>, SubmitAllError> {
        self.submit_all_in(None, requests)
    }

    /// As [`submit_all`](Self::submit_all), for requests that are waited for, limited and cancelled together.
    ///
    /// # Errors
    /// As there.
    pub fn submit_batch(&self, requests: Vec<Request>, options: BatchOptions) -> Result<Batch, SubmitAllError> {
        let group = Group::new(options, false);
        let ids = self.submit_all_in(Some(&group), requests)?;
        Ok(Batch::new(group, ids))
    }

    /// Sends all requests that the iterator gives, as room appears, whatever their number. An item may be a failure: what could not be
    /// made. The future gives a report, may run on any executor, and cancels what was not sent where it is dropped.
    pub fn each<I>(&self, requests: I, options: BatchOptions) -> Each<I::IntoIter>
    where
        I: IntoIterator<Item = Result<Request, Failure>>,
    {
        Each::new(self, requests.into_iter(), options)
    }

    /// How much of the registry the session may use.
    #[must_use]
    pub fn limits(&self) -> SessionLimits {
        self.0.ledger.limits
    }

    /// Accepts a request as soon as there is room for it. The future may run on any executor, and is cancelled by dropping it.
    pub fn submit_when_room(&self, request: Request) -> SubmitWhenRoom {
        SubmitWhenRoom::new(self.clone(), None, request)
    }

    /// How far the request has come. Seeing that it has ended counts as having looked at the ending.
    #[must_use]
    pub fn status(&self, id: RequestId) -> Option<RequestStatus> {
        let entry = self.entry(id)?;
        let status = entry.status();
        if status != RequestStatus::Pending {
            entry.observe();
        }
        Some(status)
    }

    /// The request's state, the phases of `Pending` included.
    #[must_use]
    pub fn state(&self, id: RequestId) -> Option<State> {
        self.entry(id).map(|entry| entry.handover.state())
    }

    /// Whether the request has ended, well or not.
    #[must_use]
    pub fn is_complete(&self, id: RequestId) -> Option<bool> {
        self.entry(id).map(|entry| entry.handover.state().is_ended())
    }

    /// How the request ended. It stays known.
    ///
    /// # Errors
    /// [`ResultError`] where it has not ended yet, or the id is not known in this session.
    pub fn result(&self, id: RequestId) -> Result<Arc<Outcome>, ResultError> {
        let entry = self.entry(id).ok_or(ResultError::Unknown)?;
        let outcome = entry.handover.outcome().ok_or(ResultError::Pending)?;
        entry.observe();
        Ok(outcome)
    }

    /// How the request ended. It is forgotten.
    ///
    /// # Errors
    /// [`ResultError`] where it has not ended yet (it is kept then), or the id is not known in this session.
    pub fn take_result(&self, id: RequestId) -> Result<Outcome, ResultError> {
        let mut entries = self.shard(id).lock();
        let entry = entries.get(&id).ok_or(ResultError::Unknown)?;
        let outcome = entry.handover.outcome().ok_or(ResultError::Pending)?;
        let forgotten = entries.remove(&id);
        drop(entries);
        drop(forgotten);
        Ok(Arc::try_unwrap(outcome).unwrap_or_else(|shared| (*shared).clone()))
    }

    /// Parks this thread until the request has ended, for at most `timeout`; the request goes on either way.
    ///
    /// On a thread that drives an async runtime use [`wait_async`](Self::wait_async): parking would stop the runtime.
    ///
    /// # Errors
    /// [`WaitError`] where the time ran out, or the id is not known in this session.
    pub fn wait(&self, id: RequestId, timeout: Option<Duration>) -> Result<Arc<Outcome>, WaitError> {
        let wait = self.wait_async(id).ok_or(WaitError::Unknown)?;
        block_on_for(wait, timeout, &*self.0.ledger.registry.clock).ok_or(WaitError::Timeout)
    }

    /// A future of the request's ending, for any executor. `None` where the id is not known in this session.
    #[must_use]
    pub fn wait_async(&self, id: RequestId) -> Option<Wait> {
        self.entry(id).map(Wait::new)
    }

    /// A future that is ready once the durable store has written the request or has failed to; at once where there is none.
    #[must_use]
    pub fn recorded(&self, id: RequestId) -> Option<Recorded> {
        self.entry(id).map(Recorded::new)
    }

    /// How many bytes the bodies of the session's pending requests and the answers that it keeps take.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.ledger().held_bytes.load(Ordering::Relaxed)
    }

    /// A future that is ready once none of the session's requests is pending.
    pub fn drained(&self) -> Drained {
        Drained::new(Arc::clone(&self.0.ledger))
    }

    /// Cancels a request that has not been sent, or that was refused and waits to be sent again. Gives whether it is cancelled
    /// now; what was sent otherwise goes on, since its effect may be real. Where other processes work on the same store, one of them
    /// may have sent it: then `false` says nothing, and how it ends is told once the store knows. `None` where the id is not known in this
    /// session.
    pub fn cancel(&self, id: RequestId) -> Option<bool> {
        let entry = self.entry(id)?;
        Some(entry.cancel())
    }

    /// Says that nobody will look at how the request ends, so that its failure is not told as one that went unnoticed. `None`
    /// where the id is not known in this session.
    pub fn detach(&self, id: RequestId) -> Option<()> {
        self.entry(id).map(|entry| entry.observe())
    }

    /// Gives a request up: nobody will ask about it again. It is cancelled if it has not been sent, and from now on its id is
    /// unknown. One that was sent goes on; if it only reads, it no longer counts as pending here, so that nobody waits for it.
    /// `None` where the id is not known in this session.
    pub fn abandon(&self, id: RequestId) -> Option<()> {
        let entry = self.shard(id).lock().remove(&id)?;
        entry.observe();
        if !entry.cancel() && entry.reads_only() {
            entry.give_back_place();
        }
        Some(())
    }

    /// Cancels every request of the session that has not been sent. Gives how many are cancelled now: see [`cancel`](Self::cancel).
    /// What another thread is about to submit meanwhile comes after it.
    pub fn cancel_unsent(&self) -> usize {
        let entries: Vec<_> = self.collect(|entry| entry.is_accepted() && !entry.handover.state().is_ended());
        entries.iter().filter(|entry| entry.cancel()).count()
    }

    /// The requests that a shared store was asked to cancel, or is writing that they are. Another process may have sent one: it ends as
    /// that one is answered.
    #[must_use]
    pub fn being_cancelled(&self) -> Vec<RequestId> {
        let entries = self.collect(Entry::is_being_cancelled);
        entries.iter().map(|entry| entry.id).collect()
    }

    /// Ends a request that was sent: for a transport that learns of outcomes elsewhere, and for answers that come after the
    /// request had ended with its effect unknown.
    ///
    /// # Errors
    /// [`InvalidEvent`] where the request cannot end that way now. `Ok(None)` where the id is not known in this session.
    pub fn complete(&self, id: RequestId, outcome: Outcome) -> Result<Option<Transition>, InvalidEvent> {
        let Some(entry) = self.entry(id) else { return Ok(None) };
        if entry.handover.state().is_ended() {
            let effect = outcome.as_ref().map_or_else(|failure| failure.effect, |_| Effect::Done);
            return entry.settle(Event::LateAnswer(effect), outcome).map(Some);
        }
        let event = event_of(&outcome);
        let done = transition(entry.handover.state(), event)?;
        entry.end(event, outcome);
        Ok(Some(done))
    }

    /// Settles a request whose effect was unknown: someone has looked at the other side. `Ok(outcome)` says that it was carried
    /// out, `Err(failure)` that it was not, with the failure's effect `none`.
    ///
    /// # Errors
    /// [`InvalidEvent`] where the request has not ended, and for a failure whose effect is `done`. `Ok(None)` where the id is not known in this session.
    pub fn reconcile(&self, id: RequestId, outcome: Outcome) -> Result<Option<Transition>, InvalidEvent> {
        let Some(entry) = self.entry(id) else { return Ok(None) };
        let effect = outcome.as_ref().map_or_else(|failure| failure.effect, |_| Effect::Done);
        entry.settle(Event::Reconciled(effect), outcome).map(Some)
    }

    /// A request that ended with its effect unknown, and has not been settled: what to look for on the other side. `None` for all
    /// others.
    #[must_use]
    pub fn in_doubt(&self, id: RequestId) -> Option<Request> {
        self.entry(id)?.in_doubt().cloned()
    }

    /// The failures that nobody has looked at: `(id, operation, outcome)`, oldest first.
    #[must_use]
    pub fn unobserved_failures(&self) -> Vec<(RequestId, String, Arc<Outcome>)> {
        let mut entries = self.collect(|entry| !entry.is_observed() && entry.handover.state().is_ended());
        entries.sort_by_key(|entry| entry.submitted);
        let failed = entries.into_iter().filter_map(|entry| {
            let outcome = entry.handover.outcome().filter(|outcome| outcome.is_err())?;
            Some((entry.id, entry.operation.to_string(), outcome))
        });
        failed.collect()
    }

    /// How many requests are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.0.ledger.places.pending()
    }

    /// How many requests are known: pending ones, and ended ones that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no request is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has happened so far in this session.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.0.ledger.counters.snapshot()
    }

    /// Says that the script of this session has ended: from now on its results are kept only for the registry's retention.
    /// Pending requests go on. A second call does nothing.
    pub fn close(&self) {
        if !self.0.closed.swap(true, Ordering::SeqCst) {
            self.0.ledger.registry.retain_until_expired(self.id());
        }
    }

    /// Forgets the ended requests that `which` names.
    pub(crate) fn forget_ended(&self, which: impl Fn(&Entry) -> bool) -> usize {
        let mut forgotten = 0;
        for shard in &self.0.shards {
            shard.lock().retain(|_, entry| {
                let stays = !(entry.handover.state().is_ended() && which(entry));
                forgotten += usize::from(!stays);
                stays
            });
        }
        forgotten
    }

    /// Notes the request's key. Gives whether it may be used.
    pub(crate) fn claim_key(&self, id: RequestId, request: &Request) -> bool {
        let mut keys = self.0.given_keys.lock();
        keys.claim(id, request, |id| self.shard(id).lock().contains_key(&id))
    }

    pub(crate) fn shard(&self, id: RequestId) -> &Mutex<Entries> {
        // The low bits choose the bucket inside the shard; these are others, and random in every UUID of version 4.
        let shard = (id.as_u128() >> 80) as usize % self.0.shards.len();
        &self.0.shards[shard]
    }

    pub(crate) fn entry(&self, id: RequestId) -> Option<Arc<Entry>> {
        self.shard(id).lock().get(&id).cloned()
    }

    fn collect(&self, which: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let mut entries = Vec::new();
        for shard in &self.0.shards {
            entries.extend(shard.lock().values().filter(|entry| which(entry)).cloned());
        }
        entries
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id())
            .field("pending", &self.pending())
            .finish()
    }
}
