//! Requests of one lane run one after another, and in nobody else's way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use inflight_core::{
    Effect, FailedAttempt, FailureKind, Outcome, PlainHttp, Policy, Registry, Request, RequestStatus, Response,
    RetryDecision,
};

use crate::server::{RawServer, Rig, assert_kind, ok, post, start};

/// The part of the target before `?` is the lane, unless it is `/free`; refusals are repeated.
struct ByTarget;

impl Policy for ByTarget {
    fn classify(&self, request: &Request, response: Response) -> Outcome {
        PlainHttp.classify(request, response)
    }

    fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        if attempt.failure.status() == Some(429) {
            RetryDecision::After(Duration::from_millis(1))
        } else {
            RetryDecision::Stop
        }
    }

    fn lane(&self, request: &Request) -> Option<String> {
        assert!(request.target != "/panic", "as asked");
        let lane = request.target.split('?').next()?;
        (lane != "/free").then(|| lane.to_owned())
    }
}

fn to(target: impl Into<String>) -> Request {
    let mut request = post();
    request.target = target.into();
    request
}

fn target_of(text: &str) -> String {
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn one_object_is_changed_by_one_request_at_a_time_and_in_order() {
    let inside = Mutex::new(HashMap::<String, usize>::new());
    let refuse = AtomicUsize::new(0);
    let overlaps = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&overlaps);
    let server = RawServer::start(move |connection| {
        while let Some(text) = connection.read_request() {
            let object = target_of(&text).split('?').next().unwrap_or_default().to_owned();
            let others = {
                let mut inside = inside.lock().unwrap();
                let count = inside.entry(object.clone()).or_default();
                *count += 1;
                *count - 1
            };
            if object == "/one" && others > 0 {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            // Gives whoever comes at the same time a chance to be seen.
            std::thread::yield_now();
            let refused = object == "/one" && refuse.fetch_add(1, Ordering::SeqCst) % 7 == 3;
            *inside.lock().unwrap().get_mut(&object).unwrap() -= 1;
            let answer = if refused {
                "HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else {
                ok("{}")
            };
            connection.write(answer.as_bytes());
        }
    });
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(ByTarget)).concurrency(32));
    let mut ids = Vec::new();
    for number in 0..200 {
        ids.push(rig.registry.submit(to(format!("/one?{number}"))).unwrap());
        for _ in 0..10 {
            ids.push(rig.registry.submit(to("/free")).unwrap());
        }
    }
    for id in ids {
        assert!(rig.outcome_of(id).is_ok());
    }
    assert_eq!(overlaps.load(Ordering::SeqCst), 0, "two at once changed one object");
    let mut order: Vec<String> = server.received().iter().map(|text| target_of(text)).collect();
    order.retain(|target| target.starts_with("/one"));
    // A refused request is sent again before the next one.
    order.dedup();
    let expected: Vec<String> = (0..200).map(|number| format!("/one?{number}")).collect();
    assert_eq!(order, expected);
}

/// A server whose answer to `/held` waits for the gate.
fn gated() -> (RawServer, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = RawServer::start(move |connection| {
        while let Some(text) = connection.read_request() {
            if target_of(&text).starts_with("/held") {
                let _ = gate.lock().unwrap().recv();
            }
            connection.write(ok("{}").as_bytes());
        }
    });
    (server, open)
}

#[test]
fn a_lane_is_in_nobodys_way_and_counts_against_the_queue() {
    let (server, open) = gated();
    let (registry, queue) = Registry::builder().queue_capacity(10).build();
    let worker = start(server.url(), queue, |b| b.policy(Arc::new(ByTarget)).concurrency(2));
    let rig = Rig { registry, worker };
    let held: Vec<_> = (0..5).map(|_| rig.registry.submit(to("/held")).unwrap()).collect();
    // Two slots: one is held, and the four that wait for the lane do not take the other.
    for number in 0..20 {
        rig.success(to(format!("/other/{number}")));
        rig.success(to("/free"));
    }
    assert_eq!((rig.registry.unsent(), rig.registry.in_flight()), (4, 1));
    assert_eq!(rig.registry.cancel(held[2]), Some(true), "it is not sent");
    for _ in 0..4 {
        open.send(()).unwrap();
    }
    for (number, id) in held.into_iter().enumerate() {
        assert_eq!(rig.outcome_of(id).is_ok(), number != 2);
    }
    assert_eq!((rig.registry.unsent(), rig.registry.len()), (0, 0));
}

