//! Stopping: everything that was submitted is answered, and nothing hangs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use inflight_core::{
    Effect, Ended, FailedAttempt, FailureKind, MemoryStore, Observer, Outcome, PlainHttp, Policy, Registry, Request,
    RequestStatus, Response, RetryDecision, block_on,
};
use inflight_transport::{ShutdownReport, Worker};

use crate::server::{PATIENCE, RawServer, Rig, assert_kind, dead_url, get, ok, post, start};

fn silent_server() -> RawServer {
    RawServer::start(|connection| {
        connection.read_request();
        connection.wait_for_close();
    })
}

/// Waits until nothing is queued any more: everything submitted is in flight.
fn all_sent(registry: &Registry) {
    block_on(registry.room(registry.capacity()));
}

#[test]
fn an_idle_worker_stops_and_later_requests_are_answered() {
    let rig = Rig::new(dead_url());
    assert_eq!(rig.worker.shutdown(PATIENCE), ShutdownReport::default());
    let failure = rig.failure(post());
    assert_kind(&failure, FailureKind::Shutdown);
    assert_eq!(failure.effect, Effect::None);
    assert_eq!(rig.registry.counts().cancelled, 1);
}

#[test]
fn what_is_in_flight_finishes_and_what_is_queued_is_cancelled() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let server = RawServer::start(move |connection| {
        connection.read_request();
        let _ = gate.lock().unwrap().recv();
        connection.write(ok("{}").as_bytes());
    });
    let (registry, queue) = Registry::builder().queue_capacity(4).build();
    let worker = Arc::new(start(server.url(), queue, |b| b.concurrency(1)));
    let in_flight = registry.submit(post()).unwrap();
    all_sent(&registry);
    let queued: Vec<_> = (0..3).map(|_| registry.submit(post()).unwrap()).collect();

    let stopping = Arc::clone(&worker);
    let report = std::thread::spawn(move || stopping.shutdown(PATIENCE));
    for id in queued {
        let failure = (*registry.wait(id, Some(PATIENCE)).unwrap()).clone().unwrap_err();
        assert_eq!(failure.effect, Effect::None);
        assert_eq!(registry.status(id), Some(RequestStatus::Cancelled));
    }
    assert_eq!(registry.is_complete(in_flight), Some(false));
    open.send(()).unwrap();
    let report = report.join().unwrap();
    assert_eq!(registry.status(in_flight), Some(RequestStatus::Completed));
    let expected = ShutdownReport {
        finished: 1,
        cancelled: 3,
        given_up: 0,
        abandoned: 0,
        left: 0,
    };
    assert_eq!(report, expected);
    assert_eq!(
        worker.shutdown(Duration::ZERO),
        expected,
        "a second call gives the same report"
    );
}

#[test]
fn what_does_not_finish_in_time_fails_with_its_effect_unknown() {
    let server = silent_server();
    let rig = Rig::new(server.url());
    let mutation = rig.registry.submit(post()).unwrap();
    let read = rig.registry.submit(get()).unwrap();
    all_sent(&rig.registry);
    let report = rig.worker.shutdown(Duration::from_millis(20));
    assert_eq!(report.abandoned, 2);
    for (id, effect) in [(mutation, Effect::Unknown), (read, Effect::None)] {
        let failure = rig.outcome_of(id).unwrap_err();
        assert_kind(&failure, FailureKind::Shutdown);
        assert_eq!(failure.effect, effect);
        assert_eq!(rig.registry.status(id), Some(RequestStatus::Failed));
    }
}

#[test]
fn a_second_call_shortens_the_limit() {
    let server = silent_server();
    let (registry, queue) = Registry::new();
    let worker = Arc::new(start(server.url(), queue, |b| b));
    registry.submit(post()).unwrap();
    all_sent(&registry);
    let patient = Arc::clone(&worker);
    let first = std::thread::spawn(move || patient.shutdown(Duration::MAX));
    let second = worker.shutdown(Duration::ZERO);
    assert_eq!(second.abandoned, 1);
    assert_eq!(first.join().unwrap(), second);
}

#[test]
fn a_pause_before_a_further_attempt_ends_at_once() {
    struct Patient(mpsc::Sender<()>);
    impl Policy for Patient {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }
        fn retry(&self, _attempt: &FailedAttempt<'_>) -> RetryDecision {
            self.0.send(()).unwrap();
            RetryDecision::After(Duration::from_secs(3600))
        }
    }
    let (failed, has_failed) = mpsc::channel();
    let rig = Rig::with(dead_url(), |b| b.policy(Arc::new(Patient(failed))));
    let id = rig.registry.submit(post()).unwrap();
    has_failed.recv_timeout(PATIENCE).unwrap();
    let report = rig.worker.shutdown(PATIENCE);
    assert_eq!((report.given_up + report.finished, report.abandoned), (1, 0));
    let failure = rig.outcome_of(id).unwrap_err();
    assert_kind(&failure, FailureKind::Connect);
    assert_eq!(failure.effect, Effect::None);
}

#[test]
fn dropping_a_worker_stops_it() {
    let server = silent_server();
    let Rig { registry, worker } = Rig::with(server.url(), |b| b.drain_limit(Duration::ZERO).concurrency(2));
    let ids: Vec<_> = (0..10).map(|_| registry.submit(post()).unwrap()).collect();
    drop(worker);
    assert!(ids.iter().all(|id| registry.is_complete(*id) == Some(true)));
    let counts = registry.counts();
    assert_eq!(counts.failed + counts.cancelled, 10);
}

