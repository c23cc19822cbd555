//! What the tests share.

use std::future::Future as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use inflight_core::testing::{ManualTransport, Sent};
use inflight_core::{
    Effect, Failure, FailureKind, IdempotencyKey, Kept, MemoryStore, Method, Outcome, Registry, Request, RequestId,
    Response, Store, Success,
};
use inflight_store::{DurableStore, StoreOptions, Working};
use sqlx::Connection as _;
use tempfile::TempDir;

use crate::schema::{Schema, Transaction, on_postgres};

/// Far beyond what any of these tests takes: it only turns a hang into a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn post(name: &str) -> Request {
    Request::new(Method::Post, "/v1/products")
        .operation("product.create")
        .body("application/x-www-form-urlencoded", format!("name={name}"))
        .credential("shop")
        .idempotency_key(IdempotencyKey::Generated)
}

pub(crate) fn success(id: &str) -> Outcome {
    let mut response = Response::new(200, format!("{{\"id\":\"{id}\"}}"));
    response.headers.push(("request-id".into(), format!("req_{id}").into()));
    Ok(Success {
        object_id: Some(id.into()),
        response,
    })
}

pub(crate) fn failure(effect: Effect) -> Failure {
    Failure::new(FailureKind::Http, effect, "as the test says")
}

pub(crate) fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = holds() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A text that no compression makes short.
pub(crate) fn long(bytes: usize) -> String {
    let mut text = String::new();
    let mut random = 1_u64;
    while text.len() < bytes {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        text.push_str(&format!("{:016x}", random.swap_bytes()));
    }
    text
}

/// Where a store keeps its rows.
pub(crate) enum Place {
    Memory,
    File(TempDir),
    Postgres(Schema),
}

impl Place {
    pub(crate) fn file() -> Self {
        Self::File(tempfile::tempdir().unwrap())
    }

    /// `None` where there is no PostgreSQL.
    pub(crate) fn postgres() -> Option<Self> {
        Schema::new().map(Self::Postgres)
    }

    pub(crate) fn durable() -> Vec<Self> {
        [Some(Self::file()), Self::postgres()].into_iter().flatten().collect()
    }

    pub(crate) fn all() -> Vec<Self> {
        let mut all = vec![Self::Memory];
        all.extend(Self::durable());
        all
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Memory => unreachable!("memory has no address"),
            Self::File(folder) => format!("sqlite:{}", folder.path().join("store.db").display()),
            Self::Postgres(schema) => schema.url(),
        }
    }

    /// Runs a statement past the store.
    pub(crate) fn execute(&self, statement: &str) {
        match self {
            Self::Memory => unreachable!("memory has no statements"),
            Self::Postgres(schema) => on_postgres(&schema.url(), statement),
            Self::File(_) => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .unwrap();
                runtime.block_on(async {
                    let mut connection = sqlx::SqliteConnection::connect(&self.url()).await.unwrap();
                    let statement = sqlx::AssertSqlSafe(statement.to_owned());
                    sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
                });
            }
        }
    }

    /// The number that a query past the store gives. Only on PostgreSQL.
    pub(crate) fn number(&self, query: &str) -> i64 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut connection = sqlx::PgConnection::connect(&self.url()).await.unwrap();
            let query = sqlx::query_scalar(sqlx::AssertSqlSafe(query.to_owned()));
            query.fetch_one(&mut connection).await.unwrap()
        })
    }

    /// A transaction past the store that begins with this statement. Only on PostgreSQL.
    pub(crate) fn transaction(&self, statement: &str) -> Transaction {
        Transaction::begin(&self.url(), statement)
    }

    /// Waits until a statement that begins so waits for a lock on the requests.
    pub(crate) fn wait_for_lock(&self, start: &str) {
        let query = format!(
            "SELECT COUNT(*) FROM pg_locks AS l JOIN pg_stat_activity AS a ON a.pid = l.pid \
             WHERE NOT l.granted AND l.relation = 'inflight_requests'::regclass AND a.query LIKE '{start}%'"
        );
        until("it waits for the lock", || (self.number(&query) > 0).then_some(()));
    }

    /// One whose database has a clock that can be [put ahead](Self::set_clock_ahead). `None` where there is no PostgreSQL.
    pub(crate) fn with_clock() -> Option<Self> {
        // What the schema has comes before the system's of the same name.
        Schema::with_path(",pg_catalog").map(Self::Postgres)
    }

    /// Puts the database's clock ahead of the machine's.
    pub(crate) fn set_clock_ahead(&self, hours: u32) {
        self.execute(&format!(
            "CREATE OR REPLACE FUNCTION clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE \
             AS $$SELECT pg_catalog.clock_timestamp() + interval '{hours} hours'$$"
        ));
    }

    /// Moves the store's clock, as far as anyone can tell: all its times move the other way.
    pub(crate) fn move_clock(&self, hours: f64) {
        let ms = (hours * 3_600_000.0) as i64;
        let tables = [
            (
                "inflight_requests",
                &["created_at", "not_before", "key_sent_at", "lease_until", "ended_at"][..],
            ),
            ("inflight_runs", &["begun_at", "lease_until", "ended_at"]),
            ("inflight_pace", &["taken_at"]),
        ];
        for (table, times) in tables {
            let moved: Vec<_> = times.iter().map(|time| format!("{time} = {time} - ({ms})")).collect();
            self.execute(&format!("UPDATE {table} SET {}", moved.join(", ")));
        }
    }

    pub(crate) fn open(&self) -> DurableStore {
        self.open_with(quick())
    }

    pub(crate) fn open_with(&self, options: StoreOptions) -> DurableStore {
        DurableStore::open(&self.url(), options).unwrap()
    }
}

