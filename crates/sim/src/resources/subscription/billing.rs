//! The invoices that a subscription makes, and what follows from how they are paid.
//! <https://docs.stripe.com/billing/subscriptions/overview#payment-status>

use super::items;
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::resources::invoice::{self, Line, add_line};
use crate::resources::{Context, discount};

/// The invoice that a subscription begins with, paid at once where that is possible.
pub(super) fn first_invoice(context: &mut Context<'_>, id: &str, customer: &Object) -> Result<(), ApiError> {
    let behavior = context.text("payment_behavior").unwrap_or("allow_incomplete");
    let invoice = bill(context, id, customer, "subscription_create");
    let Some(mut subscription) = context.find(g::SUBSCRIPTION, id) else {
        return Ok(());
    };
    let due = context
        .data
        .get(g::INVOICE, &invoice)
        .map_or(0, |invoice| invoice.amount("amount_remaining"));
    let trialing = subscription.word("status") == Some("trialing");
    let by_itself = subscription.word("collection_method") != Some("send_invoice");
    if due > 0 && by_itself && !trialing && behavior == "default_incomplete" {
        subscription.set_text("status", "incomplete");
        context.put(subscription);
        return invoice::charge(context, &invoice, None);
    }
    if !by_itself {
        invoice::settle_nothing(context, &invoice);
        return Ok(());
    }
    let paid = invoice::try_to_pay(context, &invoice);
    if !invoice::is_paid(context, &invoice) {
        subscription = context.find(g::SUBSCRIPTION, id).unwrap_or(subscription);
        subscription.set_text("status", "incomplete");
        context.put(subscription);
        if errs_if_incomplete(context) {
            return paid.and_then(|()| invoice::check_paid(context, &invoice, REQUIRES_ACTION));
        }
    }
    Ok(())
}

/// The code of Stripe's error where a subscription's invoice waits for its customer.
const REQUIRES_ACTION: &str = "subscription_payment_intent_requires_action";

/// Whether a request that cannot be paid for is to change nothing.
pub(super) fn errs_if_incomplete(context: &Context<'_>) -> bool {
    context.text("payment_behavior") == Some("error_if_incomplete")
}

