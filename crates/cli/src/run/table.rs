//! The table at the end of a run: a line for each script, and what its author should know.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use comfy_table::{CellAlignment, Table, TableComponent, presets};
use inflight::core::Counts;

use crate::duration::readable;
use crate::run::feed::RunResult;
use crate::run::report::Report;
use crate::text::one_line;

/// After this many different warnings, further ones are only counted.
const WARNINGS_SHOWN: usize = 20;

/// Names longer than this are cut at their start, so that the table fits 80 columns.
const NAME_WIDTH: usize = 18;

pub(crate) fn render(report: &Report) -> String {
    let mut table = Table::new();
    let copies = report.plan.copies;
    let scripts = if copies > 1 {
        format!("script ×{copies}")
    } else {
        "script".to_owned()
    };
    table
        .load_preset(presets::NOTHING)
        .set_style(TableComponent::HeaderLines, '─')
        .set_header([
            scripts.as_str(),
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
    for (script, file) in report.plan.scripts.iter().enumerate() {
        let results: Vec<&RunResult> = report.results.iter().filter(|result| result.script == script).collect();
        let slowest = results.iter().map(|result| result.report.wall_time).max();
        table.add_row(row(&short(&file.name), &results, slowest.unwrap_or_default()));
    }
    if scripts > 1 {
        let all: Vec<&RunResult> = report.results.iter().collect();
        table.add_row(row("all", &all, report.wall_time));
    }
    let mut text = String::from("\n");
    for line in table.lines() {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    }
    match report.counts.cancelled {
        0 => {}
        1 => text.push_str("1 request was cancelled before it was sent\n"),
        cancelled => {
            let _ = writeln!(text, "{cancelled} requests were cancelled before they were sent");
        }
    }
    for line in warnings(report) {
        let _ = writeln!(text, "{line}");
    }
    text
}

fn short(name: &str) -> String {
    let characters: Vec<char> = name.strip_suffix(".rhai").unwrap_or(name).chars().collect();
    if characters.len() <= NAME_WIDTH {
        return characters.into_iter().collect();
    }
    let end: String = characters[characters.len() - NAME_WIDTH + 1..].iter().collect();
    format!("…{end}")
}

fn row(name: &str, results: &[&RunResult], time: Duration) -> [String; 8] {
    let failed = results.iter().filter(|result| result.report.result.is_err()).count();
    let result = match (results.len(), failed) {
        (_, 0) => "ok".to_owned(),
        (1, _) => "failed".to_owned(),
        (_, failed) => format!("{failed} failed"),
    };
    let sum = |count: fn(&Counts) -> u64| results.iter().map(|result| count(&result.report.counts)).sum::<u64>();
    // Nobody knows their outcome any more: the end of the run fails them, as the JSON says.
    let unfinished = results
        .iter()
        .map(|result| result.report.unfinished as u64)
        .sum::<u64>();
    let warnings: usize = results.iter().map(|result| result.report.warnings.len()).sum();
    [
        name.to_owned(),
        result,
        readable(time),
        sum(|counts| counts.submitted).to_string(),
        sum(|counts| counts.completed).to_string(),
        (sum(|counts| counts.failed + counts.timeout) + unfinished).to_string(),
        sum(|counts| counts.retries).to_string(),
        warnings.to_string(),
    ]
}

/// Each different warning once, with how many copies gave it.
fn warnings(report: &Report) -> Vec<String> {
    let mut counted: BTreeMap<(usize, String), usize> = BTreeMap::new();
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
            let warning = one_line(&warning);
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

/// The warning without Stripe's id of the request, which differs from copy to copy; the JSON has it.
fn without_request_id(warning: &str) -> String {
    let Some(start) = warning.find(", request ") else {
        return warning.to_owned();
    };
    let (before, id) = warning.split_at(start);
    let after = id[2..].find([',', ')']).map_or("", |end| &id[2 + end..]);
    format!("{before}{after}")
}
