//! Invoices after they are finalized, the intents that pay them, and the lines of drafts.

use serde_json::{Value, json};

use crate::client::{Client, delete, get, post, simulator};

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}"))
}

/// A customer with this card as the default.
fn customer(client: &mut Client, card: &str) -> String {
    let form = format!("email=a%40example.com&payment_method={card}&invoice_settings[default_payment_method]={card}");
    id(&client.ok(post("/v1/customers", form))).to_owned()
}

/// A draft with one line, and the path of it.
fn draft(client: &mut Client, customer: &str, amount: i64) -> (Value, String) {
    let invoice = client.ok(post("/v1/invoices", format!("customer={customer}&auto_advance=false")));
    let form = format!(
        "customer={customer}&invoice={}&amount={amount}&currency=usd",
        id(&invoice)
    );
    client.ok(post("/v1/invoiceitems", form));
    let path = format!("/v1/invoices/{}", id(&invoice));
    (client.ok(get(path.clone())), path)
}

fn open(client: &mut Client, customer: &str, amount: i64) -> (Value, String) {
    let (_, path) = draft(client, customer, amount);
    (client.ok(post(format!("{path}/finalize"), "")), path)
}

/// An open invoice whose card asked for authentication, its path, and the path of its intent.
fn unauthenticated(client: &mut Client) -> (String, String) {
    let customer = customer(client, "pm_card_authenticationRequired");
    let (_, path) = open(client, &customer, 1000);
    let refused = client.call(post(format!("{path}/pay"), ""));
    assert_eq!(
        (refused.status, refused.error().2),
        (402, "invoice_payment_intent_requires_action"),
        "{}",
        refused.body
    );
    let intent = id(&refused.body["error"]["payment_intent"]).to_owned();
    (path, format!("/v1/payment_intents/{intent}"))
}

