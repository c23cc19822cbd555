//! How a store's cost grows with what is in it: from a thousand rows to a million, what each thing takes that a program or an operator asks
//! of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use inflight::store::{DurableStore, RequestFilter, StoreOptions, StoreView, Working};
use inflight_benches::{Options, Random, median};
use inflight_core::testing::ManualTransport;
use inflight_core::{
    IdempotencyKey, Method, Outcome, Registry, Request, RequestId, Response, Session, SessionLimits, Success, block_on,
};
use serde_json::json;
use sqlx::Connection as _;

const HELP: &str = "\
Fills stores of several sizes in bulk, and measures on each what is asked of it. A tenth of the rows wait to be sent; of those that have ended
one in a hundred has failed, ten are in doubt, and a tenth belongs to runs of a hundred requests. Prints a table and one line of JSON.

  --store URL     sqlite (a file in a new folder) or postgres://…, where it may make a schema of its own (sqlite)
  --rows LIST     the sizes (1000,10000,100000,1000000)
  --rounds N      how often each is measured (5)
";

const AT_ONCE: usize = 64;
const SUBMITTED: usize = 2000;

/// Between two looks at whether something has come.
const PAUSE: Duration = Duration::from_micros(100);

/// The rows that wait have a mode of their own, so that the measurement of new requests does not send them.
const WAITING: &str = "waiting";

fn main() {
    let options = Options::read(HELP, 0);
    let store: String = options.get("store", "sqlite".to_owned());
    let rows: String = options.get("rows", "1000,10000,100000,1000000".to_owned());
    let rounds: usize = options.get("rounds", 5).max(1);
    let sizes: Vec<u64> = rows.split(',').map(|size| size.parse().expect("a size")).collect();
    let mut seen = BTreeMap::new();
    for size in &sizes {
        let place = Place::new(&store);
        place.fill(*size);
        seen.insert(*size, measure(&place, *size, rounds));
    }
    println!("\n| rows | {} |", MEASURES.map(|(name, _)| name).join(" | "));
    println!("|---:|{}", "---:|".repeat(MEASURES.len()));
    for (size, figures) in &seen {
        let figures: Vec<_> = figures
            .iter()
            .zip(MEASURES)
            .map(|(figure, (_, unit))| format!("{figure:.*} {unit}", usize::from(*figure < 100.0)))
            .collect();
        println!("| {size} | {} |", figures.join(" | "));
    }
    let kind = store.split(':').next().unwrap_or_default();
    let results: serde_json::Map<_, _> = seen
        .iter()
        .map(|(size, figures)| (size.to_string(), json!(figures)))
        .collect();
    println!(
        "\n{}",
        json!({"store": kind, "measures": MEASURES.map(|(name, _)| name), "rows": results})
    );
}

type Measure = fn(&Place, &Sample) -> f64;

const MEASURES: [(&str, &str); 9] = [
    ("submit to done", "/s"),
    ("restart", "ms"),
    ("claim of 64", "ms"),
    ("look-up", "ms"),
    ("list: in doubt", "ms"),
    ("list: failed", "ms"),
    ("list: an operation", "ms"),
    ("list: a run", "ms"),
    ("look of the page", "ms"),
];

/// What there is to ask for.
struct Sample {
    id: RequestId,
    run: String,
}

fn measure(place: &Place, size: u64, rounds: usize) -> Vec<f64> {
    let measures: [Measure; MEASURES.len()] = [
        submit_to_done,
        restart,
        claim,
        |place, sample| {
            let store = place.open("");
            millis(|| assert!(store.request(sample.id).expect("an answer").is_some()))
        },
        |place, _| list(place, |filter| filter.effect = Some("unknown".into())),
        |place, _| list(place, |filter| filter.state = Some("failed".into())),
        |place, _| list(place, |filter| filter.operation = Some("coupon.create".into())),
        |place, sample| list(place, |filter| filter.run = Some(sample.run.clone())),
        |place, _| {
            let mut view = StoreView::open(&place.url).expect("a view");
            millis(|| drop(view.look().expect("a look")))
        },
    ];
    let mut random = Random::new(size);
    let mut figures = Vec::new();
    for (measure, (name, unit)) in measures.into_iter().zip(MEASURES) {
        let runs: Vec<f64> = (0..rounds)
            .map(|_| {
                let number = random.below(size);
                let run = format!("run-{}", random.below((size / 1000).max(1)) * 1000);
                measure(place, &Sample { id: id(number), run })
            })
            .collect();
        let figure = median(&runs);
        println!("{size:>8} rows, {name:<20} {figure:>10.1} {unit}");
        figures.push(figure);
    }
    figures
}

