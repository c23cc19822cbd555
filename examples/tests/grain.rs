//! Every example script on the tree walker and on Rhai's bytecode VM, each on a simulator of its own: the same output, value and
//! error, but for the ids that the simulator makes up.
#![cfg(feature = "grain")]

mod support;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight::core::block_on;
use inflight::{ScriptOptions, run_script};
use inflight_rhai::Evaluator;
use support::on_simulator;

/// What a run shows, and what it ran on.
#[derive(Debug, PartialEq)]
struct Seen {
    output: Vec<String>,
    value: Result<String, String>,
    warnings: Vec<String>,
}

fn run(text: &str, evaluator: Evaluator) -> (Seen, Evaluator) {
    let (_simulator, inflight) = on_simulator();
    let lines = Arc::new(Mutex::new(Vec::new()));
    let said = Arc::clone(&lines);
    let session = inflight.session();
    let text = text.to_owned();
    let task = inflight.pool().spawn(move |engine| async move {
        let script = engine.compile(&text).unwrap().with_evaluator(evaluator);
        let options = ScriptOptions {
            time_limit: Some(Duration::from_secs(60)),
            output: Some(Arc::new(move |line: &str| said.lock().unwrap().push(line.to_owned()))),
            ..ScriptOptions::default()
        };
        let ran_on = script.evaluator();
        (run_script(&script, session, options).await, ran_on)
    });
    let (report, ran_on) = block_on(task).unwrap();
    let seen = Seen {
        output: lines.lock().unwrap().iter().map(|line| without_ids(line)).collect(),
        value: match report.result {
            Ok(value) => Ok(without_ids(&value.to_string())),
            Err(error) => Err(without_ids(&error.to_string())),
        },
        warnings: report.warnings.iter().map(|warning| without_ids(warning)).collect(),
    };
    (seen, ran_on)
}

/// The text with a mark in place of each word that looks made up (ids, uuids) and of each number, since some count milliseconds.
fn without_ids(text: &str) -> String {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut shown = String::new();
    for part in text.split_inclusive(|c| !word(c)) {
        let bare = part.trim_end_matches(|c| !word(c));
        if bare.chars().any(|c| c.is_ascii_digit()) {
            shown.push('#');
        } else {
            shown.push_str(bare);
        }
        shown.push_str(&part[bare.len()..]);
    }
    shown
}

#[test]
fn every_example_does_the_same_on_both() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let mut on_the_vm = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let (walker, _) = run(&text, Evaluator::Walker);
        let (vm, ran_on) = run(&text, Evaluator::Vm);
        assert_eq!(walker, vm, "{}", path.display());
        on_the_vm += usize::from(ran_on == Evaluator::Vm);
        println!("{}: {ran_on:?}", path.display());
    }
    assert!(on_the_vm > 0, "none was compared");
}
