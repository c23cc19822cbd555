//! `inflight sim`.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use inflight::sim::{RequestRecord, Simulator};

use crate::OK;
use crate::args::SimArguments;
use crate::descriptors::concurrency_within_limit;
use crate::signals::Signals;
use crate::stream::say;

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
    say(io::stdout(), &format!("Stripe simulator at {}\n", simulator.url()));
    say(
        io::stderr(),
        &format!(
            "Any key that begins with sk_test_ is taken. Try: inflight run --base-url {} SCRIPT   (Ctrl-C stops)\n",
            simulator.url()
        ),
    );
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
        .spawn(move || lines.iter().for_each(|line: String| say(io::stderr(), &line)))?;
    Ok(sender)
}

/// One request in the log.
fn line(record: &RequestRecord) -> String {
    let operation = record.operation.filter(|name| !name.is_empty()).unwrap_or("-");
    let replayed = if record.replayed { " replayed" } else { "" };
    // A path is the client's: nothing of it may move a terminal's cursor.
    let path: String = record
        .path
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    format!(
        "{} {path} {operation} {} {}{replayed}\n",
        record.method, record.status, record.request_id
    )
}
