//! Metrics of requests, for any recorder of the `metrics` crate. `docs/metrics.md` says what each one means.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};

use inflight_core::{
    AttemptBegan, AttemptEnded, Effect, Ended, FailureKind, Method, Observer, Outcome, Priority, Registry,
    RequestStatus, RetryReason, Settled, Throttle,
};
use inflight_rhai::{ScriptErrorKind, WakeUps};
use inflight_stripe::{Operation, operations, unnamed};
use metrics::{Counter, Gauge, Histogram, Recorder, Unit, counter, gauge, histogram};

/// The upper bounds of the buckets of every histogram but `inflight_wakeup_seconds`, in seconds: those that OpenTelemetry names for HTTP, and up to the longest
/// attempt's 80 s.
pub const BUCKETS: [f64; 17] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];

/// The upper bounds of the buckets of `inflight_wakeup_seconds`, in seconds: a script runs on within microseconds.
pub const WAKE_UP_BUCKETS: [f64; 13] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 1.0,
];

/// What stands for every route that the catalogue does not know.
const OTHER: &str = "other";

/// The statuses that have a series of their own. Any other is `_OTHER`, as in OpenTelemetry: what a server sends must not make series.
const STATUSES: [(u16, &str); 14] = [
    (200, "200"),
    (400, "400"),
    (401, "401"),
    (402, "402"),
    (403, "403"),
    (404, "404"),
    (409, "409"),
    (422, "422"),
    (424, "424"),
    (429, "429"),
    (500, "500"),
    (502, "502"),
    (503, "503"),
    (504, "504"),
];

/// Where no answer came. The last one stands for all others.
const ERRORS: [&str; 9] = [
    "connect_error",
    "tls_error",
    "connection_error",
    "attempt_timeout",
    "timeout",
    "body_too_large",
    "shutdown",
    "credential_error",
    OTHER,
];

/// How requests end, as the label `outcome` says it. `unknown` is a failure or timeout of which nobody knows whether it was carried out.
const OUTCOMES: [&str; 5] = ["completed", "failed", "timeout", "cancelled", "unknown"];

/// Counts and measures requests and scripts, for [`InflightBuilder::metrics`](crate::InflightBuilder::metrics); an [`Observer`], too, for
/// a registry without scripts.
///
/// Labels are names and route templates from the catalogue, never ids, keys or messages, so that there is a bounded number of series.
/// A series appears with its first event. Its handle is kept, so that an event formats no text and takes no lock.
pub struct Metrics {
    target: Target,
    /// The routes, by operation and method.
    index: HashMap<(&'static str, Method), usize>,
    routes: Box<[(Label, OnceLock<Box<Route>>)]>,
    queue_wait: [Histogram; 3],
    limiter_wait: Histogram,
    retries: [Counter; RetryReason::ALL.len()],
    rate_limited: [Counter; Throttle::ALL.len() + 1],
    replays: Counter,
    unknown: Gauge,
    in_flight: Gauge,
    waiting: Gauge,
    queue_depth: [Gauge; 3],
    fibers_live: Gauge,
    fibers_queued: Gauge,
    preemptions: Counter,
    wake_ups: Histogram,
    /// Well ended, and by what ended them.
    script_runs: (Counter, [Counter; ScriptErrorKind::ALL.len()]),
}

/// A method and a route template.
#[derive(Debug, Clone, Copy)]
struct Label {
    method: &'static str,
    route: &'static str,
}

/// The series of one route.
struct Route {
    ended: [OnceLock<(Counter, Histogram)>; OUTCOMES.len()],
    attempts: [OnceLock<Histogram>; STATUSES.len() + 1 + ERRORS.len()],
}

/// Where series are registered. `None` is what the host has installed for the whole process.
type Target = Option<Arc<dyn Recorder + Send + Sync>>;

fn within<T>(target: &Target, register: impl FnOnce() -> T) -> T {
    match target {
        Some(recorder) => metrics::with_local_recorder(&**recorder, register),
        None => register(),
    }
}

impl Metrics {
    /// Metrics for the recorder that is installed for the whole process. Install it first: a series stays with the recorder that it
    /// began with.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::build(None)
    }

    /// Metrics for this recorder, whatever is installed.
    #[must_use]
    pub fn with_recorder(recorder: Arc<dyn Recorder + Send + Sync>) -> Arc<Self> {
        Self::build(Some(recorder))
    }

