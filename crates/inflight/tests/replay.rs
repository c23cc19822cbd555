//! Runs that die and are started again, on the assembled layers and against the simulator.

#[path = "../../rhai/tests/replay/log.rs"]
mod log;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight::core::{Journal, MemoryJournal, Registry};
use inflight::rhai::{FiberEngine, ScriptErrorKind};
use inflight::sim::{Latency, Simulator};
use inflight::stripe::StripePolicy;
use inflight::stripe_rhai::{ApiKey, HostOptions, StripeHost, StripePackage};
use inflight::transport::{TokioClock, Worker};
use inflight::{Inflight, ScriptOptions, ScriptReport, ScriptRun, run_script};
use tokio_util::sync::CancellationToken;

use crate::log::Log;

/// What one start of a run gave.
struct Started {
    report: ScriptReport,
    lines: Vec<String>,
}

fn options(lines: &Arc<Mutex<Vec<String>>>, run: ScriptRun) -> ScriptOptions {
    let output = Arc::clone(lines);
    ScriptOptions {
        output: Some(Arc::new(move |line: &str| output.lock().unwrap().push(line.to_owned()))),
        ..ScriptOptions::default()
    }
    .run(run)
}

/// Starts the run in a process of its own, with what the log holds.
fn start(script: &str, log: &Log, simulator: &Simulator) -> Started {
    let store = Arc::new(log.clone());
    let (registry, queue) = Registry::builder()
        .clock(Arc::new(TokioClock))
        .store(store.clone())
        .build();
    let host = StripeHost::new(HostOptions {
        api_key: Some(ApiKey::new("sk_test_123").unwrap()),
        ..HostOptions::default()
    });
    let worker = Worker::builder()
        .base_url(simulator.url())
        .policy(Arc::new(StripePolicy::new()))
        .credentials(host.credentials())
        .start(queue)
        .unwrap();
    let engine = FiberEngine::new(StripePackage::new_engine(&host));
    let script = engine.compile(script).unwrap();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let report = runtime.block_on(async {
        // The script's own key is known by a name that each process gives it.
        let _ = host.initial();
        let run = ScriptRun::new("nightly", store).kept(log.kept());
        // The store hands out what an earlier process has left before the run is begun again, or after it.
        let hand_out = || log.unended().for_each(|kept| registry.take_in(kept));
        let before = log.events().len().is_multiple_of(2);
        if before {
            hand_out();
        }
        let session = run.session(&registry);
        if !before {
            hand_out();
        }
        run_script(&script, session, options(&lines, run)).await
    });
    registry.close();
    worker.shutdown(Duration::ZERO);
    let lines = lines.lock().unwrap().clone();
    Started { report, lines }
}

/// Kills the process after each write and starts the run again: the simulator has seen each effect once, and the value is the one
/// of the run that nothing happened to.
fn survives(script: &str, kinds: &[(&str, usize)]) {
    let simulator = Simulator::start().unwrap();
    let log = Log::default();
    let whole = start(script, &log, &simulator);
    let value = whole.report.result.unwrap();
    let seen = |simulator: &Simulator| kinds.iter().map(|(kind, _)| simulator.count(kind)).collect::<Vec<_>>();
    let expected: Vec<usize> = kinds.iter().map(|(_, count)| *count).collect();
    assert_eq!(seen(&simulator), expected, "{script}");
    for writes in 0..=log.events().len() {
        let simulator = Simulator::start().unwrap();
        let log = Log::default().and(writes);
        let dead = start(script, &log, &simulator);
        let log = log.cut(log.events().len());
        let printed = log.lines();
        let again = start(script, &log, &simulator);
        let context = format!("{script}\nkilled after {writes} writes ({:?})", dead.report.result);
        let result = again.report.result.unwrap_or_else(|error| panic!("{error}\n{context}"));
        assert_eq!(result, value, "{context}");
        assert!(!again.report.resumable, "{context}");
        assert_eq!(seen(&simulator), expected, "{context}");
        // The line whose entry could not be written is printed once more.
        assert!(dead.lines.len() <= printed + 1, "{context}");
        let once_more = start(script, &log, &simulator);
        assert_eq!(once_more.report.result.unwrap(), value, "{context}");
        assert!(once_more.lines.is_empty(), "{context}");
    }
}

/// A script that gives nothing which depends on what the simulator names its objects.
fn example(name: &str, gives: &str) -> String {
    let file = format!("{}/../../examples/scripts/{name}.rhai", env!("CARGO_MANIFEST_DIR"));
    format!("{}\n{gives}", std::fs::read_to_string(file).unwrap())
}

#[test]
fn fire_and_forget() {
    survives(
        &example("01_fire_and_forget", "total"),
        &[("product", 1), ("coupon", 1), ("customer", 1)],
    );
}

