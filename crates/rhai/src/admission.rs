//! How many fibers live at once: each has a stack, and stacks take mappings of which Linux gives a process only so many.

use std::fs;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// The most fibers that live at once by default.
const MOST: usize = 20_000;

/// What a process maps beside its stacks.
const OTHER_MAPPINGS: usize = 5_000;

/// A fiber's place among the living.
pub(crate) type Place = OwnedSemaphorePermit;

/// The least number of places that are kept for tasks of scripts that live.
const LEAST_RESERVE: usize = 16;

static LIMIT: OnceLock<usize> = OnceLock::new();

/// How many scripts can live at once in this process: what [`set_max_live_fibers`] has said, or else at most 20,000 and no more
/// than what Linux lets a process map (`vm.max_map_count`) has room for, since each stack takes two mappings. Further scripts
/// wait in order, without a stack.
///
/// Their tasks take of these places too, and where all are taken have half as many again: a script that lives can go on while
/// others wait to begin.
#[must_use]
pub fn max_live_fibers() -> usize {
    *LIMIT.get_or_init(|| {
        let mappings = fs::read_to_string("/proc/sys/vm/max_map_count")
            .ok()
            .and_then(|text| text.trim().parse::<usize>().ok());
        // Two mappings a stack, and half as many stacks again for tasks.
        mappings.map_or(MOST, |count| (count.saturating_sub(OTHER_MAPPINGS) / 3).clamp(1, MOST))
    })
}

/// Sets how many fibers can live at once, at least 1. Gives whether it was in time: the first fiber settles it, and so
/// does whoever asks for the limit first.
pub fn set_max_live_fibers(fibers: usize) -> bool {
    LIMIT.set(fibers.clamp(1, Semaphore::MAX_PERMITS)).is_ok()
}

fn places() -> &'static Arc<Semaphore> {
    static PLACES: OnceLock<Arc<Semaphore>> = OnceLock::new();
    PLACES.get_or_init(|| Arc::new(Semaphore::new(max_live_fibers())))
}

/// The places that only tasks can have.
fn reserve() -> &'static Arc<Semaphore> {
    static RESERVE: OnceLock<Arc<Semaphore>> = OnceLock::new();
    RESERVE.get_or_init(|| Arc::new(Semaphore::new((max_live_fibers() / 2).max(LEAST_RESERVE))))
}

/// Scripts that wait for a place.
static QUEUED: AtomicUsize = AtomicUsize::new(0);
/// How often a slice was over before its script waited for something.
static PREEMPTIONS: AtomicU64 = AtomicU64::new(0);

/// How the fibers of this process stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FiberCounts {
    /// Scripts and tasks that have a stack.
    pub live: usize,
    /// Scripts that wait for a place among the living.
    pub queued: usize,
    /// How often a script that computed was stopped, so far, so that others go on.
    pub preemptions: u64,
}

/// How the fibers of this process stand. It reads a few counters and waits for nothing.
#[must_use]
pub fn fiber_counts() -> FiberCounts {
    let reserved = (max_live_fibers() / 2).max(LEAST_RESERVE);
    let taken = |places: usize, semaphore: &Semaphore| places.saturating_sub(semaphore.available_permits());
    FiberCounts {
        live: taken(max_live_fibers(), places()) + taken(reserved, reserve()),
        queued: QUEUED.load(Ordering::Relaxed),
        preemptions: PREEMPTIONS.load(Ordering::Relaxed),
    }
}

pub(crate) fn preempted() {
    PREEMPTIONS.fetch_add(1, Ordering::Relaxed);
}

/// A place for a task of a script that lives. Scripts that wait for one do not hold it up.
pub(crate) fn try_enter_task() -> Option<Place> {
    try_enter().or_else(|| Arc::clone(reserve()).try_acquire_owned().ok())
}

/// A place, if one is free and nobody waits for it.
fn try_enter() -> Option<Place> {
    Arc::clone(places()).try_acquire_owned().ok()
}

/// Waiting for a place, first come, first served.
#[derive(Default)]
pub(crate) struct Entrance(Option<Pin<Box<Waiting>>>);

/// Counts as waiting until it is dropped.
struct Queued;

impl Queued {
    fn new() -> Self {
        QUEUED.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        QUEUED.fetch_sub(1, Ordering::Relaxed);
    }
}

type Waiting = dyn Future<Output = Result<Place, AcquireError>>;

impl Entrance {
    pub(crate) fn poll_enter(&mut self, cx: &mut Context<'_>) -> Poll<Option<Place>> {
        if self.0.is_none()
            && let Some(place) = try_enter()
        {
            return Poll::Ready(Some(place));
        }
        let waiting = self.0.get_or_insert_with(|| {
            let queued = Queued::new();
            Box::pin(async move {
                let place = Arc::clone(places()).acquire_owned().await;
                drop(queued);
                place
            })
        });
        // The places are never closed.
        waiting.as_mut().poll(cx).map(Result::ok)
    }
}
