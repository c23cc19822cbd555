//! What both of Inflight's clients are: scripts on an assembly of its own, each in a session of its own.

use inflight::rhai::ScriptAllocator;
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions};
use load::Load;
use mimalloc::MiMalloc;

/// As in Inflight's program.
#[global_allocator]
static ALLOCATOR: ScriptAllocator<MiMalloc> = ScriptAllocator::new(MiMalloc);

/// An assembly for the load's server whose scripts can ask `again()`.
///
/// # Panics
/// Where it cannot be set up.
#[must_use]
pub fn assemble(load: &Load) -> Inflight {
    Inflight::builder()
        .base_url(&load.url)
        .api_key(ApiKey::new(load::KEY).expect("a key"))
        .concurrency(load.in_flight)
        .queue_capacity(load.in_flight * 10)
        .engine(|engine| {
            engine.register_fn("again", load::again);
        })
        .build()
        .expect("an assembly")
}

/// Runs the script to its end.
///
/// # Errors
/// Where it fails.
pub async fn run(inflight: &Inflight, script: &str) -> Result<(), String> {
    let report = inflight.run(script, ScriptOptions::default()).await;
    report.result.map(drop).map_err(|error| error.to_string())
}
