//! What does the worker cost on top of the HTTP client that it uses?
//!
//! Both send the same POST to a minimal keep-alive server on loopback, 64 in flight, from one thread of their own. Before
//! Criterion's figures (time per request, server included) a table gives the CPU time of the client's thread per request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use inflight_core::{
    Credential, IdempotencyKey, MemoryCredentials, Method, Registry, Request, Secret, SessionLimits, block_on,
};
use inflight_transport::Worker;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const IN_FLIGHT: usize = 64;
const BATCH: usize = 5_000;
const KEY: &str = "sk_test_0123456789abcdef0123456789abcdef";
const BODY: &str = "name=Mug&description=A+mug+of+stoneware&metadata%5Bsku%5D=mug-1&active=true";

/// About as long as Stripe's answer to the creation of a product.
fn answer() -> String {
    let body = format!(
        "{{\"id\":\"prod_Q1w2e3r4t5y6u7\",\"object\":\"product\",\"name\":\"Mug\",\"description\":\"{}\"}}",
        "x".repeat(320)
    );
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_1\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn start_server() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    let address = listener.local_addr().expect("it is bound");
    named_thread("server", move || {
        on_one_thread(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a runtime runs");
            let answer: Arc<str> = answer().into();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).expect("TCP has it");
                tokio::spawn(serve(stream, Arc::clone(&answer)));
            }
        });
    });
    address
}

/// Knows no more of HTTP than where a request ends.
async fn serve(mut stream: tokio::net::TcpStream, answer: Arc<str>) {
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += read;
        let Some(head) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") else {
            continue;
        };
        if filled < head + 4 + BODY.len() {
            continue;
        }
        filled = 0;
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn named_thread(name: &str, run: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .expect("a thread can be started")
}

fn on_one_thread(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built")
        .block_on(future);
}

/// Sends requests and waits for all of them.
trait Client {
    fn send(&mut self, requests: usize);
    /// The name of the thread that does the work.
    const THREAD: &'static str;
}

struct InflightWorker {
    registry: Registry,
    _worker: Worker,
}

impl InflightWorker {
    fn new(server: SocketAddr) -> Self {
        let credentials = MemoryCredentials::new();
        credentials.insert("main", Credential::new(Secret::new(KEY)));
        let (registry, queue) = Registry::new();
        let worker = Worker::builder()
            .base_url(format!("http://{server}"))
            .credentials(Arc::new(credentials))
            .concurrency(IN_FLIGHT)
            .start(queue)
            .expect("the configuration is sound");
        Self {
            registry,
            _worker: worker,
        }
    }
}

impl Client for InflightWorker {
    const THREAD: &'static str = "inflight-worker";

    fn send(&mut self, requests: usize) {
        let session = self.registry.session_with(SessionLimits {
            pending: usize::MAX,
            unsent: usize::MAX,
        });
        let credential: Arc<str> = "main".into();
        for _ in 0..requests {
            let request = Request::new(Method::Post, "/v1/products")
                .operation("product.create")
                .body("application/x-www-form-urlencoded", BODY)
                .header("stripe-version", "2026-01-01")
                .credential(Arc::clone(&credential))
                .idempotency_key(IdempotencyKey::Generated);
            block_on(session.submit_when_room(request)).expect("the registry is open");
        }
        block_on(session.drained());
        assert_eq!(session.counts().completed, requests as u64);
    }
}

struct BareReqwest {
    ask: std::sync::mpsc::Sender<usize>,
    done: std::sync::mpsc::Receiver<()>,
}

