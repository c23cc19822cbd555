//! Rhai scripts that start slow API requests and go on.
//!
//! This crate re-exports each layer of the project under its own name and assembles them. Some programs need one layer only:
//! depend on that crate then.
//!
//! | module | what it is |
//! |---|---|
//! | [`core`] | the registry: ids, states, sessions, waiting; the seams |
//! | `transport` | the worker that sends requests with reqwest |
//! | `stripe` | Stripe's API as data: builders, form encoding, what answers mean |
//! | `rhai` | scripts as futures, and their functions for requests in flight |
//! | `stripe_rhai` | the Stripe builders for scripts |
//! | `store` | requests and runs that survive the process |
//! | `sim` | a stateful Stripe simulator |
//!
#![cfg_attr(
    feature = "sim",
    doc = r##"
```
use inflight::{Inflight, ScriptOptions, sim::Simulator, stripe_rhai::ApiKey};

let simulator = Simulator::builder().start()?;
let inflight = Inflight::builder().base_url(simulator.url()).api_key(ApiKey::new("sk_test_123")?).build()?;

let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
let report = runtime.block_on(inflight.run(
    r#"
    let id = new_product().name("Mug").create_async();
    print("started, going on");
    await_result(id, 30)
    "#,
    ScriptOptions::default(),
));
assert!(report.result?.as_str().unwrap().starts_with("prod_"));
assert_eq!((report.counts.completed, report.warnings.len()), (1, 0));
# Ok::<(), Box<dyn std::error::Error>>(())
```
"##
)]
#![forbid(unsafe_code)]

pub use inflight_core as core;
#[cfg(feature = "rhai")]
pub use inflight_rhai as rhai;
#[cfg(feature = "sim")]
pub use inflight_sim as sim;
#[cfg(feature = "store")]
pub use inflight_store as store;
#[cfg(feature = "stripe")]
pub use inflight_stripe as stripe;
#[cfg(feature = "rhai")]
pub use inflight_stripe_rhai as stripe_rhai;
#[cfg(feature = "transport")]
pub use inflight_transport as transport;

#[cfg(all(feature = "rhai", feature = "transport"))]
mod assembly;
#[cfg(feature = "store")]
mod durable;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(feature = "rhai")]
mod run;
#[cfg(all(feature = "rhai", feature = "transport"))]
mod telemetry;
#[cfg(feature = "traces")]
mod traces;

#[cfg(all(feature = "rhai", feature = "transport"))]
pub use assembly::{BuildError, Inflight, InflightBuilder};
#[cfg(feature = "store")]
pub use durable::store_options;
#[cfg(feature = "metrics")]
pub use metrics::{BUCKETS, Metrics, WAKE_UP_BUCKETS};
#[cfg(feature = "rhai")]
pub use run::{ScriptOptions, ScriptReport, ScriptRun, run_script};
#[cfg(feature = "traces")]
pub use traces::Traces;

#[cfg(all(doctest, feature = "sim"))]
#[doc = include_str!("../README.md")]
struct Readme;
