//! Whatever is asked, the answer is JSON with a sensible status.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Instant;

use inflight_sim::{Api, ApiRequest};
use inflight_stripe::{Method, Operation, operations};
use proptest::prelude::*;
use proptest::sample::select;

use crate::client::{Client, get, simulator};

/// A known parameter or an odd one, perhaps nested, with a value that may fit.
fn pair(operation: &'static Operation) -> impl Strategy<Value = String> {
    let mut names: Vec<&str> = operation.known_params().map(|p| p.name).collect();
    names.push("a[");
    let nested = select(vec![
        "",
        "",
        "",
        "[0]",
        "[]",
        "[currency]",
        "[0][price]",
        "[0][id]",
        "[a][b]",
        "[interval]",
    ]);
    let values = select(vec![
        "",
        "1",
        "-1",
        "0",
        "99999999999999999999",
        "9223372036854775807",
        "1e308",
        "true",
        "usd",
        "x",
        "now",
        "month",
        "id",
        "repeating",
        "pm_card_visa",
        "manual",
        "%FF",
        "%00",
        "%22",
        "all",
    ]);
    (select(names), nested, values).prop_map(|(name, nested, value)| format!("{name}{nested}={value}"))
}

fn request() -> impl Strategy<Value = (&'static Operation, Vec<String>)> {
    let all: Vec<&'static Operation> = operations().collect();
    // Most of what happens by hand happens to a few resources.
    let often = [
        "invoice",
        "payment_intent",
        "subscription",
        "subscription_item",
        "invoiceitem",
        "checkout.session",
        "refund",
        "price",
    ];
    let by_hand: Vec<&'static Operation> = operations()
        .filter(|operation| often.contains(&operation.resource()))
        .collect();
    prop_oneof![select(all), select(by_hand)]
        .prop_flat_map(|operation| (Just(operation), prop::collection::vec(pair(operation), 0..6)))
}

proptest! {
    #[test]
    fn every_answer_is_json(requests in prop::collection::vec(request(), 1..12)) {
        let mut api = Api::new(1).unix_clock(|| i64::MAX);
        for (operation, mut pairs) in requests {
            // What is required, so that some get past the first check.
            for param in operation.known_params().filter(|p| p.required) {
                pairs.push(format!("{}=1", param.name));
            }
            // Objects that refer to each other.
            for name in ["id", "product", "customer", "subscription", "invoice", "payment_intent"] {
                if operation.verb() == "create" && operation.param(name).is_some() {
                    pairs.push(format!("{name}=id"));
                }
            }
            let form = pairs.join("&");
            let path = operation.path.split('/').map(|s| if s.starts_with('{') { "id" } else { s }).collect::<Vec<_>>();
            let path = path.join("/");
            let post = operation.method == Method::Post;
            let request = ApiRequest {
                method: operation.method.as_str(),
                path: &path,
                query: if post { "" } else { &form },
                authorization: Some("Bearer sk_test_1"),
                body: if post { form.as_bytes() } else { b"" },
                ..ApiRequest::default()
            };
            let response = api.handle(&request, Instant::now());
            prop_assert!(matches!(response.status, 200 | 400 | 402 | 404), "{} {form}", operation.name);
            if response.content_type == "application/json" {
                let body: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
                prop_assert!(body.is_object(), "{} {form}: {body}", operation.name);
                prop_assert!(response.status == 200 || body["error"]["message"].is_string());
            }
        }
    }

    #[test]
    fn nothing_that_is_sent_is_fatal(
        method in "(GET|POST|DELETE|[A-Z]{0,5})",
        path in "(/v1/(products|prices|customers)|[/a-z0-9%.]{0,20})",
        query in "[a-z0-9=&%\\[\\]]{0,20}",
        authorization in prop_oneof![Just("Bearer sk_test_1".to_owned()), ".{0,30}"],
        key in prop::option::of(".{0,10}"),
        account in prop::option::of("acct_[a-z]{0,3}"),
        context in prop::option::of("acct_[a-z]{0,3}"),
        content_type in prop::option::of("(application/(json|x-www-form-urlencoded)|multipart/form-data; ?boundary=\"?[a-]{0,3}\"?|.{0,20})"),
        version in prop::option::of(".{0,12}"),
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            "(--[a-]{0,3}(--)?|\r\n|Content-Disposition: form-data; name=\"?(file|purpose)\"?|x){0,12}".prop_map(String::into_bytes),
            "[\\[\\]{}\":,a1 ]{0,40}".prop_map(String::into_bytes),
        ],
    ) {
        let request = ApiRequest {
            method: &method,
            path: &path,
            query: &query,
            authorization: Some(&authorization),
            idempotency_key: key.as_deref(),
            stripe_account: account.as_deref(),
            stripe_context: context.as_deref(),
            content_type: content_type.as_deref(),
            stripe_version: version.as_deref(),
            body: &body,
        };
        let response = Api::new(1).handle(&request, Instant::now());
        prop_assert!(serde_json::from_slice::<serde_json::Value>(&response.body).is_ok());
    }
}

/// Bytes that begin as a request does, or as nothing at all.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let line = select(vec![
        "GET /v1/products HTTP/1.1\r\n",
        "POST /v1/products HTTP/1.1\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "Host: sim\r\n",
        "Authorization: Bearer sk_test_1\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "\r\n",
        "5\r\nname=\r\n",
        "fffffffffffffffff\r\n",
        "0\r\n\r\n",
        ": \r\n",
    ]);
    let piece = prop_oneof![
        3 => line.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
}

#[test]
fn no_bytes_on_a_connection_are_fatal() {
    let (simulator, _) = simulator();
    let config = ProptestConfig::with_cases(128);
    let result = proptest::test_runner::TestRunner::new(config).run(&bytes(), |bytes| {
        let mut odd = Client::new(&simulator);
        // The server may have hung up at the first of them.
        let _ = odd.0.write_all(&bytes);
        let _ = odd.0.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let read = odd.0.read_to_end(&mut answer);
        // The connection ends, by a reset perhaps, and does not hang until the client's patience does.
        let kind = read.err().map(|error| error.kind());
        prop_assert!(
            !matches!(
                kind,
                Some(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
            ),
            "{kind:?}"
        );
        Client::new(&simulator).ok(get("/v1/products"));
        Ok(())
    });
    result.unwrap();
}
