//! `inflight work`: sends what others have submitted.

use std::time::Duration;

use inflight::Inflight;
use tokio::time::{interval, timeout};

use crate::args::WorkArguments;
use crate::descriptors::concurrency_within_limit;
use crate::durable;
use crate::operate::{Failure, counted, show};
use crate::sending::configure;
use crate::signals::Signals;
use crate::stream::remark;
use crate::target::Target;

/// How often it is looked whether what was in flight has ended.
const LOOK: Duration = Duration::from_millis(20);

/// Sends until a signal comes, and gives its exit status.
pub(crate) fn work(arguments: &WorkArguments) -> Result<u8, Failure> {
    let target = Target::of(&arguments.sending, None)?;
    let (concurrency, limited) = concurrency_within_limit(arguments.sending.concurrency, target.sockets_per_request());
    if let Some(message) = limited {
        remark(&format!("inflight: {message}\n"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = Signals::new()?;
    let url = &arguments.store.url;
    let store = durable::open(Some(url), &arguments.sending, &target)?;
    let mut builder = configure(&arguments.sending, &target, concurrency)?;
    if let Some(store) = store {
        builder = builder.store(store);
    }
    let inflight = builder.build()?;
    show(&format!(
        "sending from {} to {}, {concurrency} at once (Ctrl-C stops)\n",
        durable::shown(url),
        target.describe()
    ));
    let status = runtime.block_on(signals.next());
    remark("stopping: waiting for what is in flight (again to stop at once)\n");
    inflight.pause();
    runtime.block_on(in_flight_ended(&inflight, arguments.sending.attempt_timeout));
    // Before the shutdown, which counts as failed what it leaves to others.
    let counts = inflight.registry().counts();
    inflight.shutdown(Duration::ZERO);
    show(&format!(
        "{}: {} completed, {} failed, {} timed out, {} cancelled; {} retries\n",
        counted(
            counts.completed + counts.failed + counts.timeout + counts.cancelled,
            "request"
        ),
        counts.completed,
        counts.failed,
        counts.timeout,
        counts.cancelled,
        counts.retries
    ));
    Ok(status)
}

/// Waits until nothing is in flight, but no longer than an attempt may take.
async fn in_flight_ended(inflight: &Inflight, limit: Duration) {
    let ended = async {
        let mut looks = interval(LOOK);
        while inflight.registry().in_flight() > 0 {
            looks.tick().await;
        }
    };
    let _ = timeout(limit, ended).await;
}
