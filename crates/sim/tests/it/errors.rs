//! What Stripe refuses, in Stripe's words.

use crate::client::{Call, get, post, simulator};

#[test]
fn parameters() {
    let (simulator, mut client) = simulator();
    for (call, code, param, message) in [
        (
            post("/v1/products", ""),
            "parameter_missing",
            "name",
            "Missing required param: name.",
        ),
        (
            post("/v1/products", "name=x&nmae=y"),
            "parameter_unknown",
            "nmae",
            "Received unknown parameter: nmae. Did you mean name?",
        ),
        (
            post("/v1/products", "name=x&zebra=y"),
            "parameter_unknown",
            "zebra",
            "Received unknown parameter: zebra",
        ),
        (
            post("/v1/products", "name="),
            "parameter_invalid_empty",
            "name",
            "You passed an empty string for 'name'.",
        ),
        (
            post("/v1/products", "name=x&active=maybe"),
            "",
            "active",
            "Invalid boolean: maybe",
        ),
        (post("/v1/products", "name=x&images=y"), "", "images", "Invalid array"),
        (
            post("/v1/prices", "currency=usd&unit_amount=ten"),
            "parameter_invalid_integer",
            "unit_amount",
            "Invalid integer: ten",
        ),
        (
            post("/v1/prices", "currency=usd&tax_behavior=odd"),
            "",
            "tax_behavior",
            "Invalid tax_behavior: must be one of exclusive, inclusive, or unspecified",
        ),
        (
            post("/v1/coupons", format!("percent_off=5&name={}", "x".repeat(41))),
            "",
            "name",
            "Invalid string: name; must be at most 40 characters",
        ),
        (
            post("/v1/products", "name=x&a=1&a[b]=2"),
            "",
            "",
            "Invalid request: the name",
        ),
        (
            get("/v1/products?limit=101"),
            "",
            "limit",
            "This value must be less than or equal to 100",
        ),
    ] {
        let shown = format!("{} {}", call.target, call.body);
        let answer = client.call(call);
        assert_eq!(answer.error(), (400, "invalid_request_error", code, param), "{shown}");
        assert!(answer.message().starts_with(message), "{shown}: {}", answer.message());
        assert!(answer.header("request-id").unwrap().starts_with("req_"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    assert_eq!(simulator.counts().refused, 11);
}

#[test]
fn unknown_ids_and_urls() {
    let (_simulator, mut client) = simulator();
    let answer = client.call(get("/v1/products/prod_0"));
    assert_eq!(answer.error(), (404, "invalid_request_error", "resource_missing", "id"));
    assert_eq!(answer.message(), "No such product: 'prod_0'");
    let answer = client.call(post("/v1/foo", ""));
    assert_eq!(answer.error(), (404, "invalid_request_error", "", ""));
    assert!(answer.message().starts_with("Unrecognized request URL (POST: /v1/foo)"));
    for call in [
        Call::new("PUT", "/v1/products", ""),
        get("/"),
        get("/v1/products/a/b"),
        get("/v1/products/%FF"),
        get("/v1/products/prod_0/features/prodft_0"),
        get("/v2/core/zebras"),
    ] {
        assert_eq!(client.call(call).status, 404);
    }
}

#[test]
fn keys() {
    let (_simulator, mut client) = simulator();
    let list = || get("/v1/products");
    for authorization in ["Bearer rk_test_1", "Basic c2tfdGVzdF8xOg=="] {
        assert_eq!(client.call(list().header("Authorization", authorization)).status, 200);
    }
    let missing = client.call(list().without("Authorization"));
    assert_eq!(missing.error(), (401, "invalid_request_error", "", ""));
    let bad = client.call(list().header("Authorization", "Bearer sk_prod_abcdefghijkl"));
    assert_eq!(
        (bad.status, bad.message()),
        (401, "Invalid API Key provided: ****************ijkl")
    );
    let live = client.call(list().header("Authorization", "Bearer sk_live_a1b2c3d4e5f6"));
    assert_eq!(live.status, 401);
    assert!(!live.body.to_string().contains("e5f6"));
}

#[test]
fn the_version_is_echoed() {
    let (_simulator, mut client) = simulator();
    let answer = client.call(get("/v1/products").header("Stripe-Version", "2024-06-20"));
    assert_eq!(answer.header("stripe-version"), Some("2024-06-20"));
    assert_eq!(
        client.call(get("/v1/products")).header("stripe-version"),
        Some(inflight_stripe::API_VERSION)
    );
}

#[test]
fn other_content_types() {
    let (_simulator, mut client) = simulator();
    let json = post("/v1/products", r#"{"name":"x"}"#).header("Content-Type", "application/json");
    assert!(client.call(json).message().contains("content type"));
    let form =
        post("/v1/products", "name=x").header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8");
    assert_eq!(client.call(form).status, 200);
}

#[test]
fn a_value_outside_an_open_list_is_refused_and_never_replaced() {
    let (simulator, mut client) = simulator();
    for (path, form, param) in [
        ("/v1/payment_methods", "type=foo", "type"),
        ("/v1/tax_ids", "type=foo&value=1", "type"),
    ] {
        let refused = client.call(post(path, form));
        assert_eq!(
            (refused.status, refused.error().3),
            (400, param),
            "{path}: {}",
            refused.body
        );
    }
    assert_eq!(simulator.counts().effects, 0);
}
