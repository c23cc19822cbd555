//! The spans of requests and attempts.

#![cfg(feature = "traces")]
#![allow(clippy::result_large_err, reason = "core's `Outcome` holds a failure by value")]

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use inflight::Traces;
use inflight::core::testing::ManualTransport;
use inflight::core::{AttemptResult, Effect, FailureKind, Method, Registry, Request, Response, RetryReason, Success};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// A span as a subscriber sees it.
#[derive(Debug, Default, Clone)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    is_closed: bool,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields
            .insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

/// Keeps every span, the first as number 1.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<Seen>>>);

impl Spans {
    fn with(&self, id: &Id, change: impl FnOnce(&mut Seen)) {
        change(&mut self.0.lock().unwrap()[id.into_u64() as usize - 1]);
    }
}

impl Subscriber for Spans {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut seen = Seen {
            name: span.metadata().name(),
            parent: span.parent().map(Id::into_u64),
            ..Seen::default()
        };
        span.record(&mut seen);
        let mut all = self.0.lock().unwrap();
        all.push(seen);
        Id::from_u64(all.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        self.with(id, |seen| values.record(seen));
    }

    fn try_close(&self, id: Id) -> bool {
        self.with(&id, |seen| seen.is_closed = true);
        true
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

fn request() -> Request {
    Request::new(Method::Post, "/v1/products?secret=LEAKMARK")
        .operation("product.create")
        .body("application/x-www-form-urlencoded", "name=LEAKMARK")
}

/// One test: two at once would race for what `tracing` remembers of each span, which is the whole process's.
#[test]
fn a_request_is_a_span_with_one_for_each_attempt_where_somebody_wants_spans() {
    nothing_is_kept_where_nobody_wants_spans();
    spans_of_a_request_and_its_attempts();
}

fn nothing_is_kept_where_nobody_wants_spans() {
    let traces = Traces::new();
    let (registry, _queue) = Registry::builder().observer(traces.clone()).build();
    registry.submit(request()).unwrap();
    assert_eq!(format!("{traces:?}"), "Traces { open: 0, .. }");
}

fn spans_of_a_request_and_its_attempts() {
    let spans = Spans::default();
    let traces = Traces::new();
    let (registry, queue) = Registry::builder().observer(traces.clone()).build();
    let mut transport = ManualTransport::new(queue);
    tracing::subscriber::with_default(spans.clone(), || {
        let id = registry.submit(request()).unwrap();
        let mut sent = transport.next().into_inner();
        sent.begin_attempt(Duration::ZERO);
        sent.end_attempt(AttemptResult {
            status: Some(503),
            error: Some(&FailureKind::Named("api_error".into())),
            server_request_id: Some("req_1"),
            next: Some((RetryReason::ServerError, Duration::from_millis(5))),
            ..AttemptResult::default()
        });
        sent.wait(Effect::Unknown, Instant::now());
        let mut sent = inflight::core::block_on(sent.resume()).unwrap();
        sent.begin_attempt(Duration::ZERO);
        sent.end_attempt(AttemptResult {
            status: Some(200),
            server_request_id: Some("req_2"),
            replayed: true,
            ..AttemptResult::default()
        });
        sent.complete(Ok(Success {
            object_id: Some("prod_1".into()),
            response: Response::new(200, "{}"),
        }));

        let all = spans.0.lock().unwrap().clone();
        let names: Vec<_> = all
            .iter()
            .map(|span| (span.name, span.parent, span.is_closed))
            .collect();
        assert_eq!(
            names,
            [
                ("request", None, true),
                ("attempt", Some(1), true),
                ("attempt", Some(1), true)
            ]
        );
        let field = |span: usize, name: &str| all[span].fields.get(name).cloned().unwrap_or_default();
        assert_eq!(field(0, "inflight.request_id"), id.to_string());
        assert_eq!(
            (field(0, "otel.name"), field(0, "inflight.status")),
            ("product.create".into(), "completed".into())
        );
        let attempt = |span| {
            [
                "http.request.resend_count",
                "http.response.status_code",
                "stripe.request_id",
                "inflight.retry_reason",
                "error.type",
                "otel.status_code",
            ]
            .map(|name| field(span, name))
        };
        assert_eq!(attempt(1), ["0", "503", "req_1", "server_error", "api_error", "ERROR"]);
        assert_eq!(attempt(2), ["1", "200", "req_2", "", "", ""]);
        assert_eq!(field(2, "stripe.replayed"), "true");
        assert!(
            !format!("{all:?}").contains("LEAKMARK"),
            "neither targets nor bodies are told: {all:?}"
        );
    });
    assert_eq!(format!("{traces:?}"), "Traces { open: 0, .. }");
}
