//! Spans of requests and their attempts, for any subscriber of the `tracing` crate.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inflight_core::{AttemptBegan, AttemptEnded, Ended, FailureKind, Observer, RequestId, Submitted};
use tracing::field::Empty;
use tracing::{Span, info_span};

/// Tells of each request as a span `request`, and of each of its attempts as a span `attempt` within it, as OpenTelemetry names
/// HTTP clients' spans: an [`Observer`] for [`InflightBuilder::observer`](crate::InflightBuilder::observer).
///
/// Spans have ids, names, statuses and durations; never keys, parameters or answers. Where no subscriber wants them, nothing
/// is kept, and each call costs a look into an empty map.
#[derive(Default)]
pub struct Traces {
    /// The spans of requests that have not ended, each with that of its attempt.
    open: Mutex<HashMap<RequestId, Open>>,
}

struct Open {
    request: Span,
    attempt: Span,
}

impl Traces {
    /// Spans for the subscriber that is installed for the whole process.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<RequestId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Traces {
    fn submitted(&self, submitted: &Submitted<'_>) {
        if submitted.restored {
            return;
        }
        let request = info_span!(
            parent: None,
            "request",
            otel.name = submitted.operation,
            inflight.request_id = %submitted.id,
            inflight.session = submitted.session,
            inflight.priority = submitted.priority.as_str(),
            http.request.method = submitted.method.as_str(),
            inflight.status = Empty,
            inflight.effect = Empty,
            error.type = Empty,
            otel.status_code = Empty,
        );
        if !request.is_disabled() {
            let open = Open {
                request,
                attempt: Span::none(),
            };
            self.open().insert(submitted.id, open);
        }
    }

    fn attempt_began(&self, began: &AttemptBegan<'_>) {
        let mut all = self.open();
        let Some(open) = all.get_mut(&began.id) else { return };
        open.attempt = info_span!(
            parent: &open.request,
            "attempt",
            otel.name = began.operation,
            otel.kind = "client",
            inflight.request_id = %began.id,
            http.request.method = began.method.as_str(),
            http.request.resend_count = began.attempt.saturating_sub(1),
            inflight.queued_seconds = began.queued.as_secs_f64(),
            inflight.limiter_wait_seconds = began.limiter_wait.as_secs_f64(),
            http.response.status_code = Empty,
            error.type = Empty,
            otel.status_code = Empty,
            stripe.request_id = Empty,
            stripe.replayed = Empty,
            inflight.retry_reason = Empty,
        );
    }

    fn attempt_ended(&self, ended: &AttemptEnded<'_>) {
        let mut all = self.open();
        let Some(open) = all.get_mut(&ended.id) else { return };
        let attempt = std::mem::replace(&mut open.attempt, Span::none());
        drop(all);
        let result = &ended.result;
        if let Some(status) = result.status {
            attempt.record("http.response.status_code", status);
        }
        if let Some(kind) = result.error {
            failed(&attempt, kind);
        }
        if let Some(id) = result.server_request_id {
            attempt.record("stripe.request_id", id);
        }
        if result.replayed {
            attempt.record("stripe.replayed", true);
        }
        if let Some((reason, _)) = result.next {
            attempt.record("inflight.retry_reason", reason.as_str());
        }
    }

    fn ended(&self, ended: &Ended<'_>) {
        let Some(open) = self.open().remove(&ended.id) else {
            return;
        };
        open.request.record("inflight.status", ended.status.as_str());
        if let Err(failure) = ended.outcome {
            open.request.record("inflight.effect", failure.effect.as_str());
            failed(&open.request, &failure.kind);
        }
    }
}

/// As OpenTelemetry marks a span that failed.
fn failed(span: &Span, kind: &FailureKind) {
    span.record("error.type", kind.as_str());
    span.record("otel.status_code", "ERROR");
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces")
            .field("open", &self.open().len())
            .finish_non_exhaustive()
    }
}
