//! Many creations in one batch, some of which fail: what is shown meanwhile, what is told at the end, and a second run that sends only
//! those that failed.

mod support;

use std::time::Duration;

use inflight::sim::{Fault, Faults, Latency, Rule, Simulator};
use serde_json::{Value, json};
use support::*;

const REQUESTS: u64 = 2_000;

/// One in 33 is refused, and these are all of them.
const FAILING: u64 = REQUESTS / 33;

/// Sends what `items` gives, an array or a range in Rhai, and gives the report.
fn run_batch(simulator: &Simulator, items: &str) -> (Value, String) {
    let script = format!(
        r#"
        let make = |i| new_customer().email(`c${{i}}@example.com`).max_retries(0);
        each({items}, make, #{{ on_failure: "carry_on", concurrency: 50 }})
        "#
    );
    let scripts = Scripts::new(&[("batch.rhai", script.as_bytes())]);
    let url = simulator.url();
    let (json, output) = run_json(&["--base-url", &url, &scripts.path("batch.rhai")]);
    assert!(output.status.success(), "{}", stderr(&output));
    (json, stderr(&output))
}

/// How many had ended and failed, in each line of progress.
fn progress(shown: &str) -> Vec<(u64, u64)> {
    let of_all = format!(" of {REQUESTS} ended, ");
    let lines = shown.lines().filter_map(|line| {
        let (_, counts) = line
            .strip_prefix("0/1 scripts ended; requests: ")?
            .split_once("queued, ")?;
        let (ended, failed) = counts.strip_suffix(" failed")?.split_once(&of_all)?;
        Some((ended.parse().ok()?, failed.parse().ok()?))
    });
    lines.collect()
}

#[test]
fn a_second_run_sends_only_what_failed_in_the_first() {
    let refused = Rule::new(Fault::LockTimeout)
        .operation("customer.create")
        .every(33)
        .times(FAILING);
    let simulator = Simulator::builder()
        .faults(Faults::new().rule(refused))
        // So that it takes two seconds at least, and progress is shown.
        .latency(Latency::fixed(Duration::from_millis(50)))
        .start()
        .expect("the simulator starts");

    let (json, shown) = run_batch(&simulator, &format!("0..{REQUESTS}"));
    let report = &json["results"][0]["value"];
    let counts = ["total", "done", "completed", "failed", "cancelled", "not_started"].map(|name| &report[name]);
    assert_eq!(
        counts,
        [REQUESTS, REQUESTS, REQUESTS - FAILING, FAILING, 0, 0]
            .map(|count| json!(count))
            .each_ref()
    );
    assert_eq!(json["requests"]["failed"], FAILING, "{}", json["requests"]);
    assert_eq!(
        json["run"]["rate_limited"]["other"], FAILING,
        "{}",
        json["run"]["rate_limited"]
    );
    let failures = report["failures"].as_array().expect("the failures");
    assert_eq!(failures.len() as u64, FAILING);
    for failure in failures {
        assert_eq!(failure["code"], "lock_timeout", "{failure}");
        assert_eq!(failure["operation"], "customer.create", "{failure}");
        assert_eq!(failure["index"], failure["item"], "{failure}");
    }
    assert_eq!(simulator.objects("customer").len() as u64, REQUESTS - FAILING);

    let progress = progress(&shown);
    assert!(!progress.is_empty(), "{shown}");
    assert!(progress.is_sorted(), "{shown}");
    assert!(
        progress
            .iter()
            .all(|(ended, failed)| failed <= ended && *ended <= REQUESTS),
        "{shown}"
    );
    let row = shown
        .lines()
        .find(|line| line.starts_with("batch "))
        .expect("the table's line");
    let columns: Vec<&str> = row.split_whitespace().collect();
    let completed = (REQUESTS - FAILING).to_string();
    let counted = [&*REQUESTS.to_string(), &*completed, &*FAILING.to_string(), "0", "0"];
    assert_eq!(columns[1], "ok", "{row}");
    assert!(columns.ends_with(&counted), "{row}");

    let sent_before = simulator.requests("customer.create");
    let (json, _) = run_batch(&simulator, &report["to_resubmit"].to_string());
    let report = &json["results"][0]["value"];
    assert_eq!(
        (&report["total"], &report["completed"]),
        (&json!(FAILING), &json!(FAILING))
    );
    assert_eq!(simulator.requests("customer.create") - sent_before, FAILING);
    let customers = simulator.objects("customer");
    let mut emails: Vec<_> = customers.iter().map(|customer| customer["email"].to_string()).collect();
    emails.sort_unstable();
    emails.dedup();
    assert_eq!(
        (customers.len(), emails.len()),
        (REQUESTS as usize, REQUESTS as usize),
        "each exactly once"
    );
}
