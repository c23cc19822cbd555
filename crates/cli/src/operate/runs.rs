//! `inflight runs`.

use std::ffi::OsString;

use inflight::store::{DurableStore, RequestFilter, RunRow, RunState};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{Command, RunsCommand, StoreArgument};
use crate::operate::{Failure, age, counted, open, requests, show};
use crate::table::{end_of, plain, text_of};
use crate::text::one_line;
use crate::{FAILED, OK, config, run};

/// What is left of a line for the script's name, and how much of the run's own.
const SCRIPT_WIDTH: usize = 15;
const ID_WIDTH: usize = 24;

/// Why nothing is done with a run.
#[derive(Debug, thiserror::Error)]
enum RefusedError {
    #[error("the run {0:?} goes on in another process: stop that first")]
    Alive(String),
    #[error("the run {0:?} was not started by `inflight run`: start it again as it was started")]
    Line(String),
    #[error("the run {0:?} was started by a line that is no `inflight run` of it")]
    Other(String),
}

/// Gives the exit status.
pub(crate) fn runs(command: &RunsCommand) -> Result<u8, Failure> {
    match command {
        RunsCommand::List { store, json } => {
            let rows = open(store)?.runs()?;
            if *json {
                show(&format!("{}\n", Value::from_iter(rows.iter().map(as_json))));
            } else if rows.is_empty() {
                show("no runs\n");
            } else {
                show(&table(&rows));
            }
            Ok(if rows.is_empty() { FAILED } else { OK })
        }
        RunsCommand::Show { id, store, json } => details(&open(store)?, id, *json),
        RunsCommand::Resume { id, store } => resume(id, store),
        RunsCommand::Cancel { id, store } => {
            let store = open(store)?;
            if let Some(run) = store.runs()?.into_iter().find(|run| run.id == *id && run.is_alive) {
                return Err(RefusedError::Alive(run.id).into());
            }
            let is_cancelled = store.cancel_run(id)?;
            let said = if is_cancelled {
                "cancelled"
            } else {
                "not found, or it has ended"
            };
            show(&format!("{} {said}\n", one_line(id)));
            Ok(if is_cancelled { OK } else { FAILED })
        }
        RunsCommand::Prune { older_than, store } => {
            let age = i64::try_from(older_than.as_millis())?;
            let pruned = open(store)?.prune_runs(age)?;
            show(&format!("{} deleted\n", counted(pruned, "run")));
            Ok(if pruned > 0 { OK } else { FAILED })
        }
    }
}

/// What a run's starter has written of it.
#[derive(Deserialize)]
struct Started {
    script: String,
    /// The command line, without the program and the store.
    line: Vec<String>,
    /// The id that the line's scripts share.
    run: String,
}

impl Started {
    fn of(row: &RunRow) -> Option<Self> {
        serde_json::from_str(&row.script).ok()
    }
}

/// What the run executes, as its starter has named it.
fn script(row: &RunRow) -> String {
    Started::of(row).map_or_else(|| row.script.clone(), |started| started.script)
}

fn state(row: &RunRow) -> &'static str {
    match row.state {
        RunState::Running if !row.is_alive => "interrupted",
        state => state.as_str(),
    }
}

fn table(rows: &[RunRow]) -> String {
    let mut table = plain(["run", "script", "state", "starts", "requests", "age"], 3);
    for row in rows {
        table.add_row([
            end_of(&one_line(&row.id), ID_WIDTH),
            end_of(&one_line(&script(row)), SCRIPT_WIDTH),
            state(row).to_owned(),
            row.starts.to_string(),
            row.requests.to_string(),
            age(row.begun_at),
        ]);
    }
    text_of(&table)
}

fn as_json(row: &RunRow) -> Value {
    let result = row.result.as_deref().and_then(|text| serde_json::from_str(text).ok());
    json!({
        "id": row.id, "script": script(row), "state": state(row), "starts": row.starts, "begun_at": row.begun_at,
        "ended_at": row.ended_at, "journalled": row.journalled, "requests": row.requests, "pending": row.pending,
        "result": result.unwrap_or(Value::Null),
    })
}

