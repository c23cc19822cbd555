//! Invoices: from a draft to the money. <https://docs.stripe.com/api/invoices>

mod item;
mod line;
mod lines;
mod payment;
mod preview;

use inflight_stripe::Value;

use super::discount::{self, Share, Target};
use super::{Context, generic};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;

pub(super) use item::{
    Proration, add_pending, create_item, delete_item, extra_items, take_pending, update_item, wait_extra,
};
pub(super) use line::{Line, add_line, price_amount, price_of};
pub(super) use payment::{
    charge, charge_of, check_paid, follow, has_method, is_paid, may_fail, pay, settle, try_to_pay,
};
pub(super) use preview::preview;

const DAY: i64 = 86_400;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(customer) = context.referred(g::CUSTOMER, "customer")? else {
        return Err(ApiError::missing("customer"));
    };
    let mut invoice = draft(context, &customer);
    context.apply(&mut invoice)?;
    let days = context.integer("days_until_due")?.unwrap_or(30);
    if let Some(given) = discount::given(context.params) {
        let customer = text(&customer.id);
        let target = Target {
            field: "invoice",
            id: &invoice.id.clone(),
            customer: &customer,
        };
        let discounts = discount::apply(context, given, &target)?;
        invoice.set("discounts", discount::ids_json(&discounts));
    }
    if invoice.word("collection_method") == Some("send_invoice") && !invoice.has("due_date") {
        invoice.set_integer("due_date", context.now.saturating_add(days.saturating_mul(DAY)));
    }
    if context.text("pending_invoice_items_behavior") == Some("include") {
        item::take_pending(context, &mut invoice);
    }
    total(context, &mut invoice);
    context.insert(invoice)
}

/// An empty invoice for a customer.
pub(super) fn draft(context: &mut Context<'_>, customer: &Object) -> Object {
    let mut invoice = context.fresh(g::INVOICE);
    let now = context.now;
    invoice.set_text("customer", &customer.id);
    for (field, of_customer) in [
        ("customer_email", "email"),
        ("customer_name", "name"),
        ("customer_phone", "phone"),
        ("customer_address", "address"),
        ("customer_tax_exempt", "tax_exempt"),
    ] {
        if customer.has(of_customer) {
            invoice.set(field, customer.json(of_customer));
        }
    }
    invoice.set_text("currency", customer.word("currency").unwrap_or("usd"));
    invoice.set_integer("period_start", now);
    invoice.set_integer("period_end", now);
    invoice.set("lines", "[]");
    invoice
}

/// What a draft comes to: lines, less discounts, less what the customer has as credit. A finalized invoice's amounts stay.
pub(super) fn total(context: &mut Context<'_>, invoice: &mut Object) {
    if invoice.word("status") != Some("draft") {
        return;
    }
    let lines = invoice.ids("lines");
    let lines = lines.iter().filter_map(|id| context.find(g::LINE_ITEM, id));
    let lines: Vec<Object> = lines.collect();
    let mut shares: Vec<Share> = lines.iter().map(Share::of_line).collect();
    for (line, share) in lines.iter().zip(&mut shares) {
        discount::take(context, &line.ids("discounts"), std::slice::from_mut(share));
    }
    // Discounts of lines belong to the subtotal, those of the invoice come off it.
    let subtotal = discount::left(&shares);
    discount::take(context, &invoice.ids("discounts"), &mut shares);
    let total = discount::left(&shares);
    for (line, share) in lines.iter().zip(&shares) {
        if let Some(line) = context.data.table_mut(g::LINE_ITEM).get_mut(&line.id) {
            line.set("discount_amounts", discount::amounts_json(&share.taken));
        }
    }
    invoice.set_integer("subtotal", subtotal);
    invoice.set_integer("subtotal_excluding_tax", subtotal);
    invoice.set_integer("total", total);
    invoice.set_integer("total_excluding_tax", total);
    match discount::sums(shares.iter().flat_map(|share| &share.taken)) {
        taken if taken.is_empty() => invoice.clear("total_discount_amounts"),
        taken => invoice.set("total_discount_amounts", discount::amounts_json(&taken)),
    }
    let customer = invoice
        .word("customer")
        .and_then(|id| context.data.get(g::CUSTOMER, id));
    let credit = customer.map_or(0, |customer| customer.amount("balance"));
    invoice.set_integer("starting_balance", credit);
    let due = total.saturating_add(credit).max(0);
    invoice.set_integer("amount_due", due);
    invoice.set_integer("amount_remaining", due);
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    let given = discount::given(context.params);
    context.update(g::INVOICE, |context, invoice| {
        if invoice.word("status") != Some("draft") && (given.is_some() || context.given("collection_method")) {
            return Err(not_editable());
        }
        if let Some(given) = given {
            let customer = invoice.json("customer").to_owned();
            let target = Target {
                field: "invoice",
                id: &invoice.id.clone(),
                customer: &customer,
            };
            let discounts = discount::apply(context, given, &target)?;
            invoice.set("discounts", discount::ids_json(&discounts));
        }
        total(context, invoice);
        Ok(())
    })
}

