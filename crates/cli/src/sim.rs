//! `inflight sim`.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use inflight::sim::{Faults, FaultsError, PROFILES, RequestRecord, Simulator};

use crate::OK;
use crate::args::SimArguments;
use crate::descriptors::concurrency_within_limit;
use crate::signals::Signals;
use crate::stream::{remark, say};
use crate::text::printable;

/// Why there are no faults to be had.
#[derive(Debug, thiserror::Error)]
enum UnusableFaults {
    #[error("`{name}` is no profile of faults ({}), and cannot be read as a file: {source}", PROFILES.join(", "))]
    File { name: String, source: io::Error },
    #[error("{name}: {source}")]
    Text { name: String, source: FaultsError },
}

/// A profile's faults, or those of a file.
fn faults_of(name: &str) -> Result<Faults, UnusableFaults> {
    if PROFILES.contains(&name) {
        return parsed(name, name);
    }
    let text = std::fs::read_to_string(name).map_err(|source| UnusableFaults::File {
        name: printable(name).into_owned(),
        source,
    })?;
    parsed(name, &text)
}

fn parsed(name: &str, text: &str) -> Result<Faults, UnusableFaults> {
    text.parse().map_err(|source| UnusableFaults::Text {
        name: printable(name).into_owned(),
        source,
    })
}

/// So many lines of the log may wait for a slow reader.
const LOG_LINES_MAX: usize = 10_000;

/// Serves the simulator until a signal comes.
pub(crate) fn sim(arguments: &SimArguments) -> Result<u8, Box<dyn std::error::Error>> {
    // As many connections as the operating system gives.
    let _ = concurrency_within_limit(u32::MAX, 1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = Signals::new()?;
    let mut builder = Simulator::builder().listen(arguments.listen.to_string());
    if let Some(latency) = arguments.latency {
        builder = builder.latency(latency);
    }
    if let Some(faults) = &arguments.faults {
        builder = builder.faults(faults_of(faults)?);
    }
    if let Some(seed) = arguments.seed {
        builder = builder.seed(seed);
    }
    if let Some(file) = &arguments.state {
        builder = builder.state(file);
    }
    if arguments.log {
        let lines = log()?;
        // What nobody reads in time is not logged: the simulator goes on.
        builder = builder.on_request(move |record| drop(lines.try_send(line(record))));
    }
    let simulator = builder.start()?;
    say(&format!("Stripe simulator at {}\n", simulator.url()));
    remark(&format!(
        "Any key that begins with sk_test_ is taken. Try: inflight run --base-url {} SCRIPT   (Ctrl-C stops)\n",
        simulator.url()
    ));
    runtime.block_on(signals.next());
    simulator.save()?;
    simulator.shutdown();
    Ok(OK)
}

/// Writes lines to standard error, on a thread of its own.
fn log() -> io::Result<SyncSender<String>> {
    let (sender, lines) = sync_channel(LOG_LINES_MAX);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || lines.iter().for_each(|line: String| remark(&line)))?;
    Ok(sender)
}

/// One request in the log.
fn line(record: &RequestRecord) -> String {
    let operation = record.operation.filter(|name| !name.is_empty()).unwrap_or("-");
    let replayed = if record.replayed { " replayed" } else { "" };
    let path = printable(&record.path);
    format!(
        "{} {path} {operation} {} {}{replayed}\n",
        record.method, record.status, record.request_id
    )
}
