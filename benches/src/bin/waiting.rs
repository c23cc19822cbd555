//! Many scripts that wait at the same time, without sockets: wall time against the wait itself, and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use inflight_benches::{Options, peak_resident, resident, threads};
use inflight_core::testing::{ManualTransport, Sent};
use inflight_core::{Method, Queue, Registry, Request};
use inflight_rhai::{
    Evaluator, FiberEngine, FiberPool, InflightPackage, Limits, Locals, RunOptions, Script, submit_request, uncharged,
};
use rhai::packages::Package;
use rhai::{Engine, EvalAltResult, ImmutableString, NativeCallContext};

const HELP: &str = "\
Starts many scripts that wait at the same time, and measures.

  --scripts N       how many scripts (10000)
  --wait SECONDS    how long each waits (2)
  --on WHAT         sleep, or request: a transport without sockets (sleep)
  --threads N       how many threads run scripts (1)
  --evaluator WHAT  walker, or vm (with feature grain) (walker)
  --limit SECONDS   a time limit for each script, 0 for none (0)
  --rounds N        how often, in one process (1)";

fn main() {
    let options = Options::read(HELP, 0);
    let scripts: usize = options.get("scripts", 10_000);
    let wait = Duration::from_secs_f64(options.get("wait", 2.0));
    let on: String = options.get("on", "sleep".to_owned());
    let evaluator = match options.get("evaluator", "walker".to_owned()).as_str() {
        "vm" => Evaluator::Vm,
        _ => Evaluator::Walker,
    };
    let limit: f64 = options.get("limit", 0.0);
    let limits = Limits {
        wall_time: (limit > 0.0).then(|| Duration::from_secs_f64(limit)),
        ..Limits::default()
    };
    let text = match on.as_str() {
        "request" => "let id = request(); let result = await_result(id, 600); result".to_owned(),
        _ => format!("let before = 41; sleep({}); before + 1", wait.as_millis()),
    };

    let (registry, queue) = Registry::builder().queue_capacity(usize::MAX >> 1).build();
    if on == "request" {
        answer_after(wait, queue);
    }
    let pool = FiberPool::new(options.get("threads", 1), engine);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for _ in 0..options.get("rounds", 1_usize) {
        let before = resident();
        let ended = Arc::new(AtomicUsize::new(0));
        let start = Instant::now();
        let running: Vec<_> = (0..scripts)
            .map(|_| {
                let (text, session, ended) = (text.clone(), registry.session(), Arc::clone(&ended));
                pool.spawn(move |engine| async move {
                    let run = RunOptions::new(Locals::for_session(session)).limits(limits);
                    script(&engine, &text, evaluator)
                        .run_then(run, rhai::Scope::new(), |_, value| Ok(value.to_string()))
                        .await
                        .expect("a script that ends well");
                    ended.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        let spawned = start.elapsed();
        // All wait by then, where starting them does not take longer than half of the wait.
        std::thread::sleep((wait * 3 / 4).saturating_sub(spawned));
        let (waiting, at_once) = (resident(), threads());
        assert_eq!(
            ended.load(Ordering::Relaxed),
            0,
            "the wait is too short for so many scripts"
        );
        runtime.block_on(async {
            for script in running {
                script.await.expect("a script's task");
            }
        });
        let wall = start.elapsed().as_secs_f64();
        let per_script = waiting.saturating_sub(before) as f64 / scripts as f64;
        let over = wall - wait.as_secs_f64();
        println!(
            "{scripts} scripts, each waiting {:.1} s ({on}, {evaluator:?}): {wall:.3} s in all, {over:.3} s more than the wait; {:.1} MB \
             at most, {per_script:.1} KB for each script, {at_once} threads",
            wait.as_secs_f64(),
            peak_resident() as f64 / 1024.0,
        );
        println!(
            "{}",
            serde_json::json!({
                "scripts": scripts, "on": on, "evaluator": format!("{evaluator:?}"), "wait_s": wait.as_secs_f64(), "wall_s": wall,
                "peak_kb": peak_resident(), "kb_per_script": per_script, "threads": at_once,
            })
        );
    }
}

fn engine() -> FiberEngine {
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    engine.register_fn(
        "request",
        |ctx: NativeCallContext| -> Result<ImmutableString, Box<EvalAltResult>> {
            submit_request(&ctx, uncharged(|| Request::new(Method::Post, "/v1/things")))
        },
    );
    FiberEngine::new(engine)
}

/// The script, compiled once on each thread.
fn script(engine: &FiberEngine, text: &str, evaluator: Evaluator) -> Script {
    thread_local! {
        static COMPILED: std::cell::RefCell<Option<Script>> = const { std::cell::RefCell::new(None) };
    }
    COMPILED.with_borrow_mut(|compiled| {
        let compile = || engine.compile(text).expect("a script").with_evaluator(evaluator);
        compiled.get_or_insert_with(compile).clone()
    })
}

/// A transport that answers each request after this time.
fn answer_after(wait: Duration, queue: Queue) {
    let (sent, due) = mpsc::channel::<(Instant, Sent)>();
    let mut transport = ManualTransport::new(queue);
    std::thread::spawn(move || {
        loop {
            let request = transport.next();
            if sent.send((Instant::now() + wait, request)).is_err() {
                return;
            }
        }
    });
    std::thread::spawn(move || {
        for (when, request) in due {
            std::thread::sleep(when.saturating_duration_since(Instant::now()));
            request.succeed("thing_1");
        }
    });
}
