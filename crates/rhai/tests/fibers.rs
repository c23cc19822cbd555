//! Scripts as futures: suspension, limits, cancellation, and the script functions for requests in flight.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::testing::{ManualTransport, Sent};
use inflight_core::{Effect, Failure, FailureKind, Method, Registry, Request, Session};
use inflight_rhai::{
    Fiber, FiberEngine, FiberPool, InflightPackage, Limits, Locals, RunOptions, ScriptErrorKind, register_async_fn,
};
use rhai::packages::Package;
use rhai::{Dynamic, Engine, EvalAltResult, INT, ImmutableString, NativeCallContext};

/// An engine with the script functions and one that submits a request: `request()`.
fn engine() -> Engine {
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    engine.register_fn(
        "request",
        |ctx: NativeCallContext| -> Result<ImmutableString, Box<EvalAltResult>> {
            let session = inflight_rhai::session_of(&ctx)?;
            let request = Request::new(Method::Post, "/v1/things").operation("thing.create");
            let id = session
                .submit(request)
                .map_err(|error| inflight_rhai::submit_error(&error))?;
            Ok(id.to_string().into())
        },
    );
    engine
}

struct Setup {
    engine: FiberEngine,
    session: Session,
    transport: ManualTransport,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Setup {
    fn new() -> Self {
        let (registry, queue) = Registry::new();
        Self {
            engine: FiberEngine::new(engine()),
            session: registry.session(),
            transport: ManualTransport::new(queue),
            lines: Arc::default(),
        }
    }

    fn options(&self) -> RunOptions {
        let lines = Arc::clone(&self.lines);
        let locals = Locals::for_session(self.session.clone())
            .with_output(Arc::new(move |line: &str| lines.lock().unwrap().push(line.to_owned())));
        RunOptions::new(locals)
    }

    fn run(&self, script: &str) -> Fiber<Dynamic> {
        self.engine.eval_async_with(self.options(), script)
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

fn card_declined() -> Failure {
    let mut failure = Failure::new(
        FailureKind::Named("card_error".into()),
        Effect::None,
        "Your card was declined.",
    );
    failure.code = Some("card_declined".into());
    failure.response = Some(inflight_core::Response::new(402, "{}"));
    failure
}

/// The next request that was sent. The scripts of this thread run meanwhile; one that was preempted needs several turns.
async fn next_sent(transport: &mut ManualTransport) -> Sent {
    loop {
        match transport.try_next() {
            Some(sent) => return sent,
            None => tokio::task::yield_now().await,
        }
    }
}

#[tokio::test]
async fn a_script_waits_while_others_go_on() {
    let mut setup = Setup::new();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let waiting = tokio::task::spawn_local(setup.run("let id = request(); await_result(id, 30)"));
            let sent = next_sent(&mut setup.transport).await;
            let other: INT = setup.run("40 + 2").await.unwrap().as_int().unwrap();
            assert_eq!(other, 42);
            assert!(!waiting.is_finished());
            sent.succeed("thing_1");
            let result = waiting.await.unwrap().unwrap();
            assert_eq!(result.into_string().unwrap(), "thing_1");
        })
        .await;
}

#[tokio::test]
async fn a_failure_is_caught_field_by_field_and_reads_as_one_line() {
    let mut setup = Setup::new();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let script = tokio::task::spawn_local(setup.run(
                r#"
                let fields = [];
                try { await_result(request(), 30); } catch (error) {
                    print(`Failed: ${error}`);
                    print(type_of(error));
                    fields = [error.kind, error.code, error.status, error.effect, error.retryable, error.param, error.message];
                }
                fields"#,
            ));
            next_sent(&mut setup.transport).await.fail(card_declined());
            let fields = script.await.unwrap().unwrap();
            assert_eq!(
                fields.to_string(),
                r#"["card_error", "card_declined", 402, "none", false, (), "Your card was declined."]"#
            );
        })
        .await;
    assert_eq!(
        setup.lines(),
        [
            "Failed: card_error: Your card was declined. (status 402, code card_declined)",
            "map"
        ]
    );
}

