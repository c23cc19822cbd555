//! Scripts in a plain program: no async runtime, no server.
//!
//! ```text
//! cargo run -p inflight-examples --example embed_plain
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use inflight::core::block_on;
use inflight::sim::Simulator;
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions, ScriptReport};

/// Starts two requests at once and gives both results.
const SHOP: &str = r#"
    let mug = new_product().name("Mug").create_async();
    let coupon = new_coupon().percent_off(10).duration("once").create_async();
    print("two requests are in flight");
    #{ product: await_result(mug, 30), coupon: await_result(coupon, 30) }
"#;

/// Leaves a request behind that fails: a price needs a product.
const CARELESS: &str = r#"
    new_price().amount(1000).create_async();
    print("nobody waits for the price");
"#;

// ANCHOR: main
fn main() -> Result<(), Box<dyn Error>> {
    // A Stripe to try things on. A real one needs no base URL.
    let simulator = Simulator::builder().start()?;
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_example1234")?)
        .build()?;

    // Both start here, on a thread of `inflight`'s own. Waiting for them is up to us, on any executor or on none.
    let shop = inflight.run(SHOP, options("shop"));
    let careless = inflight.run(CARELESS, options("careless"));
    show("shop", &block_on(shop));
    show("careless", &block_on(careless));

    inflight.shutdown(Duration::from_secs(5));
    simulator.shutdown();
    Ok(())
}
// ANCHOR_END: main

// ANCHOR: options
fn options(name: &'static str) -> ScriptOptions {
    ScriptOptions {
        time_limit: Some(Duration::from_secs(60)),
        output: Some(Arc::new(move |line: &str| println!("{name} says: {line}"))),
        ..ScriptOptions::default()
    }
}
// ANCHOR_END: options

fn show(name: &str, report: &ScriptReport) {
    match &report.result {
        Ok(value) => println!("{name} ended well with {value}"),
        Err(error) => println!("{name} failed: {error}"),
    }
    // What failed without anyone looking is a warning, and no error of the script.
    for warning in &report.warnings {
        println!("{name} warns: {warning}");
    }
    let counts = &report.counts;
    println!(
        "{name}: {} requests, {} completed, {} failed, {:?} in all",
        counts.submitted, counts.completed, counts.failed, report.wall_time
    );
}
