//! Scripts in a web service: axum handlers on tokio that run a script for each request.
//!
//! A script that waits for Stripe holds no thread, and a script that computes blocks no handler. The program serves a few
//! requests that it makes to itself, prints what came back, and ends.
//!
//! ```text
//! cargo run -p inflight-examples --example embed_axum
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use inflight::rhai::register_async_fn;
use inflight::sim::Simulator;
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions, ScriptReport};
use rhai::{EvalAltResult, ImmutableString};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What a handler does, as its author can change it without building the service again. `name` comes from the request.
const NEW_PRODUCT: &str = r#"
    let id = new_product().name(name).create_async();
    #{ product: await_result(id, 30), name: name }
"#;

/// This one calls a function of the service, `rate`, and waits for it as for Stripe.
const NEW_PRICE: &str = r#"
    let product = new_product().name("Mug").create_async();
    let cents = (1000 * rate(currency)).to_int();
    let price = new_price()
        .product(await_result(product, 30))
        .amount(cents)
        .currency(currency)
        .create();
    #{ price: price, cents: cents }
"#;

// ANCHOR: rate
/// An exchange rate from wherever the service has it: a database, another API. Any Rust future can stand here.
async fn rate(currency: ImmutableString) -> Result<f64, Box<EvalAltResult>> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    match currency.as_str() {
        "usd" => Ok(1.0),
        "eur" => Ok(0.5),
        other => Err(format!("no rate is known for `{other}`").into()),
    }
}
// ANCHOR_END: rate

// ANCHOR: assemble
/// All that the handlers share. Every engine also knows the service's own functions.
fn assemble(base_url: String) -> Result<Inflight, Box<dyn Error>> {
    let builder = Inflight::builder()
        .base_url(base_url)
        .api_key(ApiKey::new("sk_test_example1234")?)
        .engine(|engine| register_async_fn(engine, "rate", rate));
    Ok(builder.build()?)
}
// ANCHOR_END: assemble

type Answer = (StatusCode, Json<Value>);

// ANCHOR: handlers
async fn new_product(State(inflight): State<Arc<Inflight>>, Path(name): Path<String>) -> Answer {
    answer(inflight.run(NEW_PRODUCT, options("name", name)).await)
}

async fn new_price(State(inflight): State<Arc<Inflight>>, Path(currency): Path<String>) -> Answer {
    answer(inflight.run(NEW_PRICE, options("currency", currency)).await)
}

/// A constant in the script's scope, and as much time as a client of ours would wait.
fn options(name: &str, value: String) -> ScriptOptions {
    ScriptOptions {
        time_limit: Some(Duration::from_secs(30)),
        constants: serde_json::Map::from_iter([(name.to_owned(), Value::String(value))]),
        ..ScriptOptions::default()
    }
}
// ANCHOR_END: handlers

fn answer(report: ScriptReport) -> Answer {
    match report.result {
        Ok(value) => (StatusCode::OK, Json(value)),
        Err(error) => (StatusCode::BAD_GATEWAY, Json(json!({ "error": error.to_string() }))),
    }
}

// ANCHOR: run
fn main() -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::builder().start()?;
    let inflight = Arc::new(assemble(simulator.url())?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve_and_ask(Arc::clone(&inflight)))?;
    // Waits for what is in flight, and so belongs on a thread that drives no runtime.
    inflight.shutdown(Duration::from_secs(5));
    simulator.shutdown();
    Ok(())
}
// ANCHOR_END: run

async fn serve_and_ask(inflight: Arc<Inflight>) -> Result<(), Box<dyn Error>> {
    let routes = Router::new()
        .route("/products/{name}", get(new_product))
        .route("/prices/{currency}", get(new_price))
        .with_state(inflight);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        axum::serve(listener, routes).with_graceful_shutdown(stopped).await
    });

    // All at once, on this one thread.
    let asked = ["/products/mug", "/products/pot", "/prices/eur", "/prices/xyz"];
    let answers: Vec<_> = asked.map(|path| tokio::spawn(ask(address, path))).into();
    for (path, answer) in asked.iter().zip(answers) {
        println!("{path}: {}", answer.await??);
    }

    let _ = stop.send(());
    server.await??;
    Ok(())
}

/// The smallest HTTP client there is: the status line's code, and the body.
async fn ask(address: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    connection.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or("no status");
    Ok(format!("{status} {body}"))
}
