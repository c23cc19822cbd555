//! Long-running scripts that hold little at a time never come to their heap limit: what is allocated for them is charged and
//! freed on the same account.

use inflight_core::testing::ManualTransport;
use inflight_core::{Method, Registry, Request};
use inflight_rhai::{FiberEngine, InflightPackage, Limits, Locals, RunOptions, ScriptAllocator, value_text};
use rhai::packages::Package;
use rhai::{Dynamic, Engine, Scope};

#[global_allocator]
static ALLOCATOR: ScriptAllocator = ScriptAllocator::system();

#[test]
fn what_is_freed_is_no_longer_charged() {
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    let engine = FiberEngine::new(engine);
    let (registry, queue) = Registry::new();
    let session = registry.session();
    let mut transport = ManualTransport::new(queue);
    let ids: Vec<String> = (0..200)
        .map(|i| {
            let id = session.submit(Request::new(Method::Post, "/")).unwrap();
            transport.next().succeed(&format!("thing_{i}"));
            id.to_string()
        })
        .collect();
    let ids = ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for (name, script) in [
        ("await_all", "for i in 0..100 { await_all(ids, 5); }"),
        ("await_settled", "for i in 0..100 { await_settled(ids); }"),
        ("await_race", "for i in 0..100 { await_race(ids); await_any(ids); }"),
        ("join", "for i in 0..3000 { join(start(|| 1)); }"),
        (
            "start",
            "for i in 0..3000 { start(|| 1); if i % 100 == 0 { sleep(0); } }",
        ),
        (
            "large results",
            "for i in 0..100 { join(start(|| { let s = ``; s.pad(200000, 'x'); s })); }",
        ),
        (
            "on_complete",
            "for i in 0..30 { for id in ids { on_complete(id, |r| r); } sleep(0); }",
        ),
        (
            "get_object",
            "for i in 0..50 { for id in ids { get_object(id); await_object(id); } }",
        ),
        ("print", "for i in 0..3000 { print(i); }"),
    ] {
        // A tenth of what each would come to if what it frees stayed charged.
        let limits = Limits {
            heap_bytes: Some(1_000_000),
            ..Limits::default()
        };
        let locals = Locals::for_session(session.clone()).with_output(std::sync::Arc::new(|_: &str| {}));
        let text = format!("let ids = [{ids}]; {script} `done`");
        let script = engine.compile(&text).unwrap();
        let fiber = script.run_then(
            RunOptions::new(locals).limits(limits),
            Scope::new(),
            |engine, value: Dynamic| Ok(value_text(engine, &value)),
        );
        let ended = runtime.block_on(fiber).map_err(|error| error.to_string());
        assert_eq!(ended.as_deref(), Ok("done"), "{name}");
    }
}
