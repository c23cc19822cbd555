//! What observers are told, and in which order.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use inflight_core::testing::ManualClock;
use inflight_core::{
    AttemptBegan, AttemptEnded, AttemptResult, Effect, Ended, FailureKind, Observer, Priority, Registry, RequestStatus,
    RetryReason, Session, Settled, Submitted, block_on,
};

use crate::support::{failure, manual_with, post, success};

/// Writes down what it is told.
#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl Log {
    fn add(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Log {
    fn submitted(&self, s: &Submitted<'_>) {
        self.add(format!(
            "submitted {} {} {}",
            s.operation,
            s.method,
            s.priority.as_str()
        ));
    }

    fn attempt_began(&self, b: &AttemptBegan<'_>) {
        self.add(format!("began {} {:?} {:?}", b.attempt, b.queued, b.limiter_wait));
    }

    fn attempt_ended(&self, e: &AttemptEnded<'_>) {
        let error = e.result.error.map_or("", FailureKind::as_str);
        let next = e.result.next.map_or("", |(reason, _)| reason.as_str());
        self.add(
            format!(
                "ended {} {:?} {:?} {error} {next}",
                e.attempt, e.duration, e.result.status
            )
            .trim_end()
            .to_owned(),
        );
    }

    fn ended(&self, e: &Ended<'_>) {
        self.add(format!("over {} {:?}", e.status.as_str(), e.latency));
    }

    fn settled(&self, s: &Settled<'_>) {
        self.add(format!("settled {:?} {:?}", s.before, s.after));
    }
}

/// Against its contract.
struct Panicking;

impl Observer for Panicking {
    fn submitted(&self, _: &Submitted<'_>) {
        panic!("as the test says");
    }

    fn attempt_began(&self, _: &AttemptBegan<'_>) {
        panic!("as the test says");
    }

    fn ended(&self, _: &Ended<'_>) {
        panic!("as the test says");
    }
}

#[test]
fn a_request_is_told_of_from_submission_to_what_settles_it() {
    let (clock, log, second) = (
        Arc::new(ManualClock::new()),
        Arc::new(Log::default()),
        Arc::new(Log::default()),
    );
    let builder = Registry::builder()
        .clock(clock.clone())
        .observer(Arc::new(Panicking))
        .observer(log.clone())
        .observer(second.clone());
    let (registry, mut transport) = manual_with(builder);
    let id = registry.submit(post().priority(Priority::High)).unwrap();
    assert_eq!(registry.queue_depth(), [1, 0, 0]);
    clock.advance(Duration::from_secs(3));
    let mut sent = transport.next().into_inner();
    assert_eq!(registry.queue_depth(), [0, 0, 0]);
    sent.begin_attempt(Duration::from_secs(2));
    clock.advance(Duration::from_secs(1));
    sent.end_attempt(AttemptResult {
        status: Some(429),
        error: Some(&FailureKind::Http),
        next: Some((RetryReason::RateLimited, Duration::from_secs(5))),
        ..AttemptResult::default()
    });
    sent.wait(Effect::Unknown, registry.clock().now() + Duration::from_secs(5));
    assert_eq!(registry.queue_depth(), [1, 0, 0]);
    clock.advance(Duration::from_secs(6));
    let mut sent = block_on(sent.resume()).unwrap();
    sent.begin_attempt(Duration::ZERO);
    sent.complete(Err(failure(Effect::Unknown)));
    registry.complete(id, success("prod_1")).unwrap();

    let told = log.take();
    assert_eq!(
        told,
        [
            "submitted product.create POST high",
            "began 1 3s 2s",
            "ended 1 1s Some(429) http_error rate_limited",
            "began 2 1s 0ns",
            "ended 2 0ns None http_error",
            "over failed 10s",
            "settled Failed(Unknown) Completed",
        ]
    );
    assert_eq!(second.take(), told);
}

#[test]
fn every_attempt_that_began_ends() {
    let log = Arc::new(Log::default());
    let (registry, mut transport) = manual_with(
        Registry::builder()
            .clock(Arc::new(ManualClock::new()))
            .observer(log.clone()),
    );
    registry.submit(post()).unwrap();
    let mut dropped = transport.next().into_inner();
    dropped.begin_attempt(Duration::ZERO);
    dropped.begin_attempt(Duration::ZERO);
    drop(dropped);
    let told = log.take();
    assert_eq!(
        told[1..],
        [
            "began 1 0ns 0ns",
            "ended 1 0ns None http_error",
            "began 2 0ns 0ns",
            "ended 2 0ns None shutdown",
            "over failed 0ns",
        ]
    );
}

#[test]
fn a_request_of_any_session_is_cancelled_by_its_id() {
    let (registry, mut transport) = manual_with(Registry::builder());
    let (one, two) = (registry.session(), registry.session());
    let ids = [registry.submit(post()), one.submit(post()), two.submit(post())].map(Result::unwrap);
    let sent = one.submit(post()).unwrap();
    for id in ids {
        assert_eq!(registry.cancel_anywhere(id), Some(true));
        assert_eq!(registry.cancel_anywhere(id), Some(false));
    }
    let in_flight = transport.next();
    assert_eq!(registry.cancel_anywhere(sent), Some(false));
    in_flight.succeed("prod_1");
    drop(one);
    assert_eq!(registry.cancel_anywhere(ids[1]), None);
    assert_eq!(registry.queue_depth(), [0, 0, 0]);
}

#[test]
fn a_submission_is_told_before_its_ending_whoever_cancels_meanwhile() {
    let log = Arc::new(Log::default());
    let session: Arc<OnceLock<Session>> = Arc::default();
    let of_hook = Arc::clone(&session);
    let (registry, _queue) = Registry::builder()
        .observer(log.clone())
        // Between the moment at which the request is known and the one at which it is accepted.
        .on_submit(Arc::new(move |_, _| {
            of_hook.get().unwrap().cancel_unsent();
        }))
        .build();
    session.set(registry.session()).unwrap();
    let session = session.get().unwrap();
    let id = session.submit(post()).unwrap();
    assert_eq!(session.status(id), Some(RequestStatus::Pending));
    assert_eq!(session.pending(), 1);
    assert_eq!(session.cancel_unsent(), 1);
    let told = log.take();
    assert!(told[0].starts_with("submitted"), "{told:?}");
    assert!(told[1].starts_with("over cancelled"), "{told:?}");
    assert_eq!(session.pending(), 0);
}
