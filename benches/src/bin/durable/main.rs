//! What durability costs: requests from submission to their written ending, through a store. They are answered at once: in the process, or
//! by a server on loopback. Also beside other job queues on the same databases.

mod beside;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use inflight::store::{DurableStore, StoreOptions, Working};
use inflight::stripe::StripePolicy;
use inflight::transport::Worker;
use inflight_benches::{Options, loopback, peak_resident};
use inflight_core::{
    Credential, IdempotencyKey, MemoryCredentials, MemoryStore, Method, Queue, Registry, Request, Response, Secret,
    SessionLimits, Success, Transport, block_on,
};
use serde_json::json;
use tokio::sync::Notify;

const HELP: &str = "\
Submits requests to a store and answers each at once, so many at a time, and says how many a second get from their submission to their
written ending. Rates are given for each tenth of the run, so that a cost that grows with the number of rows is seen. Ends with one line of
JSON.

  --store URL       none, memory, sqlite:FILE or postgres://… (a SQLite file in a new folder)
  --requests N      how many (20000)
  --concurrency N   how many are on their way at once (64)
  --pending N       how many are submitted and have not ended, at most (512)
  --url URL         sends them to this server, as POST /v1/products (none: they are answered in the process)
  --beside N        compares, in so many rounds: Inflight in memory, on SQLite and on PostgreSQL, and apalis of benches/peers on both, each
                    with a server on loopback; prints a table (0: does not)
  --postgres URL    the database for that (postgres://postgres@127.0.0.1:5432/test)
";

const PARTS: usize = 10;

fn main() {
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return loopback::serve(Duration::ZERO, false);
    }
    let options = Options::read(HELP, 0);
    let requests: usize = options.get("requests", 20_000).max(PARTS) / PARTS * PARTS;
    let concurrency: usize = options.get("concurrency", 64);
    let rounds: usize = options.get("beside", 0);
    if rounds > 0 {
        let postgres = options.get("postgres", "postgres://postgres@127.0.0.1:5432/test".to_owned());
        return beside::compare(rounds, requests, concurrency, &postgres);
    }
    let pending: usize = options.get("pending", 512);
    let folder = std::env::temp_dir().join(format!("inflight-durable-{}", std::process::id()));
    let file = format!("sqlite:{}", folder.join("durable.db").display());
    let store = options.get("store", file.clone());
    if store == file {
        std::fs::create_dir_all(&folder).expect("a folder for the file");
    }
    let kind = store.split(':').next().unwrap_or_default();

    let (registry, queue, open) = open(&store);
    let begun = Instant::now();
    let transport = match options.get("url", String::new()) {
        url if url.is_empty() => Answering::in_process(queue, concurrency),
        url => Answering::by_server(queue, concurrency, &url),
    };
    let per_part = (requests / PARTS) as f64;
    let mut rates = Vec::with_capacity(PARTS);
    submit(&registry, requests, pending, |ended, took| {
        let rate = per_part / took.as_secs_f64();
        println!(
            "{kind}: up to {ended:>8} rows {rate:>8.0} requests a second, {:>6.1} MB at most",
            peak_resident() as f64 / 1024.0
        );
        rates.push(rate);
    });
    let overall = requests as f64 / begun.elapsed().as_secs_f64();
    transport.end();

    println!("{kind}: {requests} requests, {concurrency} at a time: {overall:.0} a second");
    println!(
        "{}",
        json!({
            "store": kind, "requests": requests, "concurrency": concurrency, "per_second": overall, "parts": rates,
            "peak_kb": peak_resident(),
        })
    );
    drop(open);
    let _ = std::fs::remove_dir_all(folder);
}

/// Who answers.
enum Answering {
    InProcess(Arc<Bell>, std::thread::JoinHandle<()>),
    Server(Worker),
}

impl Answering {
    fn in_process(queue: Queue, concurrency: usize) -> Self {
        let bell = Arc::new(Bell::default());
        queue.attach(bell.clone());
        let rung = Arc::clone(&bell);
        Self::InProcess(bell, std::thread::spawn(move || serve(queue, concurrency, &rung)))
    }

