//! `inflight run`: many scripts at once, and what became of them.

mod feed;
mod output;
mod progress;
mod report;
mod table;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use inflight::Inflight;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::args::RunArguments;
use crate::dashboard::{Dashboard, OfRun, Token};
use crate::descriptors::concurrency_within_limit;
use crate::durable::{self, Runs};
use crate::http::ListenError;
use crate::metrics::{self, Exposition};
use crate::monitor::Monitor;
use crate::page::page;
use crate::script::read_all;
use crate::sending::configure;
use crate::signals::Signals;
use crate::stream::Streams;
use crate::target::Target;
use crate::{FAILED, OK};
use feed::{Plan, RunResult};
use output::Output;
use progress::Progress;
use report::Report;

/// How often output is written out and progress is drawn.
const TICK: Duration = Duration::from_millis(50);

/// How long what earlier processes have left, and this one has sent, may take to be answered when all scripts have ended.
const SETTLE: Duration = Duration::from_secs(10);

/// How long what is in flight then may take at least.
const GRACE: Duration = Duration::from_secs(5);

/// A page in a file has no policy that would ask for it.
const PAGE_NONCE: &str = "report";

type Failure = Box<dyn std::error::Error>;

/// Runs the scripts and gives the exit status. `line` is the command line that asks for it.
pub(crate) fn run(arguments: &RunArguments, line: &[String]) -> Result<u8, Failure> {
    durable::check_store(arguments)?;
    let target = Target::of(&arguments.sending, arguments.sim_latency)?;
    let store = durable::open(arguments.store.as_deref(), &arguments.sending, &target)?;
    let plan = Plan::new(
        arguments.scripts.clone(),
        read_all(&arguments.scripts),
        arguments.copies,
        arguments.priority,
    );
    let plan = Arc::new(plan.runs(Runs::of(arguments, line, store.as_ref()))?);
    check_outputs(arguments)?;
    // After everything that may be wrong with the command line and the key: a mistake there costs no earlier results.
    let token = Token::of_environment()?;
    let json = arguments.json.as_deref().map(open_json).transpose()?;
    let page_file = arguments.report.as_deref().map(OutFile::create).transpose()?;
    let streams = Streams::start()?;
    let (concurrency, limited) = concurrency_within_limit(arguments.sending.concurrency, target.sockets_per_request());
    if let Some(message) = limited {
        streams.stderr.write(&format!("inflight: {message}\n"));
    }
    let monitor = Arc::new(Monitor::new(plan.total(), target.describe()));
    let is_measured = arguments.metrics.is_some() || arguments.dashboard.is_some();
    let exposition = is_measured.then(Exposition::new).transpose()?;
    let mut builder = configure(&arguments.sending, &target, concurrency)?
        .threads(arguments.threads.into())
        .observer(Arc::clone(&monitor) as _);
    if let Some(exposition) = &exposition {
        builder = builder.metrics(exposition.metrics());
    }
    if let Some(store) = &store {
        builder = builder.store(store.clone());
    }
    let inflight = Arc::new(builder.build()?);
    let metrics_server = arguments.metrics.zip(exposition.clone()).map(|(address, exposition)| {
        metrics::serve(address, exposition, inflight.registry().clone())
            .map_err(|source| ListenError::of("metrics", address, source))
    });
    let metrics_server = metrics_server.transpose()?;
    if let Some(server) = &metrics_server {
        streams
            .stderr
            .write(&format!("metrics: http://{}/metrics\n", server.address()));
    }
    let dashboard = arguments
        .dashboard
        .zip(exposition.clone())
        .map(|(address, exposition)| {
            let run = OfRun {
                inflight: Arc::clone(&inflight),
                monitor: Arc::clone(&monitor),
                exposition,
            };
            Dashboard::start(address, token, run)
        });
    let dashboard = dashboard.transpose()?;
    if let Some(dashboard) = &dashboard {
        streams.stderr.write(&format!("dashboard: {}\n", dashboard.url()));
    }
    let text_stream = if matches!(json, Some(Json::Stdout)) {
        &streams.stderr
    } else {
        &streams.stdout
    };
    let output = Arc::new(Output::new(Arc::clone(text_stream), arguments.run_id.is_some()));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = Signals::new()?;
    let progress = Progress::new(
        arguments.quiet,
        Arc::clone(&streams.stderr),
        plan.total(),
        &target.describe(),
    );
    let mut while_running = WhileRunning {
        plan: &plan,
        inflight: &inflight,
        monitor: &monitor,
        exposition: exposition.as_ref(),
        streams: &streams,
        output: &output,
        progress,
        signals: &mut signals,
    };
    let finished = runtime.block_on(while_running.drive(arguments.timeout));
    let mut interrupted = finished.interrupted;
    // What scripts of this run have under way has had their whole time; what earlier processes left in the store has not.
    let own: usize = finished.results.iter().map(|result| result.report.unfinished).sum();
    let earlier = under_way(&inflight).saturating_sub(own);
    let mut limit = Duration::ZERO;
    if store.is_some() && earlier > 0 && interrupted.is_none() {
        limit = SETTLE;
        streams.stderr.write(&format!(
            "inflight: waiting up to {} s for answers to what earlier processes left in the store: {earlier} in flight\n",
            limit.as_secs()
        ));
        let begun = Instant::now();
        runtime.block_on(settle(&inflight, own, &mut signals, &mut interrupted));
        // What was sent just now is not cut off.
        limit = SETTLE.saturating_sub(begun.elapsed()).max(GRACE);
    }
    let seen = || {
        monitor.sample(inflight.registry(), true);
        (inflight.registry().counts(), monitor.record(inflight.registry()))
    };
    // Before the shutdown, which counts as failed what it leaves to others.
    let before = (store.is_some() && limit.is_zero()).then(seen);
    let left = runtime.block_on(shut_down(&inflight, limit, &mut signals, &mut interrupted));
    if store.is_some() && left > 0 {
        streams.stderr.write(&format!(
            "inflight: under way and not answered: {left}; what is in the store stays there, and the next process asks again\n"
        ));
    }
    let (counts, record) = before.unwrap_or_else(seen);
    if let Some(dashboard) = dashboard {
        dashboard.run_ended();
    }
    if let Some(simulator) = target.simulator {
        simulator.shutdown();
    }

    let report = Report {
        plan: &plan,
        results: finished.results,
        counts,
        latencies: monitor.latencies(),
        wall_time: finished.wall_time,
        record,
    };
    if !arguments.quiet {
        text_stream.write(&table::render(&report, text_stream.has_colour()));
    }
    if let Some(file) = page_file {
        file.write(&page(PAGE_NONCE, &serde_json::to_string(&report.record)?))?;
    }
    let mut drain = || runtime.block_on(drain(&streams, &mut signals, &mut interrupted));
    match json {
        None => drain(),
        Some(Json::File(file)) => {
            let written = file.write(&report::json_line(&report)?);
            drain();
            written?;
        }
        Some(Json::Stdout) => {
            drain();
            streams.stdout.write(&report::json_line(&report)?);
            drain();
        }
    }
    if let Some(error) = streams.stdout.take_error() {
        return Err(WriteError::new("standard output", error).into());
    }
    Ok(interrupted.unwrap_or(if report.failed() > 0 { FAILED } else { OK }))
}