#[test]
fn amounts_of_finalized_invoices_stay() {
    let (_simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    let (invoice, path) = open(&mut client, &customer, 1000);
    client.ok(post("/v1/credit_notes", format!("invoice={}&amount=300", id(&invoice))));
    let noted = client.ok(post(path, "metadata[a]=b"));
    assert_eq!(
        (&noted["amount_due"], &noted["amount_remaining"]),
        (&json!(700), &json!(700))
    );
}

#[test]
fn lines_of_finalized_invoices_stay() {
    let (_simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    let (invoice, path) = open(&mut client, &customer, 1000);
    let line = id(&invoice["lines"]["data"][0]).to_owned();
    let item = client.ok(get("/v1/invoiceitems"))["data"][0].clone();
    for late in [
        post(format!("{path}/lines/{line}"), "amount=5"),
        post(format!("/v1/invoiceitems/{}", id(&item)), "amount=5"),
        delete(format!("/v1/invoiceitems/{}", id(&item))),
    ] {
        let refused = client.call(late);
        assert_eq!((refused.status, refused.error().2), (400, "invoice_not_editable"));
    }
    assert_eq!(client.ok(get(format!("{path}/lines")))["data"][0]["amount"], 1000);
    let (_, other) = draft(&mut client, &customer, 70);
    let elsewhere = client.call(post(format!("{other}/lines/{line}"), "amount=5"));
    assert_eq!((elsewhere.status, elsewhere.error().2), (404, "resource_missing"));
}

#[test]
fn an_invoice_waits_for_its_customer_and_is_paid_once() {
    let (simulator, mut client) = simulator();
    let (path, intent) = unauthenticated(&mut client);
    assert_eq!(client.ok(get(path.clone()))["status"], "open");
    // Paying once more asks once more, with the same intent.
    assert_eq!(client.call(post(format!("{path}/pay"), "")).status, 402);
    assert_eq!((simulator.count("payment_intent"), simulator.count("charge")), (1, 0));
    let kinds = client.ok(get("/v1/events?type=invoice.payment_action_required"));
    assert_eq!(kinds["data"].as_array().unwrap().len(), 2);
    client.ok(post(format!("{path}/pay"), "payment_method=pm_card_visa"));
    assert_eq!((simulator.count("payment_intent"), simulator.count("charge")), (1, 1));
    let late = client.call(post(format!("{intent}/confirm"), "payment_method=pm_card_visa"));
    assert_eq!(late.error().2, "payment_intent_unexpected_state");
    let (path, intent) = unauthenticated(&mut client);
    client.ok(post(format!("{intent}/confirm"), ""));
    assert_eq!(client.ok(get(path))["status"], "paid");
}

#[test]
fn an_intent_does_not_outlive_its_invoice() {
    let (simulator, mut client) = simulator();
    for (verb, form, state) in [("void", "", "void"), ("pay", "paid_out_of_band=true", "paid")] {
        let (path, intent) = unauthenticated(&mut client);
        client.ok(post(format!("{path}/{verb}"), form));
        let canceled = client.ok(get(intent.clone()));
        assert_eq!(canceled["status"], "canceled");
        let late = client.call(post(format!("{intent}/confirm"), "payment_method=pm_card_visa"));
        assert_eq!(late.status, 400);
        assert_eq!(client.ok(get(path))["status"], state);
    }
    assert_eq!(simulator.count("charge"), 0);
}

#[test]
fn an_intent_takes_what_is_left_of_its_invoice() {
    let (_simulator, mut client) = simulator();
    let (path, intent) = unauthenticated(&mut client);
    let invoice = path.rsplit('/').next().unwrap();
    client.ok(post("/v1/credit_notes", format!("invoice={invoice}&amount=300")));
    assert_eq!(client.ok(post(format!("{intent}/confirm"), ""))["amount_received"], 700);
    let paid = client.ok(get(path));
    assert_eq!((&paid["status"], &paid["amount_paid"]), (&json!("paid"), &json!(700)));
}

#[test]
fn an_invoices_intent_keeps_its_amount() {
    let (_simulator, mut client) = simulator();
    let (_, intent) = unauthenticated(&mut client);
    for name in ["amount=900", "currency=eur"] {
        assert_eq!(client.call(post(intent.clone(), name)).status, 400, "{name}");
    }
    client.ok(post(intent.clone(), "metadata[a]=b&capture_method=manual"));
    let paid = client.ok(post(format!("{intent}/confirm"), ""));
    assert_eq!(paid["amount_received"], 1000);
}

#[test]
fn what_is_sent_is_finalized() {
    let (_simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    for (amount, status) in [(1000, "open"), (0, "paid")] {
        let (_, path) = draft(&mut client, &customer, amount);
        assert_eq!(client.ok(post(format!("{path}/send"), ""))["status"], status);
    }
    let finalized = client.ok(get("/v1/events?type=invoice.finalized"));
    assert_eq!(finalized["data"].as_array().unwrap().len(), 2);
    let (_, path) = open(&mut client, &customer, 1000);
    client.ok(post(format!("{path}/void"), ""));
    assert_eq!(client.call(post(format!("{path}/send"), "")).status, 400);
}

#[test]
fn more_of_an_item_cost_more() {
    let (_simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    let (invoice, path) = draft(&mut client, &customer, 1000);
    let price = client.ok(post(
        "/v1/prices",
        "currency=usd&unit_amount=300&product_data[name]=Mug",
    ));
    let form = format!(
        "customer={customer}&invoice={}&pricing[price]={}",
        id(&invoice),
        id(&price)
    );
    let item = client.ok(post("/v1/invoiceitems", form));
    client.ok(post(format!("/v1/invoiceitems/{}", id(&item)), "quantity=3"));
    let changed = client.ok(get(path));
    let line = &changed["lines"]["data"][1];
    assert_eq!((&changed["total"], &line["quantity"]), (&json!(1900), &json!(3)));
}

#[test]
fn a_refused_payment_leaves_a_draft() {
    let (_simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    let (_, path) = draft(&mut client, &customer, 1000);
    let refused = client.call(post(format!("{path}/pay"), "payment_method=pm_zebra"));
    assert_eq!(refused.error().3, "payment_method");
    assert_eq!(client.ok(get(path))["status"], "draft");
}

#[test]
fn a_voided_invoice_gives_credit_back() {
    let (_simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    let path = format!("/v1/customers/{customer}");
    client.ok(post(path.clone(), "balance=-400"));
    let (invoice, of_invoice) = open(&mut client, &customer, 1000);
    assert_eq!(invoice["amount_due"], 600);
    assert_eq!(client.ok(get(path.clone()))["balance"], 0);
    client.ok(post(format!("{of_invoice}/void"), ""));
    assert_eq!(client.ok(get(path))["balance"], -400);
}

#[test]
fn lines_come_from_items_that_wait_and_go_back_to_them() {
    let (_simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    let (_, path) = draft(&mut client, &customer, 1000);
    let item = client.ok(post(
        "/v1/invoiceitems",
        format!("customer={customer}&amount=70&currency=usd"),
    ));
    let add = format!("lines[0][invoice_item]={}", id(&item));
    let added = client.ok(post(format!("{path}/add_lines"), add.clone()));
    assert_eq!(
        (&added["total"], &added["lines"]["data"][1]["amount"]),
        (&json!(1070), &json!(70))
    );
    assert_eq!(client.ok(get("/v1/invoiceitems?pending=true"))["data"], json!([]));
    assert_eq!(
        client.call(post(format!("{path}/add_lines"), add)).error().3,
        "lines[0][invoice_item]"
    );
    let line = id(&added["lines"]["data"][1]);
    let (_, other) = draft(&mut client, &customer, 5);
    for verb in ["remove_lines", "update_lines"] {
        for unknown in [line, "il_zebra"] {
            let form = format!("lines[0][id]={unknown}&lines[0][behavior]=delete");
            let form = if verb == "update_lines" {
                form.replace("[behavior]=delete", "[amount]=1")
            } else {
                form
            };
            let refused = client.call(post(format!("{other}/{verb}"), form));
            assert_eq!(refused.error().3, "lines[0][id]", "{verb}: {}", refused.body);
        }
    }
    let form = format!("lines[0][id]={line}&lines[0][behavior]=unassign");
    assert_eq!(client.ok(post(format!("{path}/remove_lines"), form))["total"], 1000);
    let pending = client.ok(get("/v1/invoiceitems?pending=true"));
    assert_eq!(id(&pending["data"][0]), id(&item));
}

#[test]
fn tiers_may_cost_fractions() {
    let (_simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    let tiers = "tiers[0][up_to]=100&tiers[0][unit_amount_decimal]=0.5&tiers[1][up_to]=inf&\
                 tiers[1][unit_amount_decimal]=0.25&tiers[1][flat_amount_decimal]=10.4";
    for (mode, expected) in [("graduated", 85), ("volume", 60)] {
        let form = format!(
            "currency=usd&product_data[name]=Call&billing_scheme=tiered&tiers_mode={mode}&recurring[interval]=month&{tiers}"
        );
        let price = client.ok(post("/v1/prices", form));
        let form = format!(
            "customer={customer}&items[0][price]={}&items[0][quantity]=200",
            id(&price)
        );
        let made = client.ok(post("/v1/subscriptions?expand[]=latest_invoice", form));
        assert_eq!(made["latest_invoice"]["total"], expected, "{mode}");
    }
}

#[test]
fn nothing_is_named_twice() {
    let (_simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    let (drafted, path) = draft(&mut client, &customer, 1000);
    let item = client.ok(post(
        "/v1/invoiceitems",
        format!("customer={customer}&amount=70&currency=usd"),
    ));
    let (item, line) = (id(&item), id(&drafted["lines"]["data"][0]));
    for (verb, form, param) in [
        (
            "add_lines",
            format!("lines[0][invoice_item]={item}&lines[1][invoice_item]={item}"),
            "lines[1][invoice_item]",
        ),
        (
            "update_lines",
            format!("lines[0][id]={line}&lines[0][amount]=1&lines[1][id]={line}"),
            "lines[1][id]",
        ),
        (
            "remove_lines",
            format!("lines[0][id]={line}&lines[0][behavior]=unassign&lines[1][id]={line}&lines[1][behavior]=unassign"),
            "lines[1][id]",
        ),
    ] {
        let refused = client.call(post(format!("{path}/{verb}"), form));
        assert_eq!((refused.status, refused.error().3), (400, param), "{}", refused.body);
    }
    assert_eq!(client.ok(get(path))["total"], 1000);
    let pending = client.ok(get("/v1/invoiceitems?pending=true"));
    assert_eq!(pending["data"].as_array().unwrap().len(), 1);
}

/// Of several lines all are changed, or none.
#[test]
fn one_wrong_line_leaves_all_as_they_were() {
    let (simulator, mut client) = simulator();
    let customer = customer(&mut client, "pm_card_visa");
    let (_, path) = draft(&mut client, &customer, 1000);
    let form = format!("customer={customer}&invoice={}&amount=200&currency=usd", &path[13..]);
    let item = id(&client.ok(post("/v1/invoiceitems", form))).to_owned();
    let drafted = client.ok(get(path.clone()));
    let [first, second] = [0, 1].map(|n| id(&drafted["lines"]["data"][n]).to_owned());
    let once = client.ok(post("/v1/coupons", "percent_off=50&max_redemptions=1"));
    let form = format!(
        "promotion[type]=coupon&promotion[coupon]={}",
        id(&client.ok(post("/v1/coupons", "percent_off=50")))
    );
    let code = client.ok(post("/v1/promotion_codes", format!("{form}&max_redemptions=1")));
    let coupon = format!("[discounts][0][coupon]={}", id(&once));
    let code = format!("[discounts][0][promotion_code]={}", id(&code));
    let price = "[price_data][currency]=usd&lines[0][price_data][unit_amount]=5&\
                 lines[0][price_data][product_data][name]=Mug";
    for (one, other) in [
        (&*coupon, &*coupon),
        (&*code, &*code),
        (&*coupon, "[discounts][0][coupon]=zebra"),
        (&*coupon, "[pricing][price]=price_zebra"),
        (price, "[discounts][0][coupon]=zebra"),
        (price, "[pricing][price]=price_zebra"),
    ] {
        let totals = ["event", "discount", "price", "product", "line_item"].map(|kind| simulator.count(kind));
        for (verb, named) in [
            ("add_lines", ["".to_owned(), "".to_owned()]),
            (
                "update_lines",
                [format!("lines[0][id]={first}&"), format!("lines[1][id]={second}&")],
            ),
        ] {
            let form = format!("{}lines[0]{one}&{}lines[1]{other}", named[0], named[1]);
            let refused = client.call(post(format!("{path}/{verb}"), form.clone()));
            assert_eq!(refused.status, 400, "{verb} {form}: {}", refused.body);
            let now = ["event", "discount", "price", "product", "line_item"].map(|kind| simulator.count(kind));
            assert_eq!(now, totals, "{verb} {form}");
        }
    }
    // A price that comes along does not stay without its line.
    let counts = || ["price", "product"].map(|kind| simulator.count(kind));
    let (before, form) = (counts(), format!("lines[0]{price}&lines[1][invoice_item]={item}"));
    assert_eq!(client.call(post(format!("{path}/add_lines"), form)).status, 400);
    assert_eq!(counts(), before);
    assert_eq!(client.ok(get(path.clone()))["lines"], drafted["lines"]);
    let form = format!("lines[0][amount]=10&lines[0]{coupon}&lines[1][amount]=10&lines[1]{code}");
    assert_eq!(client.ok(post(format!("{path}/add_lines"), form))["total"], 1210);
}
