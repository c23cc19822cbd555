//! What billing refuses, and what follows from what it takes.

use serde_json::{Value, json};

use crate::client::{Client, delete, get, post, simulator};

fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap_or_else(|| panic!("no id in {object}"))
}

/// A customer with a card, a price of 1000 a month and one of 300 once.
fn shop(client: &mut Client) -> (String, String, String) {
    let customer = client.ok(post("/v1/customers", "email=ada%40example.com&source=tok_visa"));
    let form = "currency=usd&unit_amount=1000&product_data[name]=Gold&recurring[interval]=month";
    let monthly = client.ok(post("/v1/prices", form));
    let once = client.ok(post(
        "/v1/prices",
        "currency=usd&unit_amount=300&product_data[name]=Setup",
    ));
    (id(&customer).to_owned(), id(&monthly).to_owned(), id(&once).to_owned())
}

#[test]
fn what_a_subscription_adds_is_on_its_next_invoice() {
    let (_simulator, mut client) = simulator();
    let (customer, monthly, once) = shop(&mut client);
    let extra = format!("add_invoice_items[0][price]={once}&add_invoice_items[0][quantity]=2");
    let form = format!("customer={customer}&items[0][price]={monthly}&{extra}");
    let made = client.ok(post("/v1/subscriptions?expand[]=latest_invoice", form.clone()));
    assert_eq!(made["latest_invoice"]["amount_paid"], 1600);
    let lines = made["latest_invoice"]["lines"]["data"].as_array().unwrap();
    assert_eq!(
        (lines.len(), &lines[1]["description"], &lines[1]["amount"]),
        (2, &json!("Setup"), &json!(600))
    );
    let path = format!("/v1/subscriptions/{}", id(&made));
    client.ok(post(path, extra));
    let invoice = client.ok(post(
        "/v1/invoices",
        format!("customer={customer}&pending_invoice_items_behavior=include"),
    ));
    assert_eq!(invoice["total"], 600);
    let unknown = client.call(post("/v1/subscriptions", form.replace(&once, "price_zebra")));
    assert_eq!(unknown.error().3, "add_invoice_items[0][price]");
}

#[test]
fn a_trial_that_ends_now_is_followed_by_a_paid_period() {
    let (_simulator, mut client) = simulator();
    let (customer, monthly, _) = shop(&mut client);
    let form = format!("customer={customer}&items[0][price]={monthly}&trial_period_days=7");
    let trial = client.ok(post("/v1/subscriptions", form));
    let path = format!("/v1/subscriptions/{}", id(&trial));
    let active = client.ok(post(format!("{path}?expand[]=latest_invoice"), "trial_end=now"));
    let invoice = &active["latest_invoice"];
    assert_eq!(
        (&active["status"], &invoice["amount_paid"], &invoice["billing_reason"]),
        (&json!("active"), &json!(1000), &json!("subscription_cycle"))
    );
    let item = &active["items"]["data"][0];
    assert_eq!(item["current_period_start"], active["billing_cycle_anchor"]);
    assert_eq!(active["trial_end"], active["billing_cycle_anchor"]);
    let days = (item["current_period_end"].as_i64().unwrap() - item["current_period_start"].as_i64().unwrap()) / 86_400;
    assert!((28..=31).contains(&days), "{days}");
}

#[test]
fn a_preview_is_the_next_invoice_and_is_not_kept() {
    let (simulator, mut client) = simulator();
    let (customer, monthly, _) = shop(&mut client);
    let form = format!("customer={customer}&items[0][price]={monthly}&items[0][quantity]=2");
    let made = client.ok(post("/v1/subscriptions", form));
    client.ok(post(
        "/v1/invoiceitems",
        format!("customer={customer}&amount=70&currency=usd"),
    ));
    let before = (simulator.count("invoice"), simulator.count("line_item"));
    let form = format!("subscription={}", id(&made));
    let preview = client.ok(post("/v1/invoices/create_preview", form));
    assert_eq!(
        (
            &preview["total"],
            &preview["amount_due"],
            &preview["lines"]["data"][1]["amount"]
        ),
        (&json!(2070), &json!(2070), &json!(70))
    );
    assert_eq!(
        preview["lines"]["data"][0]["period"]["start"],
        made["items"]["data"][0]["current_period_end"]
    );
    assert_eq!((simulator.count("invoice"), simulator.count("line_item")), before);
    let pending = client.ok(get("/v1/invoiceitems?pending=true"));
    assert_eq!(pending["data"].as_array().unwrap().len(), 1);
    let neither = client.call(post("/v1/invoices/create_preview", ""));
    assert_eq!(neither.error().3, "customer");
}

