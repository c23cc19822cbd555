use std::collections::HashMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn list(params: Params) -> Pages {
    let operation = Operation::by_name("product.list").unwrap();
    Pages::new(operation, &[], params, &RequestOptions::new()).unwrap()
}

fn search(params: Params) -> Pages {
    let operation = Operation::by_name("product.search").unwrap();
    Pages::new(operation, &[], params, &RequestOptions::new()).unwrap()
}

fn v2(params: Params) -> Pages {
    Pages::new(
        Operation::by_name("v2.core.event.list").unwrap(),
        &[],
        params,
        &RequestOptions::new(),
    )
    .unwrap()
}

fn query(target: &str) -> HashMap<&str, &str> {
    let (_, query) = target.split_once('?').unwrap_or_default();
    query.split('&').filter_map(|pair| pair.split_once('=')).collect()
}

/// What a server with objects `total-1 … 0`, newest first, answers.
fn answer(target: &str, total: usize) -> String {
    let query = query(target);
    let number = |name: &str| query.get(name).map(|text| text.parse::<usize>().unwrap());
    let limit = number("limit").unwrap_or(10);
    let objects = |ids: Vec<usize>| ids.iter().map(|id| json!({"id": id.to_string()})).collect::<Vec<_>>();
    if target.starts_with("/v2/") || target.contains("/search") {
        let start = number("page").unwrap_or(0);
        let ids: Vec<usize> = (start..total.min(start + limit)).map(|n| total - 1 - n).collect();
        let more = start + limit < total;
        let next = (start + limit).to_string();
        let url = format!("/v2/core/events?limit={limit}&page={next}");
        return json!({
            "data": objects(ids), "has_more": more, "next_page": more.then_some(next), "next_page_url": more.then_some(url),
        })
        .to_string();
    }
    let (ids, more): (Vec<usize>, bool) = if let Some(before) = number("ending_before") {
        let newer = total - 1 - before;
        ((before + 1..total).take(limit).rev().collect(), newer > limit)
    } else {
        let below = number("starting_after").unwrap_or(total);
        ((0..below).rev().take(limit).collect(), below > limit)
    };
    json!({"data": objects(ids), "has_more": more}).to_string()
}

fn id(object: &RawValue) -> usize {
    let object: serde_json::Value = serde_json::from_str(object.get()).unwrap();
    object["id"].as_str().unwrap().parse().unwrap()
}

/// Takes objects, asking for pages as they run out.
fn take(pages: &mut Pages, total: usize, at_most: usize) -> (Vec<usize>, Vec<String>) {
    let (mut ids, mut targets) = (Vec::new(), Vec::new());
    while ids.len() < at_most {
        if let Some(object) = pages.next_object() {
            ids.push(id(&object));
            continue;
        }
        let Some(request) = pages.next_request().unwrap() else {
            break;
        };
        pages.accept(answer(&request.target, total).as_bytes()).unwrap();
        targets.push(request.target);
    }
    (ids, targets)
}

fn all(mut pages: Pages, total: usize) -> (Vec<usize>, Vec<String>) {
    take(&mut pages, total, usize::MAX)
}

#[test]
fn every_kind_of_list_gives_every_object_once_and_in_order() {
    let down: Vec<usize> = (0..25).rev().collect();
    let (ids, targets) = all(list(Params::new().with("active", true).with("limit", 10)), 25);
    assert_eq!(ids, down);
    assert_eq!(
        targets,
        [
            "/v1/products?active=true&limit=10",
            "/v1/products?active=true&limit=10&starting_after=15",
            "/v1/products?active=true&limit=10&starting_after=5",
        ]
    );

    // Backwards: from the object that is named to the newest.
    let (ids, targets) = all(list(Params::new().with("ending_before", "4").with("limit", 10)), 25);
    assert_eq!(ids, (5..25).collect::<Vec<_>>());
    assert_eq!(
        targets,
        [
            "/v1/products?ending_before=4&limit=10",
            "/v1/products?ending_before=14&limit=10",
        ]
    );

    let (ids, targets) = all(
        search(Params::new().with("query", "active:'true'").with("limit", 20)),
        25,
    );
    assert_eq!(ids, down);
    assert_eq!(targets.len(), 2);
    assert!(targets[1].ends_with("&limit=20&page=20"), "{targets:?}");

    let (ids, targets) = all(v2(Params::new().with("object_id", "x").with("limit", 20)), 25);
    assert_eq!(ids, down);
    assert_eq!(
        targets,
        [
            "/v2/core/events?object_id=x&limit=20",
            "/v2/core/events?limit=20&page=20"
        ]
    );
}

