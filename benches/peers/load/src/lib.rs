//! What every client that is compared does: for some time, so many requests at once, one after the other in each of as
//! many places; then it prints one line of JSON.
//!
//! ```text
//! CLIENT URL IN_FLIGHT SECONDS
//! ```
//!
//! The line has `requests` and how long they took (`wall_s`), the processor's time of the whole process (`cpu_s`), how
//! long as many requests as are in flight took before that, on new connections (`cold_s`), and the most memory that was
//! resident (`peak_kb`).

use std::cell::Cell;
use std::fmt::Display;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// The key that all clients send.
pub const KEY: &str = "sk_test_000000000000000000000000";

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

    /// Makes requests on this thread's runtime, and prints what came of it. `place` gives what each of the places calls
    /// for each of its requests.
    ///
    /// # Panics
    /// Where a request fails.
    pub fn run<P, C, F, E>(&self, mut place: P)
    where
        P: FnMut() -> C,
        C: Fn() -> F + 'static,
        F: Future<Output = Result<(), E>> + 'static,
        E: Display,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let local = tokio::task::LocalSet::new();
        let calls: Vec<Rc<C>> = (0..self.in_flight).map(|_| Rc::new(place())).collect();
        let wave = |until: Option<Instant>| {
            let done = Rc::new(Cell::new(0));
            let tasks: Vec<_> = calls
                .iter()
                .map(|call| {
                    let (call, done) = (call.clone(), done.clone());
                    local.spawn_local(async move {
                        loop {
                            if let Err(error) = call().await {
                                panic!("a request failed: {error}");
                            }
                            done.set(done.get() + 1);
                            if until.is_none_or(|until| Instant::now() >= until) {
                                break;
                            }
                        }
                    })
                })
                .collect();
            local.block_on(&runtime, async {
                for task in tasks {
                    task.await.expect("a place's requests");
                }
            });
            done.get()
        };
        self.measure(wave);
    }

    /// The same with a thread for each place.
    ///
    /// # Panics
    /// Where a request fails, or a thread cannot be started.
    pub fn run_threads<C, E>(&self, call: C)
    where
        C: Fn() -> Result<(), E> + Send + Sync + 'static,
        E: Display,
    {
        let call = Arc::new(call);
        let wave = |until: Option<Instant>| {
            let done = Arc::new(AtomicUsize::new(0));
            let threads: Vec<_> = (0..self.in_flight)
                .map(|_| {
                    let (call, done) = (call.clone(), done.clone());
                    let start = move || {
                        loop {
                            if let Err(error) = call() {
                                panic!("a request failed: {error}");
                            }
                            done.fetch_add(1, Ordering::Relaxed);
                            if until.is_none_or(|until| Instant::now() >= until) {
                                break;
                            }
                        }
                    };
                    thread::Builder::new().spawn(start).expect("a thread")
                })
                .collect();
            for thread in threads {
                thread.join().expect("a place's requests");
            }
            done.load(Ordering::Relaxed)
        };
        self.measure(wave);
    }

    /// Once around on new connections, then for the time that was asked for.
    fn measure(&self, wave: impl Fn(Option<Instant>) -> usize) {
        let start = Instant::now();
        wave(None);
        let cold = start.elapsed();
        let (start, cpu) = (Instant::now(), processor_time());
        let requests = wave(Some(start + self.time));
        let (wall, cpu) = (start.elapsed(), processor_time() - cpu);
        let line = serde_json::json!({
            "requests": requests,
            "wall_s": wall.as_secs_f64(),
            "cpu_s": cpu.as_secs_f64(),
            "cold_s": cold.as_secs_f64(),
            "peak_kb": peak_resident(),
        });
        println!("{line}");
    }
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