#[tokio::test]
async fn an_uncaught_failure_names_the_call_that_awaited() {
    let mut setup = Setup::new();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let script = tokio::task::spawn_local(
                setup.run("fn wait_for(id) {\n    await_result(id, 30)\n}\nwait_for(request())"),
            );
            next_sent(&mut setup.transport).await.fail(card_declined());
            let error = script.await.unwrap().unwrap_err();
            assert_eq!(error.kind(), ScriptErrorKind::Runtime);
            assert_eq!(error.position(), Some((2, 5)));
            assert_eq!(
                error.message(),
                "card_error: Your card was declined. (status 402, code card_declined)"
            );
        })
        .await;
}

/// What a script that throws is told, as `kind`.
async fn kind_thrown(setup: &Setup, script: &str) -> String {
    let script = format!("let kind = `none`; try {{ {script}; }} catch (error) {{ kind = error.kind; }} kind");
    setup.run(&script).await.unwrap().into_string().unwrap()
}

#[tokio::test(start_paused = true)]
async fn bad_arguments_are_answered() {
    let setup = Setup::new();
    for (script, kind) in [
        ("is_complete(`nonsense`)", "unknown_request"),
        ("get_result(`00000000-0000-4000-8000-000000000000`)", "unknown_request"),
        ("status(``)", "unknown_request"),
        ("cancel(`x`)", "unknown_request"),
        ("await_result(`x`, 1)", "unknown_request"),
        ("get_result(request())", "not_completed"),
        ("await_result(request(), 0)", "wait_timeout"),
        ("await_result(request(), 0.05)", "wait_timeout"),
        ("await_result(request(), -1)", "invalid_argument"),
        ("await_result(request(), -0.5)", "invalid_argument"),
        ("await_result(request(), 0.0/0.0)", "invalid_argument"),
        ("sleep(-1)", "invalid_argument"),
        ("sleep_ms(-1)", "invalid_argument"),
    ] {
        assert_eq!(kind_thrown(&setup, script).await, kind, "{script}");
    }
}

#[tokio::test]
async fn an_id_of_another_session_is_unknown() {
    let setup = Setup::new();
    let (registry, _queue) = Registry::new();
    let other = registry.session();
    let id = other.submit(Request::new(Method::Get, "/")).unwrap();
    assert_eq!(
        kind_thrown(&setup, &format!("is_complete(`{id}`)")).await,
        "unknown_request"
    );
}

#[tokio::test(start_paused = true)]
async fn sleep_counts_milliseconds_as_integers_and_seconds_as_floats() {
    let setup = Setup::new();
    for (script, milliseconds) in [
        ("sleep(100)", 100),
        ("sleep(0.1)", 100),
        ("sleep_ms(250)", 250),
        ("sleep_ms(2.5)", 2),
        ("sleep(0)", 0),
    ] {
        let before = tokio::time::Instant::now();
        let _ = setup.run(script).await.unwrap();
        let slept = before.elapsed().as_millis();
        assert!(
            (milliseconds..=milliseconds + 2).contains(&slept),
            "{script} slept {slept} ms"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_time_limit_ends_a_script_that_waits_and_it_cannot_catch_that() {
    let setup = Setup::new();
    let limits = Limits {
        wall_time: Some(Duration::from_secs(2)),
        ..Limits::default()
    };
    let fiber: Fiber<Dynamic> = setup.engine.eval_async_with(
        setup.options().limits(limits),
        "loop { try { sleep(1000000); } catch { print(`caught`) } }",
    );
    let error = fiber.await.unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::TimeLimit);
    assert!(setup.lines().is_empty());
}

#[tokio::test]
async fn the_time_limit_ends_a_script_that_computes() {
    let setup = Setup::new();
    let limits = Limits {
        wall_time: Some(Duration::from_millis(50)),
        ..Limits::default()
    };
    let fiber: Fiber<Dynamic> = setup.engine.eval_async_with(
        setup.options().limits(limits),
        "let i = 0; loop { try { i += 1; } catch {} }",
    );
    assert_eq!(fiber.await.unwrap_err().kind(), ScriptErrorKind::TimeLimit);
}

#[tokio::test]
async fn the_operation_limit_ends_a_script() {
    let setup = Setup::new();
    let limits = Limits {
        operations: Some(10_000),
        ..Limits::default()
    };
    let fiber: Fiber<Dynamic> = setup
        .engine
        .eval_async_with(setup.options().limits(limits), "let i = 0; loop { i += 1; }");
    let error = fiber.await.unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::OperationLimit);
    assert!(error.message().contains("10000"), "{error}");
}

#[tokio::test]
async fn a_script_that_computes_does_not_hold_its_thread() {
    let setup = Setup::new();
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let hog = tokio::task::spawn_local(setup.run("let i = 0; loop { i += 1; }"));
            for turn in 0..5 {
                let value = setup.run(&format!("sleep(1); {turn}")).await.unwrap();
                assert_eq!(value.as_int().unwrap(), turn);
            }
            assert!(!hog.is_finished());
            hog.abort();
        })
        .await;
}

