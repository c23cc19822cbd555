//! Charges: attempts to take money. <https://docs.stripe.com/api/charges>

use super::card::{Outcome, Refusal};
use super::money::{Movement, fee, transact};
use super::payment_method::{self, outcome_of};
use super::{Context, currency_of};
use crate::defaults::nested;
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::schema::Shape;

/// What is to be charged.
pub(super) struct Attempt<'a> {
    pub(super) amount: i64,
    pub(super) currency: &'a str,
    /// JSON.
    pub(super) customer: &'a str,
    pub(super) method: &'a Object,
    /// The intent that is to be paid, if there is one: the charge has its description and its metadata.
    pub(super) of: Option<&'a Object>,
    /// Otherwise the money is held until it is captured.
    pub(super) capture: bool,
}

/// Charges a payment method whose outcome is known. The charge is kept either way.
pub(super) fn attempt(context: &mut Context<'_>, attempt: &Attempt<'_>, refusal: Option<&'static Refusal>) -> String {
    let mut charge = context.fresh(g::CHARGE);
    charge.set_integer("amount", attempt.amount);
    charge.set_text("currency", attempt.currency);
    charge.set("customer", attempt.customer);
    if let Some(intent) = attempt.of {
        charge.set_text("payment_intent", &intent.id);
    }
    charge.set_text("payment_method", &attempt.method.id);
    let method = attempt.method;
    let shown = context
        .data
        .shown(method.json(method.word("type").unwrap_or("card")), || details(method));
    charge.set("payment_method_details", shown);
    if let Some(intent) = attempt.of {
        for name in [
            "description",
            "receipt_email",
            "shipping",
            "statement_descriptor",
            "transfer_group",
            "on_behalf_of",
        ] {
            if intent.has(name) {
                charge.set(name, intent.json(name));
            }
        }
        charge.metadata.clone_from(&intent.metadata);
    }
    let captured = attempt.capture && refusal.is_none();
    match refusal {
        Some(refusal) => fail(&mut charge, refusal),
        None if captured => {
            charge.set_integer("amount_captured", attempt.amount);
            let id = charge.id.to_string();
            settle(context, &mut charge, &id, attempt.amount);
        }
        None => charge.set("captured", "false"),
    }
    let id = charge.id.to_string();
    context.effect = true;
    context.data.table_mut(g::CHARGE).insert(charge);
    context.emit(
        if refusal.is_some() {
            "charge.failed"
        } else {
            "charge.succeeded"
        },
        g::CHARGE,
        &id,
    );
    id
}

fn fail(charge: &mut Object, refusal: &Refusal) {
    charge.set("captured", "false");
    charge.set("paid", "false");
    charge.set_text("status", "failed");
    charge.set_text("failure_code", refusal.code);
    charge.set_text("failure_message", refusal.message);
    charge.set("outcome", outcome_json(refusal));
}

/// What the bank, or Stripe itself, said. <https://docs.stripe.com/declines>
fn outcome_json(refusal: &Refusal) -> String {
    let is_blocked = refusal.decline_code == "fraudulent";
    let Some(Shape::Object(schema)) = g::CHARGE.field("outcome").map(|field| field.shape) else {
        return "null".to_owned();
    };
    let [status, reason, risk, message, kind] = if is_blocked {
        [
            "not_sent_to_network",
            "highest_risk_level",
            "highest",
            "Stripe blocked this payment as too risky.",
            "blocked",
        ]
    } else {
        [
            "declined_by_network",
            refusal.decline_code,
            "normal",
            "The bank did not return any further details with this decline.",
            "issuer_declined",
        ]
    };
    let given = [
        ("network_status", text(status)),
        ("reason", text(reason)),
        ("risk_level", text(risk)),
        ("seller_message", text(message)),
        ("type", text(kind)),
    ];
    nested(schema, &given, 0)
}

fn settle(context: &mut Context<'_>, charge: &mut Object, id: &str, amount: i64) {
    let currency = charge.word("currency").unwrap_or("usd").to_owned();
    let movement = Movement {
        kind: "charge",
        amount,
        fee: fee(amount),
        currency: &currency,
        source: id,
    };
    let transaction = transact(context, &movement);
    charge.set_text("balance_transaction", &transaction);
}

/// What a charge shows of the payment method at that time.
fn details(method: &Object) -> String {
    let kind = method.word("type").unwrap_or("card");
    let Some(Shape::Object(schema)) = g::CHARGE.field("payment_method_details").map(|field| field.shape) else {
        return "null".to_owned();
    };
    let mut fields = vec![("type", text(kind))];
    let card = method.value("card");
    if kind == "card"
        && let Some(Shape::Object(inner)) = schema.field("card").map(|field| field.shape)
    {
        let known = [
            "brand",
            "country",
            "exp_month",
            "exp_year",
            "fingerprint",
            "funding",
            "last4",
        ];
        let copied = known.into_iter().filter(|name| inner.field(name).is_some());
        let given: Vec<(&str, String)> = copied.map(|name| (name, card[name].to_string())).collect();
        fields.push(("card", nested(inner, &given, 0)));
    }
    nested(schema, &fields, 0)
}

