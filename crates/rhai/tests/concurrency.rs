//! Waiting for several requests, callbacks, tasks and modules.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::testing::{ManualTransport, Sent};
use inflight_core::{Effect, Failure, FailureKind, Method, Registry, Request, Session};
use inflight_rhai::{Fiber, FiberEngine, InflightPackage, Limits, Locals, ModuleFolder, RunOptions, ScriptErrorKind};
use rhai::packages::Package;
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, NativeCallContext};
use tokio::task::{JoinHandle, LocalSet};

struct Setup {
    engine: FiberEngine,
    session: Session,
    transport: ManualTransport,
    lines: Arc<Mutex<Vec<String>>>,
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let (registry, queue) = Registry::new();
        let mut engine = Engine::new();
        engine.set_max_expr_depths(64, 64);
        InflightPackage::new().register_into_engine(&mut engine);
        engine.register_fn(
            "request",
            |ctx: NativeCallContext, name: ImmutableString| -> Result<ImmutableString, Box<EvalAltResult>> {
                let request = Request::new(Method::Post, format!("/{name}"));
                let id = inflight_rhai::session_of(&ctx)?
                    .submit(request)
                    .map_err(|error| inflight_rhai::submit_error(&error))?;
                Ok(id.to_string().into())
            },
        );
        engine.register_fn("explode", || -> i64 { panic!("on purpose") });
        Self {
            engine: FiberEngine::new(engine),
            session: registry.session(),
            transport: ManualTransport::new(queue),
            lines: Arc::default(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn fiber(&self, script: &str) -> Fiber<String> {
        let lines = Arc::clone(&self.lines);
        let locals = Locals::for_session(self.session.clone())
            .with_output(Arc::new(move |line: &str| lines.lock().unwrap().push(line.to_owned())));
        locals.set(ModuleFolder::new(self.folder.path()));
        let limits = Limits {
            wall_time: Some(Duration::from_secs(3600)),
            ..Limits::default()
        };
        match self.engine.compile(script) {
            Ok(compiled) => compiled.run_then(
                RunOptions::new(locals).limits(limits),
                rhai::Scope::new(),
                |engine, value: Dynamic| Ok(inflight_rhai::value_text(engine, &value)),
            ),
            Err(error) => panic!("{script}: {error}"),
        }
    }

    /// Starts the script, and lets it run until it waits.
    async fn start(&self, script: &str) -> JoinHandle<(Result<String, String>, Vec<String>)> {
        let mut fiber = self.fiber(script);
        let task = tokio::task::spawn_local(async move {
            let ended = (&mut fiber).await.map_err(|error| error.to_string());
            (ended, fiber.take_warnings())
        });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        task
    }

    fn sent(&mut self, count: usize) -> Vec<Sent> {
        (0..count)
            .map(|_| self.transport.try_next().expect("a request was made"))
            .collect()
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

fn failure(text: &str) -> Failure {
    Failure::new(FailureKind::Named("card_error".into()), Effect::None, text)
}

/// Runs a script that makes requests, answers them by `answer`, and gives how the script ended.
fn ending(
    script: &str,
    requests: usize,
    answer: impl FnOnce(Vec<Sent>),
) -> (Result<String, String>, Vec<String>, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let mut setup = Setup::new();
    LocalSet::new().block_on(&runtime, async {
        let running = setup.start(script).await;
        let sent = setup.sent(requests);
        answer(sent);
        let (ended, warnings) = running.await.unwrap();
        (ended, warnings, setup.lines())
    })
}

fn check(script: &str, requests: usize, answer: impl FnOnce(Vec<Sent>), expected: &str) {
    let (ended, warnings, _) = ending(script, requests, answer);
    assert_eq!(ended.as_deref(), Ok(expected), "{script}");
    assert_eq!(warnings, Vec::<String>::new(), "{script}");
}

fn succeed_backwards(mut sent: Vec<Sent>) {
    while let Some(last) = sent.pop() {
        let id = format!("id{}", last.request().target);
        last.succeed(&id);
    }
}

fn fail_the_second(sent: Vec<Sent>) {
    for (i, sent) in sent.into_iter().enumerate() {
        if i == 1 {
            sent.fail(failure("declined"));
        } else {
            sent.succeed(&format!("id{i}"));
        }
    }
}

#[test]
fn await_all_gives_results_in_the_shape_of_the_ids() {
    check(
        "await_all([request(`a`), request(`b`)], 5)",
        2,
        succeed_backwards,
        r#"["id/a", "id/b"]"#,
    );
    check(
        "await_all(#{ x: request(`a`), y: request(`b`) })",
        2,
        succeed_backwards,
        r##"#{"x": "id/a", "y": "id/b"}"##,
    );
    check("await_all([])", 0, |_| {}, "[]");
}

#[test]
fn await_all_throws_the_first_failure_and_names_it() {
    let all = "let why = (); try { await_all([request(`a`), request(`b`), request(`c`)], 5) } catch (e) { why = e; }";
    check(&format!("{all} why.which"), 3, fail_the_second, "[1]");
    check(&format!("{all} why.kind"), 3, fail_the_second, "card_error");
    let named = "let why = ``; try { await_all(#{ x: request(`a`), y: request(`b`) }) } catch (e) { why = `${e}` } why";
    check(named, 2, fail_the_second, "card_error: y: declined");
}

#[test]
fn await_settled_gives_a_map_for_each() {
    let script = "let all = await_settled([request(`a`), request(`b`)], 5); [all[0], all[1].ok, all[1].error.kind]";
    check(
        script,
        2,
        fail_the_second,
        r##"[#{"ok": true, "value": "id0"}, false, "card_error"]"##,
    );
    let script = "let s = await_settled(#{ x: request(`a`) }, 0.5); s.x.error.kind";
    check(script, 0, |_| {}, "wait_timeout");
}

#[test]
fn await_any_gives_the_first_success_and_await_race_the_first_ending() {
    let fail_then_succeed = |mut sent: Vec<Sent>| {
        sent.remove(0).fail(failure("declined"));
        sent.remove(0).succeed("id1");
    };
    check(
        "await_any([request(`a`), request(`b`)], 5)",
        2,
        fail_then_succeed,
        "id1",
    );
    check(
        "await_any(#{ x: request(`a`), y: request(`b`) })",
        2,
        fail_then_succeed,
        r##"#{"y": "id1"}"##,
    );
    let script = "let why = (); try { await_race([request(`a`), request(`b`)], 5) } catch (e) { why = e.which } why";
    check(script, 2, |mut sent| sent.remove(0).fail(failure("declined")), "[0]");
    check(
        "await_race(#{ x: request(`a`), y: request(`b`) })",
        2,
        |mut sent| sent.remove(1).succeed("id"),
        r##"#{"y": "id"}"##,
    );
    let script = "let why = (); try { await_any([request(`a`), request(`b`)], 5) } catch (e) { why = [e.kind, e.errors.len()] } why";
    check(
        script,
        2,
        |sent| sent.into_iter().for_each(|sent| sent.fail(failure("declined"))),
        r#"["all_failed", 2]"#,
    );
}

#[test]
fn bad_lists_and_times_are_answered() {
    for (call, kind) in [
        ("await_all(`x`)", "invalid_argument"),
        ("await_all([1])", "invalid_argument"),
        ("await_all([`nonsense`])", "unknown_request"),
        ("await_any([])", "invalid_argument"),
        ("await_race(#{})", "invalid_argument"),
        ("await_all([request(`a`)], -1)", "invalid_argument"),
        ("await_all([request(`a`)], 0.01)", "wait_timeout"),
        ("await_race([request(`a`)], 1)", "wait_timeout"),
        ("detach(`x`)", "unknown_request"),
        ("on_complete(`x`, |r| r)", "unknown_request"),
    ] {
        let script = format!("let kind = `none`; try {{ {call} }} catch (e) {{ kind = e.kind; }} kind");
        check(&script, 0, |_| {}, kind);
    }
}

#[test]
fn a_time_below_zero_is_told_as_the_script_wrote_it() {
    for (call, written) in [
        ("sleep(-5)", "-5"),
        ("sleep(-0.5)", "-0.5"),
        ("sleep_ms(-5)", "-5"),
        ("sleep_ms(-0.5)", "-0.5"),
        ("await_result(request(`a`), -5)", "-5"),
    ] {
        let script = format!("let why = ``; try {{ {call} }} catch (e) {{ why = e.message; }} why");
        let (ended, _, _) = ending(&script, 0, |_| {});
        let message = ended.unwrap();
        assert!(
            message.ends_with(&format!(" must be zero or more, not {written}")),
            "{call}: {message}"
        );
    }
}

#[test]
fn callbacks_run_in_order_of_completion_at_the_next_suspension() {
    let script = r#"
        for name in ["a", "b", "c"] { on_complete(request(name), |result| print(result)); }
        print("registered");
        sleep(1000);
        print("slept");"#;
    let (ended, warnings, lines) = ending(script, 3, succeed_backwards);
    assert_eq!((ended, warnings), (Ok(String::new()), vec![]));
    assert_eq!(lines, ["registered", "id/c", "id/b", "id/a", "slept"]);
}

#[test]
fn callbacks_run_at_the_end_and_their_errors_do_not_vanish() {
    let script = r#"
        on_complete(request("a"), |result| { print(`failed: ${result.kind}`); });
        on_complete(request("b"), |result| { sleep(10); throw "from the callback"; });
        print("end");
        42"#;
    let (ended, warnings, lines) = ending(script, 2, |mut sent| {
        sent.remove(0).fail(failure("declined"));
        sent.remove(0).succeed("id");
    });
    assert_eq!(ended.as_deref(), Ok("42"));
    assert_eq!(lines, ["end", "failed: card_error"]);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("from the callback"), "{warnings:?}");
}

#[test]
fn tasks_wait_beside_one_another_and_give_what_they_give() {
    let script = r#"
        let slow = start(|| { let r = await_result(request("a"), 9); print("slow has it"); r });
        let quick = start(|| { sleep(1); print("quick"); 7 });
        print("started");
        [join(quick, 5), join(slow), join(quick, 0.5)]"#;
    let (ended, warnings, lines) = ending(script, 1, |mut sent| sent.remove(0).succeed("id"));
    assert_eq!(ended.as_deref(), Ok(r#"[7, "id", 7]"#));
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(lines[0], "started");
    assert_eq!(lines.len(), 3, "{lines:?}");
}

#[test]
fn a_tasks_error_is_thrown_by_join_and_told_where_nobody_joins() {
    check(
        "let t = start(|| throw #{ kind: `mine` }); let kind = ``; try { join(t) } catch (e) { kind = e.kind } kind",
        0,
        |_| {},
        "mine",
    );
    check(
        "let t = start(|| sleep(100000)); let kind = ``; try { join(t, 0.1) } catch (e) { kind = e.kind } kind",
        0,
        |_| {},
        "wait_timeout",
    );
    let (ended, warnings, _) = ending("start(|| { sleep(5); throw `unseen` }); 1", 0, |_| {});
    assert_eq!(ended.as_deref(), Ok("1"));
    assert_eq!(
        warnings,
        ["task 1 failed and nobody joined it: unseen (line 1, column 22)"]
    );
}

#[test]
fn a_panic_in_a_task_ends_the_script_as_one_in_its_main_part_does() {
    for script in [
        "try { explode() } catch { 1 }",
        "let t = start(|| explode()); try { join(t) } catch { 1 }",
        "start(|| { sleep(1); explode() }); 1",
        "start(|| explode()); let t = start(|| sleep(100000)); try { join(t) } catch { 1 }",
        "start(|| { let t = start(|| explode()); try { join(t) } catch { 1 } }); sleep(100000); 1",
    ] {
        let (ended, warnings, _) = ending(script, 0, |_| {});
        let error = ended.expect_err(script);
        assert!(
            error.contains("a host function panicked: on purpose"),
            "{script}: {error}"
        );
        assert_eq!(warnings, Vec::<String>::new(), "{script}");
    }
}

#[test]
fn tasks_start_tasks_and_a_script_waits_for_all_of_them() {
    let script = r#"
        fn count(n) { if n > 0 { start(|| { sleep(1); count(n - 1); print(n); }); } }
        count(5);"#;
    let (ended, _, lines) = ending(script, 0, |_| {});
    assert_eq!(ended.as_deref(), Ok("task 1"));
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[test]
fn a_stopped_script_stops_its_tasks() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let setup = Setup::new();
    LocalSet::new().block_on(&runtime, async {
        let compiled = setup
            .engine
            .compile("let t = start(|| { loop { sleep(1) } }); start(|| { sleep(1000000) }); join(t)");
        let limits = Limits {
            wall_time: Some(Duration::from_millis(50)),
            ..Limits::default()
        };
        let fiber: Fiber<Dynamic> = compiled.unwrap().run(RunOptions::default().limits(limits));
        assert_eq!(fiber.await.unwrap_err().kind(), ScriptErrorKind::TimeLimit);
        // Dropped in the middle, with a task that has not run yet.
        let compiled = setup.engine.compile("start(|| sleep(1000)); sleep(1000000)").unwrap();
        let fiber: Fiber<Dynamic> = compiled.run(RunOptions::default());
        assert!(tokio::time::timeout(Duration::from_millis(1), fiber).await.is_err());
    });
}

#[test]
fn the_time_is_known() {
    let script = "let left = deadline() - now_ms(); left > 3500000 && left <= 3600001";
    check(script, 0, |_| {}, "true");
}

#[test]
fn modules_lie_in_the_scripts_own_folder() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let setup = Setup::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.rhai"), "export const SECRET = 1;").unwrap();
    fs::create_dir(setup.folder.path().join("sub")).unwrap();
    let write = |name: &str, text: &str| fs::write(setup.folder.path().join(name), text).unwrap();
    write(
        "tools.rhai",
        "import \"sub/more\" as more; fn twice(x) { sleep(1); more::same(x) * 2 }",
    );
    write("sub/more.rhai", "fn same(x) { x }");
    write("circle.rhai", "import \"circle\" as c;");
    write("broken.rhai", "let x = ;");
    // Loaded once, though two tasks import it while it waits.
    write("slow.rhai", "sleep(2); print(\"loaded\"); export const X = 7;");
    let both = "let f = || { import \"slow\" as s; s::X }; let a = start(f); let b = start(f); join(a) + join(b)";
    assert_eq!(runtime.block_on(setup.fiber(both)).ok().as_deref(), Some("14"));
    assert_eq!(setup.lines(), ["loaded"]);
    #[cfg(unix)]
    std::os::unix::fs::symlink(
        outside.path().join("secret.rhai"),
        setup.folder.path().join("link.rhai"),
    )
    .unwrap();
    let absolute = outside.path().join("secret").display().to_string();
    let run = |script: &str| runtime.block_on(setup.fiber(script)).map_err(|error| error.to_string());
    assert_eq!(run("import \"tools\" as t; t::twice(21)").as_deref(), Ok("42"));
    for (module, part) in [
        ("../secret", "not below"),
        (absolute.as_str(), "not below"),
        ("sub/../../x", "not below"),
        ("", "not below"),
        ("link", "not below"),
        ("absent", "there is no module"),
        ("circle", "imports itself"),
        ("broken", "Unexpected"),
    ] {
        let error = run(&format!("import `{module}` as m; 1")).unwrap_err();
        assert!(error.contains(part), "{module}: {error}");
    }
}

#[test]
fn modules_that_wait_for_one_another_are_told() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let setup = Setup::new();
    let write = |name: &str, text: &str| fs::write(setup.folder.path().join(name), text).unwrap();
    write("a.rhai", "sleep(10); import `b` as b;");
    write("b.rhai", "sleep(10); import `a` as a;");
    write("joins.rhai", "join(start(|| { import `joins` as j; }));");
    // The task waits for the module before the module would wait for the task.
    write(
        "late.rhai",
        "let t = start(|| { import `late` as l; }); sleep(1); try { join(t) } catch (error) { print(error.kind); }",
    );
    let run = |script: &str| {
        let ended = async { tokio::time::timeout(Duration::from_secs(60), setup.fiber(script)).await };
        let ended = runtime.block_on(ended).unwrap_or_else(|_| panic!("{script} hangs"));
        ended.map_err(|error| error.to_string())
    };
    for (script, module) in [
        (
            "let t = start(|| { import `a` as a; }); let u = start(|| { import `b` as b; }); join(t); join(u);",
            "a",
        ),
        ("import `joins` as j;", "joins"),
    ] {
        let error = run(script).unwrap_err();
        let expected = format!("the module `{module}` imports itself");
        assert!(error.contains(&expected), "{script}: {error}");
    }
    assert_eq!(run("import `late` as l; 1").as_deref(), Ok("1"));
    assert_eq!(setup.lines(), ["deadlock"]);
}

#[test]
fn a_task_may_import_what_a_callback_is_loading_while_the_script_joins_the_task() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut setup = Setup::new();
    fs::write(setup.folder.path().join("slow.rhai"), "sleep(60); fn two() { 2 }").unwrap();
    let mut fiber = setup.fiber(
        "let t = start(|| { sleep(20); import `slow` as s; s::two() });
         on_complete(request(`a`), |r| { import `slow` as s; print(s::two()); });
         join(t)",
    );
    let ended = runtime.block_on(async {
        loop {
            tokio::select! {
                biased;
                ended = &mut fiber => return ended,
                () = tokio::task::yield_now() => {}
            }
            if let Some(sent) = setup.transport.try_next() {
                sent.succeed("id");
            }
        }
    });
    assert_eq!(
        (ended.as_deref().ok(), &*setup.lines()),
        (Some("2"), &["2".to_owned()][..]),
        "{ended:?}"
    );
}

/// An engine without requests, on a runtime with real time: for what depends on time slices.
fn runs(script: &str, limits: Limits) -> (Result<String, ScriptErrorKind>, Vec<String>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let setup = Setup::new();
    let compiled = setup.engine.compile(script).unwrap();
    let options = RunOptions::new(Locals::for_session(setup.session.clone())).limits(limits);
    let mut fiber = compiled.run_then(options, rhai::Scope::new(), |engine, value: Dynamic| {
        Ok(inflight_rhai::value_text(engine, &value))
    });
    let ended = runtime.block_on(&mut fiber).map_err(|error| error.kind());
    (ended, fiber.take_warnings())
}

#[test]
fn a_time_slice_switches_neither_tasks_nor_callbacks() {
    // Each turn computes for far less than a slice, all of them for many: an update would be lost if tasks switched in between.
    let script = "
        let n = 0;
        let tasks = [];
        for t in 0..3 {
            tasks.push(start(|| { for i in 0..200 { let v = n; for j in 0..60 { let x = j; } n = v + 1; } }));
        }
        for t in tasks { join(t); }
        n";
    assert_eq!(runs(script, Limits::default()).0.as_deref(), Ok("600"));
    let script = "
        let a = [1]; a.pad(2000, 1);
        let sum = 0;
        let f = || { a.for_each(|x| { for j in 0..20 { let y = j; } }); 1 };
        let tasks = [start(f), start(f)];
        for t in tasks { sum += join(t); }
        sum";
    assert_eq!(runs(script, Limits::default()).0.as_deref(), Ok("2"));
}

#[test]
fn a_limit_that_cuts_off_a_task_or_a_callback_is_an_error() {
    let limits = Limits {
        wall_time: Some(Duration::from_millis(60)),
        ..Limits::default()
    };
    for script in [
        "start(|| sleep(1000000)); 1",
        "start(|| { loop { } }); 1",
        "on_complete(request(`a`), |r| r); 1",
    ] {
        assert_eq!(
            runs(script, limits),
            (Err(ScriptErrorKind::TimeLimit), vec![]),
            "{script}"
        );
    }
}

#[test]
fn callbacks_that_a_task_registers_after_the_end_run_too_and_in_order() {
    let script = r#"
        start(|| {
            sleep(5);
            for name in ["a", "b"] {
                on_complete(request(name), |result| { print(`${result} begins`); sleep(1); print(`${result} ends`); });
            }
        });
        1"#;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut setup = Setup::new();
    LocalSet::new().block_on(&runtime, async {
        let running = setup.start(script).await;
        let mut sent = Vec::new();
        while sent.len() < 2 {
            sent.extend(setup.transport.try_next());
            tokio::task::yield_now().await;
        }
        succeed_backwards(sent);
        assert_eq!(running.await.unwrap(), (Ok("1".into()), vec![]));
    });
    assert_eq!(setup.lines(), ["id/b begins", "id/b ends", "id/a begins", "id/a ends"]);
}

#[test]
fn tasks_that_join_one_another_are_told() {
    for script in [
        "let t = (); t = start(|| join(t)); join(t)",
        "let a = (); let b = (); a = start(|| join(b)); b = start(|| join(a)); join(b)",
        "let a = (); let b = (); let c = (); a = start(|| join(b)); b = start(|| join(c)); c = start(|| join(a)); join(a)",
    ] {
        let (ended, ..) = ending(script, 0, |_| ());
        let error = ended.unwrap_err();
        assert!(error.contains("deadlock: "), "{script}: {error}");
    }
    // Where one of the two gives up, both end.
    let script = "let a = (); let b = (); let caught = \"\"; \
                  a = start(|| { try { join(b, 1) } catch(error) { caught = error.kind; } 7 }); \
                  b = start(|| join(a)); `${join(b)} ${caught}`";
    check(script, 0, |_| (), "7 wait_timeout");
}

#[test]
fn a_task_has_a_readable_type() {
    check("type_of(start(|| 1))", 0, |_| (), "Task");
}

#[test]
fn a_scripts_coroutines_share_its_operations() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    let engine = FiberEngine::new(engine);
    let run = |script: &str, operations: u64| {
        let limits = Limits {
            operations: Some(operations),
            ..Limits::default()
        };
        let script = engine.compile(script).unwrap();
        runtime.block_on(script.run::<Dynamic>(RunOptions::default().limits(limits)))
    };
    // Each task alone is far below the limit.
    let script = "let tasks = [];\nfor i in 0..10 {\n    tasks.push(start(|| { let n = 0;\n        while n < 100 { n += 1; } }));\n}\n\
                  for task in tasks { join(task); }";
    assert!(run(script, 100_000).is_ok());
    let error = run(script, 2000).unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::OperationLimit);
    assert!(error.message().contains("2000 operations"), "{error}");
    assert!(error.position().is_some(), "{error}");
    // A script that waits only between little steps uses them up too.
    let error = run("loop { sleep(0); }", 1000).unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::OperationLimit);
    // The next run of the same engine begins anew.
    assert!(run("let n = 0; while n < 50 { n += 1; }", 1000).is_ok());
}

#[test]
fn a_limit_that_stops_a_task_says_where() {
    let script = "let f = || { };\n start(|| {\n    let a = [];\n    a.pad(100000000, 1);\n});\n1";
    let (ended, ..) = ending(script, 0, |_| ());
    let error = ended.unwrap_err();
    assert!(
        error.contains("heap limit") && error.contains("(line 2, column "),
        "{error}"
    );
}
