//! The webhook service of `examples/webhook_axum.rs`, over real HTTP.

#[allow(dead_code, reason = "the example's own program")]
#[path = "../examples/webhook_axum.rs"]
mod service;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use inflight::sim::Simulator;
use inflight::stripe::webhook::WebhookSecret;
use service::{Service, deliver, routes};
use tokio::net::TcpListener;

fn checkout(id: &str, email: &str) -> String {
    format!(
        r#"{{"id": "{id}", "object": "event", "type": "checkout.session.completed",
        "data": {{"object": {{"id": "cs_1", "customer_details": {{"email": "{email}"}}}}}}}}"#
    )
}

#[test]
fn each_event_is_verified_and_handled_once() {
    let simulator = Simulator::builder().start().unwrap();
    let secret = WebhookSecret::new("whsec_of_this_test").unwrap();
    let service = Arc::new(Service::new(simulator.url(), secret).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = routes(Arc::clone(&service));
        let server = tokio::spawn(async move { axum::serve(listener, routes).await });
        let now = SystemTime::now();
        let sign = |body: &str| service.webhook.sign(body.as_bytes(), now);

        // Valid, and delivered again.
        let body = checkout("evt_1", "ada@example.com");
        let answer = deliver(address, &sign(&body), &body).await.unwrap();
        assert!(answer.starts_with("200 welcome, cus_"), "{answer}");
        let answer = deliver(address, &sign(&body), &body).await.unwrap();
        assert_eq!(answer, "200 evt_1 was handled before");
        assert_eq!(simulator.count("customer"), 1);

        // Changed on its way, unsigned, too old: nothing runs.
        let forged = checkout("evt_2", "eve@example.com");
        let answer = deliver(address, &sign(&body), &forged).await.unwrap();
        assert!(answer.starts_with("400 none of the signatures"), "{answer}");
        let answer = deliver(address, "", &forged).await.unwrap();
        assert!(
            answer.starts_with("400 there is no Stripe-Signature header"),
            "{answer}"
        );
        let old = service.webhook.sign(forged.as_bytes(), now - Duration::from_secs(400));
        let answer = deliver(address, &old, &forged).await.unwrap();
        assert!(answer.starts_with("400 the payload was signed 40"), "{answer}");
        assert_eq!(simulator.count("customer"), 1);

        // A script that fails has not handled its event: delivered again, it runs again.
        let failing =
            r#"{"id": "evt_3", "object": "event", "type": "checkout.session.completed", "data": {"object": {}}}"#;
        for _ in 0..2 {
            let answer = deliver(address, &sign(failing), failing).await.unwrap();
            assert!(answer.starts_with("500 "), "{answer}");
        }
        // A thin event is no event of v1.
        let thin = r#"{"id": "evt_4", "object": "v2.core.event", "type": "x"}"#;
        let answer = deliver(address, &sign(thin), thin).await.unwrap();
        assert!(
            answer.starts_with("400 the payload is an event notification"),
            "{answer}"
        );

        // Many at once, each twice.
        let bodies: Vec<_> = (10..60)
            .map(|n| checkout(&format!("evt_{n}"), "n@example.com"))
            .collect();
        let deliveries: Vec<_> = bodies
            .iter()
            .chain(&bodies)
            .map(|body| {
                let (signature, body) = (sign(body), body.clone());
                tokio::spawn(async move { deliver(address, &signature, &body).await.unwrap() })
            })
            .collect();
        for delivery in deliveries {
            assert!(delivery.await.unwrap().starts_with("200 "));
        }
        assert_eq!(simulator.count("customer"), 51);
        server.abort();
    });
    service.inflight.shutdown(Duration::from_secs(5));
}
