//! What Stripe's side of one request costs: encoding, building, classifying.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use inflight_core::{Policy, Response};
use inflight_stripe::{CreateProduct, Params, StripePolicy, form};

fn encode(c: &mut Criterion) {
    let params = Params::new()
        .with("name", "Mug, blue")
        .with("active", true)
        .with("metadata", Params::new().with("order", "42").with("shop", "north"))
        .with("images", ["https://example.com/a.png"]);
    let mut group = c.benchmark_group("what does a form cost?");
    group.bench_function("a product, to text", |b| b.iter(|| form::encode(black_box(&params))));
    let text = form::encode(&params).unwrap_or_default();
    group.bench_function("a product, from text", |b| b.iter(|| form::decode(black_box(&text))));
    group.finish();
}

fn build(c: &mut Criterion) {
    let mut group = c.benchmark_group("what does a request cost until it can be submitted?");
    group.bench_function("a product, by its typed builder", |b| {
        b.iter(|| {
            CreateProduct::new(black_box("Mug"))
                .active(true)
                .metadata("order", "42")
                .request()
        });
    });
    group.finish();
}

fn classify(c: &mut Criterion) {
    let body = format!(
        r#"{{"id":"prod_1","object":"product","description":"{}"}}"#,
        "x".repeat(350)
    );
    let response = Response::new(200, body);
    let Ok(request) = CreateProduct::new("Mug").request() else {
        return;
    };
    let mut group = c.benchmark_group("what does it cost to know what an answer means?");
    group.bench_function("a product of 400 bytes", |b| {
        b.iter(|| StripePolicy::new().classify(&request, black_box(response.clone())));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = encode, build, classify
}
criterion_main!(benches);