#[test]
fn pages_are_as_large_as_they_may_be_and_no_larger_than_needed() {
    assert_eq!(all(list(Params::new()), 150).1[0], "/v1/products?limit=100");
    let (ids, targets) = all(list(Params::new()).max(120), 1000);
    assert_eq!(ids.len(), 120);
    assert_eq!(
        targets,
        ["/v1/products?limit=100", "/v1/products?limit=20&starting_after=900"]
    );
    assert_eq!(all(list(Params::new()).max(3), 1000).1, ["/v1/products?limit=3"]);
    assert_eq!(all(list(Params::new()).max(0), 1000).1, [""; 0]);
    // A page's name goes with its size.
    let (ids, targets) = all(search(Params::new().with("query", "x")).max(120), 1000);
    assert_eq!(ids.len(), 120);
    assert!(targets.iter().all(|target| target.contains("limit=100")), "{targets:?}");
}

#[test]
fn a_page_in_the_middle_may_be_empty_where_pages_have_names() {
    let mut pages = v2(Params::new());
    pages
        .accept(br#"{"data":[],"next_page_url":"/v2/core/events?page=a"}"#)
        .unwrap();
    assert!(pages.next_object().is_none());
    assert_eq!(pages.next_request().unwrap().unwrap().target, "/v2/core/events?page=a");
    pages.accept(br#"{"data":[{"id":"1"}],"next_page_url":null}"#).unwrap();
    assert_eq!(id(&pages.next_object().unwrap()), 1);
    assert!(pages.next_request().unwrap().is_none());
}

#[test]
fn a_server_that_does_not_let_us_go_on_is_an_error_after_its_objects() {
    let check = |mut pages: Pages, body: &str, expected: &str| {
        let before = pages.cursor();
        pages.accept(body.as_bytes()).unwrap();
        while pages.next_object().is_some() {}
        let error = pages.next_request().unwrap_err();
        assert!(error.to_string().contains(expected), "{body}: {error}");
        // The cursor leads back to where it happened, and not to the beginning.
        if pages.given() > 0 {
            assert_ne!(pages.cursor(), before);
        }
    };
    check(list(Params::new()), r#"{"data":[],"has_more":true}"#, "no id");
    check(
        list(Params::new()),
        r#"{"data":[{"id":"1"},{}],"has_more":true}"#,
        "no id",
    );
    check(list(Params::new()), r#"{"data":[{"id":5}],"has_more":true}"#, "no id");
    check(
        search(Params::new().with("query", "x")),
        r#"{"data":[{"id":"1"}],"has_more":true}"#,
        "`next_page`",
    );
    for url in [
        "https://evil.example/v2/core/events?page=2",
        "//evil.example/v2/core/events",
        "/v2/core/events/../accounts",
        "/v2/core/accounts?page=2",
        "/v2/core/events#x",
        "v2/core/events",
        "/v2/core/events?page=a b",
    ] {
        let body = json!({"data": [{"id": "1"}], "next_page_url": url}).to_string();
        check(v2(Params::new()), &body, "not one of this list");
    }
}

#[test]
fn a_circle_is_noticed() {
    // One page that leads to itself.
    let mut pages = list(Params::new());
    let body = br#"{"data":[{"id":"1"},{"id":"2"}],"has_more":true}"#;
    pages.accept(body).unwrap();
    assert!(matches!(pages.accept(body), Err(PageError::Repeats(token)) if token == "2"));
    // What came before is given, and then it is told again.
    assert_eq!(pages.buffered(), 2);
    while pages.next_object().is_some() {}
    assert!(matches!(pages.next_request(), Err(PageError::Repeats(_))));

    // A long one.
    for length in [2, 3, 7, 100] {
        let mut pages = search(Params::new().with("query", "x"));
        let circle = (0..10 * length).find(|n| {
            let body = json!({"data": [{"id": "1"}], "has_more": true, "next_page": (n % length).to_string()});
            pages.accept(body.to_string().as_bytes()).is_err()
        });
        assert!(circle.is_some_and(|n| n <= 4 * length), "{length}: {circle:?}");
    }
}

#[test]
fn what_is_no_page_changes_nothing() {
    let mut pages = list(Params::new());
    take(&mut pages, 1000, 30);
    let (cursor, next) = (pages.cursor(), pages.next_request().unwrap());
    for body in [
        "",
        "[]",
        "{}",
        r#"{"data":{}}"#,
        r#"{"data":[1,}"#,
        r#"{"data":[],"has_more":"yes"}"#,
        "\u{0}",
    ] {
        assert!(
            matches!(pages.accept(body.as_bytes()), Err(PageError::NotAPage(_))),
            "{body}"
        );
    }
    assert_eq!((pages.cursor(), pages.next_request().unwrap()), (cursor, next));
    let (rest, _) = all(pages, 1000);
    assert_eq!(rest.len(), 970);
}

#[test]
fn cursors_are_of_one_list_only() {
    let mut pages = list(Params::new().with("limit", 10));
    take(&mut pages, 25, 13);
    let cursor = pages.cursor();
    assert_eq!(cursor, r#"{"list":"product.list","at":"12","given":13}"#);
    let refused = |pages: Pages, cursor: &str| pages.resume(cursor).unwrap_err().to_string();
    let backwards = || list(Params::new().with("ending_before", "1"));
    assert!(refused(backwards(), &cursor).contains("other way"));
    assert!(refused(search(Params::new().with("query", "x")), &cursor).contains("another operation's"));
    for text in [
        "",
        "prod_1",
        "{}",
        "null",
        r#"{"list":"product.list","at":"1","given":-1}"#,
        &"x".repeat(20_000),
    ] {
        let _ = refused(list(Params::new()), text);
    }
    let elsewhere = r#"{"list":"v2.core.event.list","at":"//evil.example/v2/core/events","given":1}"#;
    assert!(refused(v2(Params::new()), elsewhere).contains("elsewhere"));
    // A cursor at the end gives nothing.
    let (ids, _) = all(list(Params::new()).resume(&at_the_end()).unwrap(), 25);
    assert!(ids.is_empty());
}

fn at_the_end() -> String {
    let mut pages = list(Params::new());
    take(&mut pages, 25, usize::MAX);
    pages.cursor()
}

#[test]
fn what_gives_no_list_has_no_pages() {
    for name in ["product.create", "product.retrieve", "product.delete"] {
        let operation = Operation::by_name(name).unwrap();
        let refused = Pages::new(operation, &[], Params::new(), &RequestOptions::new());
        assert!(matches!(refused, Err(PageError::NotAList(_))), "{name}");
    }
    let wrong = list(Params::new().with("limt", 5));
    assert!(matches!(
        wrong.next_request(),
        Err(PageError::Build(BuildError::Param(_)))
    ));
}

proptest! {
    /// Stopped anywhere and resumed, as often as one likes: no gap and no repeat.
    #[test]
    fn resumed_lists_are_whole(
        total in 0usize..60,
        limit in 1i64..12,
        max in proptest::option::of(0u64..70),
        stops in proptest::collection::vec(0usize..20, 0..8),
        kind in 0..4,
    ) {
        let params = Params::new().with("limit", limit);
        let fresh = || {
            let pages = match kind {
                0 => list(params.clone()),
                1 => list(params.clone().with("ending_before", "0")),
                2 => search(params.clone().with("query", "x")),
                _ => v2(params.clone()),
            };
            match max {
                Some(max) => pages.max(max),
                None => pages,
            }
        };
        // `ending_before` names an object, which must be there.
        prop_assume!(kind != 1 || total > 0);
        let (mut ids, mut pages) = (Vec::new(), fresh());
        for stop in stops {
            ids.extend(take(&mut pages, total, stop).0);
            pages = fresh().resume(&pages.cursor()).unwrap();
        }
        ids.extend(all(pages, total).0);
        let mut expected: Vec<usize> = if kind == 1 { (1..total).collect() } else { (0..total).rev().collect() };
        expected.truncate(max.map_or(usize::MAX, |max| usize::try_from(max).unwrap()));
        prop_assert_eq!(ids, expected);
    }
}
