//! Batches of scripts through all layers: what is sent, with which priority, and what is told of failures.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use inflight::core::{Observer, Priority, Submitted};
use inflight::sim::Simulator;
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions, ScriptReport};

/// How many requests were submitted, by priority.
#[derive(Default)]
struct Priorities(Mutex<HashMap<Priority, u32>>);

impl Observer for Priorities {
    fn submitted(&self, submitted: &Submitted<'_>) {
        *self.0.lock().unwrap().entry(submitted.priority).or_default() += 1;
    }
}

fn run(script: &str, priority: Option<Priority>) -> (ScriptReport, HashMap<Priority, u32>) {
    let simulator = Simulator::builder().start().unwrap();
    let priorities = Arc::new(Priorities::default());
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_123456789").unwrap())
        .observer(priorities.clone())
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = ScriptOptions {
        priority,
        ..ScriptOptions::default()
    };
    let report = runtime.block_on(inflight.run(script, options));
    let seen = priorities.0.lock().unwrap().clone();
    (report, seen)
}

#[test]
fn a_batch_gives_results_in_its_own_shape_and_its_requests_have_the_nearest_priority() {
    let script = r#"
        let b = batch(#{ priority: "high" });
        b.add("mug", new_product().name("Mug"));
        b.add("cup", || stripe::product::create_async(#{ name: "Cup" }));
        b.add("slow", new_product().name("Slow").priority("normal"));
        b.submit_async();
        let made = b.await_batch(60);
        new_product().name("Alone").create();
        let listed = 0;
        for p in new_product().list_all() { listed += 1; }
        [made.keys().len(), b.progress().completed, listed]"#;
    let (report, seen) = run(script, Some(Priority::Low));
    assert_eq!(report.result.unwrap(), serde_json::json!([3, 3, 4]));
    let expected = [(Priority::High, 2), (Priority::Normal, 1), (Priority::Low, 2)];
    assert_eq!(seen, HashMap::from(expected));
}

#[test]
fn only_what_failed_is_sent_again() {
    let script = r#"
        fn make(n, first) {
            if first && n % 10 == 3 { new_price().product("none").amount(5) } else { new_product().name(`Mug ${n}`) }
        }
        let first = each(0..200, |n| make(n, true), #{ on_failure: "carry_on", concurrency: 16, priority: "low" });
        let again = each(first.to_resubmit, |n| make(n, false));
        let count = 0;
        for p in new_product().list_all() { count += 1; }
        [first.total, first.completed, first.failed, first.failures[0].operation, first.failures.len(),
         again.total, again.completed, count]"#;
    let (report, seen) = run(script, None);
    let value = report.result.unwrap();
    assert_eq!(
        value,
        serde_json::json!([200, 180, 20, "price.create", 20, 20, 20, 200])
    );
    assert_eq!(
        report.warnings,
        Vec::<String>::new(),
        "what a report names was looked at"
    );
    // Twenty again, and two or three pages.
    assert_eq!(seen[&Priority::Low], 200);
    assert!((22..=24).contains(&seen[&Priority::Normal]), "{seen:?}");
}

#[test]
fn a_batch_of_more_than_fits_is_refused_before_anything_is_sent_and_each_is_named() {
    let script = r#"
        let b = batch();
        let told = "";
        try { for n in 0..20000 { b.add(new_product().name(`Mug ${n}`)); } } catch (error) { told = error.message; }
        [told, metrics().submitted]"#;
    let (report, seen) = run(script, None);
    let value = report.result.unwrap();
    assert!(value[0].as_str().unwrap().contains("each"), "{value}");
    assert_eq!(value[1], 0, "{value}");
    assert!(seen.is_empty(), "{seen:?}");
}
