//! Objects are created, read, changed and removed.

use serde_json::json;

use crate::client::{delete, get, post, simulator};

#[test]
fn a_product_from_creation_to_deletion() {
    let (simulator, mut client) = simulator();
    let product = client.ok(post(
        "/v1/products",
        "name=Mug%20%22big%22&images[0]=x&metadata[a]=1&metadata[b]=2",
    ));
    let id = product["id"].as_str().unwrap();
    assert!(id.starts_with("prod_") && id.len() == 19);
    for (field, expected) in [
        ("object", json!("product")),
        ("name", json!("Mug \"big\"")),
        ("active", json!(true)),
        ("livemode", json!(false)),
        ("description", json!(null)),
        ("images", json!(["x"])),
        ("metadata", json!({"a": "1", "b": "2"})),
    ] {
        assert_eq!(product[field], expected, "{field}");
    }
    assert_eq!(client.ok(get(format!("/v1/products/{id}"))), product);

    let changed = client.ok(post(
        format!("/v1/products/{id}"),
        "active=false&description=Blue&metadata[a]=&metadata[c]=3",
    ));
    assert_eq!(changed["metadata"], json!({"b": "2", "c": "3"}));
    assert_eq!(
        (&changed["active"], &changed["description"]),
        (&json!(false), &json!("Blue"))
    );
    let cleared = client.ok(post(format!("/v1/products/{id}"), "description=&metadata="));
    assert_eq!(
        (&cleared["metadata"], &cleared["description"]),
        (&json!({}), &json!(null))
    );

    let stub = client.ok(delete(format!("/v1/products/{id}")));
    assert_eq!(stub, json!({"id": id, "object": "product", "deleted": true}));
    let gone = client.call(get(format!("/v1/products/{id}")));
    assert_eq!(gone.error(), (404, "invalid_request_error", "resource_missing", "id"));
    assert_eq!(simulator.count("product"), 0);
}

#[test]
fn prices_belong_to_products() {
    let (_simulator, mut client) = simulator();
    let product = client.call(post("/v1/products", "name=Mug&id=mug")).id().to_owned();
    assert_eq!(product, "mug");
    let price = client.ok(post(
        "/v1/prices",
        "currency=USD&unit_amount=1000&product=mug&recurring[interval]=month&lookup_key=gold",
    ));
    assert_eq!(price["currency"], "usd");
    assert_eq!(
        (&price["unit_amount"], &price["unit_amount_decimal"]),
        (&json!(1000), &json!("1000"))
    );
    assert_eq!(price["type"], "recurring");
    assert_eq!(price["recurring"]["interval_count"], 1);

    let refused = client.call(delete("/v1/products/mug"));
    assert_eq!(refused.error(), (400, "invalid_request_error", "", "id"));

    // Another price takes the lookup key over only when it says so.
    let second = "currency=usd&unit_amount=5&product_data[name]=Cup&lookup_key=gold";
    assert_eq!(client.call(post("/v1/prices", second)).status, 400);
    let second = client.ok(post("/v1/prices", format!("{second}&transfer_lookup_key=true")));
    let found = client.ok(get("/v1/prices?lookup_keys[0]=gold"));
    assert_eq!(found["data"], json!([second]));
    let expanded = client.ok(get("/v1/prices?expand[]=data.product&lookup_keys[]=gold"));
    assert_eq!(expanded["data"][0]["product"]["name"], "Cup");
    let first = client.ok(get(format!("/v1/prices/{}", price["id"].as_str().unwrap())));
    assert_eq!(first["lookup_key"], json!(null));

    // A key that was given up is free again.
    let second = format!("/v1/prices/{}", second["id"].as_str().unwrap());
    client.ok(post(second, "lookup_key=silver"));
    client.ok(post(
        "/v1/prices",
        "currency=usd&unit_amount=5&product=mug&lookup_key=gold",
    ));
}

#[test]
fn prices_that_stripe_refuses() {
    let (simulator, mut client) = simulator();
    client.ok(post("/v1/products", "name=Mug&id=mug"));
    for (form, code, param) in [
        ("currency=usd&unit_amount=1000", "parameter_missing", "product"),
        ("currency=usd&product=mug", "parameter_missing", "unit_amount"),
        ("unit_amount=1&product=mug", "parameter_missing", "currency"),
        ("currency=usd&unit_amount=1&product=cup", "resource_missing", "product"),
        (
            "currency=usd&unit_amount=-1&product=mug",
            "parameter_invalid_integer",
            "unit_amount",
        ),
        ("currency=euro&unit_amount=1&product=mug", "", "currency"),
        (
            "currency=usd&unit_amount=1&product=mug&product_data[name]=x",
            "parameters_exclusive",
            "",
        ),
        (
            "currency=usd&unit_amount=1&unit_amount_decimal=1.5&product=mug",
            "parameters_exclusive",
            "",
        ),
        (
            "currency=usd&unit_amount=99999999999999999999&product=mug",
            "parameter_invalid_integer",
            "unit_amount",
        ),
        (
            "currency=usd&unit_amount=1&product=mug&recurring[interval]=month&recurring[interval_count]=0",
            "",
            "recurring[interval_count]",
        ),
    ] {
        let answer = client.call(post("/v1/prices", form));
        assert_eq!(
            answer.error(),
            (400, "invalid_request_error", code, param),
            "{form}: {}",
            answer.body
        );
    }
    assert_eq!(simulator.count("price"), 0);
    assert_eq!(simulator.counts().effects, 1);
}