#[test]
fn requests_that_are_submitted_meanwhile_are_all_answered() {
    let server = RawServer::answering(ok("{}"));
    let (registry, queue) = Registry::new();
    let worker = start(server.url(), queue, |b| b);
    let (begun, has_begun) = mpsc::channel();
    let submitters: Vec<_> = (0..4)
        .map(|_| {
            let (registry, begun) = (registry.clone(), begun.clone());
            std::thread::spawn(move || {
                for _ in 0..500 {
                    registry.submit(get()).unwrap();
                    let _ = begun.send(());
                }
            })
        })
        .collect();
    for _ in 0..200 {
        has_begun.recv_timeout(PATIENCE).unwrap();
    }
    worker.shutdown(PATIENCE);
    for submitter in submitters {
        submitter.join().unwrap();
    }
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
    let counts = registry.counts();
    assert_eq!((counts.submitted, counts.completed + counts.cancelled), (2000, 2000));
}

#[test]
fn an_observer_may_stop_the_worker_or_panic() {
    #[derive(Default)]
    struct Stopping(OnceLock<Arc<Worker>>);
    impl Observer for Stopping {
        fn ended(&self, _ended: &Ended<'_>) {
            if let Some(worker) = self.0.get() {
                worker.shutdown(PATIENCE);
            }
            panic!("as asked");
        }
    }
    let server = RawServer::answering(ok("{}"));
    let observer = Arc::new(Stopping::default());
    let (registry, queue) = Registry::builder().observer(observer.clone()).build();
    let worker = Arc::new(start(server.url(), queue, |b| b));
    for stop in [false, true] {
        if stop {
            let _ = observer.0.set(Arc::clone(&worker));
        }
        let id = registry.submit(post()).unwrap();
        assert!(registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
    }
    worker.shutdown(PATIENCE);
}

#[test]
fn each_request_ends_by_how_far_it_has_come() {
    struct Stubborn;
    impl Policy for Stubborn {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }
        fn retry(&self, _attempt: &FailedAttempt<'_>) -> RetryDecision {
            RetryDecision::After(Duration::from_secs(3600))
        }
        fn lane(&self, request: &Request) -> Option<String> {
            request.target.contains("lane").then(|| "lane".to_owned())
        }
    }
    let server = RawServer::start(|connection| {
        while let Some(request) = connection.read_request() {
            if request.contains("/refused") {
                connection.write(b"HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n");
            } else if request.contains("/broken") {
                return;
            } else {
                connection.wait_for_close();
            }
        }
    });
    let rig = Rig::with(server.url(), |b| b.policy(Arc::new(Stubborn)));
    let submit = |target: &str| {
        let mut request = post();
        request.target = target.to_owned();
        rig.registry.submit(request).unwrap()
    };
    let ends = [
        (submit("/refused"), RequestStatus::Failed, Effect::None),
        (submit("/broken"), RequestStatus::Failed, Effect::Unknown),
        (submit("/silent/lane"), RequestStatus::Failed, Effect::Unknown),
        (submit("/next/lane"), RequestStatus::Cancelled, Effect::None),
    ];
    while rig.registry.waiting() < 2 || rig.registry.in_flight() < 1 || server.received().len() < 3 {
        std::thread::yield_now();
    }
    let expected = ShutdownReport {
        finished: 0,
        cancelled: 1,
        given_up: 2,
        abandoned: 1,
        left: 0,
    };
    assert_eq!(rig.worker.shutdown(Duration::ZERO), expected);
    for (id, status, effect) in ends {
        assert_eq!(rig.outcome_of(id).unwrap_err().effect, effect);
        assert_eq!(rig.registry.status(id), Some(status));
    }
    assert_eq!(
        (rig.registry.len(), rig.registry.unsent(), rig.registry.waiting()),
        (0, 0, 0)
    );
}

#[test]
fn what_a_store_keeps_goes_on_after_an_attempt_that_fails_while_the_worker_stops() {
    struct Later;
    impl Policy for Later {
        fn classify(&self, request: &Request, response: Response) -> Outcome {
            PlainHttp.classify(request, response)
        }
        fn retry(&self, _attempt: &FailedAttempt<'_>) -> RetryDecision {
            RetryDecision::After(Duration::from_secs(3600))
        }
    }
    let stopping = Arc::new(AtomicBool::new(false));
    let may_answer = Arc::clone(&stopping);
    let server = RawServer::start(move |connection| {
        while connection.read_request().is_some() {
            while !may_answer.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            connection.write(b"HTTP/1.1 429 X\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let store = Arc::new(MemoryStore::new());
    let (registry, queue) = Registry::builder().store(store.clone()).build();
    let worker = start(server.url(), queue, |b| b.policy(Arc::new(Later)));
    let id = registry.submit(post()).unwrap();
    while server.received().is_empty() {
        std::thread::yield_now();
    }
    worker.pause();
    let unsent = registry.submit(post()).unwrap();
    let report = std::thread::scope(|scope| {
        let stopped = scope.spawn(|| worker.shutdown(PATIENCE));
        while !format!("{worker:?}").contains("stopping: true") {
            std::thread::yield_now();
        }
        stopping.store(true, Ordering::SeqCst);
        stopped.join().unwrap()
    });
    let expected = ShutdownReport {
        finished: 1,
        left: 1,
        ..ShutdownReport::default()
    };
    assert_eq!(report, expected);
    let record = store.record(unsent).unwrap();
    assert_eq!((record.ended, record.left), (None, true), "it may be handed out again");
    let failure = registry.wait(id, Some(PATIENCE)).unwrap().as_ref().clone().unwrap_err();
    assert!(failure.message.contains("stays in the store"), "{}", failure.message);
    let record = store.record(id).unwrap();
    assert_eq!(
        (record.sent, record.ended, record.left),
        (1, None, true),
        "the next process asks again"
    );
    assert_eq!(registry.queue_room(), 0);
}
