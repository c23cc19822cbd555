//! One run of one client, and what the runs come to.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use inflight_benches::median;
use inflight_benches::page::thousands;
use serde_json::Value;

use crate::clients::Client;

/// How much is under way, and how long the server takes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Case {
    /// Milliseconds.
    pub(crate) latency: u64,
    pub(crate) in_flight: u64,
}

impl fmt::Display for Case {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let thousands = thousands(self.in_flight as f64);
        write!(formatter, "{} ms, {thousands} in flight", self.latency)
    }
}

/// What a run showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    /// Microseconds of the processor for each request.
    pub(crate) cpu: f64,
    /// Megabytes.
    pub(crate) peak: f64,
    /// Seconds for as many requests as are in flight, on new connections.
    pub(crate) cold: f64,
    /// The same on those again.
    pub(crate) warm: f64,
}

impl Measured {
    fn read(line: &[u8]) -> Option<Self> {
        let line: Value = serde_json::from_slice(line).ok()?;
        let number = |name: &str| line[name].as_f64();
        let requests = number("requests")?;
        Some(Self {
            per_second: requests / number("wall_s")?,
            cpu: number("cpu_s")? / requests * 1e6,
            peak: number("peak_kb")? / 1024.0,
            cold: number("cold_s")?,
            warm: number("warm_s")?,
        })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            per_second,
            cpu,
            peak,
            cold,
            warm,
        } = self;
        write!(
            formatter,
            "{per_second:8.0} requests/s, {cpu:7.1} µs CPU each, {peak:5.0} MB, {cold:.2} s cold, {warm:.2} s warm"
        )
    }
}

/// Which cores clients and the server run on.
#[derive(Debug)]
pub(crate) struct Pins {
    cores: Option<[usize; 2]>,
}

impl Pins {
    /// One core for each, where that can be.
    pub(crate) fn find(wish: &str) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let can = cores > 1 && Command::new("taskset").arg("--version").output().is_ok();
        Self {
            cores: (wish == "on" && can).then_some([0, cores - 1]),
        }
    }

    /// The command, on the server's core.
    pub(crate) fn server(&self, command: &Command) -> Command {
        let line = std::iter::once(command.get_program()).chain(command.get_args());
        self.command(1, line)
    }

    fn command<S: AsRef<std::ffi::OsStr>>(&self, which: usize, line: impl IntoIterator<Item = S>) -> Command {
        let mut line = line.into_iter();
        let mut command = match self.cores {
            Some(cores) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &cores[which].to_string()]);
                command
            }
            None => Command::new(line.next().expect("a program")),
        };
        command.args(line);
        command
    }
}

impl fmt::Display for Pins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cores {
            Some([client, server]) => write!(formatter, "clients on core {client}, the server on core {server}"),
            None => formatter.write_str("clients and the server on any core"),
        }
    }
}

/// Runs a client once.
///
/// # Errors
/// A word on why there is no measurement.
pub(crate) fn run(
    client: &Client,
    url: &str,
    case: Case,
    seconds: f64,
    limit: Duration,
    pins: &Pins,
) -> Result<Measured, String> {
    let mut command = pins.command(0, client.arguments(url, case.in_flight, seconds));
    let said = finish(command.envs(client.environment()), limit)?;
    Measured::read(&said.output).ok_or_else(|| said.reason())
}

/// What a client has said.
pub(crate) struct Said {
    pub(crate) output: Vec<u8>,
    pub(crate) errors: Vec<u8>,
}

impl Said {
    /// Why it gave no result.
    pub(crate) fn reason(&self) -> String {
        let text = String::from_utf8_lossy(&self.errors);
        let reason = text.lines().rev().find(|line| !line.trim().is_empty());
        format!("failed: {}", reason.unwrap_or("it gave no reason").trim())
    }
}

/// Waits until it has ended, well.
///
/// # Errors
/// A word on why it did not.
pub(crate) fn finish(command: &mut Command, limit: Duration) -> Result<Said, String> {
    let process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut process = process.map_err(|error| error.to_string())?;
    let output = read_all(process.stdout.take().expect("its output"));
    let errors = read_all(process.stderr.take().expect("its errors"));
    let ended_well = end(&mut process, limit)?;
    let said = Said {
        output: output.join().expect("its output"),
        errors: errors.join().expect("its errors"),
    };
    if ended_well { Ok(said) } else { Err(said.reason()) }
}

fn read_all(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut read = Vec::new();
        // What has come until an error says as much as there is.
        let _ = from.read_to_end(&mut read);
        read
    })
}

/// Waits until it has ended, and says whether it ended well.
fn end(process: &mut Child, limit: Duration) -> Result<bool, String> {
    let start = Instant::now();
    loop {
        if let Some(status) = process.try_wait().map_err(|error| error.to_string())? {
            return Ok(status.success());
        }
        if start.elapsed() > limit {
            // It may have ended by itself meanwhile.
            let _ = process.kill();
            let _ = process.wait();
            return Err(format!("not within {} s", limit.as_secs()));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// All runs.
#[derive(Debug, Default)]
pub(crate) struct Results(BTreeMap<(&'static str, Case), Vec<Result<Measured, String>>>);

impl Results {
    pub(crate) fn add(&mut self, client: &'static str, case: Case, result: Result<Measured, String>) {
        self.0.entry((client, case)).or_default().push(result);
    }

    /// The medians of a client's runs in this case.
    ///
    /// # Errors
    /// A word on why there are none: a run failed.
    pub(crate) fn median(&self, client: &'static str, case: Case) -> Result<Measured, String> {
        let runs = self.0.get(&(client, case)).ok_or("not run")?;
        let runs: Vec<Measured> = runs.iter().cloned().collect::<Result<_, _>>()?;
        let of = |field: fn(&Measured) -> f64| median(&runs.iter().map(field).collect::<Vec<_>>());
        Ok(Measured {
            per_second: of(|run| run.per_second),
            cpu: of(|run| run.cpu),
            peak: of(|run| run.peak),
            cold: of(|run| run.cold),
            warm: of(|run| run.warm),
        })
    }

    /// How many runs failed.
    pub(crate) fn failed(&self) -> usize {
        self.0.values().flatten().filter(|run| run.is_err()).count()
    }

    /// How far the slowest and the fastest run are apart, in hundredths of the median.
    pub(crate) fn spread(&self, client: &'static str, case: Case) -> f64 {
        let runs = self.0.get(&(client, case)).into_iter().flatten().flatten();
        let speeds: Vec<f64> = runs.map(|run| run.per_second).collect();
        let fastest = speeds.iter().copied().fold(0.0, f64::max);
        let slowest = speeds.iter().copied().fold(fastest, f64::min);
        (fastest - slowest) / median(&speeds) * 100.0
    }
}
