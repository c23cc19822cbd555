//! The worker's thread, seen from outside.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use inflight_core::Queue;
use tokio::runtime::{LocalOptions, LocalRuntime};

use crate::WorkerBuilder;
use crate::builder::StartError;
use crate::dispatch::{Bell, Dispatch};

thread_local! {
    /// When a worker's thread last found nothing to do.
    static FELL_ASLEEP: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// How long a thread that was told to stop may take beyond its limit. Only a policy or an observer that blocks takes longer,
/// and then the thread is left behind rather than waited for.
const GRACE: Duration = Duration::from_secs(2);

/// What became of a worker's requests when it was shut down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShutdownReport {
    /// Requests that were in flight and ended by themselves within the limit.
    pub finished: usize,
    /// Requests that were queued, and ended as `Cancelled` with effect `none`.
    pub cancelled: usize,
    /// Requests that waited for a further attempt, and ended as the last one had failed.
    pub given_up: usize,
    /// Requests that were in flight when the limit had passed, and ended as `Failed` with effect `unknown` (reads: `none`).
    pub abandoned: usize,
    /// Requests that were queued or waited for a further attempt, and stay in the durable store, where there is one: a process that
    /// works on the same store goes on with them.
    pub left: usize,
}

/// How the worker's thread is told to stop, and tells that it has.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) bell: Arc<Bell>,
    paused: AtomicBool,
    stop: Mutex<Stop>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct Stop {
    asked: bool,
    /// Until when what is in flight may finish; `None` is forever.
    until: Option<Instant>,
    report: Option<ShutdownReport>,
}

impl Control {
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop().asked
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    pub(crate) fn stop_until(&self) -> Option<Instant> {
        self.stop().until
    }

    /// A second call can only shorten the time.
    fn ask_to_stop(&self, limit: Duration) {
        {
            let mut stop = self.stop();
            let until = Instant::now().checked_add(limit);
            stop.until = if stop.asked {
                [stop.until, until].into_iter().flatten().min()
            } else {
                until
            };
            stop.asked = true;
        }
        self.bell.ring();
    }

    fn report(&self, report: ShutdownReport) {
        self.stop().report.get_or_insert(report);
        self.stopped.notify_all();
    }

    /// Waits for the thread's last word. `None` where it does not come in time.
    fn wait(&self) -> Option<ShutdownReport> {
        let mut stop = self.stop();
        while stop.report.is_none() {
            let Some(until) = stop.until else {
                stop = self.stopped.wait(stop).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = (until + GRACE).saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            stop = self
                .stopped
                .wait_timeout(stop, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        stop.report
    }

    fn stop(&self) -> MutexGuard<'_, Stop> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reports in any case, also where the thread panics.
struct LastWord(Arc<Control>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.report(ShutdownReport::default());
    }
}

/// The worker's thread.
fn run<Guest, Fut>(runtime: LocalRuntime, dispatch: Arc<Dispatch>, guest: Option<Guest>, control: Arc<Control>)
where
    Guest: FnOnce() -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    // Declared first, so that it speaks when all requests have ended.
    let last_word = LastWord(control);
    let guest = runtime.block_on(async {
        let guest = guest.map(|guest| tokio::task::spawn_local(guest()));
        let report = dispatch.run().await;
        drop(dispatch);
        last_word.0.report(report);
        guest
    });
    if let Some(guest) = guest {
        // Where it panics, that has been printed.
        let _ = runtime.block_on(guest);
    }
    // Waits for nothing, such as a slow look-up of a name.
    runtime.shutdown_background();
}

/// A running worker: one thread that sends the requests of one registry.
///
/// Dropping it shuts it down within [`WorkerBuilder::drain_limit`].
pub struct Worker {
    control: Arc<Control>,
    thread: Mutex<Option<JoinHandle<()>>>,
    thread_id: ThreadId,
    drain_limit: Duration,
}

impl Worker {
    /// Starts to configure a worker.
    #[must_use]
    pub fn builder() -> WorkerBuilder {
        WorkerBuilder::default()
    }

    pub(crate) fn start<Guest, Fut>(
        queue: Queue,
        drain_limit: Duration,
        dispatch: impl FnOnce(Queue, Arc<Control>) -> Arc<Dispatch>,
        guest: Option<Guest>,
    ) -> Result<Self, StartError>
    where
        Guest: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + 'static,
    {
        let control = Arc::new(Control::default());
        queue.attach(Arc::clone(&control.bell) as Arc<_>);
        let dispatch = dispatch(queue, Arc::clone(&control));
        let has_guest = guest.is_some();
        let told = Arc::clone(&control);
        let (begun, begins) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("inflight-worker".to_owned())
            .spawn(move || {
                let seeking = dispatch.seeking().clone();
                // A runtime of tasks that stay on their thread is made on it.
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .on_thread_park(|| FELL_ASLEEP.set(Some(Instant::now())))
                    .on_thread_unpark(move || {
                        if let Some(fell_asleep) = FELL_ASLEEP.take() {
                            seeking.note_sleep(fell_asleep.elapsed());
                        }
                    })
                    .build_local(LocalOptions::default());
                let _ = begun.send(
                    runtime
                        .as_ref()
                        .map(drop)
                        .map_err(|error| io::Error::from(error.kind())),
                );
                if let Ok(runtime) = runtime {
                    run(runtime, dispatch, guest, told);
                }
            })
            .map_err(StartError::Thread)?;
        if let Ok(Err(error)) = begins.recv() {
            return Err(StartError::Runtime(error));
        }
        Ok(Self {
            control,
            thread_id: thread.thread().id(),
            // A guest may go on after the worker: nobody waits for it.
            thread: Mutex::new(Some(thread).filter(|_| !has_guest)),
            drain_limit,
        })
    }

    /// Sends nothing new until [`resume`](Self::resume): no first and no further attempt. What is under way finishes, requests are
    /// accepted as before, and deadlines go on. A worker that is shut down while it pauses drains as any other.
    pub fn pause(&self) {
        self.control.paused.store(true, Ordering::SeqCst);
    }

    /// Sends again.
    pub fn resume(&self) {
        self.control.paused.store(false, Ordering::SeqCst);
        self.control.bell.ring();
    }

    /// Whether the worker pauses. By default it does not.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.control.is_paused()
    }

    /// Stops the worker and waits for it, so do not call it on a thread that drives an async runtime. Queued requests end as
    /// `Cancelled`; what is in flight may finish within `limit`; what waits for a further attempt ends at once, with the last
    /// failure. What is submitted later is accepted and ends as `Cancelled`.
    ///
    /// A second call, from another thread or later, gives the same report; it can shorten the first one's limit, not extend it.
    /// A report of zeros also comes from a thread that panicked or that is blocked by a policy or an observer.
    pub fn shutdown(&self, limit: Duration) -> ShutdownReport {
        self.control.ask_to_stop(limit);
        // The thread itself, such as an observer that drops the worker, cannot wait for its own end.
        if std::thread::current().id() == self.thread_id {
            return ShutdownReport::default();
        }
        let Some(report) = self.control.wait() else {
            return ShutdownReport::default();
        };
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has said its last word: a panic has been printed, and its requests have ended.
            let _ = thread.join();
        }
        report
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.shutdown(self.drain_limit);
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("stopping", &self.control.is_stopping())
            .finish_non_exhaustive()
    }
}
