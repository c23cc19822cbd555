//! What was seen, as text: on the terminal and in the documentation.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::clients::{Client, said};
use crate::measure::{Case, Pins, Results};

/// Around the part of the page that is written by this program.
const BEGIN: &str = "<!-- written by `peers`: begin -->";
const END: &str = "<!-- written by `peers`: end -->";

/// Everything that a run came to.
pub(crate) struct Comparison<'a> {
    pub(crate) clients: &'a [Client],
    pub(crate) skipped: &'a [(&'static str, String)],
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
        let mut text = self.circumstances();
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

    fn circumstances(&self) -> String {
        let (rounds, seconds) = (self.rounds, self.seconds);
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let arguments = match without_write(&arguments) {
            words if words.is_empty() => String::new(),
            words => format!(" -- {}", words.join(" ")),
        };
        let rounds = match rounds {
            1 => "one round of".to_owned(),
            _ => format!("medians of {rounds} rounds, in turns, of"),
        };
        format!(
            "Seen on {}, at commit {}: {rounds} {seconds} s for each client; {}; load average before the run {}. {}.\n\n    \
             cargo run --release -p inflight-benches --bin peers{arguments}\n",
            machine(),
            commit(),
            self.pins,
            self.load,
            said(Command::new("rustc").arg("--version")).unwrap_or_default(),
        )
    }

    fn table(&self, case: Case) -> String {
        let mut text = format!(
            "\n**{case}**\n\n| client | requests/s | spread | CPU µs/request | peak MB | cold s | Inflight is faster by | \
             and needs of its CPU |\n|---|---:|---:|---:|---:|---:|---:|---:|\n"
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
                        "| {name} | {} | {:.0} % | {:.1} | {:.0} | {:.2} | {ratios} |",
                        thousands(seen.per_second),
                        self.results.spread(name, case),
                        seen.cpu,
                        seen.peak,
                        seen.cold,
                    )
                }
                (Err(why), _) => writeln!(text, "| {name} | {} | | | | | | |", why.replace('|', "/")),
            };
        }
        text
    }
}

/// The program's arguments that matter for what is measured.
fn without_write(arguments: &[String]) -> Vec<&str> {
    let pairs = arguments.chunks(2).filter(|pair| pair[0] != "--write");
    pairs.flatten().map(String::as_str).collect()
}

/// The page with this in the place that is meant for it, where it has one.
pub(crate) fn replace(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{text}\n{END}{after}"))
}

/// A whole number, with a comma before each three digits.
pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How busy the machine is: the average of the last minute.
pub(crate) fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}

fn machine() -> String {
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field("/proc/cpuinfo", "model name").unwrap_or_else(|| "an unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kilobytes = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let memory = kilobytes.map_or(String::new(), |kilobytes| {
        format!(", {:.0} GB", kilobytes / 1024.0 / 1024.0)
    });
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = system.trim().split('-').next().unwrap_or_default();
    format!("{processor}, {cores} cores{memory}, {} {release}", std::env::consts::OS)
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        said(Command::new("git").arg("-C").arg(root).args(arguments))
    };
    let Ok(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".into();
    };
    // The documentation says nothing about what is measured.
    match git(&["status", "--porcelain", "--", ".", ":(top)crates", ":(top)Cargo.lock"]) {
        Ok(changes) if changes.is_empty() => commit,
        _ => format!("{commit} with changes"),
    }
}
