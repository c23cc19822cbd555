//! Every example script ends well, says something, and steps on no other: all of them at once, several copies of each, and once
//! more on the same simulator.

mod support;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight::ScriptOptions;
use inflight::core::block_on;
use inflight::stripe_rhai::check_script;
use support::on_simulator;

const COPIES: usize = 5;

struct Example {
    name: String,
    text: String,
}

fn examples() -> Vec<Example> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let examples: Vec<_> = paths
        .iter()
        .map(|path| Example {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            text: fs::read_to_string(path).unwrap(),
        })
        .collect();
    assert!(examples.len() >= 10, "there are at least ten scripts");
    examples
}

#[test]
fn every_script_passes_the_check_and_says_first_what_it_shows() {
    let (_simulator, inflight) = on_simulator();
    let engine = inflight.engine();
    for Example { name, text } in examples() {
        assert!(text.starts_with("// "), "{name} has no comment on top");
        assert_eq!(check_script(&engine, &text), [], "{name}");
    }
}

#[test]
fn all_scripts_end_well_together_also_the_second_time() {
    let (_simulator, inflight) = on_simulator();
    let examples = examples();
    for round in 1..=2 {
        let mut runs = Vec::new();
        for example in &examples {
            for _ in 0..COPIES {
                let lines = Arc::new(Mutex::new(Vec::new()));
                let said = Arc::clone(&lines);
                let options = ScriptOptions {
                    time_limit: Some(Duration::from_secs(60)),
                    output: Some(Arc::new(move |line: &str| said.lock().unwrap().push(line.to_owned()))),
                    ..ScriptOptions::default()
                };
                // It starts here.
                runs.push((&example.name, lines, inflight.run(&example.text, options)));
            }
        }
        for (name, lines, run) in runs {
            let report = block_on(run);
            let lines = lines.lock().unwrap();
            assert!(report.result.is_ok(), "{name}, round {round}: {report:?}\n{lines:#?}");
            assert_eq!(report.warnings, Vec::<String>::new(), "{name}, round {round}");
            assert!(!lines.is_empty(), "{name} prints nothing");
        }
    }
}

#[test]
fn a_second_set_up_of_the_catalogue_changes_nothing() {
    let (_simulator, inflight) = on_simulator();
    let examples = examples();
    let catalogue = examples.iter().find(|example| example.name.contains("catalogue"));
    let text = &catalogue.expect("there is a script for a catalogue").text;
    let everything = || {
        assert!(block_on(inflight.run(text, ScriptOptions::default())).result.is_ok());
        let list = "#{ products: new_product().list(), prices: new_price().list() }";
        block_on(inflight.run(list, ScriptOptions::default())).result.unwrap()
    };
    let first = everything();
    assert_eq!(first["products"]["data"].as_array().map(Vec::len), Some(2));
    assert_eq!(first["prices"]["data"].as_array().map(Vec::len), Some(3));
    assert_eq!(first, everything());
}
