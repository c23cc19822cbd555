//! What answers mean.

use inflight_core::Method;

use super::*;

fn classify(method: Method, status: u16, headers: &[(&'static str, &str)], body: &str) -> Outcome {
    let mut response = Response::new(status, body.to_owned());
    response.headers = headers
        .iter()
        .map(|(name, value)| (Cow::Borrowed(*name), (*value).into()))
        .collect();
    StripePolicy::new().classify(&Request::new(method, "/v1/products"), response)
}

#[test]
fn successes() {
    for (body, id) in [
        (r#"{"id":"prod_1","object":"product"}"#, Some("prod_1")),
        (r#"{"object":"list","data":[{"id":"prod_1"}]}"#, None),
        (r#" {"id":{"nested":[1,true,null,"x"]}}"#, None),
        (r#"{"id":null}"#, None),
        (r#"{"id":"a\nb"}"#, Some("a\nb")),
        ("{}", None),
    ] {
        let success = classify(Method::Post, 200, &[], body).unwrap();
        assert_eq!(success.object_id.as_deref(), id, "{body}");
    }
}

#[test]
fn failures() {
    use Method::{Delete, Get, Post};
    const HTML: &str = "<html>";
    let named = |kind: &str, code: &str| format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"m"}}}}"#);
    let invalid = named("invalid_request_error", "resource_missing");
    for (method, status, body, kind, effect, retryable) in [
        (Post, 200, HTML, "invalid_response", Effect::Unknown, false),
        (Delete, 200, "", "invalid_response", Effect::Unknown, false),
        (Get, 200, "[1]", "invalid_response", Effect::None, false),
        (Post, 200, r#"["id"]"#, "invalid_response", Effect::Unknown, false),
        (Post, 302, HTML, "invalid_response", Effect::Unknown, false),
        (Get, 302, HTML, "invalid_response", Effect::None, false),
        (Post, 400, &*invalid, "invalid_request_error", Effect::None, false),
        (
            Post,
            400,
            &*named("idempotency_error", ""),
            "idempotency_error",
            Effect::None,
            false,
        ),
        (
            Post,
            400,
            &*named("invalid_request_error", "rate_limit"),
            "rate_limit_error",
            Effect::None,
            true,
        ),
        (Post, 401, &*invalid, "authentication_error", Effect::None, false),
        (
            Post,
            402,
            &*named("card_error", "card_declined"),
            "card_error",
            Effect::None,
            false,
        ),
        (Post, 403, &*invalid, "permission_error", Effect::None, false),
        (Post, 404, &*invalid, "invalid_request_error", Effect::None, false),
        (Post, 404, HTML, "invalid_response", Effect::Unknown, false),
        (Get, 404, HTML, "invalid_response", Effect::None, false),
        (Post, 403, HTML, "permission_error", Effect::Unknown, false),
        (Post, 402, HTML, "invalid_response", Effect::Unknown, false),
        (
            Delete,
            403,
            r#"{"message":"blocked"}"#,
            "permission_error",
            Effect::Unknown,
            false,
        ),
        (
            Post,
            409,
            &*named("invalid_request_error", "idempotency_key_in_use"),
            "invalid_request_error",
            Effect::Unknown,
            true,
        ),
        (
            Post,
            409,
            &*named("invalid_request_error", "other"),
            "invalid_request_error",
            Effect::None,
            true,
        ),
        (
            Post,
            429,
            &*named("invalid_request_error", "lock_timeout"),
            "rate_limit_error",
            Effect::None,
            true,
        ),
        (Post, 429, HTML, "rate_limit_error", Effect::None, true),
        (Post, 500, &*named("api_error", ""), "api_error", Effect::Unknown, true),
        (Delete, 502, HTML, "api_error", Effect::Unknown, true),
        (Get, 503, HTML, "api_error", Effect::None, true),
        (
            Post,
            400,
            &*named("brand_new_error", ""),
            "brand_new_error",
            Effect::None,
            false,
        ),
        (
            Post,
            400,
            r#"{"error":"forbidden"}"#,
            "invalid_request_error",
            Effect::Unknown,
            false,
        ),
        (
            Post,
            400,
            r#"{"error":{"message":7,"param":[]}}"#,
            "invalid_request_error",
            Effect::Unknown,
            false,
        ),
        (
            Post,
            400,
            r#"{"error":{"message":7,"code":"parameter_missing"}}"#,
            "invalid_request_error",
            Effect::None,
            false,
        ),
        (
            Post,
            400,
            r#"{"error":null}"#,
            "invalid_response",
            Effect::Unknown,
            false,
        ),
    ] {
        let failure = classify(method, status, &[], body).unwrap_err();
        let got = (failure.kind.as_str(), failure.effect, failure.retryable);
        assert_eq!(got, (kind, effect, retryable), "{method} {status} {body}");
        assert_eq!(failure.status(), Some(status));
        assert_eq!(failure.needs_reconcile, effect == Effect::Unknown);
    }
}

#[test]
fn what_something_in_between_says_settles_nothing() {
    const STRIPES: &str = r#"{"error":{"type":"card_error","code":"card_declined"}}"#;
    const GATEWAYS: &str = r#"{"error":{"code":403,"message":"m","status":"PERMISSION_DENIED"}}"#;
    let replay = [("idempotent-replayed", "true")];
    let id = [("request-id", "req_1")];
    for (status, headers, body, effect, settles) in [
        (402, &[][..], STRIPES, Effect::None, true),
        (402, &id, "", Effect::None, true),
        (402, &[], "", Effect::Unknown, false),
        (402, &[("request-id", "")], "", Effect::Unknown, false),
        (402, &[], r#"{"error":"pay first"}"#, Effect::Unknown, false),
        (403, &[], GATEWAYS, Effect::Unknown, false),
        (403, &[], r#"{"error":{"type":"","code":null}}"#, Effect::Unknown, false),
        (403, &id, GATEWAYS, Effect::None, false),
        (403, &replay, GATEWAYS, Effect::None, true),
        (404, &id, "", Effect::None, false),
    ] {
        let failure = classify(Method::Post, status, headers, body).unwrap_err();
        let got = (failure.effect, StripePolicy::new().settles(&failure));
        assert_eq!(got, (effect, settles), "{status} {headers:?} {body}");
    }
    // OAuth's errors are texts.
    let token = Request::new(Method::Post, "/oauth/token");
    let body = r#"{"error":"invalid_grant","error_description":"m"}"#;
    let failure = StripePolicy::new().classify(&token, Response::new(400, body));
    assert_eq!(failure.unwrap_err().effect, Effect::None);
}

#[test]
fn an_error_with_a_good_status_is_one() {
    const ERROR: &str = r#"{"error":{"type":"invalid_request_error","code":"c","param":"p","message":"No."}}"#;
    for (method, effect) in [(Method::Post, Effect::Unknown), (Method::Get, Effect::None)] {
        let failure = classify(method, 200, &[("request-id", "req_1")], ERROR).unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.effect), ("api_error", effect));
        assert_eq!((&*failure.message, failure.code.as_deref()), ("No.", Some("c")));
        assert_eq!(failure.request_id.as_deref(), Some("req_1"));
        assert_eq!(failure.status(), Some(200));
    }
    // Objects that have an error of their own, or none.
    for body in [
        r#"{"id":"sqr_1","object":"scheduled_query_run","error":{"message":"m"}}"#,
        r#"{"id":"frr_1","object":"reporting.report_run","error":"m"}"#,
        r#"{"object":"list","data":[],"error":null}"#,
    ] {
        assert!(classify(Method::Post, 200, &[], body).is_ok(), "{body}");
    }
}

#[test]
fn no_content_is_none_where_stripe_says_so() {
    let success = classify(Method::Post, 204, &[("request-id", "req_1")], "").unwrap();
    assert_eq!((success.object_id, success.response.status), (None, 204));
    for (status, headers) in [(204, &[][..]), (200, &[("request-id", "req_1")])] {
        let failure = classify(Method::Post, status, headers, "").unwrap_err();
        assert_eq!(
            (failure.kind.as_str(), failure.effect),
            ("invalid_response", Effect::Unknown)
        );
    }
}

#[test]
fn fields_are_read() {
    let body = r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"insufficient_funds",
        "param":"payment_method","message":"Declined.","charge":{"id":1}}}"#;
    let failure = classify(Method::Post, 402, &[("request-id", "req_1")], body).unwrap_err();
    assert_eq!(failure.code.as_deref(), Some("card_declined"));
    assert_eq!(failure.decline_code.as_deref(), Some("insufficient_funds"));
    assert_eq!(failure.param.as_deref(), Some("payment_method"));
    assert_eq!(failure.request_id.as_deref(), Some("req_1"));
    assert_eq!(failure.message, "Declined.");
    let oauth = classify(
        Method::Post,
        400,
        &[],
        r#"{"error":"invalid_grant","error_description":"No."}"#,
    );
    let oauth = oauth.unwrap_err();
    assert_eq!((oauth.code.as_deref(), &*oauth.message), (Some("invalid_grant"), "No."));
}

#[test]
fn details_are_kept_and_hold_no_secret() {
    let body = r#"{"error":{"type":"card_error","message":"m","advice_code":"do_not_try_again","doc_url":"https://d",
        "payment_intent":{"id":"pi_1","client_secret":"pi_1_secret_x","deep":{"id":"no"}},"source":null,"charge":["x"],
        "user_message":"pi_1_secret_xyz"}}"#;
    let headers = [
        ("stripe-rate-limited-reason", "endpoint-rate"),
        ("idempotent-replayed", "true"),
    ];
    let failure = classify(Method::Post, 402, &headers, body).unwrap_err();
    let details: Vec<(&str, &str)> = failure.details.iter().map(|(name, text)| (*name, &**text)).collect();
    let expected = [
        ("advice_code", "do_not_try_again"),
        ("doc_url", "https://d"),
        ("payment_intent", "pi_1"),
        ("user_message", "pi_1_secret_…"),
        ("idempotent_replayed", "true"),
        ("rate_limited_reason", "endpoint-rate"),
    ];
    assert_eq!(details, expected);
    for text in [format!("{failure}"), format!("{failure:?}")] {
        assert!(!text.contains("secret_x"), "{text}");
    }
}

