//! The table at the end of a run: a line for each script, and what its author should know.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::time::Duration;

use comfy_table::{Cell, Color};
use inflight::core::Counts;

use crate::duration::readable;
use crate::run::feed::RunResult;
use crate::run::report::Report;
use crate::table::{WIDTH, end_of, plain, text_of};
use crate::text::one_line;

/// After this many different warnings, further ones are only counted.
const WARNINGS_SHOWN: usize = 20;

/// The columns beside the scripts' names.
const COLUMNS: [&str; 7] = [
    "result",
    "time",
    "submitted",
    "completed",
    "failed",
    "retries",
    "warnings",
];

/// A script's name has as much room as is left, within these bounds: a longer one is cut at its start.
const NAME_WIDTH: RangeInclusive<usize> = 8..=18;

/// The table and the warnings. `colour` marks what failed.
pub(crate) fn render(report: &Report, colour: bool) -> String {
    let copies = report.plan.copies;
    let scripts = if copies > 1 {
        format!("script ×{copies}")
    } else {
        "script".to_owned()
    };
    let mut table = plain(std::iter::once(scripts.as_str()).chain(COLUMNS), 2);
    if colour {
        table.enforce_styling();
    }
    let mut rows = Vec::new();
    for (script, file) in report.plan.scripts.iter().enumerate() {
        let results: Vec<&RunResult> = report.results.iter().filter(|result| result.script == script).collect();
        let slowest = results.iter().map(|result| result.report.wall_time).max();
        rows.push((file.name.as_str(), row(&results, slowest.unwrap_or_default())));
    }
    if rows.len() > 1 {
        let all: Vec<&RunResult> = report.results.iter().collect();
        rows.push(("all", row(&all, report.wall_time)));
    }
    let width = name_width(rows.iter().map(|(_, row)| row));
    for (name, row) in rows {
        let [result, numbers @ ..] = row;
        let result = match result.ends_with("failed") {
            true => Cell::new(result).fg(Color::Red),
            false => Cell::new(result).fg(Color::Green),
        };
        let name = end_of(name.strip_suffix(".rhai").unwrap_or(name), width);
        let cells = [Cell::new(name), result];
        table.add_row(cells.into_iter().chain(numbers.map(Cell::new)));
    }
    let mut text = format!("\n{}", text_of(&table));
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

/// What the other columns leave for the names, each with a space beside it.
fn name_width<'r>(rows: impl Iterator<Item = &'r [String; 7]>) -> usize {
    let mut widths = COLUMNS.map(str::len);
    for row in rows {
        for (width, text) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let others: usize = widths.iter().map(|width| width + 1).sum();
    WIDTH
        .saturating_sub(others + 1)
        .clamp(*NAME_WIDTH.start(), *NAME_WIDTH.end())
}

fn row(results: &[&RunResult], time: Duration) -> [String; 7] {
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
