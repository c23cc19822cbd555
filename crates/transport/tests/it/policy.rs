//! Further attempts: what is repeated, and what is known at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use inflight_core::{
    Credential, Credentials, Effect, FailedAttempt, Failure, FailureKind, IdempotencyKey, Outcome, PlainHttp, Policy,
    Request, RequestStatus, Response, RetryDecision, Secret,
};

use crate::server::{Connection, RawServer, Rig, assert_kind, dead_url, get, ok, post};

/// Plain HTTP with two further attempts after this pause.
struct Retrying(Duration);

impl Policy for Retrying {
    fn keep_headers(&self) -> &'static [&'static str] {
        &["idempotent-replayed"]
    }

    fn classify(&self, request: &Request, response: Response) -> Outcome {
        PlainHttp.classify(request, response)
    }

    fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        if attempt.attempts < 3 && attempt.failure.retryable {
            RetryDecision::After(self.0)
        } else {
            RetryDecision::Stop
        }
    }

    fn settles(&self, failure: &Failure) -> bool {
        let replayed = failure.response.as_ref().and_then(|r| r.header("idempotent-replayed"));
        replayed == Some("true")
    }
}

fn retrying(base_url: String) -> Rig {
    Rig::with(base_url, |b| b.policy(Arc::new(Retrying(Duration::ZERO))))
}

const REFUSED: &str = "HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n";

