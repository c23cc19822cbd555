//! Which job runs when: the worker's one loop, and the carriers that make its attempts.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inflight_core::Transport;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::carrier::{Carriers, Load};
use crate::exchange::{Exchange, Report};
use crate::schedule::{Cleared, Schedule};
use crate::seeking::Seeking;
use crate::work::{Permit, Work};
use crate::worker::{Control, ShutdownReport};

/// Two clocks may disagree by a little; the loop must not spin over it.
const SHORTEST_SLEEP: Duration = Duration::from_millis(1);

/// What the loop waits for, when it has started what it could.
enum Turn {
    /// For some of the requests to find a connection: as many look for one as may.
    Full,
    /// For the bell, or this time.
    Until(Option<Instant>),
}

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

/// What the loop and its carriers share. All of it lives on the worker's thread; the locks are never contended.
pub(crate) struct Dispatch {
    schedule: Mutex<Schedule>,
    carriers: Carriers,
    exchange: Arc<Exchange>,
    seeking: Seeking,
    concurrency: usize,
    busy: AtomicUsize,
    stopping: AtomicBool,
    control: Arc<Control>,
}

impl Dispatch {
    pub(crate) fn new(
        schedule: Schedule,
        exchange: Arc<Exchange>,
        concurrency: usize,
        control: Arc<Control>,
    ) -> Arc<Self> {
        Arc::new(Self {
            schedule: Mutex::new(schedule),
            carriers: Carriers::default(),
            exchange,
            seeking: Seeking::default(),
            concurrency,
            busy: AtomicUsize::new(0),
            stopping: AtomicBool::new(false),
            control,
        })
    }

    pub(crate) fn seeking(&self) -> &Seeking {
        &self.seeking
    }

    /// Runs until the worker is to stop, and drains. What is still in flight then is dropped, which ends it.
    pub(crate) async fn run(self: &Arc<Self>) -> ShutdownReport {
        let bell = &self.control.bell;
        let mut crowded = None;
        loop {
            bell.answer();
            if self.control.is_stopping() {
                let report = self.drain().await;
                self.carriers.stop().await;
                return report;
            }
            match self.fill() {
                Turn::Full => crowded = Some(self.seeking.wait_for_room(crowded).await),
                Turn::Until(tend_again) => {
                    crowded = None;
                    self.seeking.calm();
                    bell.wait(tend_again).await;
                }
            }
        }
    }

    /// Gives requests to free slots. What cannot run yet is tended.
    fn fill(self: &Arc<Self>) -> Turn {
        let now = Instant::now();
        for _ in 0..self.seeking.room() {
            let free = self.busy.load(Ordering::Relaxed) < self.concurrency && !self.control.is_paused();
            let mut schedule = self.schedule();
            let next = if free { schedule.next(now) } else { None };
            let Some(work) = next else {
                let tend_again = schedule.tend(free, now);
                return Turn::Until(tend_again.map(|at| at.max(now + SHORTEST_SLEEP)));
            };
            drop(schedule);
            let slot = Slot::occupy(self);
            self.carriers.give(Load { slot, work });
        }
        self.schedule().tend(false, now);
        Turn::Full
    }

    /// Answers what is queued, then waits for what is in flight, up to the limit.
    async fn drain(&self) -> ShutdownReport {
        self.stopping.store(true, Ordering::Relaxed);
        let in_flight = self.busy.load(Ordering::Relaxed);
        let mut cleared = Cleared::default();
        loop {
            let now = Instant::now();
            let more = self.schedule().clear(now);
            cleared.cancelled += more.cancelled;
            cleared.given_up += more.given_up;
            cleared.left += more.left;
            let busy = self.busy.load(Ordering::Relaxed);
            let until = self.control.stop_until().map(Instant::from_std);
            if busy == 0 || until.is_some_and(|until| until <= now) {
                return ShutdownReport {
                    finished: in_flight - busy,
                    cancelled: cleared.cancelled,
                    given_up: cleared.given_up,
                    abandoned: busy,
                    left: cleared.left,
                };
            }
            self.control.bell.wait(until).await;
            self.control.bell.answer();
        }
    }