/// What is written anew is neither the other nor anything that is read.
fn check_outputs(arguments: &RunArguments) -> Result<(), Failure> {
    let same = |one: &Path, other: &Path| real(one) == real(other);
    let store = arguments
        .store
        .as_deref()
        .and_then(|store| store.strip_prefix("sqlite:"));
    let of_store = |suffix: &str| store.map(|file| PathBuf::from(format!("{file}{suffix}")));
    let read: Vec<PathBuf> = ["", "-wal", "-shm", "-owner"]
        .into_iter()
        .filter_map(of_store)
        .collect();
    let outputs = [("--json", &arguments.json), ("--report", &arguments.report)];
    for (flag, path) in outputs
        .into_iter()
        .filter_map(|(flag, path)| Some((flag, path.as_deref()?)))
    {
        if read.iter().any(|file| same(path, file)) {
            return Err(format!("{flag} would overwrite the store").into());
        }
        if arguments.scripts.iter().any(|script| same(path, script)) {
            return Err(format!("{flag} would overwrite a script").into());
        }
    }
    match (&arguments.json, &arguments.report) {
        (Some(json), Some(report)) if same(json, report) => Err("--json and --report name the same file".into()),
        _ => Ok(()),
    }
}

/// A path without links and dots, also where the file is not there yet.
fn real(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let of_folder = || {
        Some(
            fs::canonicalize(folder.unwrap_or(Path::new(".")))
                .ok()?
                .join(path.file_name()?),
        )
    };
    let real = fs::canonicalize(path).ok().or_else(of_folder);
    real.unwrap_or_else(|| path.to_owned())
}

/// How many requests are sent, or wait for a further attempt.
fn under_way(inflight: &Inflight) -> usize {
    inflight.registry().in_flight() + inflight.registry().waiting()
}

