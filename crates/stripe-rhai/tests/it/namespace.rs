//! `stripe::…::…()`: what is sent, what comes back, and what is told of names that do not exist.

use std::sync::{Arc, Mutex};

use inflight_core::testing::ManualTransport;
use inflight_core::{IdempotencyKey, Priority, Registry, Request, Response, Success};
use inflight_rhai::Locals;
use inflight_stripe_rhai::{ApiKey, HostOptions, StripeHost, StripePackage, check_script, reword};
use rhai::{Dynamic, Engine};

/// An engine whose requests are all answered with this body, and those requests.
struct Answered {
    engine: Engine,
    host: Arc<StripeHost>,
    requests: Arc<Mutex<Vec<Request>>>,
}

fn answered(options: HostOptions, body: &'static [u8]) -> Answered {
    let (registry, queue) = Registry::new();
    let host = StripeHost::new(HostOptions {
        api_key: Some(ApiKey::new("sk_test_123456789").unwrap()),
        ..options
    });
    let mut engine = StripePackage::new_engine(&host);
    Locals::for_session(registry.session()).set_default(&mut engine);
    let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        let mut transport = ManualTransport::new(queue);
        loop {
            let sent = transport.next();
            seen.lock().unwrap().push(sent.request().clone());
            sent.complete(Ok(Success {
                object_id: Some("x_1".into()),
                response: Response::new(200, body),
            }));
        }
    });
    Answered { engine, host, requests }
}

