//! What every client that is compared does: as many places as there are to be requests under way, and in each of them
//! one request after the other for some time; then one line of JSON.
//!
//! ```text
//! CLIENT URL IN_FLIGHT SECONDS
//! ```
//!
//! The line has `requests` and how long they took (`wall_s`), the processor's time of the whole process for them
//! (`cpu_s`), how long one request in each place took before that, on new connections (`cold_s`) and on those again
//! (`warm_s`), and the most memory that was resident (`peak_kb`). Where a request fails, the client says so and ends
//! with 1.

use std::fmt::Display;
use std::future::Future;
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The key that all clients send.
pub const KEY: &str = "sk_test_000000000000000000000000";

/// How many requests of this wave have ended.
static DONE: AtomicUsize = AtomicUsize::new(0);

/// When places stop, in nanoseconds of the process's life: scripts ask by a function that knows nothing else.
static UNTIL: AtomicU64 = AtomicU64::new(0);

/// A request has ended, well: counts it, and says whether its place makes a further one.
#[must_use]
pub fn again() -> bool {
    DONE.fetch_add(1, Ordering::Relaxed);
    now() < UNTIL.load(Ordering::Relaxed)
}

/// Nanoseconds of a clock that only goes forward.
fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// What a client is to do.
#[derive(Clone, Debug)]
pub struct Load {
    /// Where the server is, such as `http://127.0.0.1:12111`.
    pub url: String,
    /// How many requests are under way at once.
    pub in_flight: usize,
    /// How long new ones are started.
    pub time: Duration,
}

impl Load {
    /// Reads it from the program's arguments.
    ///
    /// # Panics
    /// Where there are not three, or the last two are no numbers.
    #[must_use]
    pub fn from_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [url, in_flight, seconds] = arguments.as_slice() else {
            panic!("arguments: URL IN_FLIGHT SECONDS");
        };
        Self {
            url: url.clone(),
            in_flight: in_flight.parse().expect("how many are in flight"),
            time: Duration::from_secs_f64(seconds.parse().expect("seconds")),
        }
    }

    /// Makes requests on this thread's runtime. Each future that `place` gives makes one request after the other, for as
    /// long as [`again`] says so.
    ///
    /// # Panics
    /// Where there is no runtime.
    pub fn run<F, E>(&self, place: impl Fn() -> F)
    where
        F: Future<Output = Result<(), E>> + 'static,
        E: Display,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let local = tokio::task::LocalSet::new();
        self.measure(|| {
            let start = || {
                let place = place();
                local.spawn_local(async move { place.await.unwrap_or_else(|error| fail(error)) })
            };
            let places: Vec<_> = (0..self.in_flight).map(|_| start()).collect();
            local.block_on(&runtime, async {
                for place in places {
                    place.await.expect("a place's requests");
                }
            });
        });
    }

    /// The same with a thread for each place.
    ///
    /// # Panics
    /// Where a thread cannot be started.
    pub fn run_threads<E: Display>(&self, place: impl Fn() -> Result<(), E> + Send + Sync + 'static) {
        let place = Arc::new(place);
        self.measure(|| {
            let start = || {
                let place = place.clone();
                let run = move || place().unwrap_or_else(|error| fail(error));
                thread::Builder::new().spawn(run).expect("a thread")
            };
            let places: Vec<_> = (0..self.in_flight).map(|_| start()).collect();
            for place in places {
                place.join().expect("a place's requests");
            }
        });
    }

    /// One request in each place on new connections, one on those again, and then for the time that was asked for.
    fn measure(&self, wave: impl Fn()) {
        let timed = |time: Duration| {
            DONE.store(0, Ordering::Relaxed);
            let start = now();
            let until = if time.is_zero() {
                0
            } else {
                start + time.as_nanos() as u64
            };
            UNTIL.store(until, Ordering::Relaxed);
            let start = Instant::now();
            wave();
            (DONE.load(Ordering::Relaxed), start.elapsed())
        };
        let (_, cold) = timed(Duration::ZERO);
        let (_, warm) = timed(Duration::ZERO);
        let cpu = processor_time();
        let (requests, wall) = timed(self.time);
        let cpu = processor_time() - cpu;
        let line = serde_json::json!({
            "requests": requests,
            "wall_s": wall.as_secs_f64(),
            "cpu_s": cpu.as_secs_f64(),
            "cold_s": cold.as_secs_f64(),
            "warm_s": warm.as_secs_f64(),
            "peak_kb": peak_resident(),
        });
        println!("{line}");
    }
}

/// Ends the client: there is nothing to measure where a request fails.
fn fail(error: impl Display) -> ! {
    eprintln!("a request failed: {error}");
    exit(1)
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.try_into().expect("nanoseconds"),
    )
}

/// The most resident memory so far, in kilobytes; 0 where the system does not say.
fn peak_resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}
