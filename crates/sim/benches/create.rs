//! Creations in process, without a socket.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use inflight_sim::{Api, ApiRequest};

fn create(c: &mut Criterion) {
    let mut group = c.benchmark_group("how long does the simulator take for a request?");
    group.throughput(Throughput::Elements(1));
    let now = Instant::now();
    for (name, path, body) in [
        ("create a product", "/v1/products", "name=Mug&metadata[order]=42"),
        (
            "create a customer",
            "/v1/customers",
            "email=a%40example.com&name=Ada&metadata[order]=42",
        ),
        (
            "create a payment intent",
            "/v1/payment_intents",
            "amount=500&currency=usd&confirm=true&payment_method=pm_card_visa",
        ),
    ] {
        let mut api = Api::new(1);
        let mut n = 0_u64;
        group.bench_function(name, |b| {
            b.iter(|| {
                n += 1;
                // What a measurement leaves behind would be measured as memory, not as time.
                if n.is_multiple_of(100_000) {
                    api.reset();
                }
                let key = n.to_string();
                let request = ApiRequest {
                    method: "POST",
                    path,
                    authorization: Some("Bearer sk_test_1"),
                    idempotency_key: Some(&key),
                    body: body.as_bytes(),
                    ..ApiRequest::default()
                };
                black_box(api.handle(&request, now))
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = create
}
criterion_main!(benches);
