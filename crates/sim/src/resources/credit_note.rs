//! Credit notes: less for an invoice than it said. <https://docs.stripe.com/api/credit_notes>

use super::money::{Movement, transact};
use super::{Context, generic};
use crate::error::ApiError;
use crate::generated as g;
use crate::object::Object;

/// What is taken off an open invoice need not be paid; what is taken off a paid one becomes the customer's credit.
pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(mut invoice) = context.referred(g::INVOICE, "invoice")? else {
        return Err(ApiError::missing("invoice"));
    };
    let paid = match invoice.word("status") {
        Some("paid") => true,
        Some("open") => false,
        _ => {
            return Err(
                ApiError::invalid("You can only create credit notes for open or paid invoices.").param("invoice"),
            );
        }
    };
    let amount = amount_of(context, &invoice, paid)?;
    let mut note = generic::build(context, g::CREDIT_NOTE)?;
    for name in [
        "amount",
        "subtotal",
        "total",
        "subtotal_excluding_tax",
        "total_excluding_tax",
    ] {
        note.set_integer(name, amount);
    }
    note.set_text("type", if paid { "post_payment" } else { "pre_payment" });
    note.set_integer(
        if paid {
            "post_payment_amount"
        } else {
            "pre_payment_amount"
        },
        amount,
    );
    note.set("currency", invoice.json("currency"));
    note.set("customer", invoice.json("customer"));
    note.set_text("status", "issued");
    let field = if paid {
        "post_payment_credit_notes_amount"
    } else {
        "pre_payment_credit_notes_amount"
    };
    let before = invoice.amount(field);
    let number = format!(
        "{}-CN-{:02}",
        invoice.word("number").unwrap_or("SIM"),
        context.data.table(g::CREDIT_NOTE).len() + 1
    );
    note.set_text("number", &number);
    invoice.set_integer(field, before.saturating_add(amount));
    let invoice_id = invoice.id.to_string();
    if paid {
        credit(context, &invoice, amount);
    } else {
        let left = invoice.amount("amount_remaining").saturating_sub(amount);
        invoice.set_integer("amount_remaining", left);
        invoice.set_integer("amount_due", invoice.amount("amount_due").saturating_sub(amount));
    }
    context.put(invoice);
    if !paid {
        super::invoice::settle_nothing(context, &invoice_id);
        super::invoice::follow(context, &invoice_id);
    }
    context.insert(note)
}

fn amount_of(context: &Context<'_>, invoice: &Object, paid: bool) -> Result<i64, ApiError> {
    let most = if paid {
        invoice
            .amount("amount_paid")
            .saturating_sub(invoice.amount("post_payment_credit_notes_amount"))
    } else {
        invoice.amount("amount_remaining")
    };
    let given = context
        .integer("amount")?
        .or(context.integer("credit_amount")?)
        .or(context.integer("out_of_band_amount")?);
    match given.unwrap_or(most) {
        amount if amount < 1 => {
            Err(ApiError::invalid("This value must be greater than or equal to 1.").param("amount"))
        }
        amount if amount > most => Err(ApiError::invalid(format!(
            "The credit note's amount ({amount}) must not be greater than what is left of the invoice ({most})."
        ))
        .param("amount")),
        amount => Ok(amount),
    }
}

/// The customer is given back what was paid: as money where a refund was asked for, else as credit.
fn credit(context: &mut Context<'_>, invoice: &Object, amount: i64) {
    if context.given("out_of_band_amount") {
        return;
    }
    if context.given("refund_amount") {
        let currency = invoice.word("currency").unwrap_or("usd").to_owned();
        let movement = Movement {
            kind: "refund",
            amount: -amount,
            fee: 0,
            currency: &currency,
            source: &invoice.id,
        };
        transact(context, &movement);
        return;
    }
    if let Some(mut customer) = invoice.word("customer").and_then(|id| context.find(g::CUSTOMER, id)) {
        customer.set_integer("balance", customer.amount("balance").saturating_sub(amount));
        context.put(customer);
    }
}

pub(super) fn void(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut note = context.existing(g::CREDIT_NOTE)?;
    if note.word("status") == Some("void") {
        return Err(ApiError::invalid("This credit note has already been voided."));
    }
    note.set_text("status", "void");
    note.set_integer("voided_at", context.now);
    let id = note.id.clone();
    let json = context.replace(note)?;
    context.emit("credit_note.voided", g::CREDIT_NOTE, &id);
    Ok(json)
}
