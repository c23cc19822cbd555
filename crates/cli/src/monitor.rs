//! What a run knows of itself: fed by the registry and the worker, read by the page, the report and the JSON.

mod failures;
mod fleet;
mod requests;
mod scripts;
mod series;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use inflight::core::{
    AttemptBegan, AttemptEnded, Effect, Ended, Failure, FailureKind, Observer, Registry, RequestId, RequestStatus,
    Session, Settled, State, Submitted, Throttle,
};
use inflight::stripe::redacted;
use serde::Serialize;

use crate::duration::milliseconds;
use crate::text::one_line;
use failures::{Failures, Group, Key, Named};
pub(crate) use fleet::Fleet;
pub(crate) use requests::Request;
use requests::{Ending, Line, New, Requests};
use scripts::Scripts;
use series::{Gauges, Point, Series};

/// How many of the last points a client of the page is sent each time: it has the earlier ones.
const POINTS_EACH: usize = 40;

/// A limit that an answer 429 does not name, as the metrics call it.
const OTHER_LIMIT: &str = "other";

/// A request whose script is not known is shown under this name.
const NO_SCRIPT: &str = "-";

/// Everything about a run, bounded however large it is.
pub(crate) struct Monitor {
    started: Instant,
    target: String,
    state: Mutex<Known>,
}

struct Known {
    requests: Requests,
    scripts: Scripts,
    failures: Failures,
    series: Series,
    retries: BTreeMap<&'static str, u64>,
    rate_limited: BTreeMap<&'static str, u64>,
    replays: u64,
    unknown: u64,
    no_script: Arc<str>,
}

/// A run at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    version: &'static str,
    target: String,
    now_ms: f64,
    is_paused: bool,
    has_ended: bool,
    scripts: scripts::Counts,
    requests: Counts,
    latency: Latency,
    step_ms: u64,
    points: Vec<Point>,
    retries: BTreeMap<&'static str, u64>,
    rate_limited: BTreeMap<&'static str, u64>,
    failures: Vec<Group>,
    script_lines: Vec<scripts::Line>,
    pending: Vec<Line>,
    ended: Vec<Line>,
    failed: Vec<Line>,
    /// Of a store.
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<fleet::Shown>,
}

#[derive(Debug, Serialize)]
struct Counts {
    submitted: u64,
    completed: u64,
    failed: u64,
    timeout: u64,
    cancelled: u64,
    retries: u64,
    pending: usize,
    in_flight: usize,
    waiting: usize,
    /// By priority, the most urgent first.
    queued: [usize; 3],
    replays: u64,
    /// Ended, and nobody knows whether they were carried out.
    unknown: u64,
}

#[derive(Debug, Serialize)]
struct Latency {
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

/// A run that has ended, with the requests that its lists name.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    #[serde(flatten)]
    snapshot: Snapshot,
    details: Vec<Request>,
}

/// How much of the past a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Past {
    /// What a page that is open needs.
    Recent,
    All,
}

impl Past {
    fn points(self) -> usize {
        match self {
            Self::Recent => POINTS_EACH,
            Self::All => usize::MAX,
        }
    }
}

impl Latency {
    fn of(latencies: &Histogram<u64>) -> Self {
        let quantile = |q| latencies.value_at_quantile(q) as f64 / 1e3;
        Self {
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: latencies.max() as f64 / 1e3,
        }
    }
}

impl Monitor {
    /// Of a run of so many scripts.
    pub(crate) fn new(scripts: usize, target: String) -> Self {
        Self {
            started: Instant::now(),
            target,
            state: Mutex::new(Known {
                requests: Requests::default(),
                scripts: Scripts::new(scripts),
                failures: Failures::default(),
                series: Series::new(),
                retries: BTreeMap::new(),
                rate_limited: BTreeMap::new(),
                replays: 0,
                unknown: 0,
                no_script: NO_SCRIPT.into(),
            }),
        }
    }

    pub(crate) fn script_began(&self, name: &str, session: &Session) {
        let now = self.now();
        self.state().scripts.began(name.into(), session.clone(), now);
    }

    /// The script of this session ended; without a session, it could not be started.
    pub(crate) fn script_ended(&self, name: &str, session: Option<u64>, error: Option<&str>) {
        let now = self.now();
        let error = error.map(shown);
        self.state().scripts.ended(name, session, error, now);
    }

    /// Notes how things stand, if it is time to. `close` does so in any case.
    pub(crate) fn sample(&self, registry: &Registry, close: bool) {
        let now = self.now();
        let mut state = self.state();
        let gauges = Gauges {
            in_flight: registry.in_flight(),
            queued: registry.queue_depth(),
            waiting: registry.waiting(),
            scripts: state.scripts.counts().live,
        };
        state.series.sample(gauges, now, close);
    }

    /// How long requests took, in microseconds.
    pub(crate) fn latencies(&self) -> Histogram<u64> {
        self.state().series.latencies().clone()
    }

    /// One request with its attempts, if it is still known.
    pub(crate) fn request(&self, id: RequestId) -> Option<Request> {
        self.state().requests.find(id)
    }

