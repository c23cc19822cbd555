//! Between two attempts a request waits, and holds nothing that others need.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::{
    Effect, FailedAttempt, FailureKind, Outcome, PlainHttp, Policy, Priority, Registry, Request, RequestStatus,
    Response, RetryDecision, SessionLimits, State,
};
use inflight_transport::RetryBudget;

use crate::server::{PATIENCE, RawServer, Rig, assert_kind, get, ok, post, start};

const HOUR: Duration = Duration::from_secs(3600);
const REFUSED: &str = "HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n";

/// Decides every failure alike.
struct Always(RetryDecision);

impl Policy for Always {
    fn classify(&self, request: &Request, response: Response) -> Outcome {
        PlainHttp.classify(request, response)
    }

    fn retry(&self, _attempt: &FailedAttempt<'_>) -> RetryDecision {
        self.0
    }
}

/// Refuses `/v1/refused`, breaks off `/v1/broken`, and answers everything else.
fn moody_server() -> RawServer {
    RawServer::start(|connection| {
        while let Some(request) = connection.read_request() {
            if request.contains("/v1/broken") {
                return;
            }
            let answer = if request.contains("/v1/refused") {
                REFUSED.to_owned()
            } else {
                ok("{}")
            };
            connection.write(answer.as_bytes());
        }
    })
}

fn to(target: &str) -> Request {
    let mut request = post();
    request.target = target.to_owned();
    request
}

fn wait_until(condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it never came about");
        std::thread::yield_now();
    }
}

#[test]
fn a_waiting_request_holds_no_slot_and_counts_as_unsent() {
    let server = moody_server();
    let rig = Rig::with(server.url(), |b| {
        b.policy(Arc::new(Always(RetryDecision::After(HOUR)))).concurrency(1)
    });
    let waiting: Vec<_> = (0..5)
        .map(|_| rig.registry.submit(to("/v1/refused")).unwrap())
        .collect();
    wait_until(|| rig.registry.waiting() == 5);
    for _ in 0..10 {
        rig.success(post());
    }
    assert_eq!(
        (rig.registry.unsent(), rig.registry.in_flight(), rig.registry.len()),
        (5, 0, 5)
    );
    for id in waiting {
        assert_eq!(rig.registry.root().state(id), Some(State::Waiting(Effect::None)));
    }
}

#[test]
fn waiting_requests_fill_the_queue() {
    let server = moody_server();
    let (registry, queue) = Registry::builder().queue_capacity(3).build();
    let _worker = start(server.url(), queue, |b| {
        b.policy(Arc::new(Always(RetryDecision::After(HOUR))))
    });
    for waiting in 1..=3 {
        registry.submit(to("/v1/refused")).unwrap();
        wait_until(|| registry.waiting() == waiting);
    }
    let unlimited = SessionLimits {
        pending: usize::MAX,
        unsent: usize::MAX,
    };
    let refused = registry.session_with(unlimited).submit(post()).unwrap_err();
    assert!(refused.to_string().contains("3 of 3"), "{refused}");
}

/// In an outage slots become free with every failure: what they take in must still be bounded.
#[test]
fn an_overload_takes_no_more_than_the_queue_and_the_slots_hold() {
    const CAPACITY: usize = 100;
    const SLOTS: usize = 8;
    let server = moody_server();
    let (registry, queue) = Registry::builder().queue_capacity(CAPACITY).build();
    let _worker = start(server.url(), queue, |b| {
        b.policy(Arc::new(Always(RetryDecision::After(HOUR))))
            .concurrency(SLOTS)
    });
    let mut refused = 0;
    while refused < 1000 || registry.waiting() < CAPACITY {
        refused += usize::from(registry.submit(to("/v1/refused")).is_err());
        assert!(registry.len() <= CAPACITY + SLOTS, "{} are kept", registry.len());
    }
    assert!(registry.unsent() <= CAPACITY + SLOTS);
}

