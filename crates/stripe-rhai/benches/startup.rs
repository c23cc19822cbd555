//! What the whole of Stripe's API costs an engine: once per thread, and in each further engine of that thread.
#![allow(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use inflight_stripe_rhai::{HostOptions, StripeHost, StripePackage};

fn startup(c: &mut Criterion) {
    let host = StripeHost::new(HostOptions::default());
    let mut group = c.benchmark_group("how long until an engine has Stripe's API?");
    group.bench_function("the package, once per thread", |b| {
        b.iter_with_large_drop(|| StripePackage::new(black_box(&host)));
    });
    let package = StripePackage::new(&host);
    group.bench_function("the package registered in a further engine", |b| {
        b.iter_batched_ref(
            rhai::Engine::new,
            |engine| package.register(engine),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("a whole new engine", |b| {
        b.iter_with_large_drop(|| StripePackage::new_engine(black_box(&host)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = startup
}
criterion_main!(benches);
