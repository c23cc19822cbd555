//! The registry: where requests are submitted and found again.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::counters::Counters;
use crate::elsewhere::Elsewhere;
use crate::entry::Entry;
use crate::observer::Observers;
use crate::queue::{Job, Queue};
use crate::session::{Session, SessionLimits, WeakSession};
use crate::state::{InvalidEvent, Transition};
use crate::sync::Mutex;
use crate::wait::Wait;
use crate::waiters::WaiterList;
use crate::{
    Calls, Clock, Counts, Observer, Outcome, Request, RequestId, RequestStatus, ResultError, Store, SubmitError,
    SystemClock, Transport, WaitError,
};

/// The number of the session that has what the store handed out.
const TAKEN_IN: u64 = u64::MAX;

/// How many unsent requests the queue holds, unless the builder says otherwise.
pub const DEFAULT_QUEUE_CAPACITY: usize = 10_000;

/// How long a request may take from its submission on, unless it says otherwise: 10 minutes.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(600);

/// How long results are kept after their session was closed, unless the builder says otherwise: 5 minutes.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(300);

/// How many requests of one session may be pending, unless the session says otherwise.
pub const DEFAULT_SESSION_PENDING: usize = 1_000;

/// The registry's own session is used from many threads at once.
const ROOT_SHARDS: usize = 64;

/// Changes a request when it is accepted: once, before anything is written down or sent.
pub type OnSubmit = dyn Fn(RequestId, &mut Request) + Send + Sync;

/// What all sessions and jobs of a registry share.
pub(crate) struct RegistryShared {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) store: Option<Arc<dyn Store>>,
    pub(crate) observers: Observers,
    pub(crate) on_submit: Option<Arc<OnSubmit>>,
    pub(crate) transport: OnceLock<Arc<dyn Transport>>,
    pub(crate) deadline: Duration,
    pub(crate) capacity: usize,
    retention: Duration,
    senders: [Sender<Job>; 3],
    pub(crate) closed: AtomicBool,
    /// The transport stops: it sends nothing more.
    pub(crate) queue_gone: AtomicBool,
    pub(crate) counters: Counters,
    /// Requests that have not ended.
    pub(crate) pending: AtomicUsize,
    /// Requests that are not sent yet, wherever they wait: what the queue's bound counts.
    pub(crate) unsent: AtomicUsize,
    /// The same by priority. It follows the bound's count by a moment, and is for looking at only.
    pub(crate) queued: [AtomicUsize; 3],
    /// Requests that feeders will submit and have not: see [`Registry::expected`].
    pub(crate) expected: AtomicU64,
    /// Requests that are sent and have not ended.
    pub(crate) sent: AtomicUsize,
    /// Requests that are back in the queue, to be sent again: part of the unsent ones.
    pub(crate) waiting: AtomicUsize,
    /// Requests that were cancelled and have not left the queue yet.
    pub(crate) cancelled: AtomicUsize,
    /// Of those, the ones that waited for a further attempt.
    pub(crate) cancelled_waiting: AtomicUsize,
    /// Whether the transport is to look for what was cancelled, and to drop it, soon.
    pub(crate) sweep_wanted: AtomicBool,
    /// Who waits for room in the queue.
    pub(crate) room: WaiterList,
    /// Who waits for room of any kind and wants to know when there will be none.
    pub(crate) closing: WaiterList,
    /// Who waits for room for more than one request, and the least that any of them waits for.
    pub(crate) admission: WaiterList,
    pub(crate) admission_places: AtomicUsize,
    next_session: AtomicU64,
    /// The sessions that have a handle, by their numbers.
    pub(crate) sessions: Mutex<HashMap<u64, WeakSession>>,
    pub(crate) elsewhere: Mutex<Elsewhere>,
    /// Closed sessions, by the moment when their results expire.
    expiring: Mutex<VecDeque<(Instant, u64)>>,
}

impl RegistryShared {
    pub(crate) fn enqueue(&self, job: Job) {
        let level = job.request().priority.level();
        // Without a receiver there is no transport any more: the job comes back in the error and, dropped, ends its request.
        drop(self.senders[level].send(job));
        self.notify();
    }

