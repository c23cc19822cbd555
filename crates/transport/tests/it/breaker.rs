//! A server that is down is left in peace until it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use inflight_core::{
    Effect, FailedAttempt, FailureKind, Outcome, PlainHttp, Policy, Request, RequestStatus, Response, RetryDecision,
};
use inflight_transport::{CircuitBreaker, WhenOpen};

use crate::server::{RawServer, Rig, assert_kind, get, ok, post};

const HOUR: Duration = Duration::from_secs(3600);

/// A server that answers 503 while it is down.
fn fragile() -> (RawServer, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&up);
    let server = RawServer::start(move |connection| {
        while connection.read_request().is_some() {
            let answer = if state.load(Ordering::SeqCst) {
                ok("{}")
            } else {
                "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".to_owned()
            };
            connection.write(answer.as_bytes());
        }
    });
    (server, up)
}

fn breaker(when_open: WhenOpen, pause: Duration) -> CircuitBreaker {
    CircuitBreaker {
        failures: 3,
        first_pause: pause,
        longest_pause: pause,
        when_open,
    }
}

#[test]
fn after_a_few_failures_in_a_row_requests_fail_at_once() {
    let (server, _up) = fragile();
    let rig = Rig::with(server.url(), |b| b.circuit_breaker(breaker(WhenOpen::Fail, HOUR)));
    for _ in 0..3 {
        assert_eq!(rig.failure(post()).status(), Some(503));
    }
    for request in [post(), get()] {
        let failure = rig.failure(request);
        assert_kind(&failure, FailureKind::CircuitOpen);
        assert_eq!((failure.kind.as_str(), failure.effect), ("circuit_open", Effect::None));
        assert!(failure.retryable);
        let expected = format!("{} has failed 3 times in a row", server.url());
        assert!(failure.message.starts_with(&expected), "{failure}");
    }
    assert_eq!(server.received().len(), 3);
    // Another server is another matter.
    let other = RawServer::answering(ok("{}"));
    let mut request = get();
    request.target = format!("{}/v1/products", other.url());
    rig.success(request);
}

#[test]
fn a_success_in_between_closes_the_account() {
    let (server, up) = fragile();
    let rig = Rig::with(server.url(), |b| b.circuit_breaker(breaker(WhenOpen::Fail, HOUR)));
    for _ in 0..5 {
        rig.failure(post());
        rig.failure(post());
        up.store(true, Ordering::SeqCst);
        rig.success(post());
        up.store(false, Ordering::SeqCst);
    }
    assert_eq!(server.received().len(), 15);
}

#[test]
fn requests_wait_until_one_of_them_finds_the_server_well() {
    let (server, up) = fragile();
    let rig = Rig::with(server.url(), |b| {
        b.circuit_breaker(breaker(WhenOpen::Wait, Duration::from_millis(10)))
    });
    for _ in 0..3 {
        rig.failure(post());
    }
    let probed = server.received().len();
    let ids: Vec<_> = (0..50).map(|_| rig.registry.submit(post()).unwrap()).collect();
    // Each probe is one request's only attempt; the others wait.
    while server.received().len() < probed + 3 {
        std::thread::yield_now();
    }
    up.store(true, Ordering::SeqCst);
    let failed = ids.into_iter().filter(|id| rig.outcome_of(*id).is_err()).count();
    assert!((2..40).contains(&failed), "{failed} of 50 failed");
    assert_eq!(server.received().len(), probed + 50);
    assert_eq!((rig.registry.unsent(), rig.registry.len()), (0, 0));
}

#[test]
fn who_waits_for_a_server_waits_no_longer_than_its_deadline() {
    let (server, _up) = fragile();
    let rig = Rig::with(server.url(), |b| b.circuit_breaker(breaker(WhenOpen::Wait, HOUR)));
    for _ in 0..3 {
        rig.failure(post());
    }
    let id = rig.registry.submit(post().deadline(Duration::from_millis(20))).unwrap();
    let failure = rig.outcome_of(id).unwrap_err();
    assert_eq!((failure.effect, failure.kind), (Effect::None, FailureKind::Deadline));
    assert_eq!(rig.registry.status(id), Some(RequestStatus::Timeout));
    let waiting = rig.registry.submit(post()).unwrap();
    let report = rig.worker.shutdown(HOUR);
    assert_eq!((report.cancelled, report.abandoned), (1, 0));
    assert_eq!(rig.registry.status(waiting), Some(RequestStatus::Cancelled));
    assert_eq!(server.received().len(), 3);
}

#[test]
fn a_refusal_keeps_the_doubt_of_earlier_attempts() {
    /// Repeats what broke off, once.
    struct Once;
    impl Policy for Once {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }
        fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
            if attempt.failure.kind == FailureKind::Connection {
                RetryDecision::After(Duration::from_millis(1))
            } else {
                RetryDecision::Stop
            }
        }
    }
    let server = RawServer::start(|connection| drop(connection.read_request()));
    let rig = Rig::with(server.url(), |b| {
        b.policy(Arc::new(Once)).circuit_breaker(CircuitBreaker {
            failures: 1,
            ..breaker(WhenOpen::Fail, HOUR)
        })
    });
    let failure = rig.failure(post());
    assert_kind(&failure, FailureKind::CircuitOpen);
    assert_eq!((failure.effect, failure.needs_reconcile), (Effect::Unknown, true));
}

#[test]
fn a_probe_that_is_never_sent_does_not_close_the_way_for_others() {
    let (server, up) = fragile();
    let rig = Rig::with(server.url(), |b| {
        b.circuit_breaker(breaker(WhenOpen::Wait, Duration::from_millis(1)))
    });
    for _ in 0..3 {
        rig.failure(post());
    }
    up.store(true, Ordering::SeqCst);
    // A header that cannot be sent is found out in the slot.
    let bad: Vec<_> = (0..5)
        .map(|_| rig.registry.submit(post().header("x", "a\nb")).unwrap())
        .collect();
    let good = rig.registry.submit(post()).unwrap();
    for id in bad {
        assert_kind(&rig.outcome_of(id).unwrap_err(), FailureKind::InvalidRequest);
    }
    assert!(rig.outcome_of(good).is_ok());
}

#[test]
fn it_can_be_turned_off() {
    let (server, _up) = fragile();
    let rig = Rig::with(server.url(), |b| {
        b.circuit_breaker(CircuitBreaker {
            failures: 0,
            ..CircuitBreaker::default()
        })
    });
    for _ in 0..30 {
        assert_eq!(rig.failure(post()).status(), Some(503));
    }
}