#[test]
fn polling() {
    survives(&example("02_polling", "status(id)"), &[("product", 1)]);
}

#[test]
fn waiting() {
    survives(&example("03_await", "status(id)"), &[("customer", 1)]);
}

#[test]
fn concurrent() {
    survives(&example("04_concurrent", "products.len()"), &[("product", 4)]);
}

#[test]
fn errors_pages_and_webhooks() {
    survives(
        r#"
        let caught = ();
        try { new_price().amount(1000).create(); } catch (error) { caught = error.kind; }
        for n in 0..4 { new_product().name(`${n}`).create(); }
        let names = [];
        for product in new_product().limit(2).list_all() { names.push(product.name); }
        let header = stripe::webhook::sign("{\"id\":\"evt_1\",\"object\":\"event\",\"type\":\"x.y\",\"data\":{\"object\":{}}}", "whsec_test");
        let event = stripe::webhook::construct_event("{\"id\":\"evt_1\",\"object\":\"event\",\"type\":\"x.y\",\"data\":{\"object\":{}}}", header, "whsec_test");
        let object = stripe::product::create(#{ name: "Tea", metadata: #{ a: "1" } });
        [caught, names, event.type, object.metadata.a, type_of(object.created), stripe::webhook::is_duplicate(event)]
        "#,
        &[("product", 5)],
    );
}

fn assemble(simulator: &Simulator) -> Inflight {
    Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_123").unwrap())
        .build()
        .unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_run_that_has_ended_is_replayed_from_its_journal() {
    let simulator = Simulator::start().unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let script = r#"let p = new_product().name("Mug").create(); print(p); await_object(new_product().name("Cup").create_async()).name"#;
    let mut values = Vec::new();
    for times in 1..3 {
        let inflight = assemble(&simulator);
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let run = ScriptRun::new("nightly", journal.clone());
        let report = runtime().block_on(inflight.run(script, options(&lines, run)));
        assert!(!report.resumable);
        values.push(report.result.unwrap());
        assert_eq!(lines.lock().unwrap().len(), 2 - times, "printed once");
        assert_eq!(simulator.count("product"), 2);
        assert_eq!(report.counts.submitted, if times == 1 { 2 } else { 0 });
    }
    assert_eq!(values, ["Cup", "Cup"]);
}

#[test]
fn a_run_that_is_cancelled_can_be_resumed_and_calls_nothing_back() {
    let simulator = Simulator::builder()
        .latency(Latency::fixed(Duration::from_secs(3600)))
        .start()
        .unwrap();
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_123").unwrap())
        .concurrency(1)
        .build()
        .unwrap();
    let journal = Arc::new(MemoryJournal::new());
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let run = ScriptRun::new("nightly", journal.clone());
    let options = ScriptOptions {
        cancel,
        output: Some(Arc::new(move |_: &str| stop.cancel())),
        ..ScriptOptions::default()
    }
    .run(run);
    let script = r#"let ids = []; for n in 0..4 { ids.push(new_product().name(`${n}`).create_async()); } print("go"); await_all(ids)"#;
    let report = runtime().block_on(inflight.run(script, options));
    assert_eq!(report.result.unwrap_err().kind(), ScriptErrorKind::Cancelled);
    assert!(report.resumable);
    assert_eq!((report.unfinished, report.counts.cancelled), (4, 0));
    assert!(report.warnings.is_empty());
    assert_eq!(journal.entries().unwrap().len(), 5);
}

#[test]
fn a_run_whose_script_has_changed_can_be_resumed_with_the_right_one() {
    let simulator = Simulator::start().unwrap();
    let inflight = assemble(&simulator);
    let journal = Arc::new(MemoryJournal::new());
    let start = |script: &str| {
        let run = ScriptRun::new("nightly", journal.clone());
        runtime().block_on(inflight.run(script, ScriptOptions::default().run(run)))
    };
    let script = r#"new_product().name("Mug").create(); throw "no""#;
    assert!(!start(script).resumable, "it has ended, badly");
    let changed = start("\n  new_coupon().percent_off(5).create()");
    let error = changed.result.unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::ReplayDiverged);
    assert!(changed.resumable);
    let text = error.to_string();
    for words in ["`product.create` (call 0)", "`coupon.create` (call 0)", "line 2"] {
        assert!(text.contains(words), "{text}");
    }
    assert_eq!(simulator.count("coupon"), 0);
    assert!(start("syntax error here").resumable);
    let again = start(script);
    assert_eq!(again.result.unwrap_err().kind(), ScriptErrorKind::Runtime);
    assert_eq!(simulator.count("product"), 1);
}
