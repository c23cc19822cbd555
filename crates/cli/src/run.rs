//! `inflight run`: many scripts at once, and what became of them.

mod feed;
mod output;
mod progress;
mod report;
mod table;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use inflight::Inflight;
use inflight::core::{Ended, FailureKind, Observer, RequestStatus};
use inflight::stripe::RetrySettings;
use inflight::stripe_rhai::HostOptions;
use inflight::transport::CircuitBreaker;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::args::RunArguments;
use crate::descriptors::concurrency_within_limit;
use crate::metrics::Endpoint;
use crate::script::read_all;
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

/// Longer latencies count as this: an hour, in microseconds. No deadline of a request is as far away.
const LONGEST_LATENCY_MICROS: u64 = 3_600_000_000;

type Failure = Box<dyn std::error::Error>;

/// Runs the scripts and gives the exit status.
pub(crate) fn run(arguments: &RunArguments) -> Result<u8, Failure> {
    let plan = Arc::new(Plan::new(
        arguments.scripts.clone(),
        read_all(&arguments.scripts),
        arguments.copies,
    ));
    let target = Target::of(arguments)?;
    // After everything that may be wrong with the command line and the key: a mistake there costs no earlier results.
    let json = arguments.json.as_deref().map(open_json).transpose()?;
    let endpoint = arguments.metrics.map(Endpoint::bind).transpose()?;
    let streams = Streams::start()?;
    let (concurrency, limited) = concurrency_within_limit(arguments.concurrency, target.sockets_per_request());
    if let Some(message) = limited {
        streams.stderr.write(&format!("inflight: {message}\n"));
    }
    let latencies = Arc::new(Latencies::new());
    let mut observers: Vec<Arc<dyn Observer>> = vec![latencies.clone()];
    if let Some(endpoint) = &endpoint {
        observers.push(endpoint.metrics().clone());
        let address = endpoint.address()?;
        streams
            .stderr
            .write(&format!("inflight: metrics at http://{address}/metrics\n"));
    }
    let inflight = assemble(arguments, &target, concurrency, observers)?;
    let text_stream = if matches!(json, Some(Json::Stdout)) {
        &streams.stderr
    } else {
        &streams.stdout
    };
    let output = Arc::new(Output::new(Arc::clone(text_stream)));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = Signals::new()?;
    let progress = Progress::new(
        arguments.quiet,
        Arc::clone(&streams.stderr),
        plan.total(),
        &target.describe(),
    );
    let mut run = Run {
        plan: &plan,
        inflight: &inflight,
        streams: &streams,
        output: &output,
        progress,
        signals: &mut signals,
    };
    let serving = endpoint.map(|endpoint| {
        let serving = runtime.spawn(endpoint.serve(inflight.registry().clone()));
        AbortOnDropHandle::new(serving)
    });
    let finished = runtime.block_on(run.drive(arguments.timeout));
    drop(serving);
    // What is still under way has had its scripts' whole time.
    inflight.shutdown(Duration::ZERO);
    if let Some(simulator) = target.simulator {
        simulator.shutdown();
    }

    let report = Report {
        plan: &plan,
        results: finished.results,
        counts: inflight.registry().counts(),
        latencies: latencies.histogram(),
        wall_time: finished.wall_time,
    };
    if !arguments.quiet {
        text_stream.write(&table::render(&report));
    }
    let mut interrupted = finished.interrupted;
    let mut drain = || runtime.block_on(drain(&streams, &mut signals, &mut interrupted));
    match json {
        None => drain(),
        Some(Json::File(file)) => {
            let written = file.write(&report);
            drain();
            written?;
        }
        Some(Json::Stdout) => {
            drain();
            streams.stdout.write(&report::json_line(&report)?);
            drain();
            if let Some(error) = streams.stdout.take_error() {
                return Err(JsonError::new("standard output", error).into());
            }
        }
    }
    Ok(interrupted.unwrap_or(if report.failed() > 0 { FAILED } else { OK }))
}

/// Waits until the readers have everything. A signal ends the wait.
async fn drain(streams: &Streams, signals: &mut Signals, interrupted: &mut Option<u8>) {
    tokio::select! {
        biased;
        () = streams.drained(interrupted.is_some()) => {}
        status = signals.next() => *interrupted = Some(status),
    }
}