/// Takes the money that a charge holds, or part of it.
pub(super) fn capture(context: &mut Context<'_>, id: &str, amount: i64) {
    let Some(mut charge) = context.find(g::CHARGE, id) else {
        return;
    };
    charge.set("captured", "true");
    charge.set_integer("amount_captured", amount);
    let rest = charge.amount("amount").saturating_sub(amount);
    if rest > 0 {
        charge.set_integer("amount_refunded", rest);
    }
    settle(context, &mut charge, id, amount);
    context.put_as(charge, None);
    context.emit("charge.captured", g::CHARGE, id);
}

/// `POST /v1/charges`, the way before payment intents: a source, or a customer's.
pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let amount = super::payment_intent::checked_amount(context)?.ok_or_else(|| ApiError::missing("amount"))?;
    let currency = currency_of(context.params, "currency")?.ok_or_else(|| ApiError::missing("currency"))?;
    super::currency::check_minimum(amount, &currency)?;
    // What cannot be applied is refused before money moves.
    context.apply(&mut Object::new(g::CHARGE, "", context.now))?;
    let customer = context.referred(g::CUSTOMER, "customer")?;
    let owned = customer.as_ref().and_then(|customer| customer.word("default_source"));
    let source = context
        .text("source")
        .or(context.text("card"))
        .map(str::to_owned)
        .or(owned.map(str::to_owned));
    let method = match source {
        Some(source) if source.starts_with("tok_") => {
            let card = payment_method::card_of_token(context, &source, "source")?;
            payment_method::of_card(context, &card)
        }
        Some(source) => payment_method::existing(context, &source, "source")?,
        None if context.params.get("source").is_some() || context.params.get("card").is_some() => {
            payment_method::of_card(context, &super::card::Card::plain())
        }
        None if customer.is_some() => {
            return Err(ApiError::invalid("Cannot charge a customer that has no active card")
                .code("missing")
                .status(402));
        }
        None => return Err(ApiError::invalid("Must provide source or customer.").code("parameter_missing")),
    };
    let refusal = match outcome_of(&method) {
        Outcome::Succeeds => None,
        Outcome::Declined(refusal) => Some(refusal),
        Outcome::AsksForAuthentication => Some(&super::card::UNAUTHENTICATED),
    };
    let customer = customer.map_or("null".to_owned(), |customer| text(&customer.id));
    let id = attempt(
        context,
        &Attempt {
            amount,
            currency: &currency,
            customer: &customer,
            method: &method,
            of: None,
            capture: context.flag("capture") != Some(false),
        },
        refusal,
    );
    if let Some(mut charge) = context.find(g::CHARGE, &id) {
        let transaction = charge.json("balance_transaction").to_owned();
        context.apply(&mut charge)?;
        charge.set("balance_transaction", transaction);
        charge.set("customer", customer);
        charge.set_text("currency", &currency);
        if let Some(place) = context.data.table_mut(g::CHARGE).get_mut(&id) {
            *place = charge;
        }
    }
    match refusal {
        Some(refusal) => Err(refusal.error(Some(id), None)),
        None => Ok(context
            .find(g::CHARGE, &id)
            .map(|charge| context.json(&charge))
            .unwrap_or_default()),
    }
}

/// `POST /v1/charges/{charge}/capture`.
pub(super) fn capture_by_hand(context: &mut Context<'_>) -> Result<String, ApiError> {
    let charge = context.existing(g::CHARGE)?;
    if charge.json("payment_intent") != "null" {
        return Err(ApiError::invalid(
            "This charge belongs to a PaymentIntent. Capture the PaymentIntent instead.",
        ));
    }
    if charge.is_true("captured") || charge.word("status") == Some("failed") {
        return Err(
            ApiError::invalid(format!("Charge {} has already been captured.", charge.id))
                .code("charge_already_captured"),
        );
    }
    let held = charge.amount("amount");
    let amount = context.integer("amount")?.unwrap_or(held);
    if !(1..=held).contains(&amount) {
        let message = format!("The amount to capture must be between 1 and {held}.");
        return Err(ApiError::invalid(message).code("amount_too_large").param("amount"));
    }
    let id = charge.id.to_string();
    capture(context, &id, amount);
    let charge = context.existing(g::CHARGE)?;
    Ok(context.json(&charge))
}

/// Gives back what a charge holds, which will not be captured.
pub(super) fn release(context: &mut Context<'_>, id: &str) {
    let Some(mut charge) = context.find(g::CHARGE, id).filter(|charge| !charge.is_true("captured")) else {
        return;
    };
    if charge.word("status") == Some("failed") {
        return;
    }
    let held = charge.amount("amount");
    charge.set_integer("amount_refunded", held);
    charge.set("refunded", "true");
    context.put_as(charge, None);
    context.emit("charge.refunded", g::CHARGE, id);
}

/// Holds more than before.
pub(super) fn hold(context: &mut Context<'_>, id: &str, amount: i64) {
    if let Some(mut charge) = context.find(g::CHARGE, id) {
        charge.set_integer("amount", amount);
        context.put(charge);
    }
}
