//! Rhai with a thread for each script, and a host function that blocks it.

use std::error::Error;

use load::Load;
use peer_reqwest::{id_of, idempotency_key, install_tls};
use reqwest::blocking::Client;
use rhai::{Engine, EvalAltResult};

const SCRIPT: &str = r#"do { create_product("Mug"); } while again();"#;

fn main() {
    let load = Load::from_arguments();
    install_tls();
    let client = Client::builder().no_proxy().build().expect("a client");
    let url = format!("{}/v1/products", load.url);
    let mut engine = Engine::new();
    engine.register_fn("create_product", move |name: &str| {
        create(&client, &url, name).map_err(|error| Box::<EvalAltResult>::from(error.to_string()))
    });
    engine.register_fn("again", load::again);
    let script = engine.compile(SCRIPT).expect("a script");
    load.run_threads(move || engine.run_ast(&script));
}

fn create(client: &Client, url: &str, name: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
    let request = client
        .post(url)
        .bearer_auth(load::KEY)
        .header("idempotency-key", idempotency_key())
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("name={name}"));
    id_of(&request.send()?.error_for_status()?.bytes()?)
}
