//! Whose payment methods are, and who may use them.

use serde_json::{Value, json};

use crate::client::{Client, get, post, simulator};

const USED_UP: &str = "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with a \
                       connected account without Customer attachment, or was detached from a Customer. It may not be used again. \
                       To use a PaymentMethod multiple times, you must attach it to a Customer first.";

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap().to_owned()
}

fn method(client: &mut Client) -> String {
    id(&client.ok(post("/v1/payment_methods", "type=card&card[token]=tok_visa")))
}

fn customer(client: &mut Client) -> String {
    id(&client.ok(post("/v1/customers", "name=Ada")))
}

fn attached(client: &mut Client, customer: &str) -> String {
    let method = method(client);
    client.ok(post(
        format!("/v1/payment_methods/{method}/attach"),
        format!("customer={customer}"),
    ));
    method
}

#[test]
fn a_customers_method_is_nobody_elses() {
    let (simulator, mut client) = simulator();
    let (ada, bob) = (customer(&mut client), customer(&mut client));
    let card = attached(&mut client, &ada);
    let wrong = format!(
        "The PaymentMethod {card} does not belong to the Customer you supplied {bob}. Please use this PaymentMethod \
                         with the Customer that it belongs to instead."
    );
    let nobodys = format!(
        "The `payment_method` parameter supplied {card} belongs to the Customer {ada}. Please include the Customer \
                           in the `customer` parameter on the"
    );
    for (path, form) in [("payment", "amount=500&currency=usd&"), ("setup", "")] {
        let path = format!("/v1/{path}_intents");
        for confirm in [true, false] {
            let form = format!("{form}confirm={confirm}&payment_method={card}");
            let other = client.call(post(path.clone(), format!("{form}&customer={bob}")));
            assert_eq!(other.error(), (400, "invalid_request_error", "", "payment_method"));
            assert_eq!(other.message(), wrong);
            let none = client.call(post(path.clone(), form.clone()));
            assert!(none.message().starts_with(&nobodys), "{}", none.message());
            client.ok(post(path.clone(), format!("{form}&customer={ada}")));
        }
        let open = client.ok(post(path.clone(), form.trim_end_matches('&').to_owned()));
        for verb in ["", "/confirm"] {
            let late = client.call(post(
                format!("{path}/{}{verb}", id(&open)),
                format!("payment_method={card}"),
            ));
            assert!(late.message().starts_with(&nobodys), "{}", late.message());
        }
    }
    // What was refused left nothing behind.
    assert_eq!(
        (simulator.count("payment_intent"), simulator.count("setup_intent")),
        (3, 3)
    );
    assert_eq!(simulator.count("charge"), 1);
}

#[test]
fn a_method_that_belongs_to_nobody_pays_once() {
    let (_simulator, mut client) = simulator();
    let ada = customer(&mut client);
    let spent = method(&mut client);
    let pay = |method: &str| {
        post(
            "/v1/payment_intents",
            format!("amount=500&currency=usd&confirm=true&payment_method={method}"),
        )
    };
    assert_eq!(client.ok(pay(&spent))["status"], "succeeded");
    let detached = attached(&mut client, &ada);
    client.ok(post(format!("/v1/payment_methods/{detached}/detach"), ""));
    for method in [spent, detached] {
        for call in [
            pay(&method),
            post(
                format!("/v1/payment_methods/{method}/attach"),
                format!("customer={ada}"),
            ),
            post("/v1/setup_intents", format!("payment_method={method}")),
            post("/v1/customers", format!("payment_method={method}")),
        ] {
            let again = client.call(call);
            assert_eq!((again.status, again.message()), (400, USED_UP));
        }
    }
    // One that is declined has not been used, and one that is kept belongs to somebody.
    let kept = method(&mut client);
    client.ok(post(
        "/v1/payment_intents",
        format!(
            "amount=500&currency=usd&confirm=true&customer={ada}&setup_future_usage=off_session&payment_method={kept}"
        ),
    ));
    let again = format!("amount=500&currency=usd&confirm=true&customer={ada}&payment_method={kept}");
    assert_eq!(client.ok(post("/v1/payment_intents", again))["status"], "succeeded");
}