#[test]
fn coupons() {
    let (_simulator, mut client) = simulator();
    let coupon = client.ok(post("/v1/coupons", "percent_off=25"));
    assert_eq!(
        (&coupon["percent_off"], &coupon["duration"]),
        (&json!(25), &json!("once"))
    );
    let id = coupon["id"].as_str().unwrap();
    assert!(id.len() == 8 && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    let given = client.ok(post(
        "/v1/coupons",
        "id=SPRING%2F26&amount_off=500&currency=EUR&duration=repeating&duration_in_months=3",
    ));
    assert_eq!((&given["id"], &given["currency"]), (&json!("SPRING/26"), &json!("eur")));
    assert_eq!(client.ok(get("/v1/coupons/SPRING%2F26")), given);
    for (form, code, param) in [
        ("", "parameter_missing", "percent_off"),
        ("percent_off=25&amount_off=1", "parameters_exclusive", ""),
        ("percent_off=101", "", "percent_off"),
        ("percent_off=0", "", "percent_off"),
        ("amount_off=5", "parameter_missing", "currency"),
        ("percent_off=5&duration=twice", "", "duration"),
        (
            "percent_off=5&duration=repeating",
            "parameter_missing",
            "duration_in_months",
        ),
        (
            "percent_off=5&name=12345678901234567890123456789012345678901",
            "",
            "name",
        ),
        ("percent_off=5&id=SPRING%2F26", "resource_already_exists", "id"),
    ] {
        let answer = client.call(post("/v1/coupons", form));
        assert_eq!(
            answer.error(),
            (400, "invalid_request_error", code, param),
            "{form}: {}",
            answer.body
        );
    }
}

#[test]
fn an_update_of_a_nested_map_leaves_the_rest() {
    let (_simulator, mut client) = simulator();
    let customer = client.ok(post("/v1/customers", "invoice_settings[footer]=Thanks"));
    let path = format!("/v1/customers/{}", customer["id"].as_str().unwrap());
    let method = client.ok(post("/v1/payment_methods", "type=card&card[token]=tok_mastercard"));
    let method = method["id"].as_str().unwrap();
    client.ok(post(
        format!("/v1/payment_methods/{method}/attach"),
        format!("customer={}", customer["id"].as_str().unwrap()),
    ));
    let changed = client.ok(post(path, format!("invoice_settings[default_payment_method]={method}")));
    assert_eq!(changed["invoice_settings"]["footer"], "Thanks");
    assert_eq!(changed["invoice_settings"]["default_payment_method"], method);
    let card = client.ok(post(format!("/v1/payment_methods/{method}"), "card[exp_year]=2040"));
    assert_eq!(
        (&card["card"]["exp_year"], &card["card"]["last4"]),
        (&json!(2040), &json!("4444"))
    );
}

#[test]
fn customers_leave_a_stub() {
    let (_simulator, mut client) = simulator();
    let form = "email=a%40example.com&address[city]=Berlin&balance=-5&preferred_locales[]=de";
    let customer = client.ok(post("/v1/customers", form));
    assert_eq!(customer["address"]["city"], "Berlin");
    assert_eq!(customer["address"]["line1"], json!(null));
    assert_eq!(
        (&customer["balance"], &customer["tax_exempt"]),
        (&json!(-5), &json!("none"))
    );
    let path = format!("/v1/customers/{}", customer["id"].as_str().unwrap());
    let stub = client.ok(delete(path.clone()));
    assert_eq!(client.ok(get(path.clone())), stub);
    assert_eq!(client.call(post(path, "name=x")).status, 404);
    assert_eq!(
        client.call(post("/v1/customers", "email=nobody")).error().2,
        "email_invalid"
    );
}

#[test]
fn subscriptions() {
    let (_simulator, mut client) = simulator();
    client.ok(post("/v1/products", "name=Gold&id=gold"));
    let price = "currency=usd&unit_amount=500&product=gold";
    let recurring = client
        .call(post("/v1/prices", format!("{price}&recurring[interval]=month")))
        .id()
        .to_owned();
    let once = client.call(post("/v1/prices", price)).id().to_owned();
    let customer = client.call(post("/v1/customers", "")).id().to_owned();

    for (form, code, param) in [
        ("".to_owned(), "parameter_missing", "customer"),
        (format!("customer={customer}"), "parameter_missing", "items"),
        (
            format!("customer=cus_0&items[0][price]={recurring}"),
            "resource_missing",
            "customer",
        ),
        (
            format!("customer={customer}&items[0][price]=price_0"),
            "resource_missing",
            "items[0][price]",
        ),
        (
            format!("customer={customer}&items[0][price]={once}"),
            "",
            "items[0][price]",
        ),
        (
            format!("customer={customer}&items[0][quantity]=1"),
            "parameter_missing",
            "items[0][price]",
        ),
        (
            format!("customer={customer}&items[0][prise]=1"),
            "parameter_unknown",
            "items[0][prise]",
        ),
    ] {
        let answer = client.call(post("/v1/subscriptions", form.clone()));
        assert_eq!(
            answer.error(),
            (400, "invalid_request_error", code, param),
            "{form}: {}",
            answer.body
        );
    }

    let form = format!("customer={customer}&items[0][price]={recurring}&items[0][quantity]=2");
    let subscription = client.ok(post("/v1/subscriptions", form.clone()));
    let item = &subscription["items"]["data"][0];
    assert_eq!(
        (&subscription["status"], &subscription["currency"]),
        (&json!("active"), &json!("usd"))
    );
    assert_eq!(
        (&item["quantity"], &item["price"]["id"]),
        (&json!(2), &json!(recurring))
    );
    assert!(item["id"].as_str().unwrap().starts_with("si_"));
    let month = item["current_period_end"].as_i64().unwrap() - item["current_period_start"].as_i64().unwrap();
    assert!((28 * 86_400..=31 * 86_400).contains(&month));

    let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
    let ending = client.ok(post(path.clone(), "cancel_at_period_end=true"));
    assert_eq!(ending["cancel_at"], item["current_period_end"]);
    let going_on = client.ok(post(path.clone(), "cancel_at_period_end=false"));
    assert_eq!(going_on["cancel_at"], json!(null));
    let update = format!("items[0][id]={}&items[0][quantity]=7", item["id"].as_str().unwrap());
    assert_eq!(client.ok(post(path.clone(), update))["items"]["data"][0]["quantity"], 7);

    let trial = client.ok(post("/v1/subscriptions", format!("{form}&trial_period_days=14")));
    assert_eq!(trial["status"], "trialing");
    assert_eq!(
        trial["trial_end"].as_i64().unwrap() - trial["trial_start"].as_i64().unwrap(),
        14 * 86_400
    );

    let canceled = client.ok(delete(path.clone()));
    assert_eq!(canceled["status"], "canceled");
    assert!(canceled["canceled_at"].is_i64());
    assert_eq!(client.call(delete(path)).error().2, "resource_missing");
    let ids = |list: serde_json::Value| list["data"].as_array().unwrap().len();
    assert_eq!(ids(client.ok(get("/v1/subscriptions"))), 1);
    assert_eq!(ids(client.ok(get("/v1/subscriptions?status=all"))), 2);
}

#[test]
fn connected_accounts_have_data_of_their_own() {
    let (simulator, mut client) = simulator();
    let mine = client.call(post("/v1/products", "name=Mine")).id().to_owned();
    let path = format!("/v1/products/{mine}");
    // Another key sees the same; another account does not.
    client.ok(get(path.clone()).header("Authorization", "Bearer rk_test_2"));
    assert_eq!(client.call(get(path).header("Stripe-Account", "acct_1")).status, 404);
    let theirs = post("/v1/products", "name=Theirs").header("Stripe-Account", "acct_1");
    assert_eq!(client.call(theirs).header("stripe-account"), Some("acct_1"));
    assert_eq!(simulator.count("product"), 1);
    client.ok(post("/v1/accounts", "type=express"));
    assert_eq!(client.ok(get("/v1/account"))["id"], "acct_1Simulator0000000");
    let theirs = client.ok(get("/v1/account").header("Stripe-Account", "acct_1"));
    assert_eq!(theirs["id"], "acct_1");
    let bad = client.call(get("/v1/products").header("Stripe-Account", "me"));
    assert_eq!(bad.error().0, 403);
}

/// Everywhere else, names that are numbers make a list.
#[test]
fn metadata_keeps_keys_that_are_numbers() {
    let (_simulator, mut client) = simulator();
    let made = client.ok(post("/v1/products", "name=Mug&metadata[1001]=a&metadata[0]=b"));
    assert_eq!(made["metadata"], json!({"1001": "a", "0": "b"}));
    let path = format!("/v1/products/{}", made["id"].as_str().unwrap());
    let changed = client.ok(post(path, "metadata[1002]=c&metadata[0]="));
    assert_eq!(changed["metadata"], json!({"1001": "a", "1002": "c"}));
    let price = "currency=usd&unit_amount=5&product_data[name]=Mug&product_data[metadata][1001]=a";
    let product = client.ok(post("/v1/prices", price))["product"]
        .as_str()
        .unwrap()
        .to_owned();
    let product = client.ok(get(format!("/v1/products/{product}")));
    assert_eq!(product["metadata"], json!({"1001": "a"}));
}