    fn by_server(queue: Queue, concurrency: usize, url: &str) -> Self {
        let credentials = MemoryCredentials::new();
        credentials.insert("shop", Credential::new(Secret::new("sk_test_durable")));
        let worker = Worker::builder()
            .base_url(url)
            .policy(Arc::new(StripePolicy::new()))
            .credentials(Arc::new(credentials))
            .concurrency(concurrency)
            .pace(false)
            .start(queue);
        Self::Server(worker.expect("a worker"))
    }

    fn end(self) {
        match self {
            Self::InProcess(bell, thread) => {
                bell.is_over.store(true, Ordering::SeqCst);
                bell.notify();
                thread.join().expect("the worker ends");
            }
            Self::Server(worker) => drop(worker.shutdown(Duration::from_secs(5))),
        }
    }
}

fn open(url: &str) -> (Registry, Queue, Option<(Working, DurableStore)>) {
    let builder = Registry::builder().queue_capacity(1_000_000);
    let (builder, store) = match url {
        "none" => (builder, None),
        "memory" => (builder.store(Arc::new(MemoryStore::new())), None),
        _ => {
            let options = StoreOptions {
                prefetch: 256,
                ..StoreOptions::default()
            };
            let store = DurableStore::open(url, options).expect("a store");
            (builder.store(store.handle()), Some(store))
        }
    };
    let (registry, queue) = builder.build();
    let open = store.map(|store| (store.start(&registry, None), store));
    (registry, queue, open)
}

fn request(number: usize) -> Request {
    Request::new(Method::Post, "/v1/products")
        .operation("product.create")
        .credential("shop")
        .idempotency_key(IdempotencyKey::Generated)
        .body(
            "application/x-www-form-urlencoded",
            format!("name=product-{number}&description=What+a+product+of+this+kind+is+about&metadata[number]={number}"),
        )
}

/// Submits everything, and waits. Tells at the end of each part how many have ended and how long the part took.
fn submit(registry: &Registry, requests: usize, pending: usize, mut tell: impl FnMut(usize, Duration)) {
    let session = registry.session_with(SessionLimits {
        pending,
        unsent: pending,
    });
    let mut waiting = VecDeque::with_capacity(pending);
    let mut ended = 0;
    let mut part = Instant::now();
    let mut next = 0;
    while ended < requests {
        while next < requests && waiting.len() < pending {
            match session.submit(request(next)) {
                Ok(id) => waiting.push_back(id),
                Err(error) if error.kind().is_temporary() && !waiting.is_empty() => break,
                Err(error) => panic!("{error}"),
            }
            next += 1;
        }
        let id = waiting.pop_front().expect("some wait");
        session.wait(id, None).expect("it is known");
        session.take_result(id).expect("it has ended").expect("it is done");
        ended += 1;
        if ended % (requests / PARTS) == 0 {
            tell(ended, part.elapsed());
            part = Instant::now();
        }
    }
}

#[derive(Default)]
struct Bell {
    rung: Notify,
    is_over: AtomicBool,
}

impl Transport for Bell {
    fn notify(&self) {
        self.rung.notify_one();
    }
}

/// Answers each request at once.
fn serve(mut queue: Queue, concurrency: usize, bell: &Bell) {
    let answer = format!(
        "{{\"id\":\"prod_1\",\"object\":\"product\",\"description\":\"{}\"}}",
        "as long as such an answer is ".repeat(12)
    );
    block_on(async {
        let mut starting = FuturesUnordered::new();
        while !bell.is_over.load(Ordering::SeqCst) {
            while starting.len() < concurrency
                && let Some(job) = queue.pop()
            {
                starting.push(job.start());
            }
            let in_flight = tokio::select! {
                biased;
                Some(started) = starting.next(), if !starting.is_empty() => started,
                () = bell.rung.notified() => continue,
            };
            if let Some(in_flight) = in_flight {
                in_flight.complete(Ok(Success {
                    object_id: Some("prod_1".into()),
                    response: Response::new(200, answer.clone()),
                }));
            }
        }
    });
}