    /// Whether what is cancelled in the queue is counted until the transport has dropped it. Of what a shared store has, the store decides
    /// whether it is cancelled, and the transport may have dropped it before that is known.
    pub(crate) fn counts_cancelled(&self) -> bool {
        self.store.as_ref().is_none_or(|store| !store.is_shared())
    }

    pub(crate) fn free_places(&self) -> usize {
        self.capacity.saturating_sub(self.unsent.load(Ordering::SeqCst))
    }

    /// A place in the queue has become free.
    pub(crate) fn place_left(&self) {
        self.unsent.fetch_sub(1, Ordering::SeqCst);
        self.room.wake_one();
        if self.free_places() >= self.admission_places.load(Ordering::SeqCst) {
            self.admission_places.store(usize::MAX, Ordering::SeqCst);
            self.admission.wake_all();
        }
    }

    pub(crate) fn notify(&self) {
        if let Some(transport) = self.transport.get() {
            transport.notify();
        }
    }

    /// A request that the store handed out and no session here had submitted.
    pub(crate) fn taken_in(&self, id: RequestId) -> Option<Arc<Entry>> {
        let session = self.sessions.lock().get(&TAKEN_IN).cloned();
        session?.entry(id)
    }

    pub(crate) fn retain_until_expired(&self, session: u64) {
        // A retention beyond what the clock can count never ends.
        if let Some(expires) = self.clock.now().checked_add(self.retention) {
            self.expiring.lock().push_back((expires, session));
        }
        self.sweep_sessions();
    }

    /// Forgets the results of sessions that closed longer ago than the retention.
    fn sweep_sessions(&self) -> usize {
        let now = self.clock.now();
        let over = {
            let mut expiring = self.expiring.lock();
            let over = expiring.iter().take_while(|(expires, _)| *expires <= now).count();
            expiring.drain(..over).collect::<Vec<_>>()
        };
        let mut forgotten = 0;
        for (_, id) in over {
            // Gone with its last handle, or still held by somebody.
            let Some(session) = self.sessions.lock().get(&id).cloned() else {
                continue;
            };
            forgotten += session.forget_results();
            // What has not ended yet is kept for a while from then on.
            if session.is_pending()
                && let Some(expires) = now.checked_add(self.retention)
            {
                self.expiring.lock().push_back((expires, id));
            }
        }
        forgotten
    }
}

impl fmt::Debug for RegistryShared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryShared")
            .field("pending", &self.pending)
            .field("unsent", &self.unsent)
            .finish_non_exhaustive()
    }
}

/// Where requests are submitted and found again. A cheap handle: clones share everything.
///
/// It has a session of its own, which the methods named after [`Session`]'s use, and gives out further ones.
#[derive(Clone)]
pub struct Registry {
    pub(crate) shared: Arc<RegistryShared>,
    root: Session,
    /// Requests that the durable store handed out and no session here has submitted.
    pub(crate) taken_in: Session,
}

impl Registry {
    /// A registry with all defaults, and its queue.
    #[must_use]
    pub fn new() -> (Self, Queue) {
        Self::builder().build()
    }