    fn schedule(&self) -> MutexGuard<'_, Schedule> {
        self.schedule.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the places in which requests are carried out, given back when it is dropped.
pub(crate) struct Slot(Arc<Dispatch>);

impl Slot {
    fn occupy(dispatch: &Arc<Dispatch>) -> Self {
        dispatch.busy.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(dispatch))
    }

    pub(crate) fn carriers(&self) -> &Carriers {
        &self.0.carriers
    }

    /// Makes this attempt and then one after the other, without the loop's help, as long as there is something to send.
    pub(crate) async fn run(&self, first: Work) {
        let mut next = Some(first);
        while let Some(Work { stage, permit, held }) = next {
            let holding = Holding {
                dispatch: &self.0,
                permit,
            };
            let report = self.0.exchange.turn(stage, held.so_far(), &self.0.seeking).await;
            next = holding.settle(report);
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

/// What a request holds while it is sent. Given back in any case, after a panic too.
struct Holding<'a> {
    dispatch: &'a Dispatch,
    permit: Permit,
}

impl Holding<'_> {
    /// Gives everything back, and takes the next request.
    fn settle(mut self, report: Report) -> Option<Work> {
        let permit = std::mem::take(&mut self.permit);
        let now = Instant::now();
        let mut schedule = self.dispatch.schedule();
        schedule.settle(permit, report, now);
        let control = &self.dispatch.control;
        let next = if control.is_paused() || control.is_stopping() {
            None
        } else {
            schedule.next(now)
        };
        // Times and further slots are the loop's to look after.
        if schedule.has_waiting() {
            self.dispatch.control.bell.ring();
        }
        next
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        let permit = std::mem::take(&mut self.permit);
        if !permit.is_empty() {
            // It may have been sent.
            let now = Instant::now();
            self.dispatch.schedule().settle(permit, Report::nothing(now), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Worker;
    use crate::work::{Again, Progress, Stage};
    use inflight_core::{
        Effect, FailedAttempt, Failure, FailureKind, Method, Outcome, PlainHttp, Policy, Registry, Request, Response,
        RetryDecision, SessionLimits,
    };
    use std::task::Poll;

    /// With tokio's time paused, whatever wants to run within a year does so at once: so a tick would be seen.
    #[tokio::test(start_paused = true)]
    async fn an_idle_worker_is_never_woken() {
        let (registry, queue) = Registry::builder().clock(Arc::new(crate::TokioClock)).build();
        let control = Arc::new(Control::default());
        queue.attach(control.bell.clone());
        let dispatch = Worker::builder()
            .base_url("https://host.invalid")
            .dispatch()
            .expect("the configuration is sound")(queue, Arc::clone(&control));
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

    /// Repeats once, after a pause anywhere up to the bound, and notes when it was asked again.
    struct Herding(Mutex<Vec<Duration>>);

    const BOUND: Duration = Duration::from_millis(500);

    impl Policy for Herding {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }

        fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
            if attempt.attempts == 1 {
                assert_eq!(attempt.elapsed, Duration::ZERO, "they fail together");
                return RetryDecision::After(BOUND.mul_f64(attempt.random));
            }
            self.0.lock().expect("nobody panics with it").push(attempt.elapsed);
            RetryDecision::Stop
        }
    }

    /// A thousand requests fail in the same instant. Time is paused, so that when each comes back is known to the millisecond.
    #[tokio::test(start_paused = true)]
    async fn a_herd_comes_back_evenly_spread() {
        const HERD: usize = 1_000;
        const BINS: usize = 20;
        fastrand::seed(1);
        let (registry, queue) = Registry::builder().clock(Arc::new(crate::TokioClock)).build();
        let control = Arc::new(Control::default());
        queue.attach(control.bell.clone());
        let policy = Arc::new(Herding(Mutex::default()));
        let dispatch = Worker::builder()
            .base_url("https://host.invalid")
            .policy(policy.clone())
            .retry_budget(crate::RetryBudget::unlimited())
            .dispatch()
            .expect("the configuration is sound")(queue, Arc::clone(&control));
        let session = registry.session_with(SessionLimits {
            pending: HERD,
            unsent: HERD,
        });
        for _ in 0..HERD {
            // Nothing is sent: it fails at once, whatever the machine.
            session
                .submit(Request::new(Method::Get, "no path"))
                .expect("there is room");
        }
        assert!(
            tokio::time::timeout(BOUND * 4, dispatch.run()).await.is_err(),
            "nobody stopped it"
        );

        let mut histogram = [0; BINS];
        let mut by_millisecond = std::collections::HashMap::<u128, usize>::new();
        for elapsed in policy.0.lock().expect("nobody panics with it").iter() {
            let bin = (elapsed.as_secs_f64() / BOUND.as_secs_f64() * BINS as f64) as usize;
            // The last ones are woken up to two milliseconds after the bound.
            histogram[bin.min(BINS - 1)] += 1;
            assert!(*elapsed <= BOUND + 2 * SHORTEST_SLEEP, "{elapsed:?}");
            *by_millisecond.entry(elapsed.as_millis()).or_default() += 1;
        }
        assert_eq!(histogram.iter().sum::<usize>(), HERD);
        // Fifty each, and six standard deviations are 41.
        assert!(histogram.iter().all(|count| (9..=91).contains(count)), "{histogram:?}");
        let spike = by_millisecond.values().max();
        assert!(spike.is_some_and(|spike| *spike <= 14), "two each, but once {spike:?}");
    }

    /// The calendar goes on while a machine sleeps, and the clock of deadlines does not.
    #[tokio::test]
    async fn a_key_that_was_forgotten_while_the_machine_slept_is_not_sent_again() {
        struct Forgetful;
        impl Policy for Forgetful {
            fn classify(&self, request: &Request, response: Response) -> Outcome {
                PlainHttp.classify(request, response)
            }
            fn repeatable_for(&self, _: &Request) -> Option<Duration> {
                Some(Duration::from_secs(23 * 3600))
            }
        }
        let (_, unused) = Registry::new();
        let dispatch = Worker::builder()
            .base_url("https://host.invalid")
            .policy(Arc::new(Forgetful))
            .dispatch()
            .expect("the configuration is sound")(unused, Arc::new(Control::default()));
        let (registry, mut queue) = Registry::new();
        // Nothing could be sent: it would fail at once.
        let request = Request::new(Method::Post, "no path");
        let id = registry.submit(request).expect("there is room");
        let mut in_flight = queue.pop().expect("it is queued").start().await.expect("it begins");
        let now = Instant::now();
        in_flight.wait(Effect::Unknown, now.into_std());
        let slept = Duration::from_secs(24 * 3600);
        let again = Again {
            in_flight,
            progress: Progress {
                attempts: 1,
                in_doubt: true,
                first: std::time::SystemTime::now().checked_sub(slept),
                ..Progress::default()
            },
            failure: Failure::new(FailureKind::Http, Effect::Unknown, "before the sleep"),
            expires: now + slept,
        };
        let stage = Stage::Again(Box::new(again));
        let report = dispatch.exchange.turn(stage, Duration::ZERO, dispatch.seeking()).await;
        assert!(report.again.is_none());
        let failed = registry
            .take_result(id)
            .expect("it has ended")
            .expect_err("it has failed");
        assert_eq!((&*failed.message, failed.effect), ("before the sleep", Effect::Unknown));
    }

    /// What was started counts until a connection writes it.
    #[tokio::test]
    async fn no_more_are_started_than_may_look_for_a_connection() {
        let (registry, queue) = Registry::new();
        let control = Arc::new(Control::default());
        queue.attach(control.bell.clone());
        let dispatch = Worker::builder()
            .base_url("http://127.0.0.1:9")
            .dispatch()
            .expect("the configuration is sound")(queue, control);
        let room = dispatch.seeking().room();
        for _ in 0..=room {
            let request = Request::new(Method::Get, "/");
            registry.submit(request).expect("there is room");
        }
        assert!(matches!(dispatch.fill(), Turn::Full));
        assert_eq!(dispatch.busy.load(Ordering::Relaxed), room);

        let body = crate::body::WatchedBody::new(
            bytes::Bytes::new(),
            crate::body::Begun::not_yet(dispatch.seeking().begin()),
        );
        assert_eq!(dispatch.seeking().room(), room - 1);
        assert!(http_body::Body::is_end_stream(&body));
        assert_eq!(dispatch.seeking().room(), room);
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
