//! Inflight: a script for each place, which makes one request after the other.

use std::rc::Rc;

use load::Load;
use peer_inflight::{assemble, run};

const SCRIPT: &str = r#"do { new_product().name("Mug").create(); } while again();"#;

fn main() {
    let load = Load::from_arguments();
    let inflight = Rc::new(assemble(&load));
    load.run(|| {
        let inflight = inflight.clone();
        async move { run(&inflight, SCRIPT).await }
    });
}