#[tokio::test]
async fn dropping_a_fiber_ends_its_script_and_gives_its_stack_back() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let begun = Arc::new(AtomicUsize::new(0));
    let mut engine = engine();
    let (held, begins) = (Arc::clone(&dropped), Arc::clone(&begun));
    register_async_fn(&mut engine, "forever", move || {
        let counted = Counted(Arc::clone(&held));
        begins.fetch_add(1, Ordering::SeqCst);
        async move {
            std::future::pending::<()>().await;
            drop(counted);
            Ok::<(), Box<EvalAltResult>>(())
        }
    });
    let engine = FiberEngine::new(engine);
    for number in 1..=100 {
        let mut fiber: Fiber<()> =
            engine.eval_async("let x = [1, 2, 3]; x.map(|v| try { forever() } catch { forever() }); ");
        // It may be preempted before it waits.
        while begun.load(Ordering::SeqCst) < number {
            assert!(tokio::time::timeout(Duration::ZERO, &mut fiber).await.is_err());
        }
        drop(fiber);
        assert_eq!(dropped.load(Ordering::SeqCst), number);
    }
}

#[tokio::test]
async fn suspension_works_inside_callbacks_and_functions() {
    let setup = Setup::new();
    let value = setup
        .run(
            r#"
            fn slow(x) { sleep(1); x * 2 }
            let doubled = [3, 1, 2].map(|x| slow(x));
            doubled.sort(|a, b| { sleep(1); a - b });
            let kept = doubled.filter(|x| { sleep(1); x > 2 });
            kept"#,
        )
        .await
        .unwrap();
    assert_eq!(value.to_string(), "[4, 6]");
}

#[tokio::test]
async fn a_panic_in_a_host_function_fails_that_script_alone() {
    let mut engine = engine();
    engine.register_fn("explode", || -> INT { panic!("on purpose") });
    let engine = FiberEngine::new(engine);
    let error = engine.eval_async::<INT>("explode()").await.unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::Panic);
    assert!(error.message().contains("on purpose"), "{error}");
    assert_eq!(engine.eval_async::<INT>("1 + 1").await.unwrap(), 2);
}

#[tokio::test]
async fn endless_recursion_is_a_script_error() {
    let mut engine = engine();
    engine.set_max_call_levels(1_000_000);
    let engine = FiberEngine::new(engine);
    let error = engine
        .eval_async::<INT>("fn f(x) { f(x + 1) + 1 } f(0)")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::StackLimit);
    assert_eq!(engine.eval_async::<INT>("1 + 1").await.unwrap(), 2);
}

#[tokio::test]
async fn values_of_the_wrong_type_and_syntax_errors_are_told() {
    let engine = FiberEngine::new(engine());
    let error = engine.eval_async::<INT>("`text`").await.unwrap_err();
    assert!(error.message().contains("string"), "{error}");
    let error = engine.eval_async::<INT>("let x = ;").await.unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::Syntax);
    assert_eq!(error.position().unwrap().0, 1);
}

#[tokio::test]
async fn a_functions_of_a_script_can_be_called() {
    let setup = Setup::new();
    let script = setup.engine.compile("fn add(a, b) { sleep(1); a + b }").unwrap();
    let sum: INT = setup
        .engine
        .call_fn_async(setup.options(), &script, "add", (40 as INT, 2 as INT))
        .await
        .unwrap();
    assert_eq!(sum, 42);
}

#[tokio::test]
async fn an_engine_on_a_tokio_thread_refuses_to_park_it() {
    let setup = Setup::new();
    let mut engine = engine();
    Locals::for_session(setup.session.clone()).set_default(&mut engine);
    let error = engine.run("await_result(request())").unwrap_err();
    let (message, _) = inflight_rhai::describe(&engine, &error);
    assert!(message.contains("eval_async"), "{message}");
}