/// A server that does one thing per request: an answer, or the connection's end.
fn scripted(answers: &'static [Option<&'static str>]) -> RawServer {
    let next = AtomicUsize::new(0);
    RawServer::start(move |connection: &mut Connection| {
        while connection.read_request().is_some() {
            match answers[next.fetch_add(1, Ordering::SeqCst) % answers.len()] {
                Some(answer) => connection.write(answer.as_bytes()),
                None => return,
            }
        }
    })
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

#[test]
fn every_attempt_has_the_same_key_and_the_same_bytes() {
    let server = scripted(&[None, Some(REFUSED), Some(OK)]);
    let rig = retrying(server.url());
    let id = rig
        .registry
        .submit(post().idempotency_key(IdempotencyKey::Generated))
        .unwrap();
    assert!(rig.outcome_of(id).is_ok());
    let sent = server.received();
    assert_eq!(sent.len(), 3);
    assert!(sent[0].contains(&id.to_string()));
    assert!(sent.iter().all(|text| *text == sent[0]), "{sent:#?}");
    assert_eq!(rig.registry.counts().retries, 2);
}

#[test]
fn a_refusal_says_nothing_about_the_attempts_before_it() {
    let server = scripted(&[None, Some(REFUSED), Some(REFUSED)]);
    let failure = retrying(server.url()).failure(post());
    assert_eq!(failure.status(), Some(429));
    assert_eq!((failure.effect, failure.needs_reconcile), (Effect::Unknown, true));
}

#[test]
fn refusals_alone_have_no_effect() {
    let server = scripted(&[Some(REFUSED)]);
    let failure = retrying(server.url()).failure(post());
    assert_eq!((failure.status(), failure.effect), (Some(429), Effect::None));
    assert_eq!(server.received().len(), 3);
}

#[test]
fn a_read_is_never_in_doubt() {
    let server = scripted(&[None, Some(REFUSED), Some(REFUSED)]);
    let failure = retrying(server.url()).failure(get());
    assert_eq!((failure.effect, failure.needs_reconcile), (Effect::None, false));
}

#[test]
fn a_replayed_answer_settles_the_attempts_before_it() {
    let server = scripted(&[
        None,
        Some("HTTP/1.1 402 X\r\nidempotent-replayed: true\r\ncontent-length: 0\r\n\r\n"),
    ]);
    let failure = retrying(server.url()).failure(post());
    assert_eq!((failure.status(), failure.effect), (Some(402), Effect::None));
}

#[test]
fn doubt_outlives_a_server_that_is_gone() {
    /// The server at first, then one that is down.
    struct Moving(String, String, AtomicUsize);
    impl Credentials for Moving {
        fn resolve(&self, _name: &str) -> Option<Credential> {
            let first = self.2.fetch_add(1, Ordering::SeqCst) == 0;
            let endpoint = if first { &self.0 } else { &self.1 };
            Some(Credential::new(Secret::new("sk_test_1")).endpoint(endpoint.as_str()))
        }
    }
    let server = scripted(&[None]);
    let moving = Arc::new(Moving(server.url(), dead_url(), AtomicUsize::new(0)));
    let rig = Rig::with("https://unused.invalid", |b| {
        b.policy(Arc::new(Retrying(Duration::ZERO))).credentials(moving)
    });
    let failure = rig.failure(post().credential("main"));
    assert_kind(&failure, FailureKind::Connect);
    assert_eq!(failure.effect, Effect::Unknown);
}

#[test]
fn a_pause_ends_with_the_deadline_at_the_latest() {
    for (answer, effect) in [(Some(REFUSED), Effect::None), (None, Effect::Unknown)] {
        let server = RawServer::start(move |connection| {
            connection.read_request();
            if let Some(answer) = answer {
                connection.write(answer.as_bytes());
            }
        });
        let rig = Rig::with(server.url(), |b| b.policy(Arc::new(Retrying(Duration::MAX))));
        let (id, failure) = server.with_time_to_arrive(|time| {
            let id = rig.registry.submit(post().deadline(time)).unwrap();
            (id, rig.outcome_of(id).unwrap_err())
        });
        assert_eq!(failure.effect, effect);
        assert_eq!(rig.registry.status(id), Some(RequestStatus::Timeout));
        assert_eq!(rig.registry.counts().retries, 0);
    }
}

#[test]
fn a_rolled_key_is_used_from_the_next_attempt_on() {
    struct Rolling(AtomicUsize);
    impl Credentials for Rolling {
        fn resolve(&self, name: &str) -> Option<Credential> {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            (name == "main").then(|| Credential::new(Secret::new(format!("sk_test_{number}"))))
        }
    }
    let server = scripted(&[Some(REFUSED), Some(OK)]);
    let rig = Rig::with(server.url(), |b| {
        b.policy(Arc::new(Retrying(Duration::ZERO)))
            .credentials(Arc::new(Rolling(AtomicUsize::new(0))))
    });
    rig.success(post().credential("main"));
    for (number, text) in server.received().iter().enumerate() {
        assert!(
            text.contains(&format!("authorization: Bearer sk_test_{number}\r\n")),
            "{text}"
        );
    }
    let failure = rig.failure(post().credential("other"));
    assert_kind(&failure, FailureKind::Credential);
    assert_eq!(failure.effect, Effect::None);
}

#[test]
fn a_panic_of_a_policy_or_of_credentials_ends_that_request_alone() {
    struct Panicking;
    impl Policy for Panicking {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            assert!(request.target != "/classify", "as asked");
            PlainHttp.classify(request, response)
        }
        fn keep_headers(&self) -> &'static [&'static str] {
            panic!("as asked")
        }
        fn retry(&self, _attempt: &FailedAttempt<'_>) -> RetryDecision {
            panic!("as asked")
        }
    }
    impl Credentials for Panicking {
        fn resolve(&self, _name: &str) -> Option<Credential> {
            panic!("as asked")
        }
    }
    let server = RawServer::answering(ok("{}"));
    let rig = Rig::with(server.url(), |b| {
        b.policy(Arc::new(Panicking))
            .credentials(Arc::new(Panicking))
            .concurrency(1)
    });
    let mut request = post();
    request.target = "/classify".into();
    let failure = rig.failure(request);
    assert_kind(&failure, FailureKind::InvalidResponse);
    assert_eq!(failure.effect, Effect::Unknown);
    let failure = rig.failure(post().credential("main"));
    assert_kind(&failure, FailureKind::Credential);
    assert_eq!(failure.effect, Effect::None);
    rig.success(post());
}
