//! What was seen, as text and as a picture.

use std::fmt::Write as _;

use inflight_benches::chart::Chart;
use inflight_benches::page::{circumstances, thousands};

use crate::clients::{Client, Skipped};
use crate::measure::{Case, Measured, Pins, Results};

/// Everything that a run came to.
pub(crate) struct Comparison<'a> {
    pub(crate) clients: &'a [Client],
    pub(crate) skipped: &'a Skipped,
    pub(crate) results: &'a Results,
    pub(crate) cases: &'a [Case],
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) pins: &'a Pins,
    /// The load average before the run.
    pub(crate) load: String,
}

impl Comparison<'_> {
    /// A table for each case, and what they were made with.
    pub(crate) fn markdown(&self) -> String {
        let (seconds, pins, load) = (self.seconds, self.pins, &self.load);
        let rounds = match self.rounds {
            1 => "one round of".to_owned(),
            rounds => format!("medians of {rounds} rounds, in turns, of"),
        };
        let how = format!("{rounds} {seconds} s for each client; {pins}; load average before the run {load}");
        let mut text = circumstances("peers", &how);
        for &case in self.cases {
            text.push_str(&self.table(case));
        }
        let _ = writeln!(text, "\nThe clients:\n");
        for client in self.clients {
            let _ = writeln!(text, "- `{}`: {}", client.name, client.what);
        }
        for (name, why) in self.skipped {
            let _ = writeln!(text, "- `{name}`: skipped, {why}");
        }
        text
    }

    fn table(&self, case: Case) -> String {
        let mut text = format!(
            "\n**{case}**\n\n| client | requests/s | spread | CPU µs/request | peak MB | cold s | warm s | \
             requests/s, Inflight ÷ client | CPU, Inflight ÷ client |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
        );
        let ours = self.results.median("inflight", case);
        for client in self.clients {
            let name = client.name;
            let _ = match (self.results.median(name, case), &ours) {
                (Ok(seen), ours) => {
                    let ratios = ours.as_ref().map_or("– | –".to_owned(), |ours| {
                        let (faster, cpu) = (ours.per_second / seen.per_second, ours.cpu / seen.cpu);
                        format!("{faster:.2} × | {cpu:.2} ×")
                    });
                    writeln!(
                        text,
                        "| {name} | {} | {:.0} % | {:.1} | {:.0} | {:.2} | {:.2} | {ratios} |",
                        thousands(seen.per_second),
                        self.results.spread(name, case),
                        seen.cpu,
                        seen.peak,
                        seen.cold,
                        seen.warm,
                    )
                }
                (Err(why), _) => writeln!(text, "| {name} | {} | | | | | | | |", why.replace('|', "/")),
            };
        }
        text
    }

    /// Speed and processor time where nothing waits, and memory where most is under way.
    pub(crate) fn svg(&self) -> String {
        let mut chart = Chart::new();
        if let (Some(&first), Some(&last)) = (self.cases.iter().min(), self.cases.iter().max()) {
            self.bars(&mut chart, first, "requests per second (more is better)", |seen| {
                seen.per_second
            });
            self.bars(&mut chart, first, "CPU µs per request (less is better)", |seen| {
                seen.cpu
            });
            self.bars(&mut chart, last, "peak memory in MB (less is better)", |seen| seen.peak);
        }
        chart.svg("Inflight and other clients")
    }

    fn bars(&self, chart: &mut Chart, case: Case, title: &str, field: fn(&Measured) -> f64) {
        let seen = |client: &Client| self.results.median(client.name, case).ok();
        let values = self
            .clients
            .iter()
            .filter_map(|client| Some((client.name, field(&seen(client)?))));
        chart.bars(&format!("{case}: {title}"), "inflight", &values.collect::<Vec<_>>());
    }
}
