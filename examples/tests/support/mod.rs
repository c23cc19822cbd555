//! What the tests of scripts share.

use inflight::Inflight;
use inflight::sim::Simulator;
use inflight::stripe_rhai::ApiKey;

/// A simulator, always the same, and an assembly that sends to it.
pub(crate) fn on_simulator() -> (Simulator, Inflight) {
    let simulator = Simulator::builder().seed(1).start().unwrap();
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_example1234").unwrap())
        .build()
        .unwrap();
    (simulator, inflight)
}
