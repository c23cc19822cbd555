//! What a refusal leaves behind, which is nothing, and what is refused because it comes too late or is not there.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{Client, get, post, simulator};

fn id(value: &Value) -> &str {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}"))
}

fn v2(client: &mut Client, path: &str, body: &Value) -> crate::client::Answer {
    client.call(post(path, body.to_string()).header("Content-Type", "application/json"))
}

#[test]
fn a_search_into_what_has_no_parts_finds_nothing() {
    let (_simulator, mut client) = simulator();
    client.ok(post("/v1/customers", "name=Ada&preferred_locales[0]=en"));
    for field in [
        "created.x",
        "name.x",
        "preferred_locales.x",
        "address.city.x",
        "balance.0",
    ] {
        let found = client.ok(get(format!("/v1/customers/search?query={field}:%271%27")));
        assert_eq!(found["data"], json!([]), "{field}");
    }
}

#[test]
fn a_refused_charge_moves_no_money() {
    let (simulator, mut client) = simulator();
    let form = "amount=500&currency=usd&source=tok_visa";
    let many: String = (0..51).map(|n| format!("&metadata[k{n}]=x")).collect();
    for wrong in ["&application_fee_amount=99999999999999999999", &many] {
        let refused = client.call(post("/v1/charges", format!("{form}{wrong}")));
        assert_eq!(refused.status, 400, "{}", refused.body);
    }
    let settings = "invoice_settings[default_payment_method]=pm_card_visa";
    assert_eq!(client.call(post("/v1/customers", settings)).status, 400);
    let left = ["charge", "balance_transaction", "payment_method", "event"].map(|kind| simulator.count(kind));
    assert_eq!(left, [0; 4]);
    let charge = client.ok(post("/v1/charges", format!("{form}&application_fee_amount=5")));
    assert_eq!(charge["application_fee_amount"], 5);
}

#[test]
fn a_refused_customer_takes_no_card() {
    let (simulator, mut client) = simulator();
    let card = client.ok(post("/v1/payment_methods", "type=card&card[token]=tok_visa"));
    let events = simulator.count("event");
    let form = format!("source=tok_visa&payment_method={}", id(&card));
    let other = format!("{form}&invoice_settings[default_payment_method]=pm_1");
    let refused = client.call(post("/v1/customers", other));
    assert_eq!(refused.status, 400, "{}", refused.body);
    let after = client.ok(get(format!("/v1/payment_methods/{}", id(&card))));
    assert_eq!((&after["customer"], simulator.count("card")), (&json!(null), 0));
    assert_eq!(simulator.count("event"), events);
    let customer = client.ok(post("/v1/customers", form));
    let after = client.ok(get(format!("/v1/payment_methods/{}", id(&card))));
    assert_eq!(after["customer"], customer["id"]);
}

#[test]
fn keys_of_version_two_are_kept_for_thirty_days() {
    let (simulator, mut client) = simulator();
    let call = post("/v2/core/event_destinations", {
        let kinds = json!(["v1.billing.meter.no_meter_found"]);
        json!({"name": "a", "type": "webhook_endpoint", "event_payload": "thin", "enabled_events": kinds,
               "webhook_endpoint": {"url": "https://example.com/"}})
        .to_string()
    });
    let call = call.header("Content-Type", "application/json").key("k");
    let made = client.ok(call.clone());
    simulator.advance(Duration::from_secs(29 * 86_400));
    assert_eq!(client.ok(call.clone())["id"], made["id"]);
    simulator.advance(Duration::from_secs(86_400));
    assert_ne!(client.ok(call)["id"], made["id"]);
}

#[test]
fn removed_metadata_makes_room() {
    let (_simulator, mut client) = simulator();
    let fifty: Vec<String> = (0..50).map(|n| format!("metadata[k{n}]=x")).collect();
    let customer = client.ok(post("/v1/customers", fifty.join("&")));
    let path = format!("/v1/customers/{}", id(&customer));
    let change = "metadata[n1]=1&metadata[n2]=2&metadata[k1]=&metadata[k2]=";
    let changed = client.ok(post(path.clone(), change));
    let metadata = changed["metadata"].as_object().unwrap();
    assert_eq!(
        (metadata.len(), &metadata["n1"], &metadata["n2"]),
        (50, &json!("1"), &json!("2"))
    );
    let refused = client.call(post(path.clone(), "metadata[n3]=3&metadata[n4]=4&metadata[k3]="));
    assert_eq!(refused.error(), (400, "invalid_request_error", "", "metadata"));
    assert_eq!(client.ok(get(path))["metadata"], changed["metadata"]);
}

