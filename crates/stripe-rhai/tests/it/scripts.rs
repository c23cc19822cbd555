//! What scripts say becomes the right request, and what they get wrong is told.

#[path = "scripts/pages.rs"]
mod pages;
#[path = "scripts/versions.rs"]
mod versions;
#[path = "scripts/webhooks.rs"]
mod webhooks;

use std::sync::Arc;

use inflight_core::testing::ManualTransport;
use inflight_core::{Credentials, Priority, Registry, Request};
use inflight_rhai::{Locals, describe};
use inflight_stripe_rhai::{ApiKey, HostOptions, StripeHost, StripePackage};
use rhai::{Dynamic, Engine};

const KEY: &str = "sk_test_marked4242424242";

struct Setup {
    host: Arc<StripeHost>,
    engine: Engine,
    registry: Registry,
    transport: ManualTransport,
}

impl Setup {
    fn with(options: HostOptions) -> Self {
        let (registry, queue) = Registry::new();
        let host = StripeHost::new(options);
        let mut engine = Engine::new();
        StripePackage::install(&host, &mut engine);
        Locals::for_session(registry.session()).set_default(&mut engine);
        Self {
            host,
            engine,
            registry,
            transport: ManualTransport::new(queue),
        }
    }

    fn new() -> Self {
        Self::with(HostOptions {
            api_key: Some(ApiKey::new(KEY).unwrap()),
            ..HostOptions::default()
        })
    }

    /// The request that the script submits.
    fn request(&mut self, script: &str) -> Request {
        self.engine
            .run(script)
            .unwrap_or_else(|error| panic!("{script}: {error}"));
        let sent = self.transport.try_next().expect("the script submits a request");
        let request = sent.request().clone();
        sent.succeed("x_1");
        request
    }

    fn body(&mut self, script: &str) -> String {
        let request = self.request(script);
        let body = request.body.expect("the request has a body");
        String::from_utf8(body.bytes.to_vec()).unwrap()
    }

    fn error(&self, script: &str) -> String {
        let error = self.engine.eval::<Dynamic>(script).expect_err(script);
        describe(&self.engine, &error).0
    }
}

