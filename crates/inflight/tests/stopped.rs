//! What is told of scripts that are stopped from outside: with their pool, or before they began.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight::core::{AttemptBegan, Journal, MemoryJournal, Observer, block_on};
use inflight::rhai::{Output, ScriptErrorKind};
use inflight::sim::{Latency, Simulator};
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions, ScriptRun};
use tokio_util::sync::CancellationToken;

/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says when an attempt begins.
struct Began(Mutex<Sender<()>>);

impl Observer for Began {
    fn attempt_began(&self, _: &AttemptBegan<'_>) {
        let _ = self.0.lock().unwrap().send(());
    }
}

fn assemble(simulator: &Simulator) -> (Inflight, Receiver<()>) {
    let (began, told) = channel();
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_123").unwrap())
        .observer(Arc::new(Began(Mutex::new(began))))
        .build()
        .unwrap();
    (inflight, told)
}

/// A simulator that answers after the test.
fn slow() -> Simulator {
    let latency = Latency::fixed(Duration::from_secs(3600));
    Simulator::builder().latency(latency).start().unwrap()
}

/// Where `print` goes, and its lines.
fn lines() -> (Output, Receiver<String>) {
    let (printed, lines) = channel();
    let printed = Mutex::new(printed);
    let output = move |line: &str| drop(printed.lock().unwrap().send(line.to_owned()));
    (Arc::new(output), lines)
}

fn options(output: &Output) -> ScriptOptions {
    ScriptOptions {
        output: Some(Arc::clone(output)),
        ..ScriptOptions::default()
    }
}

#[test]
fn a_run_that_is_at_work_when_its_program_ends_can_be_resumed() {
    for shuts_down in [false, true] {
        let simulator = Simulator::start().unwrap();
        let (inflight, _) = assemble(&simulator);
        let (output, printed) = lines();
        let run = ScriptRun::new("nightly", Arc::new(MemoryJournal::new()));
        let script = r#"new_product().name("Mug").create(); print("made"); loop { }"#;
        let report = inflight.run(script, options(&output).run(run));
        printed.recv_timeout(PATIENCE).unwrap();
        if shuts_down {
            inflight.shutdown(Duration::ZERO);
        }
        drop(inflight);
        let report = block_on(report);
        assert_eq!(report.result.unwrap_err().kind(), ScriptErrorKind::Cancelled);
        assert!(report.resumable, "shut down: {shuts_down}");
        assert_eq!((report.counts.submitted, report.counts.completed), (1, 1));
        assert!(report.wall_time > Duration::ZERO);
    }
}

#[test]
fn of_a_script_that_its_program_ends_is_told_what_it_did() {
    let simulator = slow();
    let (inflight, began) = assemble(&simulator);
    let (output, printed) = lines();
    let script = r#"new_product().name("Mug").create_async(); print("made"); loop { }"#;
    let report = inflight.run(script, options(&output));
    printed.recv_timeout(PATIENCE).unwrap();
    began.recv_timeout(PATIENCE).unwrap();
    inflight.shutdown(Duration::ZERO);
    drop(inflight);
    let report = block_on(report);
    assert_eq!(report.result.unwrap_err().kind(), ScriptErrorKind::Cancelled);
    assert!(!report.resumable);
    assert_eq!((report.counts.submitted, report.counts.failed), (1, 1));
    assert!(report.wall_time > Duration::ZERO);
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert!(report.warnings[0].starts_with("product.create failed and nobody looked"));
}

#[test]
fn what_a_run_is_told_while_its_program_is_dropped_is_not_written_down() {
    let simulator = slow();
    let (inflight, began) = assemble(&simulator);
    let journal = Arc::new(MemoryJournal::new());
    let run = ScriptRun::new("nightly", journal.clone());
    let script = r#"try { new_product().name("Mug").create(); } catch { } print("went on")"#;
    let (output, printed) = lines();
    let report = inflight.run(script, options(&output).run(run));
    began.recv_timeout(PATIENCE).unwrap();
    drop(inflight);
    let report = block_on(report);
    assert!(report.resumable, "{:?}", report.result);
    assert_eq!(journal.entries().unwrap(), []);
    drop(output);
    assert_eq!(printed.try_iter().count(), 0);
}

#[test]
fn a_script_that_is_cancelled_before_it_begins_does_nothing() {
    let simulator = Simulator::start().unwrap();
    let (inflight, _) = assemble(&simulator);
    let script = r#"print("ran"); new_product().name("Mug").create_async(); 1"#;
    for run in [None, Some(ScriptRun::new("nightly", Arc::new(MemoryJournal::new())))] {
        let (output, printed) = lines();
        let cancel = CancellationToken::new();
        cancel.cancel();
        let resumable = run.is_some();
        let options = ScriptOptions {
            cancel,
            run,
            ..options(&output)
        };
        let report = block_on(inflight.run(script, options));
        assert_eq!(report.result.unwrap_err().kind(), ScriptErrorKind::Cancelled);
        assert_eq!((report.counts.submitted, report.resumable), (0, resumable));
        drop(output);
        assert_eq!(printed.try_iter().count(), 0);
    }
    inflight.shutdown(PATIENCE);
    assert_eq!(simulator.count("product"), 0);
}
