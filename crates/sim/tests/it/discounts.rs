//! What discounts take off, of what, and for how long.

use inflight_sim::Simulator;
use serde_json::{Value, json};

use crate::client::{Client, delete, get, post, simulator};

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}"))
}

fn made(client: &mut Client, path: &str, form: &str) -> String {
    id(&client.ok(post(format!("/v1/{path}"), form))).to_owned()
}

fn price(client: &mut Client, amount: i64) -> (String, String) {
    let form = format!("currency=usd&unit_amount={amount}&product_data[name]=Mug");
    let price = client.ok(post("/v1/prices", form));
    (id(&price).to_owned(), price["product"].as_str().unwrap().to_owned())
}

#[test]
fn a_coupon_takes_off_its_products_only() {
    let (_simulator, mut client) = simulator();
    let customer = made(&mut client, "customers", "");
    let ((mug, of_mug), (cup, _)) = (price(&mut client, 1000), price(&mut client, 500));
    let coupon = made(
        &mut client,
        "coupons",
        &format!("percent_off=50&applies_to[products][0]={of_mug}"),
    );
    let form = format!("customer={customer}&discounts[0][coupon]={coupon}");
    let invoice = made(&mut client, "invoices", &form);
    for price in [&mug, &cup] {
        let form = format!("customer={customer}&invoice={invoice}&pricing[price]={price}");
        made(&mut client, "invoiceitems", &form);
    }
    let drafted = client.ok(get(format!("/v1/invoices/{invoice}")));
    assert_eq!((&drafted["subtotal"], &drafted["total"]), (&json!(1500), &json!(1000)));
    assert_eq!(drafted["total_discount_amounts"][0]["amount"], 500);
    let lines = &drafted["lines"]["data"];
    assert_eq!(lines[0]["discount_amounts"][0]["amount"], 500);
    assert_eq!(lines[1]["discount_amounts"], json!([]));
    let without = client.ok(post(format!("/v1/invoices/{invoice}"), "discounts="));
    assert_eq!(without["total"], 1500);
    assert_ne!(without["total_discount_amounts"][0]["amount"], 500);
    let form = format!(
        "mode=payment&success_url=https%3A%2F%2Fexample.com&discounts[0][coupon]={coupon}&line_items[0][price]={mug}&\
         line_items[0][quantity]=1&line_items[1][price]={cup}&line_items[1][quantity]=1"
    );
    assert_eq!(client.ok(post("/v1/checkout/sessions", form))["amount_total"], 1000);
}

#[test]
fn a_line_may_have_discounts_of_its_own_or_none_at_all() {
    let (_simulator, mut client) = simulator();
    let customer = made(&mut client, "customers", "");
    let (tenth, half) = (
        made(&mut client, "coupons", "percent_off=10"),
        made(&mut client, "coupons", "percent_off=50"),
    );
    let form = format!("customer={customer}&discounts[0][coupon]={tenth}");
    let invoice = made(&mut client, "invoices", &form);
    let item = format!("customer={customer}&invoice={invoice}&currency=usd&amount=");
    made(&mut client, "invoiceitems", &format!("{item}1000&discountable=false"));
    let own = made(
        &mut client,
        "invoiceitems",
        &format!("{item}400&discounts[0][coupon]={half}"),
    );
    let path = format!("/v1/invoices/{invoice}");
    let drafted = client.ok(get(path.clone()));
    assert_eq!((&drafted["subtotal"], &drafted["total"]), (&json!(1200), &json!(1180)));
    let amounts: Vec<&Value> = [0, 1].map(|n| &drafted["total_discount_amounts"][n]["amount"]).into();
    assert_eq!(amounts, [&json!(200), &json!(20)]);
    client.ok(post(format!("/v1/invoiceitems/{own}"), "discounts="));
    assert_eq!(client.ok(get(path.clone()))["total"], 1360);
    let line = &drafted["lines"]["data"][0];
    let form = format!("discountable=true&discounts[0][coupon]={half}");
    client.ok(post(format!("{path}/lines/{}", id(line)), form));
    assert_eq!(client.ok(get(path.clone()))["total"], 810);
    let form = format!("lines[0][amount]=200&lines[0][discounts][0][coupon]={half}&lines[0][description]=x");
    assert_eq!(client.ok(post(format!("{path}/add_lines"), form.clone()))["total"], 900);
    let refused = client.call(post(
        format!("{path}/add_lines"),
        format!("{form}&lines[1][discounts][0][coupon]=x"),
    ));
    assert_eq!(refused.status, 400);
    let after = client.ok(get(path));
    assert_eq!(
        (&after["total"], &after["lines"]["data"].as_array().unwrap().len()),
        (&json!(900), &3)
    );
}

