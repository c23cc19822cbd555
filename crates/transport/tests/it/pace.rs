//! The worker keeps to the limits that its policy names, where it is asked to.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inflight_core::{
    Credential, Credentials, Effect, FailedAttempt, Failure, FailureKind, MemoryCredentials, Outcome, PaceClass,
    PaceLimit, PlainHttp, Policy, Request, Response, RetryDecision, Secret, Throttle,
};

use inflight_transport::{CircuitBreaker, WhenOpen};

use crate::server::{RawServer, Rig, assert_kind, ok, post};

/// Two at once to each target, and many a second. Refusals go back to the queue.
#[derive(Default)]
struct TwoAtOnce {
    asked: AtomicUsize,
}

impl Policy for TwoAtOnce {
    fn classify(&self, request: &Request, response: Response) -> Outcome {
        PlainHttp.classify(request, response)
    }

    fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        if attempt.failure.status() == Some(429) {
            RetryDecision::Requeue(Duration::ZERO)
        } else {
            RetryDecision::Stop
        }
    }

    fn throttle(&self, failure: &Failure) -> Option<Throttle> {
        (failure.status() == Some(429)).then_some(Throttle::EndpointConcurrency)
    }

    fn pace_class(&self, request: &Request, secret: Option<&Secret>) -> Option<PaceClass> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert!(request.target != "/panic", "as asked");
        assert_eq!(
            secret.map(Secret::expose),
            request.credential.as_ref().map(|_| "sk_test_1")
        );
        let limit = PaceLimit::per_second(100_000);
        (request.target != "/free").then(|| PaceClass {
            account: Some(limit),
            endpoint: Cow::Owned(request.target.clone()),
            limit: limit.concurrent(2),
        })
    }
}

fn to(target: &str) -> Request {
    let mut request = post().credential("main");
    request.target = target.to_owned();
    request
}

/// A server that notes how many requests to one target are inside at once, and refuses when there are more than `most`.
fn counting(most: usize) -> (RawServer, Arc<AtomicUsize>) {
    let (inside, highest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&highest);
    let server = RawServer::start(move |connection| {
        while let Some(text) = connection.read_request() {
            if !text.contains("/counted") {
                connection.write(ok("{}").as_bytes());
                continue;
            }
            let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
            seen.fetch_max(now, Ordering::SeqCst);
            std::thread::yield_now();
            let answer = if now > most {
                "HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else {
                ok("{}")
            };
            inside.fetch_sub(1, Ordering::SeqCst);
            connection.write(answer.as_bytes());
        }
    });
    (server, highest)
}

fn rig(server: &RawServer, policy: &Arc<TwoAtOnce>, pace: bool) -> Rig {
    let credentials = MemoryCredentials::new();
    credentials.insert("main", Credential::new(Secret::new("sk_test_1")));
    Rig::with(server.url(), |b| {
        b.policy(policy.clone())
            .credentials(Arc::new(credentials))
            .concurrency(16)
            .pace(pace)
    })
}

#[test]
fn no_more_at_once_than_the_policy_says() {
    let (server, highest) = counting(usize::MAX);
    let policy = Arc::new(TwoAtOnce::default());
    let rig = rig(&server, &policy, true);
    let ids: Vec<_> = (0..200)
        .flat_map(|_| ["/counted", "/other", "/free"])
        .map(|target| rig.registry.submit(to(target)).unwrap())
        .collect();
    for id in ids {
        assert!(rig.outcome_of(id).is_ok());
    }
    assert!(highest.load(Ordering::SeqCst) <= 2);
    assert_eq!(policy.asked.load(Ordering::SeqCst), 600, "each is asked about once");
    assert_eq!((rig.registry.unsent(), rig.registry.len()), (0, 0));
}

#[test]
fn without_being_asked_it_keeps_no_limits() {
    let server = RawServer::answering(ok("{}"));
    let policy = Arc::new(TwoAtOnce::default());
    let rig = rig(&server, &policy, false);
    for _ in 0..5 {
        rig.success(to("/counted"));
    }
    assert_eq!(policy.asked.load(Ordering::SeqCst), 0);
}

#[test]
fn refusals_narrow_what_is_sent_at_once_and_nothing_is_lost() {
    let (server, _) = counting(1);
    let policy = Arc::new(TwoAtOnce::default());
    let rig = rig(&server, &policy, true);
    let ids: Vec<_> = (0..100).map(|_| rig.registry.submit(to("/counted")).unwrap()).collect();
    for id in ids {
        assert!(rig.outcome_of(id).is_ok());
    }
    assert_eq!(
        (rig.registry.unsent(), rig.registry.waiting(), rig.registry.len()),
        (0, 0, 0)
    );
}

#[test]
fn a_policy_that_panics_over_a_limit_keeps_none() {
    let server = RawServer::answering(ok("{}"));
    let rig = rig(&server, &Arc::new(TwoAtOnce::default()), true);
    rig.success(to("/panic"));
    let mut unknown = to("/free");
    unknown.credential = Some("nobody".into());
    let policy_is_not_told = rig.failure(unknown);
    assert_kind(&policy_is_not_told, FailureKind::Credential);
}

#[test]
fn what_waits_for_its_turn_is_cancelled_and_ends_with_its_deadline() {
    let server = RawServer::start(|connection| {
        connection.read_request();
        connection.wait_for_close();
    });
    let rig = rig(&server, &Arc::new(TwoAtOnce::default()), true);
    let held: Vec<_> = (0..2).map(|_| rig.registry.submit(to("/counted")).unwrap()).collect();
    while server.received().len() < 2 {
        std::thread::yield_now();
    }
    let late = to("/counted").deadline(Duration::from_millis(20));
    assert_kind(&rig.failure(late), FailureKind::Deadline);
    let waiting = rig.registry.submit(to("/counted")).unwrap();
    assert_eq!(rig.registry.cancel(waiting), Some(true));
    let queued = rig.registry.submit(to("/counted")).unwrap();
    let report = rig.worker.shutdown(Duration::ZERO);
    assert_eq!((report.cancelled, report.abandoned), (1, 2));
    assert_eq!(rig.outcome_of(queued).unwrap_err().effect, Effect::None);
    for id in held {
        assert_eq!(rig.outcome_of(id).unwrap_err().effect, Effect::Unknown);
    }
}

#[test]
fn credentials_that_panic_stop_neither_pace_nor_breaker() {
    struct Panicking;
    impl Credentials for Panicking {
        fn resolve(&self, _name: &str) -> Option<Credential> {
            panic!("as asked")
        }
    }
    let server = RawServer::start(|connection| drop(connection.read_request()));
    let rig = Rig::with(server.url(), |b| {
        b.policy(Arc::new(TwoAtOnce::default()))
            .credentials(Arc::new(Panicking))
            .pace(true)
            .circuit_breaker(CircuitBreaker {
                failures: 1,
                when_open: WhenOpen::Fail,
                ..CircuitBreaker::default()
            })
    });
    let mut keyless = post();
    keyless.target = "/free".to_owned();
    assert_kind(&rig.failure(keyless.clone()), FailureKind::Connection);
    assert_kind(&rig.failure(keyless), FailureKind::CircuitOpen);
    assert_kind(&rig.failure(to("/counted")), FailureKind::Credential);
}