fn find(store: &DurableStore, id: &str) -> Result<Option<RunRow>, Failure> {
    let found = store.runs()?.into_iter().find(|row| row.id == id);
    if found.is_none() {
        show(&format!("there is no run {}\n", one_line(id)));
    }
    Ok(found)
}

fn details(store: &DurableStore, id: &str, json: bool) -> Result<u8, Failure> {
    let Some(row) = find(store, id)? else { return Ok(FAILED) };
    let filter = RequestFilter {
        run: Some(row.id.clone()),
        ..RequestFilter::default()
    };
    let made = store.requests(&filter)?;
    if json {
        let mut fields = as_json(&row);
        fields["made"] = serde_json::to_value(&made)?;
        show(&format!("{fields}\n"));
        return Ok(OK);
    }
    let mut lines = vec![
        ("run", row.id.clone()),
        ("script", script(&row)),
        ("state", state(&row).to_owned()),
        ("starts", row.starts.to_string()),
        ("begun", format!("{} ago", age(row.begun_at))),
        ("journal", format!("{} entries", row.journalled)),
        (
            "requests",
            format!("{}, of which {} have not ended", row.requests, row.pending),
        ),
    ];
    lines.extend(row.ended_at.map(|at| ("ended", format!("{} ago", age(at)))));
    lines.extend(row.result.map(|result| ("result", result)));
    for (name, value) in lines {
        show(&format!("{name:<10}{}\n", one_line(&value)));
    }
    if !made.is_empty() {
        show(&format!("\n{}", requests::table(&made)));
    }
    Ok(OK)
}

/// Does what the line says that started the run, in this process.
fn resume(id: &str, argument: &StoreArgument) -> Result<u8, Failure> {
    let store = open(argument)?;
    let Some(row) = find(&store, id)? else {
        return Ok(FAILED);
    };
    // The run opens it itself.
    drop(store);
    if row.state != RunState::Running {
        show(&format!("the run has ended: {}\n", row.state.as_str()));
        return Ok(FAILED);
    }
    if row.is_alive {
        return Err(RefusedError::Alive(row.id).into());
    }
    let started = Started::of(&row).ok_or_else(|| RefusedError::Line(row.id.clone()))?;
    let words = with_run(&started, &argument.url).into_iter().map(OsString::from);
    let Command::Run(arguments) = config::arguments(words)?.command else {
        return Err(RefusedError::Other(row.id).into());
    };
    if arguments.run_id.as_deref() != Some(&started.run) {
        return Err(RefusedError::Other(row.id).into());
    }
    run::run(&arguments, &started.line)
}

/// The command line with its store, and with its run's id where it had that from the environment.
fn with_run(started: &Started, url: &str) -> Vec<String> {
    let line = &started.line;
    let names_run = line
        .iter()
        .any(|word| word == "--run-id" || word.starts_with("--run-id="));
    let mut words = vec![format!("--store={url}")];
    if !names_run {
        words.push(format!("--run-id={}", started.run));
    }
    // What comes after `--` is a script's name.
    let end = line.iter().position(|word| word == "--").unwrap_or(line.len());
    let mut whole = line.clone();
    whole.splice(end..end, words);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_gets_its_store_and_its_run_back() {
        let whole = |line: &[&str]| {
            let started = Started {
                script: String::new(),
                line: line.iter().map(|word| (*word).to_owned()).collect(),
                run: "x".into(),
            };
            with_run(&started, "sqlite:a").join(" ")
        };
        assert_eq!(
            whole(&["run", "--run-id", "x", "a"]),
            "run --run-id x a --store=sqlite:a"
        );
        assert_eq!(whole(&["run", "--", "a"]), "run --store=sqlite:a --run-id=x -- a");
    }
}