#[test]
fn another_interval_begins_a_new_period() {
    let (_simulator, mut client) = simulator();
    let (customer, monthly, _) = shop(&mut client);
    let yearly = client.ok(post(
        "/v1/prices",
        "currency=usd&unit_amount=9000&product_data[name]=Year&recurring[interval]=year",
    ));
    let made = client.ok(post(
        "/v1/subscriptions",
        format!("customer={customer}&items[0][price]={monthly}"),
    ));
    let changed = client.ok(post(
        format!("/v1/subscriptions/{}?expand[]=latest_invoice", id(&made)),
        format!(
            "items[0][id]={}&items[0][price]={}",
            id(&made["items"]["data"][0]),
            id(&yearly)
        ),
    ));
    let item = &changed["items"]["data"][0];
    assert_eq!(item["current_period_start"], changed["billing_cycle_anchor"]);
    let lines = changed["latest_invoice"]["lines"]["data"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[1]["amount"]), (2, &json!(9000)));
    let unused = lines[0]["description"].as_str().unwrap();
    assert!(unused.starts_with("Unused time on Gold after "), "{unused}");
    assert_eq!(lines[1]["period"]["end"], item["current_period_end"]);
}

#[test]
fn items_of_a_subscription_go_together() {
    let (_simulator, mut client) = simulator();
    let (customer, monthly, _) = shop(&mut client);
    let euro = client.ok(post(
        "/v1/prices",
        "currency=eur&unit_amount=1000&product_data[name]=Gold&recurring[interval]=month",
    ));
    for second in [&*monthly, id(&euro)] {
        let form = format!("customer={customer}&items[0][price]={monthly}&items[1][price]={second}");
        assert_eq!(client.call(post("/v1/subscriptions", form)).status, 400, "{second}");
    }
}

#[test]
fn a_trial_that_ends_without_a_card_pauses() {
    let (_simulator, mut client) = simulator();
    let (_, monthly, _) = shop(&mut client);
    let customer = client.ok(post("/v1/customers", ""));
    let form = format!(
        "customer={}&items[0][price]={monthly}&trial_period_days=7&\
         trial_settings[end_behavior][missing_payment_method]=pause",
        id(&customer)
    );
    let path = format!("/v1/subscriptions/{}", id(&client.ok(post("/v1/subscriptions", form))));
    assert_eq!(client.ok(post(path.clone(), "trial_end=now"))["status"], "paused");
    assert_eq!(client.ok(post(format!("{path}/resume"), ""))["status"], "active");
    assert_eq!(client.call(post(format!("{path}/resume"), "")).status, 400);
}

#[test]
fn moments_that_cannot_be() {
    let (_simulator, mut client) = simulator();
    let (customer, monthly, _) = shop(&mut client);
    let form = format!("customer={customer}&items[0][price]={monthly}");
    for (extra, param) in [
        ("cancel_at=5", "cancel_at"),
        ("trial_end=9999999999", "trial_end"),
        ("trial_end=5", "trial_end"),
    ] {
        let refused = client.call(post("/v1/subscriptions", format!("{form}&{extra}")));
        assert_eq!((refused.status, refused.error().3), (400, param), "{extra}");
    }
    let refused = client.call(post("/v1/coupons", "percent_off=5&redeem_by=5"));
    assert_eq!((refused.status, refused.error().3), (400, "redeem_by"));
    let active = client.ok(post("/v1/subscriptions", form));
    let resumed = client.call(post(format!("/v1/subscriptions/{}/resume", id(&active)), ""));
    assert_eq!(resumed.status, 400);
}

