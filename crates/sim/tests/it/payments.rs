//! Payment intents, with cards that work and cards that do not.

use serde_json::json;

use crate::client::{get, post, simulator};

#[test]
fn paid_at_once_or_step_by_step() {
    let (_simulator, mut client) = simulator();
    let paid = client.ok(post(
        "/v1/payment_intents",
        "amount=500&currency=usd&confirm=true&payment_method=pm_card_visa",
    ));
    assert_eq!(
        (&paid["status"], &paid["amount_received"]),
        (&json!("succeeded"), &json!(500))
    );
    let id = paid["id"].as_str().unwrap();
    assert!(
        paid["client_secret"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{id}_secret_"))
    );

    let intent = client.ok(post(
        "/v1/payment_intents",
        "amount=700&currency=usd&capture_method=manual",
    ));
    assert_eq!(intent["status"], "requires_payment_method");
    let path = format!("/v1/payment_intents/{}", intent["id"].as_str().unwrap());
    let without_card = client.call(post(format!("{path}/confirm"), ""));
    assert_eq!(without_card.error().2, "payment_intent_unexpected_state");
    let authorized = client.ok(post(format!("{path}/confirm"), "payment_method=pm_card_visa"));
    assert_eq!(
        (&authorized["status"], &authorized["amount_capturable"]),
        (&json!("requires_capture"), &json!(700))
    );
    assert_eq!(
        client
            .call(post(format!("{path}/capture"), "amount_to_capture=701"))
            .status,
        400
    );
    let captured = client.ok(post(format!("{path}/capture"), "amount_to_capture=600"));
    assert_eq!(
        (&captured["status"], &captured["amount_received"]),
        (&json!("succeeded"), &json!(600))
    );
    let late = client.call(post(format!("{path}/cancel"), ""));
    assert_eq!(
        late.error(),
        (400, "invalid_request_error", "payment_intent_unexpected_state", "")
    );

    let intent = client.call(post("/v1/payment_intents", "amount=100&currency=usd"));
    let canceled = client.ok(post(
        format!("/v1/payment_intents/{}/cancel", intent.id()),
        "cancellation_reason=abandoned",
    ));
    assert_eq!(
        (&canceled["status"], &canceled["cancellation_reason"]),
        (&json!("canceled"), &json!("abandoned"))
    );
}

#[test]
fn declined_cards_leave_an_intent_behind() {
    let (simulator, mut client) = simulator();
    for (card, code, decline_code) in [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        (
            "pm_card_visa_chargeDeclinedInsufficientFunds",
            "card_declined",
            "insufficient_funds",
        ),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
    ] {
        let form = format!("amount=500&currency=usd&confirm=true&payment_method={card}");
        let answer = client.call(post("/v1/payment_intents", form));
        let param = if code == "expired_card" { "exp_month" } else { "" };
        assert_eq!(answer.error(), (402, "card_error", code, param));
        let error = &answer.body["error"];
        assert_eq!(error["decline_code"], decline_code);
        let id = error["payment_intent"]["id"].as_str().unwrap();
        let intent = client.ok(get(format!("/v1/payment_intents/{id}")));
        assert_eq!(intent["status"], "requires_payment_method");
        assert_eq!(intent["last_payment_error"]["code"], code);
        let retried = client.ok(post(
            format!("/v1/payment_intents/{id}/confirm"),
            "payment_method=pm_card_visa",
        ));
        assert_eq!(
            (&retried["status"], &retried["last_payment_error"]),
            (&json!("succeeded"), &json!(null))
        );
    }
    assert_eq!(simulator.count("payment_intent"), 4);
}

#[test]
fn amounts_and_references_are_checked() {
    let (_simulator, mut client) = simulator();
    for (form, code, param) in [
        ("currency=usd", "parameter_missing", "amount"),
        ("amount=0&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=1.5&currency=usd", "parameter_invalid_integer", "amount"),
        ("amount=49&currency=usd", "amount_too_small", "amount"),
        ("amount=29&currency=GBP", "amount_too_small", "amount"),
        ("amount=500&currency=zzz", "", "currency"),
        ("amount=100000000&currency=usd", "amount_too_large", "amount"),
        ("amount=100&currency=usd&customer=cus_0", "resource_missing", "customer"),
        (
            "amount=100&currency=usd&payment_method=card",
            "resource_missing",
            "payment_method",
        ),
    ] {
        let answer = client.call(post("/v1/payment_intents", form));
        assert_eq!(
            answer.error(),
            (400, "invalid_request_error", code, param),
            "{form}: {}",
            answer.body
        );
    }
}
