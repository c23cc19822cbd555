//! Money that comes back, and money that is taken back.

use serde_json::{Value, json};

use crate::client::{Client, get, post, simulator};

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

fn balance(client: &mut Client) -> i64 {
    client.ok(get("/v1/balance"))["available"][0]["amount"]
        .as_i64()
        .unwrap()
}

fn kinds(client: &mut Client) -> Vec<String> {
    let events = client.ok(get("/v1/events?limit=100"));
    let kinds = events["data"].as_array().unwrap().iter();
    kinds.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_transfer_is_reversed_up_to_its_amount() {
    let (_simulator, mut client) = simulator();
    let topup = client.ok(post("/v1/topups", "amount=1000&currency=usd"));
    let late = client.call(post(format!("/v1/topups/{}/cancel", id(&topup)), ""));
    assert_eq!((late.status, late.error().1), (400, "invalid_request_error"));
    let transfer = client.ok(post("/v1/transfers", "amount=900&currency=usd&destination=acct_1"));
    let path = format!("/v1/transfers/{}", id(&transfer));
    let reversals = format!("{path}/reversals");
    assert_eq!(balance(&mut client), 100);
    let first = client.ok(post(reversals.clone(), "amount=300"));
    assert_eq!(first["transfer"], transfer["id"]);
    assert_eq!(balance(&mut client), 400);
    let too_much = client.call(post(reversals.clone(), "amount=601"));
    assert_eq!(too_much.error(), (400, "invalid_request_error", "", "amount"));
    let half = client.ok(get(path.clone()));
    assert_eq!(
        (&half["amount_reversed"], &half["reversed"]),
        (&json!(300), &json!(false))
    );
    let rest = client.ok(post(reversals.clone(), ""));
    assert_eq!(rest["amount"], 600);
    let whole = client.ok(get(path));
    assert_eq!(
        (&whole["amount_reversed"], &whole["reversed"]),
        (&json!(900), &json!(true))
    );
    assert_eq!(whole["reversals"]["data"][0]["id"], rest["id"]);
    assert_eq!(client.call(post(reversals.clone(), "")).status, 400);
    assert_eq!(client.ok(get(reversals))["data"].as_array().unwrap().len(), 2);
    assert_eq!(balance(&mut client), 1000);
}

/// A disputed payment of 10.00: the intent's charge, and the dispute.
fn disputed(client: &mut Client) -> (String, String) {
    let form = "amount=1000&currency=usd&confirm=true&payment_method=pm_card_createDispute";
    let intent = client.ok(post("/v1/payment_intents", form));
    let charge = intent["latest_charge"].as_str().unwrap().to_owned();
    let disputes = client.ok(get(format!("/v1/disputes?charge={charge}")));
    (charge, id(&disputes["data"][0]))
}

#[test]
fn a_dispute_takes_the_money_until_it_is_won() {
    let (_simulator, mut client) = simulator();
    let (charge, dispute) = disputed(&mut client);
    // Paid 1000 less 59, taken 1000 and 1500.
    assert_eq!(balance(&mut client), 941 - 2500);
    assert_eq!(client.ok(get(format!("/v1/charges/{charge}")))["disputed"], true);
    let refund = client.call(post("/v1/refunds", format!("charge={charge}")));
    assert_eq!(refund.error(), (400, "invalid_request_error", "charge_disputed", ""));
    let path = format!("/v1/disputes/{dispute}");
    let draft = client.ok(post(path.clone(), "evidence[product_description]=Mug&submit=false"));
    assert_eq!(draft["status"], "needs_response");
    let won = client.ok(post(
        path.clone(),
        "evidence[uncategorized_text]=winning_evidence&submit=true",
    ));
    assert_eq!(
        (&won["status"], &won["evidence"]["product_description"]),
        (&json!("won"), &json!("Mug"))
    );
    let moved: Vec<_> = won["balance_transactions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["net"])
        .collect();
    assert_eq!(moved, [&json!(-2500), &json!(1000)]);
    assert_eq!(balance(&mut client), 941 - 1500);
    for call in [
        post(path.clone(), "evidence[product_description]=Cup"),
        post(format!("{path}/close"), ""),
    ] {
        assert_eq!(client.call(call).message(), "This dispute is already closed.");
    }
    assert_eq!(client.ok(post(path, "metadata[a]=b"))["metadata"]["a"], "b");
    let kinds = kinds(&mut client);
    for kind in ["created", "funds_withdrawn", "funds_reinstated", "closed"] {
        assert!(kinds.contains(&format!("charge.dispute.{kind}")), "{kind}: {kinds:?}");
    }
}

#[test]
fn a_dispute_that_is_accepted_is_lost() {
    let (_simulator, mut client) = simulator();
    let (_, dispute) = disputed(&mut client);
    let closed = client.ok(post(format!("/v1/disputes/{dispute}/close"), ""));
    assert_eq!(closed["status"], "lost");
    assert_eq!(balance(&mut client), 941 - 2500);
}

#[test]
fn what_is_held_grows_and_is_given_back() {
    let (_simulator, mut client) = simulator();
    let form = "amount=1000&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method=manual";
    let held = client.ok(post("/v1/payment_intents", form));
    let path = format!("/v1/payment_intents/{}", id(&held));
    let less = client.call(post(format!("{path}/increment_authorization"), "amount=1000"));
    assert_eq!(less.error().3, "amount");
    let more = client.ok(post(format!("{path}/increment_authorization"), "amount=1500"));
    assert_eq!(
        (&more["amount"], &more["amount_capturable"]),
        (&json!(1500), &json!(1500))
    );
    client.ok(post(format!("{path}/cancel"), ""));
    let charge = client.ok(get(format!("/v1/charges/{}", held["latest_charge"].as_str().unwrap())));
    assert_eq!(
        (
            &charge["amount"],
            &charge["amount_refunded"],
            &charge["refunded"],
            &charge["captured"]
        ),
        (&json!(1500), &json!(1500), &json!(true), &json!(false))
    );
    assert_eq!(balance(&mut client), 0);
    let late = client.call(post(format!("{path}/increment_authorization"), "amount=2000"));
    assert_eq!(late.error().2, "payment_intent_unexpected_state");
}
