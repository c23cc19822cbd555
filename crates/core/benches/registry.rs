//! What do the registry's operations cost? Each benchmark is named after the question that it answers.
//!
//! Ids, counters and limits are as in real use; requests look like the creation of a product.

#![allow(clippy::result_large_err, reason = "core's `Outcome` holds a failure by value")]

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use inflight_core::testing::ManualTransport;
use inflight_core::{
    IdempotencyKey, Method, Queue, Registry, Request, Response, Session, SessionLimits, Success, block_on,
};

const BODY: &[u8] = b"name=Mug&description=A+mug+of+stoneware&metadata%5Bsku%5D=mug-1&active=true";
const UNLIMITED: SessionLimits = SessionLimits {
    pending: usize::MAX,
    unsent: usize::MAX,
};
/// How many requests a measured stretch submits before it is cleared away, unmeasured.
const STRETCH: u64 = 10_000;

fn product() -> Request {
    Request::new(Method::Post, "/v1/products")
        .operation("product.create")
        .body("application/x-www-form-urlencoded", BODY)
        .idempotency_key(IdempotencyKey::Generated)
}

fn success() -> Success {
    Success {
        object_id: Some("prod_Q1w2e3r4t5y6u7".into()),
        response: Response::new(200, &b"{\"id\":\"prod_Q1w2e3r4t5y6u7\"}"[..]),
    }
}

fn registry() -> (Registry, Queue) {
    Registry::builder().queue_capacity(usize::MAX >> 1).build()
}

/// Submits in stretches; what was submitted is taken off the queue between them, outside the measurement.
fn submit_in_stretches(count: u64, session: impl Fn(&Registry) -> Session) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let stretch = left.min(STRETCH);
        left -= stretch;
        let (registry, _queue) = registry();
        let session = session(&registry);
        let requests: Vec<_> = (0..stretch).map(|_| product()).collect();
        let start = Instant::now();
        for request in requests {
            black_box(session.submit(request).is_ok());
        }
        total += start.elapsed();
    }
    total
}

fn submit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("what does a submission cost?");
    group.throughput(Throughput::Elements(1));
    group.bench_function("one thread, own session", |bencher| {
        bencher.iter_custom(|count| submit_in_stretches(count, |registry| registry.session_with(UNLIMITED)));
    });
    group.bench_function("one thread, root session", |bencher| {
        bencher.iter_custom(|count| submit_in_stretches(count, |registry| registry.root().clone()));
    });
    group.finish();
}

fn cycle(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("what does a whole cycle cost?");
    group.throughput(Throughput::Elements(1));
    group.bench_function("submit, complete, take, one thread", |bencher| {
        let (registry, mut queue) = registry();
        let session = registry.session_with(UNLIMITED);
        bencher.iter(|| {
            let id = session.submit(product()).expect("there is room");
            let job = queue.pop().expect("it is queued");
            let in_flight = block_on(job.start()).expect("it is not cancelled");
            in_flight.complete(Ok(success()));
            black_box(session.take_result(id)).expect("it has ended")
        });
    });
    group.finish();
}

/// The time per submission, with two threads that submit the same number each at the same time.
fn on_two_threads(count: u64, sessions: impl Fn(&Registry) -> [Session; 2]) -> Duration {
    let mut total = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let stretch = left.min(STRETCH);
        left -= stretch;
        let (registry, _queue) = registry();
        let barrier = Barrier::new(2);
        let longest = std::thread::scope(|scope| {
            let threads = sessions(&registry).map(|session| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let requests: Vec<_> = (0..stretch).map(|_| product()).collect();
                    barrier.wait();
                    let start = Instant::now();
                    for request in requests {
                        black_box(session.submit(request).is_ok());
                    }
                    start.elapsed()
                })
            });
            let times = threads.map(|thread| thread.join().unwrap_or_default());
            times[0].max(times[1])
        });
        total += longest;
    }
    total
}

fn contention(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("do two threads that submit get in each other's way?");
    group.throughput(Throughput::Elements(2));
    group.bench_function("each in a session of its own", |bencher| {
        bencher
            .iter_custom(|count| on_two_threads(count, |registry| [(); 2].map(|()| registry.session_with(UNLIMITED))));
    });
    group.bench_function("both in the root session", |bencher| {
        bencher.iter_custom(|count| on_two_threads(count, |registry| [(); 2].map(|()| registry.root().clone())));
    });
    group.finish();
}

fn wake_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("how long until a waiting thread has its answer from another?");
    group.bench_function("submit, wake the worker, complete, wake the waiter", |bencher| {
        let (registry, queue) = registry();
        let stop = registry.clone();
        let worker = std::thread::spawn(move || {
            let mut transport = ManualTransport::new(queue);
            loop {
                let sent = transport.next();
                let last = sent.request().target == "/stop";
                sent.complete(Ok(success()));
                if last {
                    return;
                }
            }
        });
        bencher.iter(|| {
            let id = registry.submit(product()).expect("there is room");
            black_box(registry.wait(id, None)).expect("it is known");
            registry.take_result(id).expect("it has ended")
        });
        stop.submit(Request::new(Method::Get, "/stop")).expect("there is room");
        worker.join().expect("the worker does not panic");
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .sample_size(50)
        .configure_from_args();
    submit(&mut criterion);
    cycle(&mut criterion);
    contention(&mut criterion);
    wake_up(&mut criterion);
    criterion.final_summary();
}
