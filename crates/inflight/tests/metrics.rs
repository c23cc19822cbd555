//! What the metrics count, and that they stay few.

#![cfg(feature = "metrics")]
#![allow(clippy::result_large_err, reason = "core's `Outcome` holds a failure by value")]

use std::collections::HashSet;
use std::sync::Arc;

use inflight::core::testing::ManualTransport;
use inflight::core::{Effect, Failure, FailureKind, Method, Registry, Request, Response, Success};
use inflight::stripe_rhai::ApiKey;
use inflight::{BUCKETS, Inflight, Metrics, ScriptOptions};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

struct Rig {
    registry: Registry,
    transport: ManualTransport,
    metrics: Arc<Metrics>,
    rendered: PrometheusHandle,
}

impl Rig {
    fn new() -> Self {
        let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS).unwrap().build_recorder();
        let rendered = recorder.handle();
        let metrics = Metrics::with_recorder(Arc::new(recorder));
        let (registry, queue) = Registry::builder().observer(metrics.clone()).build();
        Self {
            registry,
            transport: ManualTransport::new(queue),
            metrics,
            rendered,
        }
    }

    fn send(&mut self, request: Request, status: u16) {
        self.registry.submit(request).unwrap();
        let mut sent = self.transport.next().into_inner();
        sent.begin_attempt(std::time::Duration::ZERO);
        let response = Response::new(status, "{}");
        sent.complete(if response.is_success() {
            Ok(Success {
                object_id: None,
                response,
            })
        } else {
            let effect = if status < 500 { Effect::None } else { Effect::Unknown };
            let mut failure = Failure::new(FailureKind::Named(format!("kind_{status}").into()), effect, "x");
            failure.response = Some(response);
            Err(failure)
        });
    }

    fn lines(&self) -> Vec<String> {
        self.metrics.refresh(&self.registry);
        let text = self.rendered.render();
        text.lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    fn assert_has(&self, line: &str) {
        let lines = self.lines();
        assert!(
            lines.iter().any(|known| known == line),
            "{line} is missing in {lines:#?}"
        );
    }
}

#[test]
fn requests_are_counted_by_method_route_and_outcome() {
    let mut rig = Rig::new();
    rig.send(
        Request::new(Method::Get, "/v1/products/prod_1").operation("product.retrieve"),
        200,
    );
    rig.send(
        Request::new(Method::Post, "/v1/products").operation("product.create"),
        503,
    );
    let waiting = Request::new(Method::Post, "/v1/products").operation("product.create");
    let waiting = rig.registry.submit(waiting).unwrap();
    for line in [
        r#"stripe_requests_total{method="GET",route="/v1/products/{id}",outcome="completed"} 1"#,
        r#"stripe_requests_total{method="POST",route="/v1/products",outcome="unknown"} 1"#,
        r#"stripe_queue_wait_seconds_count{priority="normal"} 2"#,
        r#"stripe_queue_depth{priority="normal"} 1"#,
        "stripe_limiter_wait_seconds_count 2",
        "stripe_unknown_outcomes 1",
        "stripe_inflight 0",
    ] {
        rig.assert_has(line);
    }
    assert_eq!(rig.registry.cancel(waiting), Some(true));
    rig.assert_has(r#"stripe_requests_total{method="POST",route="/v1/products",outcome="cancelled"} 1"#);
}

#[test]
fn scripts_are_counted_by_how_they_ended_and_their_wake_ups_measured() {
    let simulator = inflight::sim::Simulator::builder().start().unwrap();
    let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS).unwrap().build_recorder();
    let rendered = recorder.handle();
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_123456789").unwrap())
        .metrics(Metrics::with_recorder(Arc::new(recorder)))
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let run = |script: &str| runtime.block_on(inflight.run(script, ScriptOptions::default()));
    for _ in 0..2 {
        run("new_product().name(`Mug`).create(); sleep(0.001)").result.unwrap();
    }
    run("throw `nothing that a label may say`").result.unwrap_err();
    run("let = 1").result.unwrap_err();
    let cancelled = ScriptOptions::default();
    cancelled.cancel.cancel();
    let report = runtime.block_on(inflight.run("sleep(600)", cancelled));
    report.result.unwrap_err();

    let text = rendered.render();
    let runs = |line: &&str| line.starts_with("stripe_script_runs_total");
    let mut counted: Vec<_> = text.lines().filter(runs).filter(|line| !line.ends_with(" 0")).collect();
    counted.sort_unstable();
    let expected = [("cancelled", 1), ("ok", 2), ("runtime", 1), ("syntax", 1)];
    assert_eq!(
        counted,
        expected.map(|(result, runs)| format!(r#"stripe_script_runs_total{{result="{result}"}} {runs}"#))
    );
    // One for each pause; one for each request, unless its answer came before the script looked for it.
    let woken = text
        .lines()
        .find_map(|line| line.strip_prefix("inflight_wakeup_seconds_count "));
    assert!(woken.unwrap().parse::<u32>().unwrap() >= 2, "{woken:?}");
    assert!(text.contains(r#"stripe_requests_total{method="POST",route="/v1/products",outcome="completed"} 2"#));
}

#[test]
fn what_is_settled_is_no_longer_unknown() {
    let mut rig = Rig::new();
    let id = rig.registry.submit(Request::new(Method::Post, "/v1/products")).unwrap();
    drop(rig.transport.next().into_inner());
    rig.assert_has("stripe_unknown_outcomes 1");
    let outcome = Ok(Success {
        object_id: None,
        response: Response::new(200, "{}"),
    });
    rig.registry.root().reconcile(id, outcome).unwrap();
    rig.assert_has("stripe_unknown_outcomes 0");
}

#[test]
fn ten_thousand_ids_make_no_series() {
    let mut rig = Rig::new();
    let mut series = HashSet::new();
    for n in 0..10_000_u32 {
        let target = format!("/v1/customers/cus_secret{n}");
        // A host may forget that an operation's name holds no id, and a server may answer anything.
        let operation = if n % 2 == 0 {
            "customer.retrieve".to_owned()
        } else {
            target.clone()
        };
        let status = u16::try_from(100 + n % 900).unwrap();
        rig.send(Request::new(Method::Get, target).operation(operation), status);
        if n == 2_000 {
            series = names(&rig.lines());
        }
    }
    let lines = rig.lines();
    assert_eq!(names(&lines), series);
    assert!(series.len() < 1_500, "{}", series.len());
    assert!(!lines.iter().any(|line| line.contains("secret")), "{lines:#?}");
}

/// Every line without its value.
fn names(lines: &[String]) -> HashSet<String> {
    let names = lines.iter().filter(|line| !line.starts_with('#'));
    names
        .filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned()))
        .collect()
}
