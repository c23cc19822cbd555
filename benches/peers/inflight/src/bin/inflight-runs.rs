//! Inflight: a run of a script for each request. What is measured has the start and the end of a script in it.

use std::rc::Rc;

use inflight::Inflight;
use load::Load;
use peer_inflight::{assemble, run};

const SCRIPT: &str = r#"let id = new_product().name("Mug").create_async(); await_result(id, 600)"#;

fn main() {
    let load = Load::from_arguments();
    let inflight = Rc::new(assemble(&load));
    load.run(|| place(inflight.clone()));
}

async fn place(inflight: Rc<Inflight>) -> Result<(), String> {
    loop {
        run(&inflight, SCRIPT).await?;
        if !load::again() {
            return Ok(());
        }
    }
}