#[test]
fn a_plain_engine_on_a_plain_thread_parks() {
    let (registry, queue) = Registry::new();
    let mut transport = ManualTransport::new(queue);
    let worker = std::thread::spawn(move || {
        transport.next().succeed("thing_1");
        transport.next().succeed("thing_2");
        transport
    });
    let mut engine = engine();
    Locals::for_session(registry.session()).set_default(&mut engine);
    let result: String = engine.eval("await_result(request())").unwrap();
    assert_eq!(result, "thing_1");
    let object: Dynamic = engine.eval("await_object(request(), 30)").unwrap();
    assert_eq!(object.to_string(), r#"#{"id": "thing_2"}"#);
    engine.run("sleep(1); sleep(0.001)").unwrap();
    let transport = worker.join().unwrap();
    let timeout =
        engine.eval::<String>("let kind = ``; try { await_result(request(), 0.01) } catch (e) { kind = e.kind; } kind");
    assert_eq!(timeout.unwrap(), "wait_timeout");
    drop(transport);
}

#[tokio::test]
async fn what_runs_on_the_hosts_stack_is_no_part_of_the_script() {
    let mut engine = engine();
    engine.register_fn("lent", |text: ImmutableString| {
        assert!(inflight_rhai::current_locals().is_some());
        let given = inflight_rhai::on_hosts_stack(|| {
            assert!(inflight_rhai::current_locals().is_none());
            assert!(
                inflight_rhai::wait(std::future::ready(())).is_err(),
                "nothing can be suspended"
            );
            format!("{text}!")
        });
        assert!(inflight_rhai::current_locals().is_some());
        given
    });
    engine.register_fn("broken", || -> INT {
        inflight_rhai::on_hosts_stack(|| panic!("in the middle"))
    });
    assert_eq!(
        inflight_rhai::on_hosts_stack(|| 1),
        1,
        "without a script it simply runs"
    );
    let engine = FiberEngine::new(engine);
    let waits_after = engine
        .eval_async::<String>("let a = lent(`a`); sleep(0.001); a + lent(`b`)")
        .await;
    assert_eq!(waits_after.unwrap(), "a!b!");
    let error = engine.eval_async::<INT>("broken()").await.unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::Panic);
    assert!(error.message().contains("in the middle"), "{error}");
    assert_eq!(engine.eval_async::<String>("lent(`c`)").await.unwrap(), "c!");
}

#[tokio::test]
async fn a_script_that_runs_on_the_hosts_stack_leaves_the_outer_ones_limits_alone() {
    let mut engine = engine();
    engine.register_fn("nested", || {
        let within = FiberEngine::new(Engine::new());
        let script = within.eval_async::<INT>("let sum = 0; for i in 0..100 { sum += i; } sum");
        // It waits for nothing, and is preempted at most.
        let mut script = std::pin::pin!(script);
        inflight_rhai::on_hosts_stack(|| {
            loop {
                if let Some(given) = futures_util::FutureExt::now_or_never(script.as_mut()) {
                    break given;
                }
            }
        })
        .unwrap()
    });
    let script = FiberEngine::new(engine).compile("nested(); loop { }").unwrap();
    let limits = Limits {
        operations: Some(10_000),
        wall_time: Some(Duration::from_secs(20)),
        ..Limits::default()
    };
    let run = script.run::<()>(RunOptions::new(Locals::new()).limits(limits));
    assert_eq!(run.await.unwrap_err().kind(), ScriptErrorKind::OperationLimit);
}

#[tokio::test]
async fn a_pool_ends_with_its_last_handle_and_stops_what_runs_on_it() {
    let pool = FiberPool::new(1, || FiberEngine::new(engine()));
    let other = pool.clone();
    let forever = pool.spawn(|engine| async move { engine.eval_async::<INT>("sleep(3600); 1").await });
    drop(pool);
    let short = other.spawn(|engine| async move { engine.eval_async::<INT>("1").await });
    assert_eq!(short.await.unwrap().unwrap(), 1);
    assert!(!forever.is_finished());
    let panics = other.spawn(|_| async { panic!("a task's own") });
    let error: inflight_rhai::ScriptError = panics.await.map(|(): ()| ()).unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::Panic);
    let dropped = other.spawn(|_| std::future::pending::<()>()).stops_when_dropped();
    drop(dropped);
    drop(other);
    assert_eq!(forever.await.unwrap_err().kind(), ScriptErrorKind::Cancelled);
}