fn assemble(
    arguments: &RunArguments,
    target: &Target,
    concurrency: u32,
    observers: Vec<Arc<dyn Observer>>,
) -> Result<Inflight, Failure> {
    let mut builder = Inflight::builder()
        .host_options(HostOptions {
            api_key: Some(target.key.clone()),
            allow_live_keys: target.live,
            ..HostOptions::default()
        })
        .threads(arguments.threads.into())
        .concurrency(usize::try_from(concurrency)?)
        .http2_prior_knowledge(arguments.http2)
        .attempt_timeout(arguments.attempt_timeout)
        .request_deadline(arguments.deadline)
        .circuit_breaker(CircuitBreaker {
            when_open: arguments.when_down,
            ..CircuitBreaker::default()
        })
        .retry(RetrySettings {
            max_retries: arguments.retries,
            ..RetrySettings::default()
        });
    for observer in observers {
        builder = builder.observer(observer);
    }
    if let Some(url) = &target.base_url {
        builder = builder.base_url(url);
    }
    if let Some(on) = arguments.pace {
        builder = builder.pace(on);
    }
    Ok(builder.build()?)
}

struct Finished {
    results: Vec<RunResult>,
    wall_time: Duration,
    /// The exit status of the signal that came.
    interrupted: Option<u8>,
}

/// What a run has to do with while its scripts run.
struct Run<'a> {
    plan: &'a Arc<Plan>,
    inflight: &'a Inflight,
    streams: &'a Streams,
    output: &'a Arc<Output>,
    progress: Progress,
    signals: &'a mut Signals,
}

impl Run<'_> {
    /// Starts the scripts and takes in their results, with signals, output and progress in between.
    async fn drive(&mut self, time_limit: Duration) -> Finished {
        let started = Instant::now();
        let cancel = CancellationToken::new();
        let (sender, mut incoming) = mpsc::unbounded_channel();
        feed::start(self.plan, self.inflight, time_limit, self.output, &cancel, sender);

        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
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
                }
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

/// How long requests took, from submission to their ending.
struct Latencies(Mutex<Histogram<u64>>);

impl Latencies {
    fn new() -> Self {
        // Creation fails for impossible bounds only.
        let histogram = Histogram::new_with_bounds(1, LONGEST_LATENCY_MICROS, 3)
            .unwrap_or_else(|_| unreachable!("an hour in microseconds to three digits is possible"));
        Self(Mutex::new(histogram))
    }

    fn histogram(&self) -> Histogram<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Latencies {
    fn ended(&self, ended: &Ended<'_>) {
        // What the end of the run abandoned says nothing about the server.
        let abandoned = matches!(ended.outcome, Err(failure) if failure.kind == FailureKind::Shutdown);
        if ended.status != RequestStatus::Cancelled && !abandoned {
            let micros = u64::try_from(ended.latency.as_micros()).unwrap_or(u64::MAX);
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .saturating_record(micros);
        }
    }
}

/// Where the JSON goes. Opened before anything runs: a wrong path should not cost a run.
enum Json {
    Stdout,
    File(JsonFile),
}

struct JsonFile {
    path: String,
    file: File,
}

#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be written: {source}")]
struct JsonError {
    path: String,
    source: io::Error,
}

impl JsonError {
    fn new(path: &str, source: io::Error) -> Self {
        let path = path.to_owned();
        Self { path, source }
    }
}

fn open_json(path: &Path) -> Result<Json, JsonError> {
    if path == Path::new("-") {
        return Ok(Json::Stdout);
    }
    let file = File::create(path);
    let path = path.display().to_string();
    match file {
        Ok(file) => Ok(Json::File(JsonFile { path, file })),
        Err(error) => Err(JsonError::new(&path, error)),
    }
}

impl JsonFile {
    fn write(mut self, report: &Report) -> Result<(), Failure> {
        let text = report::json_line(report)?;
        self.file
            .write_all(text.as_bytes())
            .map_err(|error| JsonError::new(&self.path, error))?;
        Ok(())
    }
}