    fn build(target: Target) -> Arc<Self> {
        let mut index = HashMap::new();
        let mut routes = Vec::new();
        let mut add = |names: &[&'static str], method: Method, route| {
            for name in names.iter().filter(|name| !name.is_empty()) {
                index.insert((*name, method), routes.len());
            }
            let label = Label {
                method: method.as_str(),
                route,
            };
            routes.push((label, OnceLock::new()));
        };
        for method in METHODS {
            add(&[OTHER], method, OTHER);
        }
        let known = operations().chain(unnamed());
        known.for_each(|operation: &'static Operation| {
            add(&[operation.name, operation.path], operation.method, operation.path);
        });
        let metrics = within(&target, || {
            describe();
            Self {
                queue_wait: Priority::ALL
                    .map(|priority| histogram!("stripe_queue_wait_seconds", "priority" => priority.as_str())),
                limiter_wait: histogram!("stripe_limiter_wait_seconds"),
                retries: RetryReason::ALL.map(|reason| counter!("stripe_retries_total", "reason" => reason.as_str())),
                rate_limited: rate_limits().map(|reason| counter!("stripe_rate_limited_total", "reason" => reason)),
                replays: counter!("stripe_idempotent_replays_total"),
                unknown: gauge!("stripe_unknown_outcomes"),
                in_flight: gauge!("stripe_inflight"),
                waiting: gauge!("stripe_waiting"),
                queue_depth: Priority::ALL
                    .map(|priority| gauge!("stripe_queue_depth", "priority" => priority.as_str())),
                fibers_live: gauge!("inflight_fibers", "state" => "live"),
                fibers_queued: gauge!("inflight_fibers", "state" => "queued"),
                preemptions: counter!("inflight_preemptions_total"),
                wake_ups: histogram!("inflight_wakeup_seconds"),
                script_runs: (
                    script_runs("ok"),
                    ScriptErrorKind::ALL.map(|kind| script_runs(kind.as_str())),
                ),
                index,
                routes: routes.into(),
                target: target.clone(),
            }
        });
        Arc::new(metrics)
    }

    /// Takes down what is true now rather than happens: call it before the recorder is read. It reads a few counters and waits for
    /// nothing.
    pub fn refresh(&self, registry: &Registry) {
        self.in_flight.set(registry.in_flight() as f64);
        self.waiting.set(registry.waiting() as f64);
        let fibers = inflight_rhai::fiber_counts();
        self.fibers_live.set(fibers.live as f64);
        self.fibers_queued.set(fibers.queued as f64);
        self.preemptions.absolute(fibers.preemptions);
        for (gauge, depth) in self.queue_depth.iter().zip(registry.queue_depth()) {
            gauge.set(depth as f64);
        }
    }

    /// Who is told how long a script took to run on: for the [`Locals`](inflight_rhai::Locals) of a fiber that the host makes itself.
    /// [`run_script`](crate::run_script) does it for its own.
    #[must_use]
    pub fn wake_ups(&self) -> WakeUps {
        let wake_ups = self.wake_ups.clone();
        WakeUps::new(move |latency| wake_ups.record(latency))
    }

    /// Counts a script that ended, by what ended it; `None` where it ended well. For a script that was never started:
    /// [`run_script`](crate::run_script) counts its own.
    pub fn script_ended(&self, error: Option<ScriptErrorKind>) {
        let (ok, by_kind) = &self.script_runs;
        let failed = error.and_then(|error| ScriptErrorKind::ALL.iter().position(|kind| *kind == error));
        failed.map_or(ok, |at| &by_kind[at]).increment(1);
    }

    fn route(&self, operation: &str, method: Method) -> (Label, &Route) {
        let at = self.index.get(&(operation, method)).copied();
        let at = at
            .or_else(|| METHODS.iter().position(|known| *known == method))
            .unwrap_or(0);
        let (label, route) = &self.routes[at];
        let route = route.get_or_init(|| {
            Box::new(Route {
                ended: Default::default(),
                attempts: std::array::from_fn(|_| OnceLock::new()),
            })
        });
        (*label, route)
    }
}

fn script_runs(result: &'static str) -> Counter {
    counter!("stripe_script_runs_total", "result" => result)
}

/// Counts one run of a script however it ends: dropped before its end, as cancelled.
pub(crate) struct CountedRun {
    metrics: Arc<Metrics>,
    error: Option<ScriptErrorKind>,
}

impl CountedRun {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        let error = Some(ScriptErrorKind::Cancelled);
        Self { metrics, error }
    }

    pub(crate) fn ended(&mut self, error: Option<ScriptErrorKind>) {
        self.error = error;
    }
}

impl Drop for CountedRun {
    fn drop(&mut self) {
        self.metrics.script_ended(self.error);
    }
}

const METHODS: [Method; 5] = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];

/// The values of `reason` of rate limits: those that are learned from, and the others.
fn rate_limits() -> [&'static str; Throttle::ALL.len() + 1] {
    let mut names = [OTHER; Throttle::ALL.len() + 1];
    for (name, throttle) in names.iter_mut().zip(Throttle::ALL) {
        *name = throttle.as_str();
    }
    names
}