#[test]
fn a_deleted_coupon_ends_no_discount() {
    let path = std::env::temp_dir().join(format!("inflight-coupons-{}.json", std::process::id()));
    let start = || Simulator::builder().state(&path).start().unwrap();
    let first = start();
    let mut client = Client::new(&first);
    let customer = made(&mut client, "customers", "");
    let coupon = made(&mut client, "coupons", "percent_off=50&duration=forever");
    let form = "currency=usd&unit_amount=1000&product_data[name]=Gold&recurring[interval]=month";
    let price = made(&mut client, "prices", form);
    let form = format!("customer={customer}&items[0][price]={price}&discounts[0][coupon]={coupon}");
    let subscription = made(&mut client, "subscriptions", &form);
    client.ok(delete(format!("/v1/coupons/{coupon}")));
    assert_eq!(client.call(get(format!("/v1/coupons/{coupon}"))).status, 404);
    let form = format!("subscription={subscription}");
    let preview = client.ok(post("/v1/invoices/create_preview", form.clone()));
    assert_eq!(preview["total"], 500);
    // The next run knows it too.
    assert!(first.save().unwrap());
    let second = start();
    let preview = Client::new(&second).ok(post("/v1/invoices/create_preview", form));
    assert_eq!(preview["total"], 500);
    drop((first, second));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_code_may_be_for_those_who_never_paid() {
    let (_simulator, mut client) = simulator();
    let coupon = made(&mut client, "coupons", "percent_off=50");
    let form = format!("promotion[type]=coupon&promotion[coupon]={coupon}&restrictions[first_time_transaction]=true");
    let code = made(&mut client, "promotion_codes", &form);
    let customer = made(&mut client, "customers", "");
    let form = format!("customer={customer}&discounts[0][promotion_code]={code}");
    client.ok(post("/v1/invoices", form.clone()));
    let paid = format!("amount=500&currency=usd&customer={customer}&payment_method=pm_card_visa&confirm=true");
    client.ok(post("/v1/payment_intents", paid));
    let refused = client.call(post("/v1/invoices", form));
    assert_eq!(refused.error().3, "discounts[0][promotion_code]");
}

#[test]
fn refused_discounts_redeem_nothing() {
    let (_simulator, mut client) = simulator();
    let customer = made(&mut client, "customers", "");
    let coupon = made(&mut client, "coupons", "percent_off=50&max_redemptions=1");
    let form = format!("customer={customer}&discounts[0][coupon]={coupon}&discounts[1]");
    for other in [
        "[coupon]=zebra",
        &format!("[coupon]={coupon}"),
        "[promotion_code]=promo_zebra",
    ] {
        let refused = client.call(post("/v1/invoices", format!("{form}{other}")));
        assert_eq!(refused.status, 400, "{}", refused.body);
    }
    let price = price(&mut client, 1000).0;
    let form = format!("customer={customer}&items[0][price]={price}&discounts[0][coupon]={coupon}");
    let sent = format!("{form}&collection_method=send_invoice");
    assert_eq!(client.call(post("/v1/subscriptions", sent)).status, 400);
    assert_eq!(client.ok(get(format!("/v1/coupons/{coupon}")))["times_redeemed"], 0);
}