    pub(crate) fn snapshot(&self, registry: &Registry, is_paused: bool, has_ended: bool, past: Past) -> Snapshot {
        let counts = registry.counts();
        let now_ms = milliseconds(self.now());
        let state = self.state();
        let (ended, failed) = state.requests.ended_lines();
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            target: self.target.clone(),
            now_ms,
            is_paused,
            has_ended,
            scripts: state.scripts.counts(),
            requests: Counts {
                submitted: counts.submitted,
                completed: counts.completed,
                failed: counts.failed,
                timeout: counts.timeout,
                cancelled: counts.cancelled,
                retries: counts.retries,
                pending: registry.len(),
                in_flight: registry.in_flight(),
                waiting: registry.waiting(),
                queued: registry.queue_depth(),
                replays: state.replays,
                unknown: state.unknown,
            },
            latency: Latency::of(state.series.latencies()),
            step_ms: state.series.step_ms(),
            points: state.series.last(past.points()),
            retries: state.retries.clone(),
            rate_limited: state.rate_limited.clone(),
            failures: state.failures.groups(),
            script_lines: state.scripts.lines(),
            pending: state.requests.pending_lines(),
            ended,
            failed,
            fleet: None,
        }
    }

    /// A run that has ended, for its report.
    pub(crate) fn record(&self, registry: &Registry) -> Record {
        let snapshot = self.snapshot(registry, false, true, Past::All);
        let details = self.state().requests.listed();
        Record { snapshot, details }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Monitor {
    fn submitted(&self, submitted: &Submitted<'_>) {
        let now = self.now();
        let mut state = self.state();
        let script = state.scripts.name(submitted.session);
        let script = script.unwrap_or_else(|| Arc::clone(&state.no_script));
        let new = New {
            id: submitted.id,
            operation: submitted.operation,
            method: submitted.method,
            priority: submitted.priority,
            script,
        };
        state.requests.submitted(new, now);
    }

    fn attempt_began(&self, began: &AttemptBegan<'_>) {
        let now = self.now();
        self.state().requests.attempt_began(began.id, began.attempt, now);
    }

    fn attempt_ended(&self, ended: &AttemptEnded<'_>) {
        let result = &ended.result;
        let next = result.next.map(|(reason, pause)| (reason.as_str(), pause));
        let state = &mut *self.state();
        if let Some((reason, _)) = next {
            *state.retries.entry(reason).or_default() += 1;
            state.series.retried();
        }
        if result.throttle.is_some() || result.status == Some(429) {
            let limit = result.throttle.map_or(OTHER_LIMIT, Throttle::as_str);
            *state.rate_limited.entry(limit).or_default() += 1;
            state.series.rate_limited();
        }
        state.replays += u64::from(result.replayed);
        if let Some(attempt) = state.requests.attempt_ended(ended.id, next.is_some()) {
            attempt.duration_ms = Some(milliseconds(ended.duration));
            attempt.status = result.status;
            attempt.error = result.error.map(|kind| shown(kind.as_str()));
            attempt.request_id = result.server_request_id.map(shown);
            attempt.replayed = result.replayed;
            attempt.retry = next.map(|(reason, _)| reason);
            attempt.pause_ms = next.map(|(_, pause)| milliseconds(pause));
        }
    }

    fn settled(&self, settled: &Settled<'_>) {
        let is_unknown = |state| matches!(state, State::Failed(Effect::Unknown) | State::Timeout(Effect::Unknown));
        if is_unknown(settled.before) && !is_unknown(settled.after) {
            let state = &mut *self.state();
            state.unknown = state.unknown.saturating_sub(1);
        }
    }

    fn ended(&self, ended: &Ended<'_>) {
        if ended.left {
            return;
        }
        let failure = ended.outcome.as_ref().err();
        let status = ended.status.as_str();
        // What the end of the run abandoned says nothing about the server.
        let abandoned = failure.is_some_and(|failure| failure.kind == FailureKind::Shutdown);
        let measured = ended.status != RequestStatus::Cancelled && !abandoned;
        let seen = failure.map(seen);
        let ending = Ending {
            status,
            latency_ms: milliseconds(ended.latency),
            object: ended
                .outcome
                .as_ref()
                .ok()
                .and_then(|success| success.object_id.as_deref().map(shown)),
            failure: seen.clone(),
        };
        let state = &mut *self.state();
        if !ended.restored {
            state.series.ended(failure.is_none(), measured.then_some(ended.latency));
        }
        state.requests.ended(ended.id, ending);
        let Some(failure) = seen else { return };
        state.unknown += u64::from(failure.effect == Effect::Unknown.as_str());
        if ended.status == RequestStatus::Cancelled {
            return;
        }
        let named = Named {
            id: ended.id,
            operation: state.requests.name(ended.operation),
            request_id: failure.request_id,
        };
        let key = Key {
            kind: failure.kind,
            code: failure.code,
            effect: failure.effect,
        };
        state.failures.add(key, &failure.message, named);
    }
}

/// What is shown of a failure.
fn seen(failure: &Failure) -> requests::Failure {
    requests::Failure {
        kind: shown(failure.kind.as_str()),
        code: failure.code.as_deref().map(shown),
        effect: failure.effect.as_str(),
        needs_reconcile: failure.needs_reconcile,
        message: shown(&failure.message),
        request_id: failure.request_id.as_deref().map(shown),
    }
}

/// A text from a script or a server, fit to be shown: bounded, and without secrets.
fn shown(text: &str) -> Box<str> {
    one_line(&redacted(text)).into()
}
