//! Idempotency keys: <https://docs.stripe.com/api/idempotent_requests>

use std::time::{Duration, Instant};

use inflight_sim::{Api, ApiRequest, Latency};
use serde_json::json;

use crate::client::{delete, get, post, simulator};

#[test]
fn a_repeated_request_is_answered_from_memory() {
    let (simulator, mut client) = simulator();
    let create = || post("/v1/products", "name=Mug&active=true").key("order-7");
    let first = client.call(create());
    assert_eq!(first.header("idempotent-replayed"), None);
    let again = client.call(create());
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("original-request"), first.header("request-id"));
    assert_ne!(again.header("request-id"), first.header("request-id"));
    // The order of the parameters does not matter.
    let reordered = client.call(post("/v1/products", "active=true&name=Mug").key("order-7"));
    assert_eq!(reordered.body, first.body);
    assert_eq!(
        (simulator.count("product"), simulator.effect_of_key("order-7")),
        (1, Some(true))
    );
    assert_eq!((simulator.counts().effects, simulator.counts().replays), (1, 2));
    assert_eq!(simulator.effect_of_key("order-8"), None);
}

#[test]
fn a_key_belongs_to_one_request_of_one_account() {
    let (simulator, mut client) = simulator();
    client.ok(post("/v1/products", "name=Mug").key("k"));
    for other in [
        post("/v1/products", "name=Cup").key("k"),
        post("/v1/customers", "name=Mug").key("k"),
    ] {
        assert_eq!(client.call(other).error(), (400, "idempotency_error", "", ""));
    }
    let elsewhere = post("/v1/products", "name=Cup")
        .key("k")
        .header("Stripe-Account", "acct_1");
    assert_eq!(client.call(elsewhere).status, 200);
    assert_eq!(simulator.count("product"), 1);
}

#[test]
fn failures_after_the_beginning_are_saved_and_refusals_before_are_not() {
    let (_simulator, mut client) = simulator();
    let declined = || {
        post(
            "/v1/payment_intents",
            "amount=500&currency=usd&confirm=true&payment_method=pm_card_chargeDeclined",
        )
        .key("pay")
    };
    let first = client.call(declined());
    let again = client.call(declined());
    assert_eq!((again.status, &again.body), (402, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));

    assert_eq!(client.call(post("/v1/products", "nmae=Mug").key("k")).status, 400);
    assert_eq!(
        client
            .call(post("/v1/products", "name=x").key("k").without("Authorization"))
            .status,
        401
    );
    let corrected = client.call(post("/v1/products", "name=Mug").key("k"));
    assert_eq!((corrected.status, corrected.header("idempotent-replayed")), (200, None));
}

#[test]
fn keys_do_nothing_on_other_methods_of_version_one_and_have_a_length() {
    let (_simulator, mut client) = simulator();
    let id = client.call(post("/v1/products", "name=Mug").key("k")).id().to_owned();
    client.ok(get(format!("/v1/products/{id}")).key("k"));
    client.ok(delete(format!("/v1/products/{id}")).key("k"));
    assert_eq!(
        client.call(post("/v1/products", "name=x").key("k".repeat(255))).status,
        200
    );
    assert_eq!(
        client.call(post("/v1/products", "name=x").key("k".repeat(256))).status,
        400
    );
    assert_eq!(client.call(post("/v1/products", "name=x").key("")).status, 400);
}

#[test]
fn keys_count_on_deletions_of_version_two() {
    let (simulator, mut client) = simulator();
    let hook = r#"{"name":"Hook","type":"webhook_endpoint","event_payload":"thin","enabled_events":["*"]}"#;
    let hook = client.call(post("/v2/core/event_destinations", hook).header("Content-Type", "application/json"));
    let path = format!("/v2/core/event_destinations/{}", hook.id());
    let first = client.call(delete(path.clone()).key("k"));
    let again = client.call(delete(path.clone()).key("k"));
    assert_eq!((first.status, again.status, &again.body), (200, 200, &first.body));
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(simulator.effect_of_key("k"), Some(true));
    // The same target, but another method.
    let other = client.call(post(path.clone(), "").key("k"));
    assert_eq!((other.error().0, other.error().1), (400, "idempotency_error"));
    assert_eq!(client.call(delete(path).key("other")).status, 404);
}

