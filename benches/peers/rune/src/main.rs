//! rune: a virtual machine for each script, and a host function that awaits.

use std::error::Error;
use std::rc::Rc;
use std::sync::Arc;

use load::Load;
use peer_reqwest::Products;
use rune::runtime::RuntimeContext;
use rune::{Context, Module, Source, Sources, Unit, Vm};

const SCRIPT: &str = r#"pub async fn main() { loop { create_product("Mug").await; if !again() { break; } } }"#;

/// What machines are made of.
struct Program {
    context: Arc<RuntimeContext>,
    unit: Arc<Unit>,
}

fn main() {
    let load = Load::from_arguments();
    let program = Rc::new(compile(Products::new(&load.url)).expect("a script"));
    load.run(|| run(program.clone()));
}

fn compile(products: Products) -> Result<Program, Box<dyn Error>> {
    let mut module = Module::new();
    let create = move |name: String| {
        let products = products.clone();
        async move { products.create(&name).await.expect("an answer") }
    };
    module.function("create_product", create).build()?;
    module.function("again", load::again).build()?;
    let mut context = Context::with_default_modules()?;
    context.install(module)?;
    let mut sources = Sources::new();
    sources.insert(Source::memory(SCRIPT)?)?;
    let unit = rune::prepare(&mut sources).with_context(&context).build()?;
    Ok(Program {
        context: Arc::new(context.runtime()?),
        unit: Arc::new(unit),
    })
}

async fn run(program: Rc<Program>) -> Result<(), Box<dyn Error>> {
    let mut machine = Vm::new(program.context.clone(), program.unit.clone());
    machine.async_call(["main"], ()).await?;
    Ok(())
}