impl BareReqwest {
    fn new(server: SocketAddr) -> Self {
        let (ask, asked) = std::sync::mpsc::channel::<usize>();
        let (tell, done) = std::sync::mpsc::channel();
        named_thread(Self::THREAD, move || {
            let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("ring knows them")
                .with_root_certificates(rustls::RootCertStore::empty())
                .with_no_client_auth();
            let client = reqwest::Client::builder()
                .tls_backend_preconfigured(tls)
                .no_proxy()
                .user_agent("bench")
                .build()
                .expect("the configuration is sound");
            on_one_thread(async move {
                while let Ok(requests) = asked.recv() {
                    bare(&client, server, requests).await;
                    let _ = tell.send(());
                }
            });
        });
        Self { ask, done }
    }
}

async fn bare(client: &reqwest::Client, server: SocketAddr, requests: usize) {
    let left = Arc::new(AtomicU64::new(requests as u64));
    let tasks: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (client, left) = (client.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                while take().is_ok() {
                    let answer = client
                        .post(format!("http://{server}/v1/products"))
                        .bearer_auth(KEY)
                        .header("content-type", "application/x-www-form-urlencoded")
                        .header("stripe-version", "2026-01-01")
                        .header("idempotency-key", inflight_core::RequestId::random().to_string())
                        .timeout(Duration::from_secs(80))
                        .body(BODY)
                        .send()
                        .await
                        .expect("the server is there");
                    std::hint::black_box(answer.bytes().await.expect("the answer is whole"));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("no task panics");
    }
}

impl Client for BareReqwest {
    const THREAD: &'static str = "bare-reqwest";

    fn send(&mut self, requests: usize) {
        self.ask.send(requests).expect("its thread runs");
        self.done.recv().expect("its thread runs");
    }
}

/// The CPU time that the thread of this name has used, where the system tells.
fn cpu_of(thread: &str) -> Option<Duration> {
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        if name.trim_end() == thread {
            let used = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
            return used.split(' ').next()?.parse().ok().map(Duration::from_nanos);
        }
    }
    None
}

fn cpu_per_request<C: Client>(client: &mut C) -> Option<f64> {
    let before = cpu_of(C::THREAD)?;
    client.send(BATCH);
    let used = cpu_of(C::THREAD)?.checked_sub(before)?;
    Some(used.as_secs_f64() * 1e6 / BATCH as f64)
}

fn print_cpu(worker: &mut InflightWorker, bare: &mut BareReqwest) {
    let mut rounds = Vec::new();
    for _ in 0..12 {
        let round = cpu_per_request(worker).zip(cpu_per_request(bare));
        rounds.extend(round);
    }
    // The first rounds open connections.
    let rounds = rounds.get(2..).unwrap_or_default();
    if rounds.is_empty() {
        return println!("CPU per request: this system does not tell a thread's CPU time");
    }
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<_> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "CPU of the client's thread per request, {IN_FLIGHT} in flight, medians of {} rounds:",
        rounds.len()
    );
    println!("  worker        {:6.2} µs", median(|round| round.0));
    println!("  bare reqwest  {:6.2} µs", median(|round| round.1));
    println!("  ratio         {:6.3}", median(|round| round.0 / round.1));
}

fn time_per_request<C: Client>(criterion: &mut Criterion, client: &mut C) {
    let mut group = criterion.benchmark_group("how long does a request take, 64 in flight?");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    group.measurement_time(Duration::from_secs(6));
    group.bench_function(BenchmarkId::from_parameter(C::THREAD), |bencher| {
        bencher.iter_custom(|requests| {
            let start = Instant::now();
            client.send(usize::try_from(requests).unwrap_or(usize::MAX));
            start.elapsed()
        });
    });
    group.finish();
}

fn main() {
    let server = start_server();
    let mut worker = InflightWorker::new(server);
    let mut bare = BareReqwest::new(server);
    // `cargo test --benches` only wants to see that it runs.
    if std::env::args().any(|argument| argument == "--bench") {
        print_cpu(&mut worker, &mut bare);
    }
    let mut criterion = Criterion::default().configure_from_args();
    time_per_request(&mut criterion, &mut worker);
    time_per_request(&mut criterion, &mut bare);
    criterion.final_summary();
}