#[test]
fn errors_of_v2_are_named_by_their_type() {
    for (status, kind, code, expected) in [
        (
            400,
            "temporary_session_expired",
            "billing_meter_event_session_expired",
            "temporary_session_expired",
        ),
        (429, "rate_limit", "too_many_concurrent_requests", "rate_limit_error"),
        (400, "invalid_request_error", "invalid_fields", "invalid_request_error"),
        (400, "brand_new", "x", "brand_new"),
        (401, "", "x", "authentication_error"),
        (409, "idempotency_error", "idempotency_error", "idempotency_error"),
        (500, "", "", "api_error"),
    ] {
        let body = format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"m"}}}}"#);
        let request = Request::new(Method::Post, "/v2/core/accounts");
        let failure = StripePolicy::new()
            .classify(&request, Response::new(status, body))
            .unwrap_err();
        assert_eq!(failure.kind.as_str(), expected, "{status} {kind} {code}");
    }
}

#[test]
fn a_file_is_bytes() {
    let pdf = &b"%PDF\xff{"[..];
    let quote = Request::new(Method::Get, "/v1/quotes/qt_1/pdf").operation("quote.pdf");
    let contents = Request::new(Method::Get, "/v1/files/file_1/contents");
    for request in [quote, contents] {
        let success = StripePolicy::new().classify(&request, Response::new(200, pdf)).unwrap();
        assert_eq!((success.object_id, &success.response.body[..]), (None, pdf));
        assert!(
            StripePolicy::new()
                .classify(&request, Response::new(404, "{}"))
                .is_err()
        );
    }
}

#[test]
fn stripes_own_word_on_retries_goes_first() {
    for (word, status, retryable) in [("false", 500, false), ("true", 400, true), ("perhaps", 500, true)] {
        let failure = classify(Method::Post, status, &[("stripe-should-retry", word)], "{}").unwrap_err();
        assert_eq!(failure.retryable, retryable, "{word} {status}");
    }
}

#[test]
fn messages_are_bounded_and_hold_no_secret() {
    let message = format!("a\\nb sk_live_a1b2c3d4e5f6 pi_1_secret_xyz {}", "x".repeat(100_000));
    let body = format!(r#"{{"error":{{"message":"{message}","type":"{}"}}}}"#, "t".repeat(9000));
    let failure = classify(Method::Post, 400, &[], &body).unwrap_err();
    assert!(failure.message.chars().count() <= MESSAGE_MAX + 1);
    assert!(
        failure.message.starts_with("a b sk_live_…e5f6 pi_1_secret_… xxx"),
        "{}",
        failure.message
    );
    assert!(failure.kind.as_str().len() < 300);
}
