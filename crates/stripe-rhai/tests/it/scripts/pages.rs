//! `search_all` and `list_all` against a server that does what the test says.

use inflight_core::testing::ManualTransport;
use inflight_core::{Priority, Request, Response, Success};
use inflight_rhai::{DefaultPriority, Locals};

use super::Setup;

/// Runs the script while another thread answers each request with the next body. Gives the script's value as text, and what was
/// asked for.
fn walk(script: &str, bodies: &[&str]) -> (String, Vec<String>) {
    let (value, asked) = walk_in(Setup::new(), script, bodies);
    (value, asked.into_iter().map(|request| request.target).collect())
}

fn walk_in(setup: Setup, script: &str, bodies: &[&str]) -> (String, Vec<Request>) {
    let Setup {
        engine,
        registry,
        transport,
        ..
    } = setup;
    let bodies: Vec<String> = bodies.iter().map(|body| (*body).to_owned()).collect();
    let server = std::thread::spawn(move || serve(transport, bodies));
    let value = engine.eval::<rhai::Dynamic>(script);
    registry.close();
    let asked = server.join().unwrap();
    let value = value.unwrap_or_else(|error| panic!("{script}: {error}"));
    (value.to_string(), asked)
}

fn serve(mut transport: ManualTransport, bodies: Vec<String>) -> Vec<Request> {
    let mut asked = Vec::new();
    for body in bodies {
        let sent = transport.next();
        asked.push(sent.request().clone());
        sent.complete(Ok(Success {
            object_id: None,
            response: Response::new(200, body),
        }));
    }
    asked
}

