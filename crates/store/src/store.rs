//! The store as the registry sees it: it takes orders and answers later.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use inflight_core::{Outcome, Registry, RequestId, RequestStatus, Row, Store, StoreError, Written};
use sqlx::{AnyConnection, Row as _};
use tokio::sync::{Notify, mpsc as queue, watch};

use crate::append::Append;
use crate::database::{self, Dialect, Location, Ownership, damage};
use crate::lease::in_time;
use crate::options::{Accounts, StoreOptions};
use crate::orders::Order;
use crate::started::Started;
use crate::statement::safe;
use crate::transaction::{Ended, Left, Sent};
use crate::writer::Writer;
use crate::{OpenError, QueryError, claim, keeper, rows};

/// How often a new row has been claimed, where its process is the file's only one.
pub(crate) const FIRST_EPOCH: i64 = 1;

/// A file that is larger is not looked through for damage when it is opened: that takes more than a second for each gigabyte. Where SQLite
/// comes across damage it says so; `DurableStore::check` looks for it.
const MOST_LOOKED_THROUGH: u64 = 256 << 20;

/// A durable store: requests that survive the process. Cheap to clone; clones share the store. The last one, when it is dropped, writes what
/// was asked for and closes the database.
///
/// Give its [`handle`](Self::handle) to [`RegistryBuilder::store`](inflight_core::RegistryBuilder::store), and then
/// [`start`](Self::start) it: that hands the registry what an earlier process has left and, on PostgreSQL, what other processes submit.
#[derive(Clone)]
pub struct DurableStore {
    pub(crate) shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    /// Ends the thread when the last handle is dropped.
    closing: Arc<Closing>,
}

/// What the store's tasks share.
pub(crate) struct Shared {
    pub(crate) location: Location,
    pub(crate) dialect: Dialect,
    pub(crate) options: StoreOptions,
    /// This process's name in the rows that it owns.
    pub(crate) process: String,
    /// When it began to work on the store, in milliseconds since 1970, by the database's clock: as the rows have their times.
    since: OnceLock<i64>,
    pub(crate) orders: queue::UnboundedSender<Order>,
    held: Mutex<HashMap<RequestId, Held>>,
    /// Requests that are not written yet. What a shared database has under the id of one may be another one's, for which it is refused.
    appending: Mutex<HashSet<RequestId>>,
    /// Rung when the worker has room for further requests, and when there are new ones.
    pub(crate) room: Notify,
    /// The one registry that is supplied, while it is.
    registry: Mutex<Option<Registry>>,
    pub(crate) started: Started,
}

/// A request that this process may send and end.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) epoch: i64,
    account: String,
}

struct Closing {
    close: Option<watch::Sender<()>>,
    id: ThreadId,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
    _ownership: Option<Ownership>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        drop(self.close.take());
        let thread = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread.filter(|_| self.id != thread::current().id()) {
            // What was asked for is written before the thread ends.
            let _ = thread.join();
        }
    }
}

impl DurableStore {
    /// Opens `sqlite:FILE` or `postgres://USER:PASSWORD@HOST/DATABASE`, and brings its tables up to date. Blocks until that is done; not
    /// for a thread that drives an async runtime.
    ///
    /// # Errors
    /// [`OpenError`] where there is no such store, it cannot be reached, its file is damaged, or another process has the file.
    pub fn open(url: &str, options: StoreOptions) -> Result<Self, OpenError> {
        let location = Location::parse(url)?;
        let ownership = match &location {
            Location::Sqlite(file) if !options.create && !file.exists() => return Err(OpenError::Missing),
            Location::Sqlite(file) => Some(Ownership::take(file)?),
            Location::Postgres(_) => None,
        };
        let (orders, received) = queue::unbounded_channel();
        let shared = Arc::new(Shared {
            dialect: location.dialect(),
            location,
            options,
            process: uuid::Uuid::new_v4().simple().to_string(),
            since: OnceLock::new(),
            orders,
            held: Mutex::default(),
            appending: Mutex::default(),
            room: Notify::new(),
            registry: Mutex::default(),
            started: Started::default(),
        });
        let (close, closed) = watch::channel(());
        let (ready, opened) = mpsc::channel();
        let for_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("inflight-store".into())
            .spawn(move || run(for_thread, received, closed, &ready))
            .map_err(OpenError::Thread)?;
        let runtime = match opened.recv() {
            Ok(Ok(runtime)) => runtime,
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(OpenError::Thread(std::io::Error::other("it panicked"))),
        };
        Ok(Self {
            shared,
            runtime,
            closing: Arc::new(Closing {
                close: Some(close),
                id: thread.thread().id(),
                thread: Mutex::new(Some(thread)),
                _ownership: ownership,
            }),
        })
    }