#[test]
fn a_wait_is_cancelled_where_nothing_can_have_happened() {
    let server = moody_server();
    let (registry, queue) = Registry::builder().queue_capacity(2).build();
    let _worker = start(server.url(), queue, |b| {
        b.policy(Arc::new(Always(RetryDecision::After(HOUR))))
    });
    let refused = registry.submit(to("/v1/refused")).unwrap();
    let broken = registry.submit(to("/v1/broken")).unwrap();
    wait_until(|| registry.waiting() == 2);
    assert_eq!(registry.cancel(broken), Some(false), "it may have been carried out");
    assert_eq!(registry.cancel(refused), Some(true));
    assert_eq!(registry.status(refused), Some(RequestStatus::Cancelled));
    // Its place in the queue is given back without waiting for its time.
    wait_until(|| registry.unsent() == 1 && registry.waiting() == 1);
    let id = registry.submit(post()).unwrap();
    assert!(registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
}

#[test]
fn a_request_that_is_sent_back_to_the_queue_is_not_counted() {
    /// Sends refusals back, and wants to see that none is counted.
    struct Requeueing(AtomicUsize);
    impl Policy for Requeueing {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }
        fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
            let before = self.0.fetch_add(1, Ordering::SeqCst);
            assert_eq!((attempt.attempts, attempt.requeued as usize), (1, before));
            RetryDecision::Requeue(Duration::from_millis(1))
        }
    }
    let answers = AtomicUsize::new(0);
    let server = RawServer::start(move |connection| {
        while connection.read_request().is_some() {
            let refuse = answers.fetch_add(1, Ordering::SeqCst) < 20;
            connection.write(if refuse { REFUSED.into() } else { ok("{}") }.as_bytes());
        }
    });
    let policy = Arc::new(Requeueing(AtomicUsize::new(0)));
    let none = RetryBudget {
        share: 0.0,
        per_second: 0.0,
        reserve: 0.0,
    };
    let rig = Rig::with(server.url(), |b| b.policy(policy.clone()).retry_budget(none));
    rig.success(post());
    assert_eq!(policy.0.load(Ordering::SeqCst), 20);
}

#[test]
fn the_budget_bounds_what_the_policy_wants() {
    let server = moody_server();
    for (reserve, attempts) in [(0.0, 1), (3.0, 4)] {
        let budget = RetryBudget {
            share: 0.0,
            per_second: 0.0,
            reserve,
        };
        let before = server.received().len();
        let rig = Rig::with(server.url(), |b| {
            b.policy(Arc::new(Always(RetryDecision::After(Duration::ZERO))))
                .retry_budget(budget)
        });
        let failure = rig.failure(to("/v1/refused"));
        assert_eq!((failure.status(), failure.effect), (Some(429), Effect::None));
        assert_eq!(server.received().len() - before, attempts);
    }
}

#[test]
fn what_may_not_be_repeated_any_more_ends_as_it_failed() {
    /// Wants to repeat much later than the key lives.
    struct Forgetful;
    impl Policy for Forgetful {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }
        fn retry(&self, _attempt: &FailedAttempt<'_>) -> RetryDecision {
            RetryDecision::After(HOUR)
        }
        fn repeatable_for(&self, _request: &Request) -> Option<Duration> {
            Some(Duration::from_millis(20))
        }
    }
    let server = moody_server();
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(Forgetful)));
    let failure = rig.failure(to("/v1/broken"));
    assert_kind(&failure, FailureKind::Connection);
    assert_eq!((failure.effect, failure.needs_reconcile), (Effect::Unknown, true));
    assert_eq!(server.received().len(), 1);
}

#[test]
fn a_connection_that_ended_unanswered_is_told_and_repeated_at_once() {
    /// Repeats at once what it may, and nothing else.
    struct Quick;
    impl Policy for Quick {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }
        fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
            if attempt.unanswered && !attempt.repeated_at_once {
                RetryDecision::AtOnce
            } else {
                RetryDecision::Stop
            }
        }
    }
    // Answers once on each connection and hangs up when the next request comes.
    let server = RawServer::start(|connection| {
        connection.read_request();
        connection.write(ok("{}").as_bytes());
        connection.read_request();
    });
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(Quick)).concurrency(1));
    for _ in 0..5 {
        rig.success(post());
    }
    // Half an answer is an answer.
    let server = RawServer::start(|connection| {
        connection.read_request();
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf");
    });
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(Quick)));
    rig.failure(get());
    assert_eq!(server.received().len(), 1);
}