#[test]
fn packages_and_tiers() {
    let (_simulator, mut client) = simulator();
    let (customer, _, _) = shop(&mut client);
    let form = "currency=usd&unit_amount=200&product_data[name]=Box&recurring[interval]=month&transform_quantity[divide_by]=10";
    for (round, expected) in [("up", 600), ("down", 400)] {
        let price = client.ok(post("/v1/prices", format!("{form}&transform_quantity[round]={round}")));
        let form = format!(
            "customer={customer}&items[0][price]={}&items[0][quantity]=25",
            id(&price)
        );
        let made = client.ok(post("/v1/subscriptions?expand[]=latest_invoice", form));
        assert_eq!(made["latest_invoice"]["total"], expected, "{round}");
    }
    let tiered = "currency=usd&product_data[name]=Seats&recurring[interval]=month&billing_scheme=tiered&\
                  tiers[0][unit_amount]=5&tiers[0][up_to]=";
    let refused = client.call(post("/v1/prices", format!("{tiered}inf")));
    assert_eq!(refused.error().3, "tiers_mode");
    let refused = client.call(post("/v1/prices", format!("{tiered}7&tiers_mode=volume")));
    assert_eq!((refused.status, refused.error().3), (400, "tiers"));
    let price = client.ok(post(
        "/v1/prices?expand[]=tiers&expand[]=currency_options",
        format!("{tiered}inf&tiers_mode=volume"),
    ));
    assert_eq!(price["tiers"][0]["unit_amount"], 5);
}

#[test]
fn a_deleted_customer_has_no_running_subscription() {
    let (_simulator, mut client) = simulator();
    let (customer, monthly, _) = shop(&mut client);
    let form = format!("customer={customer}&items[0][price]={monthly}");
    let made = client.ok(post("/v1/subscriptions", form));
    client.ok(delete(format!("/v1/customers/{customer}")));
    let path = format!("/v1/subscriptions/{}", id(&made));
    assert_eq!(client.ok(get(path))["status"], "canceled");
    let events = client.ok(get("/v1/events?type=customer.subscription.deleted"));
    assert_eq!(events["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_draft_is_deleted_and_not_voided() {
    let (_simulator, mut client) = simulator();
    let (customer, _, _) = shop(&mut client);
    let draft = client.ok(post("/v1/invoices", format!("customer={customer}")));
    for word in ["void", "mark_uncollectible"] {
        let refused = client.call(post(format!("/v1/invoices/{}/{word}", id(&draft)), ""));
        assert_eq!(refused.error().2, "status_transition_invalid", "{word}");
    }
}

#[test]
fn what_a_checkout_session_needs() {
    let (_simulator, mut client) = simulator();
    let (_, monthly, once) = shop(&mut client);
    let form = |mode: &str, price: &str, more: &str| {
        format!("mode={mode}&line_items[0][price]={price}&line_items[0][quantity]=1{more}")
    };
    let url = "&success_url=https%3A%2F%2Fexample.com";
    for (form, param) in [
        (form("payment", &monthly, url), "line_items"),
        (form("subscription", &once, url), "line_items"),
        (form("payment", &once, ""), "success_url"),
        (form("payment", &once, "&success_url=zebra"), "success_url"),
        (form("payment", &once, &format!("{url}&expires_at=5")), "expires_at"),
        (
            form("payment", &once, &format!("{url}&expires_at=9999999999")),
            "expires_at",
        ),
    ] {
        let refused = client.call(post("/v1/checkout/sessions", form.clone()));
        assert_eq!((refused.status, refused.error().3), (400, param), "{form}");
    }
    let hosted = client.ok(post("/v1/checkout/sessions", form("subscription", &monthly, url)));
    assert_eq!(
        (&hosted["client_secret"], &hosted["automatic_tax"]["enabled"]),
        (&json!(null), &json!(false))
    );
    let embedded = client.ok(post(
        "/v1/checkout/sessions",
        form("payment", &once, "&ui_mode=embedded_page"),
    ));
    assert!(embedded["client_secret"].is_string() && embedded["url"].is_null());
}

#[test]
fn what_has_ended_does_not_end_again() {
    let (_simulator, mut client) = simulator();
    let (customer, monthly, _) = shop(&mut client);
    let quote = client.ok(post(
        "/v1/quotes",
        format!("customer={customer}&line_items[0][price]={monthly}"),
    ));
    let cancel = format!("/v1/quotes/{}/cancel", id(&quote));
    assert_eq!(client.ok(post(cancel.clone(), ""))["status"], "canceled");
    let again = client.call(post(cancel, ""));
    assert_eq!((again.status, again.error().1), (400, "invalid_request_error"));
}

#[test]
fn how_things_begin() {
    let (_simulator, mut client) = simulator();
    let hook = client.ok(post(
        "/v1/webhook_endpoints",
        "url=https%3A%2F%2Fexample.com&enabled_events[0]=*",
    ));
    assert_eq!(hook["status"], "enabled");
    let run = client.ok(post("/v1/reporting/report_runs", "report_type=balance.summary.1"));
    assert_eq!(run["status"], "pending");
}
