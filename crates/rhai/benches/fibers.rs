//! What do fibers cost? Each benchmark is named after what it measures; `plain` is Rhai without fibers.

#![allow(missing_docs, reason = "criterion's macros")]

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime};
use inflight_rhai::{Evaluator, Fiber, FiberEngine, RunOptions, Script, register_async_fn};
use rhai::{Dynamic, Engine, EvalAltResult, INT};

/// A small script: a loop, a function, an array, text.
const SMALL: &str = "
    fn double(x) { x * 2 }
    let all = [];
    for i in 0..10 { all.push(double(i)); }
    `${all.len()} values, the last is ${all[9]}`";

const COUNTING: &str = "let i = 0; while i < 10_000 { i += 1; } i";
const CALLING: &str = "fn next(x) { x + 1 } let i = 0; while i < 2_000 { i = next(i); } i";

fn engine() -> Engine {
    let mut engine = Engine::new();
    register_async_fn(&mut engine, "forever", || async {
        std::future::pending::<()>().await;
        Ok::<_, Box<EvalAltResult>>(())
    });
    engine
}

fn poll<T>(fiber: &mut Fiber<T>) -> Poll<T> {
    let mut context = Context::from_waker(Waker::noop());
    Pin::new(fiber)
        .poll(&mut context)
        .map(|ended| ended.expect("a script that ends well"))
}

/// Runs a script that never waits. A computing script is preempted now and then, and goes on at the next poll.
fn run(script: &Script) -> Dynamic {
    let mut fiber = script.run::<Dynamic>(RunOptions::default());
    loop {
        if let Poll::Ready(value) = poll(&mut fiber) {
            return value;
        }
    }
}

/// The same script plainly, as a fiber, and as a fiber on the bytecode VM.
fn compare(group: &mut BenchmarkGroup<'_, WallTime>, text: &str) {
    let plain = engine();
    let ast = plain.compile(text).expect("a script");
    group.bench_function("plain", |b| {
        b.iter(|| plain.eval_ast::<Dynamic>(black_box(&ast)).expect("a value"))
    });
    let engine = FiberEngine::new(engine());
    let script = engine.script(ast);
    group.bench_function("fiber", |b| b.iter(|| black_box(run(&script))));
    let on_vm = script.with_evaluator(Evaluator::Vm);
    if on_vm.evaluator() == Evaluator::Vm {
        group.bench_function("fiber on the VM", |b| b.iter(|| black_box(run(&on_vm))));
    }
}

fn fibers(criterion: &mut Criterion) {
    for (name, text) in [
        ("an empty script", ""),
        ("a small script", SMALL),
        ("10,000 turns of a counting loop", COUNTING),
        ("2,000 calls of a script function", CALLING),
    ] {
        compare(
            &mut criterion.benchmark_group(format!("what does a fiber add? {name}")),
            text,
        );
    }

    let engine = FiberEngine::new(engine());
    let mut group = criterion.benchmark_group("what does it cost to wait?");
    group.bench_function("resume and suspend an idle fiber", |b| {
        let mut fiber: Fiber<()> = engine.eval_async("forever()");
        b.iter(|| black_box(poll(&mut fiber)));
    });
    let waiting = engine.compile("forever()").expect("a script");
    group.bench_function("start, suspend and drop a fiber", |b| {
        b.iter(|| {
            let mut fiber = waiting.run::<Dynamic>(RunOptions::default());
            black_box(poll(&mut fiber))
        });
    });

    group.finish();

    let mut group = criterion.benchmark_group("how long does a small script take to compile?");
    group.bench_function("for the walker", |b| {
        b.iter(|| engine.compile(black_box(SMALL)).expect("a script"))
    });
    if engine
        .compile(SMALL)
        .expect("a script")
        .with_evaluator(Evaluator::Vm)
        .evaluator()
        == Evaluator::Vm
    {
        group.bench_function("for the VM", |b| {
            b.iter(|| {
                engine
                    .compile(black_box(SMALL))
                    .expect("a script")
                    .with_evaluator(Evaluator::Vm)
            });
        });
    }
    group.finish();
    assert_eq!(
        run(&engine.compile(COUNTING).expect("a script")).as_int(),
        Ok(10_000 as INT)
    );
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
    targets = fibers
}
criterion_main!(benches);