    /// Starts to configure a registry.
    #[must_use]
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// A new session with the default limits: 1,000 pending requests, a tenth of the queue.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session_with(self.session_limits())
    }

    /// The default limits of a session: 1,000 pending requests, a tenth of the queue.
    #[must_use]
    pub fn session_limits(&self) -> SessionLimits {
        SessionLimits {
            pending: DEFAULT_SESSION_PENDING,
            unsent: self.session_share(),
        }
    }

    /// A new session with these limits.
    #[must_use]
    pub fn session_with(&self, limits: SessionLimits) -> Session {
        self.new_session(limits, None)
    }

    /// A new session whose requests have the ids of the calls that submit them: for a script that can be replayed after a crash.
    #[must_use]
    pub fn session_of_run(&self, limits: SessionLimits, calls: Arc<dyn Calls>) -> Session {
        self.new_session(limits, Some(calls))
    }

    fn new_session(&self, limits: SessionLimits, calls: Option<Arc<dyn Calls>>) -> Session {
        let id = self.shared.next_session.fetch_add(1, Ordering::Relaxed);
        Session::new(Arc::clone(&self.shared), id, limits, 1, calls)
    }

    /// How much of the queue one session may hold by default: a tenth, at least 1.
    #[must_use]
    pub fn session_share(&self) -> usize {
        (self.shared.capacity / 10).max(1)
    }

    /// The registry's own session. It may use the whole queue, and is never closed.
    #[must_use]
    pub fn root(&self) -> &Session {
        &self.root
    }

    /// See [`Session::submit`].
    ///
    /// # Errors
    /// As there.
    pub fn submit(&self, request: Request) -> Result<RequestId, SubmitError> {
        self.root.submit(request)
    }

    /// See [`Session::status`].
    #[must_use]
    pub fn status(&self, id: RequestId) -> Option<RequestStatus> {
        self.root.status(id)
    }

    /// See [`Session::is_complete`].
    #[must_use]
    pub fn is_complete(&self, id: RequestId) -> Option<bool> {
        self.root.is_complete(id)
    }

    /// See [`Session::result`].
    ///
    /// # Errors
    /// As there.
    pub fn result(&self, id: RequestId) -> Result<Arc<Outcome>, ResultError> {
        self.root.result(id)
    }

    /// See [`Session::take_result`].
    ///
    /// # Errors
    /// As there.
    pub fn take_result(&self, id: RequestId) -> Result<Outcome, ResultError> {
        self.root.take_result(id)
    }

    /// See [`Session::wait`].
    ///
    /// # Errors
    /// As there.
    pub fn wait(&self, id: RequestId, timeout: Option<Duration>) -> Result<Arc<Outcome>, WaitError> {
        self.root.wait(id, timeout)
    }

    /// See [`Session::wait_async`].
    #[must_use]
    pub fn wait_async(&self, id: RequestId) -> Option<Wait> {
        self.root.wait_async(id)
    }

    /// See [`Session::cancel`].
    pub fn cancel(&self, id: RequestId) -> Option<bool> {
        self.root.cancel(id)
    }

    /// Cancels a request of whichever session, for an operator who sees only its id: see [`Session::cancel`]. `None` where no session
    /// that still has a handle knows the id.
    ///
    /// It asks one session after another, with one look-up each, and so takes longer the more sessions there are.
    pub fn cancel_anywhere(&self, id: RequestId) -> Option<bool> {
        // A session that is dropped here takes the lock itself.
        let sessions: Vec<_> = self.shared.sessions.lock().values().cloned().collect();
        sessions.iter().find_map(|session| session.cancel(id))
    }

    /// See [`Session::complete`].
    ///
    /// # Errors
    /// As there.
    pub fn complete(&self, id: RequestId, outcome: Outcome) -> Result<Option<Transition>, InvalidEvent> {
        self.root.complete(id, outcome)
    }

    /// Forgets results that nobody can want any more: those of sessions that closed longer ago than the retention, and those
    /// of the registry's own session that were submitted longer ago. A pending request is never forgotten. Gives how many.
    ///
    /// Closing a session sweeps the sessions that closed before it; a host that only uses the registry's own session calls
    /// this now and then.
    pub fn sweep(&self) -> usize {
        let now = self.shared.clock.now();
        let retention = self.shared.retention;
        let own = self
            .root
            .forget_ended(|entry| now.saturating_duration_since(entry.submitted) > retention);
        own + self.shared.sweep_sessions()
    }

    /// How many requests have not ended, in all sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.pending.load(Ordering::SeqCst)
    }

    /// Whether every request has ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many requests are not sent yet or wait to be sent again, in all sessions: what the queue's bound counts. Those that come
    /// back after a failed attempt are never refused, so it may be more than the bound, by as many as the transport sends at once.
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.shared.unsent.load(Ordering::SeqCst)
    }

    /// The same by priority, in the order of [`Priority::ALL`](crate::Priority::ALL).
    #[must_use]
    pub fn queue_depth(&self) -> [usize; 3] {
        self.shared
            .queued
            .each_ref()
            .map(|queued| queued.load(Ordering::Relaxed))
    }

    /// How many requests are still to come, as far as those say who submit many ([`Feeder::expect`](crate::Feeder::expect)).
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.shared.expected.load(Ordering::Relaxed)
    }

    /// How many requests wait for a further attempt, in all sessions: a part of the [unsent](Self::unsent) ones.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// How many requests are being sent, in all sessions: an attempt of them is under way.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// How many unsent requests the queue holds at most.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.shared.capacity
    }

    /// What has happened so far, in all sessions.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counters.snapshot()
    }

    /// The registry's clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.clock
    }

    /// A future that is ready when at least `places` of the queue are free.
    pub fn room(&self, places: usize) -> crate::wait::Room {
        crate::wait::Room::new(Arc::clone(&self.shared), places)
    }

    /// Accepts no more requests. Those that were accepted go on.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.closing.wake_all();
        self.shared.admission.wake_all();
        self.shared.notify();
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("pending", &self.len())
            .field("unsent", &self.unsent())
            .finish_non_exhaustive()
    }
}