#[test]
fn a_pool_on_a_thread_of_the_host_ends_with_its_last_handle_and_stops_what_runs_on_it() {
    let (pool, main) = FiberPool::with_host_thread(1, || FiberEngine::new(engine()));
    let here = std::thread::current().id();
    let runtime = tokio::runtime::LocalRuntime::new().unwrap();
    runtime.block_on(async {
        let main = tokio::task::spawn_local(main());
        let forever = pool.spawn(|engine| async move { engine.eval_async::<INT>("sleep(3600); 1").await });
        let endless = pool.spawn(|engine| async move { engine.eval_async::<()>("loop { }").await });
        let short = pool.spawn(|engine| async move {
            let value = engine.eval_async::<INT>("sleep(1); 1").await;
            (value, std::thread::current().id())
        });
        let (value, thread) = short.await.unwrap();
        assert_eq!((value.unwrap(), thread), (1, here));
        assert!(!forever.is_finished());
        drop(pool);
        main.await.unwrap();
        assert!(forever.is_finished() && endless.is_finished());
        assert_eq!(forever.await.unwrap_err().kind(), ScriptErrorKind::Cancelled);
        assert_eq!(endless.await.unwrap_err().kind(), ScriptErrorKind::Cancelled);
    });
}

#[test]
fn pools_that_follow_one_another_on_a_thread_each_have_an_engine_of_their_own() {
    let runtime = tokio::runtime::LocalRuntime::new().unwrap();
    for tenant in 0..50 {
        let captured = Arc::new(tenant);
        let known = Arc::downgrade(&captured);
        let (pool, main) = FiberPool::with_host_thread(1, move || {
            let captured = Arc::clone(&captured);
            let mut engine = engine();
            engine.register_fn("tenant", move || *captured);
            FiberEngine::new(engine)
        });
        let script = pool.start("tenant()", RunOptions::default(), |_, value| value.as_int());
        runtime.block_on(async {
            let main = tokio::task::spawn_local(main());
            assert_eq!(script.await.unwrap(), Ok(tenant));
            drop(pool);
            main.await.unwrap();
        });
        assert!(known.upgrade().is_none(), "the engine goes with its pool");
    }
}

#[tokio::test]
async fn a_pool_runs_scripts_on_threads_of_its_own() {
    let pool = FiberPool::new(2, || FiberEngine::new(engine()));
    let mut tasks = Vec::new();
    for i in 0..20 {
        tasks.push(pool.spawn_on(i % 2, move |engine| async move {
            engine.eval_async::<INT>(&format!("sleep(1); {i}")).await
        }));
    }
    for (i, task) in tasks.into_iter().enumerate() {
        assert_eq!(task.await.unwrap().unwrap(), i as INT);
    }
}

#[tokio::test]
async fn text_of_nested_values_is_limited_and_json_is_json() {
    let setup = Setup::new();
    let json = setup
        .run(r#"#{ "a\"b": [1, 2.5, true, (), "x\ny"], n: 0.0/0.0 }.to_json()"#)
        .await
        .unwrap();
    let parsed: serde_json::Value = serde_json::from_str(&json.into_string().unwrap()).unwrap();
    assert_eq!(
        parsed,
        serde_json::json!({"a\"b": [1, 2.5, true, null, "x\ny"], "n": null})
    );
    let deep = "let a = []; for i in 0..200 { a = [a]; }";
    for call in ["print(a); a.to_string()", "a.to_debug()", "`${a}`"] {
        let shown = setup
            .run(&format!("{deep} {call}"))
            .await
            .unwrap()
            .into_string()
            .unwrap();
        assert_eq!(shown.matches('[').count(), inflight_rhai::MAX_DEPTH + 1, "{call}");
        assert!(shown.contains('…'), "{call}");
    }
    let error = setup.run(&format!("{deep} a.to_json()")).await.unwrap_err();
    assert!(error.message().contains("too_deep"), "{error}");
}
