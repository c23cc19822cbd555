//! Everything at once: lanes, pace, breaker, priorities, cancellations, deadlines and a server that fails in every way. Nothing may be
//! lost, hang, or keep what it held.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::{
    Effect, FailedAttempt, Failure, IdempotencyKey, Outcome, PaceClass, PaceLimit, PlainHttp, Policy, Priority,
    Registry, Request, RequestStatus, Response, RetryDecision, Secret, SessionLimits, Throttle,
};
use inflight_transport::{CircuitBreaker, RetryBudget, WhenOpen};

use crate::server::{PATIENCE, RawServer, Rig, ok, post, start};

const REQUESTS: usize = 2_000;

/// Lanes and endpoints by target, short pauses, refusals sent back.
struct Stormy;

impl Policy for Stormy {
    fn keep_headers(&self) -> &'static [&'static str] {
        &["x-limit"]
    }

    fn classify(&self, request: &Request, response: Response) -> Outcome {
        PlainHttp.classify(request, response)
    }

    fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        let pause = Duration::from_micros((attempt.random * 3000.0) as u64);
        match attempt.failure.status() {
            Some(429) => RetryDecision::Requeue(pause),
            _ if attempt.attempts > 3 => RetryDecision::Stop,
            _ if attempt.unanswered && !attempt.repeated_at_once => RetryDecision::AtOnce,
            _ => RetryDecision::After(pause),
        }
    }

    fn throttle(&self, failure: &Failure) -> Option<Throttle> {
        let limit = failure.response.as_ref()?.header("x-limit")?;
        Some(match limit {
            "ar" => Throttle::AccountRate,
            "ac" => Throttle::AccountConcurrency,
            "er" => Throttle::EndpointRate,
            _ => Throttle::EndpointConcurrency,
        })
    }

    fn pace_class(&self, request: &Request, _secret: Option<&Secret>) -> Option<PaceClass> {
        let limit = PaceLimit::per_second(1_000_000);
        (!request.target.ends_with('0')).then(|| PaceClass {
            account: Some(limit),
            endpoint: Cow::Owned(request.target.clone()),
            limit: limit.concurrent(3),
        })
    }

    fn lane(&self, request: &Request) -> Option<String> {
        (!request.target.ends_with('1')).then(|| request.target.clone())
    }
}

/// How often each key was carried out.
type Effects = Arc<Mutex<HashMap<String, usize>>>;

