//! Requests and runs that survive the program: `--store` and `--run-id`.

use std::collections::HashSet;
use std::sync::Arc;

use inflight::core::Journal;
use inflight::rhai::{ScriptError, ScriptErrorKind};
use inflight::store::{DurableStore, OpenError, QueryError, RunStart, RunState, StoredRun};
use inflight::{ScriptReport, ScriptRun, store_options};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::args::{RunArguments, SendingArguments};
use crate::target::Target;

#[derive(Debug, thiserror::Error)]
#[error("--store {address}: {source}")]
pub(crate) struct StoreError {
    address: String,
    source: OpenError,
}

impl StoreError {
    /// What is wrong with the store at this address.
    pub(crate) fn of(url: &str, source: OpenError) -> Self {
        let address = shown(url);
        Self { address, source }
    }

    pub(crate) fn reason(&self) -> &OpenError {
        &self.source
    }
}

/// What has a meaning with a store alone was given without one.
#[derive(Debug, thiserror::Error)]
#[error("{0} needs --store, or `store` beside it in the settings' file")]
pub(crate) struct NoStore(&'static str);

/// Whether there is a store where it is needed. Not for the command line's definition to say: the store may come from the file.
///
/// # Errors
/// Where there is none.
pub(crate) fn check_store(arguments: &RunArguments) -> Result<(), NoStore> {
    match arguments {
        RunArguments { store: Some(_), .. } => Ok(()),
        RunArguments { run_id: Some(_), .. } => Err(NoStore("--run-id")),
        _ if arguments.sending.store_pace.is_some() => Err(NoStore("--store-pace")),
        _ => Ok(()),
    }
}

/// The store that the command line names, to send from.
pub(crate) fn open(
    url: Option<&str>,
    sending: &SendingArguments,
    target: &Target,
) -> Result<Option<DurableStore>, StoreError> {
    let Some(url) = url else { return Ok(None) };
    let mut options = store_options(target.mode());
    options.lease = sending.lease;
    options.pace = sending.store_pace.map(f64::from);
    options.prefetch = usize::try_from(sending.concurrency).unwrap_or(usize::MAX);
    open_store(url, options).map(Some)
}

/// Opens a store, with an error that names it without its password.
pub(crate) fn open_store(url: &str, options: inflight::store::StoreOptions) -> Result<DurableStore, StoreError> {
    DurableStore::open(url, options).map_err(|source| StoreError::of(url, source))
}

/// A store's address without what may be a password.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // Anything else may be a database's settings, with a password among them.
        let is_file = url.starts_with("sqlite:");
        return crate::text::printable(if is_file { url } else { "not an address" }).into_owned();
    };
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split('?').next().unwrap_or(rest);
    crate::text::printable(&format!("{scheme}://{rest}")).into_owned()
}

/// Where the runs of one start are kept.
#[derive(Clone)]
pub(crate) struct Runs {
    store: DurableStore,
    id: String,
    /// What starts them again.
    command: String,
}

/// Why scripts cannot be the runs of this id.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunsError {
    #[error(
        "--run-id {0}: two scripts of this line have the name {1}; for several copies of one script there is --copies"
    )]
    Twice(String, String),
    #[error(
        "--run-id {0}: it was begun with other scripts or copies, as {1}: start it with these again, or give the scripts another run id"
    )]
    Others(String, String),
    #[error(transparent)]
    Query(#[from] QueryError),
}

/// What a script has to do in its run.
pub(crate) enum Begun {
    Goes(Arc<StoredRun>, ScriptRun),
    /// It has ended before.
    Ended(ScriptReport),
}

impl Runs {
    /// `None` where the scripts are no runs.
    pub(crate) fn of(arguments: &RunArguments, line: &[String], store: Option<&DurableStore>) -> Option<Self> {
        let (store, id) = (store?.clone(), arguments.run_id.clone()?);
        let scripts: Vec<_> = arguments
            .scripts
            .iter()
            .map(|script| script.display().to_string())
            .collect();
        let command = json!({
            "script": scripts.join(" "),
            "line": without_store(line),
            // The line may have it from the environment.
            "run": id,
        })
        .to_string();
        Some(Self { store, id, command })
    }

    /// The id of one copy's run. The first copy of the only script has the run's own name.
    fn id(&self, label: &str, is_only: bool) -> String {
        if is_only {
            self.id.clone()
        } else {
            format!("{}/{label}", self.id)
        }
    }

    /// Looks whether each of the copies of these names has a run of its own, and goes on with what an earlier start of the same id
    /// has begun: under another name a script would be carried out again.
    ///
    /// # Errors
    /// Where that is not so.
    pub(crate) fn check(&self, labels: impl ExactSizeIterator<Item = String>) -> Result<(), RunsError> {
        let printable = |text: &str| crate::text::printable(text).into_owned();
        let is_only = labels.len() == 1;
        let mut ids = HashSet::new();
        for label in labels {
            if !ids.insert(self.id(&label, is_only)) {
                return Err(RunsError::Twice(printable(&self.id), label));
            }
        }
        let others = self.store.runs_of(&self.id)?.into_iter().find(|(id, started)| {
            let started: Value = serde_json::from_str(started).unwrap_or_default();
            started["run"] == self.id.as_str() && !ids.contains(id)
        });
        match others {
            Some((id, _)) => Err(RunsError::Others(printable(&self.id), printable(&id))),
            None => Ok(()),
        }
    }

