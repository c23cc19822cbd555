//! What does durability cost, and how long does a restart take?
//!
//! - `submit`: how long until a request is on the disk, for one that submits alone and for 64 that do so at once (time per request);
//! - `restart`: how long from opening a store in which 10,000 requests are left until the first of them can be sent;
//! - `claim`: how long until a process that opens its registry on such a store has 64 requests to send.
//!
//! On SQLite in a new folder, and on PostgreSQL where `INFLIGHT_TEST_POSTGRES` has the address of a database that it may make schemas in.

#[path = "../tests/it/schema.rs"]
mod schema;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use inflight_core::testing::ManualTransport;
use inflight_core::{IdempotencyKey, Method, Registry, Request, Session, SessionLimits, block_on};
use inflight_store::{DurableStore, StoreOptions, Working};
use schema::Schema;
use tempfile::TempDir;

const LEFT: usize = 10_000;
const AT_ONCE: usize = 64;

/// Where a store keeps its rows while the benchmark lasts.
enum Place {
    File(TempDir),
    Postgres(Schema),
}

impl Place {
    fn all() -> Vec<Self> {
        let file = Self::File(tempfile::tempdir().expect("a folder"));
        [Some(file), Schema::new().map(Self::Postgres)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn name(&self) -> &'static str {
        match self {
            Self::File(_) => "sqlite",
            Self::Postgres(_) => "postgres",
        }
    }

    fn open(&self, prefetch: usize) -> DurableStore {
        let url = match self {
            Self::File(folder) => format!("sqlite:{}", folder.path().join("store.db").display()),
            Self::Postgres(schema) => schema.url(),
        };
        let options = StoreOptions {
            prefetch,
            ..StoreOptions::default()
        };
        DurableStore::open(&url, options).expect("a store")
    }
}

/// A registry on a store, with room for everything.
fn registry(store: &DurableStore) -> (Registry, Session, ManualTransport) {
    let (registry, queue) = Registry::builder()
        .store(store.handle())
        .queue_capacity(100 * LEFT)
        .build();
    let session = registry.session_with(SessionLimits {
        pending: 100 * LEFT,
        unsent: 100 * LEFT,
    });
    (registry, session, ManualTransport::new(queue))
}

fn request() -> Request {
    Request::new(Method::Post, "/v1/products")
        .operation("product.create")
        .body(
            "application/x-www-form-urlencoded",
            "name=Mug&description=A+mug+of+stoneware&metadata%5Bsku%5D=mug-1",
        )
        .credential("shop")
        .idempotency_key(IdempotencyKey::Generated)
}

fn submit_recorded(session: &Session, requests: usize) {
    let submit = |_| session.submit(request()).expect("there is room");
    let ids: Vec<_> = (0..requests).map(submit).collect();
    for id in ids {
        block_on(session.recorded(id).expect("it is known"));
    }
}

fn submit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("submit");
    for place in Place::all() {
        // Nothing is claimed: only the writing is measured.
        let store = place.open(0);
        for at_once in [1, AT_ONCE] {
            let (_registry, session, _transport) = registry(&store);
            group.bench_function(BenchmarkId::new(place.name(), at_once), |bencher| {
                bencher.iter_custom(|requests| {
                    let begun = Instant::now();
                    for _ in 0..requests {
                        submit_recorded(&session, at_once);
                    }
                    begun.elapsed() / u32::try_from(at_once).expect("a small number")
                });
            });
        }
    }
    group.finish();
}

/// A store in which 10,000 requests are left, as if the process that submitted them were gone.
fn left(place: &Place) {
    let store = place.open(0);
    let (_registry, session, _transport) = registry(&store);
    let requests = (0..LEFT).map(|_| request()).collect();
    let ids = session.submit_all(requests).expect("there is room");
    for id in ids {
        block_on(session.recorded(id).expect("it is known"));
    }
}

/// Takes in this many requests. What it gives keeps them from ending; dropped, they stay in the store.
fn taken_in(store: &DurableStore, requests: usize) -> (Working, Registry, ManualTransport) {
    let (registry, _session, transport) = registry(store);
    let working = store.start(&registry, None);
    while registry.unsent() < requests {
        std::thread::sleep(Duration::from_micros(100));
    }
    (working, registry, transport)
}

fn restart(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("restart");
    for place in Place::all() {
        left(&place);
        group.bench_function(BenchmarkId::new(place.name(), LEFT), |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    let begun = Instant::now();
                    let store = place.open(AT_ONCE);
                    let first = taken_in(&store, 1);
                    took += begun.elapsed();
                    drop(first);
                }
                took
            });
        });
    }
    group.finish();
}

fn claim(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("claim");
    for place in Place::all() {
        left(&place);
        group.bench_function(BenchmarkId::new(place.name(), AT_ONCE), |bencher| {
            bencher.iter_custom(|times| {
                let mut took = Duration::ZERO;
                for _ in 0..times {
                    let store = place.open(AT_ONCE);
                    let begun = Instant::now();
                    let batch = taken_in(&store, AT_ONCE);
                    took += begun.elapsed();
                    drop(batch);
                }
                took
            });
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5))
        .configure_from_args();
    submit(&mut criterion);
    restart(&mut criterion);
    claim(&mut criterion);
    criterion.final_summary();
}
