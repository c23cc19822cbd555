//! Running one script to its end: its value, and what became of the requests that it left behind.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{Counts, Journal, Kept, Priority, Registry, Session};
use inflight_rhai::{
    DefaultPriority, Limits, Locals, ModuleFolder, Output, Run, RunOptions, Script, ScriptError, ScriptErrorKind,
    value_json,
};
use inflight_stripe::redacted;
use inflight_stripe_rhai::{check_ast, reword};
use rhai::Scope;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

#[cfg(feature = "metrics")]
use crate::metrics::CountedRun;

/// How long requests that are under way may take to finish after their script was cancelled.
const FINISH_AFTER_CANCEL: Duration = Duration::from_secs(10);

/// How long a store is waited for that is asked whether what was cancelled had been sent.
const CANCELLING: Duration = Duration::from_secs(2);

/// What one run of a script is given.
#[derive(Clone, Default)]
pub struct ScriptOptions {
    /// How long the run may take in all: the script, and then the requests that it left pending. By default there is no limit.
    pub time_limit: Option<Duration>,
    /// Where `print` goes. By default standard output.
    pub output: Option<Output>,
    /// The priority of its requests that name none themselves. By default `normal`.
    pub priority: Option<Priority>,
    /// Where the run is counted, and how long the script takes to run on after each wait. By default nowhere; with
    /// [`Inflight::run`](crate::Inflight::run) where its [builder](crate::InflightBuilder::metrics) said.
    #[cfg(feature = "metrics")]
    pub metrics: Option<std::sync::Arc<crate::Metrics>>,
    /// Constants in the script's scope, such as the event that it is to handle. By default none.
    pub constants: serde_json::Map<String, serde_json::Value>,
    /// The folder that it may import modules from, it and those below it. By default it can import nothing.
    pub module_folder: Option<PathBuf>,
    /// Cancels the run.
    pub cancel: CancellationToken,
    /// The run that this is, where it can be replayed after a crash. By default it cannot.
    pub run: Option<ScriptRun>,
}

impl ScriptOptions {
    /// Makes the script a run that can be replayed after a crash: see [`ScriptRun`].
    #[must_use]
    pub fn run(mut self, run: ScriptRun) -> Self {
        self.run = Some(run);
        self
    }
}

/// A run of a script that goes on after a crash: what the script learns from outside is written to a journal, and a second run of
/// the same id, with the same script and constants, is answered from it, prints nothing again and sends nothing again until it has
/// come to where the first one was.
///
/// Made anew for each start, with what the store has kept of the run. When the [report](ScriptReport) is not
/// [resumable](ScriptReport::resumable) the run has ended, and the caller keeps its result: what has ended is not to be started again.
///
/// ```
/// use std::sync::Arc;
///
/// use inflight::core::MemoryJournal;
/// use inflight::{ScriptOptions, ScriptRun};
///
/// let journal = Arc::new(MemoryJournal::new());
/// let options = ScriptOptions::default().run(ScriptRun::new("nightly-2026-11-24", journal));
/// assert_eq!(options.run.as_ref().map(ScriptRun::id), Some("nightly-2026-11-24"));
/// ```
#[derive(Clone)]
pub struct ScriptRun {
    run: Run,
    kept: Vec<Kept>,
}

impl ScriptRun {
    /// The run of this id, with its journal.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>, journal: Arc<dyn Journal>) -> Self {
        Self {
            run: Run::new(id, journal),
            kept: Vec::new(),
        }
    }

    /// The requests that the store has kept of the run. They are made known to the script; those that have not ended are sent once
    /// [`Registry::take_in`] is called with them, which is the store's to do. By default there are none.
    #[must_use]
    pub fn kept(mut self, requests: Vec<Kept>) -> Self {
        self.kept = requests;
        self
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> &str {
        self.run.id()
    }

    /// The session that the script is to run in, for [`run_script`]. [`Inflight::run`](crate::Inflight::run) makes it by itself.
    #[must_use]
    pub fn session(&self, registry: &Registry) -> Session {
        self.run.session(registry, registry.session_limits(), self.kept.clone())
    }
}

impl fmt::Debug for ScriptRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptRun")
            .field("id", &self.id())
            .field("kept", &self.kept.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for ScriptOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptOptions")
            .field("time_limit", &self.time_limit)
            .finish_non_exhaustive()
    }
}

/// When the run is dropped before its end, what it has not sent is cancelled; what was sent goes on, since its effect may be
/// real. At a run's end nothing is left to cancel. What a replayable run has not sent stays: the next start of the run goes on
/// with it.
struct CancelOnDrop(Option<Session>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.cancel_unsent();
        }
    }
}

