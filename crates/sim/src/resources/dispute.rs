//! Disputes: a customer's bank takes a payment back. <https://docs.stripe.com/disputes>

use super::money::{Movement, transact};
use super::{Context, flag_of, generic, text_of};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::plan::Verb;

/// What a dispute costs, in the currency's minor unit: <https://stripe.com/pricing>.
const FEE: i64 = 1500;

/// A dispute of a charge. The money is taken from the balance until the dispute is won.
pub(super) fn open(context: &mut Context<'_>, charge: &str) {
    let Some(mut disputed) = context.find(g::CHARGE, charge) else {
        return;
    };
    let mut dispute = context.fresh(g::DISPUTE);
    dispute.set_text("charge", charge);
    dispute.set_integer("amount", disputed.amount("amount"));
    dispute.set("currency", disputed.json("currency"));
    dispute.set("payment_intent", disputed.json("payment_intent"));
    dispute.set_text("reason", "fraudulent");
    dispute.set_text("status", "needs_response");
    move_money(context, &mut dispute, -1);
    disputed.set("disputed", "true");
    context.put(disputed);
    let id = dispute.id.clone();
    context.add(dispute);
    context.emit("charge.dispute.created", g::DISPUTE, &id);
    context.emit("charge.dispute.funds_withdrawn", g::DISPUTE, &id);
}

/// Takes the disputed amount and the fee, or gives the amount back.
fn move_money(context: &mut Context<'_>, dispute: &mut Object, sign: i64) {
    let currency = dispute.word("currency").unwrap_or("usd").to_owned();
    let transaction = transact(
        context,
        &Movement {
            kind: "adjustment",
            amount: sign * dispute.amount("amount"),
            fee: if sign < 0 { FEE } else { 0 },
            currency: &currency,
            source: &dispute.id,
        },
    );
    let mut all = dispute.ids("balance_transactions");
    all.push(transaction);
    let all: Vec<String> = all.iter().map(|id| text(id)).collect();
    dispute.set("balance_transactions", format!("[{}]", all.join(",")));
    dispute.set("is_charge_refundable", "false");
}

/// `POST /v1/disputes/{dispute}`: evidence, and whether it is all.
pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_open(context)?;
    let evidence = context.map("evidence");
    // Evidence that decides a test dispute: <https://docs.stripe.com/testing#evidence>
    let verdict = match evidence.and_then(|evidence| text_of(evidence, "uncategorized_text")) {
        Some("winning_evidence") => Some("won"),
        Some("losing_evidence") => Some("lost"),
        _ => None,
    };
    // What is given is submitted unless told otherwise.
    let submits = evidence.is_some() && flag_of(context.params, "submit") != Some(false);
    if !submits {
        return generic::execute(context);
    }
    generic::execute(context)?;
    let mut dispute = context.existing(g::DISPUTE)?;
    let mut details = dispute.value("evidence_details");
    details["has_evidence"] = true.into();
    details["submission_count"] = (details["submission_count"].as_i64().unwrap_or(0) + 1).into();
    dispute.set("evidence_details", details.to_string());
    dispute.set_text("status", verdict.unwrap_or("under_review"));
    if verdict == Some("won")
        && dispute
            .word("charge")
            .is_some_and(|id| context.find(g::CHARGE, id).is_some())
    {
        move_money(context, &mut dispute, 1);
    }
    let id = dispute.id.clone();
    let json = context.json(&dispute);
    context.put_as(dispute, None);
    match verdict {
        Some("won") => context.emit("charge.dispute.funds_reinstated", g::DISPUTE, &id),
        _ => context.emit("charge.dispute.updated", g::DISPUTE, &id),
    }
    if verdict.is_some() {
        context.emit("charge.dispute.closed", g::DISPUTE, &id);
    }
    Ok(json)
}

/// `POST /v1/disputes/{dispute}/close`: the dispute is accepted, and lost.
pub(super) fn close(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_open(context)?;
    generic::execute(context)?;
    let mut dispute = context.existing(g::DISPUTE)?;
    dispute.set_text("status", "lost");
    let id = dispute.id.clone();
    let json = context.json(&dispute);
    context.put_as(dispute, None);
    context.emit("charge.dispute.closed", g::DISPUTE, &id);
    Ok(json)
}

fn check_open(context: &Context<'_>) -> Result<(), ApiError> {
    let dispute = context.find(g::DISPUTE, context.id());
    let closed = dispute.is_some_and(|dispute| matches!(dispute.word("status"), Some("won" | "lost")));
    let says_nothing = context.plan.verb == Verb::Update && !context.given("evidence");
    if closed && !says_nothing {
        return Err(ApiError::invalid("This dispute is already closed."));
    }
    Ok(())
}
