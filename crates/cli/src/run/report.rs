//! The results of a run, and their JSON.

use std::time::Duration;

use hdrhistogram::Histogram;
use inflight::core::Counts;
use serde::Serialize;

use crate::duration::milliseconds;
use crate::monitor::Record;
use crate::run::feed::{Plan, RunResult};

/// Everything that is known when a run has ended.
pub(crate) struct Report<'a> {
    pub(crate) plan: &'a Plan,
    /// By script, then by copy.
    pub(crate) results: Vec<RunResult>,
    pub(crate) counts: Counts,
    /// In microseconds.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) wall_time: Duration,
    /// What the page shows.
    pub(crate) record: Record,
}

#[derive(Serialize)]
pub(crate) struct JsonReport<'a> {
    scripts: Scripts,
    requests: Requests,
    wall_ms: f64,
    latency_ms: Latency,
    results: Vec<JsonResult<'a>>,
    run: &'a Record,
}

#[derive(Serialize)]
struct Scripts {
    total: usize,
    ok: usize,
    failed: usize,
}

#[derive(Serialize)]
struct Requests {
    submitted: u64,
    completed: u64,
    failed: u64,
    timeout: u64,
    cancelled: u64,
    retries: u64,
}

#[derive(Serialize)]
struct Latency {
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

#[derive(Serialize)]
struct JsonResult<'a> {
    script: String,
    copy: u32,
    ok: bool,
    value: Option<&'a serde_json::Value>,
    error: Option<String>,
    warnings: &'a [String],
    wall_ms: f64,
}

/// The report as one line of JSON.
pub(crate) fn json_line(report: &Report) -> serde_json::Result<String> {
    let mut text = serde_json::to_string(&report.to_json())?;
    text.push('\n');
    Ok(text)
}

impl Report<'_> {
    /// How many copies did not end well.
    pub(crate) fn failed(&self) -> usize {
        self.results
            .iter()
            .filter(|result| result.report.result.is_err())
            .count()
    }

    fn to_json(&self) -> JsonReport<'_> {
        let failed = self.failed();
        let quantile = |q: f64| self.latencies.value_at_quantile(q) as f64 / 1e3;
        JsonReport {
            scripts: Scripts {
                total: self.results.len(),
                ok: self.results.len() - failed,
                failed,
            },
            requests: Requests {
                submitted: self.counts.submitted,
                completed: self.counts.completed,
                failed: self.counts.failed,
                timeout: self.counts.timeout,
                cancelled: self.counts.cancelled,
                retries: self.counts.retries,
            },
            wall_ms: milliseconds(self.wall_time),
            latency_ms: Latency {
                p50: quantile(0.5),
                p95: quantile(0.95),
                p99: quantile(0.99),
                max: self.latencies.max() as f64 / 1e3,
            },
            results: self.results.iter().map(|result| self.result(result)).collect(),
            run: &self.record,
        }
    }

    fn result<'a>(&'a self, result: &'a RunResult) -> JsonResult<'a> {
        let outcome = &result.report.result;
        JsonResult {
            script: self.plan.paths[result.script].display().to_string(),
            copy: result.copy,
            ok: outcome.is_ok(),
            value: outcome.as_ref().ok(),
            error: outcome.as_ref().err().map(ToString::to_string),
            warnings: &result.report.warnings,
            wall_ms: milliseconds(result.report.wall_time),
        }
    }
}
