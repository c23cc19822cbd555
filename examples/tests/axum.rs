//! Scripts in axum handlers, over real HTTP: a thousand requests at once, each of which runs a script that awaits.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use inflight::sim::{Latency, Simulator};
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const REQUESTS: usize = 1000;

async fn handle(State(inflight): State<Arc<Inflight>>, Path(name): Path<String>) -> String {
    let options = ScriptOptions {
        time_limit: Some(Duration::from_secs(60)),
        constants: serde_json::Map::from_iter([("name".to_owned(), name.into())]),
        ..ScriptOptions::default()
    };
    let script = "let id = new_product().name(name).create_async(); sleep(1); `${name} is ${await_result(id, 50)}`";
    match inflight.run(script, options).await.result {
        Ok(value) => value.as_str().unwrap_or_default().to_owned(),
        Err(error) => format!("failed: {error}"),
    }
}

async fn ask(address: SocketAddr, number: usize) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /p{number} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer.rsplit("\r\n").next().unwrap_or_default().to_owned()
}

#[test]
fn a_thousand_requests_run_a_script_each() {
    // Clients, server, worker and simulator are all in this process.
    let descriptors = rlimit::increase_nofile_limit(rlimit::INFINITY).unwrap_or(0);
    if descriptors < 5 * REQUESTS as u64 {
        println!("skipped: this machine allows {descriptors} open files only");
        return;
    }
    let simulator = Simulator::builder()
        .latency(Latency::fixed(Duration::from_millis(50)))
        .start()
        .unwrap();
    let inflight = Inflight::builder()
        .base_url(simulator.url())
        .api_key(ApiKey::new("sk_test_example1234").unwrap())
        .concurrency(REQUESTS)
        .build()
        .unwrap();
    let inflight = Arc::new(inflight);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let routes = Router::new()
        .route("/{name}", get(handle))
        .with_state(Arc::clone(&inflight));
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let asked: Vec<_> = (0..REQUESTS).map(|n| tokio::spawn(ask(address, n))).collect();
        for (n, answer) in asked.into_iter().enumerate() {
            let answer = answer.await.unwrap();
            assert!(answer.starts_with(&format!("p{n} is prod_")), "{answer}");
        }
        server.abort();
    });
    assert_eq!(simulator.count("product"), REQUESTS);
}
