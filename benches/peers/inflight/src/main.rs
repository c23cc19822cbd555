//! Inflight: a fiber for each script, each in a session of its own.

use std::cell::OnceCell;
use std::rc::Rc;

use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions, run_script};
use inflight_rhai::Script;
use load::Load;

const SCRIPT: &str = r#"let id = new_product().name("Mug").create_async(); await_result(id, 600)"#;

thread_local! {
    static COMPILED: OnceCell<Script> = const { OnceCell::new() };
}

fn main() {
    let load = Load::from_arguments();
    let inflight = Inflight::builder()
        .base_url(&load.url)
        .api_key(ApiKey::new(load::KEY).expect("a key"))
        .concurrency(load.in_flight)
        .queue_capacity(load.in_flight * 10)
        .build()
        .expect("an assembly");
    let inflight = Rc::new(inflight);
    load.run(|| {
        let inflight = inflight.clone();
        move || run(inflight.clone())
    });
}

async fn run(inflight: Rc<Inflight>) -> Result<(), String> {
    let session = inflight.session();
    let task = inflight.pool().spawn(move |engine| async move {
        let script = COMPILED.with(|compiled| {
            compiled
                .get_or_init(|| engine.compile(SCRIPT).expect("a script"))
                .clone()
        });
        run_script(&script, session, ScriptOptions::default()).await
    });
    let report = task.await.map_err(|error| error.to_string())?;
    report.result.map(drop).map_err(|error| error.to_string())
}