#[test]
fn a_default_is_one_of_the_customers() {
    let (_simulator, mut client) = simulator();
    let (ada, bob) = (customer(&mut client), customer(&mut client));
    let (adas, bobs, nobodys) = (
        attached(&mut client, &ada),
        attached(&mut client, &bob),
        method(&mut client),
    );
    let price = client.ok(post(
        "/v1/prices",
        "currency=usd&unit_amount=500&recurring[interval]=month&product_data[name]=Mug",
    ));
    let subscribe = format!("customer={ada}&items[0][price]={}&default_payment_method=", id(&price));
    for other in [&bobs, &nobodys, "pm_card_visa"] {
        let refused = client.call(post("/v1/subscriptions", format!("{subscribe}{other}")));
        assert_eq!(
            refused.error(),
            (
                400,
                "invalid_request_error",
                "resource_missing",
                "default_payment_method"
            )
        );
        let form = format!("invoice_settings[default_payment_method]={other}");
        let refused = client.call(post(format!("/v1/customers/{ada}"), form));
        assert_eq!(refused.error().3, "invoice_settings[default_payment_method]");
        assert_eq!(
            refused.message(),
            format!(
                "The customer does not have a payment method with the ID {other}. The payment method must be attached to the customer."
            )
        );
    }
    let made = client.ok(post("/v1/subscriptions", format!("{subscribe}{adas}")));
    let path = format!("/v1/subscriptions/{}", id(&made));
    let refused = client.call(post(path, format!("default_payment_method={bobs}")));
    assert_eq!(refused.error().2, "resource_missing");
}

#[test]
fn a_customer_may_come_with_a_method() {
    let (_simulator, mut client) = simulator();
    let form = "payment_method=pm_card_visa&invoice_settings[default_payment_method]=pm_card_visa";
    let made = client.ok(post("/v1/customers", form));
    let default = made["invoice_settings"]["default_payment_method"].as_str().unwrap();
    let method = client.ok(get(format!("/v1/payment_methods/{default}")));
    assert_eq!((&method["id"], &method["customer"]), (&json!(default), &made["id"]));
    let listed = client.ok(get(format!("/v1/payment_methods?customer={}", id(&made))));
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    let path = format!("/v1/payment_methods/{default}");
    let past = client.call(post(path.clone(), "card[exp_year]=2001"));
    assert_eq!(past.error(), (402, "card_error", "invalid_expiry_year", "exp_year"));
    client.ok(post(format!("{path}/detach"), ""));
    let without = client.ok(get(format!("/v1/customers/{}", id(&made))));
    assert_eq!(without["invoice_settings"]["default_payment_method"], json!(null));
}

#[test]
fn what_may_pay_is_said_once() {
    let (_simulator, mut client) = simulator();
    let create = |form: &str| post("/v1/payment_intents", format!("amount=500&currency=usd&{form}"));
    let off = client.ok(create("automatic_payment_methods[enabled]=false"));
    assert_eq!(off["automatic_payment_methods"]["enabled"], false);
    let never = "automatic_payment_methods[enabled]=true&automatic_payment_methods[allow_redirects]=never";
    let never = client.ok(create(never));
    assert_eq!(
        never["automatic_payment_methods"],
        json!({"allow_redirects": "never", "enabled": true})
    );
    let plain = client.ok(create(""));
    assert_eq!(
        plain["automatic_payment_methods"],
        json!({"allow_redirects": "always", "enabled": true})
    );
    let both = client.call(create(
        "automatic_payment_methods[enabled]=true&payment_method_types[]=card",
    ));
    assert_eq!(both.status, 400, "{}", both.body);
}
