//! Running one script to its end: its value, and what became of the requests that it left behind.

use std::path::PathBuf;
use std::time::Duration;

use inflight_core::{Counts, Priority, Session};
use inflight_rhai::{
    DefaultPriority, Limits, Locals, ModuleFolder, Output, RunOptions, Script, ScriptError, ScriptErrorKind, value_json,
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
}

impl std::fmt::Debug for ScriptOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScriptOptions")
            .field("time_limit", &self.time_limit)
            .finish_non_exhaustive()
    }
}

/// When the run is dropped before its end, what it has not sent is called back; what was sent goes on, since its effect may be
/// real. At a run's end nothing is left to call back.
struct CancelOnDrop(Session);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel_unsent();
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
        }
    }
}

/// Runs a script in its session and then, also after an uncaught error, lets its pending requests finish within the time limit.
/// The session is closed at the end.
pub async fn run_script(script: &Script, session: Session, options: ScriptOptions) -> ScriptReport {
    let started = Instant::now();
    let _dropped = CancelOnDrop(session.clone());
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
    let result = tokio::select! {
        biased;
        result = &mut fiber => result,
        () = options.cancel.cancelled() => Err(ScriptError::cancelled()),
    };
    let result = result.map_err(|error| without_secrets(located(script, error)));
    let mut warnings = fiber.take_warnings();
    // Stopped where it is, if it has not ended.
    drop(fiber);
    let cancelled = matches!(&result, Err(error) if error.kind() == ScriptErrorKind::Cancelled);
    let limit = if cancelled {
        Some(FINISH_AFTER_CANCEL)
    } else {
        options.time_limit.map(|limit| limit.saturating_sub(started.elapsed()))
    };
    if cancelled {
        session.cancel_unsent();
    }
    let unfinished = finish_requests(&session, limit, &options.cancel).await;
    warnings.extend(unobserved_failures(&session));
    if unfinished > 0 {
        let requests = if unfinished == 1 {
            "1 request was"
        } else {
            &format!("{unfinished} requests were")
        };
        warnings.push(format!(
            "{requests} sent and had not been answered when the script's time was over: what became of them is unknown"
        ));
    }
    // A script may have thrown anything.
    let warnings = warnings.iter().map(|warning| redacted(warning).into_owned());
    let report = ScriptReport {
        result,
        warnings: warnings.collect(),
        counts: session.counts(),
        unfinished,
        wall_time: started.elapsed(),
    };
    session.close();
    #[cfg(feature = "metrics")]
    if let Some(counted) = &mut counted {
        counted.ended(report.result.as_ref().err().map(ScriptError::kind));
    }
    report
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
            // The time being over, what was never sent is called back.
            let _ = tokio::time::timeout(limit, drained).await;
        }
    }
    session.cancel_unsent();
    session.pending()
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