#[test]
fn a_search_goes_on_with_the_next_page() {
    let script = r#"
        let ids = [];
        for p in new_product().query("active:'true'").limit(2).search_all() { ids.push(p.id); }
        ids.to_string()"#;
    let (ids, asked) = walk(
        script,
        &[
            r#"{"data":[{"id":"c"},{"id":"b"}],"has_more":true,"next_page":"p2"}"#,
            r#"{"data":[{"id":"a"}],"has_more":false,"next_page":null}"#,
        ],
    );
    assert_eq!(ids, r#"["c", "b", "a"]"#);
    assert_eq!(
        asked,
        [
            "/v1/products/search?query=active%3A%27true%27&limit=2",
            "/v1/products/search?query=active%3A%27true%27&limit=2&page=p2",
        ]
    );
}

#[test]
fn a_server_that_leads_in_a_circle_is_an_error_with_a_cursor() {
    let script = r#"
        let pages = new_product().limit(2).list_all();
        let told = ();
        try { for p in pages { p.id; } } catch (error) { told = error; }
        `${told.kind} ${told.effect} ${told.cursor == pages.cursor()} ${pages.given()}`"#;
    let page = r#"{"data":[{"id":"b"},{"id":"a"}],"has_more":true}"#;
    assert_eq!(walk(script, &[page, page]).0, "invalid_response none true 2");
    let stuck = r#"{"data":[],"has_more":true}"#;
    assert_eq!(walk(script, &[stuck]).0, "invalid_response none true 0");
    assert_eq!(walk(script, &["{}"]).0, "invalid_response none true 0");
}

#[test]
fn a_loop_without_a_body_ends_at_an_error() {
    // Rhai looks at no element of such a loop, and so at no error.
    let script = "let pages = new_product().list_all(); for p in pages {} pages.given().to_string()";
    assert_eq!(walk(script, &["{}"]).0, "0");
}

#[test]
fn every_list_of_the_catalogue_has_all_its_pages() {
    let setup = Setup::new();
    for operation in inflight_stripe::operations() {
        let paged = inflight_stripe::pages::Pages::gives(operation);
        let lists = matches!(
            operation.answer,
            inflight_stripe::Answer::List | inflight_stripe::Answer::Search
        );
        let takes_pages = operation.param("starting_after").is_some() || operation.param("page").is_some();
        if !lists || !takes_pages || operation.name.is_empty() {
            continue;
        }
        assert!(paged, "{}", operation.name);
        // Opened without parameters it is refused for what is missing, or opened: never an unknown name.
        let function = operation.name.replace('.', "::");
        let ids: String = operation.path_params.iter().map(|_| "`id`, ").collect();
        let script = format!("stripe::{function}_all({ids}#{{}}, #{{ max: 1 }})");
        match setup.engine.eval::<rhai::Dynamic>(&script) {
            Ok(pages) => assert_eq!(pages.type_name().rsplit("::").next(), Some("StripePages"), "{script}"),
            Err(error) => assert!(error.to_string().contains("missing required"), "{script}: {error}"),
        }
    }
}

#[test]
fn namespaced_pages_take_how_far_and_how_they_are_sent() {
    let script = r#"
        let ids = [];
        for p in stripe::product::list_all(#{ active: true }, #{ max: 2, stripe_account: "acct_1" }) { ids.push(p.id); }
        ids.to_string()"#;
    let (ids, asked) = walk(script, &[r#"{"data":[{"id":"b"},{"id":"a"}],"has_more":true}"#]);
    assert_eq!(ids, r#"["b", "a"]"#);
    assert_eq!(asked, ["/v1/products?active=true&limit=2"]);
    let script = r#"
        let ids = [];
        for e in stripe::v2::core::event::list_all(#{ object_id: "x" }) { ids.push(e.id); }
        ids.to_string()"#;
    let (ids, asked) = walk(
        script,
        &[
            r#"{"data":[{"id":"b"}],"next_page_url":"/v2/core/events?page=2"}"#,
            r#"{"data":[],"next_page_url":"/v2/core/events?page=3"}"#,
            r#"{"data":[{"id":"a"}],"next_page_url":null}"#,
        ],
    );
    assert_eq!(ids, r#"["b", "a"]"#);
    assert_eq!(
        asked,
        [
            "/v2/core/events?object_id=x",
            "/v2/core/events?page=2",
            "/v2/core/events?page=3"
        ]
    );
}

#[test]
fn pages_are_asked_for_with_the_priority_that_is_nearest() {
    let listed = "let n = 0; for p in new_product().list_all() { n += 1; } n";
    for (script, priority) in [
        (listed.to_owned(), Priority::Low),
        (
            format!("configure_stripe(#{{ priority: `high` }}); {listed}"),
            Priority::High,
        ),
        (
            "let n = 0; for p in new_product().priority(`normal`).list_all() { n += 1; } n".to_owned(),
            Priority::Normal,
        ),
    ] {
        let mut setup = Setup::new();
        let locals = Locals::for_session(setup.registry.session());
        locals.set(DefaultPriority(Priority::Low));
        locals.set_default(&mut setup.engine);
        let pages = [
            r#"{"data":[{"id":"b"}],"has_more":true}"#,
            r#"{"data":[{"id":"a"}],"has_more":false}"#,
        ];
        let (given, asked) = walk_in(setup, &script, &pages);
        assert_eq!(given, "2", "{script}");
        let priorities: Vec<_> = asked.iter().map(|request| request.priority).collect();
        assert_eq!(priorities, [priority; 2], "{script}");
    }
}

#[test]
fn checking_a_script_knows_pages_and_webhooks() {
    let setup = Setup::new();
    let findings = |script: &str| -> Vec<String> {
        let found = inflight_stripe_rhai::check_script(&setup.engine, script);
        found.into_iter().map(|finding| finding.message).collect()
    };
    for fine in [
        "for p in stripe::product::list_all(#{ active: true }, #{ max: 5, cursor: (), timeout: 5 }) { print(p); }",
        "let pages = new_product().list_all(); pages.next(); pages.cursor(); pages.given();",
        "stripe::webhook::construct_event(`a`, `b`, `c`); stripe::webhook::is_duplicate(`x`)",
    ] {
        assert!(findings(fine).is_empty(), "{fine}: {:?}", findings(fine));
    }
    for (wrong, part) in [
        ("stripe::product::list_all(#{ activ: true })", "did you mean `active`?"),
        ("stripe::product::list_all(#{}, #{ maxx: 5 })", "`maxx` is no option"),
        ("stripe::product::list(#{}, #{ max: 5 })", "no option of a request"),
        (
            "stripe::webhook::construct_evnt(`a`)",
            "did you mean `construct_event`?",
        ),
    ] {
        let found = findings(wrong);
        assert!(found.len() == 1 && found[0].contains(part), "{wrong}: {found:?}");
    }
    let words = inflight_stripe_rhai::reword("Function not found: stripe::webhook::sign (i64)").unwrap();
    assert_eq!(
        words,
        "`stripe::webhook::sign` takes (payload, secret), and a Unix time"
    );
}

#[test]
fn an_object_that_cannot_be_read_is_not_lost() {
    let script = r#"
        let pages = new_product().list_all();
        let told = [pages.next().id];
        try { pages.next(); } catch (e) { told.push(e.kind); told.push(e.cursor); }
        told.push(pages.next().id);
        told.to_string()"#;
    let page = r#"{"data":[{"id":"c"},{"id":"b","n":1e999},{"id":"a"}],"has_more":false}"#;
    let (told, _) = walk(script, &[page]);
    let cursor = r#""{\"list\":\"product.list\",\"at\":\"c\",\"given\":1}""#;
    assert_eq!(told, format!(r#"["c", "invalid_response", {cursor}, "a"]"#));
}