/// How a script ended.
#[derive(Debug)]
pub struct ScriptReport {
    /// The script's value as JSON, or why it did not end well.
    pub result: Result<serde_json::Value, ScriptError>,
    /// What its author should know and what did not fail it: requests that failed unnoticed, or that had not ended in time.
    pub warnings: Vec<String>,
    /// What became of its requests.
    pub counts: Counts,
    /// Requests that were sent and had not ended when the run's time was over.
    pub unfinished: usize,
    /// How long it took, from its start to the end of its last request.
    pub wall_time: Duration,
    /// Whether this is a [run](ScriptRun) that was stopped before its end: started again, it goes on. Its requests are as they were;
    /// nothing was cancelled.
    pub resumable: bool,
}

impl ScriptReport {
    /// The report of a script that could not be started.
    #[must_use]
    pub fn failed(error: ScriptError) -> Self {
        Self {
            result: Err(error),
            warnings: Vec::new(),
            counts: Counts::default(),
            unfinished: 0,
            wall_time: Duration::ZERO,
            resumable: false,
        }
    }
}

/// Runs a script in its session and then, also after an uncaught error, lets its pending requests finish within the time limit.
/// The session is closed at the end.
///
/// A [run](ScriptRun) that is stopped ends at once and leaves its requests as they are: the session is the one that it gives, and the
/// store has what is to be done.
pub async fn run_script(script: &Script, session: Session, options: ScriptOptions) -> ScriptReport {
    let ending = Ending::of(session.clone());
    let is_run = options.run.is_some();
    let _dropped = CancelOnDrop((!is_run).then(|| session.clone()));
    let mut locals = Locals::for_session(session.clone());
    #[cfg(feature = "metrics")]
    let mut counted = options.metrics.map(|metrics| {
        locals.set(metrics.wake_ups());
        CountedRun::new(metrics)
    });
    if let Some(folder) = options.module_folder {
        locals.set(ModuleFolder::new(folder));
    }
    if let Some(priority) = options.priority {
        locals.set(DefaultPriority(priority));
    }
    if let Some(run) = options.run {
        locals.set(run.run);
    }
    if let Some(output) = options.output {
        locals = locals.with_output(output);
    }
    let limits = Limits {
        wall_time: options.time_limit,
        ..Limits::default()
    };
    let mut scope = Scope::new();
    for (name, value) in options.constants {
        scope.push_constant_dynamic(name, inflight_rhai::from_json(value));
    }
    let mut fiber = script.run_then(RunOptions::new(locals).limits(limits), scope, |engine, value| {
        Ok(value_json(engine, &value))
    });
    let result = if options.cancel.is_cancelled() {
        // It was cancelled before it began: nothing of it runs.
        Err(ScriptError::cancelled())
    } else {
        tokio::select! {
            biased;
            result = &mut fiber => result,
            () = options.cancel.cancelled() => Err(ScriptError::cancelled()),
        }
    };
    let result = result.map_err(|error| without_secrets(located(script, error)));
    let warnings = fiber.take_warnings();
    // Stopped where it is, if it has not ended.
    drop(fiber);
    let stopped = result
        .as_ref()
        .err()
        .map(ScriptError::kind)
        .filter(|kind| stops_a_run(*kind));
    let cancelled = stopped == Some(ScriptErrorKind::Cancelled);
    let limit = if cancelled {
        Some(FINISH_AFTER_CANCEL)
    } else {
        options
            .time_limit
            .map(|limit| limit.saturating_sub(ending.started.elapsed()))
    };
    if cancelled && !is_run {
        session.cancel_unsent();
    }
    let finished = match (is_run, stopped) {
        (true, Some(_)) => None,
        (true, None) => finish_run(&session, limit, &options.cancel).await,
        (false, _) => Some(finish_requests(&session, limit, &options.cancel).await),
    };
    let report = ending.report(result, warnings, finished);
    #[cfg(feature = "metrics")]
    if let Some(counted) = &mut counted {
        counted.ended(report.result.as_ref().err().map(ScriptError::kind));
    }
    report
}

/// What is told of a script when it has ended, however that came.
pub(crate) struct Ending {
    session: Session,
    started: Instant,
}

impl Ending {
    /// For a script that begins now.
    pub(crate) fn of(session: Session) -> Self {
        let started = Instant::now();
        Self { session, started }
    }

