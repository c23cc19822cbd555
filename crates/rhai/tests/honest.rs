//! What is allocated for a script is charged and freed on the same account. Long-running scripts that hold little at a time never come
//! to their heap limit; and what the host has allocated, the script gets no credit for, with which it could hold more than it may.

use std::sync::{Arc, Mutex};

use inflight_core::testing::{ManualTransport, Sent};
use inflight_core::{
    Effect, Failure, FailureKind, Method, Registry, Request, Response, Session, SessionLimits, Success,
};
use inflight_rhai::{
    FiberEngine, InflightPackage, Limits, Locals, ModuleFolder, RunOptions, ScriptAllocator, ScriptErrorKind,
    call_request, register_async_fn, submit_request, uncharged, value_text,
};
use rhai::packages::Package;
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, Map, NativeCallContext, Position, Scope};

#[global_allocator]
static ALLOCATOR: ScriptAllocator = ScriptAllocator::system();

/// A tenth of what each loop would come to if what it frees stayed charged.
const HEAP: usize = 1_000_000;

/// Says again and again how many kilobytes the script holds, until it holds more than it may.
const FILL: &str = "let all = []; loop { all.push(blob(1_000)); print(all.len()); }";

/// Loops that hold little at a time. `ids` are requests that went well, `bad` some that failed.
const LOOPS: &[(&str, &str)] = &[
    ("await_all", "for i in 0..100 { await_all(ids, 5); }"),
    ("await_settled", "for i in 0..100 { await_settled(ids); }"),
    ("await_race", "for i in 0..100 { await_race(ids); await_any(ids); }"),
    ("await one", "for i in 0..2000 { await_all([ids[0]]); }"),
    ("await_any", "for i in 0..20 { try { await_any(bad); } catch {} }"),
    ("unknown ids", "for i in 0..2000 { try { await_all([`x`]); } catch {} }"),
    ("join", "for i in 0..3000 { join(start(|| 1)); }"),
    (
        "join again and again",
        "let t = start(|| { for i in 0..3000 { join(start(|| 1)); } }); join(t);",
    ),
    (
        "start",
        "for i in 0..3000 { start(|| 1); if i % 100 == 99 { sleep(0); } }",
    ),
    (
        "large results",
        "for i in 0..100 { join(start(|| { let s = ``; s.pad(200000, 'x'); s })); }",
    ),
    (
        "preempted",
        "{
            let tasks = []; for i in 0..200 { tasks.push(start(|| sleep(20))); }
            sleep(1); let end = now_ms() + 500; while now_ms() < end {}
            for task in tasks { join(task); }
        }",
    ),
    (
        "on_complete",
        "for i in 0..30 { for id in ids { on_complete(id, |r| r); } sleep(0); }",
    ),
    (
        "get_object",
        "for i in 0..50 { for id in ids { get_object(id); await_object(id); } }",
    ),
    ("whole answers", "for i in 0..100 { fetch(`large`); }"),
    (
        "no room",
        "for i in 0..600 { let t = start(|| { fetch(`thing`); }); fetch(`thing`); join(t); }",
    ),
    ("cancel", "for i in 0..6000 { cancel(submit(`kept`)); }"),
    (
        "import",
        "for i in 0..3000 { try { import `LONG/bad` as m; m::x(); } catch {} }",
    ),
    (
        "async functions",
        "for i in 0..100 { answer(`x`); try { answer(``); } catch {} }",
    ),
    (
        "batch",
        "for i in 0..500 {
            let b = batch(#{ on_failure: `carry_on` });
            b.add(|| submit(if i % 2 == 0 { `bad` } else { `thing` }));
            submit_async(b); await_batch(b); b.report(); b.ids(); b.progress(); `${b}`; resubmit_failed(b); await_batch(b); b.cancel();
        }",
    ),
    (
        "each",
        "for i in 0..50 {
            each(0..20, |i| submit(if i % 2 == 0 { `bad` } else { `large` }), #{
                on_failure: `carry_on`, on_result: |item, result| result, on_progress: |p| p,
            });
            try { each(0..5, |i| if i == 2 { throw `no` } else { submit(`thing`) }); } catch {}
            try { each(0..5, |i| submit(`bad`)); } catch {}
        }",
    ),
    (
        "waits that end in time",
        "let t = start(|| sleep(300)); for i in 0..200 { try { join(t, 0.001); } catch {} } join(t);",
    ),
    (
        "questions",
        "for i in 0..1000 {
            for id in [ids[0], bad[0], `x`] {
                try { is_complete(id); } catch {} try { status(id); } catch {} try { get_result(id); } catch {}
                try { get_response(id); } catch {} try { await_result(id, 1); } catch {} try { detach(id); } catch {}
                try { cancel(id); } catch {} try { await_object(id); } catch {} try { on_complete(id, |r| 1); } catch {}
            }
            metrics(); deadline(); sleep(0);
        }",
    ),
    ("print", "for i in 0..3000 { print(i); }"),
    ("given back", "for i in 0..20000 { echo(`LONG${i}`); }"),
];

