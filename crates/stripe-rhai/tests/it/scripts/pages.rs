//! `search_all` and `list_all` against a server that does what the test says.

use inflight_core::testing::ManualTransport;
use inflight_core::{Response, Success};

use super::Setup;

/// Runs the script while another thread answers each request with the next body. Gives the script's value as text, and what was
/// asked for.
fn walk(script: &str, bodies: &[&str]) -> (String, Vec<String>) {
    let Setup {
        engine,
        registry,
        transport,
        ..
    } = Setup::new();
    let bodies: Vec<String> = bodies.iter().map(|body| (*body).to_owned()).collect();
    let server = std::thread::spawn(move || serve(transport, bodies));
    let value = engine.eval::<rhai::Dynamic>(script);
    registry.close();
    let asked = server.join().unwrap();
    let value = value.unwrap_or_else(|error| panic!("{script}: {error}"));
    (value.to_string(), asked)
}

fn serve(mut transport: ManualTransport, bodies: Vec<String>) -> Vec<String> {
    let mut asked = Vec::new();
    for body in bodies {
        let sent = transport.next();
        asked.push(sent.request().target.clone());
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
