//! The bytecode VM against the tree walker: the same value, the same output, the same error. Where the two are known to differ
//! (`docs/grain.md`), a test says how, so that a new release of Rhai that mends it is noticed.
#![cfg(feature = "grain")]

mod generate;

use std::sync::{Arc, Mutex};

use inflight_rhai::{Evaluator, FiberEngine, InflightPackage, Limits, Locals, RunOptions, ScriptErrorKind};
use rhai::packages::Package;
use rhai::{Dynamic, Engine, EvalAltResult, INT, Module, Scope};

/// How many generated programs are compared; `GRAIN_PROGRAMS` asks for more.
const PROGRAMS: u64 = 300;

#[derive(Debug, Clone)]
struct Point {
    x: INT,
    y: INT,
}

fn engine() -> FiberEngine {
    let mut engine = Engine::new();
    engine.set_max_expr_depths(0, 0);
    engine.set_max_call_levels(64);
    InflightPackage::new().register_into_engine(&mut engine);
    engine
        .register_type_with_name::<Point>("Point")
        .register_fn("point", |x: INT, y: INT| Point { x, y })
        .register_get_set("x", |p: &mut Point| p.x, |p: &mut Point, x: INT| p.x = x)
        .register_get_set("y", |p: &mut Point| p.y, |p: &mut Point, y: INT| p.y = y)
        .register_fn("sum", |p: &mut Point| p.x.saturating_add(p.y))
        .register_fn("with_x", |p: &mut Point, x: INT| Point { x, y: p.y })
        .register_fn("with_y", |p: Point, y: INT| Point { x: p.x, y })
        .register_fn("moved", |p: &mut Point, by: INT| {
            p.x = p.x.wrapping_add(by);
            p.clone()
        })
        .register_fn("to_string", |p: &mut Point| format!("({}, {})", p.x, p.y))
        .register_fn("to_debug", |p: &mut Point| format!("Point({}, {})", p.x, p.y));
    inflight_rhai::register_async_fn(&mut engine, "slow", |x: INT| async move {
        tokio::task::yield_now().await;
        if x == 6 {
            return Err(Box::<EvalAltResult>::from("six is too slow"));
        }
        Ok(x)
    });
    let mut lib = Module::new();
    lib.set_native_fn("double", |x: INT| Ok::<_, Box<EvalAltResult>>(x.wrapping_mul(2)));
    engine.register_static_module("lib", lib.into());
    FiberEngine::new(engine)
}

/// What a run shows: its output and its value or error. Nothing, where it does not compile or does not end.
async fn seen(engine: &FiberEngine, text: &str, evaluator: Evaluator, scope: Scope<'static>) -> Option<String> {
    let script = engine.compile(text).ok()?.with_evaluator(evaluator);
    assert_eq!(script.evaluator(), evaluator, "{text}");
    let output = Arc::new(Mutex::new(String::new()));
    let sink = Arc::clone(&output);
    let locals = Locals::new().with_output(Arc::new(move |line: &str| {
        let mut output = sink.lock().unwrap();
        output.extend(line.chars().take(10_000));
        output.push('\n');
    }));
    let limits = Limits {
        operations: Some(100_000),
        ..Limits::default()
    };
    let run = script.run_then(
        RunOptions::new(locals).limits(limits),
        scope,
        |engine, value: Dynamic| {
            let text = inflight_rhai::value_text(engine, &value);
            Ok(format!("{}: {text}", value.type_name()))
        },
    );
    let ended = match run.await {
        Ok(value) => value,
        Err(error) if error.kind() == ScriptErrorKind::OperationLimit => return None,
        Err(error) => format!("error: {error}"),
    };
    Some(format!("{}{ended}", output.lock().unwrap()))
}

