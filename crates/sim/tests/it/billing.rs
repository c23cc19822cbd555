//! Invoices, subscriptions, discounts and checkout.

use serde_json::{Value, json};

use crate::client::{Client, delete, get, post, simulator};

fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap_or_else(|| panic!("no id in {object}"))
}

/// A customer with a card, and a price of 1000 a month.
fn shop(client: &mut Client, card: &str) -> (String, String) {
    let customer = client.ok(post("/v1/customers", "email=ada%40example.com"));
    let attached = client.ok(post(
        format!("/v1/payment_methods/{card}/attach"),
        format!("customer={}", id(&customer)),
    ));
    let form = format!("invoice_settings[default_payment_method]={}", id(&attached));
    client.ok(post(format!("/v1/customers/{}", id(&customer)), form));
    let form = "currency=usd&unit_amount=1000&product_data[name]=Gold&recurring[interval]=month";
    let price = client.ok(post("/v1/prices", form));
    (id(&customer).to_owned(), id(&price).to_owned())
}

#[test]
fn an_invoice_from_draft_to_paid() {
    let (_simulator, mut client) = simulator();
    let (customer, _) = shop(&mut client, "pm_card_visa");
    client.ok(post(
        "/v1/invoiceitems",
        format!("customer={customer}&amount=700&currency=usd&description=Mug"),
    ));
    client.ok(post(
        "/v1/invoiceitems",
        format!("customer={customer}&unit_amount_decimal=150&quantity=2&currency=usd&amount=300"),
    ));
    let coupon = client.ok(post("/v1/coupons", "percent_off=10"));
    let form = format!(
        "customer={customer}&pending_invoice_items_behavior=include&discounts[0][coupon]={}",
        id(&coupon)
    );
    let invoice = client.ok(post("/v1/invoices", form));
    assert_eq!(
        (&invoice["status"], &invoice["subtotal"], &invoice["total"]),
        (&json!("draft"), &json!(1000), &json!(900))
    );
    assert_eq!(invoice["lines"]["data"][0]["description"], "Mug");
    assert_eq!(invoice["total_discount_amounts"][0]["amount"], 100);
    let path = format!("/v1/invoices/{}", id(&invoice));
    let lines = client.ok(get(format!("{path}/lines")));
    assert_eq!(lines["data"], invoice["lines"]["data"]);
    let open = client.ok(post(format!("{path}/finalize"), ""));
    assert_eq!((&open["status"], &open["amount_due"]), (&json!("open"), &json!(900)));
    assert!(
        open["number"].as_str().unwrap().ends_with("-0001"),
        "{}",
        open["number"]
    );
    assert_eq!(
        client.call(post(format!("{path}/finalize"), "")).error().2,
        "invoice_not_editable"
    );
    let paid = client.ok(post(format!("{path}/pay?expand[]=payments"), ""));
    assert_eq!(
        (&paid["status"], &paid["amount_paid"], &paid["amount_remaining"]),
        (&json!("paid"), &json!(900), &json!(0))
    );
    let payment = &paid["payments"]["data"][0];
    assert_eq!(
        (&payment["status"], &payment["amount_paid"]),
        (&json!("paid"), &json!(900))
    );
    let intent = client.ok(get(format!(
        "/v1/payment_intents/{}",
        payment["payment"]["payment_intent"].as_str().unwrap()
    )));
    assert_eq!(
        (&intent["status"], &intent["amount"]),
        (&json!("succeeded"), &json!(900))
    );
    assert_eq!(
        client.call(post(format!("{path}/pay"), "")).error().2,
        "invoice_already_paid"
    );
    let events = client.ok(get("/v1/events?types[]=invoice.paid&types[]=invoice.finalized"));
    assert_eq!(events["data"][0]["data"]["object"]["status"], "paid");
    assert_eq!(events["data"][1]["data"]["object"]["status"], "open");
}