    /// Begins the run of one copy, or goes on with it.
    /// `text` is the script's.
    pub(crate) async fn begin(&self, label: &str, is_only: bool, text: &str) -> Begun {
        let id = self.id(label, is_only);
        let (store, command) = (self.store.clone(), self.command.clone());
        // It asks the database, and waits.
        let run = id.clone();
        let begun = tokio::task::spawn_blocking(move || store.begin_run(&run, &command)).await;
        match begun {
            Ok(Ok(RunStart::New(run) | RunStart::Resumed(run))) => goes(run),
            Ok(Ok(RunStart::Finished(_, result))) => Begun::Ended(ended(&id, result.as_deref(), &fingerprint(text))),
            Ok(Err(error)) => Begun::Ended(ScriptReport::failed(ScriptError::of_kind(
                ScriptErrorKind::Store,
                &error.to_string(),
            ))),
            Err(error) => Begun::Ended(ScriptReport::failed(ScriptError::of_kind(
                ScriptErrorKind::Panic,
                &error.to_string(),
            ))),
        }
    }
}

fn goes(mut run: StoredRun) -> Begun {
    let kept = run.take_kept();
    let run = Arc::new(run);
    let script = ScriptRun::new(run.id(), Arc::clone(&run) as Arc<dyn Journal>).kept(kept);
    Begun::Goes(run, script)
}

/// Writes how a run has ended, and which script it was, unless it goes on later. Gives the report back, which says so where that is
/// not written.
pub(crate) async fn finish(run: Arc<StoredRun>, mut report: ScriptReport, text: &str) -> ScriptReport {
    if report.resumable {
        return report;
    }
    let script = fingerprint(text);
    let (state, result) = match &report.result {
        Ok(value) => (RunState::Completed, json!({"value": value, "script": script})),
        Err(error) => {
            let error = json!({"kind": error.kind().as_str(), "message": error.message(), "at": error.position()});
            (RunState::Failed, json!({"error": error, "script": script}))
        }
    };
    let written = tokio::task::spawn_blocking(move || run.finish(state, Some(result.to_string()))).await;
    if let Ok(Err(error)) = written {
        report
            .warnings
            .push(format!("that the run has ended is not written: {error}"));
    }
    report
}

/// The same for the same text, in every process.
fn fingerprint(text: &str) -> String {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, text.as_bytes()).to_string()
}

/// How a run ended that has ended before. That of another script is not the answer to this one.
fn ended(id: &str, result: Option<&str>, script: &str) -> ScriptReport {
    let kept: Value = result
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let shown = crate::text::printable(id);
    if kept["script"].as_str().is_some_and(|ended| ended != script) {
        let message = format!(
            "the run \"{shown}\" has ended, and its script was another one: nothing is carried out; \
             give this script a run id of its own, or start the run with the script that it had to see its result"
        );
        return ScriptReport::failed(ScriptError::of_kind(ScriptErrorKind::ReplayDiverged, &message));
    }
    let mut report = ScriptReport::failed(ScriptError::of_kind(
        ScriptErrorKind::Store,
        "the run has ended, and how is not kept",
    ));
    if let Some(value) = kept.get("value") {
        report.result = Ok(value.clone());
    } else if let Some(error) = kept.get("error") {
        let kind = ScriptErrorKind::ALL
            .into_iter()
            .find(|kind| error["kind"] == kind.as_str());
        let message = error["message"].as_str().unwrap_or_default();
        let mut failed = ScriptError::of_kind(kind.unwrap_or(ScriptErrorKind::Runtime), message);
        let place = |index: usize| error["at"][index].as_u64().and_then(|at| u16::try_from(at).ok());
        if let (Some(line), Some(column)) = (place(0), place(1)) {
            failed = failed.at_line(line.into(), column.into());
        }
        report.result = Err(failed);
    }
    report.warnings.push(format!(
        "the run \"{shown}\" ended before, like this: nothing was carried out now"
    ));
    report
}

/// A command line that starts a run again, without the store: it may have a password, and who starts the run again names it.
fn without_store(line: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut words = line.iter();
    while let Some(word) = words.next() {
        if word == "--store" {
            words.next();
        } else if !word.starts_with("--store=") {
            kept.push(word.clone());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_shown_without_its_password() {
        assert_eq!(
            shown("postgres://shop:LEAKMARK@db/shop?password=LEAKMARK"),
            "postgres://db/shop"
        );
        assert_eq!(shown("sqlite:a.db"), "sqlite:a.db");
        assert_eq!(shown("host=db password=LEAKMARK"), "not an address");
    }

    #[test]
    fn a_kept_command_line_has_no_store() {
        let line = [
            "run",
            "--store",
            "postgres://a:LEAKMARK@b/c",
            "--run-id",
            "x",
            "--store=y",
            "a.rhai",
        ];
        let kept = without_store(&line.map(String::from));
        assert_eq!(kept, ["run", "--run-id", "x", "a.rhai"]);
    }

    #[test]
    fn what_is_kept_of_an_end_comes_back() {
        for kept in [r#"{"value":42}"#, r#"{"value":42,"script":"s"}"#] {
            let report = ended("a", Some(kept), "s");
            assert_eq!(report.result.ok(), Some(json!(42)));
        }
        let report = ended(
            "a",
            Some(r#"{"error":{"kind":"time_limit","message":"too slow","at":[3,4]},"script":"s"}"#),
            "s",
        );
        let error = report.result.err();
        let error = error
            .as_ref()
            .map(|error| (error.kind(), error.message(), error.position()));
        assert_eq!(error, Some((ScriptErrorKind::TimeLimit, "too slow", Some((3, 4)))));
        assert!(ended("a", None, "s").result.is_err());
        let report = ended("a", Some(r#"{"value":42,"script":"another"}"#), "s");
        let kind = report.result.err().map(|error| error.kind());
        assert_eq!(kind, Some(ScriptErrorKind::ReplayDiverged));
    }
}
