//! Refunds: money that goes back. <https://docs.stripe.com/api/refunds>

use super::money::{Movement, transact};
use super::{Context, generic};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;

/// `POST /v1/refunds`, and the old route below a charge.
pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let charge = charge_of(context)?;
    let mut refund = generic::build(context, g::REFUND)?;
    let amount = checked_amount(context, &charge)?;
    move_money(context, charge, &mut refund, amount);
    context.insert(refund)
}

/// `POST /v1/charges/{charge}/refund`: the answer is the charge.
pub(super) fn of_charge(context: &mut Context<'_>) -> Result<String, ApiError> {
    let charge = context.existing(g::CHARGE)?;
    let amount = checked_amount(context, &charge)?;
    let mut refund = context.fresh(g::REFUND);
    move_money(context, charge, &mut refund, amount);
    context.add(refund);
    let charge = context.existing(g::CHARGE)?;
    Ok(context.json(&charge))
}

/// What can still be given back of a charge.
pub(super) fn left(charge: &Object) -> i64 {
    let given = charge.is_true("paid") && charge.is_true("captured") && !charge.is_true("disputed");
    if given {
        charge.amount("amount").saturating_sub(charge.amount("amount_refunded"))
    } else {
        0
    }
}

/// Gives back so much of a charge, which is known to have it. The refund's id.
pub(super) fn give_back(context: &mut Context<'_>, charge: Object, amount: i64) -> String {
    let mut refund = context.fresh(g::REFUND);
    move_money(context, charge, &mut refund, amount);
    let id = refund.id.to_string();
    context.add(refund);
    id
}

fn move_money(context: &mut Context<'_>, mut charge: Object, refund: &mut Object, amount: i64) {
    refund.set_integer("amount", amount);
    refund.set("currency", charge.json("currency"));
    refund.set_text("charge", &charge.id);
    refund.set("payment_intent", charge.json("payment_intent"));
    refund.set_text("status", "succeeded");
    let currency = charge.word("currency").unwrap_or("usd").to_owned();
    let movement = Movement {
        kind: "refund",
        amount: -amount,
        fee: 0,
        currency: &currency,
        source: &refund.id,
    };
    let transaction = transact(context, &movement);
    refund.set_text("balance_transaction", &transaction);
    let refunded = charge.amount("amount_refunded").saturating_add(amount);
    charge.set_integer("amount_refunded", refunded);
    if refunded >= charge.amount("amount") {
        charge.set("refunded", "true");
    }
    let id = charge.id.clone();
    context.put_as(charge, None);
    context.emit("charge.refunded", g::CHARGE, &id);
}

/// The charge that is meant, by itself or by its intent.
fn charge_of(context: &Context<'_>) -> Result<Object, ApiError> {
    if let Some(charge) = context.referred(g::CHARGE, "charge")? {
        return Ok(charge);
    }
    if let Some(owner) = context.ids.first()
        && let Some(charge) = context.find(g::CHARGE, owner)
    {
        return Ok(charge);
    }
    let Some(intent) = context.referred(g::PAYMENT_INTENT, "payment_intent")? else {
        return Err(ApiError::invalid(
            "One of the following params should be provided for this request: payment_intent or charge.",
        )
        .code("parameter_missing"));
    };
    let charge = intent.word("latest_charge").and_then(|id| context.find(g::CHARGE, id));
    charge.filter(|charge| charge.is_true("captured")).ok_or_else(|| {
        ApiError::invalid(format!(
            "This PaymentIntent ({}) does not have a successful charge to refund.",
            intent.id
        ))
        .code("payment_intent_unexpected_state")
        .param("payment_intent")
    })
}

fn checked_amount(context: &Context<'_>, charge: &Object) -> Result<i64, ApiError> {
    let left = charge.amount("amount").saturating_sub(charge.amount("amount_refunded"));
    if left <= 0 {
        return Err(
            ApiError::invalid(format!("Charge {} has already been refunded.", charge.id))
                .code("charge_already_refunded"),
        );
    }
    if charge.is_true("disputed") {
        return Err(ApiError::invalid(format!(
            "Charge {} has been charged back; cannot issue a refund.",
            charge.id
        ))
        .code("charge_disputed"));
    }
    if !charge.is_true("paid") || !charge.is_true("captured") {
        return Err(ApiError::invalid(format!(
            "Charge {} has not been captured, and cannot be refunded.",
            charge.id
        )));
    }
    match context.integer("amount")? {
        None => Ok(left),
        Some(amount) if amount < 1 => Err(ApiError::invalid("This value must be greater than or equal to 1.")
            .code("parameter_invalid_integer")
            .param("amount")),
        Some(amount) if amount > left => {
            let currency = charge.word("currency").unwrap_or("usd");
            Err(ApiError::invalid(format!(
                "Refund amount ({}) is greater than unrefunded amount on charge ({})",
                money(amount, currency),
                money(left, currency)
            ))
            .param("amount"))
        }
        Some(amount) => Ok(amount),
    }
}

/// `$5.00`, as Stripe's messages have it.
fn money(amount: i64, currency: &str) -> String {
    let sign = match currency {
        "usd" => "$",
        "eur" => "€",
        "gbp" => "£",
        _ => "",
    };
    let number = format!("{}.{:02}", amount / 100, amount % 100);
    if sign.is_empty() {
        format!("{number} {}", currency.to_ascii_uppercase())
    } else {
        format!("{sign}{number}")
    }
}

pub(super) fn cancel(context: &mut Context<'_>) -> Result<String, ApiError> {
    let refund = context.existing(g::REFUND)?;
    if refund.word("status") != Some("requires_action") {
        let status = text(refund.word("status").unwrap_or_default());
        return Err(ApiError::invalid(format!(
            "Cannot cancel this refund because it has a status of {status}. Only refunds that require action can be canceled."
        )));
    }
    generic::execute(context)
}
