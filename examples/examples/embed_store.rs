//! A script that survives a crash: requests and the script's journal in a store.
//!
//! ```text
//! cargo run -p inflight-examples --example embed_store
//! ```

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use inflight::core::{Journal, block_on};
use inflight::sim::Simulator;
use inflight::store::{DurableStore, RunStart, RunState};
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions, ScriptRun, store_options};

const INVITE: &str = r#"
    let customer = new_customer().email("ada@example.com").create();
    print(`${customer} was made`);
    customer
"#;

// ANCHOR: open
/// `mode` is where requests go, such as `test` or `live`: what was submitted for one of them is never sent to another.
fn assemble(base_url: String, store: &str, mode: &str) -> Result<(Inflight, DurableStore), Box<dyn Error>> {
    let store = DurableStore::open(store, store_options(mode))?;
    let inflight = Inflight::builder()
        .base_url(base_url)
        .api_key(ApiKey::new("sk_test_example1234")?)
        .store(store.clone())
        .build()?;
    Ok((inflight, store))
}
// ANCHOR_END: open

// ANCHOR: run
/// Starts the run, or goes on with it where another process was. Gives how it ended, also where that was earlier; `None` where it
/// was stopped and goes on at its next start.
fn run(inflight: &Inflight, store: &DurableStore, id: &str) -> Result<Option<String>, Box<dyn Error>> {
    let mut run = match store.begin_run(id, "invite")? {
        RunStart::New(run) | RunStart::Resumed(run) => run,
        RunStart::Finished(_, result) => return Ok(result),
    };
    let kept = run.take_kept();
    let run = Arc::new(run);
    let script = ScriptRun::new(run.id(), Arc::clone(&run) as Arc<dyn Journal>).kept(kept);
    let report = block_on(inflight.run(INVITE, ScriptOptions::default().run(script)));
    if report.resumable {
        return Ok(None);
    }
    let (state, result) = match report.result {
        Ok(value) => (RunState::Completed, value.to_string()),
        Err(error) => (RunState::Failed, error.to_string()),
    };
    run.finish(state, Some(result.clone()))?;
    Ok(Some(result))
}
// ANCHOR_END: run

fn main() -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::builder().start()?;
    let folder = std::env::temp_dir().join(format!("inflight-embed-store-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let file = format!("sqlite:{}", folder.join("shop.db").display());
    let (inflight, store) = assemble(simulator.url(), &file, "simulator")?;

    // Started again, a run that has ended gives what it gave, and sends nothing.
    for start in 1..=2 {
        println!("start {start}: {:?}", run(&inflight, &store, "invite-2026-11")?);
    }
    println!("customers: {}", simulator.count("customer"));

    inflight.shutdown(Duration::from_secs(5));
    // The last handle closes the store.
    drop((inflight, store));
    simulator.shutdown();
    let _ = std::fs::remove_dir_all(folder);
    Ok(())
}
