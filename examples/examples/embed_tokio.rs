//! Scripts among the tasks of a tokio program.
//!
//! ```text
//! cargo run -p inflight-examples --example embed_tokio
//! ```

use std::error::Error;
use std::time::Duration;

use inflight::sim::Simulator;
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions};

// ANCHOR: main
const MUG: &str = r#"
    let mug = new_product().name("Mug").create_async();
    await_result(mug, 30)
"#;

fn main() -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::builder().start()?;
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_example1234")?)
        .build()?;

    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        // A script has begun as soon as `run` is called. Its future can be spawned, joined and given up like any other.
        let first = tokio::spawn(inflight.run(MUG, ScriptOptions::default()));
        let second = inflight.run(MUG, ScriptOptions::default());
        let second = tokio::time::timeout(Duration::from_secs(30), second).await?;
        println!("{:?} and {:?}", first.await?.result?, second.result?);
        Ok::<(), Box<dyn Error>>(())
    })?;

    // It waits for what is in flight, so not within the runtime.
    inflight.shutdown(Duration::from_secs(5));
    simulator.shutdown();
    Ok(())
}
// ANCHOR_END: main