#[test]
fn invoices_end_in_other_ways() {
    let (_simulator, mut client) = simulator();
    let (customer, _) = shop(&mut client, "pm_card_chargeCustomerFail");
    let new = |client: &mut Client| {
        let invoice = client.ok(post("/v1/invoices", format!("customer={customer}")));
        let form = format!("customer={customer}&amount=500&currency=usd&invoice={}", id(&invoice));
        client.ok(post("/v1/invoiceitems", form));
        format!("/v1/invoices/{}", id(&invoice))
    };
    let path = new(&mut client);
    let declined = client.call(post(format!("{path}/pay"), ""));
    assert_eq!(declined.error(), (402, "card_error", "card_declined", ""));
    let open = client.ok(get(path.clone()));
    assert_eq!((&open["status"], &open["attempt_count"]), (&json!("open"), &json!(1)));
    assert_eq!(
        client.ok(post(format!("{path}/mark_uncollectible"), ""))["status"],
        "uncollectible"
    );
    assert_eq!(client.ok(post(format!("{path}/void"), ""))["status"], "void");
    assert_eq!(client.call(delete(path)).error().2, "invoice_not_editable");
    let path = new(&mut client);
    assert_eq!(client.ok(delete(path.clone()))["deleted"], true);
    assert_eq!(client.call(get(path)).status, 404);
    let path = new(&mut client);
    let paid = client.ok(post(format!("{path}/pay"), "paid_out_of_band=true"));
    assert_eq!(
        (&paid["status"], &paid["amount_paid_off_stripe"]),
        (&json!("paid"), &json!(500))
    );
}

#[test]
fn credit_notes_take_off_what_was_asked_for() {
    let (_simulator, mut client) = simulator();
    let (customer, _) = shop(&mut client, "pm_card_visa");
    let invoice = client.ok(post("/v1/invoices", format!("customer={customer}")));
    let form = format!("customer={customer}&amount=900&currency=usd&invoice={}", id(&invoice));
    client.ok(post("/v1/invoiceitems", form));
    let path = format!("/v1/invoices/{}", id(&invoice));
    let note = format!("invoice={}&amount=", id(&invoice));
    assert_eq!(
        client.call(post("/v1/credit_notes", format!("{note}5"))).error().3,
        "invoice"
    );
    client.ok(post(format!("{path}/finalize"), ""));
    assert_eq!(
        client.call(post("/v1/credit_notes", format!("{note}901"))).error().3,
        "amount"
    );
    let before = client.ok(post("/v1/credit_notes", format!("{note}400")));
    assert_eq!(
        (&before["type"], &before["total"]),
        (&json!("pre_payment"), &json!(400))
    );
    assert_eq!(client.ok(post(format!("{path}/pay"), ""))["amount_paid"], 500);
    let after = client.ok(post("/v1/credit_notes", format!("{note}200&credit_amount=200")));
    assert_eq!(after["type"], "post_payment");
    assert_eq!(client.ok(get(format!("/v1/customers/{customer}")))["balance"], -200);
}

#[test]
fn credit_is_used_up_first() {
    let (_simulator, mut client) = simulator();
    let (customer, _) = shop(&mut client, "pm_card_visa");
    client.ok(post(
        format!("/v1/customers/{customer}/balance_transactions"),
        "amount=-300&currency=usd",
    ));
    let invoice = client.ok(post("/v1/invoices", format!("customer={customer}")));
    client.ok(post(
        "/v1/invoiceitems",
        format!("customer={customer}&amount=200&currency=usd&invoice={}", id(&invoice)),
    ));
    let paid = client.ok(post(format!("/v1/invoices/{}/finalize", id(&invoice)), ""));
    assert_eq!(
        (&paid["status"], &paid["amount_due"], &paid["ending_balance"]),
        (&json!("paid"), &json!(0), &json!(-100))
    );
    assert_eq!(client.ok(get(format!("/v1/customers/{customer}")))["balance"], -100);
}

