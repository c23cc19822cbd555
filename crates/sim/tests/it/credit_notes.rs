//! What a credit note takes off an invoice, how it is given back, and what comes of it when it is voided.

use serde_json::{Value, json};

use crate::client::{Client, get, post, simulator};

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}"))
}

/// An open invoice of 1000 in two lines, and its customer.
fn invoice(client: &mut Client) -> (Value, String) {
    let form = "payment_method=pm_card_visa&invoice_settings[default_payment_method]=pm_card_visa";
    let customer = id(&client.ok(post("/v1/customers", form))).to_owned();
    let invoice = client.ok(post("/v1/invoices", format!("customer={customer}")));
    for amount in [600, 400] {
        let form = format!(
            "customer={customer}&amount={amount}&currency=usd&invoice={}",
            id(&invoice)
        );
        client.ok(post("/v1/invoiceitems", form));
    }
    let path = format!("/v1/invoices/{}/finalize", id(&invoice));
    (client.ok(post(path, "")), customer)
}

#[test]
fn a_paid_amount_is_given_back_as_it_is_said() {
    let (simulator, mut client) = simulator();
    let (invoice, customer) = invoice(&mut client);
    client.ok(post(format!("/v1/invoices/{}/pay", id(&invoice)), ""));
    let before = client.ok(get("/v1/balance"))["available"][0]["amount"]
        .as_i64()
        .unwrap();
    let form = format!("invoice={}&amount=1000&refund_amount=300", id(&invoice));
    assert_eq!(client.call(post("/v1/credit_notes", form.clone())).status, 400);
    let note = client.ok(post(
        "/v1/credit_notes",
        format!("{form}&credit_amount=600&out_of_band_amount=100"),
    ));
    assert_eq!(client.ok(get(format!("/v1/customers/{customer}")))["balance"], -600);
    let after = client.ok(get("/v1/balance"))["available"][0]["amount"]
        .as_i64()
        .unwrap();
    assert_eq!(before - after, 300);
    let refund = note["refunds"][0]["refund"].as_str().unwrap();
    assert_eq!(client.ok(get(format!("/v1/refunds/{refund}")))["amount"], 300);
    assert_eq!(simulator.objects("charge")[0]["amount_refunded"], 300);
    let void = client.call(post(format!("/v1/credit_notes/{}/void", id(&note)), ""));
    assert_eq!(void.status, 400, "its invoice is paid");
}

#[test]
fn no_more_is_refunded_than_was_charged() {
    let (simulator, mut client) = simulator();
    let (invoice, _) = invoice(&mut client);
    let form = format!("invoice={}&amount=300&refund_amount=300", id(&invoice));
    assert_eq!(
        client.call(post("/v1/credit_notes", form.clone())).status,
        400,
        "nothing was paid"
    );
    client.ok(post(
        format!("/v1/invoices/{}/pay", id(&invoice)),
        "paid_out_of_band=true",
    ));
    assert_eq!(client.call(post("/v1/credit_notes", form)).error().3, "refund_amount");
    assert_eq!((simulator.count("refund"), simulator.count("credit_note")), (0, 0));
}

#[test]
fn lines_say_how_much() {
    let (_simulator, mut client) = simulator();
    let (invoice, _) = invoice(&mut client);
    let line = id(&invoice["lines"]["data"][1]);
    let form = format!(
        "invoice={}&lines[0][type]=invoice_line_item&lines[0][invoice_line_item]={line}&lines[0][amount]=150&\
         lines[1][type]=custom_line_item&lines[1][description]=x&lines[1][unit_amount]=25&lines[1][quantity]=2",
        id(&invoice)
    );
    assert_eq!(
        client
            .call(post("/v1/credit_notes", format!("{form}&amount=7")))
            .error()
            .3,
        "amount"
    );
    let much = form.replace("=150", "=401");
    assert_eq!(
        client.call(post("/v1/credit_notes", much)).error().3,
        "lines[0][amount]"
    );
    let unknown = form.replace(line, "il_zebra");
    assert_eq!(
        client.call(post("/v1/credit_notes", unknown)).error().3,
        "lines[0][invoice_line_item]"
    );
    let note = client.ok(post("/v1/credit_notes", form));
    assert_eq!(note["amount"], 200);
    let lines = client.ok(get(format!("/v1/credit_notes/{}/lines", id(&note))));
    assert_eq!(lines["data"], note["lines"]["data"]);
    assert_eq!(
        (
            &lines["data"][0]["amount"],
            &lines["data"][0]["invoice_line_item"],
            &lines["data"][1]["amount"]
        ),
        (&json!(150), &json!(line), &json!(50))
    );
}

