//! The table at the end of a run: a line for each script, and what its author should know.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, presets};
use inflight::core::Counts;

use crate::duration::readable;
use crate::run::feed::RunResult;
use crate::run::report::Report;

/// After this many different warnings, further ones are only counted.
const WARNINGS_SHOWN: usize = 20;

/// Names longer than this are cut in the middle, so that the table fits 80 columns.
const NAME_WIDTH: usize = 24;

pub(crate) fn render(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header([
        "script",
        "result",
        "time",
        "submitted",
        "completed",
        "failed",
        "retries",
        "warnings",
    ]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 1));
        if column.index > 1 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let scripts = report.plan.scripts.len();
    for script in 0..scripts {
        let results: Vec<&RunResult> = report.results.iter().filter(|result| result.script == script).collect();
        let slowest = results.iter().map(|result| result.report.wall_time).max();
        table.add_row(row(
            &name(&report.plan.scripts[script].name, report.plan.copies),
            &results,
            slowest.unwrap_or_default(),
        ));
    }
    if scripts > 1 {
        let all: Vec<&RunResult> = report.results.iter().collect();
        table.add_row(row("all", &all, report.wall_time));
    }
    let mut text = format!("\n{table}\n");
    for line in warnings(report) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{line}");
    }
    text
}

fn name(name: &str, copies: u32) -> String {
    let suffix = if copies > 1 {
        format!(" ×{copies}")
    } else {
        String::new()
    };
    let characters: Vec<char> = name.chars().collect();
    let room = NAME_WIDTH.saturating_sub(suffix.chars().count());
    if characters.len() <= room {
        return format!("{name}{suffix}");
    }
    let end: String = characters[characters.len() - room.saturating_sub(1)..].iter().collect();
    format!("…{end}{suffix}")
}

fn row(name: &str, results: &[&RunResult], time: Duration) -> [String; 8] {
    let failed = results.iter().filter(|result| result.report.result.is_err()).count();
    let result = match (results.len(), failed) {
        (_, 0) => "ok".to_owned(),
        (1, _) => "failed".to_owned(),
        (all, failed) => format!("{failed}/{all} failed"),
    };
    let sum = |count: fn(&Counts) -> u64| results.iter().map(|result| count(&result.report.counts)).sum::<u64>();
    let warnings: usize = results.iter().map(|result| result.report.warnings.len()).sum();
    [
        name.to_owned(),
        result,
        readable(time),
        sum(|counts| counts.submitted).to_string(),
        sum(|counts| counts.completed).to_string(),
        sum(|counts| counts.failed + counts.timeout + counts.cancelled).to_string(),
        sum(|counts| counts.retries).to_string(),
        warnings.to_string(),
    ]
}

/// Each different warning once, with how many copies gave it.
fn warnings(report: &Report) -> Vec<String> {
    let mut counted: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for result in &report.results {
        for warning in &result.report.warnings {
            *counted.entry((result.script, without_request_id(warning))).or_default() += 1;
        }
    }
    let different = counted.len();
    let shown = counted
        .into_iter()
        .take(WARNINGS_SHOWN)
        .map(|((script, warning), times)| {
            let name = &report.plan.scripts[script].name;
            match times {
                1 => format!("warning: {name}: {warning}"),
                times => format!("warning: {name}: {warning} (×{times})"),
            }
        });
    let mut lines: Vec<String> = shown.collect();
    if different > WARNINGS_SHOWN {
        lines.push(format!(
            "warning: {} further kinds of warnings; --json has them all",
            different - WARNINGS_SHOWN
        ));
    }
    lines
}

/// The warning up to the request's own id: what differs from copy to copy is in the JSON.
fn without_request_id(warning: &str) -> &str {
    warning.find(", request ").map_or(warning, |end| &warning[..end])
}