    /// The report of a script that was ended from outside, with the thread that it ran on.
    pub(crate) fn stopped(self, error: ScriptError, is_run: bool) -> ScriptReport {
        let goes_on = is_run && stops_a_run(error.kind());
        let finished = (!goes_on).then(|| self.session.pending());
        self.report(Err(error), Vec::new(), finished)
    }

    /// The report. `finished` is how many requests had not ended when the script's time was over; `None` of a run that goes on later.
    fn report(
        self,
        result: Result<serde_json::Value, ScriptError>,
        mut warnings: Vec<String>,
        finished: Option<usize>,
    ) -> ScriptReport {
        let session = &self.session;
        // What a run leaves behind that goes on later is nobody's news.
        if let Some(unfinished) = finished {
            warnings.extend(unobserved_failures(session));
            warnings.extend(unfinished_requests(unfinished));
        }
        // A script may have thrown anything.
        let warnings = warnings.iter().map(|warning| redacted(warning).into_owned());
        let report = ScriptReport {
            result,
            warnings: warnings.collect(),
            counts: session.counts(),
            unfinished: finished.unwrap_or_else(|| session.pending()),
            wall_time: self.started.elapsed(),
            resumable: finished.is_none(),
        };
        session.close();
        report
    }
}

/// Whether an error of this kind is no end of a run: what a crash at the same moment would have left, the next start finds too.
fn stops_a_run(kind: ScriptErrorKind) -> bool {
    use ScriptErrorKind as Kind;
    matches!(
        kind,
        Kind::Cancelled | Kind::ReplayDiverged | Kind::Store | Kind::Admission
    )
}

/// A script may have thrown an object with its client secret, or a key.
fn without_secrets(error: ScriptError) -> ScriptError {
    match redacted(error.message()).into_owned() {
        shown if shown == error.message() => error,
        shown => error.reworded(&shown),
    }
}

/// The error in better words, where Rhai's say little, and with its place, where Rhai does not say it: a name that does not exist is
/// found in the script's text.
fn located(script: &Script, error: ScriptError) -> ScriptError {
    let error = match reword(error.message()) {
        Some(message) => error.reworded(&message),
        None => error,
    };
    if error.position().is_some() || error.kind() != ScriptErrorKind::Runtime {
        return error;
    }
    let findings = check_ast(script.engine().engine(), script.ast());
    let place = findings.iter().find(|found| error.message().ends_with(&found.message));
    match place {
        Some(found) => error.at_line(found.line, found.column),
        None => error,
    }
}

/// Waits for the session's pending requests; what is not sent by then is cancelled. Gives how many had not ended.
async fn finish_requests(session: &Session, limit: Option<Duration>, cancel: &CancellationToken) -> usize {
    let drained = async {
        tokio::select! {
            () = session.drained() => {}
            () = cancel.cancelled() => {
                session.cancel_unsent();
                // In flight is in flight: the effect may be real, so it may finish.
                let _ = tokio::time::timeout(FINISH_AFTER_CANCEL, session.drained()).await;
            }
        }
    };
    match limit {
        None => drained.await,
        Some(limit) => {
            // The time being over, what was never sent is cancelled.
            let _ = tokio::time::timeout(limit, drained).await;
        }
    }
    session.cancel_unsent();
    // Where processes share a store, it is asked whether they were sent.
    let _ = tokio::time::timeout(CANCELLING, async {
        for id in session.being_cancelled() {
            if let Some(ending) = session.wait_async(id) {
                ending.await;
            }
        }
    })
    .await;
    session.pending()
}

/// As [`finish_requests`], for a run. `None` where it was cancelled: then nothing is cancelled.
async fn finish_run(session: &Session, limit: Option<Duration>, cancel: &CancellationToken) -> Option<usize> {
    let not_cancelled = CancellationToken::new();
    tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        unfinished = finish_requests(session, limit, &not_cancelled) => Some(unfinished),
    }
}

fn unfinished_requests(unfinished: usize) -> Option<String> {
    let requests = match unfinished {
        0 => return None,
        1 => "1 request was".to_owned(),
        several => format!("{several} requests were"),
    };
    Some(format!(
        "{requests} still under way when the script's time was over: what became of them is unknown"
    ))
}

fn unobserved_failures(session: &Session) -> Vec<String> {
    let failures = session.unobserved_failures().into_iter();
    failures
        .filter_map(|(_, operation, outcome)| {
            let failure = outcome.as_ref().as_ref().err()?;
            Some(format!("{operation} failed and nobody looked: {failure}"))
        })
        .collect()
}
