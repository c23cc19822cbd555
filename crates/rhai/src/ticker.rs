//! When a time slice is over: one thread that counts slices, parked while no script computes.
//!
//! Reading a counter at every operation is cheap; reading the clock is not (some 450 ns per turn of a counting loop).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// How long a script may compute before the others on its thread have their turn.
pub(crate) const SLICE: Duration = Duration::from_millis(1);

/// The ticker parks after this many slices in which no script ran.
const IDLE_SLICES: u32 = 20;

static SLICES: AtomicU64 = AtomicU64::new(0);
static BUSY: AtomicBool = AtomicBool::new(false);
static PARKED: AtomicBool = AtomicBool::new(false);

/// The number of the present slice.
#[inline]
pub(crate) fn slice() -> u64 {
    SLICES.load(Ordering::Relaxed)
}

/// Says that a script runs, so that slices are counted.
#[inline]
pub(crate) fn keep_ticking() {
    // Sequentially consistent, here and in the loop: either the ticker sees that a script runs, or we see that it has parked.
    BUSY.store(true, Ordering::SeqCst);
    if PARKED.load(Ordering::SeqCst) {
        ticker().unpark();
    }
}

/// Starts the ticker where it does not run yet.
pub(crate) fn start() {
    ticker();
}

fn ticker() -> &'static Thread {
    static TICKER: OnceLock<Thread> = OnceLock::new();
    TICKER.get_or_init(|| {
        let spawned = thread::Builder::new()
            .name("inflight-ticker".into())
            .spawn(tick)
            .map(|handle| handle.thread().clone());
        // Without a ticker scripts are not preempted; they still run, wait and end. Unparking oneself is harmless.
        spawned.unwrap_or_else(|_| thread::current())
    })
}

fn tick() {
    let mut idle = 0;
    loop {
        thread::sleep(SLICE);
        SLICES.fetch_add(1, Ordering::Relaxed);
        idle = if BUSY.swap(false, Ordering::SeqCst) {
            0
        } else {
            idle + 1
        };
        if idle > IDLE_SLICES {
            PARKED.store(true, Ordering::SeqCst);
            while !BUSY.load(Ordering::SeqCst) {
                thread::park();
            }
            PARKED.store(false, Ordering::SeqCst);
            idle = 0;
        }
    }
}