impl Answered {
    fn eval(&self, script: &str) -> Dynamic {
        self.engine
            .eval(script)
            .unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    fn run(&self, script: &str) {
        let _ = self.eval(script);
    }

    fn error(&self, script: &str) -> String {
        let error = self.engine.eval::<Dynamic>(script).expect_err(script);
        let message = inflight_rhai::describe(&self.engine, &error).0;
        reword(&message).unwrap_or(message)
    }

    fn last(&self) -> Request {
        self.requests.lock().unwrap().last().cloned().expect("a request")
    }
}

fn plain() -> Answered {
    answered(HostOptions::default(), br#"{"id":"x_1","url":"https://example.com"}"#)
}

#[test]
fn a_blocking_call_gives_the_whole_object_and_its_twin_an_id() {
    let stripe = plain();
    for (script, expected) in [
        (
            r#"stripe::billing_portal::session::create(#{ customer: "cus_1" }).url"#,
            "https://example.com",
        ),
        (
            r#"stripe::payment_intent::confirm("pi_1", #{ off_session: true }).id"#,
            "x_1",
        ),
        (r#"stripe::v2::core::event::retrieve("evt_1").id"#, "x_1"),
        (
            r#"await_result(stripe::product::create_async(#{ name: "Mug" }), 5)"#,
            "x_1",
        ),
        (
            r#"stripe::raw("post", "/v1/charges/ch_1/refund", #{ amount: 5 }).id"#,
            "x_1",
        ),
        (
            r#"await_object(stripe::raw_async("GET", "/v2/core/events/e?x=1"), 5).id"#,
            "x_1",
        ),
    ] {
        assert_eq!(stripe.eval(script).to_string(), expected, "{script}");
    }
    let request = stripe.last();
    assert_eq!(request.target, "/v2/core/events/e?x=1");
    assert_eq!(request.operation, "v2.core.event.retrieve");
}

/// A builder's blocking call gives what was asked for where it only reads, and the id of what it made or changed.
#[test]
fn a_builder_gives_objects_where_it_reads_and_ids_where_it_writes() {
    let stripe = plain();
    for reads in [
        r#"new_product().retrieve("prod_1")"#,
        r#"new_account().retrieve_current()"#,
        r#"new_credit_note().invoice("in_1").preview()"#,
        r#"new_invoice().customer("cus_1").create_preview()"#,
    ] {
        assert_eq!(stripe.eval(reads).type_name(), "map", "{reads}");
    }
    for writes in [
        r#"new_product().name("Mug").create()"#,
        r#"new_payment_intent().capture("pi_1")"#,
        r#"new_product().delete("prod_1")"#,
    ] {
        assert_eq!(stripe.eval(writes).to_string(), "x_1", "{writes}");
    }
}

#[test]
fn a_session_of_meter_events_has_a_token_of_its_own() {
    use inflight_core::Credentials;
    let stripe = plain();
    let secret = |stripe: &Answered| {
        let name = stripe.last().credential.unwrap();
        let credential = stripe.host.credentials().resolve(&name).unwrap();
        credential.secret.expose().to_owned()
    };
    let call = |options: &str| {
        format!(
            "stripe::v2::billing::meter_event_stream::create(#{{ events: [#{{ event_name: `a`, payload: #{{}} }}] }}, {options})"
        )
    };
    stripe.run(&call("#{ session_token: `token_abc` }"));
    assert_eq!(secret(&stripe), "token_abc");
    stripe.run(&call("#{}"));
    assert_eq!(secret(&stripe), "sk_test_123456789");
    assert!(
        stripe
            .error(&call("#{ session_token: `a b` }"))
            .contains("`session_token` must be")
    );
    assert!(
        stripe
            .error(&call("#{ sesion_token: `a` }"))
            .contains("did you mean `session_token`?")
    );
    assert!(
        stripe
            .error("stripe::product::list(#{}, #{ session_token: `a` })")
            .contains("`session_token` is no option of a request")
    );
    assert_eq!(check_script(&stripe.engine, &call("#{ session_token: `a` }")), []);
}

#[test]
fn the_check_looks_into_what_is_written_out() {
    let stripe = plain();
    for (script, expected) in [
        ("new_price().params(#{ unit_amout: 5 })", "did you mean `unit_amount`?"),
        (
            "new_price().params(#{ unit_amount: `x` })",
            "parameter `unit_amount` is \"x\", expected integer",
        ),
        (
            "new_price().unit_amount(`x`)",
            "parameter `unit_amount` is \"x\", expected integer",
        ),
        ("new_price().request_options(#{ timout: 5 })", "did you mean `timeout`?"),
        ("configure_stripe(#{ acount: `x` })", "did you mean `account`?"),
        (
            "stripe::product::create(#{ name: `x`, metadata: #{ \"a[b]\": `1` } })",
            "`metadata.a[b]`",
        ),
        (
            "stripe::product::create(#{ name: (), description: `x` })",
            "missing required parameter `name`",
        ),
        (
            "stripe::product::update(`p`, #{ description: stripe::unst })",
            "did you mean `stripe::unset`?",
        ),
        ("stripe::product::list_all(#{}, #{ maxx: 1 })", "did you mean `max`?"),
    ] {
        let findings = check_script(&stripe.engine, script);
        let [finding] = &findings[..] else {
            panic!("{script}: {findings:?}")
        };
        assert!(finding.message.contains(expected), "{script}: {}", finding.message);
    }
    for fine in [
        "let x = 5; new_price().params(#{ unit_amount: x, currency: `usd` }).request_options(#{ timeout: x })",
        "new_product().description(()).description(stripe::unset)",
        "configure_stripe(#{ account: `acct_1` })",
    ] {
        assert_eq!(check_script(&stripe.engine, fine), [], "{fine}");
    }
}

#[test]
fn options_go_last() {
    let stripe = plain();
    stripe.run(
        r#"stripe::refund::create(#{ charge: "ch_1" }, #{ idempotency_key: "k", stripe_account: "acct_1", timeout: 2, priority: "high" })"#,
    );
    let request = stripe.last();
    assert_eq!(request.idempotency_key, IdempotencyKey::Given("k".into()));
    assert_eq!(request.priority, Priority::High);
    assert_eq!(request.attempt_timeout, Some(std::time::Duration::from_secs(2)));
    assert!(request.headers.contains(&("Stripe-Account".into(), "acct_1".into())));
    stripe.run(r#"stripe::event::list((), #{ stripe_context: "org_1/acct_1" })"#);
    assert!(
        stripe
            .last()
            .headers
            .contains(&("Stripe-Context".into(), "org_1/acct_1".into()))
    );
    // One call's context replaces the script's account.
    stripe.run(r#"configure_stripe(#{ account: "acct_1" }); stripe::event::list((), #{ stripe_context: "org_1" })"#);
    assert!(stripe.last().headers.iter().all(|(name, _)| name != "Stripe-Account"));
    for (script, part) in [
        (
            r#"stripe::event::list(#{}, #{ stripe_acount: "a" })"#,
            "did you mean `stripe_account`?",
        ),
        (
            r#"stripe::event::list(#{}, #{ stripe_account: "a", stripe_context: "b" })"#,
            "not for both",
        ),
        (r#"configure_stripe(#{ account: "a", context: "b" })"#, "not both"),
        (r#"stripe::event::list([])"#, "the parameters must be a map, not array"),
        (r#"stripe::event::retrieve(5)"#, "`id` must be a text, not i64"),
        (r#"stripe::event::retrieve(".")"#, "needs a usable `id`"),
        (r#"stripe::raw("GET", "//evil.test/v1")"#, "exactly one `/`"),
        (r#"stripe::raw("GET", "https://evil.test/v1")"#, "exactly one `/`"),
        (r#"stripe::raw("TRACE", "/v1/x")"#, "must be GET"),
        (
            r#"stripe::subscription::create(#{ customer: "c", items: [#{ price_data: #{ curency: "usd" } }] })"#,
            "`items[0].price_data.curency`: did you mean `currency`?",
        ),
    ] {
        let error = stripe.error(script);
        assert!(error.contains(part), "{script}: {error}");
    }
}

#[test]
fn unset_clears_and_unit_leaves_out() {
    let stripe = plain();
    let body = |script: &str| {
        stripe.run(script);
        String::from_utf8(stripe.last().body.unwrap().bytes.to_vec()).unwrap()
    };
    let sent = body(
        r#"stripe::customer::update("c", #{ shipping: stripe::unset, name: (), metadata: #{ a: stripe::unset } })"#,
    );
    assert_eq!(sent, "metadata[a]=&shipping=");
    let sent = body(
        r#"stripe::v2::core::account::update("a", #{ contact_email: stripe::unset, metadata: #{ a: stripe::unset } })"#,
    );
    assert_eq!(sent, r#"{"contact_email":null,"metadata":{"a":null}}"#);
}

#[test]
fn names_that_do_not_exist_are_answered_with_the_nearest() {
    let stripe = plain();
    for (script, part) in [
        (
            "stripe::product::creat(#{})",
            "there is no `stripe::product::creat`: did you mean `create`?",
        ),
        ("stripe::product::lst_async()", "did you mean `list_async`?"),
        ("stripe::prodct::create(#{})", "did you mean `stripe::product::create`?"),
        (
            "stripe::checkout::sesion::create(#{})",
            "did you mean `stripe::checkout::session::create`?",
        ),
        (
            "stripe::v2::core::evnt::retrieve(`e`)",
            "did you mean `stripe::v2::core::event::retrieve`?",
        ),
        ("stripe::payment_intent::zebra(`e`)", "payment_intent has "),
        ("stripe::zebra_crossing()", "see `inflight api`"),
        ("stripe::product::retrieve()", "takes (id, parameters, options)"),
        ("stripe::raw(`GET`)", "takes (method, path, parameters, options)"),
    ] {
        let error = stripe.error(script);
        assert!(error.contains(part), "{script}: {error}");
    }
}

#[test]
fn checking_a_script_looks_into_calls() {
    let stripe = plain();
    for (script, expected) in [
        (
            "stripe::product::creat(#{})",
            "1:18: there is no `stripe::product::creat`: did you mean `create`?",
        ),
        (
            "let x = stripe::product::create(#{ nmae: 1 });",
            "1:36: unknown parameter `nmae`: did you mean `name`?",
        ),
        (
            "stripe::product::create(#{ name: [1] });",
            "1:34: parameter `name` is a list",
        ),
        (
            "stripe::product::create(#{});",
            "1:25: missing required parameter `name`",
        ),
        ("stripe::product::create();", "1:18: missing required parameter `name`"),
        (
            "stripe::product::retrieve();",
            "1:18: `stripe::product::retrieve` takes (id",
        ),
        (
            "stripe::refund::create(#{}, #{ timout: 3 });",
            "1:32: `timout` is no option of a request: did you mean `timeout`?",
        ),
        (
            "let id = `p`; stripe::subscription::create(#{ customer: id, items: [#{ price: id, quantty: 1 }] });",
            "1:83: unknown parameter `items[0].quantty`: did you mean `quantity`?",
        ),
        (
            "let id = `p`; stripe::payment_intent::create(#{ amount: 1, shipping: #{ name: id, address: #{ city: 1 }, phone: [] } });",
            "1:113: parameter `shipping.phone` is a list",
        ),
    ] {
        let findings = check_script(&stripe.engine, script);
        let lines: Vec<String> = findings
            .iter()
            .map(|f| format!("{}:{}: {}", f.line, f.column, f.message))
            .collect();
        assert!(
            lines.iter().any(|line| line.starts_with(expected)),
            "{script}: {lines:?}"
        );
    }
    for fine in [
        "let p = #{}; stripe::product::create(p); stripe::product::list(); stripe::product::list_async(#{ limit: 3 });",
        "stripe::raw(`GET`, `/v1/x`, #{ anything: 1 }); stripe::price::create(#{ unit_amount: 5, product: `p` });",
        "let n = 1; stripe::price::create(#{ unit_amount: n, metadata: #{ whatever: n } }, #{ timeout: 3 });",
        "stripe::customer::update(`c`, #{ name: (), shipping: stripe::unset });",
    ] {
        assert_eq!(check_script(&stripe.engine, fine), [], "{fine}");
    }
}

/// Rhai keeps some words for itself. None of Stripe's names is among them.
#[test]
fn every_name_can_be_written() {
    let engine = Engine::new();
    for operation in inflight_stripe::operations() {
        let path = operation.name.replace('.', "::");
        let setters: Vec<String> = operation
            .known_params()
            .map(|p| format!("x.{0}(1); #{{ {0}: 1 }};", p.name))
            .collect();
        let script = format!(
            "stripe::{path}(1); stripe::{path}_async(1); let x = 1; {}",
            setters.join("\n")
        );
        engine
            .compile(&script)
            .unwrap_or_else(|error| panic!("{}: {error}", operation.name));
    }
}

#[test]
fn files_are_sent_from_bytes_and_from_an_allowed_folder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "from a file").unwrap();
    std::fs::write(folder.path().parent().unwrap().join("outside.txt"), "secret").ok();
    let allowing = answered(
        HostOptions {
            upload_folder: Some(folder.path().to_owned()),
            ..HostOptions::default()
        },
        br#"{"id":"file_1"}"#,
    );
    let create = |stripe: &Answered, file: &str| {
        stripe.run(&format!(
            "stripe::file::create(#{{ purpose: `dispute_evidence`, file: {file} }})"
        ));
        let body = stripe.last().body.unwrap();
        assert!(body.content_type.starts_with("multipart/form-data; boundary="));
        String::from_utf8(body.bytes.to_vec()).unwrap()
    };
    let sent = create(&allowing, "#{ path: `a.txt`, type: `text/plain` }");
    assert!(
        sent.contains("filename=\"a.txt\"\r\nContent-Type: text/plain\r\n\r\nfrom a file\r\n"),
        "{sent}"
    );
    let sent = create(&allowing, "#{ data: `é`.to_blob(), name: \"q\\\"\\r\\n.txt\" }");
    assert!(
        sent.contains("filename=\"q%22 .txt\"") && sent.contains("\r\n\r\né\r\n"),
        "{sent}"
    );
    create(&allowing, "blob(3, 0x41)");
    let error = |stripe: &Answered, file: &str| {
        stripe.error(&format!(
            "stripe::file::create(#{{ purpose: `dispute_evidence`, file: {file} }})"
        ))
    };
    for path in ["../outside.txt", "/etc/passwd", "missing.txt", ".", ""] {
        let error = error(&allowing, &format!("#{{ path: `{path}` }}"));
        assert!(error.contains("no file in the folder"), "{path}: {error}");
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        assert!(error(&allowing, "#{ path: `link` }").contains("no file in the folder"));
    }
    assert!(error(&plain(), "#{ path: `a.txt` }").contains("no folder is allowed"));
    assert!(error(&allowing, "`text`").contains("must be a blob"));
    assert!(error(&allowing, "#{ pth: `a` }").contains("did you mean `path`?"));
}

#[test]
fn what_stripe_serves_elsewhere_goes_there_only_where_the_host_says_so() {
    use inflight_core::Credentials;
    let endpoint = |stripe: &Answered, script: &str| {
        stripe.run(script);
        let name = stripe.last().credential.unwrap();
        stripe.host.credentials().resolve(&name).unwrap().endpoint
    };
    let file = "stripe::file::create(#{ purpose: `identity_document`, file: blob(3) })";
    assert_eq!(endpoint(&plain(), file), None);
    let separate = answered(
        HostOptions {
            separate_hosts: true,
            allow_base_url: true,
            ..HostOptions::default()
        },
        b"{}",
    );
    for (script, expected) in [
        (file, Some("https://files.stripe.com")),
        ("stripe::file::list()", None),
        (
            "stripe::raw(`GET`, `/v1/files/f/contents`)",
            Some("https://files.stripe.com"),
        ),
        (
            "stripe::raw(`POST`, `/oauth/token`)",
            Some("https://connect.stripe.com"),
        ),
        (
            "configure_stripe(#{ base_url: `http://127.0.0.1:1`, api_key: STRIPE_API_KEY }); stripe::raw(`POST`, `/oauth/token`)",
            Some("http://127.0.0.1:1"),
        ),
    ] {
        assert_eq!(endpoint(&separate, script).as_deref(), expected, "{script}");
    }
}
