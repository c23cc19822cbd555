//! What it costs a script to be a run: each call that learns something from outside is written to a journal in memory.

#![allow(missing_docs, reason = "a program")]

use std::sync::Arc;
use std::time::Instant;

use inflight_core::testing::ManualTransport;
use inflight_core::{Journal, JournalEntry, MemoryJournal, Method, Registry, Request};
use inflight_rhai::{FiberEngine, InflightPackage, Locals, Run, RunOptions, ScriptAllocator, submit_request};
use rhai::packages::Package;
use rhai::{Engine, INT, NativeCallContext};

#[global_allocator]
static ALLOCATOR: ScriptAllocator = ScriptAllocator::system();

const CALLS: usize = 100_000;
const REQUESTS: usize = 20_000;

fn main() {
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    println!("what does it cost a script to be a run?");
    let question = format!("let id = create(); for i in 0..{CALLS} {{ is_complete(id); }} 0");
    compare("is_complete", &question, CALLS);
    let requests = format!("for i in 0..{REQUESTS} {{ let id = create(); await_result(id); }} 0");
    compare("a request: submitted, and waited for", &requests, REQUESTS);
}

fn compare(what: &str, script: &str, times: usize) {
    let mut best = [f64::MAX; 3];
    let mut bytes = 0;
    for _ in 0..5 {
        let journal = MemoryJournal::new();
        let plain = run(script, None);
        let written = run(script, Some(&journal));
        let entries = journal.entries().expect("it is in memory");
        let replayed = run(script, Some(&journal));
        bytes = entries.iter().map(size).sum::<usize>() / times;
        for (best, seen) in best.iter_mut().zip([plain, written, replayed]) {
            *best = best.min(seen / times as f64);
        }
    }
    let [plain, written, replayed] = best.map(|seconds| seconds * 1e9);
    println!(
        "{what}: {plain:.0} ns, in a run {written:.0} ns and {bytes} bytes, replayed {replayed:.0} ns ({times} times, best of 5)"
    );
}

fn size(entry: &JournalEntry) -> usize {
    size_of::<JournalEntry>() + entry.operation.len() + entry.answer.len()
}

/// Runs the script; its requests are answered at once. Gives the seconds that it took.
fn run(script: &str, journal: Option<&MemoryJournal>) -> f64 {
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    engine.register_fn("create", |ctx: NativeCallContext| {
        submit_request(
            &ctx,
            inflight_rhai::uncharged(|| Request::new(Method::Post, "/v1/products").operation("product.create")),
        )
    });
    let engine = FiberEngine::new(engine);
    let (registry, queue) = Registry::new();
    let mut transport = ManualTransport::new(queue);
    let locals = match journal {
        None => Locals::for_session(registry.session()),
        Some(journal) => {
            let run = Run::new("bench", Arc::new(journal.clone()));
            let locals = Locals::for_session(run.session(&registry, registry.session_limits(), Vec::new()));
            locals.set(run);
            locals
        }
    };
    let script = engine.compile(script).expect("it parses");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut fiber = script.run::<INT>(RunOptions::new(locals));
    let begun = Instant::now();
    runtime.block_on(async {
        loop {
            tokio::select! {
                biased;
                ended = &mut fiber => break ended.map(drop).expect("it runs"),
                () = tokio::task::yield_now() => {}
            }
            while let Some(sent) = transport.try_next() {
                sent.succeed("prod_1");
            }
        }
    });
    begun.elapsed().as_secs_f64()
}