/// Fails a part of the requests until it is told to be well. Counts what was carried out, by key.
fn stormy_server(seed: u64) -> (RawServer, Arc<AtomicBool>, Effects) {
    let well = Arc::new(AtomicBool::new(false));
    let done = Effects::default();
    let random = Mutex::new(fastrand::Rng::with_seed(seed));
    let (healthy, effects) = (Arc::clone(&well), Arc::clone(&done));
    let server = RawServer::start(move |connection| {
        while let Some(text) = connection.read_request() {
            let key = text
                .lines()
                .find_map(|line| line.strip_prefix("idempotency-key: "))
                .unwrap_or_default()
                .to_owned();
            let execute = || {
                // As a server that keeps keys does.
                effects.lock().unwrap().entry(key.clone()).or_insert(1);
            };
            let fate = if healthy.load(Ordering::SeqCst) {
                100
            } else {
                random.lock().unwrap().u32(0..100)
            };
            match fate {
                0..5 => return,
                5..10 => {
                    execute();
                    return;
                }
                10..13 => {
                    execute();
                    connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\nhalf");
                    return;
                }
                13..17 => connection.write(b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"),
                17..18 => {
                    connection.write(b"nonsense\r\n\r\n");
                    return;
                }
                18..28 => {
                    let limit = ["ar", "ac", "er", "ec"][fate as usize % 4];
                    connection
                        .write(format!("HTTP/1.1 429 X\r\nx-limit: {limit}\r\ncontent-length: 0\r\n\r\n").as_bytes());
                }
                28..30 => connection.write(b"HTTP/1.1 400 X\r\ncontent-length: 0\r\n\r\n"),
                30..31 => {
                    connection.wait_for_close();
                    return;
                }
                _ => {
                    execute();
                    connection.write(ok("{}").as_bytes());
                }
            }
        }
    });
    (server, well, done)
}

fn request(random: &mut fastrand::Rng) -> Request {
    let mut request = post().idempotency_key(IdempotencyKey::Generated);
    request.target = format!("/v1/{}", random.u32(0..20));
    request.priority = Priority::ALL[random.usize(0..3)];
    request.attempt_timeout = Some(Duration::from_millis(200));
    if random.u32(0..10) == 0 {
        request.deadline = Some(Duration::from_millis(random.u64(0..30)));
    }
    request
}

fn storm(seed: u64, pace: bool, when_open: WhenOpen) {
    let (server, well, done) = stormy_server(seed);
    let (registry, queue) = Registry::builder().queue_capacity(300).build();
    let worker = start(server.url(), queue, |b| {
        b.policy(Arc::new(Stormy))
            .pace(pace)
            .concurrency(16)
            .retry_budget(RetryBudget::unlimited())
            .circuit_breaker(CircuitBreaker {
                failures: 3,
                first_pause: Duration::from_millis(1),
                longest_pause: Duration::from_millis(5),
                when_open,
            })
    });
    let rig = Rig { registry, worker };
    let session = rig.registry.session_with(SessionLimits {
        pending: usize::MAX,
        unsent: usize::MAX,
    });
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ids = Vec::new();
    while ids.len() < REQUESTS {
        let id = inflight_core::block_on(session.submit_when_room(request(&mut random))).unwrap();
        ids.push(id);
        if random.u32(0..10) == 0 {
            session.cancel(ids[random.usize(0..ids.len())]);
        }
    }
    let mut doubtful = 0;
    for id in &ids {
        let outcome = session.wait(*id, Some(PATIENCE)).expect("it ends");
        let carried_out = done.lock().unwrap().contains_key(&id.to_string());
        match (outcome.as_ref(), session.status(*id)) {
            (Ok(_), Some(RequestStatus::Completed)) => assert!(carried_out),
            (Err(failure), Some(status)) => {
                assert_ne!(status, RequestStatus::Completed);
                assert!(
                    failure.effect == Effect::Unknown || !carried_out,
                    "{failure}: it was carried out"
                );
                doubtful += usize::from(failure.effect == Effect::Unknown);
            }
            (_, status) => panic!("it ended as {status:?}"),
        }
    }
    assert!(doubtful < REQUESTS / 5, "{doubtful} are in doubt");
    nothing_is_left(&rig.registry);
    // Whoever kept a lane, a slot or a place of an endpoint would be missed now.
    well.store(true, Ordering::SeqCst);
    let ids: Vec<_> = (0..20)
        .flat_map(|target| [target; 10])
        .map(|target| {
            let mut request = post();
            request.target = format!("/v1/{target}");
            session.submit(request).unwrap()
        })
        .collect();
    let failed = ids
        .iter()
        .filter(|id| session.wait(**id, Some(PATIENCE)).expect("it ends").is_err());
    // While the breaker is still open it may refuse.
    assert!(failed.count() == 0 || when_open == WhenOpen::Fail);
    nothing_is_left(&rig.registry);
}

/// The queue lets go of what was cancelled when the worker comes by, a moment after the cancellation.
fn nothing_is_left(registry: &Registry) {
    let until = std::time::Instant::now() + PATIENCE;
    loop {
        let left = (
            registry.len(),
            registry.unsent(),
            registry.waiting(),
            registry.in_flight(),
        );
        if left == (0, 0, 0, 0) {
            return;
        }
        assert!(std::time::Instant::now() < until, "{left:?}");
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_lost_in_a_storm() {
    storm(1, false, WhenOpen::Wait);
}

#[test]
fn nothing_is_lost_in_a_storm_at_a_pace() {
    storm(2, true, WhenOpen::Wait);
}

#[test]
fn nothing_is_lost_in_a_storm_that_fails_fast() {
    storm(3, true, WhenOpen::Fail);
}
