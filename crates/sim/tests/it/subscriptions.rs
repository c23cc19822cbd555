//! Subscriptions that cannot be paid for, that have ended, and that are to end.

use inflight_sim::Simulator;
use serde_json::{Value, json};

use crate::client::{Client, delete, get, post, simulator};

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}"))
}

/// A customer without a card, and a price of 1000 a month.
fn shop(client: &mut Client) -> (String, String) {
    let customer = client.ok(post("/v1/customers", "email=a%40example.com"));
    let form = "currency=usd&unit_amount=1000&product_data[name]=Gold&recurring[interval]=month";
    let price = client.ok(post("/v1/prices", form));
    (id(&customer).to_owned(), id(&price).to_owned())
}

/// From now on the customer pays with this card.
fn pay_with(client: &mut Client, customer: &str, card: &str) {
    let attached = client.ok(post(
        format!("/v1/payment_methods/{card}/attach"),
        format!("customer={customer}"),
    ));
    let form = format!("invoice_settings[default_payment_method]={}", id(&attached));
    client.ok(post(format!("/v1/customers/{customer}"), form));
}

/// How much there is of what a subscription makes.
fn totals(simulator: &Simulator) -> Vec<usize> {
    let kinds = [
        "subscription",
        "subscription_item",
        "invoice",
        "line_item",
        "invoiceitem",
        "payment_intent",
        "charge",
        "price",
        "event",
    ];
    kinds.into_iter().map(|kind| simulator.count(kind)).collect()
}

#[test]
fn nothing_is_left_of_a_subscription_that_is_not_paid_for() {
    let (simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client);
    let coupon = client.ok(post("/v1/coupons", "percent_off=10&max_redemptions=1"));
    client.ok(post(
        "/v1/invoiceitems",
        format!("customer={customer}&amount=70&currency=usd"),
    ));
    let form = format!(
        "customer={customer}&items[0][price]={price}&discounts[0][coupon]={}&payment_behavior=error_if_incomplete",
        id(&coupon)
    );
    for (card, code) in [
        ("pm_card_chargeCustomerFail", "card_declined"),
        (
            "pm_card_authenticationRequired",
            "subscription_payment_intent_requires_action",
        ),
    ] {
        pay_with(&mut client, &customer, card);
        let before = totals(&simulator);
        let refused = client.call(post("/v1/subscriptions", form.clone()).key(card));
        assert_eq!((refused.status, refused.error().2), (402, code), "{}", refused.body);
        assert_eq!(totals(&simulator), before, "{card}");
        assert_eq!(simulator.effect_of_key(card), Some(false));
    }
    let coupon = client.ok(get(format!("/v1/coupons/{}", id(&coupon))));
    assert_eq!((&coupon["times_redeemed"], &coupon["valid"]), (&json!(0), &json!(true)));
    let waiting = client.ok(get("/v1/invoiceitems?pending=true"));
    assert_eq!(waiting["data"].as_array().unwrap().len(), 1);
    pay_with(&mut client, &customer, "pm_card_visa");
    assert_eq!(client.ok(post("/v1/subscriptions", form))["status"], "active");
}

#[test]
fn a_change_that_is_not_paid_for_is_owed_or_undone() {
    let (simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client);
    pay_with(&mut client, &customer, "pm_card_visa");
    let form = format!("customer={customer}&items[0][price]={price}");
    let made = client.ok(post("/v1/subscriptions", form));
    let path = format!("/v1/subscriptions/{}", id(&made));
    let item = id(&made["items"]["data"][0]).to_owned();
    pay_with(&mut client, &customer, "pm_card_chargeCustomerFail");
    let before = totals(&simulator);
    let all = "proration_behavior=always_invoice&payment_behavior=error_if_incomplete";
    let of_item = format!("items[0][id]={item}&items[0][quantity]=5");
    for (path, form) in [
        (path.clone(), format!("{all}&{of_item}")),
        (format!("/v1/subscription_items/{item}"), format!("{all}&quantity=5")),
    ] {
        let refused = client.call(post(path, form));
        assert_eq!((refused.status, refused.error().2), (402, "card_declined"));
        assert_eq!(totals(&simulator), before);
    }
    let kept = client.ok(get(path.clone()));
    assert_eq!(kept["items"]["data"][0]["quantity"], 1);
    let form = format!("proration_behavior=always_invoice&{of_item}");
    let owed = client.ok(post(format!("{path}?expand[]=latest_invoice"), form));
    assert_eq!(
        (
            &owed["status"],
            &owed["items"]["data"][0]["quantity"],
            &owed["latest_invoice"]["status"]
        ),
        (&json!("past_due"), &json!(5), &json!("open"))
    );
    // The end of a trial that it has not is no payment.
    assert_eq!(client.ok(post(path.clone(), "trial_end=now"))["status"], "past_due");
    let invoice = format!("/v1/invoices/{}/pay", id(&owed["latest_invoice"]));
    client.ok(post(invoice, "payment_method=pm_card_visa"));
    assert_eq!(client.ok(get(path))["status"], "active");
}