fn engine() -> FiberEngine {
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    let request = |name: &str| uncharged(|| Request::new(Method::Post, format!("/{name}")));
    engine.register_fn("fetch", move |ctx: NativeCallContext, name: ImmutableString| {
        call_request(&ctx, request(&name), true)
    });
    engine.register_fn("submit", move |ctx: NativeCallContext, name: ImmutableString| {
        submit_request(&ctx, request(&name))
    });
    register_async_fn(&mut engine, "answer", |text: ImmutableString| async move {
        tokio::task::yield_now().await;
        let long = || Dynamic::from("x".repeat(10_000));
        match text.as_str() {
            "" => Err(Box::new(EvalAltResult::ErrorRuntime(long(), Position::NONE))),
            name => {
                let map = Map::from([
                    (name.into(), vec![long()].into()),
                    ("blob".into(), Dynamic::from_blob(vec![0; 10_000])),
                ]);
                Ok(Dynamic::from(map))
            }
        }
    });
    register_async_fn(&mut engine, "echo", |text: ImmutableString| async move {
        tokio::task::yield_now().await;
        Ok::<_, Box<EvalAltResult>>(text)
    });
    FiberEngine::new(engine)
}

/// Answers by the path: with much, with little, or not at all.
fn answer(sent: Sent) {
    let path = sent.request().target.clone();
    match &*path {
        "/large" => sent.complete(Ok(Success {
            object_id: None,
            response: Response::new(200, format!("{{\"text\":\"{}\"}}", "x".repeat(20_000))),
        })),
        "/bad" => sent.fail(Failure::new(
            FailureKind::Named("card_error".into()),
            Effect::None,
            "no".repeat(100),
        )),
        _ => sent.succeed("thing_1"),
    }
}

fn ids(session: &Session, transport: &mut ManualTransport, path: &str, count: usize) -> String {
    let ids = (0..count).map(|_| {
        let id = session.submit(Request::new(Method::Post, path)).unwrap();
        answer(transport.next());
        format!("`{id}`")
    });
    ids.collect::<Vec<_>>().join(", ")
}

/// Runs the loop and then what comes after it, within the heap limit. Gives the last line that was printed too.
fn run(name: &str, script: &str, after: &str) -> (Result<String, ScriptErrorKind>, String) {
    let (registry, queue) = Registry::new();
    // What is cancelled stays in the queue until somebody takes it out.
    let places = if name == "cancel" { 10_000 } else { 1 };
    let session = registry.session_with(SessionLimits {
        pending: places,
        unsent: places,
    });
    let mut transport = ManualTransport::new(queue);
    let good = ids(&session, &mut transport, "/thing", 200);
    let bad = ids(&session, &mut transport, "/bad", 50);
    let folder = tempfile::tempdir().unwrap();
    let long = "x".repeat(200);
    std::fs::create_dir(folder.path().join(&long)).unwrap();
    std::fs::write(folder.path().join(&long).join("bad.rhai"), "throw 1").unwrap();
    let printed: Arc<Mutex<String>> = Arc::default();
    let output = Arc::clone(&printed);
    let locals = Locals::for_session(session)
        .with_output(Arc::new(move |line: &str| line.clone_into(&mut output.lock().unwrap())));
    locals.set(ModuleFolder::new(folder.path()));
    let limits = Limits {
        heap_bytes: Some(HEAP),
        ..Limits::default()
    };
    let script = script.replace("LONG", &long);
    let text = format!("let ids = [{good}]; let bad = [{bad}]; {script} {after} `done`");
    let script = engine().compile(&text).unwrap();
    let mut fiber = script.run_then(
        RunOptions::new(locals).limits(limits),
        Scope::new(),
        |engine, value: Dynamic| Ok(value_text(engine, &value)),
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(async {
        loop {
            tokio::select! {
                biased;
                ended = &mut fiber => return ended,
                () = tokio::task::yield_now() => {}
            }
            if name != "cancel"
                && let Some(sent) = transport.try_next()
            {
                answer(sent);
            }
        }
    });
    let last = printed.lock().unwrap().clone();
    (ended.map_err(|error| error.kind()), last)
}

#[test]
fn what_is_freed_is_no_longer_charged() {
    let ended = LOOPS.iter().map(|(name, script)| (name, run(name, script, "").0));
    let wrong: Vec<_> = ended.filter(|(_, ended)| ended.as_deref() != Ok("done")).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// How many kilobytes the script may hold after the loop.
fn room_after(name: &str, script: &str) -> i64 {
    let (ended, last) = run(name, script, FILL);
    assert_eq!(ended, Err(ScriptErrorKind::HeapLimit), "{name}");
    last.parse().unwrap_or(0)
}

#[test]
fn a_script_may_hold_as_much_after_each_loop_as_before() {
    let before = room_after("nothing", "");
    let after = LOOPS.iter().map(|(name, script)| (name, room_after(name, script)));
    let wrong: Vec<_> = after.filter(|(_, after)| (after - before).abs() > 5).collect();
    assert!(wrong.is_empty(), "{before} before, and after {wrong:?}");
}
