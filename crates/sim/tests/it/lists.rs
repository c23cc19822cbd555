//! Pages, newest first.

use serde_json::Value;

use crate::client::{get, post, simulator};

fn names(list: &Value) -> Vec<&str> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| object["name"].as_str().unwrap())
        .collect()
}

#[test]
fn pages_go_both_ways() {
    let (_simulator, mut client) = simulator();
    let ids: Vec<String> = (0..12)
        .map(|n| client.call(post("/v1/products", format!("name={n}"))).id().to_owned())
        .collect();
    let first = client.ok(get("/v1/products"));
    assert_eq!(
        (first["object"].as_str(), first["url"].as_str()),
        (Some("list"), Some("/v1/products"))
    );
    assert_eq!(names(&first), ["11", "10", "9", "8", "7", "6", "5", "4", "3", "2"]);
    assert_eq!(first["has_more"], true);
    let rest = client.ok(get(format!("/v1/products?starting_after={}", ids[2])));
    assert_eq!((names(&rest), &rest["has_more"]), (vec!["1", "0"], &Value::Bool(false)));
    let before = client.ok(get(format!("/v1/products?limit=2&ending_before={}", ids[8])));
    assert_eq!(
        (names(&before), &before["has_more"]),
        (vec!["10", "9"], &Value::Bool(true))
    );
    let before = client.ok(get(format!("/v1/products?limit=5&ending_before={}", ids[9])));
    assert_eq!(
        (names(&before), &before["has_more"]),
        (vec!["11", "10"], &Value::Bool(false))
    );

    let both = client.call(get(format!(
        "/v1/products?starting_after={0}&ending_before={0}",
        ids[0]
    )));
    assert_eq!(both.error().2, "parameters_exclusive");
    let unknown = client.call(get("/v1/products?starting_after=prod_0"));
    assert_eq!(
        unknown.error(),
        (400, "invalid_request_error", "resource_missing", "starting_after")
    );
    for limit in ["0", "-1", "101", "x"] {
        assert_eq!(
            client.call(get(format!("/v1/products?limit={limit}"))).error().3,
            "limit"
        );
    }
}

#[test]
fn filters() {
    let (_simulator, mut client) = simulator();
    for (name, active) in [("a", true), ("b", false), ("c", true)] {
        client.ok(post("/v1/products", format!("name={name}&id={name}&active={active}")));
        client.ok(post("/v1/customers", format!("name={name}&email={name}%40example.com")));
    }
    assert_eq!(names(&client.ok(get("/v1/products?active=true"))), ["c", "a"]);
    assert_eq!(names(&client.ok(get("/v1/products?ids[]=a&ids[]=b"))), ["b", "a"]);
    assert_eq!(names(&client.ok(get("/v1/customers?email=b%40example.com"))), ["b"]);
    assert_eq!(names(&client.ok(get("/v1/products?created[gt]=99999999999"))), [""; 0]);
    assert_eq!(names(&client.ok(get("/v1/products?created[gte]=1&limit=1"))), ["c"]);
}
