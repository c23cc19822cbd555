//! Scripts on the assembled layers, against the simulator.

#[path = "run/batches.rs"]
mod batches;
#[path = "run/pages.rs"]
mod pages;
#[path = "run/reliability.rs"]
mod reliability;
#[path = "run/wire.rs"]
mod wire;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inflight::sim::{Latency, Simulator};
use inflight::stripe::webhook::WebhookSecret;
use inflight::stripe_rhai::{ApiKey, HostOptions};
use inflight::{Inflight, InflightBuilder, ScriptOptions, ScriptReport};

fn assemble(simulator: &Simulator) -> Inflight {
    Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_123456789").unwrap())
        .engine(|engine| {
            engine.register_fn("double", |x: i64| x * 2);
        })
        .build()
        .unwrap()
}

fn run(script: &str) -> ScriptReport {
    let simulator = Simulator::builder().start().unwrap();
    let inflight = assemble(&simulator);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(inflight.run(script, ScriptOptions::default()))
}

fn error(script: &str) -> String {
    run(script).result.unwrap_err().to_string()
}

#[test]
fn a_script_gives_its_value_as_json() {
    let report = run("#{ n: double(21), list: [1.5, (), `x`] }");
    let value = report.result.unwrap();
    assert_eq!(value, serde_json::json!({ "n": 42, "list": [1.5, null, "x"] }));
}

/// The names of the threads that run scripts.
fn script_threads(configure: impl FnOnce(InflightBuilder) -> InflightBuilder) -> BTreeSet<String> {
    let simulator = Simulator::builder().start().unwrap();
    let builder = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_123456789").unwrap())
        .engine(|engine| {
            engine.register_fn("thread_name", || {
                std::thread::current().name().unwrap_or_default().to_owned()
            });
        });
    let inflight = configure(builder).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let runs: Vec<_> = (0..4)
        .map(|_| {
            inflight.run(
                r#"new_product().name("Mug").create(); thread_name()"#,
                ScriptOptions::default(),
            )
        })
        .collect();
    runtime.block_on(async {
        let mut names = BTreeSet::new();
        for run in runs {
            names.insert(run.await.result.unwrap().as_str().unwrap_or_default().to_owned());
        }
        names
    })
}

#[test]
fn scripts_share_the_thread_that_sends_where_there_is_one_processor_or_they_are_to() {
    let names = |all: &[&str]| all.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    let one_processor = std::thread::available_parallelism().is_ok_and(|processors| processors.get() == 1);
    let by_default = if one_processor {
        "inflight-worker"
    } else {
        "inflight-scripts"
    };
    assert_eq!(script_threads(|builder| builder), names(&[by_default]));
    assert_eq!(
        script_threads(|builder| builder.threads(2)),
        names(&["inflight-scripts"])
    );
    for (own, name) in [(true, "inflight-scripts"), (false, "inflight-worker")] {
        assert_eq!(script_threads(|builder| builder.transport_thread(own)), names(&[name]));
    }
    assert_eq!(
        script_threads(|builder| builder.threads(2).transport_thread(false)),
        names(&["inflight-scripts", "inflight-worker"])
    );
}

#[test]
fn a_key_that_was_set_before_all_options_stays_where_they_have_none() {
    let key = |text: &str| ApiKey::new(text).unwrap();
    let secret = || WebhookSecret::new("whsec_test").unwrap();
    let builder = || {
        Inflight::builder()
            .api_key(key("sk_test_123456789"))
            .webhook_secret(secret())
    };
    let options = |api_key| HostOptions {
        api_key,
        currency: "eur".into(),
        ..HostOptions::default()
    };
    let inflight = builder().host_options(options(None)).build().unwrap();
    let kept = inflight.host().options();
    assert_eq!(kept.api_key, Some(key("sk_test_123456789")));
    assert_eq!(kept.webhook_secret, Some(secret()));
    assert_eq!(kept.currency, "eur");
    let another = Some(key("sk_test_another12"));
    let inflight = builder().host_options(options(another.clone())).build().unwrap();
    assert_eq!(inflight.host().options().api_key, another);
}

