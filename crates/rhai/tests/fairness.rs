//! Scripts that never wait, by whatever way they go on: their neighbours have their turns, and limits and cancellation reach them.

use std::time::Duration;

use inflight_core::testing::ManualTransport;
use inflight_core::{Method, Registry, Request, Session};
use inflight_rhai::{
    FiberEngine, FiberPool, InflightPackage, Limits, Locals, PoolTask, RunOptions, ScriptError, ScriptErrorKind,
    submit_request,
};
use rhai::packages::Package;
use rhai::{Engine, EvalAltResult, ImmutableString, NativeCallContext, Scope};

/// Far beyond what any of these tests takes: it only turns a hang into a failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Scripts that go on without end and never wait for anything.
const RESTLESS: [(&str, &str); 7] = [
    ("a loop", "loop { }"),
    (
        "a callback that registers a callback",
        "fn again(id) { on_complete(id, |result| again(id)) } let id = request(); await_result(id); again(id);",
    ),
    (
        "a callback that does so while the script computes",
        "fn again(id) { on_complete(id, |result| again(id)) } let id = request(); await_result(id); again(id); loop { sleep(0); }",
    ),
    (
        "a task that starts a task",
        "fn again() { start(|| again()); } again();",
    ),
    (
        "tasks that start two tasks each",
        "fn again() { start(|| again()); start(|| again()); } again();",
    ),
    (
        "tasks that are joined at once",
        "loop { let tasks = []; for i in 0..900 { tasks.push(start(|| 1)); } for task in tasks { join(task); } }",
    ),
    (
        "many tasks that compute for less than a slice",
        "for i in 0..500 { start(|| loop { for j in 0..500 { } sleep(0); }); } loop { sleep(0); }",
    ),
];

fn pool() -> (FiberPool, Session) {
    let (registry, queue) = Registry::new();
    let mut transport = ManualTransport::new(queue);
    // At most one request is made.
    std::thread::spawn(move || transport.next().succeed("thing_1"));
    let pool = FiberPool::new(1, || {
        let mut engine = Engine::new();
        InflightPackage::new().register_into_engine(&mut engine);
        engine.register_fn(
            "request",
            |ctx: NativeCallContext| -> Result<ImmutableString, Box<EvalAltResult>> {
                submit_request(&ctx, Request::new(Method::Post, "/v1/things"))
            },
        );
        FiberEngine::new(engine)
    });
    (pool, registry.session())
}

fn start(pool: &FiberPool, session: &Session, text: &'static str, limits: Limits) -> PoolTask<Result<(), ScriptError>> {
    let session = session.clone();
    pool.spawn(move |engine| async move {
        let script = engine.compile(text)?;
        let options = RunOptions::new(Locals::for_session(session)).limits(limits);
        script.run_then(options, Scope::new(), |_, _| Ok(())).await
    })
}

async fn within_patience<F: Future>(future: F, what: &str) -> F::Output {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(given) => given,
        Err(_) => panic!("{what}: still not after {PATIENCE:?}"),
    }
}

#[tokio::test]
async fn a_neighbour_goes_on_beside_them() {
    for (what, text) in RESTLESS {
        let (pool, session) = pool();
        let restless = start(&pool, &session, text, Limits::default());
        let neighbour = start(&pool, &session, "for i in 0..50 { sleep(1); }", Limits::default());
        within_patience(neighbour, what)
            .await
            .expect("a result")
            .expect("it ends well");
        assert!(!restless.is_finished(), "{what}");
        restless.cancel();
        let ended = within_patience(restless, what).await;
        assert_eq!(ended.unwrap_err().kind(), ScriptErrorKind::Cancelled, "{what}");
    }
}

#[tokio::test]
async fn their_time_limit_is_kept() {
    let limits = Limits {
        wall_time: Some(Duration::from_millis(100)),
        ..Limits::default()
    };
    for (what, text) in RESTLESS {
        let (pool, session) = pool();
        let ended = within_patience(start(&pool, &session, text, limits), what).await;
        let error = ended.expect("a result").expect_err(what);
        assert_eq!(error.kind(), ScriptErrorKind::TimeLimit, "{what}");
    }
}