fn millis(what: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    what();
    begun.elapsed().as_secs_f64() * 1e3
}

/// New requests from their submission to their written ending, each answered at once.
fn submit_to_done(place: &Place, _: &Sample) -> f64 {
    let store = place.open("");
    let (registry, session, mut transport) = registry(&store);
    let working = store.start(&registry, None);
    let is_over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&is_over);
    let answering = std::thread::spawn(move || {
        while !ended.load(Ordering::SeqCst) {
            let starting: Vec<_> = std::iter::from_fn(|| transport.next_job()).take(AT_ONCE).collect();
            if starting.is_empty() {
                std::thread::sleep(PAUSE);
            }
            block_on(futures_util::future::join_all(starting.into_iter().map(|job| async {
                if let Some(sent) = job.start().await {
                    sent.complete(answer());
                }
            })));
        }
    });
    let begun = Instant::now();
    let ids: Vec<_> = (0..SUBMITTED)
        .map(|_| session.submit(request()).expect("there is room"))
        .collect();
    for id in ids {
        session.wait(id, None).expect("it is known");
        session.take_result(id).expect("it has ended").expect("it is done");
    }
    let took = begun.elapsed();
    is_over.store(true, Ordering::SeqCst);
    answering.join().expect("the transport ends");
    drop(working);
    SUBMITTED as f64 / took.as_secs_f64()
}

/// From a start on a store with work to do until the first request can be sent.
fn restart(place: &Place, _: &Sample) -> f64 {
    let mut taken = None;
    let took = millis(|| {
        let store = place.open(WAITING);
        taken = Some((taken_in(&store, 1), store));
    });
    drop(taken);
    took
}

/// Until a process that has the store open has 64 requests to send.
fn claim(place: &Place, _: &Sample) -> f64 {
    let store = place.open(WAITING);
    let mut taken = None;
    let took = millis(|| taken = Some(taken_in(&store, AT_ONCE)));
    drop(taken);
    took
}

fn list(place: &Place, which: impl FnOnce(&mut RequestFilter)) -> f64 {
    let store = place.open("");
    let mut filter = RequestFilter {
        limit: 50,
        ..RequestFilter::default()
    };
    which(&mut filter);
    millis(|| assert!(!store.requests(&filter).expect("an answer").is_empty()))
}

fn registry(store: &DurableStore) -> (Registry, Session, ManualTransport) {
    let (registry, queue) = Registry::builder()
        .store(store.handle())
        .queue_capacity(100_000)
        .build();
    let session = registry.session_with(SessionLimits {
        pending: 100_000,
        unsent: 100_000,
    });
    (registry, session, ManualTransport::new(queue))
}