#[test]
fn a_subscription_begins_with_an_invoice() {
    let (_simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client, "pm_card_visa");
    let form = format!("customer={customer}&items[0][price]={price}&items[0][quantity]=3");
    let subscription = client.ok(post("/v1/subscriptions?expand[]=latest_invoice", form.clone()));
    let invoice = &subscription["latest_invoice"];
    assert_eq!(
        (&subscription["status"], &invoice["status"]),
        (&json!("active"), &json!("paid"))
    );
    assert_eq!(
        (&invoice["amount_paid"], &invoice["billing_reason"]),
        (&json!(3000), &json!("subscription_create"))
    );
    let line = &invoice["lines"]["data"][0];
    assert_eq!(
        (&line["amount"], &line["description"]),
        (&json!(3000), &json!("3 × Gold"))
    );
    assert_eq!(
        line["parent"]["subscription_item_details"]["subscription"],
        subscription["id"]
    );
    let trial = client.ok(post(
        "/v1/subscriptions?expand[]=latest_invoice",
        format!("{form}&trial_period_days=7"),
    ));
    assert_eq!(
        (&trial["status"], &trial["latest_invoice"]["total"]),
        (&json!("trialing"), &json!(0))
    );
    let kinds = client.ok(get("/v1/events?type=customer.subscription.created"));
    assert_eq!(kinds["data"].as_array().unwrap().len(), 2);
    client.ok(delete(format!("/v1/subscriptions/{}", id(&subscription))));
    let deleted = client.ok(get("/v1/events?type=customer.subscription.deleted"));
    assert_eq!(deleted["data"][0]["data"]["object"]["status"], "canceled");
}

#[test]
fn a_subscription_whose_card_is_declined() {
    let (simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client, "pm_card_chargeCustomerFail");
    let form = format!("customer={customer}&items[0][price]={price}");
    let subscription = client.ok(post("/v1/subscriptions", form.clone()));
    assert_eq!(subscription["status"], "incomplete");
    let invoice = format!("/v1/invoices/{}", subscription["latest_invoice"].as_str().unwrap());
    client.ok(post(format!("{invoice}/pay"), "payment_method=pm_card_visa"));
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    assert_eq!(client.ok(get(path))["status"], "active");
    let before = simulator.count("subscription");
    let refused = client.call(post(
        "/v1/subscriptions",
        format!("{form}&payment_behavior=error_if_incomplete"),
    ));
    assert_eq!((refused.status, simulator.count("subscription")), (402, before));
}

#[test]
fn a_subscription_that_waits_for_its_first_payment() {
    let (_simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client, "pm_card_visa");
    let form = format!("customer={customer}&items[0][price]={price}&payment_behavior=default_incomplete");
    let expand = "expand[]=latest_invoice.payments&expand[]=latest_invoice.confirmation_secret";
    let subscription = client.ok(post(format!("/v1/subscriptions?{expand}"), form));
    assert_eq!(subscription["status"], "incomplete");
    let invoice = &subscription["latest_invoice"];
    let intent = invoice["payments"]["data"][0]["payment"]["payment_intent"]
        .as_str()
        .unwrap();
    assert_eq!(
        invoice["confirmation_secret"]["client_secret"]
            .as_str()
            .unwrap()
            .split("_secret_")
            .next(),
        Some(intent)
    );
    assert_eq!(invoice["confirmation_secret"]["type"], "payment_intent");
    client.ok(post(
        format!("/v1/payment_intents/{intent}/confirm"),
        "payment_method=pm_card_visa",
    ));
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    assert_eq!(client.ok(get(path))["status"], "active");
    assert_eq!(
        client.ok(get(format!("/v1/invoices/{}", id(invoice))))["status"],
        "paid"
    );
}

