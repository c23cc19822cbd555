//! How late is a script? Percentiles of the time from an event to the script's next operation.

#![allow(missing_docs, reason = "a program")]

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inflight_core::testing::ManualTransport;
use inflight_core::{Method, Registry, Request};
use inflight_rhai::{FiberEngine, InflightPackage, Locals, RunOptions, register_async_fn, submit_error};
use rhai::packages::Package;
use rhai::{Dynamic, Engine, EvalAltResult, INT, ImmutableString, NativeCallContext};

/// How long the script's thread is left idle before it is woken.
const IDLE: Duration = Duration::from_micros(300);

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("how late is a script?");
    report("a bare thread, from unpark to its next instruction", bare(5_000));
    report(
        "a script, from complete on another thread to its next operation",
        completed(5_000),
    );
    println!(
        "\n100 scripts that sleep 5 ms again and again on one thread, from the time to the script's next operation"
    );
    println!("(tokio's timers count whole milliseconds, rounded up):");
    report("alone", beside(0));
    report("beside an endless loop", beside(1));
    report("beside 4 endless loops", beside(4));
}

fn report(what: &str, mut delays: Vec<Duration>) {
    delays.sort();
    let at = |share: f64| delays[((delays.len() - 1) as f64 * share) as usize];
    println!(
        "{what}: p50 {:?}, p90 {:?}, p99 {:?}, most {:?} ({} times)",
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        delays.len()
    );
}

fn bare(count: usize) -> Vec<Duration> {
    let (woken, times) = mpsc::channel();
    let (unpark, unparked) = (Arc::new(Mutex::new(None)), mpsc::sync_channel::<()>(0));
    let (ready, is_ready) = unparked;
    let at = Arc::clone(&unpark);
    let sleeper = std::thread::spawn(move || {
        for _ in 0..count {
            let _ = ready.send(());
            let unparked = loop {
                std::thread::park();
                if let Some(unparked) = at.lock().expect("no panic").take() {
                    break unparked;
                }
            };
            let _ = woken.send(Instant::now().duration_since(unparked));
        }
    });
    for () in is_ready {
        std::thread::sleep(IDLE);
        *unpark.lock().expect("no panic") = Some(Instant::now());
        sleeper.thread().unpark();
    }
    sleeper.join().expect("no panic");
    times.into_iter().collect()
}

fn completed(count: usize) -> Vec<Duration> {
    let (registry, queue) = Registry::new();
    let mut transport = ManualTransport::new(queue);
    let completed = Arc::new(Mutex::new(Instant::now()));
    let at = Arc::clone(&completed);
    std::thread::spawn(move || {
        loop {
            let request = transport.next();
            std::thread::sleep(IDLE);
            *at.lock().expect("no panic") = Instant::now();
            request.succeed("thing_1");
        }
    });
    let delays = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&delays);
    let mut engine = engine();
    engine.register_fn("mark", move || {
        let now = Instant::now();
        let delay = now.duration_since(*completed.lock().expect("no panic"));
        seen.lock().expect("no panic").push(delay);
    });
    let engine = FiberEngine::new(engine);
    let text = format!("for i in 0..{count} {{ let id = request(); await_result(id, 60); mark(); }}");
    let options = RunOptions::new(Locals::for_session(registry.session()));
    let ended = runtime().block_on(engine.eval_async_with::<()>(options, &text));
    ended.expect("a script that ends well");
    std::mem::take(&mut *delays.lock().expect("no panic"))
}

fn beside(endless: usize) -> Vec<Duration> {
    let delays = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&delays);
    let start = tokio::time::Instant::now();
    let mut engine = engine();
    register_async_fn(&mut engine, "nap", move || async move {
        let due = tokio::time::Instant::now() + Duration::from_millis(5);
        tokio::time::sleep_until(due).await;
        Ok::<_, Box<EvalAltResult>>(due.duration_since(start).as_nanos() as INT)
    });
    engine.register_fn("mark", move |due: INT| {
        let delay = start.elapsed().saturating_sub(Duration::from_nanos(due as u64));
        seen.lock().expect("no panic").push(delay);
    });
    let engine = FiberEngine::new(engine);
    let local = tokio::task::LocalSet::new();
    runtime().block_on(local.run_until(async {
        let spawn = |text: &str| tokio::task::spawn_local(engine.eval_async::<Dynamic>(text));
        let hogs: Vec<_> = (0..endless).map(|_| spawn("let i = 0; loop { i += 1; }")).collect();
        let naps: Vec<_> = (0..100).map(|_| spawn("for i in 0..100 { mark(nap()); }")).collect();
        for script in naps {
            let _ = script.await.expect("a task").expect("a script that ends well");
        }
        for hog in hogs {
            hog.abort();
        }
    }));
    std::mem::take(&mut *delays.lock().expect("no panic"))
}

fn engine() -> Engine {
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    engine.register_fn(
        "request",
        |ctx: NativeCallContext| -> Result<ImmutableString, Box<EvalAltResult>> {
            let session = inflight_rhai::session_of(&ctx)?;
            let id = session
                .submit(Request::new(Method::Post, "/v1/things"))
                .map_err(|error| submit_error(&error))?;
            Ok(id.to_string().into())
        },
    );
    engine
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