/// Options under which nothing takes long.
pub(crate) fn quick() -> StoreOptions {
    StoreOptions {
        lease: Duration::from_millis(600),
        poll: Duration::from_millis(50),
        ..StoreOptions::default()
    }
}

/// The same, and nothing is claimed.
pub(crate) fn idle() -> StoreOptions {
    StoreOptions { prefetch: 0, ..quick() }
}

/// A registry on a store, and its queue.
pub(crate) struct Process {
    pub(crate) registry: Registry,
    pub(crate) transport: ManualTransport,
    pub(crate) store: Option<DurableStore>,
    memory: Option<Arc<MemoryStore>>,
    working: Option<Working>,
}

impl Process {
    pub(crate) fn at(place: &Place) -> Self {
        Self::with(place, quick())
    }

    pub(crate) fn with(place: &Place, options: StoreOptions) -> Self {
        let (store, memory): (Arc<dyn Store>, _) = match place {
            Place::Memory => {
                let memory = Arc::new(MemoryStore::new());
                (memory.clone(), Some(memory))
            }
            _ => {
                let store = place.open_with(options);
                return Self::on(store);
            }
        };
        let (registry, queue) = Registry::builder().store(store).build();
        Self {
            registry,
            transport: ManualTransport::new(queue),
            store: None,
            memory,
            working: None,
        }
    }

    pub(crate) fn on(store: DurableStore) -> Self {
        let (registry, queue) = Registry::builder().store(store.handle()).build();
        let working = store.start(&registry, None);
        Self {
            registry,
            transport: ManualTransport::new(queue),
            store: Some(store),
            memory: None,
            working: Some(working),
        }
    }

    pub(crate) fn store(&self) -> &DurableStore {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn next(&mut self) -> Sent {
        let transport = &mut self.transport;
        until("a request comes", || transport.try_next())
    }

    /// What the store has of a request.
    pub(crate) fn kept(&self, id: RequestId) -> Option<Kept> {
        if let Some(store) = &self.store {
            return store.request(id).unwrap();
        }
        let record = self.memory.as_ref()?.record(id)?;
        Some(Kept {
            id,
            request: record.row.request,
            deadline: record.row.deadline,
            attempts: record.sent,
            sent_ago: (record.sent > 0).then_some(Duration::ZERO),
            ended: record.ended.zip(record.outcome),
        })
    }

    /// The same where the database may be away: `None` until it answers.
    pub(crate) fn try_kept(&self, id: RequestId) -> Option<Option<Kept>> {
        self.store().request(id).ok()
    }

    /// It goes silent: no lease of its is renewed.
    pub(crate) fn freeze(&mut self) {
        self.working = None;
    }

    /// It claims nothing further, and goes on with what it has.
    pub(crate) fn stop_claiming(&self) {
        self.working.as_ref().unwrap().stop_claiming();
    }

    /// It is heard again.
    pub(crate) fn thaw(&mut self) {
        self.working = Some(self.store().start(&self.registry, None));
    }

    /// Its worker stops with this in flight, and the process goes on.
    pub(crate) fn die_with(self, in_flight: Sent) {
        drop(self.transport);
        drop(in_flight);
        drop(self.working);
        drop((self.registry, self.store));
    }

    /// The process is gone from one moment to the next, as far as the store can tell.
    pub(crate) fn die(self) {
        drop(self.working);
        drop((self.registry, self.transport, self.store));
    }
}

impl Process {
    /// Has every request answered at once.
    pub(crate) fn echo(self) -> (Registry, Echoing) {
        let echo = Echo::of(self.transport);
        let echoing = Echoing {
            echo,
            working: self.working,
            store: self.store,
        };
        (self.registry, echoing)
    }
}

/// A process whose worker answers everything.
pub(crate) struct Echoing {
    echo: Echo,
    working: Option<Working>,
    store: Option<DurableStore>,
}

impl Echoing {
    /// Gives how many requests it has answered.
    pub(crate) fn die(self) -> usize {
        let answered = self.echo.stop();
        drop((self.working, self.store));
        answered
    }
}

/// A worker that answers every request at once.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<usize>>,
}

impl Echo {
    fn of(mut transport: ManualTransport) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut answered = 0;
            let mut starts = Vec::new();
            while !stopped.load(Ordering::SeqCst) {
                while let Some(job) = transport.next_job() {
                    starts.push(Box::pin(job.start()));
                }
                let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
                starts.retain_mut(|start| match start.as_mut().poll(&mut cx) {
                    std::task::Poll::Pending => true,
                    std::task::Poll::Ready(in_flight) => {
                        if let Some(in_flight) = in_flight {
                            let id = format!("prod_{}", in_flight.id());
                            in_flight.complete(success(&id));
                            answered += 1;
                        }
                        false
                    }
                });
                std::thread::sleep(Duration::from_micros(200));
            }
            answered
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Stops it. Gives how many it has answered.
    fn stop(mut self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}
