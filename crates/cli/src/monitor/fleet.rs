//! What a store knows of all processes that work on it, as the page shows it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inflight::core::{Method, RequestId};
use inflight::store::{Overview, RequestRow, RunRow, RunState, Total};
use serde::Serialize;

use super::failures::{Group, Named};
use super::requests::{Failure, State};
use super::series::{Gauges, Series};
use super::{Counts, Ending, Latency, Line, NO_SCRIPT, Past, Request, Snapshot, scripts, shown};

/// A store that is looked at again and again.
pub(crate) struct Fleet {
    target: String,
    state: Mutex<Seen>,
}

struct Seen {
    /// What the last look has found, and when the first one was: milliseconds since 1970, by the store's clock.
    last: Option<Overview>,
    origin: i64,
    series: Series,
    /// The end of each process's lease, and when it was seen to move.
    heard: HashMap<String, (Option<i64>, i64)>,
    /// Why the last look has found nothing.
    trouble: Option<String>,
}

/// What the page of a store shows beyond that of a run.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    accounts: Vec<Account>,
    processes: Vec<Process>,
    trouble: Option<String>,
}

#[derive(Debug, Default, Serialize)]
struct Account {
    name: String,
    mode: String,
    pending: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    unknown: u64,
}

#[derive(Debug, Serialize)]
struct Process {
    id: String,
    requests: u64,
    sent: u64,
    runs: u64,
    /// How much of its lease is left; less than nothing when it is over. `None` where there are no leases.
    lease_ms: Option<i64>,
    /// How long ago the lease was seen to be renewed.
    heard_ms: Option<i64>,
}

impl Fleet {
    pub(crate) fn new(target: String) -> Self {
        Self {
            target,
            state: Mutex::new(Seen {
                last: None,
                origin: 0,
                series: Series::new(),
                heard: HashMap::new(),
                trouble: None,
            }),
        }
    }

    /// Takes in what a look has found.
    pub(crate) fn looked(&self, overview: Overview) {
        let state = &mut *self.state();
        if state.last.is_none() {
            state.origin = overview.now;
        }
        for ended in &overview.ended {
            // One that was never sent says nothing of how long requests take.
            let took = (ended.attempts > 0).then(|| Duration::from_millis(ended.took_ms));
            state.series.ended(ended.is_completed, took);
            (1..ended.attempts).for_each(|_| state.series.retried());
        }
        let gauges = Gauges {
            in_flight: size(overview.in_flight),
            queued: overview.queued.map(size),
            waiting: size(overview.waiting),
            scripts: run_counts(&overview).live,
        };
        let elapsed = u64::try_from(overview.now - state.origin).unwrap_or(0);
        state.series.sample(gauges, Duration::from_millis(elapsed), false);
        let before = std::mem::take(&mut state.heard);
        for process in &overview.processes {
            let known = before
                .get(&process.id)
                .filter(|(lease, _)| *lease == process.lease_until);
            let at = known.map_or(overview.now, |(_, at)| *at);
            state.heard.insert(process.id.clone(), (process.lease_until, at));
        }
        state.trouble = None;
        state.last = Some(overview);
    }

    /// The store has given no answer.
    pub(crate) fn away(&self, error: &str) {
        self.state().trouble = Some(shown(error).into());
    }

    /// One of the requests that are listed.
    pub(crate) fn request(&self, id: RequestId) -> Option<Request> {
        let state = self.state();
        let last = state.last.as_ref()?;
        let mut listed = [&last.pending, &last.failed, &last.completed].into_iter().flatten();
        let wanted = id.to_string();
        request(listed.find(|row| row.id == wanted)?, state.origin)
    }

