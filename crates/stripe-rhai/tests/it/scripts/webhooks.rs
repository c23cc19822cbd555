//! `stripe::webhook::…` as scripts use it.

use inflight_core::Priority;
use inflight_rhai::{DefaultPriority, Locals, describe};
use inflight_stripe::webhook::WebhookSecret;
use inflight_stripe_rhai::HostOptions;
use rhai::{Dynamic, Scope};

use super::{ApiKey, KEY, Setup};

const EVENT: &str =
    r#"{"id":"evt_1","object":"event","type":"invoice.paid","data":{"object":{"id":"in_1","amount":5}}}"#;
const NOTIFICATION: &str = r#"{"id":"evt_2","object":"v2.core.event","type":"v1.billing.meter.error","context":"acct_7",
    "related_object":{"id":"mtr_1","type":"billing.meter","url":"/v1/billing/meters/mtr_1"}}"#;

fn scope() -> Scope<'static> {
    let mut scope = Scope::new();
    scope.push("payload", EVENT.to_owned());
    scope.push("thin", NOTIFICATION.to_owned());
    scope
}

fn text(setup: &Setup, script: &str) -> String {
    let value = setup.engine.eval_with_scope::<Dynamic>(&mut scope(), script);
    value.unwrap_or_else(|error| panic!("{script}: {error}")).to_string()
}

fn error(setup: &Setup, script: &str) -> String {
    let error = setup
        .engine
        .eval_with_scope::<Dynamic>(&mut scope(), script)
        .expect_err(script);
    describe(&setup.engine, &error).0
}

fn with_secret(secret: &str) -> Setup {
    Setup::with(HostOptions {
        api_key: Some(ApiKey::new(KEY).unwrap()),
        webhook_secret: Some(WebhookSecret::new(secret).unwrap()),
        ..HostOptions::default()
    })
}