#[test]
fn a_paid_payout_stays_paid() {
    let (_simulator, mut client) = simulator();
    client.ok(post("/v1/topups", "amount=1000&currency=usd"));
    let payout = client.ok(post("/v1/payouts", "amount=400&currency=usd"));
    for verb in ["cancel", "reverse"] {
        let refused = client.call(post(format!("/v1/payouts/{}/{verb}", id(&payout)), ""));
        assert_eq!(refused.status, 400, "{}", refused.body);
    }
    let events = client.ok(get("/v1/events?type=payout.canceled"));
    assert_eq!(events["data"], json!([]));
}

#[test]
fn a_transfer_without_an_amount_takes_what_there_is_in_its_currency() {
    let (_simulator, mut client) = simulator();
    client.ok(post("/v1/topups", "amount=1000&currency=usd"));
    client.ok(post("/v1/topups", "amount=70&currency=eur"));
    let form = "currency=eur&destination=acct_1";
    assert_eq!(client.ok(post("/v1/transfers", form))["amount"], 70);
    let refused = client.call(post("/v1/transfers", form));
    assert_eq!(refused.error().2, "balance_insufficient");
}

#[test]
fn a_confirmed_intent_keeps_its_amount() {
    let (_simulator, mut client) = simulator();
    let form = "amount=500&currency=usd&payment_method=pm_card_visa&confirm=true";
    for more in ["", "&capture_method=manual"] {
        let intent = client.ok(post("/v1/payment_intents", format!("{form}{more}")));
        let path = format!("/v1/payment_intents/{}", id(&intent));
        for change in ["amount=900", "currency=eur", "payment_method=pm_card_mastercard"] {
            let refused = client.call(post(path.clone(), change));
            assert_eq!(
                (refused.status, refused.error().2),
                (400, "payment_intent_unexpected_state"),
                "{change}: {}",
                refused.body
            );
        }
        let noted = client.ok(post(path, "metadata[a]=b&description=x"));
        assert_eq!((&noted["amount"], &noted["currency"]), (&json!(500), &json!("usd")));
    }
    let open = client.ok(post("/v1/payment_intents", "amount=500&currency=usd"));
    let path = format!("/v1/payment_intents/{}", id(&open));
    assert_eq!(client.ok(post(path, "amount=900"))["amount"], 900);
}

#[test]
fn a_context_names_an_account() {
    let (_simulator, mut client) = simulator();
    let made = client.ok(post("/v1/products", "name=Mug").header("Stripe-Context", "acct_1/acct_2"));
    let path = format!("/v1/products/{}", id(&made));
    assert_eq!(client.call(get(path.clone())).status, 404);
    assert_eq!(
        client.ok(get(path.clone()).header("Stripe-Account", "acct_2"))["name"],
        "Mug"
    );
    let both = get(path.clone()).header("Stripe-Context", "acct_2");
    assert_eq!(client.call(both.header("Stripe-Account", "acct_1")).status, 400);
    let unknown = client.call(get(path).header("Stripe-Context", "zebra"));
    assert_eq!(unknown.error().2, "account_invalid");
}

#[test]
fn a_closed_account_is_closed() {
    let (_simulator, mut client) = simulator();
    let account = v2(&mut client, "/v2/core/accounts", &json!({"display_name": "Ada"})).body;
    let path = format!("/v2/core/accounts/{}", id(&account));
    assert_ne!(account["closed"], true);
    let closed = v2(&mut client, &format!("{path}/close"), &json!({}));
    assert_eq!(
        (closed.status, &closed.body["closed"]),
        (200, &json!(true)),
        "{}",
        closed.body
    );
    assert_eq!(client.ok(get(path))["closed"], true);
}

#[test]
fn prices_are_not_negative() {
    let (_simulator, mut client) = simulator();
    let form = "currency=usd&product_data[name]=Mug&unit_amount_decimal=";
    let refused = client.call(post("/v1/prices", format!("{form}-12.5")));
    assert_eq!(refused.error().3, "unit_amount_decimal");
    client.ok(post("/v1/prices", format!("{form}12.5")));
}

#[test]
fn a_file_may_have_semicolons_in_its_name() {
    let (_simulator, mut client) = simulator();
    let body = "--B\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\ndispute_evidence\r\n--B\r\n\
                Content-Disposition: form-data; name=\"file\"; filename=\"a; name=b.png\"\r\n\r\nx\r\n--B--\r\n";
    let call = post("/v1/files", body).header("Content-Type", "multipart/form-data; boundary=B");
    assert_eq!(client.ok(call)["filename"], "a; name=b.png");
}
