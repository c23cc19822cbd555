//! Batches and `each`.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::testing::{ManualTransport, Sent};
use inflight_core::{Effect, Failure, FailureKind, Method, Registry, Request, Session, SessionLimits};
use inflight_rhai::{FiberEngine, InflightPackage, Limits, Locals, ModuleFolder, RunOptions, ScriptAllocator};
use rhai::packages::Package;
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, NativeCallContext};

#[global_allocator]
static ALLOCATOR: ScriptAllocator = ScriptAllocator::system();

/// What a script builds a request with.
#[derive(Clone)]
struct Thing(String);

fn engine() -> FiberEngine {
    type Answer = Result<ImmutableString, Box<EvalAltResult>>;
    let mut engine = Engine::new();
    engine.set_max_expr_depths(64, 64);
    InflightPackage::new().register_into_engine(&mut engine);
    engine.register_type_with_name::<Thing>("Thing");
    let request = |name: &str| Request::new(Method::Post, format!("/{name}")).operation("thing.create");
    engine.register_fn("thing", |name: ImmutableString| Thing(name.into()));
    engine.register_fn(
        "create_async",
        move |ctx: NativeCallContext, thing: &mut Thing| -> Answer {
            inflight_rhai::submit_request(&ctx, inflight_rhai::uncharged(|| request(&thing.0)))
        },
    );
    engine.register_fn(
        "make_async",
        move |ctx: NativeCallContext, name: ImmutableString| -> Answer {
            inflight_rhai::submit_request(&ctx, inflight_rhai::uncharged(|| request(&name)))
        },
    );
    engine.register_fn("large_async", move |ctx: NativeCallContext| -> Answer {
        let made = inflight_rhai::uncharged(|| request("large").body("text/plain", vec![0; 1 << 20]));
        inflight_rhai::submit_request(&ctx, made)
    });
    FiberEngine::new(engine)
}

fn failure(text: &str, effect: Effect) -> Failure {
    Failure::new(FailureKind::Named("card_error".into()), effect, text)
}

/// Answers by its path: `/bad…` fails without an effect, `/doubt…` with an unknown one; all else succeeds with its name.
fn answer(sent: Sent) {
    let name = sent.request().target[1..].to_owned();
    match &*name {
        bad if bad.starts_with("bad") => sent.fail(failure(bad, Effect::None)),
        doubt if doubt.starts_with("doubt") => sent.fail(failure(doubt, Effect::Unknown)),
        _ => sent.succeed(&name),
    }
}

struct Ended {
    result: Result<String, String>,
    lines: Vec<String>,
    warnings: Vec<String>,
    requests: Vec<String>,
}

fn session(limit: usize) -> (Session, ManualTransport) {
    let limits = SessionLimits {
        pending: limit,
        unsent: limit,
    };
    let (registry, queue) = Registry::new();
    (registry.session_with(limits), ManualTransport::new(queue))
}

/// Runs a script whose requests are answered when it waits.
fn run_within(script: &str, limit: usize, limits: Limits, answer: impl Fn(Sent)) -> Ended {
    let (session, mut transport) = session(limit);
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let output = Arc::clone(&lines);
    let locals = Locals::for_session(session).with_output(Arc::new(move |line: &str| {
        output.lock().unwrap().push(line.to_owned());
    }));
    let folder = tempfile::tempdir().unwrap();
    for (name, module) in [
        ("things.rhai", "fn named(n) { thing(`t${n}`) }"),
        ("waits.rhai", "sleep(1);"),
    ] {
        std::fs::write(folder.path().join(name), module).unwrap();
    }
    locals.set(ModuleFolder::new(folder.path()));
    let engine = engine();
    let compiled = engine
        .compile(script)
        .unwrap_or_else(|error| panic!("{script}: {error}"));
    let mut fiber = compiled.run_then(
        RunOptions::new(locals).limits(limits),
        rhai::Scope::new(),
        |engine, value: Dynamic| Ok(inflight_rhai::value_text(engine, &value)),
    );
    let mut requests = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    let result = runtime.block_on(async {
        loop {
            tokio::select! {
                biased;
                ended = &mut fiber => return ended.map_err(|error| error.to_string()),
                () = tokio::task::yield_now() => {}
            }
            match transport.try_next() {
                Some(sent) => {
                    requests.push(sent.request().target[1..].to_owned());
                    answer(sent);
                }
                // Nothing else can happen: time passes.
                None => tokio::time::advance(Duration::from_millis(500)).await,
            }
        }
    });
    let lines = lines.lock().unwrap().clone();
    Ended {
        result,
        lines,
        warnings: fiber.take_warnings(),
        requests,
    }
}

