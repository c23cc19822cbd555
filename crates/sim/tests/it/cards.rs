//! What is said of a card, and what is said of what happened.

use serde_json::json;

use crate::client::{get, post, simulator};

#[test]
fn a_card_has_a_date_and_a_code() {
    let (_simulator, mut client) = simulator();
    for (fields, code, param) in [
        (
            "card[exp_month]=13&card[exp_year]=2034",
            "invalid_expiry_month",
            "exp_month",
        ),
        (
            "card[exp_month]=0&card[exp_year]=2034",
            "invalid_expiry_month",
            "exp_month",
        ),
        (
            "card[exp_month]=1&card[exp_year]=2001",
            "invalid_expiry_year",
            "exp_year",
        ),
        ("card[exp_month]=1&card[exp_year]=20", "invalid_expiry_year", "exp_year"),
        (
            "card[exp_month]=1&card[exp_year]=9999",
            "invalid_expiry_year",
            "exp_year",
        ),
        (
            "card[exp_month]=1&card[exp_year]=2034&card[cvc]=12",
            "invalid_cvc",
            "cvc",
        ),
        (
            "card[exp_month]=1&card[exp_year]=2034&card[cvc]=abc",
            "invalid_cvc",
            "cvc",
        ),
    ] {
        let form = format!("type=card&card[number]=4242424242424242&{fields}");
        let refused = client.call(post("/v1/payment_methods", form));
        assert_eq!(refused.error(), (402, "card_error", code, param), "{fields}");
        let form = format!("card[number]=4242424242424242&{fields}");
        assert_eq!(client.call(post("/v1/tokens", form)).error().2, code);
    }
    let short = "type=card&card[number]=4242424242424242&card[exp_month]=1&card[exp_year]=34";
    assert_eq!(client.ok(post("/v1/payment_methods", short))["card"]["exp_year"], 2034);
}

#[test]
fn a_charge_says_how_it_went() {
    let (_simulator, mut client) = simulator();
    let charge = client.ok(post("/v1/charges", "amount=500&currency=usd&source=tok_visa"));
    assert_eq!(
        (&charge["outcome"]["network_status"], &charge["outcome"]["type"]),
        (&json!("approved_by_network"), &json!("authorized"))
    );
}

#[test]
fn events_tell_of_changes_only() {
    let (_simulator, mut client) = simulator();
    let made = client.ok(post("/v1/customers", "name=Ada&metadata[old]=1&metadata[kept]=1"));
    let path = format!("/v1/customers/{}", made["id"].as_str().unwrap());
    client.ok(post(path.clone(), "name=Ada"));
    client.ok(post(path.clone(), "metadata[new]=2&metadata[old]="));
    let events = client.ok(get("/v1/events?type=customer.updated"));
    let events = events["data"].as_array().unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0]["data"]["previous_attributes"],
        json!({"metadata": {"new": null, "old": "1"}})
    );
}

#[test]
fn events_tell_of_their_request() {
    let mut api = inflight_sim::Api::new(1);
    let mut send = |method, path, key| {
        let request = inflight_sim::ApiRequest {
            method,
            path,
            idempotency_key: key,
            authorization: Some("Bearer sk_test_1"),
            ..Default::default()
        };
        api.handle(&request, std::time::Instant::now())
    };
    let made = [
        send("POST", "/v1/customers", Some("key-1")),
        send("POST", "/v1/customers", None),
    ];
    let listed: serde_json::Value = serde_json::from_slice(&send("GET", "/v1/events", None).body).unwrap();
    for (event, (response, key)) in [(1, (&made[0], json!("key-1"))), (0, (&made[1], json!(null)))] {
        let expected = json!({"id": response.request_id, "idempotency_key": key});
        assert_eq!(listed["data"][event]["request"], expected);
    }
    let saved = api.save().unwrap();
    let mut loaded = inflight_sim::Api::new(2);
    loaded.load(&saved).unwrap();
    assert_eq!(loaded.save().unwrap(), saved);
    assert!(saved.contains("key-1"));
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let (_simulator, mut client) = simulator();
    for (path, param) in [
        ("/v1/customers?created[gt]=99999999999999999999", "created[gt]"),
        ("/v1/customers?created=99999999999999999999", "created"),
        ("/v1/events?created[lte]=-99999999999999999999", "created[lte]"),
        ("/v1/customers/search?query=email%3E5", "query"),
        ("/v1/customers/search?query=metadata%5B%27a%27%5D%3E5", "query"),
    ] {
        let refused = client.call(get(path));
        assert_eq!(
            (refused.status, refused.error().3),
            (400, param),
            "{path}: {}",
            refused.body
        );
    }
    let many: Vec<String> = (0..51).map(|n| format!("metadata[k{n}]=v")).collect();
    let refused = client.call(post("/v1/customers", many.join("&")));
    assert_eq!(
        refused.message(),
        "You cannot have more than 50 keys in metadata. You tried to set 51 keys."
    );
}

#[test]
fn a_state_needs_a_directory() {
    let missing = std::env::temp_dir()
        .join("inflight-no-such-directory")
        .join("state.json");
    assert!(inflight_sim::Simulator::builder().state(missing).start().is_err());
}