#[test]
fn changes_are_prorated() {
    let (_simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client, "pm_card_visa");
    let form = format!("customer={customer}&items[0][price]={price}");
    let subscription = client.ok(post("/v1/subscriptions", form));
    let path = format!("/v1/subscriptions/{}", id(&subscription));
    let item = id(&subscription["items"]["data"][0]).to_owned();
    client.ok(post(
        path.clone(),
        format!("items[0][id]={item}&items[0][quantity]=2&proration_behavior=none"),
    ));
    assert_eq!(client.ok(get("/v1/invoiceitems"))["data"], json!([]));
    client.ok(post(path.clone(), format!("items[0][id]={item}&items[0][quantity]=5")));
    let waiting = client.ok(get("/v1/invoiceitems"));
    let amounts: Vec<i64> = waiting["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["amount"].as_i64().unwrap())
        .collect();
    assert_eq!(amounts, [5000, -2000]);
    let updated = client.ok(post(
        format!("{path}?expand[]=latest_invoice"),
        format!("items[0][id]={item}&items[0][quantity]=6&proration_behavior=always_invoice"),
    ));
    assert_eq!(updated["latest_invoice"]["total"], 5000 - 2000 + 6000 - 5000);
    assert_eq!(updated["latest_invoice"]["status"], "paid");

    let second = client.ok(post(
        "/v1/subscription_items",
        format!(
            "subscription={}&price_data[currency]=usd&price_data[unit_amount]=100&price_data[recurring][interval]=month&\
             price_data[product]={}",
            id(&subscription),
            subscription["items"]["data"][0]["price"]["product"].as_str().unwrap()
        ),
    ));
    let items = client.ok(get(format!(
        "/v1/subscription_items?subscription={}",
        id(&subscription)
    )));
    assert_eq!(items["data"].as_array().unwrap().len(), 2);
    client.ok(delete(format!("/v1/subscription_items/{}", id(&second))));
    assert_eq!(client.ok(get(path))["items"]["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        client.call(delete(format!("/v1/subscription_items/{item}"))).status,
        400
    );
}

#[test]
fn coupons_and_codes_run_out() {
    let (_simulator, mut client) = simulator();
    let (customer, price) = shop(&mut client, "pm_card_visa");
    let coupon = client.ok(post(
        "/v1/coupons",
        "amount_off=250&currency=usd&duration=forever&max_redemptions=1",
    ));
    let code = client.ok(post(
        "/v1/promotion_codes",
        format!("promotion[type]=coupon&promotion[coupon]={}&code=SPRING", id(&coupon)),
    ));
    let taken = format!("promotion[type]=coupon&promotion[coupon]={}&code=spring", id(&coupon));
    assert_eq!(client.call(post("/v1/promotion_codes", taken)).error().3, "code");
    let form = format!(
        "customer={customer}&items[0][price]={price}&discounts[0][promotion_code]={}",
        id(&code)
    );
    let subscription = client.ok(post(
        "/v1/subscriptions?expand[]=latest_invoice&expand[]=discounts.source.coupon",
        form.clone(),
    ));
    assert_eq!(subscription["latest_invoice"]["total"], 750);
    assert_eq!(subscription["discounts"][0]["source"]["coupon"]["times_redeemed"], 1);
    let used_up = client.call(post("/v1/subscriptions", form));
    assert_eq!(used_up.error().2, "coupon_expired");
    let inactive = format!("/v1/promotion_codes/{}", id(&code));
    client.ok(post(inactive, "active=false"));
    let form = format!("customer={customer}&discounts[0][promotion_code]={}", id(&code));
    assert_eq!(
        client.call(post("/v1/invoices", form)).error().2,
        "promotion_code_inactive"
    );
}

#[test]
fn checkout_sessions_are_made_and_expire() {
    let (_simulator, mut client) = simulator();
    let coupon = client.ok(post("/v1/coupons", "percent_off=50"));
    let line = "line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=500&\
                line_items[0][price_data][product_data][name]=Mug&line_items[0][quantity]=2";
    let form = format!(
        "mode=payment&success_url=https%3A%2F%2Fexample.com&{line}&discounts[0][coupon]={}",
        id(&coupon)
    );
    let session = client.ok(post("/v1/checkout/sessions", form));
    assert_eq!(
        (&session["amount_subtotal"], &session["amount_total"]),
        (&json!(1000), &json!(500))
    );
    assert!(
        session["url"]
            .as_str()
            .unwrap()
            .starts_with("https://checkout.stripe.com/")
    );
    assert!(session.get("line_items").is_none());
    let path = format!("/v1/checkout/sessions/{}", id(&session));
    let lines = client.ok(get(format!("{path}/line_items")));
    assert_eq!(
        (
            &lines["data"][0]["description"],
            &lines["data"][0]["price"]["unit_amount"]
        ),
        (&json!("Mug"), &json!(500))
    );
    let expanded = client.ok(get(format!("{path}?expand[]=line_items")));
    assert_eq!(expanded["line_items"]["data"], lines["data"]);
    let expired = client.ok(post(format!("{path}/expire"), ""));
    assert_eq!((&expired["status"], &expired["url"]), (&json!("expired"), &json!(null)));
    assert_eq!(client.call(post(format!("{path}/expire"), "")).status, 400);
    assert_eq!(
        client.call(post("/v1/checkout/sessions", "mode=payment")).error().3,
        "line_items"
    );
}

#[test]
fn plans_quotes_and_links_have_prices() {
    let (_simulator, mut client) = simulator();
    let (customer, _) = shop(&mut client, "pm_card_visa");
    let plan = client.ok(post(
        "/v1/plans",
        "amount=700&currency=usd&interval=month&product[name]=Old",
    ));
    let subscription = client.ok(post(
        "/v1/subscriptions",
        format!("customer={customer}&items[0][price]={}", id(&plan)),
    ));
    assert_eq!(subscription["items"]["data"][0]["price"]["unit_amount"], 700);
    let price = client.ok(post(
        "/v1/prices",
        "currency=usd&unit_amount=300&product_data[name]=Mug",
    ));
    let lines = format!("line_items[0][price]={}&line_items[0][quantity]=2", id(&price));
    let quote = client.ok(post("/v1/quotes", format!("customer={customer}&{lines}")));
    assert_eq!(quote["amount_total"], 600);
    let link = client.ok(post("/v1/payment_links", lines));
    for path in [
        format!("/v1/quotes/{}", id(&quote)),
        format!("/v1/payment_links/{}", id(&link)),
    ] {
        let listed = client.ok(get(format!("{path}/line_items")));
        assert_eq!(
            (listed["data"].as_array().unwrap().len(), &listed["data"][0]["quantity"]),
            (1, &json!(2)),
            "{path}"
        );
    }
}

#[test]
fn tiers() {
    let (_simulator, mut client) = simulator();
    let (customer, _) = shop(&mut client, "pm_card_visa");
    let tiers = "tiers[0][up_to]=5&tiers[0][unit_amount]=100&tiers[1][up_to]=inf&tiers[1][unit_amount]=50&tiers[1][flat_amount]=10";
    for (mode, expected) in [("graduated", 5 * 100 + 2 * 50 + 10), ("volume", 7 * 50 + 10)] {
        let form = format!(
            "currency=usd&product_data[name]=Seats&recurring[interval]=month&billing_scheme=tiered&tiers_mode={mode}&{tiers}"
        );
        let price = client.ok(post("/v1/prices", form));
        let form = format!(
            "customer={customer}&items[0][price]={}&items[0][quantity]=7",
            id(&price)
        );
        let subscription = client.ok(post("/v1/subscriptions?expand[]=latest_invoice", form));
        assert_eq!(subscription["latest_invoice"]["total"], expected, "{mode}");
    }
}
