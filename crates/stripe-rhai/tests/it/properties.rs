//! Whatever a server answers, the script gets a map it can read, and what is done next can do no harm.

use std::time::Duration;

use inflight_core::{
    Effect, FailedAttempt, Failure, FailureKind, IdempotencyKey, Policy, Request, Response, RetryDecision,
};
use inflight_rhai::{failure_error, failure_map};
use inflight_stripe::{Method, RetrySettings, StripePolicy};
use proptest::prelude::*;
use proptest::sample::select;

fn method() -> impl Strategy<Value = Method> {
    select(vec![Method::Get, Method::Post, Method::Delete])
}

/// A header that is read, or not, with a value that fits, or not.
fn header() -> impl Strategy<Value = (String, String)> {
    let names = select(vec![
        "content-type",
        "retry-after",
        "stripe-should-retry",
        "stripe-rate-limited-reason",
        "idempotent-replayed",
        "request-id",
        "x",
    ]);
    let values = prop_oneof![
        select(vec![
            "true",
            "false",
            "0",
            "-1",
            "18446744073709551616",
            "endpoint-rate",
            "resource-specific"
        ])
        .prop_map(str::to_owned),
        ".{0,20}",
    ];
    (names, values).prop_map(|(name, value)| (name.to_owned(), value))
}

/// An error as Stripe's, with fields of every type, or anything.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        select(vec![
            "null",
            "1",
            "true",
            "[]",
            "{}",
            "[[[{}]]]",
            "\"lock_timeout\"",
            "\"rate_limit\"",
            "\"card_error\""
        ])
        .prop_map(str::to_owned),
        ".{0,12}".prop_map(|text: String| serde_json::Value::from(text).to_string()),
    ];
    let field = (
        select(vec![
            "type",
            "code",
            "message",
            "param",
            "decline_code",
            "charge",
            "doc_url",
        ]),
        value,
    );
    let error = prop::collection::vec(field, 0..6).prop_map(|fields| {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"))
            .collect();
        format!("{{\"error\":{{{}}}}}", fields.join(",")).into_bytes()
    });
    let deep = (1_usize..3_000)
        .prop_map(|depth| format!("{{\"error\":{}{}}}", "[".repeat(depth), "]".repeat(depth)).into_bytes());
    prop_oneof![4 => error, 2 => prop::collection::vec(any::<u8>(), 0..200), 1 => deep]
}

fn response() -> impl Strategy<Value = Response> {
    let status = prop_oneof![select(vec![200, 400, 401, 402, 404, 409, 429, 500, 503]), any::<u16>()];
    (status, prop::collection::vec(header(), 0..5), body()).prop_map(|(status, headers, body)| {
        let mut response = Response::new(status, body);
        response
            .headers
            .extend(headers.into_iter().map(|(name, value)| (name.into(), value.into())));
        response
    })
}

fn failure() -> impl Strategy<Value = Failure> {
    let kinds = vec![
        FailureKind::Connect,
        FailureKind::Connection,
        FailureKind::AttemptTimeout,
        FailureKind::InvalidResponse,
        FailureKind::Credential,
    ];
    let effects = select(vec![Effect::None, Effect::Done, Effect::Unknown]);
    let broken = (select(kinds), effects, ".{0,20}").prop_map(|(kind, effect, text)| Failure::new(kind, effect, text));
    let answered = (method(), response()).prop_filter_map("a success", |(method, response)| {
        let request = Request::new(method, "/v1/products");
        StripePolicy::new().classify(&request, response).err()
    });
    prop_oneof![1 => broken, 3 => answered]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0_u64..100_000).prop_map(Duration::from_secs),
        Just(Duration::MAX),
        Just(Duration::ZERO)
    ]
}

proptest! {
    #[test]
    fn a_script_can_read_every_failure(failure in failure()) {
        let map = failure_map(&failure);
        for name in ["kind", "message", "effect"] {
            prop_assert!(map[name].is_string(), "{name}: {map:?}");
        }
        prop_assert!(map["details"].is_map());
        prop_assert_eq!(map["effect"].clone().into_string().unwrap(), failure.effect.as_str());
        prop_assert!(!failure_error(&failure).to_string().is_empty());
    }

    #[test]
    fn no_decision_can_do_harm(
        failure in failure(),
        method in method(),
        has_key in any::<bool>(),
        counts in (any::<u32>(), any::<u32>()),
        times in (time(), time()),
        flags in (any::<bool>(), any::<bool>()),
        random in any::<f64>(),
    ) {
        let mut request = Request::new(method, "/v1/products");
        request.idempotency_key = if has_key { IdempotencyKey::Generated } else { IdempotencyKey::None };
        let settings = RetrySettings::default();
        let attempt = FailedAttempt {
            request: &request,
            attempts: counts.0,
            requeued: counts.1,
            failure: &failure,
            unanswered: flags.0,
            repeated_at_once: flags.1,
            elapsed: times.0,
            remaining: times.1,
            random,
        };
        let decision = settings.decide(&attempt);
        let policy = StripePolicy::new();
        let _ = (policy.throttle(&failure), policy.settles(&failure));
        if method == Method::Post && !has_key && failure.effect != Effect::None {
            prop_assert_eq!(decision, RetryDecision::Stop);
        }
        if method == Method::Post && has_key && times.0 >= settings.key_lifetime {
            prop_assert_eq!(decision, RetryDecision::Stop);
        }
        if let RetryDecision::After(pause) | RetryDecision::Requeue(pause) = decision {
            prop_assert!(pause <= settings.longest_retry_after + settings.longest_pause, "{pause:?}");
        }
    }
}