/// Configures a [`Registry`].
#[derive(Default)]
pub struct RegistryBuilder {
    clock: Option<Arc<dyn Clock>>,
    store: Option<Arc<dyn Store>>,
    observers: Observers,
    on_submit: Option<Arc<OnSubmit>>,
    capacity: Option<usize>,
    deadline: Option<Duration>,
    retention: Option<Duration>,
}

impl RegistryBuilder {
    /// The clock. By default the operating system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The durable store. By default there is none, and a crash forgets what was submitted.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Who is told of what happens to requests. Each call adds one. By default nobody.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.add(observer);
        self
    }

    /// What is done to each request when it is accepted, such as writing its id into it. It runs on the submitting thread, and must
    /// neither block nor panic. By default nothing.
    #[must_use]
    pub fn on_submit(mut self, change: Arc<OnSubmit>) -> Self {
        self.on_submit = Some(change);
        self
    }

    /// How many unsent requests the queue holds. By default 10,000; at least 1.
    #[must_use]
    pub fn queue_capacity(mut self, requests: usize) -> Self {
        self.capacity = Some(requests.max(1));
        self
    }

    /// How long a request may take from its submission on. By default 10 minutes.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// How long results are kept after their session was closed. By default 5 minutes.
    #[must_use]
    pub fn retention(mut self, after: Duration) -> Self {
        self.retention = Some(after);
        self
    }

    /// The registry, and its queue for the one transport.
    #[must_use]
    pub fn build(self) -> (Registry, Queue) {
        let (high, high_jobs) = crossbeam_channel::unbounded();
        let (normal, normal_jobs) = crossbeam_channel::unbounded();
        let (low, low_jobs) = crossbeam_channel::unbounded();
        let capacity = self.capacity.unwrap_or(DEFAULT_QUEUE_CAPACITY);
        let shared = Arc::new(RegistryShared {
            clock: self.clock.unwrap_or_else(|| Arc::new(SystemClock)),
            store: self.store,
            observers: self.observers,
            on_submit: self.on_submit,
            transport: OnceLock::new(),
            deadline: self.deadline.unwrap_or(DEFAULT_DEADLINE),
            capacity,
            retention: self.retention.unwrap_or(DEFAULT_RETENTION),
            senders: [high, normal, low],
            closed: AtomicBool::new(false),
            queue_gone: AtomicBool::new(false),
            counters: Counters::default(),
            pending: AtomicUsize::new(0),
            unsent: AtomicUsize::new(0),
            expected: AtomicU64::default(),
            queued: Default::default(),
            sent: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            cancelled_waiting: AtomicUsize::new(0),
            sweep_wanted: AtomicBool::new(false),
            room: WaiterList::default(),
            closing: WaiterList::default(),
            admission: WaiterList::default(),
            admission_places: AtomicUsize::new(usize::MAX),
            next_session: AtomicU64::new(1),
            sessions: Mutex::default(),
            elsewhere: Mutex::default(),
            expiring: Mutex::default(),
        });
        let limits = SessionLimits {
            pending: usize::MAX,
            unsent: capacity,
        };
        let root = Session::new(Arc::clone(&shared), 0, limits, ROOT_SHARDS, None);
        let taken_in = Session::new(Arc::clone(&shared), TAKEN_IN, limits, 1, None);
        let queue = Queue::new([high_jobs, normal_jobs, low_jobs], Arc::clone(&shared));
        let registry = Registry { shared, root, taken_in };
        (registry, queue)
    }
}

impl fmt::Debug for RegistryBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryBuilder")
            .field("capacity", &self.capacity)
            .field("deadline", &self.deadline)
            .field("retention", &self.retention)
            .finish_non_exhaustive()
    }
}