#[test]
fn what_has_ended_can_be_annotated() {
    let (_simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client);
    let made = client.ok(post(
        "/v1/subscriptions",
        format!("customer={customer}&items[0][price]={price}"),
    ));
    let path = format!("/v1/subscriptions/{}", id(&made));
    client.ok(delete(path.clone()));
    let noted = client.ok(post(path.clone(), "metadata[a]=b&cancellation_details[comment]=x"));
    assert_eq!(
        (
            &noted["metadata"]["a"],
            &noted["cancellation_details"]["comment"],
            &noted["status"]
        ),
        (&json!("b"), &json!("x"), &json!("canceled"))
    );
    let refused = client.call(post(path, "metadata[a]=c&description=x"));
    assert_eq!(refused.status, 400);
}

#[test]
fn a_subscription_ends_with_the_first_or_the_last_of_its_periods() {
    let (_simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client);
    let form = "currency=usd&unit_amount=9000&product_data[name]=Year&recurring[interval]=year";
    let yearly = client.ok(post("/v1/prices", form));
    let form = format!(
        "customer={customer}&items[0][price]={price}&items[1][price]={}",
        id(&yearly)
    );
    let made = client.ok(post("/v1/subscriptions", format!("{form}&cancel_at=min_period_end")));
    let end = |place: usize| made["items"]["data"][place]["current_period_end"].clone();
    assert_eq!(made["cancel_at"], end(0));
    let path = format!("/v1/subscriptions/{}", id(&made));
    assert_eq!(client.ok(post(path, "cancel_at=max_period_end"))["cancel_at"], end(1));
}

#[test]
fn what_is_invoiced_at_once_is_finalized_before_it_is_paid() {
    let (_simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client);
    let made = client.ok(post(
        "/v1/subscriptions",
        format!("customer={customer}&items[0][price]={price}"),
    ));
    let form = format!(
        "proration_behavior=always_invoice&items[0][id]={}&items[0][quantity]=5",
        id(&made["items"]["data"][0])
    );
    let changed = client.ok(post(format!("/v1/subscriptions/{}", id(&made)), form));
    let events = client.ok(get("/v1/events?limit=100"));
    let events = events["data"].as_array().unwrap().iter().rev();
    let of_invoice = events.filter(|event| event["data"]["object"]["id"] == changed["latest_invoice"]);
    let kinds: Vec<&str> = of_invoice.map(|event| event["type"].as_str().unwrap()).collect();
    let place = |kind: &str| kinds.iter().position(|known| *known == kind);
    let (created, finalized, paid) = (
        place("invoice.created"),
        place("invoice.finalized"),
        place("invoice.paid"),
    );
    assert!(
        created.is_some() && created < finalized && finalized < paid,
        "{kinds:?}"
    );
}

#[test]
fn what_was_never_paid_for_expires() {
    let (_simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client);
    let form = format!("customer={customer}&items[0][price]={price}&payment_behavior=default_incomplete");
    let mut made = || id(&client.ok(post("/v1/subscriptions", form.clone()))).to_owned();
    let (first, second) = (made(), made());
    let path = format!("/v1/subscriptions/{first}");
    assert_eq!(client.ok(delete(path.clone()))["status"], "incomplete_expired");
    assert_eq!(client.call(delete(path.clone())).status, 404);
    assert_eq!(client.call(post(path.clone(), "description=x")).status, 400);
    client.ok(delete(format!("/v1/customers/{customer}")));
    let ended = client.ok(get("/v1/subscriptions?status=ended"));
    let ended: Vec<&str> = ended["data"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(ended, [&*second, &*first]);
    let events = client.ok(get("/v1/events?type=customer.subscription.deleted"));
    assert_eq!(events["data"].as_array().unwrap().len(), 2, "each ends once");
}
