//! Events, search, expansion, files and API v2.

use serde_json::{Value, json};

use crate::client::{Client, get, post, simulator};

/// A query as it stands in a URL.
fn escaped(query: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    query.bytes().map(escape).collect()
}

fn names(list: &Value) -> Vec<&str> {
    list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect()
}

#[test]
fn events_show_objects_as_they_were() {
    let (simulator, mut client) = simulator();
    let product = client.call(post("/v1/products", "name=Mug")).id().to_owned();
    client.ok(post(format!("/v1/products/{product}"), "name=Cup"));
    client.ok(post("/v1/customers", ""));
    let events = client.ok(get("/v1/events?type=product.*"));
    let kinds: Vec<&str> = events["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["product.updated", "product.created"]);
    let (updated, created) = (&events["data"][0], &events["data"][1]);
    assert_eq!(
        (&created["data"]["object"]["name"], &updated["data"]["object"]["name"]),
        (&json!("Mug"), &json!("Cup"))
    );
    assert_eq!(updated["data"]["previous_attributes"], json!({"name": "Mug"}));
    assert!(created["request"]["id"].as_str().unwrap().starts_with("req_"));
    let one = client.ok(get(format!("/v1/events/{}", created["id"].as_str().unwrap())));
    assert_eq!(&one, created);
    assert_eq!(client.call(get("/v1/events/evt_1")).error().0, 404);
    let page = client.ok(get("/v1/events?limit=1"));
    let next = client.ok(get(format!(
        "/v1/events?limit=2&starting_after={}",
        page["data"][0]["id"].as_str().unwrap()
    )));
    assert_eq!(next["data"], events["data"]);
    assert_eq!(simulator.count("event"), 3);
}

#[test]
fn searches() {
    let (_simulator, mut client) = simulator();
    for (name, rest) in [
        ("Ada Lovelace", "metadata[tier]=gold"),
        ("Bob", "metadata[tier]=silver"),
        ("Ada Byron", "email=ada%40example.com"),
    ] {
        client.ok(post("/v1/customers", format!("name={}&{rest}", name.replace(' ', "+"))));
    }
    for (query, expected) in [
        ("name:'bob'", &["Bob"][..]),
        ("name~'ada'", &["Ada Byron", "Ada Lovelace"]),
        ("metadata['tier']:'gold'", &["Ada Lovelace"]),
        ("-metadata['tier']:null", &["Bob", "Ada Lovelace"]),
        (
            "metadata['tier']:'gold' OR metadata['tier']:'silver'",
            &["Bob", "Ada Lovelace"],
        ),
        ("name~'ada' AND -metadata['tier']:'gold'", &["Ada Byron"]),
        ("email:null", &["Bob", "Ada Lovelace"]),
        ("created>0", &["Ada Byron", "Bob", "Ada Lovelace"]),
    ] {
        let found = client.ok(get(format!("/v1/customers/search?query={}", escaped(query))));
        assert_eq!(
            (names(&found), &found["object"]),
            (expected.to_vec(), &json!("search_result")),
            "{query}"
        );
    }
    let page = client.ok(get(
        "/v1/customers/search?query=created%3E0&limit=2&expand[]=total_count",
    ));
    assert_eq!((&page["has_more"], &page["total_count"]), (&json!(true), &json!(3)));
    let rest = client.ok(get(format!(
        "/v1/customers/search?query=created%3E0&limit=2&page={}",
        page["next_page"].as_str().unwrap()
    )));
    assert_eq!((names(&rest), &rest["next_page"]), (vec!["Ada Lovelace"], &json!(null)));
    for query in ["name", "name:bob", "zebra:'x'", "name:'x' AND email:'y' OR name:'z'"] {
        let answer = client.call(get(format!("/v1/customers/search?query={}", escaped(query))));
        assert_eq!(answer.error(), (400, "invalid_request_error", "", "query"), "{query}");
    }
    for (resource, query) in [
        ("products", "active:'true' AND name:'Mug'"),
        ("prices", "active:'true' AND unit_amount>100"),
        ("charges", "amount>=500"),
        ("payment_intents", "status:'succeeded'"),
        ("invoices", "total>0"),
        ("subscriptions", "status:'active'"),
    ] {
        let found = client.ok(get(format!("/v1/{resource}/search?query={}", escaped(query))));
        assert_eq!(found["data"], json!([]), "{resource}");
    }
}

#[test]
fn expansion_goes_four_levels_deep() {
    let (simulator, mut client) = simulator();
    let product = client.call(post(
        "/v1/products",
        "name=Mug&default_price_data[currency]=usd&default_price_data[unit_amount]=5",
    ));
    let path = format!("/v1/products/{}", product.id());
    let deep = client.ok(get(format!(
        "{path}?expand[]=default_price.product.default_price.product"
    )));
    assert_eq!(
        deep["default_price"]["product"]["default_price"]["product"]["name"],
        "Mug"
    );
    for bad in [
        "default_price.product.default_price.product.default_price",
        "name",
        "zebra",
        "default_price.zebra",
    ] {
        let answer = client.call(get(format!("{path}?expand[]={bad}")));
        assert_eq!(answer.error().0, 400, "{bad}");
        assert!(answer.message().contains("expand"), "{}", answer.message());
    }
    let before = simulator.count("product");
    assert_eq!(client.call(post("/v1/products?expand[]=zebra", "name=Cup")).status, 400);
    assert_eq!(simulator.count("product"), before);
    let list = client.ok(get("/v1/products?expand[]=data.default_price"));
    assert_eq!(list["data"][0]["default_price"]["unit_amount"], 5);
    let hint = client.call(get("/v1/products?expand[]=default_price"));
    assert!(hint.message().contains("'data.default_price'"), "{}", hint.message());
    let customer = client.call(post("/v1/customers", "source=tok_visa"));
    let with_sources = client.ok(get(format!(
        "/v1/customers/{}?expand[]=sources&expand[]=default_source",
        customer.id()
    )));
    assert_eq!(with_sources["sources"]["data"][0], with_sources["default_source"]);
}

#[test]
fn nested_resources_belong_to_their_owner() {
    let (_simulator, mut client) = simulator();
    let [first, second] = ["Ada", "Bob"].map(|name| {
        client
            .call(post("/v1/customers", format!("name={name}")))
            .id()
            .to_owned()
    });
    client.ok(post(
        format!("/v1/customers/{first}/tax_ids"),
        "type=eu_vat&value=DE123",
    ));
    let source = client.ok(post(format!("/v1/customers/{first}/sources"), "source=tok_mastercard"));
    assert_eq!(
        (&source["object"], &source["customer"]),
        (&json!("card"), &json!(first))
    );
    for (path, count) in [
        (format!("/v1/customers/{first}/tax_ids"), 1),
        (format!("/v1/customers/{second}/tax_ids"), 0),
        (format!("/v1/customers/{first}/sources"), 1),
        (format!("/v1/customers/{second}/sources"), 0),
    ] {
        assert_eq!(
            client.ok(get(path.clone()))["data"].as_array().unwrap().len(),
            count,
            "{path}"
        );
    }
    let nobody = client.call(get("/v1/customers/cus_0/tax_ids"));
    assert_eq!((nobody.error().0, nobody.message()), (404, "No such customer: 'cus_0'"));
    let account = client
        .call(post("/v1/accounts", "type=custom&country=US"))
        .id()
        .to_owned();
    let person = client.ok(post(format!("/v1/accounts/{account}/persons"), "first_name=Ada"));
    assert_eq!(person["account"], json!(account));
}

#[test]
fn lists_of_several_kinds_and_lists_in_order_have_pages() {
    let (_simulator, mut client) = simulator();
    let customer = client.call(post("/v1/customers", "")).id().to_owned();
    let path = format!("/v1/customers/{customer}/sources");
    for source in ["tok_visa", "btok_us", "tok_mastercard"] {
        client.ok(post(path.clone(), format!("source={source}")));
    }
    let invoice = client
        .call(post("/v1/invoices", format!("customer={customer}")))
        .id()
        .to_owned();
    for amount in [1, 2, 3] {
        let form = format!("customer={customer}&invoice={invoice}&amount={amount}&currency=usd");
        client.ok(post("/v1/invoiceitems", form));
    }
    for path in [path, format!("/v1/invoices/{invoice}/lines")] {
        let ids = |list: &Value| -> Vec<String> {
            list["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["id"].as_str().unwrap().to_owned())
                .collect()
        };
        let all = ids(&client.ok(get(path.clone())));
        assert_eq!(all.len(), 3);
        let mut paged = Vec::new();
        let mut more = true;
        while more {
            let after = paged
                .last()
                .map(|id| format!("&starting_after={id}"))
                .unwrap_or_default();
            let page = client.ok(get(format!("{path}?limit=1{after}")));
            paged.extend(ids(&page));
            more = page["has_more"] == true;
        }
        assert_eq!(paged, all);
        let before = client.ok(get(format!("{path}?limit=2&ending_before={}", all[2])));
        assert_eq!(ids(&before), all[..2]);
    }
    let lines = client.ok(get(format!("/v1/invoices/{invoice}/lines")));
    assert_eq!(lines["data"][0]["amount"], 1);
}

#[test]
fn files_are_given_back_as_they_were_sent() {
    let (_simulator, mut client) = simulator();
    let body = "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\ndispute_evidence\r\n--B\r\n\
                Content-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhello\r\n--B--\r\n";
    let upload = post("/v1/files", body).header("Content-Type", "multipart/form-data; boundary=B");
    let file = client.ok(upload);
    assert_eq!(
        (&file["size"], &file["filename"], &file["type"]),
        (&json!(5), &json!("a.txt"), &json!("txt"))
    );
    let path = format!("/v1/files/{}/contents", file["id"].as_str().unwrap());
    let answer = client.call(get(path));
    assert_eq!((answer.status, answer.header("content-length")), (200, Some("5")));
    assert_eq!(client.call(get("/v1/files/file_0/contents")).status, 404);
}

fn v2(client: &mut Client, path: &str, body: &Value) -> crate::client::Answer {
    client.call(post(path, body.to_string()).header("Content-Type", "application/json"))
}

#[test]
fn the_next_page_of_version_two_has_the_same_filters() {
    let (_simulator, mut client) = simulator();
    let path = "/v2/commerce/product_catalog/imports";
    let mut made = Vec::new();
    for feed in ["product", "inventory", "product", "inventory", "product"] {
        let body = json!({"feed_type": feed, "mode": "upsert", "metadata": {}});
        made.push(v2(&mut client, path, &body).id().to_owned());
    }
    let mut found = Vec::new();
    let mut next = Some(format!(
        "{path}?page=0&created_gt=a%26b%20%C3%A9&feed_type=product&limit=1"
    ));
    while let Some(url) = next {
        assert_eq!(
            (url.matches("page=").count(), url.contains("a%26b%20%C3%A9")),
            (1, true),
            "{url}"
        );
        let page = client.ok(get(url));
        let ids = page["data"].as_array().unwrap().iter().map(|one| &one["id"]);
        found.extend(ids.map(|id| id.as_str().unwrap().to_owned()));
        next = page["next_page_url"].as_str().map(str::to_owned);
    }
    assert_eq!(found, [&*made[4], &made[2], &made[0]]);
}

#[test]
fn version_two_speaks_json() {
    let (_simulator, mut client) = simulator();
    let body = json!({"name": "Hook", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": ["*"]});
    for _ in 0..3 {
        let made = v2(&mut client, "/v2/core/event_destinations", &body);
        assert_eq!(
            (made.status, &made.body["name"]),
            (200, &json!("Hook")),
            "{}",
            made.body
        );
        assert!(made.body["created"].as_str().unwrap().ends_with('Z'));
    }
    let page = client.ok(get("/v2/core/event_destinations?limit=2"));
    assert_eq!(page["data"].as_array().unwrap().len(), 2);
    let next = client.ok(get(page["next_page_url"].as_str().unwrap()));
    assert_eq!(
        (next["data"].as_array().unwrap().len(), &next["next_page_url"]),
        (1, &json!(null))
    );
    let missing = client.call(get("/v2/core/accounts/acct_0"));
    assert_eq!(
        (missing.status, &missing.body["error"]["code"]),
        (404, &json!("not_found"))
    );
    let bad = v2(&mut client, "/v2/core/event_destinations", &json!({"zebra": 1}));
    assert_eq!(bad.status, 400);
    let id = next["data"][0]["id"].as_str().unwrap();
    let disabled = v2(
        &mut client,
        &format!("/v2/core/event_destinations/{id}/disable"),
        &json!({}),
    );
    assert_eq!(disabled.body["status"], "disabled");
}