    /// Hands the registry what the store has for it: what an earlier process has left, and on PostgreSQL what is claimed from now on. One
    /// registry per store; a second call changes nothing. After [`Working`] is dropped a further registry can be supplied, which is then
    /// handed what the first one's worker has left.
    ///
    /// `accounts` says whose requests this process can send; without it, everybody's.
    #[must_use = "dropped, nothing further is claimed"]
    pub fn start(&self, registry: &Registry, accounts: Option<Accounts>) -> Working {
        let (stop, stopped) = watch::channel(false);
        let (stop_claiming, claims_stopped) = watch::channel(false);
        let shared = &self.shared;
        let (alive, ended) = mpsc::channel();
        let is_first = shared.supplied().is_none();
        if is_first {
            *shared.supplied() = Some(registry.clone());
            self.spawn(
                &alive,
                claim::run(Arc::clone(shared), registry.clone(), accounts, claims_stopped),
            );
            self.spawn(
                &alive,
                keeper::run(Arc::clone(shared), registry.clone(), stopped.clone()),
            );
            if shared.is_shared() {
                self.spawn(&alive, keeper::listen(Arc::clone(shared), registry.clone(), stopped));
            }
        }
        Working {
            supplied: is_first.then(|| Arc::clone(shared)),
            stop_claiming: Mutex::new(Some(stop_claiming)),
            stop: Some(stop),
            ended,
            thread: self.closing.id,
        }
    }

    /// Runs a task on the store's thread. `alive` goes when all that it holds is gone.
    fn spawn(&self, alive: &mpsc::Sender<()>, task: impl Future<Output = ()> + Send + 'static) {
        let alive = alive.clone();
        self.runtime.spawn(async move {
            task.await;
            drop(alive);
        });
    }

    /// What a registry writes to. It does not keep the store open.
    #[must_use]
    pub fn handle(&self) -> Arc<dyn Store> {
        Arc::new(Handle(Arc::clone(&self.shared)))
    }

    /// The store's address, without a password.
    #[must_use]
    pub fn address(&self) -> String {
        self.shared.location.to_string()
    }

    /// This process's name in the store.
    #[must_use]
    pub fn process(&self) -> &str {
        &self.shared.process
    }

    /// Runs something on a connection and a thread of its own, and waits for it: what takes long must not hold up the writer.
    pub(crate) fn on_connection<T, E, F, Fut>(&self, ask: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<sqlx::Error> + From<QueryError> + Send + 'static,
        F: FnOnce(AnyConnection, Arc<Shared>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>>,
    {
        let shared = Arc::clone(&self.shared);
        let asking = thread::Builder::new().name("inflight-query".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(sqlx::Error::Io)?;
            runtime.block_on(async {
                let connection = shared.connect().await?;
                ask(connection, shared).await
            })
        });
        let answer = asking.map_err(sqlx::Error::Io)?.join();
        answer.unwrap_or_else(|_| Err(QueryError::Closed.into()))
    }
}

/// The store's thread: everything that touches the database happens here.
fn run(
    shared: Arc<Shared>,
    orders: queue::UnboundedReceiver<Order>,
    closed: watch::Receiver<()>,
    ready: &mpsc::Sender<Result<tokio::runtime::Handle, OpenError>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(OpenError::Thread(error)))),
    };
    runtime.block_on(async {
        let connection = match prepare(&shared).await {
            Ok(connection) => connection,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let _ = ready.send(Ok(runtime.handle().clone()));
        // It ends by itself once it is closed and everything is written.
        Writer::new(Arc::clone(&shared), orders, connection, closed).run().await;
    });
}

