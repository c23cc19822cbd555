//! Which job runs when: the worker's one loop, and the slots that carry jobs out.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inflight_core::{Job, Queue, Transport};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::exchange::{Exchange, PauseEnd};
use crate::worker::{Control, ShutdownReport};

/// Two clocks may disagree by a little; the loop must not spin over it.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// Wakes the loop. Of many submissions in a row only the first one costs a wake-up.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: AtomicBool,
    wake: Notify,
}

impl Bell {
    pub(crate) fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Before the loop looks at anything, so that what changes afterwards rings anew.
    fn answer(&self) {
        self.rung.swap(false, Ordering::SeqCst);
    }

    async fn wait(&self, until: Option<Instant>) {
        match until {
            None => self.wake.notified().await,
            Some(until) => drop(tokio::time::timeout_at(until, self.wake.notified()).await),
        }
    }
}

impl Transport for Bell {
    fn notify(&self) {
        self.ring();
    }
}

/// What the loop and its slots share. All of it lives on the worker's thread; the lock is never contended.
pub(crate) struct Dispatch {
    queue: Mutex<Queue>,
    exchange: Exchange,
    concurrency: usize,
    busy: AtomicUsize,
    stopping: AtomicBool,
    stop: Notify,
    control: Arc<Control>,
}

impl Dispatch {
    pub(crate) fn new(queue: Queue, exchange: Exchange, concurrency: usize, control: Arc<Control>) -> Arc<Self> {
        Arc::new(Self {
            queue: Mutex::new(queue),
            exchange,
            concurrency,
            busy: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            stop: Notify::new(),
            control,
        })
    }

    /// Runs until the worker is to stop, and drains.
    pub(crate) async fn run(self: &Arc<Self>) -> ShutdownReport {
        let bell = &self.control.bell;
        loop {
            bell.answer();
            if self.control.is_stopping() {
                return self.drain().await;
            }
            let tend_again = self.fill();
            bell.wait(tend_again).await;
        }
    }

    /// Gives jobs to free slots. What cannot run yet is tended; gives when to do so again.
    fn fill(self: &Arc<Self>) -> Option<Instant> {
        while self.busy.load(Ordering::Relaxed) < self.concurrency {
            let job = self.next_job()?;
            let slot = Slot::occupy(self);
            tokio::spawn(slot.run(job));
        }
        let earliest = Instant::now() + SHORTEST_SLEEP;
        let tend_again = self.queue().tend();
        tend_again.map(|at| Instant::from_std(at).max(earliest))
    }

    fn next_job(&self) -> Option<Job> {
        if self.stopping.load(Ordering::Relaxed) {
            return None;
        }
        self.queue().pop()
    }

    /// Answers what is queued, then waits for what is in flight, up to the limit.
    async fn drain(&self) -> ShutdownReport {
        self.stopping.store(true, Ordering::Relaxed);
        self.stop.notify_waiters();
        let in_flight = self.busy.load(Ordering::Relaxed);
        let mut cancelled = 0;
        loop {
            cancelled += self.cancel_queued();
            let busy = self.busy.load(Ordering::Relaxed);
            let until = self.control.stop_until().map(Instant::from_std);
            if busy == 0 || until.is_some_and(|until| until <= Instant::now()) {
                return ShutdownReport {
                    finished: in_flight - busy,
                    cancelled,
                    abandoned: busy,
                };
            }
            self.control.bell.wait(until).await;
            self.control.bell.answer();
        }
    }

    fn cancel_queued(&self) -> usize {
        let mut cancelled = 0;
        loop {
            let Some(job) = self.queue().pop() else {
                return cancelled;
            };
            // Dropped outside the lock: ending a request wakes others.
            drop(job);
            cancelled += 1;
        }
    }

    async fn pause(&self, until: Instant) -> PauseEnd {
        let stop = self.stop.notified();
        if self.stopping.load(Ordering::Relaxed) {
            return PauseEnd::Stopped;
        }
        match tokio::time::timeout_at(until, stop).await {
            Ok(()) => PauseEnd::Stopped,
            Err(_) => PauseEnd::Over,
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the places in which requests are carried out, given back when it is dropped.
struct Slot(Arc<Dispatch>);

impl Slot {
    fn occupy(dispatch: &Arc<Dispatch>) -> Self {
        dispatch.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(dispatch))
    }

    /// Carries out this job and then one after the other, without the loop's help, as long as there are any.
    async fn run(self, first: Job) {
        let mut next = Some(first);
        while let Some(job) = next {
            self.0.exchange.carry_out(job, |until| self.0.pause(until)).await;
            next = self.0.next_job();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
        // The loop waits for this place: to end, or for the jobs that a panic kept this slot from taking.
        if self.0.stopping.load(Ordering::Relaxed) || std::thread::panicking() {
            self.0.control.bell.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inflight_core::{Method, Registry, Request};
    use std::task::Poll;

    /// With tokio's time paused, whatever wants to run within a year does so at once: so a tick would be seen.
    #[tokio::test(start_paused = true)]
    async fn an_idle_worker_is_never_woken() {
        let (registry, queue) = Registry::builder().clock(Arc::new(crate::TokioClock)).build();
        let control = Arc::new(Control::default());
        queue.attach(control.bell.clone());
        let exchange = crate::Worker::builder()
            .base_url("https://host.invalid")
            .exchange()
            .expect("the configuration is sound");
        let dispatch = Dispatch::new(queue, exchange, 1, Arc::clone(&control));
        // One request that fails at once, so that the worker is idle after work.
        let id = registry
            .submit(Request::new(Method::Get, "no path"))
            .expect("there is room");

        let mut polls = 0;
        {
            let mut run = std::pin::pin!(dispatch.run());
            let counted = std::future::poll_fn(|cx| {
                polls += 1;
                run.as_mut().poll(cx).map(drop)
            });
            let year = Duration::from_secs(365 * 24 * 3600);
            assert!(tokio::time::timeout(year, counted).await.is_err(), "nobody stopped it");
        }
        assert_eq!(registry.is_complete(id), Some(true));
        // At first, for the submission, and for the end of the year.
        assert!(polls <= 3, "{polls} polls");
    }

    #[tokio::test]
    async fn many_rings_are_one_wake_up() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        bell.wait(None).await;
        bell.answer();
        let mut wait = std::pin::pin!(bell.wait(None));
        let again = std::future::poll_fn(|cx| Poll::Ready(wait.as_mut().poll(cx).is_ready())).await;
        assert!(!again);
    }
}