fn not_editable() -> ApiError {
    ApiError::invalid("Finalized invoices can't be updated in this way.").code("invoice_not_editable")
}

pub(super) fn delete(context: &mut Context<'_>) -> Result<String, ApiError> {
    let invoice = context.existing(g::INVOICE)?;
    if invoice.word("status") != Some("draft") {
        return Err(ApiError::invalid("You can only delete draft invoices.").code("invoice_not_editable"));
    }
    generic::delete(context)
}

pub(super) fn finalize(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut invoice = context.existing(g::INVOICE)?;
    if invoice.word("status") != Some("draft") {
        return Err(
            ApiError::invalid("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
                .code("invoice_not_editable"),
        );
    }
    context.apply(&mut invoice)?;
    let id = invoice.id.to_string();
    open(context, &mut invoice);
    context.put(invoice);
    context.emit("invoice.finalized", g::INVOICE, &id);
    settle_nothing(context, &id);
    let invoice = context.existing(g::INVOICE)?;
    Ok(context.json(&invoice))
}

/// Makes a draft an open invoice: its number, its due amount, and the customer's credit are settled.
pub(super) fn open(context: &mut Context<'_>, invoice: &mut Object) {
    total(context, invoice);
    let customer = invoice.word("customer").and_then(|id| context.find(g::CUSTOMER, id));
    if let Some(mut customer) = customer {
        let sequence = customer.amount("next_invoice_sequence").max(1);
        let prefix = customer.word("invoice_prefix").unwrap_or("SIM").to_owned();
        invoice.set_text("number", &format!("{prefix}-{sequence:04}"));
        customer.set_integer("next_invoice_sequence", sequence + 1);
        // Credit is used up as far as the invoice goes; a total below nothing becomes credit.
        let balance = invoice
            .amount("total")
            .saturating_add(customer.amount("balance"))
            .min(0);
        if balance != customer.amount("balance") {
            customer.set_integer("balance", balance);
        }
        invoice.set_integer("ending_balance", balance);
        if customer.json("currency") == "null" {
            customer.set("currency", invoice.json("currency").to_owned());
        }
        context.put(customer);
    }
    invoice.set_text("status", "open");
    invoice.set_text(
        "hosted_invoice_url",
        &format!("https://simulator.test/invoices/{}", invoice.id),
    );
    invoice.set_text(
        "invoice_pdf",
        &format!("https://simulator.test/invoices/{}/pdf", invoice.id),
    );
    invoice.set_integer("effective_at", context.now);
    transition(invoice, "finalized_at", context.now);
}

/// An invoice of nothing is paid as soon as it is open.
pub(super) fn settle_nothing(context: &mut Context<'_>, id: &str) {
    let due = context
        .data
        .get(g::INVOICE, id)
        .map_or(0, |invoice| invoice.amount("amount_remaining"));
    if due == 0 {
        settle(context, id, None);
    }
}

/// Notes when an invoice came to a state.
pub(super) fn transition(invoice: &mut Object, name: &str, now: i64) {
    let mut times = invoice.value("status_transitions");
    for known in ["finalized_at", "marked_uncollectible_at", "paid_at", "voided_at"] {
        if times[known].is_null() {
            times[known] = if known == name {
                now.into()
            } else {
                serde_json::Value::Null
            };
        }
    }
    invoice.set("status_transitions", times.to_string());
}

pub(super) fn void(context: &mut Context<'_>) -> Result<String, ApiError> {
    end(
        context,
        "void",
        "voided_at",
        "invoice.voided",
        &["open", "uncollectible"],
    )
}

pub(super) fn mark_uncollectible(context: &mut Context<'_>) -> Result<String, ApiError> {
    end(
        context,
        "uncollectible",
        "marked_uncollectible_at",
        "invoice.marked_uncollectible",
        &["open"],
    )
}

/// Credit that a voided invoice has used up is the customer's again, and what the customer owed is owed again.
fn give_credit_back(context: &mut Context<'_>, invoice: &Object) {
    let used = invoice
        .amount("starting_balance")
        .saturating_sub(invoice.amount("ending_balance"));
    let customer = invoice.word("customer").and_then(|id| context.find(g::CUSTOMER, id));
    if let Some(mut customer) = customer
        && used != 0
    {
        customer.set_integer("balance", customer.amount("balance").saturating_add(used));
        context.put(customer);
    }
}

fn end(context: &mut Context<'_>, state: &str, at: &str, event: &str, from: &[&str]) -> Result<String, ApiError> {
    let mut invoice = context.existing(g::INVOICE)?;
    let status = invoice.word("status").unwrap_or_default();
    if !from.contains(&status) {
        return Err(ApiError::invalid(format!(
            "You can only pass in invoices with one of these statuses: {}. This invoice is {status}.",
            from.join(", ")
        ))
        .code("status_transition_invalid"));
    }
    invoice.set_text("status", state);
    transition(&mut invoice, at, context.now);
    if state == "void" {
        give_credit_back(context, &invoice);
    }
    let id = invoice.id.clone();
    context.put(invoice);
    follow(context, &id);
    context.emit(event, g::INVOICE, &id);
    let invoice = context.existing(g::INVOICE)?;
    Ok(context.json(&invoice))
}

pub(super) fn send(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut invoice = context.existing(g::INVOICE)?;
    let id = invoice.id.to_string();
    match invoice.word("status") {
        Some("draft") => {
            open(context, &mut invoice);
            context.put(invoice);
            context.emit("invoice.finalized", g::INVOICE, &id);
            settle_nothing(context, &id);
        }
        Some("void") => return Err(ApiError::invalid("You cannot send an invoice that has been voided.")),
        _ => context.effect = true,
    }
    context.emit("invoice.sent", g::INVOICE, &id);
    let invoice = context.existing(g::INVOICE)?;
    Ok(context.json(&invoice))
}

/// `add_lines`, `update_lines` and `remove_lines` of a draft.
pub(super) fn change_lines(context: &mut Context<'_>, word: &str) -> Result<String, ApiError> {
    let mut lines = context.list("lines").iter().filter_map(Value::as_map);
    // A price that comes along is made before the next line is known to be sound.
    if context.list("lines").len() > 1 && lines.any(|line| line.get("price_data").is_some()) {
        return context.all_or_nothing(|context| change_lines_now(context, word));
    }
    change_lines_now(context, word)
}

fn change_lines_now(context: &mut Context<'_>, word: &str) -> Result<String, ApiError> {
    let mut invoice = context.existing(g::INVOICE)?;
    if invoice.word("status") != Some("draft") {
        return Err(not_editable());
    }
    lines::change(context, &mut invoice, word)?;
    total(context, &mut invoice);
    context.replace(invoice)
}

/// `POST /v1/invoices/{invoice}/lines/{line_item_id}`
pub(super) fn update_line(context: &mut Context<'_>) -> Result<String, ApiError> {
    let owner = context.ids.first().map_or("", String::as_str);
    let Some(mut invoice) = context.find(g::INVOICE, owner) else {
        return Err(ApiError::no_such("invoice", owner, "invoice").status(404));
    };
    let mut line = context.existing(g::LINE_ITEM)?;
    if line.parent.as_deref() != Some(owner) {
        return Err(context.no_such(g::LINE_ITEM));
    }
    if invoice.word("status") != Some("draft") {
        return Err(not_editable());
    }
    line::apply(context, &mut line, context.params, invoice.json("customer"))?;
    let json = context.replace(line)?;
    total(context, &mut invoice);
    context.put(invoice);
    Ok(json)
}