async fn prepare(shared: &Shared) -> Result<AnyConnection, OpenError> {
    let mut connection = database::open(&shared.location, &shared.options).await?;
    let failed = |error| OpenError::of_database(error, shared.dialect);
    if let Location::Sqlite(file) = &shared.location
        && !shared.options.accept_damage
    {
        let is_small = file.metadata().is_ok_and(|file| file.len() <= MOST_LOOKED_THROUGH);
        if is_small && let Some(damage) = damage(&mut connection).await.map_err(failed)? {
            return Err(OpenError::Damaged(damage));
        }
        // Whoever had them is gone: the file is ours.
        let free = "UPDATE inflight_requests SET owner = NULL WHERE owner IS NOT NULL AND state IN ('queued', 'sent')";
        database::execute(&mut connection, free).await.map_err(failed)?;
    }
    let since = moment(&mut connection, shared.dialect).await.map_err(failed)?;
    shared.since.get_or_init(|| since);
    Ok(connection)
}

/// The database's own time, in milliseconds since 1970.
pub(crate) async fn moment(connection: &mut AnyConnection, dialect: Dialect) -> Result<i64, sqlx::Error> {
    let now = format!("SELECT {} AS now", dialect.now());
    sqlx::query(safe(&now)).fetch_one(connection).await?.try_get("now")
}

impl Shared {
    /// The answer, or an error where several share the database and it takes longer. Nothing takes a file from its only process, and
    /// nothing would give it back what it has claimed there without knowing.
    pub(crate) async fn in_time<T, E: From<sqlx::Error>>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if self.is_shared() {
            in_time(limit, answer).await
        } else {
            answer.await
        }
    }

    pub(crate) fn since(&self) -> i64 {
        self.since.get().copied().unwrap_or_default()
    }

    /// Whether other processes work on the same rows.
    pub(crate) fn is_shared(&self) -> bool {
        self.dialect == Dialect::Postgres
    }

    pub(crate) async fn connect(&self) -> Result<AnyConnection, sqlx::Error> {
        self.location.connect(&self.options).await
    }

    fn supplied(&self) -> MutexGuard<'_, Option<Registry>> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry(&self) -> Option<Registry> {
        self.supplied().clone()
    }

    fn all_held(&self) -> MutexGuard<'_, HashMap<RequestId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn appending(&self) -> MutexGuard<'_, HashSet<RequestId>> {
        self.appending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this process may send and end the request.
    pub(crate) fn hold(&self, id: RequestId, epoch: i64, account: &str) {
        let held = Held {
            epoch,
            account: account.to_owned(),
        };
        self.all_held().insert(id, held);
    }

    /// It may no more, unless it has claimed the request anew meanwhile.
    pub(crate) fn let_go(&self, id: RequestId, epoch: i64) {
        let mut all = self.all_held();
        if all.get(&id).is_some_and(|held| held.epoch == epoch) {
            all.remove(&id);
        }
    }

    /// Another process has had it, and whoever was to send it here is told: no claim since that one counts, since it was for the same.
    pub(crate) fn lose(&self, id: RequestId, epoch: i64) {
        let mut all = self.all_held();
        if all.get(&id).is_some_and(|held| held.epoch >= epoch) {
            all.remove(&id);
        }
    }

    /// What this process holds, and by which claim.
    pub(crate) fn all_claims(&self) -> Vec<(RequestId, i64)> {
        self.all_held().iter().map(|(id, held)| (*id, held.epoch)).collect()
    }

    pub(crate) fn held(&self, id: RequestId) -> Option<Held> {
        self.all_held().get(&id).cloned()
    }

    pub(crate) fn held_count(&self) -> usize {
        self.all_held().len()
    }

    /// Tells the registry of requests that the database has cancelled.
    pub(crate) fn learn_cancelled(&self, ids: Vec<RequestId>) {
        let Some(registry) = self.registry() else { return };
        for id in ids {
            registry.learn(id, RequestStatus::Cancelled, Err(crate::rows::cancelled()));
        }
    }

    pub(crate) fn order(&self, order: Order) {
        // A closed store drops the order, which answers it: with an error.
        let _ = self.orders.send(order);
    }
}

