//! Requests of a domain of one's own beside Stripe's: a host function that a script starts them with, and a request of the host's own.
//!
//! ```text
//! cargo run -p inflight-examples --example embed_own
//! ```

use std::error::Error;

use inflight::core::{IdempotencyKey, Method, Request, block_on};
use inflight::rhai::{call_request, submit_request, uncharged};
use inflight::sim::Simulator;
use inflight::stripe::CreateProduct;
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions};
use rhai::{Dynamic, Engine, EvalAltResult, ImmutableString, NativeCallContext};

const SCRIPT: &str = r#"
    let id = press_async("door");
    let pressed = press("lamp");
    [await_object(id).button, pressed.button]
"#;

// ANCHOR: functions
/// `device` is a server of one's own. It gets no key: the request names no credential.
fn button(device: &str, name: &str) -> Request {
    Request::new(Method::Post, format!("{device}/buttons/{name}"))
        .operation("button.press")
        .idempotency_key(IdempotencyKey::Generated)
}

fn register(engine: &mut Engine, device: String) {
    let of = device.clone();
    engine.register_fn(
        "press_async",
        move |ctx: NativeCallContext, name: ImmutableString| -> Result<ImmutableString, Box<EvalAltResult>> {
            submit_request(&ctx, uncharged(|| button(&of, &name)))
        },
    );
    engine.register_fn(
        "press",
        move |ctx: NativeCallContext, name: ImmutableString| -> Result<Dynamic, Box<EvalAltResult>> {
            call_request(&ctx, uncharged(|| button(&device, &name)), true)
        },
    );
}
// ANCHOR_END: functions

// ANCHOR: own
/// A request of the host's own to Stripe, with the host's key.
fn make_product(inflight: &Inflight) -> Result<String, Box<dyn Error>> {
    let request = CreateProduct::new("Mug").request()?;
    let session = inflight.session();
    let id = session.submit(inflight.host().prepare(request)?)?;
    let ending = session.wait_async(id).ok_or("the session knows its request")?;
    match &*block_on(ending) {
        Ok(success) => Ok(success.object_id.as_deref().unwrap_or_default().to_owned()),
        Err(failure) => Err(failure.to_string().into()),
    }
}
// ANCHOR_END: own

/// A device with buttons, on a port of this machine.
fn start_device() -> Result<String, Box<dyn Error>> {
    use axum::{Json, Router, extract::Path, routing::post};
    let press = |Path(name): Path<String>| async move { Json(serde_json::json!({ "id": "press_1", "button": name })) };
    let app = Router::new().route("/buttons/{name}", post(press));
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = format!("http://{}", listener.local_addr()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            axum::serve(listener, app).await
        })
    });
    Ok(address)
}

fn main() -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::start()?;
    let device = start_device()?;
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_example1234")?)
        .engine(move |engine| register(engine, device.clone()))
        .build()?;
    let report = block_on(inflight.run(SCRIPT, ScriptOptions::default()));
    println!("pressed: {}", report.result?);
    println!("made: {}", make_product(&inflight)?);
    Ok(())
}