#[test]
fn an_urgent_request_goes_before_what_is_due_again() {
    // The first answer to each low request is a refusal; nothing is answered before the gate opens.
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = RawServer::start(move |connection| {
        while let Some(request) = connection.read_request() {
            if request.contains("/v1/gate") {
                let _ = gate.lock().unwrap().recv();
            }
            let answer = if request.contains("/v1/refused") {
                REFUSED.to_owned()
            } else {
                ok("{}")
            };
            connection.write(answer.as_bytes());
        }
    });
    let rig = Rig::with(server.url(), |b| {
        b.policy(Arc::new(Always(RetryDecision::After(Duration::from_millis(1)))))
            .concurrency(1)
    });
    let low = rig.registry.submit(to("/v1/refused").priority(Priority::Low)).unwrap();
    wait_until(|| server.received().len() > 2);
    let first = rig.registry.submit(to("/v1/gate").priority(Priority::High)).unwrap();
    wait_until(|| server.received().iter().any(|text| text.contains("/v1/gate")));
    let urgent: Vec<_> = (0..5)
        .map(|_| rig.registry.submit(to("/v1/urgent").priority(Priority::High)).unwrap())
        .collect();
    let before = server.received().len();
    open.send(()).unwrap();
    for id in urgent.into_iter().chain([first]) {
        assert!(rig.outcome_of(id).is_ok());
    }
    let after = server.received();
    let urgent = after[before..]
        .iter()
        .take(6)
        .filter(|text| text.contains("/v1/urgent"))
        .count();
    assert_eq!(urgent, 5, "{after:#?}");
    assert_eq!(rig.registry.is_complete(low), Some(false), "it is never given up");
}

/// Those that fail together are given numbers from the whole range, so that what is made of them is spread.
#[test]
fn a_herd_is_scattered() {
    const HERD: usize = 1_000;
    struct Noting(Mutex<Vec<f64>>);
    impl Policy for Noting {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }
        fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
            self.0.lock().unwrap().push(attempt.random);
            RetryDecision::Stop
        }
    }
    let server = moody_server();
    let policy = Arc::new(Noting(Mutex::default()));
    let rig = Rig::with(server.url(), |b| b.policy(policy.clone()));
    let ids: Vec<_> = (0..HERD)
        .map(|_| rig.registry.submit(to("/v1/refused")).unwrap())
        .collect();
    for id in ids {
        assert!(rig.outcome_of(id).is_err());
    }
    let mut histogram = [0; 10];
    for random in policy.0.lock().unwrap().iter() {
        histogram[(random * 10.0) as usize] += 1;
    }
    assert_eq!(histogram.iter().sum::<usize>(), HERD);
    // Nine standard deviations are 85.
    assert!(histogram.iter().all(|count| (15..185).contains(count)), "{histogram:?}");
}

#[test]
fn who_runs_out_of_time_is_told_of_the_last_failure() {
    let server = moody_server();
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(Always(RetryDecision::After(HOUR)))));
    // On a busy machine the first attempt itself may take longer.
    let mut time = Duration::from_millis(20);
    let (id, failure) = loop {
        let id = rig.registry.submit(to("/v1/refused").deadline(time)).unwrap();
        let failure = rig.outcome_of(id).unwrap_err();
        if failure.message.contains("the last one failed") || time > PATIENCE {
            break (id, failure);
        }
        time *= 2;
    };
    assert_eq!(rig.registry.status(id), Some(RequestStatus::Timeout));
    assert_kind(&failure, FailureKind::Deadline);
    assert!(failure.message.contains("status 429"), "{failure}");
    let source = std::error::Error::source(&failure).unwrap();
    assert!(source.to_string().contains("status 429"), "{source}");
}

#[test]
fn a_worker_that_pauses_sends_nothing_new() {
    let server = RawServer::answering(ok("{}"));
    let (registry, queue) = Registry::new();
    let worker = start(server.url(), queue, |b| b);
    worker.pause();
    assert!(worker.is_paused());
    let id = registry.submit(post()).unwrap();
    // A deadline goes on, which shows that the worker has looked at the queue.
    let overdue = registry.submit(post().deadline(Duration::from_millis(10))).unwrap();
    let outcome = registry.wait(overdue, Some(PATIENCE)).unwrap();
    assert_kind(outcome.as_ref().as_ref().unwrap_err(), FailureKind::Deadline);
    assert_eq!(registry.status(id), Some(RequestStatus::Pending));
    worker.resume();
    assert!(registry.wait(id, Some(PATIENCE)).unwrap().is_ok());

    worker.pause();
    let queued = registry.submit(post()).unwrap();
    assert_eq!(worker.shutdown(PATIENCE).cancelled, 1);
    assert_eq!(registry.status(queued), Some(RequestStatus::Cancelled));
}
