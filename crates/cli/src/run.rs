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
use inflight::stripe_rhai::HostOptions;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::args::RunArguments;
use crate::descriptors::concurrency_within_limit;
use crate::script::read_all;
use crate::signals::Signals;
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
    let (concurrency, limited) = concurrency_within_limit(arguments.concurrency, target.sockets_per_request());
    if let Some(message) = limited {
        eprintln!("inflight: {message}");
    }
    let latencies = Arc::new(Latencies::new());
    let inflight = assemble(arguments, &target, concurrency, Arc::clone(&latencies))?;
    let to_stderr = matches!(json, Some(Json::Stdout));
    let output = Arc::new(Output::new(to_stderr));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let finished = runtime.block_on(drive(arguments, &plan, &inflight, &target, &output))?;
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
        let table = table::render(&report);
        if to_stderr {
            eprint!("{table}")
        } else {
            output.write_last(&table)
        }
    }
    if let Some(json) = json {
        json.write(&report)?;
    }
    Ok(finished
        .interrupted
        .unwrap_or(if report.failed() > 0 { FAILED } else { OK }))
}

fn assemble(
    arguments: &RunArguments,
    target: &Target,
    concurrency: u32,
    latencies: Arc<Latencies>,
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
        .observer(latencies);
    if let Some(url) = &target.base_url {
        builder = builder.base_url(url);
    }
    Ok(builder.build()?)
}

struct Finished {
    results: Vec<RunResult>,
    wall_time: Duration,
    /// The exit status of the signal that came.
    interrupted: Option<u8>,
}

/// Starts the scripts and takes in their results, with signals, output and progress in between.
async fn drive(
    arguments: &RunArguments,
    plan: &Arc<Plan>,
    inflight: &Inflight,
    target: &Target,
    output: &Arc<Output>,
) -> Result<Finished, Failure> {
    let started = Instant::now();
    let cancel = CancellationToken::new();
    let (sender, mut incoming) = mpsc::unbounded_channel();
    feed::start(plan, inflight, arguments.timeout, output, &cancel, sender);

    let mut signals = Signals::new()?;
    let mut progress = Progress::new(arguments.quiet, plan.total(), &target.describe());
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut results = Vec::new();
    let mut interrupted = None;
    loop {
        tokio::select! {
            result = incoming.recv() => match result {
                Some(result) => {
                    if let Err(error) = &result.report.result {
                        progress.suspend(|| output.flush());
                        progress.error(&plan.error_line(&result, error));
                    }
                    results.push(result);
                }
                None => break,
            },
            _ = ticks.tick() => {
                progress.suspend(|| output.flush());
                progress.update(results.len(), inflight.registry());
            }
            status = signals.next() => {
                interrupted = Some(status);
                cancel.cancel();
                progress.note("stopping: waiting for what is in flight (again to stop at once)");
            }
        }
    }
    progress.finish();
    output.flush();
    results.sort_by_key(|result| (result.script, result.copy));
    Ok(Finished {
        results,
        wall_time: started.elapsed(),
        interrupted,
    })
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
    File(File),
}

#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be written: {source}")]
struct JsonError {
    path: String,
    source: io::Error,
}

fn open_json(path: &Path) -> Result<Json, JsonError> {
    if path == Path::new("-") {
        return Ok(Json::Stdout);
    }
    File::create(path).map(Json::File).map_err(|source| JsonError {
        path: path.display().to_string(),
        source,
    })
}

impl Json {
    fn write(self, report: &Report) -> Result<(), Failure> {
        let mut text = serde_json::to_string(&report.to_json())?;
        text.push('\n');
        match self {
            Self::Stdout => io::stdout().write_all(text.as_bytes())?,
            Self::File(mut file) => file.write_all(text.as_bytes())?,
        }
        Ok(())
    }
}
