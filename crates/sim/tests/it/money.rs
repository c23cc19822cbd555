//! From the customer's card to the account's balance, and back.

use serde_json::json;

use crate::client::{Client, get, post, simulator};

fn balance(client: &mut Client) -> i64 {
    client.ok(get("/v1/balance"))["available"][0]["amount"]
        .as_i64()
        .unwrap()
}

fn kinds(client: &mut Client) -> Vec<String> {
    let events = client.ok(get("/v1/events?limit=100"));
    let kinds = events["data"].as_array().unwrap().iter();
    kinds
        .map(|event| event["type"].as_str().unwrap().to_owned())
        .rev()
        .collect()
}

#[test]
fn a_payment_and_its_refunds_add_up() {
    let (_simulator, mut client) = simulator();
    let customer = client.call(post("/v1/customers", "name=Ada")).id().to_owned();
    let method = client.call(post(
        "/v1/payment_methods",
        "type=card&card[number]=4242424242424242&card[exp_month]=1&card[exp_year]=2031&card[cvc]=123",
    ));
    assert_eq!(
        (&method.body["card"]["last4"], &method.body["card"]["exp_year"]),
        (&json!("4242"), &json!(2031))
    );
    let attached = client.ok(post(
        format!("/v1/payment_methods/{}/attach", method.id()),
        format!("customer={customer}"),
    ));
    assert_eq!(attached["customer"], json!(customer));
    let listed = client.ok(get(format!("/v1/payment_methods?customer={customer}&type=card")));
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);

    let form = format!(
        "amount=10000&currency=usd&customer={customer}&payment_method={}&confirm=true",
        method.id()
    );
    let intent = client.ok(post(
        "/v1/payment_intents?expand[]=latest_charge.balance_transaction",
        form,
    ));
    let charge = &intent["latest_charge"];
    let transaction = &charge["balance_transaction"];
    assert_eq!(
        (&charge["paid"], &charge["amount_captured"]),
        (&json!(true), &json!(10000))
    );
    assert_eq!(charge["payment_method_details"]["card"]["brand"], "visa");
    // 2.9 % and 30 cents.
    assert_eq!((&transaction["fee"], &transaction["net"]), (&json!(320), &json!(9680)));
    assert_eq!(balance(&mut client), 9680);

    let id = charge["id"].as_str().unwrap();
    let refund = client.ok(post("/v1/refunds", format!("charge={id}&amount=4000")));
    assert_eq!(
        (&refund["status"], &refund["amount"]),
        (&json!("succeeded"), &json!(4000))
    );
    assert_eq!(balance(&mut client), 5680);
    let too_much = client.call(post("/v1/refunds", format!("charge={id}&amount=6001")));
    assert_eq!(too_much.error().3, "amount");
    assert_eq!(
        too_much.message(),
        "Refund amount ($60.01) is greater than unrefunded amount on charge ($60.00)"
    );
    client.ok(post(
        "/v1/refunds",
        format!("payment_intent={}", intent["id"].as_str().unwrap()),
    ));
    let again = client.call(post("/v1/refunds", format!("charge={id}")));
    assert_eq!(again.error().2, "charge_already_refunded");
    let charge = client.ok(get(format!("/v1/charges/{id}")));
    assert_eq!(
        (&charge["refunded"], &charge["amount_refunded"]),
        (&json!(true), &json!(10000))
    );
    assert_eq!(balance(&mut client), -320);

    let transactions = client.ok(get("/v1/balance_transactions?limit=100"));
    let nets = transactions["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["net"].as_i64().unwrap());
    assert_eq!(nets.sum::<i64>(), -320);
    let of_charge = client.ok(get(format!("/v1/balance_transactions?source={id}")));
    assert_eq!(of_charge["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        kinds(&mut client),
        [
            "customer.created",
            "payment_method.attached",
            "charge.succeeded",
            "payment_intent.created",
            "payment_intent.succeeded",
            "charge.refunded",
            "refund.created",
            "charge.refunded",
            "refund.created",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn test_cards_are_declined_as_they_say() {
    let (_simulator, mut client) = simulator();
    for (number, code, decline_code) in [
        ("4000000000000002", "card_declined", "generic_decline"),
        ("4000000000009995", "card_declined", "insufficient_funds"),
        ("4000000000009987", "card_declined", "lost_card"),
        ("4000000000009979", "card_declined", "stolen_card"),
        ("4100000000000019", "card_declined", "fraudulent"),
        ("4000000000000069", "expired_card", "expired_card"),
        ("4000000000000127", "incorrect_cvc", "incorrect_cvc"),
        ("4000000000000119", "processing_error", "processing_error"),
        ("4000000000000341", "card_declined", "generic_decline"),
    ] {
        let card = format!("type=card&card[number]={number}&card[exp_month]=1&card[exp_year]=2031");
        let method = client.call(post("/v1/payment_methods", card)).id().to_owned();
        let form = format!("amount=500&currency=usd&confirm=true&payment_method={method}");
        let answer = client.call(post("/v1/payment_intents", form));
        let param = match code {
            "expired_card" => "exp_month",
            "incorrect_cvc" => "cvc",
            _ => "",
        };
        assert_eq!(answer.error(), (402, "card_error", code, param), "{number}");
        let error = &answer.body["error"];
        assert_eq!(error["payment_method"]["id"], json!(method));
        assert_eq!(error["decline_code"], decline_code);
        assert_eq!(error["payment_intent"]["status"], "requires_payment_method");
        assert_eq!(error["payment_intent"]["last_payment_error"]["code"], code);
        let charge = client.ok(get(format!("/v1/charges/{}", error["charge"].as_str().unwrap())));
        assert_eq!((&charge["status"], &charge["paid"]), (&json!("failed"), &json!(false)));
        let blocked = decline_code == "fraudulent";
        let kind = if blocked { "blocked" } else { "issuer_declined" };
        assert_eq!(charge["outcome"]["type"], kind);
    }
    assert_eq!(balance(&mut client), 0);
    let wrong = client.call(post(
        "/v1/payment_methods",
        "type=card&card[number]=4242424242424241&card[exp_month]=1&card[exp_year]=2031",
    ));
    assert_eq!(wrong.error(), (402, "card_error", "incorrect_number", "number"));
    let charge = client.call(post("/v1/charges", "amount=500&currency=usd&source=tok_chargeDeclined"));
    assert_eq!(charge.error(), (402, "card_error", "card_declined", ""));
}

#[test]
fn a_customer_may_have_to_prove_who_they_are() {
    let (_simulator, mut client) = simulator();
    let form = "amount=500&currency=usd&confirm=true&payment_method=pm_card_threeDSecure2Required";
    let intent = client.ok(post("/v1/payment_intents", form));
    assert_eq!(
        (&intent["status"], &intent["next_action"]["type"]),
        (&json!("requires_action"), &json!("use_stripe_sdk"))
    );
    assert_eq!(intent["latest_charge"], json!(null));
    let confirm = format!("/v1/payment_intents/{}/confirm", intent["id"].as_str().unwrap());
    let done = client.ok(post(confirm.clone(), ""));
    assert_eq!(
        (&done["status"], &done["next_action"]),
        (&json!("succeeded"), &json!(null))
    );
    assert_eq!(
        client.call(post(confirm, "")).error().2,
        "payment_intent_unexpected_state"
    );
    let alone = client.call(post("/v1/payment_intents", format!("{form}&off_session=true")));
    assert_eq!(alone.error().2, "authentication_required");
}

#[test]
fn money_is_held_and_captured_in_part() {
    let (_simulator, mut client) = simulator();
    let form = "amount=1000&currency=eur&confirm=true&capture_method=manual&payment_method=pm_card_visa";
    let intent = client.ok(post("/v1/payment_intents", form));
    let path = format!("/v1/payment_intents/{}", intent["id"].as_str().unwrap());
    let charge = format!("/v1/charges/{}", intent["latest_charge"].as_str().unwrap());
    let held = client.ok(get(charge.clone()));
    assert_eq!(
        (&held["captured"], &held["balance_transaction"]),
        (&json!(false), &json!(null))
    );
    assert_eq!(client.call(post(format!("{charge}/capture"), "")).status, 400);
    client.ok(post(format!("{path}/capture"), "amount_to_capture=400"));
    let captured = client.ok(get(charge));
    assert_eq!(
        (&captured["amount_captured"], &captured["amount_refunded"]),
        (&json!(400), &json!(600))
    );
    let balance = client.ok(get("/v1/balance"));
    assert_eq!(
        balance["available"][0],
        json!({"amount": 358, "currency": "eur", "source_types": {"card": 358}})
    );
}

#[test]
fn cards_are_kept_for_later() {
    let (_simulator, mut client) = simulator();
    let customer = client.call(post("/v1/customers", "")).id().to_owned();
    let form = format!("customer={customer}&payment_method=pm_card_visa&confirm=true");
    let intent = client.ok(post("/v1/setup_intents", form));
    assert_eq!(intent["status"], "succeeded");
    let method = client.ok(get(format!(
        "/v1/payment_methods/{}",
        intent["payment_method"].as_str().unwrap()
    )));
    assert_eq!(method["customer"], json!(customer));
    let declined = client.call(post(
        "/v1/setup_intents",
        "payment_method=pm_card_chargeDeclined&confirm=true",
    ));
    assert_eq!(declined.error(), (402, "card_error", "card_declined", ""));
    assert_eq!(
        declined.body["error"]["setup_intent"]["status"],
        "requires_payment_method"
    );
    let path = format!("/v1/payment_methods/{}/detach", method["id"].as_str().unwrap());
    assert_eq!(client.ok(post(path.clone(), ""))["customer"], json!(null));
    assert_eq!(client.call(post(path, "")).status, 400);
    let refused = client.call(post(
        "/v1/payment_methods/pm_card_chargeDeclined/attach",
        format!("customer={customer}"),
    ));
    assert_eq!(refused.error().2, "card_declined");
}

#[test]
fn payouts_take_what_is_there_and_no_more() {
    let (_simulator, mut client) = simulator();
    let form = "amount=5000&currency=usd";
    assert_eq!(client.call(post("/v1/payouts", form)).error().2, "balance_insufficient");
    client.ok(post("/v1/topups", "amount=8000&currency=usd"));
    let payout = client.ok(post("/v1/payouts", form));
    assert_eq!(payout["status"], "paid");
    client.ok(post("/v1/transfers", "amount=1000&currency=usd&destination=acct_1"));
    assert_eq!(balance(&mut client), 2000);
}

#[test]
fn a_disputed_charge() {
    let (_simulator, mut client) = simulator();
    let intent = client.ok(post(
        "/v1/payment_intents",
        "amount=500&currency=usd&confirm=true&payment_method=pm_card_createDispute",
    ));
    let disputes = client.ok(get("/v1/disputes"));
    assert_eq!(disputes["data"][0]["charge"], intent["latest_charge"]);
    assert_eq!(disputes["data"][0]["status"], "needs_response");
    let close = format!("/v1/disputes/{}/close", disputes["data"][0]["id"].as_str().unwrap());
    assert_eq!(client.ok(post(close, ""))["status"], "lost");
}

#[test]
fn a_card_that_was_set_up_needs_no_customer() {
    let (_simulator, mut client) = simulator();
    let customer = client.call(post("/v1/customers", "")).id().to_owned();
    let method = client.call(post(
        "/v1/payment_methods/pm_card_authenticationRequiredOnSetup/attach",
        format!("customer={customer}"),
    ));
    let form = format!("customer={customer}&payment_method={}&confirm=true", method.id());
    let payment = format!("amount=500&currency=usd&{form}");
    let off_session = post("/v1/payment_intents", format!("{payment}&off_session=true"));
    assert_eq!(client.call(off_session.clone()).error().2, "authentication_required");
    let setup = client.call(post("/v1/setup_intents", form.clone()));
    assert_eq!(setup.body["status"], "requires_action");
    client.ok(post(format!("/v1/setup_intents/{}/confirm", setup.id()), ""));
    assert_eq!(client.ok(off_session)["status"], "succeeded");
    assert_eq!(
        client.ok(post("/v1/payment_intents", payment))["status"],
        "requires_action"
    );
    let invoice = client.call(post("/v1/invoices", format!("customer={customer}")));
    let item = format!("customer={customer}&invoice={}&amount=500&currency=usd", invoice.id());
    client.ok(post("/v1/invoiceitems", item));
    let pay = format!("/v1/invoices/{}/pay", invoice.id());
    assert_eq!(
        client.ok(post(pay, format!("payment_method={}", method.id())))["status"],
        "paid"
    );
}