fn run(script: &str) -> Ended {
    let limits = Limits {
        wall_time: Some(Duration::from_secs(3600)),
        ..Limits::default()
    };
    run_within(script, 100, limits, answer)
}

fn value(script: &str) -> String {
    run(script).result.unwrap_or_else(|error| panic!("{script}: {error}"))
}

fn error(script: &str) -> String {
    run(script).result.expect_err(script)
}

#[test]
fn results_come_in_the_shape_they_were_given_in() {
    assert_eq!(
        value(
            r#"let b = batch(); b.add(thing("a")); b.add(|| make_async("b")); b.add(|| thing("c"));
                 b.submit_async(); b.await_batch(10)"#
        ),
        r#"["a", "b", "c"]"#
    );
    assert_eq!(
        value(
            r#"let b = batch().add("mug", thing("a")).add("cup", || make_async("b")); b.submit_async();
                 let r = b.await_batch(); [r.mug, r.cup, b.await_batch(1.5) == r, b.ids().len()]"#
        ),
        r#"["a", "b", true, 2]"#
    );
    assert_eq!(value("let b = batch(); b.submit_async(); b.await_batch(0)"), "[]");
}

#[test]
fn nothing_is_sent_before_the_submission() {
    let ended =
        run(r#"let b = batch(); b.add(thing("a")); b.add(|| make_async("b")); sleep(2000); b.progress().total"#);
    assert_eq!(ended.result.as_deref(), Ok("2"));
    assert!(ended.requests.is_empty(), "{:?}", ended.requests);
}

#[test]
fn a_failure_throws_and_cancels_the_rest() {
    let ended = run(r#"
        let b = batch(#{ concurrency: 1 });
        for name in ["a", "bad", "c", "d"] { b.add(name, thing(name)); }
        b.submit_async();
        let caught = (); try { b.await_batch(10); } catch (e) { caught = e; }
        let again = b.report();
        [caught.which, caught.kind, again.completed, again.failed, again.cancelled, again.failures.map(|f| f.name)]"#);
    let ended_result = ended.result.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(ended_result, r#"["bad", "card_error", 1, 1, 2, ["bad", "c", "d"]]"#);
    assert_eq!(ended.requests, ["a", "bad"]);
}

#[test]
fn carrying_on_gives_a_map_for_each() {
    assert_eq!(
        value(
            r#"let b = batch(#{ on_failure: "carry_on" }); b.add(thing("a")); b.add(thing("bad")); b.submit_async();
                 let r = b.await_batch(10); [r[0].ok, r[0].value, r[1].ok, r[1].error.message]"#
        ),
        r#"[true, "a", false, "bad"]"#
    );
}

#[test]
fn only_what_had_no_effect_is_sent_again() {
    let times = Mutex::new(0);
    let second_time_lucky = |sent: Sent| {
        if sent.request().target != "/bad" {
            return answer(sent);
        }
        let mut times = times.lock().unwrap();
        *times += 1;
        if *times == 1 {
            answer(sent)
        } else {
            sent.succeed("good")
        }
    };
    let ended = run_within(
        r#"let b = batch(#{ on_failure: "carry_on" });
           for name in ["a", "bad", "doubt"] { b.add(name, thing(name)); }
           b.submit_async(); b.await_batch(10);
           let effects = b.report().failures.map(|f| `${f.name} ${f.effect} ${f.operation}`);
           let sent = b.resubmit_failed();
           let after = b.await_batch(10);
           [effects, sent, after.bad.value, after.doubt.error.effect, b.progress().failed, b.resubmit_failed()]"#,
        100,
        Limits::default(),
        second_time_lucky,
    );
    assert_eq!(
        ended.result.unwrap(),
        r#"[["bad none thing.create", "doubt unknown thing.create"], 1, "good", "unknown", 1, 0]"#
    );
    assert_eq!(ended.requests, ["a", "bad", "doubt", "bad"]);
}

#[test]
fn what_was_not_sent_can_be_cancelled() {
    let ended = run(
        r#"let b = batch(); b.add(thing("a")); b.add(thing("b")); b.submit_async();
                       let n = b.cancel(); let p = b.progress(); [n, p.done, p.cancelled, `${b}`]"#,
    );
    assert_eq!(
        ended.result.as_deref(),
        Ok(r#"[2, 2, 2, "batch: 2 of 2 requests done"]"#)
    );
    assert!(ended.requests.is_empty());
}

#[test]
fn misuse_is_told() {
    for (script, said) in [
        ("batch().add(42)", "not i64"),
        ("let b = batch(); b.add(b)", "not Batch"),
        (r#"batch().add("name", ())"#, "not ()"),
        ("batch().add(|| ())", "not ()"),
        (
            r#"batch().add(|| { make_async("a"); make_async("b") })"#,
            "a second request",
        ),
        (
            r#"batch().add(|| await_result("x", 1))"#,
            "no request of this script has that id",
        ),
        (
            r#"batch().add(|| { sleep(1); make_async("b") })"#,
            "nothing can be waited for",
        ),
        (
            r#"batch().add(|| { sleep(0.0); make_async("b") })"#,
            "nothing can be waited for",
        ),
        (
            r#"let b = batch(); b.add("a", thing("a")); b.add(thing("b"))"#,
            "either names for all",
        ),
        (
            r#"let b = batch(); b.add(thing("a")); b.add("b", thing("b"))"#,
            "either names for all",
        ),
        (
            r#"let b = batch(); b.add("a", thing("a")); b.add("a", thing("b"))"#,
            "a request named `a` already",
        ),
        (
            r#"let b = batch(); b.submit_async(); b.add(thing("a"))"#,
            "takes no more requests",
        ),
        ("let b = batch(); b.submit_async(); b.submit_async()", "was submitted"),
        ("batch().await_batch(1)", "was not submitted"),
        ("batch().report()", "was not submitted"),
        ("batch().cancel()", "was not submitted"),
        ("batch().resubmit_failed()", "was not submitted"),
        (
            r#"let b = batch(); b.add(thing("a")); b.submit_async(); b.resubmit_failed()"#,
            "has not ended",
        ),
        (
            r#"let b = batch(); let c = batch(); b.add(|| c.submit_async())"#,
            "cannot be submitted",
        ),
        (
            r#"let b = batch(); b.add(|| each([1], |i| thing("a")))"#,
            "each cannot run",
        ),
        ("batch(#{ concurrency: 0 })", "one or more"),
        ("batch(#{ concurrency: -5 })", "one or more"),
        (r#"batch(#{ concurrency: "5" })"#, "one or more"),
        (r#"batch(#{ on_failure: "panic" })"#, "stop or carry_on"),
        (r#"batch(#{ priority: "urgent" })"#, "high, normal or low"),
        (r#"batch(#{ size: 5 })"#, "`size` is no option: known are concurrency"),
        (
            r#"let b = batch(); b.add(thing("a")); b.submit_async(); b.await_batch(-1)"#,
            "zero or more",
        ),
        (
            r#"let b = batch(); for i in 0..101 { b.add(thing("a")); }"#,
            "`each` takes any number",
        ),
        (r#"each(5, |i| thing("a"))"#, "an array, a range, or a function"),
        (r#"each([5], |i| i)"#, "not i64"),
        (r#"each([5], |i| thing("a"), #{ on_result: 5 })"#, "must be a function"),
        (
            r#"each([5], |i| { sleep(1); thing("a") })"#,
            "nothing can be waited for",
        ),
    ] {
        let error = error(script);
        assert!(error.contains(said), "{script}: {error}");
    }
}

#[test]
fn a_closure_that_throws_leaves_nothing_behind() {
    let ended = run(r#"let b = batch();
        try { b.add(|| { make_async("lost"); throw "on purpose" }); } catch (e) { print(e); }
        let id = make_async("sent");
        [b.progress().total, await_result(id, 10)]"#);
    assert_eq!(ended.result.as_deref(), Ok(r#"[0, "sent"]"#));
    assert_eq!(
        (ended.lines, ended.requests),
        (vec!["on purpose".to_owned()], vec!["sent".to_owned()])
    );
}

#[test]
fn a_batch_is_shared_by_tasks() {
    assert_eq!(
        value(
            r#"let b = batch(); b.add(thing("a")); b.submit_async();
                 let t = start(|| await_batch(b, 10)); let u = start(|| await_batch(b, 10)); [join(t), join(u)]"#
        ),
        r#"[["a"], ["a"]]"#
    );
}

#[test]
fn a_batch_that_waits_for_ever_gives_up_in_time() {
    let ended = run_within(
        r#"let b = batch(); b.add(thing("a")); b.submit_async(); b.await_batch(2)"#,
        100,
        Limits::default(),
        std::mem::forget,
    );
    assert!(ended.result.unwrap_err().contains("has not ended within 2 s"));
}

#[test]
fn kept_requests_count_as_the_scripts_memory() {
    let limits = Limits {
        heap_bytes: Some(6 << 20),
        ..Limits::default()
    };
    let ended = run_within(
        "let all = []; loop { let b = batch(); b.add(|| large_async()); all.push(b); }",
        100,
        limits,
        answer,
    );
    assert!(ended.result.unwrap_err().contains("heap"));
    // And is given back with the batch.
    let ended = run_within(
        r#"for i in 0..20 { let b = batch(); b.add(|| large_async()); try { b.add(|| { large_async(); throw 1 }) } catch {} }
           let mine = []; loop { mine.push("something that is long enough to count" + mine.len()); }"#,
        100,
        limits,
        answer,
    );
    let error = ended.result.unwrap_err();
    assert!(error.contains("heap") && error.contains("line 2"), "{error}");
}

#[test]
fn each_takes_arrays_ranges_and_functions() {
    for source in ["[0, 1, 2]", "0..3", "0..=2", "|| { n += 1; if n < 3 { n } }"] {
        let ended = run(&format!(
            r#"let n = -1; let seen = [];
               let r = each({source}, |i| thing(`t${{i}}`), #{{ on_result: |item, result| seen.push(`${{item}}=${{result.value}}`) }});
               [seen, r.total, r.done, r.completed, r.failures, r.not_started]"#
        ));
        assert_eq!(
            ended.result.as_deref(),
            Ok(r#"[["0=t0", "1=t1", "2=t2"], 3, 3, 3, [], 0]"#),
            "{source}"
        );
    }
    assert_eq!(value("each(5..0, |i| thing(`t`)).total"), "0");
}

#[test]
fn each_goes_far_beyond_the_room_that_there_is() {
    let ended = run(r#"
        let last = ();
        let r = each(0..2000, |i| thing(if i % 100 == 7 { `bad${i}` } else { `t${i}` }), #{
            on_failure: "carry_on", concurrency: 1_000_000, on_progress: |p| last = p,
        });
        let again = each(r.to_resubmit, |i| thing(`t${i}`));
        [r.completed, r.failed, last.done, last.total, r.to_resubmit.len(), again.completed, r.failures[0].item, r.failures[0].kind]"#);
    assert_eq!(
        ended.result.as_deref(),
        Ok(r#"[1980, 20, 2000, 2000, 20, 20, 7, "card_error"]"#)
    );
    assert_eq!(ended.requests.len(), 2020);
}

#[test]
fn each_stops_at_a_failure() {
    let ended = run(r#"
        let e = (); try { each(0..1_000_000_000, |i| thing(if i == 5 { "bad" } else { `t${i}` }), #{ concurrency: 2 }); }
        catch (error) { e = error; }
        [e.item, e.index, e.kind, e.report.failed, e.report.done < 10, e.report.not_started > 999_999_000]"#);
    assert_eq!(ended.result.as_deref(), Ok(r#"[5, 5, "card_error", 1, true, true]"#));
    assert!(ended.requests.len() < 10, "{:?}", ended.requests);
}

#[test]
fn what_a_function_throws_counts_as_its_items_failure() {
    assert_eq!(
        value(
            r#"let r = each(0..4, |i| if i == 2 { throw "on purpose" } else { thing(`t${i}`) }, #{ on_failure: "carry_on" });
                 [r.completed, r.failed, r.failures[0].message, r.failures[0].id, r.to_resubmit]"#
        ),
        r#"[3, 1, "on purpose", (), [2]]"#
    );
    let ended = run(r#"each(0..4, |i| if i == 2 { throw "on purpose" } else { thing(`t${i}`) })"#);
    assert!(ended.result.unwrap_err().contains("on purpose"));
    assert!(ended.requests.len() <= 2);
}

#[test]
fn what_is_in_doubt_is_not_offered_again() {
    assert_eq!(
        value(
            r#"let r = each(["a", "doubt", "bad"], |name| thing(name), #{ on_failure: "carry_on" });
                 [r.failures.map(|f| f.effect), r.to_resubmit]"#
        ),
        r#"[["unknown", "none"], ["bad"]]"#
    );
}

#[test]
fn what_makes_a_request_may_import() {
    let each = "each(0..2, |i| { import `things` as t; t::named(i) }).completed";
    assert_eq!(value(&format!("import `things` as t; {each}")), "2");
    // Loaded there, too, unless that waits.
    assert_eq!(value(each), "2");
    let error = error("each(0..2, |i| { import `waits` as w; thing(`t`) })");
    assert!(error.contains("nothing can be waited for"), "{error}");
}

#[test]
fn all_that_may_be_sent_again_is_offered_however_many_failures_are_told_of() {
    assert_eq!(
        value(
            r#"let r = each(0..10_010, |i| throw `no`, #{ on_failure: "carry_on" });
                 [r.failed, r.failures.len(), r.further_failures, r.to_resubmit.len(), r.to_resubmit[10_009]]"#
        ),
        "[10010, 10000, 10, 10010, 10009]"
    );
}

#[test]
fn limits_hold_within_each() {
    let endless = |limits| {
        run_within("each(|| 1, |i| thing(`t`))", 100, limits, answer)
            .result
            .unwrap_err()
    };
    let operations = Limits {
        operations: Some(10_000),
        ..Limits::default()
    };
    assert!(endless(operations).contains("operations"));
    let time = Limits {
        wall_time: Some(Duration::from_secs(5)),
        ..Limits::default()
    };
    let ended = run_within("each(|| { sleep(100); 1 }, |i| thing(`t`))", 100, time, answer);
    assert!(ended.result.unwrap_err().contains("time"), "{:?}", ended.warnings);
}

#[test]
fn a_batch_that_has_no_room_is_refused_as_a_whole() {
    let ended = run_within(
        r#"make_async("a"); let b = batch(); for i in 0..100 { b.add(thing("a")); }
           try { b.submit_async(); } catch (e) { print(e); }
           b.progress().done"#,
        100,
        Limits::default(),
        std::mem::forget,
    );
    assert_eq!(ended.result.as_deref(), Ok("0"));
    assert!(
        ended.lines[0].contains("room for 99 now") && ended.lines[0].contains("each"),
        "{:?}",
        ended.lines
    );
    assert!(ended.requests.len() <= 1, "{:?}", ended.requests);
}
