//! rune: a virtual machine for each script, and a host function that awaits.

use std::rc::Rc;
use std::sync::Arc;

use load::Load;
use peer_reqwest::Products;
use rune::{Context, Module, Source, Sources, Vm};

const SCRIPT: &str = r#"pub async fn main() { create_product("Mug").await }"#;

fn main() {
    let load = Load::from_arguments();
    let machine = Rc::new(machine(Products::new(&load.url)).expect("a script"));
    load.run(|| {
        let machine = machine.clone();
        move || run(machine.clone())
    });
}

/// A machine with the script, of which each run takes a copy.
fn machine(products: Products) -> Result<Vm, Box<dyn std::error::Error>> {
    let mut module = Module::new();
    let create = move |name: String| {
        let products = products.clone();
        async move { products.create(&name).await.expect("an answer") }
    };
    module.function("create_product", create).build()?;
    let mut context = Context::with_default_modules()?;
    context.install(module)?;
    let mut sources = Sources::new();
    sources.insert(Source::memory(SCRIPT)?)?;
    let unit = rune::prepare(&mut sources).with_context(&context).build()?;
    Ok(Vm::new(Arc::new(context.runtime()?), Arc::new(unit)))
}

async fn run(machine: Rc<Vm>) -> Result<(), Box<dyn std::error::Error>> {
    let mut machine = (*machine).clone();
    let id: String = rune::from_value(machine.async_call(["main"], ()).await?)?;
    assert!(!id.is_empty());
    Ok(())
}
