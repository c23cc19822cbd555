//! Functions over whole arrays: the same as Rhai's own, and others have their turn in the middle of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use inflight_rhai::{FiberEngine, InflightPackage, Limits, RunOptions, ScriptErrorKind};
use rhai::packages::Package;
use rhai::{Dynamic, Engine};
use tokio::task::LocalSet;

#[test]
fn functions_over_arrays_give_what_rhais_own_give() {
    let plain = Engine::new();
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    let engine = FiberEngine::new(engine);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let arrays = [
        "[]",
        "[1]",
        "[3, -1, 2, 2, 2, 9, -7, 2]",
        "[\"b\", \"\", \"a\", \"ab\", \"ab\"]",
        "[2.5, -1.0, 0.0, 2.5, 2.5]",
        "['z', 'a', 'a', 'ä']",
        "[true, false, false, true]",
        "[(), (), ()]",
        "[1, \"1\", 1.0, '1', 1]",
        "[[1], [1], [2]]",
        "[#{ a: 1 }, #{ a: 1 }, #{ a: 2 }]",
        "[|x| x]",
    ];
    let calls = [
        "a.sort(); a",
        "a.sort_desc(); a",
        "a.order()",
        "a.order_desc()",
        "a.sort(|a, b| a.to_string().len() - b.to_string().len()); a",
        "a.sort_by(|a, b| a.to_debug() >= b.to_debug()); a",
        "a.order(|a, b| 0)",
        "a.order_by(|a, b| a.to_debug() <= b.to_debug())",
        "a.dedup(); a",
        "a.dedup(|a, b| a == b); a",
        "a.dedup(|a, b| a.to_debug() >= b.to_debug()); a",
        "a.dedup(|a, b| 0); a",
        "a.contains(2)",
        "2 in a",
        "\"ab\" in a",
        "a.index_of(2)",
        "a.index_of(2, 3)",
        "a.index_of(2, -1)",
        "a.index_of(2, -99)",
        "a.index_of(2, 99)",
        "a.index_of(\"1\")",
        "a.index_of([2])",
        "a.index_of(#{ a: 2 })",
        "a.index_of(|x| x == 2)",
        "a.index_of(2.5)",
        "a.contains('a')",
        "a.contains(())",
    ];
    for array in arrays {
        for call in calls {
            let script = format!("let a = {array}; let v = {{ {call} }}; v.to_string()");
            let expected = plain.eval::<String>(&script).map_err(|error| error.to_string());
            let given = runtime.block_on(engine.eval_async::<String>(&script));
            match (expected, given) {
                (Ok(expected), Ok(given)) => assert_eq!(given, expected, "{script}"),
                (Err(_), Err(_)) => {}
                (expected, given) => panic!("{script}: {expected:?}, {given:?}"),
            }
        }
    }
}

#[test]
fn a_function_to_sort_by_may_throw_and_may_contradict_itself() {
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    let engine = FiberEngine::new(engine);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let eval = |script: &str| runtime.block_on(engine.eval_async::<String>(script));
    let make = "let a = []; let x = 1; for i in 0..200 { x = (x * 1103515245 + 12345) % 2147483648; a.push(x); } let before = a;";
    let thrown = format!(
        "{make} let seen = []; for f in [|a, b| throw `no`, |a, b| `text`] {{
             try {{ a.sort(f); }} catch (error) {{ seen.push(error.to_string()); }}
         }}
         try {{ a.dedup(|a, b| if b == before[99] {{ throw `the same` }} else {{ true }}); }} catch (error) {{ seen.push(error); }}
         if a != before {{ throw `the array has changed` }}
         `${{seen}}`"
    );
    let seen = eval(&thrown).unwrap();
    assert!(
        seen.contains("no") && seen.contains("type string") && seen.contains("the same"),
        "{seen}"
    );
    // Nobody knows in which order; but nothing panics, not even where that is caught, and nothing is lost.
    let hook = std::panic::take_hook();
    let panicked = Arc::new(AtomicI64::new(0));
    let counted = Arc::clone(&panicked);
    std::panic::set_hook(Box::new(move |info| {
        counted.fetch_add(1, Ordering::Relaxed);
        hook(info);
    }));
    let whole = format!(
        "{make} let n = 0; a.sort(|a, b| {{ n += 1; n * 7919 % 3 - 1 }}); before.sort(); a.sort(); `${{a == before}}`"
    );
    assert_eq!(eval(&whole).unwrap(), "true");
    assert_eq!(panicked.load(Ordering::Relaxed), 0);
}

#[test]
fn a_slice_ends_in_the_middle_of_a_long_function() {
    let turns = Arc::new(AtomicI64::new(0));
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    let (counted, read) = (Arc::clone(&turns), turns);
    engine.register_fn("turn", move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    engine.register_fn("turns", move || read.load(Ordering::Relaxed));
    let engine = FiberEngine::new(engine);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let local = LocalSet::new();
    local.spawn_local(engine.eval_async::<()>("loop { turn(); sleep(0); }"));
    let make = "let a = []; let x = 1; for i in 0..100000 { x = (x * 1103515245 + 12345) % 2147483648; a.push(x); }";
    for call in [
        "a.sort()",
        "a.order(|x, y| x - y)",
        "a.index_of(-1)",
        "a.to_string()",
        "a.to_json()",
        "let b = a; a == b",
    ] {
        let script = format!("{make} let before = turns(); {call}; turns() - before");
        let meanwhile = local
            .block_on(&runtime, engine.eval_async::<i64>(&script))
            .unwrap_or_else(|error| panic!("{call}: {error}"));
        assert!(meanwhile > 0, "{call}: nothing else ran");
    }
    // It can be stopped there too, and the array is whole.
    let limits = Limits {
        wall_time: Some(Duration::from_millis(20)),
        ..Limits::default()
    };
    let script = engine
        .compile(&format!("{make} loop {{ a.sort(); a.reverse(); }}"))
        .unwrap();
    let fiber = script.run::<Dynamic>(RunOptions::default().limits(limits));
    let error = local.block_on(&runtime, fiber).unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::TimeLimit);
}