fn taken_in(store: &DurableStore, requests: usize) -> (Working, Registry, ManualTransport) {
    let (registry, _session, transport) = registry(store);
    let working = store.start(&registry, None);
    while registry.unsent() < requests {
        std::thread::sleep(PAUSE);
    }
    (working, registry, transport)
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

fn answer() -> Outcome {
    let object = json!({"id": "prod_1", "object": "product", "description": "x".repeat(360)});
    Ok(Success {
        object_id: Some("prod_1".into()),
        response: Response::new(200, object.to_string()),
    })
}

/// The id of the row of this number, spread as those of real requests are.
fn id(number: u64) -> RequestId {
    format!("{:08x}-0000-4000-8000-{number:012x}", spread(number))
        .parse()
        .expect("an id")
}

fn spread(number: u64) -> u64 {
    number * 2_654_435_761 % 4_294_967_296
}

/// Where the rows are, for as long as one size is measured.
struct Place {
    url: String,
    folder: Option<std::path::PathBuf>,
    /// The database, and the schema to be removed from it.
    schema: Option<(String, String)>,
}

impl Place {
    fn new(store: &str) -> Self {
        let name = format!("inflight_rows_{}", std::process::id());
        if store == "sqlite" {
            let folder = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&folder).expect("a folder for the file");
            let url = format!("sqlite:{}", folder.join("rows.db").display());
            return Self {
                url,
                folder: Some(folder),
                schema: None,
            };
        }
        let joint = if store.contains('?') { '&' } else { '?' };
        let place = Self {
            url: format!("{store}{joint}options[search_path]={name}"),
            folder: None,
            schema: Some((store.to_owned(), name.clone())),
        };
        run(store, &[format!("CREATE SCHEMA {name}")]);
        place
    }

    fn open(&self, mode: &str) -> DurableStore {
        let options = StoreOptions {
            prefetch: 256,
            mode: mode.to_owned(),
            ..StoreOptions::default()
        };
        DurableStore::open(&self.url, options).expect("a store")
    }

    /// One request is submitted and ends as every one does; the others are copies of its row.
    fn fill(&self, rows: u64) {
        let begun = Instant::now();
        submit_one(&self.open(""));
        let is_file = self.folder.is_some();
        // As the program writes ids, in each database's words.
        let (numbers, hex, pragmas) = if is_file {
            let numbers = format!(
                "WITH RECURSIVE x(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM x WHERE n < {}) ",
                rows - 1
            );
            let hex = "printf('%08x', n * 2654435761 % 4294967296) || '-0000-4000-8000-' || printf('%012x', n)";
            (
                numbers,
                hex,
                vec![
                    "PRAGMA synchronous = OFF".to_owned(),
                    "PRAGMA cache_size = -1000000".to_owned(),
                ],
            )
        } else {
            let numbers = format!("WITH x(n) AS (SELECT generate_series(0::bigint, {})) ", rows - 1);
            let hex =
                "lpad(to_hex(n * 2654435761 % 4294967296), 8, '0') || '-0000-4000-8000-' || lpad(to_hex(n), 12, '0')";
            (numbers, hex, vec!["SET synchronous_commit = off".to_owned()])
        };
        // Every tenth waits. Times go back over the last hours.
        let is_over = "n % 10 <> 9";
        let doubt = format!("n % {} = 1", (rows / 10).max(1));
        let over = |value: &str| format!("CASE WHEN {is_over} THEN {value} END");
        let copy = format!(
            "INSERT INTO inflight_requests (id, submitter, session, run, task, call, account, mode, operation, method, path, \
             request, fingerprint, idempotency_key, priority, created_at, not_before, deadline_ms, key_sent_at, state, epoch, \
             attempts, last_status, effect, error, outcome, ended_at) {numbers} \
             SELECT {hex}, 'gone', n / 1000, CASE WHEN n % 1000 < 100 THEN 'run-' || (n - n % 1000) END, 0, n % 1000, t.account, \
             CASE WHEN {is_over} THEN t.mode ELSE '{WAITING}' END, CASE WHEN {doubt} THEN 'coupon.create' ELSE t.operation END, \
             t.method, t.path, t.request, t.fingerprint, 'key-' || {hex}, t.priority, t.created_at - ({rows} - n) * 10, \
             t.not_before - ({rows} - n) * 10, t.deadline_ms, {}, {}, 1, {}, {}, {}, {}, {}, {} \
             FROM x, inflight_requests AS t WHERE t.seq = 1",
            over("t.key_sent_at"),
            format_args!(
                "CASE WHEN NOT ({is_over}) THEN 'queued' WHEN {doubt} OR n % 100 = 3 THEN 'failed' ELSE t.state END"
            ),
            format_args!("CASE WHEN {is_over} THEN 1 ELSE 0 END"),
            over("t.last_status"),
            over(&format!(
                "CASE WHEN {doubt} THEN 'unknown' WHEN n % 100 = 3 THEN 'none' ELSE t.effect END"
            )),
            over(&format!("CASE WHEN {doubt} OR n % 100 = 3 THEN 'network' END")),
            over("t.outcome"),
            over(&format!("t.ended_at - ({rows} - n) * 10")),
        );
        // What a database that has been in use for long knows of its tables, this one has to be told.
        let known = if is_file {
            "PRAGMA wal_checkpoint(TRUNCATE)"
        } else {
            "ANALYZE"
        };
        let statements: Vec<_> = pragmas.into_iter().chain([copy, known.to_owned()]).collect();
        run(&self.url, &statements);
        println!("{rows:>8} rows filled in {:.1} s", begun.elapsed().as_secs_f64());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
        if let Some((database, schema)) = &self.schema {
            run(database, &[format!("DROP SCHEMA {schema} CASCADE")]);
        }
    }
}

fn submit_one(store: &DurableStore) {
    let (registry, session, mut transport) = registry(store);
    let working = store.start(&registry, None);
    let id = session.submit(request()).expect("there is room");
    transport.next().complete(answer());
    session.wait(id, None).expect("it is known");
    drop(working);
}

/// Runs these on a connection of their own.
fn run(url: &str, statements: &[String]) {
    let runtime = inflight_benches::loopback::runtime();
    runtime.block_on(async {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(url).await.expect("a connection");
        for statement in statements {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement.clone()))
                .execute(&mut connection)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        connection.close().await.expect("an end");
    });
}
