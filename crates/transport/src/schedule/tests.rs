//! Endless urgent work and one request that is not urgent: its turn comes, wherever either of them waits.

use std::borrow::Cow;

use inflight_core::{
    Effect, Failure, FailureKind, Method, Outcome, PaceClass, PaceLimit, PlainHttp, Policy, Registry, Request,
    Response, block_on,
};

use super::*;
use crate::work::{Again, Progress};
use crate::{CircuitBreaker, Worker};

/// Gives a pace to `/paced` and `/slow`.
struct Paced;

impl Policy for Paced {
    fn classify(&self, request: &Request, response: Response) -> Outcome {
        PlainHttp.classify(request, response)
    }

    fn pace_class(&self, request: &Request, _: Option<&inflight_core::Secret>) -> Option<PaceClass> {
        let limit = match &*request.target {
            "/paced" => PaceLimit::per_second(100_000),
            "/slow" => PaceLimit::per_second(25),
            _ => return None,
        };
        Some(PaceClass {
            account: Some(limit),
            endpoint: Cow::Owned(request.target.to_string()),
            limit,
        })
    }
}

/// A schedule with one slot, whose time goes on by a millisecond with each request.
struct World {
    registry: Registry,
    schedule: Schedule,
    now: Instant,
    /// Whether requests fail and are to be sent again at once, without an end.
    retries: bool,
}

impl World {
    fn new(pace: bool) -> Self {
        let (registry, queue) = Registry::new();
        let exchange = Worker::builder()
            .base_url("http://127.0.0.1:9")
            .policy(Arc::new(Paced))
            .exchange();
        let breakers = Breakers::new(CircuitBreaker::default());
        let pacer = pace.then(Pacer::new);
        Self {
            registry,
            schedule: Schedule::new(queue, Arc::new(exchange.unwrap()), breakers, pacer),
            now: Instant::now(),
            retries: false,
        }
    }

    fn submit(&self, target: &str, priority: Priority) {
        let request = Request::new(Method::Get, target).priority(priority);
        self.registry.submit(request).unwrap();
    }

    /// Sends one request and gives its priority.
    fn send(&mut self) -> Priority {
        self.now += Duration::from_millis(1);
        let Work { stage, permit, .. } = self.schedule.next(self.now).expect("something is ready");
        let mut in_flight = match stage {
            Stage::Fresh(job) => block_on(job.start()),
            Stage::Again(again) => block_on(again.in_flight.resume()),
        }
        .expect("nobody ended it");
        let priority = in_flight.request().priority;
        let mut report = Report::nothing(self.now);
        if self.retries {
            in_flight.wait(Effect::None, self.now.into_std());
            let again = Again {
                expires: Instant::from_std(in_flight.deadline()),
                in_flight,
                progress: Progress::default(),
                failure: Failure::new(FailureKind::Connection, Effect::None, "again"),
            };
            report.again = Some((Box::new(again), self.now));
            report.requeued = true;
        }
        self.schedule.settle(permit, report, self.now);
        priority
    }
}

/// Where a request waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    /// It was sent before.
    retried: bool,
    target: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        retried: false,
        target: "/free",
    },
    Kind {
        retried: true,
        target: "/free",
    },
    Kind {
        retried: false,
        target: "/paced",
    },
    Kind {
        retried: true,
        target: "/paced",
    },
];

/// How many urgent requests are sent until the one that is not urgent is.
fn sent_before(starved: Priority, of: Kind, urgent: Kind, pace: bool) -> u32 {
    let mut world = World::new(pace);
    if of.retried {
        world.retries = true;
        world.submit(of.target, starved);
        assert_eq!(world.send(), starved);
    }
    world.retries = urgent.retried;
    if urgent.retried {
        for _ in 0..20 {
            world.submit(urgent.target, Priority::High);
        }
    }
    // The urgent ones are under way before the other one comes.
    for _ in 0..40 {
        if !urgent.retried {
            world.submit(urgent.target, Priority::High);
            world.submit(urgent.target, Priority::High);
        }
        if world.send() == starved {
            return 0;
        }
    }
    if !of.retried {
        world.submit(of.target, starved);
    }
    for sent in 0..2_000 {
        if world.send() == starved {
            return sent;
        }
        if !urgent.retried {
            world.submit(urgent.target, Priority::High);
        }
    }
    panic!("{of:?} of priority {starved:?} starves behind {urgent:?}, with a pace: {pace}");
}

#[test]
fn nothing_starves_behind_endless_urgent_work() {
    for pace in [false, true] {
        for starved in [Priority::Low, Priority::Normal] {
            for of in KINDS {
                for urgent in KINDS {
                    let sent = sent_before(starved, of, urgent, pace);
                    // One take in sixteen is the other place's, and there one in sixteen is that priority's.
                    assert!(
                        sent <= 16 * 17,
                        "{sent}: {of:?} of priority {starved:?} behind {urgent:?}, {pace}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_was_cancelled_uses_up_no_pace() {
    let mut world = World::new(true);
    let session = world.registry.session();
    for _ in 0..100 {
        session.submit(Request::new(Method::Get, "/slow")).unwrap();
    }
    // Fewer than half of what waits are cancelled: nothing is swept for their sake.
    for _ in 0..200 {
        world.submit("/slow", Priority::Normal);
    }
    let first = world.schedule.next(world.now).expect("it is the first");
    assert_eq!(session.cancel_unsent(), 100);
    world.now += Duration::from_millis(40);
    let next = world.schedule.next(world.now).expect("the pace is nobody's so far");
    assert!(!next.is_over(world.now));
    drop(first);
}
