//! Many requests in flight through real sockets, from scripts and from bare reqwest, against a server in a process of its own.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::process::Stdio;
use std::time::{Duration, Instant};

use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions, ScriptReport, run_script};
use inflight_benches::allocator::{Chosen, start_with};
use inflight_benches::loopback::{Server, itself, runtime, serve};
use inflight_benches::{Options, median, peak_resident};
use inflight_rhai::Script;
use serde_json::Value;

const HELP: &str = "\
Sends many requests at once through real sockets, from scripts and from bare reqwest, and compares.

  --requests N   how many are submitted at once (10000)
  --latency MS   how long the server takes for each (100)
  --rounds N     how often each client runs, in turns (3)
  --warm N       how often each run repeats the requests on warm connections, at least once; the median counts (3)

Each run of a client is a process of its own: first on cold connections, then on warm ones. `scripts` compiles the script for
each run, `compiled` once; `one-thread` is `compiled` with scripts and requests on one thread: all three with the allocator of the
program `inflight`. `reqwest` has the system's, as a program has by itself. `scripts-system` and `reqwest-mimalloc` are the other
way round.";

/// The clients that are compared, the first with all others: a role of this program, and whether with the program's allocator.
const CLIENTS: [(&str, &str, bool); 6] = [
    ("reqwest", "reqwest", false),
    ("scripts", "scripts", true),
    ("compiled", "compiled", true),
    ("one-thread", "one-thread", true),
    ("scripts-system", "scripts", false),
    ("reqwest-mimalloc", "reqwest", true),
];

#[global_allocator]
static ALLOCATOR: Chosen = Chosen::new();

const BODY: &str = "name=Mug";
const KEY: &str = "sk_test_000000000000000000000000";
const SCRIPT: &str = "let id = new_product().name(\"Mug\").create_async(); await_result(id, 60)";

fn main() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("the limit of open files");
    let role = std::env::args().nth(1).filter(|role| !role.starts_with("--"));
    let options = Options::read(&format!("{HELP}\n\n  --url URL "), usize::from(role.is_some()));
    let requests: usize = options.get("requests", 10_000);
    let url = || options.get("url", String::new());
    let warm: usize = options.get("warm", 3).max(1);
    match role.as_deref() {
        Some("serve") => serve(Duration::from_millis(options.get("latency", 100)), false),
        Some("reqwest") => report(&bare_reqwest(&url(), requests, 1 + warm)),
        Some("scripts") => report(&scripts(&url(), requests, 1 + warm, false, None)),
        Some("compiled") => report(&scripts(&url(), requests, 1 + warm, true, None)),
        Some("one-thread") => report(&scripts(&url(), requests, 1 + warm, true, Some(false))),
        _ => compare(requests, options.get("latency", 100), options.get("rounds", 3), warm),
    }
}

/// Prints how long the first time took and the median of the others.
fn report(times: &[f64]) {
    let (cold, warm) = (times[0], median(&times[1..]));
    println!(
        "{}",
        serde_json::json!({ "cold_s": cold, "warm_s": warm, "peak_kb": peak_resident() })
    );
}

fn compare(requests: usize, latency: u64, rounds: usize, warm: usize) {
    let server = Server::start(start_with(false, &mut itself("serve")).args(["--latency", &latency.to_string()]));
    let mut results = CLIENTS.map(|_| Vec::new());
    for round in 0..rounds {
        for turn in 0..CLIENTS.len() {
            let which = (turn + round) % CLIENTS.len();
            let (name, role, as_in_program) = CLIENTS[which];
            let mut client = itself(role);
            let output = start_with(as_in_program, &mut client)
                .args(["--requests", &requests.to_string()])
                .args(["--url", &server.url, "--warm", &warm.to_string()])
                .stderr(Stdio::inherit())
                .output()
                .expect("a client");
            let result: Value = serde_json::from_slice(&output.stdout).expect("a client's report");
            println!("{name:16} {result}");
            results[which].push(result);
        }
    }
    let of = |which: usize, field: &str| {
        let values: Vec<f64> = results[which]
            .iter()
            .filter_map(|result| result[field].as_f64())
            .collect();
        median(&values)
    };
    println!("\n{requests} requests at once, {latency} ms each, medians of {rounds}:");
    let mut line = serde_json::json!({ "requests": requests, "latency_ms": latency, "rounds": rounds });
    for (field, unit) in [("cold_s", "s"), ("warm_s", "s"), ("peak_kb", "KB")] {
        let bare = of(0, field);
        line[field] = serde_json::json!({ "reqwest": bare });
        for (which, (client, ..)) in CLIENTS.iter().enumerate().skip(1) {
            let ours = of(which, field);
            println!(
                "  {field:8} reqwest {bare:.3} {unit}, {client} {ours:.3} {unit}: {:.2} times",
                ours / bare
            );
            line[field][client] = serde_json::json!({ "value": ours, "ratio": ours / bare });
        }
    }
    println!("{line}");
}

fn bare_reqwest(url: &str, requests: usize, repeats: usize) -> Vec<f64> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime().block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let url = format!("{url}/v1/products");
        let mut times = vec![0.0; repeats];
        for time in &mut times {
            let start = Instant::now();
            let sent: Vec<_> = (0..requests)
                .map(|number| {
                    let request = client
                        .post(&url)
                        .header("authorization", format!("Bearer {KEY}"))
                        .header("idempotency-key", format!("{number:032}"))
                        .header("content-type", "application/x-www-form-urlencoded")
                        .body(BODY);
                    tokio::spawn(async move {
                        let body = request.send().await.expect("an answer").bytes().await.expect("a body");
                        serde_json::from_slice::<Value>(&body).expect("JSON")["id"].is_string()
                    })
                })
                .collect();
            for request in sent {
                assert!(request.await.expect("a request's task"));
            }
            *time = start.elapsed().as_secs_f64();
        }
        times
    })
}

fn scripts(url: &str, requests: usize, repeats: usize, compile_once: bool, transport_thread: Option<bool>) -> Vec<f64> {
    let builder = Inflight::builder()
        .base_url(url)
        .api_key(ApiKey::new(KEY).expect("a key"))
        .concurrency(requests)
        .queue_capacity(requests * 10);
    let builder = match transport_thread {
        Some(own) => builder.transport_thread(own),
        None => builder,
    };
    let inflight = builder.build().expect("an assembly");
    let runtime = runtime();
    let mut times = vec![0.0; repeats];
    for time in &mut times {
        let start = Instant::now();
        let running: Vec<_> = (0..requests).map(|_| start_script(&inflight, compile_once)).collect();
        runtime.block_on(async {
            for script in running {
                let report = script.await;
                assert!(report.result.is_ok(), "{:?}", report.result);
            }
        });
        *time = start.elapsed().as_secs_f64();
    }
    times
}

/// Starts one script, in a session of its own.
fn start_script(inflight: &Inflight, compile_once: bool) -> Pin<Box<dyn Future<Output = ScriptReport>>> {
    thread_local! {
        static COMPILED: OnceCell<Script> = const { OnceCell::new() };
    }
    if !compile_once {
        return Box::pin(inflight.run(SCRIPT, ScriptOptions::default()));
    }
    let session = inflight.session();
    let task = inflight.pool().spawn(move |engine| async move {
        let script = COMPILED.with(|compiled| {
            compiled
                .get_or_init(|| engine.compile(SCRIPT).expect("a script"))
                .clone()
        });
        run_script(&script, session, ScriptOptions::default()).await
    });
    Box::pin(async move { task.await.expect("a script's task") })
}