#[test]
fn a_voided_note_is_due_again() {
    let (_simulator, mut client) = simulator();
    let (invoice, _) = invoice(&mut client);
    let path = format!("/v1/invoices/{}", id(&invoice));
    let note = client.ok(post("/v1/credit_notes", format!("invoice={}&amount=300", id(&invoice))));
    assert_eq!(client.ok(get(path.clone()))["amount_remaining"], 700);
    let void = format!("/v1/credit_notes/{}/void", id(&note));
    assert_eq!(client.ok(post(void.clone(), ""))["status"], "void");
    let due = client.ok(get(path.clone()));
    assert_eq!(
        (&due["amount_remaining"], &due["pre_payment_credit_notes_amount"]),
        (&json!(1000), &json!(0))
    );
    assert_eq!(client.call(post(void, "")).status, 400);
    assert_eq!(client.ok(post(format!("{path}/pay"), ""))["amount_paid"], 1000);
}

/// A line is credited in full, and its discounts come off.
#[test]
fn discounts_come_off_the_lines() {
    let (_simulator, mut client) = simulator();
    let [tenth, half] = ["percent_off=10", "percent_off=50"].map(|form| client.ok(post("/v1/coupons", form)));
    let customer = client.ok(post("/v1/customers", "email=a%40example.com"));
    for (own, parts) in [
        // Of the invoice: amount, discount, what is left; subtotal.
        (
            None,
            [("", 1000, 100, 900, 1000), ("&lines[0][amount]=505", 505, 51, 454, 505)],
        ),
        // Of the line as well: 500, and a tenth of the rest.
        (
            Some(&half),
            [("", 1000, 550, 450, 500), ("&lines[0][quantity]=1", 250, 138, 112, 125)],
        ),
    ] {
        for (part, gross, off, net, subtotal) in parts {
            let form = format!("customer={}&discounts[0][coupon]={}", id(&customer), id(&tenth));
            let invoice = client.ok(post("/v1/invoices", form));
            let own = own.map_or(String::new(), |own| format!("&discounts[0][coupon]={}", id(own)));
            let form = format!(
                "customer={}&invoice={}&currency=usd&amount=1000&quantity=4{own}",
                id(&customer),
                id(&invoice)
            );
            client.ok(post("/v1/invoiceitems", form));
            let opened = client.ok(post(format!("/v1/invoices/{}/finalize", id(&invoice)), ""));
            let form = format!(
                "invoice={}&lines[0][type]=invoice_line_item&lines[0][invoice_line_item]={}{part}",
                id(&invoice),
                id(&opened["lines"]["data"][0])
            );
            let note = client.ok(post("/v1/credit_notes", form));
            let amounts = ["amount", "total", "subtotal", "discount_amount"].map(|name| note[name].as_i64().unwrap());
            assert_eq!(amounts, [net, net, subtotal, off], "{part}");
            let line = &note["lines"]["data"][0];
            assert_eq!(
                (&line["amount"], &line["discount_amount"]),
                (&json!(gross), &json!(off))
            );
            assert_eq!(note["discount_amounts"], line["discount_amounts"]);
            let left = client.ok(get(format!("/v1/invoices/{}", id(&invoice))));
            let due = opened["amount_due"].as_i64().unwrap();
            assert_eq!(left["amount_remaining"], due - net);
        }
    }
}
