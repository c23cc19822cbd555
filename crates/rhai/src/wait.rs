//! Waiting for a Rust future from within a script.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::time::Duration;

use inflight_core::SystemClock;
use rhai::{Dynamic, EvalAltResult, Position};

use crate::collect::{is_collecting, refused};
use crate::coroutine::{on_hosts_stack, running};
use crate::error::script_error;
use crate::state::Stop;

thread_local! {
    static MAY_PARK: Cell<bool> = const { Cell::new(false) };
}

/// Waits for a future from within a host function.
///
/// In a fiber the script is suspended and its thread goes on with others. On a plain thread the thread is parked. On a thread
/// that drives a tokio runtime, parking would stop the runtime and with it what is waited for: that is an error.
///
/// What is allocated while the future is polled is not charged to the script, nor is what it gives: make the script's value of that after
/// the wait, and let go of the rest [`uncharged`](crate::uncharged()), or it is a credit with which the script can hold more than it may.
///
/// # Errors
/// Where the script is to stop (cancelled, out of time): give the error on, a script cannot catch it. And on a tokio thread
/// outside a fiber, as said; while a batch takes a request; and in a [`Run`](crate::Run), except from within
/// [`journalled`](crate::journalled): what a script learns there has to be written down.
pub fn wait<F: Future>(future: F) -> Result<F::Output, Box<EvalAltResult>> {
    if is_collecting() {
        return Err(refused("nothing can be waited for"));
    }
    match running() {
        Some(context) if context.script.replay.is_some() && context.call.get().is_none() => Err(script_error(
            "not_replayable",
            "a function of the host's waits, and a run that is replayed has to know what for: the host is to use `journalled`",
        )),
        Some(context) => context.run_to_end(pin!(future)).map_err(terminated),
        None => {
            may_park()?;
            Ok(inflight_core::block_on(future))
        }
    }
}

/// Waits for a future for at most this time; `None` where it ran out.
///
/// # Errors
/// As [`wait`]. In a fiber a limit also needs a tokio runtime, whose timers it uses.
pub fn within<F: Future>(limit: Option<Duration>, future: F) -> Result<Option<F::Output>, Box<EvalAltResult>> {
    let Some(limit) = limit else {
        return wait(future).map(Some);
    };
    if running().is_none() && !is_collecting() {
        may_park()?;
        return Ok(inflight_core::block_on_for(future, Some(limit), &SystemClock));
    }
    may_use_timers()?;
    let ended = wait(tokio::time::timeout(limit, pin!(future)))?;
    Ok(ended.ok())
}

/// As [`within`], for a future that asks for nothing of the running script: it is polled on the stack of whoever runs the script,
/// and the script holds the less while it waits.
pub(crate) fn within_own<F: Future>(
    limit: Option<Duration>,
    future: F,
) -> Result<Option<F::Output>, Box<EvalAltResult>> {
    let Some(limit) = limit else {
        return wait(on_hosts(pin!(future))).map(Some);
    };
    if running().is_none() || is_collecting() {
        return within(Some(limit), future);
    }
    may_use_timers()?;
    let ended = wait(on_hosts(pin!(tokio::time::timeout(limit, future))))?;
    Ok(ended.ok())
}

fn on_hosts<F: Future>(mut future: Pin<&mut F>) -> impl Future<Output = F::Output> {
    poll_fn(move |cx| on_hosts_stack(|| future.as_mut().poll(cx)))
}

fn may_use_timers() -> Result<(), Box<EvalAltResult>> {
    if tokio::runtime::Handle::try_current().is_err() {
        return Err(script_error(
            "no_runtime",
            "waiting for a time needs a tokio runtime: poll the script's future on one",
        ));
    }
    Ok(())
}

fn may_park() -> Result<(), Box<EvalAltResult>> {
    if tokio::runtime::Handle::try_current().is_ok() && !MAY_PARK.get() {
        return Err(script_error(
            "would_block",
            "this thread drives an async runtime, and waiting would stop it: evaluate the script with eval_async, or within \
             allow_parking on a thread that may block",
        ));
    }
    Ok(())
}

/// Says that this thread may be parked although it belongs to a tokio runtime: for plain engines inside `spawn_blocking`.
pub fn allow_parking<R>(body: impl FnOnce() -> R) -> R {
    struct Reset(bool);
    impl Drop for Reset {
        fn drop(&mut self) {
            MAY_PARK.set(self.0);
        }
    }
    let _reset = Reset(MAY_PARK.replace(true));
    body()
}

/// The error that ends a script and that it cannot catch.
pub(crate) fn terminated(stop: Stop) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorTerminated(token(stop), Position::NONE))
}

pub(crate) fn token(stop: Stop) -> Dynamic {
    match stop {
        Stop::Cancelled => "cancelled",
        Stop::TimeLimit => "time limit",
        Stop::Operations => "operation limit",
        Stop::Stack => "stack limit",
        Stop::Heap => "heap limit",
        Stop::Replay => "replay",
        Stop::Panic => "panic",
    }
    .into()
}