/// Without the numbers of lines and columns, in which the two are known to differ.
fn without_positions(text: &str) -> String {
    let mut rest = text;
    let mut kept = String::new();
    let marks = ["line ", "position ", "column ", "\"line\": ", "\"position\": "];
    while let Some((at, mark)) = marks.iter().filter_map(|m| Some((rest.find(m)?, m))).min() {
        let (before, after) = rest.split_at(at + mark.len());
        kept.push_str(before);
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    kept + rest
}

#[tokio::test]
async fn generated_programs_give_the_same() {
    let asked = std::env::var("GRAIN_PROGRAMS")
        .ok()
        .and_then(|count| count.parse().ok());
    let engine = engine();
    let (mut compared, mut moved, mut different) = (0, 0, 0);
    for seed in 0..asked.unwrap_or(PROGRAMS) {
        let text = generate::program(seed);
        let Some(walked) = seen(&engine, &text, Evaluator::Walker, Scope::new()).await else {
            continue;
        };
        let ran = seen(&engine, &text, Evaluator::Vm, Scope::new())
            .await
            .unwrap_or_default();
        // What a closure has captured is locked at other moments.
        if walked.contains("Data race") || ran.contains("Data race") {
            continue;
        }
        compared += 1;
        if without_positions(&ran) != without_positions(&walked) {
            different += 1;
            println!("--- seed {seed}\n{text}--- walker:\n{walked}\n--- VM:\n{ran}\n");
        } else if ran != walked {
            moved += 1;
        }
    }
    println!("{compared} compared, {moved} differ in the position of an error, {different} in more");
    assert_eq!(different, 0);
    assert!(compared > 100, "only {compared} programs ran");
}

/// Scripts with one meaning, and what the VM of Rhai 1.27 makes of them.
#[tokio::test]
async fn the_known_differences_are_still_there() {
    let given = || {
        let mut scope = Scope::new();
        scope.push("given", 12 as INT);
        scope
    };
    let engine = engine();
    for (text, walker, vm) in [
        // The counter is written to the place of another variable, also of the host's.
        (
            "for (x, i) in [7, 8] { print(i); } given",
            "0\n1\ni64: 12",
            "\n\ni64: 1",
        ),
        // An assignment to what cannot be indexed is lost without a word.
        (
            "let m = #{}; m.b[0] = 1; 3",
            "error: Indexer unavailable: () [i64] = i64 (line 1, column 17)",
            "i64: 3",
        ),
        // The columns of some errors differ.
        (
            "let x = 1; x.call(4)",
            "error: Data type incorrect: i64 (expecting Fn) (line 1, column 19)",
            "error: Data type incorrect: i64 (expecting Fn) (line 1, column 14)",
        ),
    ] {
        let walked = seen(&engine, text, Evaluator::Walker, given()).await;
        assert_eq!(walked.as_deref(), Some(walker), "{text}");
        let ran = seen(&engine, text, Evaluator::Vm, given()).await;
        assert_eq!(ran.as_deref(), Some(vm), "{text}");
    }
}

#[tokio::test]
async fn a_script_that_computes_on_the_vm_is_preempted_and_stopped() {
    let engine = engine();
    let local = tokio::task::LocalSet::new();
    let started = local.run_until(async {
        let endless = engine
            .compile("let i = 0; loop { i += 1; }")
            .unwrap()
            .with_evaluator(Evaluator::Vm);
        let hog = tokio::task::spawn_local(endless.run::<Dynamic>(RunOptions::default()));
        let limits = Limits {
            wall_time: Some(std::time::Duration::from_millis(20)),
            ..Limits::default()
        };
        let limited = endless
            .run::<Dynamic>(RunOptions::default().limits(limits))
            .await
            .unwrap_err();
        assert_eq!(limited.kind(), ScriptErrorKind::TimeLimit);
        assert!(!hog.is_finished());
        hog.abort();
    });
    started.await;
    let deep = engine
        .compile("fn f(x) { [x].map(|y| f(y + 1)); } f(0)")
        .unwrap()
        .with_evaluator(Evaluator::Vm);
    let error = deep.run::<Dynamic>(RunOptions::default()).await.unwrap_err();
    assert!(error.message().contains("64 levels"), "{error}");
}