    pub(crate) fn snapshot(&self, has_ended: bool, past: Past) -> Snapshot {
        let state = self.state();
        let last = state.last.as_ref();
        let sum = |which: &dyn Fn(&Total) -> bool, what: fn(&Total) -> u64| -> u64 {
            let totals = last.into_iter().flat_map(|last| &last.totals);
            totals.filter(|total| which(total)).map(what).sum()
        };
        let of_state = |name: &str| sum(&|total| total.state == name, |total| total.requests);
        let lines = |rows: fn(&Overview) -> &Vec<RequestRow>| -> Vec<Line> {
            let rows = last.into_iter().flat_map(rows);
            rows.filter_map(|row| Some(Line::of(&request(row, state.origin)?)))
                .collect()
        };
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            target: self.target.clone(),
            now_ms: last.map_or(0.0, |last| since(last.now, state.origin)),
            is_paused: false,
            has_ended,
            scripts: last.map(run_counts).unwrap_or_default(),
            requests: Counts {
                submitted: sum(&|_| true, |total| total.requests),
                completed: of_state("completed"),
                failed: of_state("failed"),
                timeout: of_state("timeout"),
                cancelled: of_state("cancelled"),
                retries: sum(&|_| true, |total| total.retries),
                pending: size(of_state("queued") + of_state("sent")),
                in_flight: last.map_or(0, |last| size(last.in_flight)),
                waiting: last.map_or(0, |last| size(last.waiting)),
                queued: last.map_or([0; 3], |last| last.queued.map(size)),
                replays: sum(&|_| true, |total| total.replays),
                unknown: sum(&|total| total.effect == "unknown", |total| total.requests),
            },
            latency: Latency::of(state.series.latencies()),
            step_ms: state.series.step_ms(),
            points: state.series.last(past.points()),
            retries: BTreeMap::new(),
            rate_limited: BTreeMap::new(),
            failures: last.map(failures).unwrap_or_default(),
            script_lines: last.map(|last| run_lines(last, state.origin)).unwrap_or_default(),
            pending: lines(|last| &last.pending),
            ended: lines(|last| &last.completed),
            failed: lines(|last| &last.failed),
            fleet: Some(Shown {
                accounts: last.map(accounts).unwrap_or_default(),
                processes: last.map(|last| state.processes(last)).unwrap_or_default(),
                trouble: state.trouble.clone(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, Seen> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn processes(&self, last: &Overview) -> Vec<Process> {
        let process = |row: &inflight::store::ProcessRow| Process {
            id: row.id.clone(),
            requests: row.requests,
            sent: row.sent,
            runs: row.runs,
            lease_ms: row.lease_until.map(|until| until - last.now),
            heard_ms: row
                .lease_until
                .and(self.heard.get(&row.id))
                .map(|(_, at)| last.now - at),
        };
        last.processes.iter().map(process).collect()
    }
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A moment on the page: milliseconds since its first one, less than nothing for what was before.
fn since(moment: i64, origin: i64) -> f64 {
    (moment - origin) as f64
}

/// The one of these names that a text of the store is.
fn name_of(names: &[&'static str], text: &str) -> &'static str {
    names.iter().copied().find(|name| *name == text).unwrap_or("other")
}

fn effect_of(text: &str) -> &'static str {
    name_of(&["none", "done", "unknown"], text)
}

fn request(row: &RequestRow, origin: i64) -> Option<Request> {
    let methods = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete].map(Method::as_str);
    let request_id = row.server_request_id.as_deref().map(shown);
    let ending = row.ended_at.map(|at| Ending {
        status: name_of(&["completed", "failed", "timeout", "cancelled"], &row.state),
        latency_ms: since(at, row.created_at),
        object: None,
        failure: row.error.as_deref().map(|kind| Failure {
            kind: shown(kind),
            code: None,
            effect: effect_of(row.effect.as_deref().unwrap_or_default()),
            needs_reconcile: row.effect.as_deref() == Some("unknown"),
            message: Box::default(),
            request_id,
        }),
    });
    let state = match (&ending, row.state.as_str()) {
        (Some(_), _) => State::Ended,
        (None, "queued") => State::Queued,
        (None, _) if row.owner.is_none() => State::Waiting,
        (None, _) => State::Sent,
    };
    Some(Request {
        id: row.id.parse().ok()?,
        operation: (*shown(&row.operation)).into(),
        method: name_of(&methods, &row.method),
        priority: row.priority,
        script: (*shown(row.run.as_deref().unwrap_or(NO_SCRIPT))).into(),
        submitted_ms: since(row.created_at, origin),
        state,
        attempts_made: u32::try_from(row.attempts).unwrap_or(u32::MAX),
        attempts: VecDeque::new(),
        ending,
    })
}

fn accounts(last: &Overview) -> Vec<Account> {
    let mut accounts: BTreeMap<(&str, &str), Account> = BTreeMap::new();
    for total in &last.totals {
        let account = accounts.entry((&total.account, &total.mode)).or_default();
        account.name = shown(&total.account).into();
        account.mode = shown(&total.mode).into();
        let count = match total.state.as_str() {
            "queued" | "sent" => &mut account.pending,
            "completed" => &mut account.completed,
            "cancelled" => &mut account.cancelled,
            _ => &mut account.failed,
        };
        *count += total.requests;
        if total.effect == "unknown" {
            account.unknown += total.requests;
        }
    }
    accounts.into_values().collect()
}

/// What failed by kind and effect, the most first, with the last requests of each.
fn failures(last: &Overview) -> Vec<Group> {
    let mut groups: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let failed = last
        .totals
        .iter()
        .filter(|total| matches!(total.state.as_str(), "failed" | "timeout"));
    for total in failed {
        *groups.entry((&total.error, &total.effect)).or_default() += total.requests;
    }
    let group = |((error, effect), count): (_, u64)| Group {
        kind: shown(error),
        code: None,
        effect: effect_of(effect),
        count,
        message: Box::default(),
        last: named(last, error, effect),
    };
    let mut groups: Vec<Group> = groups.into_iter().map(group).collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.count));
    groups
}

/// The listed requests that failed so.
fn named(last: &Overview, error: &str, effect: &str) -> VecDeque<Named> {
    let so = |row: &&RequestRow| row.error.as_deref() == Some(error) && row.effect.as_deref() == Some(effect);
    let named = |row: &RequestRow| {
        Some(Named {
            id: row.id.parse().ok()?,
            operation: (*shown(&row.operation)).into(),
            request_id: row.server_request_id.as_deref().map(shown),
        })
    };
    last.failed.iter().filter(so).filter_map(named).collect()
}

fn run_counts(last: &Overview) -> scripts::Counts {
    let of = |state: RunState| {
        let mut counts = last.run_counts.iter();
        counts
            .find(|(name, _)| name == state.as_str())
            .map_or(0, |(_, count)| size(*count))
    };
    let (ok, live) = (of(RunState::Completed), of(RunState::Running));
    let failed = of(RunState::Failed) + of(RunState::Cancelled);
    scripts::Counts {
        total: ok + live + failed,
        live,
        ok,
        failed,
    }
}

fn run_lines(last: &Overview, origin: i64) -> Vec<scripts::Line> {
    let line = |run: &RunRow| scripts::Line {
        name: (*shown(&run.id)).into(),
        state: match run.state {
            RunState::Running if !run.is_alive => "interrupted",
            RunState::Completed => "ok",
            state => state.as_str(),
        },
        began_ms: since(run.begun_at, origin),
        wall_ms: run.ended_at.map(|at| since(at, run.begun_at)),
        pending: size(run.pending),
        submitted: run.requests,
        error: None,
    };
    last.runs.iter().map(line).collect()
}
