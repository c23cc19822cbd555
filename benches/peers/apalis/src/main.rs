//! Jobs of apalis in a database, each one a request, from the first one's submission until the last one is written as done. The program
//! `durable` starts it.
//!
//! ```text
//! peer-apalis URL STORE REQUESTS CONCURRENCY one|bulk full|off
//! ```
//!
//! `one`: jobs are pushed each by itself, by as many tasks as are under way at once; `bulk`: by one task, a hundred at a time. `full`: each
//! commit to SQLite reaches the disk, as in Inflight; `off`: none does, as `SqliteStorage::setup` leaves it. Prints one line of JSON.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_postgres::PostgresStorage;
use apalis_sqlite::SqliteStorage;
use peer_reqwest::Products;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

/// How often a worker looks for jobs, and how many it takes then: of 1 to 20 ms and 10 to 1,024 jobs, what was fastest on both databases with
/// 64 at once.
const POLL: Duration = Duration::from_millis(1);
const TAKEN: usize = 64;

const BULK: usize = 100;

#[derive(Clone, Debug, Deserialize, Serialize)]
struct CreateProduct {
    name: String,
    description: String,
}

#[derive(Clone)]
struct Plan {
    products: Products,
    requests: usize,
    concurrency: usize,
    is_bulk: bool,
    /// How many handlers have ended.
    handled: Arc<AtomicUsize>,
}

async fn create(job: CreateProduct, plan: Data<Plan>) -> Result<String, BoxDynError> {
    let id = plan.products.create(&job.name).await?;
    plan.handled.fetch_add(1, Ordering::Relaxed);
    Ok(id)
}

/// The same for both databases, whose storages have no trait in common that says all of this.
macro_rules! measure {
    ($plan:expr, $storage:expr, $pool:expr, $done:expr) => {{
        let (plan, storage, pool) = ($plan, $storage, $pool);
        let begun = Instant::now();
        let worker = WorkerBuilder::new("peer")
            .backend(storage.clone().poll_with_interval(POLL))
            .data(plan.clone())
            .concurrency(plan.concurrency)
            .parallelize(tokio::spawn)
            .build(create);
        let tasks = if plan.is_bulk { 1 } else { plan.concurrency };
        let next = Arc::new(AtomicUsize::new(0));
        let pushing: Vec<_> = (0..tasks)
            .map(|_| {
                let (mut storage, plan, next) = (storage.clone(), plan.clone(), next.clone());
                tokio::spawn(async move {
                    let step = if plan.is_bulk { BULK } else { 1 };
                    loop {
                        let first = next.fetch_add(step, Ordering::Relaxed);
                        if first >= plan.requests {
                            return;
                        }
                        let jobs: Vec<_> = (first..plan.requests.min(first + step)).map(job).collect();
                        storage.push_bulk(jobs).await.expect("jobs that are written");
                    }
                })
            })
            .collect();
        let done = async {
            for task in pushing {
                task.await.expect("a task that pushes");
            }
            while plan.handled.load(Ordering::Relaxed) < plan.requests {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut done: i64 = 0;
            while done < plan.requests as i64 {
                done = sqlx::query_scalar($done).fetch_one(&pool).await.expect("a count");
            }
        };
        tokio::select! {
            ended = worker.run() => panic!("the worker ended: {ended:?}"),
            () = done => {}
        }
        begun.elapsed()
    }};
}

fn job(number: usize) -> CreateProduct {
    CreateProduct {
        name: format!("product-{number}"),
        description: "What a product of this kind is about".into(),
    }
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, store, requests, concurrency, submit, synchronous] = arguments.as_slice() else {
        panic!("arguments: URL STORE REQUESTS CONCURRENCY one|bulk full|off");
    };
    let plan = Plan {
        products: Products::new(url),
        requests: requests.parse().expect("how many"),
        concurrency: concurrency.parse().expect("how many at once"),
        is_bulk: submit == "bulk",
        handled: Arc::default(),
    };
    let requests = plan.requests;
    let took = if store.starts_with("postgres") {
        on_postgres(plan, store).await
    } else {
        on_sqlite(plan, store, synchronous == "full").await
    };
    let per_second = requests as f64 / took.as_secs_f64();
    println!(
        "{}",
        serde_json::json!({"requests": requests, "per_second": per_second})
    );
    // The worker has nothing left to do.
    std::process::exit(0);
}

async fn on_sqlite(plan: Plan, store: &str, is_full: bool) -> Duration {
    let level = if is_full {
        SqliteSynchronous::Full
    } else {
        SqliteSynchronous::Off
    };
    let options = SqliteConnectOptions::from_str(store)
        .expect("an address")
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(Duration::from_secs(30));
    // What `setup` sets is set on its connection alone; the pool that is measured has the same level on all.
    let pool = SqlitePoolOptions::new()
        .connect_with(options.clone())
        .await
        .expect("a database");
    SqliteStorage::setup(&pool).await.expect("its tables");
    pool.close().await;
    let pool = SqlitePoolOptions::new()
        .max_connections(2)
        .connect_with(options.synchronous(level))
        .await
        .expect("a database");
    let config = apalis_sqlite::Config::default().batch_size(TAKEN);
    let storage = SqliteStorage::<CreateProduct>::new(&pool).with_config(config);
    measure!(plan, storage, pool, "SELECT COUNT(*) FROM Jobs WHERE status = 'Done'")
}

async fn on_postgres(plan: Plan, store: &str) -> Duration {
    let pool = PgPoolOptions::new()
        .max_connections(16)
        .connect(store)
        .await
        .expect("a database");
    PostgresStorage::setup(&pool).await.expect("its tables");
    sqlx::query("DELETE FROM apalis.jobs")
        .execute(&pool)
        .await
        .expect("an empty table");
    let config = apalis_postgres::Config::default().batch_size(TAKEN);
    let storage = PostgresStorage::<CreateProduct>::new(&pool).with_config(config);
    measure!(
        plan,
        storage,
        pool,
        "SELECT COUNT(*) FROM apalis.jobs WHERE status = 'Done'"
    )
}
