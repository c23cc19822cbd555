//! What stops a script in one of its parts stops the others, wherever they wait.

use std::time::Duration;

use inflight_rhai::{FiberEngine, InflightPackage, ScriptAllocator, ScriptError, ScriptErrorKind};
use rhai::Engine;
use rhai::packages::Package;

#[global_allocator]
static ALLOCATOR: ScriptAllocator = ScriptAllocator::system();

/// Runs a script that would never end by itself.
fn ends(script: &str) -> ScriptError {
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    engine.register_fn("host_panics", || -> i64 { panic!("the host fails") });
    let engine = FiberEngine::new(engine);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        let running = engine.eval_async::<()>(script);
        tokio::time::timeout(Duration::from_secs(60), running).await
    });
    ended.expect("it ends").expect_err("it is stopped")
}

#[test]
fn a_task_that_is_stopped_ends_the_script_also_where_the_main_part_waits() {
    let error = ends("start(|| { let s = ``; s.pad(1000000000, 'x'); }); sleep(36000000);");
    assert_eq!(error.kind(), ScriptErrorKind::HeapLimit, "{error}");
}

#[test]
fn a_panic_in_the_main_part_stops_the_tasks() {
    let error = ends("start(|| loop { sleep(1); }); sleep(5); host_panics(); ()");
    assert_eq!(error.kind(), ScriptErrorKind::Panic, "{error}");
}

#[test]
fn a_task_that_is_stopped_ends_the_others_also_where_the_main_part_has_ended() {
    let error = ends("start(|| sleep(100000000)); start(|| { let s = ``; s.pad(1000000000, 'x'); }); ()");
    assert_eq!(error.kind(), ScriptErrorKind::HeapLimit, "{error}");
}