/// The server asks the clock; here the test is the clock.
#[test]
fn while_the_first_is_under_way_the_second_conflicts() {
    let latency = Duration::from_millis(100);
    let mut api = Api::new(1).latency(Latency::fixed(latency));
    let create = ApiRequest {
        method: "POST",
        path: "/v1/products",
        authorization: Some("Bearer sk_test_1"),
        idempotency_key: Some("k"),
        body: b"name=Mug",
        ..ApiRequest::default()
    };
    let start = Instant::now();
    let first = api.handle(&create, start);
    assert_eq!((first.status, first.latency), (200, latency));
    // The work is done at once, whether or not somebody waits for the answer.
    assert_eq!((api.count("product"), api.effect_of_key("k")), (1, Some(true)));

    let second = api.handle(&create, start + latency / 2);
    assert_eq!((second.status, second.replay_of), (409, None));
    let body: serde_json::Value = serde_json::from_slice(&second.body).unwrap();
    assert_eq!(body["error"]["code"], "idempotency_key_in_use");
    assert_eq!(body["error"]["type"], "invalid_request_error");

    let third = api.handle(&create, start + latency);
    assert_eq!(
        (third.status, third.body, third.replay_of),
        (200, first.body, Some(first.request_id))
    );
    assert_eq!(
        (api.count("product"), api.counts().conflicts, api.counts().effects),
        (1, 1, 1)
    );
}

#[test]
fn another_upload_is_another_request() {
    let mut api = Api::new(1);
    let mut upload = |boundary: &str, name: &str, purpose: &str, bytes: &[u8]| {
        let part = |head: String, content: &[u8]| {
            let head = format!("--{boundary}\r\nContent-Disposition: form-data; name={head}\r\n\r\n");
            [head.as_bytes(), content, b"\r\n"].concat()
        };
        let body = [
            part("\"purpose\"".to_owned(), purpose.as_bytes()),
            part(format!("\"file\"; filename=\"{name}\""), bytes),
            format!("--{boundary}--\r\n").into_bytes(),
        ]
        .concat();
        let request = ApiRequest {
            method: "POST",
            path: "/v1/files",
            authorization: Some("Bearer sk_test_1"),
            content_type: Some(&format!("multipart/form-data; boundary={boundary}")),
            idempotency_key: Some("k"),
            body: &body,
            ..ApiRequest::default()
        };
        let answer = api.handle(&request, Instant::now());
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        (answer.status, answer.replay_of.is_some(), body["error"]["type"].clone())
    };
    let evidence = "dispute_evidence";
    let bytes = b"a&b\xff";
    assert_eq!(upload("B", "a.png", evidence, bytes), (200, false, json!(null)));
    // The boundary between parts is drawn anew for each request.
    assert_eq!(upload("C", "a.png", evidence, bytes), (200, true, json!(null)));
    for (name, purpose, bytes) in [
        ("a.png", evidence, b"a&b\xfe"),
        ("a.png", evidence, b"b\xff&a"),
        ("b.png", evidence, bytes),
        ("a.png", "identity_document", bytes),
    ] {
        let answer = upload("B", name, purpose, bytes);
        assert_eq!(
            answer,
            (400, false, json!("idempotency_error")),
            "{name} {purpose} {bytes:?}"
        );
    }
}

/// JSON is no form: the order of what an ampersand separates there counts.
#[test]
fn another_json_body_is_another_request() {
    let (_simulator, mut client) = simulator();
    let hook = |rest: &str| {
        let body = format!(r#"{{"type":"webhook_endpoint","event_payload":"thin","enabled_events":["*"],{rest}}}"#);
        post("/v2/core/event_destinations", body)
            .header("Content-Type", "application/json")
            .key("k")
    };
    let first = client.call(hook(r#""name":"x&a&b&y","description":"z""#));
    let again = client.call(hook(r#""description":"z","name":"x&a&b&y""#));
    assert_eq!((first.status, &again.body), (200, &first.body));
    let other = client.call(hook(r#""name":"x&b&a&y","description":"z""#));
    assert_eq!((other.error().0, other.error().1), (400, "idempotency_error"));
}