/// The store as a registry knows it.
struct Handle(Arc<Shared>);

impl Store for Handle {
    fn append(&self, all: Vec<Row>, done: Written) {
        let options = &self.0.options;
        let rows: Vec<_> = all.iter().map(|row| (row.id, rows::appended(row, options))).collect();
        // At once: it may be cancelled before it is written, and that is to be written too. Who holds a request of that id already does so
        // from an earlier submission.
        let new = rows
            .iter()
            .filter(|(id, _)| !self.0.is_shared() && self.0.held(*id).is_none());
        let held: Vec<_> = new
            .map(|(id, row)| (*id, row["account"].as_str().unwrap_or_default()))
            .collect();
        for (id, account) in &held {
            self.0.hold(*id, FIRST_EPOCH, account);
        }
        let held = held.into_iter().map(|(id, _)| id).collect();
        if self.0.is_shared() {
            self.0.appending().extend(rows.iter().map(|(id, _)| *id));
        }
        self.0.order(Order::Append(Append { rows, held, done }));
    }

    fn sent(&self, id: RequestId, attempt: u32, done: Written) {
        match self.0.held(id) {
            None => done(Err(StoreError::lost())),
            Some(Held { epoch, account }) => self.0.order(Order::Sent(Sent {
                id,
                epoch,
                account,
                attempt,
                done,
            })),
        }
    }

    fn ended(&self, id: RequestId, status: RequestStatus, outcome: &Outcome, done: Written) {
        let Some(Held { epoch, .. }) = self.0.held(id) else {
            return done(Err(StoreError::lost()));
        };
        let row = rows::ended(id, epoch, status, outcome);
        self.0.order(Order::Ended(Ended { id, epoch, row, done }));
    }

    fn settled(&self, id: RequestId, status: RequestStatus, outcome: &Outcome, done: Written) {
        let row = rows::ended(id, 0, status, outcome);
        self.0.order(Order::Settled(Ended {
            id,
            epoch: 0,
            row,
            done,
        }));
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    fn cancel(&self, id: RequestId) -> bool {
        self.0.order(Order::Cancel(id));
        true
    }

    fn left(&self, id: RequestId) {
        if let Some(Held { epoch, .. }) = self.0.held(id) {
            self.0.let_go(id, epoch);
            self.0.order(Order::Left(Left { id, epoch }));
        }
    }
}

impl fmt::Debug for DurableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableStore")
            .field("address", &self.shared.location)
            .field("held", &self.shared.held_count())
            .finish_non_exhaustive()
    }
}

/// Keeps a registry supplied from a store, as long as it lives. See [`DurableStore::start`].
///
/// The store knows the registry while this lives, and the registry its store: dropped last, this keeps both from going.
pub struct Working {
    supplied: Option<Arc<Shared>>,
    stop_claiming: Mutex<Option<watch::Sender<bool>>>,
    stop: Option<watch::Sender<bool>>,
    ended: mpsc::Receiver<()>,
    thread: ThreadId,
}

impl Working {
    /// Hands the registry nothing further, and tells whoever waits there for what other processes send that it leaves the store. What it
    /// has stays its own until this is dropped: do that once its worker has stopped.
    pub fn stop_claiming(&self) {
        let stop = self.stop_claiming.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(stop);
        if let Some(registry) = self.supplied.as_ref().and_then(|shared| shared.registry()) {
            registry.leave_elsewhere();
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.stop_claiming();
        drop(self.stop.take());
        if thread::current().id() != self.thread {
            // The tasks end at once. Then nothing of theirs keeps the store open.
            let _ = self.ended.recv();
        }
        if let Some(shared) = &self.supplied {
            // Without the lock: it may be the registry's last handle.
            let registry = shared.supplied().take();
            if let Some(registry) = registry {
                registry.leave_elsewhere();
            }
        }
    }
}

impl fmt::Debug for Working {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Working").finish_non_exhaustive()
    }
}