fn describe() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_counter!("stripe_requests_total", "Requests that ended.");
    describe_histogram!(
        "stripe_request_duration_seconds",
        Unit::Seconds,
        "Time from submission to the ending."
    );
    describe_histogram!(
        "http_client_request_duration_seconds",
        Unit::Seconds,
        "Time of one attempt."
    );
    describe_histogram!(
        "stripe_queue_wait_seconds",
        Unit::Seconds,
        "Time until an attempt began, from submission or since it was due."
    );
    describe_histogram!(
        "stripe_limiter_wait_seconds",
        Unit::Seconds,
        "Part of the wait that a lane, a server that is down or the pace caused."
    );
    describe_counter!("stripe_retries_total", "Further attempts that were decided on.");
    describe_counter!("stripe_rate_limited_total", "Attempts that were answered with 429.");
    describe_counter!(
        "stripe_idempotent_replays_total",
        "Answers that were given before, to an earlier attempt."
    );
    describe_gauge!(
        "stripe_unknown_outcomes",
        "Requests that ended with an unknown effect and have not been settled."
    );
    describe_gauge!("inflight_fibers", "Scripts and tasks of this process.");
    describe_counter!(
        "inflight_preemptions_total",
        "Times that a script that computed was stopped so that others go on."
    );
    describe_histogram!(
        "inflight_wakeup_seconds",
        Unit::Seconds,
        "Time from what a script waited for to the moment when it ran on."
    );
    describe_counter!("stripe_script_runs_total", "Scripts that ended.");
    describe_gauge!("stripe_inflight", "Requests with an attempt under way.");
    describe_gauge!("stripe_waiting", "Requests that wait for a further attempt.");
    describe_gauge!(
        "stripe_queue_depth",
        "Requests that are not sent yet or wait to be sent again."
    );
}

fn is_unknown(outcome: &Outcome) -> bool {
    matches!(outcome, Err(failure) if failure.effect == Effect::Unknown)
}

fn outcome_index(status: RequestStatus, outcome: &Outcome) -> usize {
    match status {
        _ if is_unknown(outcome) => 4,
        RequestStatus::Completed | RequestStatus::Pending => 0,
        RequestStatus::Failed => 1,
        RequestStatus::Timeout => 2,
        RequestStatus::Cancelled => 3,
    }
}

/// Which series an attempt belongs to, and the values of its labels `http_response_status_code` and `error_type`.
fn attempt_index(status: Option<u16>, error: Option<&FailureKind>) -> (usize, &'static str, &'static str) {
    if let Some(status) = status {
        let known = STATUSES.iter().position(|(known, _)| *known == status);
        let (at, name) = known.map_or((STATUSES.len(), "_OTHER"), |at| (at, STATUSES[at].1));
        // As OpenTelemetry has it: the type of an error that was answered is the answer's status.
        return (at, name, if (200..400).contains(&status) { "" } else { name });
    }
    let error = error.map_or(OTHER, FailureKind::as_str);
    let at = ERRORS
        .iter()
        .position(|known| *known == error)
        .unwrap_or(ERRORS.len() - 1);
    (STATUSES.len() + 1 + at, "", ERRORS[at])
}

impl Observer for Metrics {
    fn attempt_began(&self, began: &AttemptBegan<'_>) {
        let level = Priority::ALL.iter().position(|priority| *priority == began.priority);
        self.queue_wait[level.unwrap_or(1)].record(began.queued);
        self.limiter_wait.record(began.limiter_wait);
    }

    fn attempt_ended(&self, ended: &AttemptEnded<'_>) {
        let result = &ended.result;
        let (label, route) = self.route(ended.operation, ended.method);
        let (at, status, error) = attempt_index(result.status, result.error);
        let series = route.attempts[at].get_or_init(|| {
            within(&self.target, || {
                histogram!(
                    "http_client_request_duration_seconds",
                    "http_request_method" => label.method,
                    "url_template" => label.route,
                    "http_response_status_code" => status,
                    "error_type" => error,
                )
            })
        });
        series.record(ended.duration);
        if let Some((reason, _)) = result.next {
            let at = RetryReason::ALL.iter().position(|known| *known == reason);
            self.retries[at.unwrap_or(self.retries.len() - 1)].increment(1);
        }
        if result.status == Some(429) || result.throttle.is_some() {
            let at = result
                .throttle
                .and_then(|throttle| Throttle::ALL.iter().position(|known| *known == throttle));
            self.rate_limited[at.unwrap_or(Throttle::ALL.len())].increment(1);
        }
        if result.replayed {
            self.replays.increment(1);
        }
    }

    fn ended(&self, ended: &Ended<'_>) {
        if ended.left {
            return;
        }
        let (label, route) = self.route(ended.operation, ended.method);
        let at = outcome_index(ended.status, ended.outcome);
        let (count, latency) = route.ended[at].get_or_init(|| {
            let labels = [
                ("method", label.method),
                ("route", label.route),
                ("outcome", OUTCOMES[at]),
            ];
            within(&self.target, || {
                (
                    counter!("stripe_requests_total", &labels),
                    histogram!("stripe_request_duration_seconds", &labels),
                )
            })
        });
        // What ended in an earlier process was counted there, and may be in doubt still.
        if !ended.restored {
            count.increment(1);
            latency.record(ended.latency);
        }
        if is_unknown(ended.outcome) {
            self.unknown.increment(1.0);
        }
    }

    fn settled(&self, settled: &Settled<'_>) {
        if !is_unknown(settled.outcome) {
            self.unknown.decrement(1.0);
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}
