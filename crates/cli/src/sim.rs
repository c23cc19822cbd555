//! `inflight sim`.

use std::io;

use inflight::sim::Simulator;

use crate::OK;
use crate::args::SimArguments;
use crate::descriptors::concurrency_within_limit;
use crate::signals::Signals;
use crate::stream::say;

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
    simulator.shutdown();
    Ok(OK)
}
