//! Webhooks in a web service: an axum handler that verifies what Stripe sends and runs a script for each event, once.
//!
//! Rust verifies the signature and knows duplicates; the script says what is to be done. The program plays Stripe to itself: it
//! delivers a few events, prints the answers, and ends.
//!
//! ```text
//! cargo run -p inflight-examples --example webhook_axum
//! ```

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use inflight::sim::Simulator;
use inflight::stripe::webhook::{SeenEvents, Webhook, WebhookSecret};
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// What is done about an event. Two services that both receive it create one customer: the event's id is the idempotency key.
pub(crate) const ON_EVENT: &str = r#"
    if event.type != "checkout.session.completed" {
        return `${event.type} is nothing to us`;
    }
    let session = event.data.object;
    if !("customer_details" in session) {
        throw "a checkout without a customer";
    }
    let customer = new_customer()
        .email(session.customer_details.email)
        .idempotency_key(event.id)
        .create();
    `welcome, ${customer}`
"#;

/// All that the handler needs.
pub(crate) struct Service {
    pub(crate) inflight: Inflight,
    pub(crate) webhook: Webhook,
    pub(crate) seen: SeenEvents,
}

impl Service {
    pub(crate) fn new(base_url: String, secret: WebhookSecret) -> Result<Self, Box<dyn Error>> {
        let inflight = Inflight::builder()
            .base_url(base_url)
            .api_key(ApiKey::new("sk_test_example1234")?)
            .build()?;
        Ok(Self {
            inflight,
            webhook: Webhook::new(secret),
            seen: SeenEvents::default(),
        })
    }
}

pub(crate) fn routes(service: Arc<Service>) -> Router {
    Router::new().route("/webhook", post(receive)).with_state(service)
}

/// Stripe delivers again what is not answered with a 2xx. The body must be the bytes as they came: no `Json` here.
async fn receive(State(service): State<Arc<Service>>, headers: HeaderMap, body: Bytes) -> (StatusCode, String) {
    let signature = headers.get("Stripe-Signature").and_then(|value| value.to_str().ok());
    let event = match service
        .webhook
        .event(&body, signature.unwrap_or_default(), SystemTime::now())
    {
        Ok(event) => event,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()),
    };
    let id = event.id().to_owned();
    if !service.seen.first_time(&id) {
        return (StatusCode::OK, format!("{id} was handled before"));
    }
    let options = ScriptOptions {
        // Stripe waits for an answer for some seconds.
        time_limit: Some(Duration::from_secs(8)),
        constants: serde_json::Map::from_iter([("event".to_owned(), event.into_fields().into())]),
        ..ScriptOptions::default()
    };
    match service.inflight.run(ON_EVENT, options).await.result {
        Ok(value) => (StatusCode::OK, value.as_str().unwrap_or_default().to_owned()),
        Err(error) => {
            // Not handled: the next delivery is a first one again.
            service.seen.forget(&id);
            (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let simulator = Simulator::builder().start()?;
    let service = Arc::new(Service::new(simulator.url(), WebhookSecret::new("whsec_example")?)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve_and_deliver(Arc::clone(&service)))?;
    // Waits for what is in flight, and so belongs on a thread that drives no runtime.
    service.inflight.shutdown(Duration::from_secs(5));
    simulator.shutdown();
    Ok(())
}

async fn serve_and_deliver(service: Arc<Service>) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel::<()>();
    let routes = routes(Arc::clone(&service));
    let server = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        axum::serve(listener, routes).with_graceful_shutdown(stopped).await
    });

    let body = r#"{"id": "evt_1", "object": "event", "type": "checkout.session.completed",
        "data": {"object": {"id": "cs_1", "customer_details": {"email": "ada@example.com"}}}}"#;
    let now = SystemTime::now();
    let long_ago = now - Duration::from_secs(3600);
    let signed = service.webhook.sign(body.as_bytes(), now);
    for (what, signature, body) in [
        ("an event", signed.clone(), body.to_owned()),
        ("the same again", signed.clone(), body.to_owned()),
        ("a forgery", signed, body.replace("ada", "eve")),
        (
            "an old one",
            service.webhook.sign(body.as_bytes(), long_ago),
            body.to_owned(),
        ),
    ] {
        println!("{what}: {}", deliver(address, &signature, &body).await?);
    }

    let _ = stop.send(());
    server.await??;
    Ok(())
}

/// The smallest HTTP client there is: the status line's code, and the body.
pub(crate) async fn deliver(address: SocketAddr, signature: &str, body: &str) -> std::io::Result<String> {
    let mut connection = TcpStream::connect(address).await?;
    let length = body.len();
    let request = format!(
        "POST /webhook HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Stripe-Signature: {signature}\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    connection.read_to_string(&mut text).await?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).unwrap_or("no status");
    Ok(format!("{status} {body}"))
}
