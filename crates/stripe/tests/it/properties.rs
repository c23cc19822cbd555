//! What holds for every input.

use std::time::{Duration, SystemTime};

use inflight_core::{Policy, Request, Response};
use inflight_stripe::webhook::{Event, EventNotification, Webhook, WebhookSecret};
use inflight_stripe::{Method, Operation, Params, StripePolicy, Value, form, operations};
use proptest::prelude::*;
use proptest::sample::select;

/// A name that no form takes for a list's index.
fn name() -> impl Strategy<Value = String> {
    "[a-z_ é&=%+][^\\[\\]]{0,8}"
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e30..1e30).prop_map(Value::Float),
        any::<String>().prop_map(Value::from),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::List),
            prop::collection::vec((name(), inner), 0..5).prop_map(|entries| Value::Map(entries.into_iter().collect())),
        ]
    })
}

fn params() -> impl Strategy<Value = Params> {
    prop::collection::vec((name(), value()), 0..6).prop_map(|entries| entries.into_iter().collect())
}

/// What is left of a value on the wire: texts, and nothing of what is empty.
fn as_text(value: Value) -> Option<Value> {
    match value {
        Value::Null => Some("".into()),
        Value::Bool(value) => Some(value.to_string().into()),
        Value::Integer(number) => Some(number.to_string().into()),
        Value::Float(number) => Some((number + 0.0).to_string().into()),
        Value::Text(text) => Some(text.into()),
        Value::File(_) => None,
        // What is empty has no index either, and the ones after it move up.
        Value::List(items) => {
            let items: Vec<Value> = items.into_iter().filter_map(as_text).collect();
            (!items.is_empty()).then_some(Value::List(items))
        }
        Value::Map(map) => {
            let map = params_as_text(map);
            (!map.is_empty()).then_some(Value::Map(map))
        }
    }
}

fn params_as_text(params: Params) -> Params {
    params
        .into_iter()
        .filter_map(|(name, value)| Some((name, as_text(value)?)))
        .collect()
}

proptest! {
    #[test]
    fn a_decoded_form_is_what_was_encoded(params in params()) {
        let form = form::encode(&params).unwrap();
        prop_assert_eq!(form::decode(&form).unwrap(), params_as_text(params));
    }

    #[test]
    fn decoding_never_panics(form in "[a-c0-9=&%+\\[\\]é]{0,60}") {
        let _ = form::decode(&form);
    }

    #[test]
    fn checking_never_panics(operation in select(operations().collect::<Vec<_>>()), name in any::<String>(), value in value()) {
        let _ = operation.check(&name, &value);
        for param in operation.known_params() {
            let _ = operation.check(param.name, &value);
        }
    }

    #[test]
    fn routing_never_panics(path in "[/a-z0-9.%{}]{0,40}") {
        let _ = Operation::by_route(Method::Get, &path);
    }

    #[test]
    fn classifying_never_panics(status in any::<u16>(), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = StripePolicy::new().classify(&Request::new(Method::Post, "/v1/products"), Response::new(status, body));
    }

    #[test]
    fn classifying_odd_json_never_panics(
        status in 100u16..600,
        body in "\\{(\"(error|id|type|code|message)\":(\"x\"|1|null|\\{\\}|\\[\\]|\\{\"message\":\"sk_é_secret_\"\\}),?){0,4}\\}",
    ) {
        let _ = StripePolicy::new().classify(&Request::new(Method::Get, "/"), Response::new(status, body));
    }

    #[test]
    fn no_header_is_taken_for_a_signature(
        header in prop_oneof![".{0,80}", "(t=[0-9]{0,22},?|v[01]=[0-9a-fé]{0,66},?|[=, ]){0,6}"],
        payload in prop::collection::vec(any::<u8>(), 0..60),
        now in any::<u32>(),
    ) {
        let webhook = Webhook::new(WebhookSecret::new("whsec_1").unwrap()).tolerance(None);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now.into());
        prop_assert!(webhook.verify(&payload, &header, now).is_err());
        let signed = webhook.sign(&payload, now);
        prop_assert!(webhook.verify(&payload, &signed, now).is_ok());
        let _ = (Event::from_verified(&payload), EventNotification::from_verified(&payload));
    }
}