/// Waits until no more than these are under way. A signal ends the wait, and so does its time.
async fn settle(inflight: &Inflight, own: usize, signals: &mut Signals, interrupted: &mut Option<u8>) {
    let settled = async {
        let mut looks = interval(TICK);
        while under_way(inflight) > own {
            looks.tick().await;
        }
    };
    tokio::select! {
        () = settled => {}
        () = tokio::time::sleep(SETTLE) => {}
        status = signals.next() => *interrupted = Some(status),
    }
}

/// Shuts down, and gives how many requests were still in flight. A signal ends the wait for them.
async fn shut_down(
    inflight: &Arc<Inflight>,
    limit: Duration,
    signals: &mut Signals,
    interrupted: &mut Option<u8>,
) -> usize {
    let ending = Arc::clone(inflight);
    let ended = tokio::task::spawn_blocking(move || ending.shutdown(limit));
    let report = tokio::select! {
        report = ended => report.unwrap_or_default(),
        status = signals.next(), if interrupted.is_none() => {
            *interrupted = Some(status);
            inflight.shutdown(Duration::ZERO)
        }
    };
    report.abandoned
}

/// Waits until the readers have everything. A signal ends the wait.
async fn drain(streams: &Streams, signals: &mut Signals, interrupted: &mut Option<u8>) {
    tokio::select! {
        biased;
        () = streams.drained(interrupted.is_some()) => {}
        status = signals.next() => *interrupted = Some(status),
    }
}

struct Finished {
    results: Vec<RunResult>,
    wall_time: Duration,
    /// The exit status of the signal that came.
    interrupted: Option<u8>,
}

/// What a run has to do with while its scripts run.
struct WhileRunning<'a> {
    plan: &'a Arc<Plan>,
    inflight: &'a Inflight,
    monitor: &'a Arc<Monitor>,
    exposition: Option<&'a Exposition>,
    streams: &'a Streams,
    output: &'a Arc<Output>,
    progress: Progress,
    signals: &'a mut Signals,
}

impl WhileRunning<'_> {
    /// Starts the scripts and takes in their results, with signals, output and progress in between.
    async fn drive(&mut self, time_limit: Duration) -> Finished {
        let started = Instant::now();
        let cancel = CancellationToken::new();
        let (sender, mut incoming) = mpsc::unbounded_channel();
        feed::start(
            self.plan,
            self.inflight,
            self.monitor,
            time_limit,
            self.output,
            &cancel,
            sender,
        );

        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut upkeep = interval(metrics::UPKEEP);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut results = Vec::new();
        let mut interrupted = None;
        loop {
            tokio::select! {
                result = incoming.recv() => match result {
                    Some(result) => self.take(result, &mut results),
                    None => break,
                },
                _ = ticks.tick() => {
                    self.progress.suspend(|| self.output.flush());
                    self.progress.update(results.len(), self.inflight.registry());
                    self.monitor.sample(self.inflight.registry(), false);
                }
                _ = upkeep.tick() => self.exposition.into_iter().for_each(Exposition::upkeep),
                status = self.signals.next() => {
                    interrupted = Some(status);
                    cancel.cancel();
                    self.streams.discard();
                    self.progress.note("stopping: waiting for what is in flight (again to stop at once)");
                }
            }
        }
        for result in self.plan.missing(&results) {
            self.take(result, &mut results);
        }
        self.progress.finish();
        self.output.flush();
        results.sort_by_key(|result| (result.script, result.copy));
        Finished {
            results,
            wall_time: started.elapsed(),
            interrupted,
        }
    }

    fn take(&mut self, result: RunResult, results: &mut Vec<RunResult>) {
        if let Err(error) = &result.report.result {
            self.progress.suspend(|| self.output.flush());
            self.progress.error(&self.plan.error_line(&result, error));
        }
        results.push(result);
    }
}

/// Where the JSON goes. Opened before anything runs: a wrong path should not cost a run.
enum Json {
    Stdout,
    File(OutFile),
}

struct OutFile {
    path: String,
    file: File,
}

#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be written: {source}")]
struct WriteError {
    path: String,
    source: io::Error,
}

impl WriteError {
    fn new(path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        Self { path, source }
    }
}

impl OutFile {
    fn create(path: &Path) -> Result<Self, WriteError> {
        let name = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(Self { path: name, file }),
            Err(error) => Err(WriteError::new(&name, error)),
        }
    }

    fn write(mut self, text: &str) -> Result<(), WriteError> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| WriteError::new(&self.path, error))
    }
}

fn open_json(path: &Path) -> Result<Json, WriteError> {
    if path == Path::new("-") {
        return Ok(Json::Stdout);
    }
    OutFile::create(path).map(Json::File)
}