#[test]
fn a_deadline_passes_in_a_lane_too() {
    let (server, open) = gated();
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(ByTarget)));
    let first = rig.registry.submit(to("/held")).unwrap();
    let late = rig
        .registry
        .submit(to("/held").deadline(Duration::from_millis(20)))
        .unwrap();
    let last = rig.registry.submit(to("/held")).unwrap();
    let failure = rig.outcome_of(late).unwrap_err();
    assert_kind(&failure, FailureKind::Deadline);
    assert_eq!(failure.effect, Effect::None);
    assert_eq!(rig.registry.status(late), Some(RequestStatus::Timeout));
    for id in [first, last] {
        open.send(()).unwrap();
        assert!(rig.outcome_of(id).is_ok());
    }
}

#[test]
fn what_waits_in_a_lane_is_cancelled_at_the_end() {
    let (server, _open) = gated();
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(ByTarget)));
    let ids: Vec<_> = (0..4).map(|_| rig.registry.submit(to("/held")).unwrap()).collect();
    while server.received().is_empty() {
        std::thread::yield_now();
    }
    let report = rig.worker.shutdown(Duration::ZERO);
    assert_eq!((report.cancelled, report.abandoned), (3, 1));
    let effects: Vec<_> = ids.iter().map(|id| rig.outcome_of(*id).unwrap_err().effect).collect();
    assert_eq!(effects, [Effect::Unknown, Effect::None, Effect::None, Effect::None]);
}

#[test]
fn a_policy_that_panics_over_a_lane_gives_none() {
    let server = RawServer::answering(ok("{}"));
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(ByTarget)));
    rig.success(to("/panic"));
}

/// The lane's holder waits for a further attempt, and its time runs out there, with nothing else going on.
#[test]
fn a_holder_that_expires_gives_its_lane_to_the_next() {
    struct Patient;
    impl Policy for Patient {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }
        fn retry(&self, _attempt: &FailedAttempt<'_>) -> RetryDecision {
            RetryDecision::After(Duration::from_secs(3600))
        }
        fn repeatable_for(&self, request: &Request) -> Option<Duration> {
            request.target.contains("refused").then_some(Duration::from_millis(20))
        }
        fn lane(&self, _request: &Request) -> Option<String> {
            Some("lane".to_owned())
        }
    }
    let server = RawServer::start(|connection| {
        while let Some(text) = connection.read_request() {
            let answer = if text.contains("refused") {
                "HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else {
                ok("{}")
            };
            connection.write(answer.as_bytes());
        }
    });
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(Patient)));
    let holder = rig.registry.submit(to("/refused")).unwrap();
    let next = rig.registry.submit(to("/next")).unwrap();
    assert_eq!(rig.outcome_of(holder).unwrap_err().status(), Some(429));
    assert!(rig.outcome_of(next).is_ok());

    let holder = rig
        .registry
        .submit(to("/refused/cancelled").deadline(Duration::from_secs(600)))
        .unwrap();
    let next = rig.registry.submit(to("/next")).unwrap();
    assert!(rig.outcome_of(holder).is_err());
    assert!(rig.outcome_of(next).is_ok());
}

#[test]
fn a_holder_that_is_cancelled_gives_its_lane_to_the_next() {
    let server = RawServer::start(|connection| {
        while let Some(text) = connection.read_request() {
            let answer = if text.contains("refused") {
                "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".to_owned()
            } else {
                ok("{}")
            };
            connection.write(answer.as_bytes());
        }
    });
    struct Patient;
    impl Policy for Patient {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            let outcome = PlainHttp.classify(request, response);
            outcome.map_err(|mut failure| {
                failure.effect = Effect::None;
                failure
            })
        }
        fn retry(&self, _attempt: &FailedAttempt<'_>) -> RetryDecision {
            RetryDecision::After(Duration::from_secs(3600))
        }
        fn lane(&self, _request: &Request) -> Option<String> {
            Some("lane".to_owned())
        }
    }
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(Patient)));
    let holder = rig.registry.submit(to("/refused")).unwrap();
    while rig.registry.waiting() == 0 {
        std::thread::yield_now();
    }
    let next = rig.registry.submit(to("/next")).unwrap();
    assert_eq!(rig.registry.cancel(holder), Some(true));
    assert!(rig.outcome_of(next).is_ok());
}