#[test]
fn a_signed_payload_becomes_an_event() {
    let setup = Setup::new();
    let script = r#"
        let header = stripe::webhook::sign(payload, "whsec_1");
        let event = stripe::webhook::construct_event(payload, header, "whsec_1");
        `${event.id} ${event.type} ${event.data.object.amount + 1}`
    "#;
    assert_eq!(text(&setup, script), "evt_1 invoice.paid 6");
    // A blob is a payload as well.
    let script = r#"
        let header = stripe::webhook::sign(payload.to_blob(), "whsec_1");
        stripe::webhook::construct_event(payload.to_blob(), header, "whsec_1", 60).id
    "#;
    assert_eq!(text(&setup, script), "evt_1");
    // Known from elsewhere: Python's hmac over `1700000000.{}`.
    let signed = text(&setup, r#"stripe::webhook::sign("{}", "whsec_known", 1700000000)"#);
    assert_eq!(
        signed,
        "t=1700000000,v1=56172812b342033a9e9ff107171d9094c9573602923ebd235441051bdf6e8129"
    );
}

#[test]
fn what_is_not_to_be_trusted_is_told_in_a_map() {
    let setup = Setup::new();
    let caught = |call: &str| {
        text(
            &setup,
            &format!(
                "let told = \"\"; try {{ stripe::webhook::{call}; }} catch (e) {{ told = `${{e.kind}} ${{e.reason}} ${{e.effect}}`; }} told"
            ),
        )
    };
    let header = r#"stripe::webhook::sign(payload, "whsec_1")"#;
    for (call, expected) in [
        (
            r#"construct_event(payload, (), "whsec_1")"#,
            "webhook_signature no_header none",
        ),
        (
            r#"construct_event(payload, "v1=00", "whsec_1")"#,
            "webhook_signature no_timestamp none",
        ),
        (
            r#"construct_event(payload, "t=1", "whsec_1")"#,
            "webhook_signature no_signature none",
        ),
        (
            r#"construct_event(payload, "t=1,v1=00", "whsec_1")"#,
            "webhook_signature mismatch none",
        ),
        (
            r#"construct_event(payload, "t=1,v1=00", " ")"#,
            "webhook_signature blank_secret none",
        ),
        (
            r#"construct_event(payload, stripe::webhook::sign(payload, "whsec_1", 1700000000), "whsec_1")"#,
            "webhook_signature too_old none",
        ),
        (
            &format!(r#"construct_event(payload + " ", {header}, "whsec_1")"#),
            "webhook_signature mismatch none",
        ),
        (
            &format!(r#"parse_event_notification(payload, {header}, "whsec_1")"#),
            "webhook_payload is_event none",
        ),
        (
            r#"construct_event(thin, stripe::webhook::sign(thin, "whsec_1"), "whsec_1")"#,
            "webhook_payload is_notification none",
        ),
        (
            r#"construct_event("[]", stripe::webhook::sign("[]", "whsec_1"), "whsec_1")"#,
            "webhook_payload not_an_event none",
        ),
    ] {
        assert_eq!(caught(call), expected, "{call}");
    }
    // Any age is taken where the script says so.
    let old = r#"stripe::webhook::construct_event(payload, stripe::webhook::sign(payload, "whsec_1", 1700000000), "whsec_1", ()).id"#;
    assert_eq!(text(&setup, old), "evt_1");
    let line = error(
        &setup,
        r#"stripe::webhook::construct_event(payload, "t=1,v1=00", "sk_test_1")"#,
    );
    assert_eq!(
        line,
        "webhook_signature: none of the signatures is this payload's: the secret is no webhook endpoint's, those begin with whsec_"
    );
    assert!(
        error(
            &setup,
            r#"stripe::webhook::construct_event(#{}, "t=1,v1=00", "whsec_1")"#
        )
        .contains("what was parsed")
    );
    assert!(
        error(
            &setup,
            r#"stripe::webhook::construct_event(payload, "t=1,v1=00", "whsec_1", 0)"#
        )
        .contains("tolerance")
    );
    assert!(error(&setup, r#"stripe::webhook::sign(payload, "whsec_1", -1)"#).contains("timestamp"));
}

#[test]
fn the_hosts_secret_verifies_and_is_neither_read_nor_signed_with() {
    let secret = "whsec_hidden1234567890";
    let setup = with_secret(secret);
    let script = format!(
        r#"stripe::webhook::construct_event(payload, stripe::webhook::sign(payload, "{secret}"), STRIPE_WEBHOOK_SECRET).id"#
    );
    assert_eq!(text(&setup, &script), "evt_1");
    for show in [
        "STRIPE_WEBHOOK_SECRET",
        "`${STRIPE_WEBHOOK_SECRET}`",
        "\"\" + STRIPE_WEBHOOK_SECRET",
        "STRIPE_WEBHOOK_SECRET + \"\"",
        "STRIPE_WEBHOOK_SECRET.to_string()",
        "STRIPE_WEBHOOK_SECRET.to_debug()",
        "[STRIPE_WEBHOOK_SECRET].to_string()",
        "#{ a: STRIPE_WEBHOOK_SECRET }.to_json()",
        "fn f() { `${STRIPE_WEBHOOK_SECRET}` } f()",
        "try { throw STRIPE_WEBHOOK_SECRET } catch (e) { `${e}` }",
    ] {
        let shown = setup
            .engine
            .eval::<Dynamic>(show)
            .map_or_else(|error| describe(&setup.engine, &error).0, |value| value.to_string());
        assert!(!shown.contains("hidden") && !shown.contains("7890"), "{show}: {shown}");
    }
    assert!(error(&setup, "throw STRIPE_WEBHOOK_SECRET").len() < 100);
    let refused = error(&setup, "stripe::webhook::sign(payload, STRIPE_WEBHOOK_SECRET)");
    assert!(refused.starts_with("not_allowed: "), "{refused}");
    assert!(!format!("{:?}", setup.host).contains("hidden"));
}

#[test]
fn a_notification_fetches_its_event_and_its_object() {
    let mut setup = Setup::new();
    let locals = Locals::for_session(setup.registry.session());
    locals.set(DefaultPriority(Priority::Low));
    locals.set_default(&mut setup.engine);
    let parsed = r#"
        configure_stripe(#{ account: "acct_own" });
        let header = stripe::webhook::sign(thin, "whsec_1");
        let notification = stripe::webhook::parse_event_notification(thin, header, "whsec_1");
    "#;
    for (function, target) in [
        ("fetch_event_async", "/v2/core/events/evt_2"),
        ("fetch_related_object_async", "/v1/billing/meters/mtr_1"),
    ] {
        let script = format!("{parsed} stripe::webhook::{function}(notification)");
        text(&setup, &script);
        let sent = setup.transport.try_next().expect("a request is submitted");
        let request = sent.request().clone();
        sent.succeed("x");
        assert_eq!(request.target, target);
        let header = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
        assert_eq!(header("Stripe-Context"), Some("acct_7"));
        assert_eq!(header("Stripe-Account"), None);
        assert_eq!(header("Stripe-Request-Trigger"), Some("event=evt_2"));
        assert!(request.credential.is_some());
        assert_eq!(request.priority, Priority::Low, "that of the run");
    }
    let evil = r#"stripe::webhook::fetch_related_object_async(#{ object: "v2.core.event", id: "evt_1", type: "x",
        related_object: #{ id: "a", type: "b", url: "//evil.example/v1/x" } })"#;
    assert!(error(&setup, evil).starts_with("invalid_argument: "));
    assert!(error(&setup, "stripe::webhook::fetch_event(#{ id: 1 })").starts_with("webhook_payload: "));
    let none = r#"stripe::webhook::fetch_related_object(#{ object: "v2.core.event", id: "evt_1", type: "x" })"#;
    assert_eq!(text(&setup, none), "");
}

#[test]
fn duplicates_are_recognised_by_id_per_host_and_key() {
    let setup = Setup::new();
    let script = r#"
        let event = #{ id: "evt_1" };
        let first = stripe::webhook::is_duplicate(event);
        let second = stripe::webhook::is_duplicate("evt_1");
        let other = stripe::webhook::is_duplicate("evt_2");
        stripe::webhook::forget(event);
        [first, second, other, stripe::webhook::is_duplicate(event)].to_string()
    "#;
    assert_eq!(text(&setup, script), "[false, true, false, false]");
    // A script of the same host and key knows; one with a key of its own does not.
    assert_eq!(text(&setup, r#"stripe::webhook::is_duplicate("evt_2")"#), "true");
    assert_eq!(
        text(
            &setup,
            r#"configure_stripe("sk_test_other"); stripe::webhook::is_duplicate("evt_2")"#
        ),
        "false"
    );
    assert_eq!(
        text(&Setup::new(), r#"stripe::webhook::is_duplicate("evt_2")"#),
        "false"
    );
    for no_event in ["#{}", "5", "\"\"", "()"] {
        assert!(error(&setup, &format!("stripe::webhook::is_duplicate({no_event})")).starts_with("invalid_argument: "));
    }
}