#[test]
fn a_request_of_the_hosts_own_is_sent_with_the_hosts_key() {
    let simulator = Simulator::start().unwrap();
    let inflight = assemble(&simulator);
    let session = inflight.session();
    let request = inflight::stripe::CreateProduct::new("Mug").request().unwrap();
    let id = session.submit(inflight.host().prepare(request).unwrap()).unwrap();
    let ended = inflight::core::block_on(session.wait_async(id).unwrap());
    assert!(ended.is_ok(), "{ended:?}");
    assert_eq!(simulator.count("product"), 1);
}

#[test]
fn a_name_that_does_not_exist_is_found_in_the_text() {
    for (script, place) in [
        ("let a = 1;\nnew_prodct()", "(line 2, column 1)"),
        ("fn f() { new_prodct() }\nf()", "(line 1, column 10)"),
        (
            "let a = new_price().amount(5);\nlet b = 2;\nnew_product().amount(5);",
            "(line 3, column 15)",
        ),
        ("fn f(p) { p.nmae(`x`) }\n\nf(new_product())", "(line 1, column 13)"),
    ] {
        let error = error(script);
        assert!(error.ends_with(place), "{script}: {error}");
    }
}

#[test]
fn failures_that_nobody_looked_at_are_warnings_and_detached_ones_are_not() {
    let report = run("new_price().amount(5).create_async(); 1");
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert_eq!((report.counts.failed, report.result.is_ok()), (1, true));
    let report = run("detach(new_price().amount(5).create_async()); 1");
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    let report = run("start(|| throw `unseen`); 1");
    assert_eq!(
        report.warnings,
        ["task 1 failed and nobody joined it: unseen (line 1, column 10)"]
    );
}

#[test]
fn results_of_blocking_calls_are_not_kept() {
    let report = run("for i in 0..50 { new_product().name(`P`).create(); } 1");
    assert_eq!(report.counts.completed, 50);
}

#[test]
fn cancelling_stops_the_script_and_lets_what_was_sent_finish() {
    let simulator = Simulator::builder()
        .latency(Latency::fixed(Duration::from_millis(300)))
        .start()
        .unwrap();
    let inflight = assemble(&simulator);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let options = ScriptOptions::default();
    let cancel = options.cancel.clone();
    let report = runtime.block_on(async {
        let running = tokio::spawn(inflight.run("new_product().name(`M`).create(); print(`never`)", options));
        while inflight.registry().in_flight() == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
        running.await.unwrap()
    });
    assert!(report.result.unwrap_err().to_string().contains("cancelled"));
    assert_eq!((report.counts.completed, report.unfinished), (1, 0));
    assert_eq!(simulator.count("product"), 1);
}

#[test]
fn dropping_a_run_stops_it() {
    static TURNS: AtomicUsize = AtomicUsize::new(0);
    let simulator = Simulator::builder().start().unwrap();
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .engine(|engine| {
            engine.register_fn("turn", || {
                TURNS.fetch_add(1, Ordering::SeqCst);
            });
        })
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let script = inflight.run("loop { turn(); }", ScriptOptions::default());
        assert!(tokio::time::timeout(Duration::from_millis(20), script).await.is_err());
        // The one thread has taken it off by the time that it has run two others, one after the other.
        for _ in 0..2 {
            assert_eq!(
                inflight
                    .run("sleep(5); 2", ScriptOptions::default())
                    .await
                    .result
                    .unwrap(),
                2
            );
        }
        let turns = TURNS.load(Ordering::SeqCst);
        assert_eq!(
            inflight
                .run("sleep(20); 3", ScriptOptions::default())
                .await
                .result
                .unwrap(),
            3
        );
        assert_eq!(TURNS.load(Ordering::SeqCst), turns);
    });
}

#[test]
fn what_a_script_throws_is_shown_without_its_secrets() {
    for script in [
        "throw #{ id: `pi_1`, client_secret: `pi_1_secret_HUSH` }",
        "throw `the key sk_live_HUSH0123456789ab`",
        "start(|| throw `pi_1_secret_HUSH`); 1",
        "on_complete(new_product().name(`x`).create_async(), |id| throw `pi_1_secret_HUSH`)",
    ] {
        let report = run(script);
        let shown = format!("{report:?}");
        assert!(!shown.contains("HUSH"), "{script}: {shown}");
        assert!(shown.contains('…'), "{script}: {shown}");
    }
}