/// Carries a request out, or nothing of it where that is asked for and it cannot be paid for.
pub(super) fn whole(
    context: &mut Context<'_>,
    subscription: &Object,
    act: fn(&mut Context<'_>) -> Result<String, ApiError>,
) -> Result<String, ApiError> {
    if errs_if_incomplete(context) && invoice::may_fail(context, subscription) {
        context.all_or_nothing(act)
    } else {
        act(context)
    }
}

/// An empty invoice of a subscription.
fn draft(context: &mut Context<'_>, subscription: &Object, customer: &Object, reason: &str) -> Object {
    let mut invoice = invoice::draft(context, customer);
    let details = format!(
        "{{\"quote_details\":null,\"subscription_details\":{{\"metadata\":{{}},\"subscription\":{}}},\"type\":\"subscription_details\"}}",
        text(&subscription.id)
    );
    invoice.set("parent", details);
    invoice.set_text("billing_reason", reason);
    invoice.set("collection_method", subscription.json("collection_method"));
    invoice.set("currency", subscription.json("currency"));
    invoice.set("auto_advance", "true");
    invoice.set("default_payment_method", subscription.json("default_payment_method"));
    if let Some(days) = subscription.integer("days_until_due") {
        invoice.set_integer("due_date", context.now.saturating_add(days.saturating_mul(86_400)));
    }
    invoice
}

/// An open invoice for the current period of every item, and whatever waits for the customer's next one.
fn bill(context: &mut Context<'_>, id: &str, customer: &Object, reason: &str) -> String {
    let Some(mut subscription) = context.find(g::SUBSCRIPTION, id) else {
        return String::new();
    };
    let mut invoice = draft(context, &subscription, customer, reason);
    let invoice_id = invoice.id.to_string();
    invoice.set("discounts", subscription.json("discounts"));
    let free = subscription.word("status") == Some("trialing");
    let currency = subscription.word("currency").unwrap_or("usd").to_owned();
    for item in subscription.ids("items") {
        let Some(item) = context.find(g::SUBSCRIPTION_ITEM, &item) else {
            continue;
        };
        let price = items::price(context, &item).cloned();
        let quantity = item.amount("quantity");
        let amount = price.as_ref().map_or(0, |price| items::charged(price, quantity));
        let line = Line {
            amount: if free { 0 } else { amount },
            currency: &currency,
            description: describe(context, price.as_ref(), quantity, free),
            quantity,
            period: (item.amount("current_period_start"), item.amount("current_period_end")),
            price: price.as_ref(),
            subscription: Some((id, &item.id)),
            invoice_item: None,
        };
        add_line(context, &mut invoice, &line);
    }
    invoice::take_pending(context, &mut invoice);
    invoice::open(context, &mut invoice);
    context.add(invoice);
    context.emit("invoice.finalized", g::INVOICE, &invoice_id);
    subscription.set_text("latest_invoice", &invoice_id);
    let lasting = discount::lasting(context, subscription.ids("discounts"));
    subscription.set("discounts", discount::ids_json(&lasting));
    if let Some(place) = context.data.table_mut(g::SUBSCRIPTION).get_mut(id) {
        subscription.event = place.event;
        *place = subscription;
    }
    invoice_id
}

/// The lines of a subscription's next period, on an invoice that is not kept.
pub(crate) fn next_lines(context: &mut Context<'_>, subscription: &Object, invoice: &mut Object) {
    let id = &*subscription.id;
    invoice.set("discounts", subscription.json("discounts"));
    invoice.set("currency", subscription.json("currency"));
    let currency = subscription.word("currency").unwrap_or("usd").to_owned();
    for item in subscription.ids("items") {
        let Some(item) = context.find(g::SUBSCRIPTION_ITEM, &item) else {
            continue;
        };
        let price = items::price(context, &item).cloned();
        let quantity = item.amount("quantity");
        let start = item.amount("current_period_end");
        let line = Line {
            amount: price.as_ref().map_or(0, |price| items::charged(price, quantity)),
            currency: &currency,
            description: describe(context, price.as_ref(), quantity, false),
            quantity,
            period: (
                start,
                price.as_ref().map_or(start, |price| items::period_from(price, start)),
            ),
            price: price.as_ref(),
            subscription: Some((id, &item.id)),
            invoice_item: None,
        };
        add_line(context, invoice, &line);
    }
}

fn describe(context: &Context<'_>, price: Option<&Object>, quantity: i64, free: bool) -> Option<String> {
    let price = price?;
    let product = context.data.get(g::PRODUCT, price.word("product")?)?;
    let name = product.value("name");
    let name = name.as_str()?;
    Some(if free {
        format!("Trial period for {name}")
    } else {
        format!("{quantity} × {name}")
    })
}

/// A trial has ended: the first period that costs something is invoiced and paid.
pub(super) fn bill_now(context: &mut Context<'_>, id: &str, customer: &str) -> Result<(), ApiError> {
    let Some(customer) = context.find(g::CUSTOMER, customer) else {
        return Ok(());
    };
    let invoice = bill(context, id, &customer, "subscription_cycle");
    collect(context, id, &invoice)
}

/// An invoice of a running subscription is paid, or the subscription is past due.
fn collect(context: &mut Context<'_>, id: &str, invoice: &str) -> Result<(), ApiError> {
    let subscription = context.find(g::SUBSCRIPTION, id);
    if subscription.is_some_and(|subscription| subscription.word("collection_method") == Some("send_invoice")) {
        invoice::settle_nothing(context, invoice);
        return Ok(());
    }
    let waits = context.text("payment_behavior") == Some("default_incomplete");
    invoice::settle_nothing(context, invoice);
    let paid = match waits {
        true if invoice::is_paid(context, invoice) => Ok(()),
        true => invoice::charge(context, invoice, None),
        false => invoice::try_to_pay(context, invoice),
    };
    if invoice::is_paid(context, invoice) {
        return Ok(());
    }
    if errs_if_incomplete(context) {
        return paid.and_then(|()| invoice::check_paid(context, invoice, REQUIRES_ACTION));
    }
    if let Some(mut subscription) = context.find(g::SUBSCRIPTION, id) {
        subscription.set_text("status", "past_due");
        context.put(subscription);
    }
    Ok(())
}

/// `proration_behavior=always_invoice`: what has changed is invoiced now.
pub(super) fn invoice_changes(context: &mut Context<'_>, id: &str) -> Result<(), ApiError> {
    let Some(mut subscription) = context.find(g::SUBSCRIPTION, id) else {
        return Ok(());
    };
    let customer = subscription
        .word("customer")
        .and_then(|customer| context.find(g::CUSTOMER, customer));
    let Some(customer) = customer else { return Ok(()) };
    let mut invoice = draft(context, &subscription, &customer, "subscription_update");
    invoice::take_pending(context, &mut invoice);
    invoice::open(context, &mut invoice);
    let invoice_id = invoice.id.to_string();
    context.add(invoice);
    context.emit("invoice.finalized", g::INVOICE, &invoice_id);
    subscription.set_text("latest_invoice", &invoice_id);
    context.put(subscription);
    collect(context, id, &invoice_id)
}

/// Its first invoice has been paid: whatever was incomplete is active.
pub(crate) fn paid(context: &mut Context<'_>, id: &str) {
    let Some(mut subscription) = context.find(g::SUBSCRIPTION, id) else {
        return;
    };
    if matches!(subscription.word("status"), Some("incomplete" | "past_due" | "unpaid")) {
        subscription.set_text("status", "active");
        context.put(subscription);
    }
}
