use serde_json::json;

use super::*;

fn check(operation: &str, name: &str, value: serde_json::Value) -> String {
    match Operation::by_name(operation).unwrap().check(name, &value.into()) {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn taken() {
    for (operation, name, value) in [
        ("price.create", "unit_amount", json!(1000)),
        ("price.create", "unit_amount", json!(1000.0)),
        ("price.create", "unit_amount", json!("1000")),
        ("price.create", "unit_amount", json!("-1")),
        ("price.create", "unit_amount_decimal", json!("12.50")),
        ("price.create", "unit_amount_decimal", json!(12.5)),
        ("price.create", "nickname", json!(7)),
        ("price.create", "active", json!("true")),
        ("price.create", "tiers", json!([{"up_to": "inf"}, {"up_to": 5}])),
        ("price.create", "recurring", json!({"interval": "month"})),
        ("price.create", "recurring", json!({})),
        ("price.create", "metadata", json!("")),
        ("price.create", "metadata", json!(null)),
        (
            "price.create",
            "metadata",
            json!({"a": null, "b": 1, "c": true, "d": ""}),
        ),
        ("price.list", "created", json!({"gte": 1})),
        ("price.list", "created", json!(1)),
        ("coupon.create", "percent_off", json!("12.5")),
        ("customer.update", "shipping", json!("")),
        ("customer.update", "email", json!("a@example.com")),
        ("customer.update", "description", json!("")),
        ("subscription.create", "items", json!({"0": {"price": "price_1"}})),
        ("subscription.create", "trial_end", json!("now")),
        ("subscription.create", "trial_end", json!(1_700_000_000)),
        ("subscription.create", "items", json!([{"price": "price_1"}])),
        ("product.create", "expand", json!(["whatever"])),
    ] {
        assert_eq!(
            check(operation, name, value.clone()),
            "ok",
            "{operation} {name} {value}"
        );
    }
}

#[test]
fn refused() {
    for (operation, name, value, message) in [
        (
            "product.create",
            "nmae",
            json!("x"),
            "unknown parameter `nmae`: did you mean `name`?",
        ),
        ("product.create", "zebra", json!("x"), "unknown parameter `zebra`"),
        (
            "product.create",
            "name",
            json!(""),
            "parameter `name` cannot be cleared, leave it out or give a value",
        ),
        (
            "product.create",
            "active",
            json!(7),
            "parameter `active` is 7, expected boolean",
        ),
        (
            "product.create",
            "name",
            json!(["x"]),
            "parameter `name` is a list, expected text of at most 5000 characters",
        ),
        (
            "price.create",
            "unit_amount",
            json!(10.5),
            "parameter `unit_amount` is 10.5, expected integer",
        ),
        (
            "price.create",
            "unit_amount",
            json!("1e3"),
            "parameter `unit_amount` is \"1e3\", expected integer",
        ),
        (
            "price.create",
            "unit_amount_decimal",
            json!("inf"),
            "parameter `unit_amount_decimal` is \"inf\", expected decimal as text",
        ),
        (
            "price.create",
            "tiers_mode",
            json!("flat"),
            "parameter `tiers_mode` is \"flat\", expected one of graduated|volume",
        ),
        (
            "coupon.create",
            "name",
            json!("x".repeat(41)),
            "parameter `name` is 41 characters long, at most 40 are allowed",
        ),
        (
            "subscription.create",
            "items",
            json!([{"price_data": {"curency": "usd"}}]),
            "unknown parameter `items[0].price_data.curency`: did you mean `currency`?",
        ),
        (
            "subscription.create",
            "items",
            json!([{}, {"price_data": {"currency": "usd", "recurring": {"interval": "week"}}}]),
            "missing required parameter `items[1].price_data.product`",
        ),
        (
            "product.create",
            "metadata",
            json!({"k": ["v"]}),
            "parameter `metadata.k` is a list, expected text",
        ),
        (
            "product.create",
            "metadata",
            json!({"k": "v".repeat(501)}),
            "parameter `metadata.k` is 501 characters long, at most 500 are allowed",
        ),
        (
            "price.list",
            "created",
            json!({"gt": "x"}),
            "parameter `created.gt` is \"x\", expected integer",
        ),
    ] {
        assert_eq!(check(operation, name, value), message);
    }
}

#[test]
fn missing_ones_are_named() {
    let operation = Operation::by_name("price.create").unwrap();
    let error = operation.check_all(&Params::new()).unwrap_err();
    assert_eq!(error.to_string(), "missing required parameter `currency`");
    assert!(operation.check_all(&Params::new().with("currency", "usd")).is_ok());
}

#[test]
fn a_message_is_one_short_line() {
    let operation = Operation::by_name("product.create").unwrap();
    let error = operation.check(&"a\nb\u{7}".repeat(9000), &Value::Null).unwrap_err();
    let text = error.to_string();
    assert!(text.len() < 300 && !text.contains(char::is_control), "{text}");
}

#[test]
fn what_the_specification_calls_not_binding_is_taken() {
    let bank_account =
        json!({"object": "bank_account", "country": "US", "currency": "usd", "account_number": "000123456789"});
    for (operation, name, value) in [
        ("account.create", "external_account", bank_account.clone()),
        ("customer.create", "source", json!({"object": "card", "number": "4242"})),
        ("subscription.create", "billing_cycle_anchor", json!("now")),
        ("payment_method.create", "card", json!({"brand_new": 1})),
        ("payout.create", "statement_descriptor", json!("x".repeat(30))),
    ] {
        assert_eq!(
            check(operation, name, value.clone()),
            "ok",
            "{operation} {name} {value}"
        );
    }
}

#[test]
fn metadata_is_bounded_as_stripe_bounds_it() {
    let entries = |count: usize| -> serde_json::Map<String, serde_json::Value> {
        (0..count).map(|n| (format!("k{n}"), json!("v"))).collect()
    };
    assert_eq!(check("product.create", "metadata", entries(50).into()), "ok");
    assert_eq!(
        check("product.create", "metadata", entries(51).into()),
        "parameter `metadata` has 51 entries, at most 50 are allowed"
    );
    let mut removals = entries(50);
    removals.insert("gone".to_owned(), json!(""));
    assert_eq!(check("product.update", "metadata", removals.into()), "ok");
    assert_eq!(
        check("product.create", "metadata", json!({"a[b]": "1"})),
        "`metadata.a[b]`: a key of metadata is not empty and holds no brackets"
    );
}

#[test]
fn json_has_types_and_forms_have_not() {
    for (name, value, expected) in [
        ("identity", json!(""), "parameter `identity` is \"\", expected map"),
        (
            "include",
            json!({"0": "identity"}),
            "parameter `include` is a map, expected list of one of",
        ),
        ("identity", json!({"relationship": {"owner": ""}}), "unknown parameter"),
    ] {
        let said = check("v2.core.account.update", name, value);
        assert!(said.starts_with(expected), "{said}");
    }
    assert_eq!(check("v2.core.account.update", "identity", json!(null)), "ok");
    assert_eq!(check("v2.core.account.update", "display_name", json!("")), "ok");
}

#[test]
fn secrets_are_in_no_message() {
    for (name, value) in [
        ("active", json!("pi_1_secret_HUSHHUSH")),
        ("active", json!("sk_test_0123456789abHUSH")),
        ("sk_test_HUSH0123456789ab", json!(1)),
        ("metadata", json!({"k": ["sk_live_HUSH0123456789ab"]})),
    ] {
        let said = check("product.create", name, value).replace("…HUSH", "");
        assert!(said != "ok" && !said.contains("HUSH"), "{said}");
    }
}