#[test]
fn setters_chain_and_change_the_builder_itself() {
    let mut setup = Setup::new();
    assert_eq!(
        setup.body(r#"new_product().name("Mug").description("Blue").create_async()"#),
        "name=Mug&description=Blue"
    );
    assert_eq!(
        setup.body(r#"let p = new_product(); p.name("Mug"); p.active(false); p.create_async()"#),
        "name=Mug&active=false"
    );
    // A copy is a builder of its own.
    assert_eq!(
        setup.body(r#"let a = new_product().name("A"); let b = a; b.name("B"); a.create_async()"#),
        "name=A"
    );
}

#[test]
fn metadata_is_taken_back_as_any_parameter_is() {
    let mut setup = Setup::new();
    let body = r#"new_product().name("Mug").metadata("a", "1").metadata("b", 2).metadata("a", ()).create_async()"#;
    assert_eq!(setup.body(body), "name=Mug&metadata[b]=2");
    // What was never set is nothing to take back.
    let body = r#"new_product().name("Mug").metadata("a", ()).create_async()"#;
    assert_eq!(setup.body(body), "name=Mug");
}

#[test]
fn amounts_mean_unit_amounts_in_the_default_currency() {
    let mut setup = Setup::new();
    for amount in ["1000", "1000.0", "\"1000\""] {
        assert_eq!(
            setup.body(&format!(
                "new_price().product(`prod_1`).amount({amount}).create_async()"
            )),
            "product=prod_1&unit_amount=1000&currency=usd"
        );
    }
    assert_eq!(
        setup.body(r#"configure_stripe(#{ currency: "eur" }); new_payment_intent().amount(5).create_async()"#),
        "amount=5&currency=eur"
    );
    assert_eq!(
        setup.body(r#"new_price().amount(1).currency("gbp").product("p").create_async()"#),
        "unit_amount=1&currency=gbp&product=p"
    );
}

#[test]
fn values_of_every_kind_are_encoded() {
    let mut setup = Setup::new();
    assert_eq!(
        setup.body(
            r#"new_product().params(#{ name: "M", metadata: #{ a: "1", b: () }, images: ["x", "y"], url: () })
                .metadata("c", 3).create_async()"#
        ),
        "images[0]=x&images[1]=y&metadata[a]=1&metadata[c]=3&name=M"
    );
    assert_eq!(
        setup.body(r#"new_coupon().percent_off(12.5).duration("once").create_async()"#),
        "percent_off=12.5&duration=once"
    );
    assert_eq!(
        setup.body(r#"new_product().description("").update_async("prod_1")"#),
        "description="
    );
}

#[test]
fn verbs_know_their_paths() {
    let mut setup = Setup::new();
    for (script, line) in [
        (r#"new_product().retrieve_async("prod/1")"#, "GET /v1/products/prod%2F1"),
        (r#"new_product().delete_async("prod_1")"#, "DELETE /v1/products/prod_1"),
        (
            r#"new_product().active(true).limit(3).list_async()"#,
            "GET /v1/products?active=true&limit=3",
        ),
        (
            r#"new_subscription().cancel_async("sub_1")"#,
            "DELETE /v1/subscriptions/sub_1",
        ),
        (
            r#"new_payment_intent().confirm_async("pi_1")"#,
            "POST /v1/payment_intents/pi_1/confirm",
        ),
    ] {
        let request = setup.request(script);
        assert_eq!(format!("{} {}", request.method, request.target), line);
    }
    let body = setup.body("new_payment_intent().amount(5).confirm(true).create_async()");
    assert_eq!(body, "amount=5&confirm=true&currency=usd");
}

#[test]
fn options_of_one_request_and_of_the_whole_script() {
    let mut setup = Setup::new();
    let request = setup.request(
        r#"
        configure_stripe(#{ account: "acct_1", api_version: "2025-01-01", timeout: 5, priority: "low" });
        new_product().name("M").idempotency_key("k-1").priority("high").create_async()"#,
    );
    assert_eq!(request.priority, Priority::High);
    assert_eq!(request.attempt_timeout, Some(std::time::Duration::from_secs(5)));
    assert_eq!(
        request.idempotency_key,
        inflight_core::IdempotencyKey::Given("k-1".into())
    );
    let header = |name: &str| request.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str());
    assert_eq!(header("Stripe-Account"), Some("acct_1"));
    assert_eq!(header("Stripe-Version"), Some("2025-01-01"));
}

#[test]
fn a_name_that_does_not_exist_is_answered_with_the_nearest() {
    let setup = Setup::new();
    for (script, hint) in [
        ("new_product().nmae(`x`)", "did you mean `name`?"),
        ("new_price().unit_amout(1)", "did you mean `unit_amount`?"),
        ("new_product().creat_async()", "did you mean `create_async`?"),
        ("new_prodct()", "did you mean `new_product`?"),
        (
            "new_product().percent_off(3)",
            "percent_off` is neither a parameter nor an operation of product",
        ),
        (
            "new_price().delete(`price_1`)",
            "delete` is neither a parameter nor an operation of price",
        ),
        (
            "new_product().retrieve()",
            "product.retrieve takes 1 ids in its path, 0 were given",
        ),
        ("new_product().params(#{ nmae: 1 })", "did you mean `name`?"),
        ("configure_stripe(#{ curency: `eur` })", "did you mean `currency`?"),
    ] {
        let error = setup.error(script);
        assert!(error.contains(hint), "{script}: {error}");
    }
}

#[test]
fn wrong_values_are_refused_before_anything_is_submitted() {
    let setup = Setup::new();
    for (script, part) in [
        ("new_price().amount(`ten`)", "unit_amount"),
        ("new_price().amount(1.5)", "unit_amount"),
        ("new_price().amount([1])", "unit_amount"),
        ("new_price().amount(1e300)", "unit_amount"),
        ("new_price().amount(0.0/0.0)", "unit_amount"),
        ("new_product().name(new_price())", "`name`"),
        ("new_product().create_async()", "name"),
        (
            "new_product().name(`M`).idempotency_key(``).create_async()",
            "idempotency key",
        ),
        ("new_product().priority(`urgent`)", "high, normal or low"),
        ("new_product().timeout(0)", "more than zero"),
        ("new_product().timeout(-1)", "more than zero"),
        ("new_product().retrieve_async(``)", "usable"),
        ("new_product().retrieve_async(`..`)", "usable"),
        ("configure_stripe(42)", "not i64"),
        ("configure_stripe(``)", "empty"),
        ("configure_stripe(`pk_test_123`)", "publishable"),
        ("configure_stripe(`sk_live_123456789`)", "not allowed"),
        ("configure_stripe(`sk_abcdefghijk`)", "not allowed"),
        (
            "let i = []; i.pad(400, `x`); let t = `x`; t.pad(4999, 'x'); for n in 0..400 { i[n] = t; } new_product().name(`M`).images(i).create_async()",
            "at most 1048576",
        ),
        (
            "configure_stripe(#{ base_url: `http://evil.example`, api_key: STRIPE_API_KEY })",
            "base_url is not allowed",
        ),
    ] {
        let error = setup.error(script);
        assert!(error.contains(part), "{script}: {error}");
    }
    assert_eq!(setup.registry.counts().submitted, 0);
}

#[test]
fn without_a_key_nothing_is_submitted() {
    let setup = Setup::with(HostOptions::default());
    assert!(
        setup
            .error("new_product().name(`M`).create_async()")
            .contains("call configure_stripe first")
    );
}

#[test]
fn the_hosts_key_is_known_before_any_script_begins() {
    let options = HostOptions {
        api_key: Some(ApiKey::new(KEY).unwrap()),
        ..HostOptions::default()
    };
    let named = StripeHost::new(options).credentials().names();
    let mut setup = Setup::new();
    let request = setup.request("new_product().name(`B`).create_async()");
    // A request that a store has kept of another process is sent by one that has no scripts.
    assert_eq!(named, [request.credential.unwrap()]);
}

#[test]
fn two_scripts_with_two_keys_never_mix() {
    let mut setup = Setup::new();
    let first = setup.request("configure_stripe(`sk_test_first1111111`); new_product().name(`A`).create_async()");
    Locals::for_session(setup.registry.session()).set_default(&mut setup.engine);
    let second = setup.request("new_product().name(`B`).create_async()");
    let secret = |request: &Request| {
        let name = request.credential.clone().unwrap();
        setup
            .host
            .credentials()
            .resolve(&name)
            .unwrap()
            .secret
            .expose()
            .to_owned()
    };
    assert_eq!(secret(&first), "sk_test_first1111111");
    assert_eq!(secret(&second), KEY);
}

#[test]
fn the_key_is_used_and_never_shown() {
    let setup = Setup::new();
    for script in [
        "STRIPE_API_KEY.to_string()",
        "`${STRIPE_API_KEY}`",
        "\"\" + STRIPE_API_KEY",
        "STRIPE_API_KEY + \"\"",
        "[STRIPE_API_KEY].to_string()",
        "#{ k: STRIPE_API_KEY }.to_json()",
        "#{ k: [STRIPE_API_KEY] }.to_debug()",
        "STRIPE_API_KEY.to_json()",
        "fn f() { `${STRIPE_API_KEY}` } f()",
    ] {
        let shown: String = setup
            .engine
            .eval(script)
            .unwrap_or_else(|error| panic!("{script}: {error}"));
        assert!(shown.contains("sk_test_…4242"), "{script}: {shown}");
        assert!(!shown.contains("marked"), "{script}: {shown}");
    }
    for script in [
        "throw STRIPE_API_KEY",
        "throw #{ key: STRIPE_API_KEY }",
        "throw [STRIPE_API_KEY]",
        "new_product().name(STRIPE_API_KEY)",
        "STRIPE_API_KEY.len()",
        "parse_int(STRIPE_API_KEY)",
        "STRIPE_API_KEY[0]",
        "STRIPE_API_KEY = 1",
        "let x = STRIPE_API_KEY; x.foo",
        "configure_stripe(#{ api_key: STRIPE_API_KEY, account: STRIPE_API_KEY })",
    ] {
        let error = setup.engine.eval::<Dynamic>(script).expect_err(script);
        for text in [
            describe(&setup.engine, &error).0,
            error.to_string(),
            format!("{error:?}"),
        ] {
            assert!(!text.contains("marked"), "{script}: {text}");
        }
    }
    assert!(!format!("{:?}", setup.host).contains("marked"));
}

#[test]
fn a_thrown_key_shows_its_last_four() {
    let setup = Setup::new();
    assert!(setup.error("throw STRIPE_API_KEY").contains("sk_test_…4242"));
}

#[test]
fn checking_a_script_names_what_does_not_exist_with_its_position() {
    let setup = Setup::new();
    let found = |script: &str| {
        let findings = inflight_stripe_rhai::check_script(&setup.engine, script);
        let lines = findings
            .iter()
            .map(|f| format!("{}:{}: {}", f.line, f.column, f.message));
        lines.collect::<Vec<_>>()
    };
    for (script, expected) in [
        ("let x = ;", "1:9: "),
        (
            "let a = new_prodct();",
            "1:9: there is no `new_prodct`: did you mean `new_product`?",
        ),
        (
            "new_product()\n  .nmae(`x`).create_async();",
            "2:4: `nmae` is neither a parameter nor an operation of product",
        ),
        (
            "let p = new_price();\np.name(`x`);",
            "2:3: `name` is neither a parameter nor an operation of price",
        ),
        (
            "let p = new_price().amount(1);\nif true { p.creat(); }",
            "2:13: `creat` is neither",
        ),
        ("fn f() { new_coupon().percent(3) } f()", "1:23: `percent` is neither"),
        ("[1].map(|x| new_coupon().percent(3))", "1:26: `percent` is neither"),
        (
            "let id = awiat_result(`x`, 3);",
            "1:10: there is no function `awiat_result`: did you mean `await_result`?",
        ),
        ("let s = `a`; s.lenn()", "1:16: there is no function `lenn`"),
        ("print(`${new_product().nam(1)}`)", "1:24: `nam` is neither"),
    ] {
        let findings = found(script);
        assert_eq!(findings.len(), 1, "{script}: {findings:?}");
        assert!(findings[0].starts_with(expected), "{script}: {findings:?}");
    }
    for fine in [
        "",
        "// nothing",
        "let p = new_product(); p = 5; p.abs();",
        "fn work(x) { x.name } let m = #{ name: 1 }; work(m); m.name.to_string();",
        "let f = |x| x + 1; f.call(2); [1, 2].filter(|x| x > 1).len();",
        "let p = new_product().name(`x`).metadata(`a`, 1).priority(`high`); let id = p.create_async(); await_result(id, 3).len()",
        "for i in 0..3 { print(i); } try { throw 1 } catch (e) { print(e.kind) }",
        "new_customer().email(`x`).list().data[0].id.len()",
    ] {
        assert_eq!(found(fine), Vec::<String>::new(), "{fine}");
    }
}

#[test]
fn a_requests_own_priority_goes_before_the_configured_one() {
    let mut setup = Setup::new();
    for (script, priority) in [
        ("new_product().name(`M`)", Priority::Low),
        ("new_product().name(`M`).priority(`normal`)", Priority::Normal),
        ("new_product().name(`M`).priority(`high`)", Priority::High),
    ] {
        let script = format!("configure_stripe(#{{ priority: `low` }}); {script}.create_async()");
        assert_eq!(setup.request(&script).priority, priority, "{script}");
    }
}

#[test]
fn a_batch_takes_builders_and_calls_and_the_nearest_priority_wins() {
    let mut setup = Setup::new();
    let locals = Locals::for_session(setup.registry.session());
    locals.set(inflight_rhai::DefaultPriority(Priority::High));
    locals.set_default(&mut setup.engine);
    setup
        .engine
        .run(
            r#"let b = batch(#{ priority: "low" });
               b.add(new_product().name("Mug"));
               b.add(|| stripe::product::update_async("prod_1", #{ name: "Cup" }));
               b.add(|| new_product().name("Own").priority("normal"));
               b.submit_async();
               new_product().name("Alone").create_async();"#,
        )
        .unwrap();
    let mut sent: Vec<_> = std::iter::from_fn(|| {
        let sent = setup.transport.try_next()?;
        let request = sent.request().clone();
        sent.succeed("x_1");
        Some((request.target, request.priority))
    })
    .collect();
    sent.sort_by_key(|(target, priority)| (target.clone(), priority.as_str()));
    assert_eq!(
        sent,
        [
            ("/v1/products".to_owned(), Priority::High),
            ("/v1/products".to_owned(), Priority::Low),
            ("/v1/products".to_owned(), Priority::Normal),
            ("/v1/products/prod_1".to_owned(), Priority::Low),
        ]
    );
}

#[test]
fn what_a_batch_cannot_take_is_told() {
    let setup = Setup::new();
    for (script, said) in [
        (
            r#"batch().add(|| stripe::product::create(#{ name: "Mug" }))"#,
            "nothing can be waited for",
        ),
        (
            r#"batch().add(|| new_product().name("Mug").create())"#,
            "nothing can be waited for",
        ),
        ("batch().add(new_balance())", "balance"),
    ] {
        let error = setup.error(script);
        assert!(error.contains(said), "{script}: {error}");
    }
    let findings = inflight_stripe_rhai::check_script(
        &setup.engine,
        "let b = batch(#{ concurency: 1 }); b.submit_async(); each([], |i| i, #{ on_results: 1 });",
    );
    let messages: Vec<&str> = findings.iter().map(|finding| &*finding.message).collect();
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].contains("did you mean `concurrency`?"), "{messages:?}");
}
