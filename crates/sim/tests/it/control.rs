//! The simulator's own routes, and its state as a file.

use std::fs;
use std::path::PathBuf;

use inflight_sim::{Simulator, StartError};
use serde_json::json;

use crate::client::{Client, get, post, simulator};

struct StateFile(PathBuf);

impl StateFile {
    fn new(name: &str) -> Self {
        let file = std::env::temp_dir().join(format!("inflight-sim-{}-{name}.json", std::process::id()));
        let _ = fs::remove_file(&file);
        Self(file)
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn health_statistics_and_reset_need_no_key() {
    let (simulator, mut client) = simulator();
    let keyless = |call: crate::client::Call| call.without("Authorization");
    assert_eq!(client.ok(keyless(get("/_sim/health")))["status"], "ok");
    client.ok(post("/v1/products", "name=Mug"));
    client.call(get("/v1/products/prod_0"));
    let stats = client.ok(keyless(get("/_sim/stats")));
    assert_eq!(
        (&stats["requests"], &stats["effects"], &stats["refused"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!(stats["operations"], json!({"product.create": 1, "product.retrieve": 1}));
    assert_eq!(stats["objects"], json!({"product": 1, "event": 1}));
    assert_eq!(simulator.requests("product.create"), 1);
    client.ok(keyless(post("/_sim/reset", "")));
    assert_eq!(
        (simulator.count("product"), simulator.requests("product.create")),
        (0, 0)
    );
    assert_eq!(client.ok(keyless(post("/_sim/save", "")))["saved"], false);
    assert_eq!(client.call(keyless(get("/_sim/reset"))).status, 404);
}

#[test]
fn the_state_outlives_the_simulator() {
    let file = StateFile::new("state");
    let start = || Simulator::builder().seed(1).state(&file.0).start().unwrap();
    let (before, events) = {
        let simulator = start();
        let mut client = Client::new(&simulator);
        let customer = client
            .call(post("/v1/customers", "metadata[a]=1&source=tok_visa"))
            .id()
            .to_owned();
        let price = "currency=usd&unit_amount=500&product_data[name]=Gold&recurring[interval]=month&lookup_key=gold";
        let price = client.call(post("/v1/prices", price)).id().to_owned();
        client.ok(post(
            "/v1/subscriptions",
            format!("customer={customer}&items[0][price]={price}"),
        ));
        client.ok(post(format!("/v1/customers/{customer}"), "name=Ada"));
        client.ok(post("/v1/products", "name=Other").header("Stripe-Account", "acct_1"));
        let file = "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\ndispute_evidence\r\n--B\r\n\
                    Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhello\r\n--B--\r\n";
        client.ok(post("/v1/files", file).header("Content-Type", "multipart/form-data; boundary=B"));
        (
            simulator.objects("subscription"),
            client.ok(get("/v1/events?limit=100")),
        )
    };
    let simulator = start();
    let mut client = Client::new(&simulator);
    assert_eq!(simulator.objects("subscription"), before);
    assert_eq!(client.ok(get("/v1/events?limit=100")), events);
    assert_eq!(
        client.ok(get("/v1/prices?lookup_keys[]=gold"))["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(client.ok(get("/v1/balance"))["available"][0]["amount"], 500 - 45);
    let other = client.ok(get("/v1/products").header("Stripe-Account", "acct_1"));
    assert_eq!(other["data"][0]["name"], "Other");
    let contents = format!(
        "/v1/files/{}/contents",
        simulator.objects("file")[0]["id"].as_str().unwrap()
    );
    assert_eq!(client.call(get(contents)).header("content-length"), Some("5"));
    // Ids go on where they were.
    let known: Vec<_> = simulator
        .objects("customer")
        .iter()
        .map(|one| one["id"].clone())
        .collect();
    let new = client.ok(post("/v1/customers", ""));
    assert!(!known.contains(&new["id"]));
    assert_eq!(client.ok(post("/_sim/save", ""))["saved"], true);
}

#[test]
fn a_file_that_is_no_state_is_refused_and_left_alone() {
    let file = StateFile::new("broken");
    for text in ["", "zebra", "{}", r#"{"format":99,"random":1,"accounts":{}}"#] {
        fs::write(&file.0, text).unwrap();
        let error = Simulator::builder().state(&file.0).start().unwrap_err();
        assert!(matches!(error, StartError::State(_)), "{error}");
        assert_eq!(fs::read_to_string(&file.0).unwrap(), text);
    }
}

/// A page in the developer's browser can send such requests without being asked.
#[test]
fn a_web_page_cannot_reach_the_routes() {
    let (simulator, mut client) = simulator();
    client.ok(post("/v1/products", "name=Mug"));
    for origin in ["http://evil.example", "null"] {
        let refused = client.call(post("/_sim/reset", "").header("Origin", origin));
        assert_eq!(refused.status, 403);
        assert!(refused.message().contains("Origin"), "{}", refused.message());
    }
    // A page whose name was made to point here sends no Origin when it reads.
    for host in [
        "evil.example",
        "evil.example:12111",
        "127.0.0.1.evil.example",
        "x.docker.internal",
        "",
    ] {
        let refused = client.call(get("/_sim/stats").header("Host", host));
        assert_eq!(refused.status, 403, "{host:?}");
        assert!(refused.message().contains("Host"), "{}", refused.message());
    }
    assert_eq!(simulator.count("product"), 1);
    for host in [
        "localhost",
        "localhost:12111",
        "host.docker.internal:12111",
        "127.0.0.1:12111",
        "[::1]:12111",
        "192.168.1.7",
        "simulator:12111",
    ] {
        client.ok(post("/_sim/save", "").header("Host", host));
    }
}
