//! Subscriptions: prices that recur. <https://docs.stripe.com/api/subscriptions>

pub(super) mod items;

use super::discount::{self, Target};
use super::invoice::{self, Line, add_line};
use super::{Context, generic};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;

/// Two years. <https://docs.stripe.com/api/subscriptions/create>, `trial_end`
const TRIAL_DAYS_MAX: i64 = 730;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(customer) = context.referred(g::CUSTOMER, "customer")? else {
        return Err(ApiError::missing("customer"));
    };
    let given = context.list("items");
    items::check_count(given.len())?;
    let trial_end = trial_end(context)?;
    check_cancel_at(context)?;
    let mut subscription = context.fresh(g::SUBSCRIPTION);
    context.apply(&mut subscription)?;
    subscription.clear("items");
    subscription.clear("discounts");
    let mut made = Vec::new();
    for (index, given) in given.iter().enumerate() {
        made.push(items::build(
            context,
            &subscription.id.clone(),
            given,
            index,
            trial_end,
        )?);
    }
    items::check_prices(context, &made)?;
    let ids: Vec<String> = made.iter().map(|item| item.id.to_string()).collect();
    subscription.set("items", discount::ids_json(&ids));
    subscription.set_integer("start_date", context.now);
    subscription.set_integer("billing_cycle_anchor", trial_end.unwrap_or(context.now));
    if let Some(currency) = made
        .first()
        .and_then(|item| items::price(context, item))
        .map(|price| price.json("currency").to_owned())
    {
        subscription.set("currency", currency);
    }
    set_trial(&mut subscription, context.now, trial_end);
    let end = made.iter().map(|item| item.amount("current_period_end")).min();
    set_cancellation(context, &mut subscription, end);
    apply_discounts(context, &mut subscription)?;
    check_payable(context, &customer)?;
    let extra = invoice::extra_items(context)?;
    let id = subscription.id.to_string();
    invoice::wait_extra(context, &customer.id, &extra);
    for item in made {
        context.data.table_mut(g::SUBSCRIPTION_ITEM).insert(item);
    }
    context.add(subscription);
    if let Err(error) = first_invoice(context, &id, &customer)
        && context.text("payment_behavior") == Some("error_if_incomplete")
    {
        context.remove(g::SUBSCRIPTION, &id);
        return Err(error);
    }
    finished(context, &id)
}

fn finished(context: &mut Context<'_>, id: &str) -> Result<String, ApiError> {
    match context.find(g::SUBSCRIPTION, id) {
        Some(subscription) => Ok(context.json(&subscription)),
        None => Err(ApiError::no_such("subscription", id, "id").status(404)),
    }
}

/// Whoever is to be sent an invoice has an address to send it to.
fn check_payable(context: &Context<'_>, customer: &Object) -> Result<(), ApiError> {
    let sends = context.text("collection_method") == Some("send_invoice");
    if sends && !context.given("days_until_due") {
        return Err(
            ApiError::invalid("You must pass `days_until_due` when `collection_method` is `send_invoice`.")
                .code("parameter_missing")
                .param("days_until_due"),
        );
    }
    if sends && customer.json("email") == "null" {
        return Err(ApiError::invalid("The customer must have an email address to be sent invoices.").code("missing"));
    }
    Ok(())
}

fn apply_discounts(context: &mut Context<'_>, subscription: &mut Object) -> Result<(), ApiError> {
    if let Some(given) = discount::given(context.params) {
        let customer = subscription.json("customer").to_owned();
        let target = Target {
            field: "subscription",
            id: &subscription.id.clone(),
            customer: &customer,
        };
        let discounts = discount::apply(context, given, &target)?;
        subscription.set("discounts", discount::ids_json(&discounts));
    }
    Ok(())
}

/// The invoice that a subscription begins with, paid at once where that is possible.
fn first_invoice(context: &mut Context<'_>, id: &str, customer: &Object) -> Result<(), ApiError> {
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
    let unpaid = context
        .data
        .get(g::INVOICE, &invoice)
        .is_some_and(|invoice| invoice.word("status") != Some("paid"));
    if unpaid {
        subscription = context.find(g::SUBSCRIPTION, id).unwrap_or(subscription);
        subscription.set_text("status", "incomplete");
        context.put(subscription);
    }
    paid
}

/// An open invoice for the current period of every item, and whatever waits for the customer's next one.
fn bill(context: &mut Context<'_>, id: &str, customer: &Object, reason: &str) -> String {
    let mut invoice = invoice::draft(context, customer);
    let invoice_id = invoice.id.to_string();
    let Some(mut subscription) = context.find(g::SUBSCRIPTION, id) else {
        return invoice_id;
    };
    let details = format!(
        "{{\"quote_details\":null,\"subscription_details\":{{\"metadata\":{{}},\"subscription\":{}}},\"type\":\"subscription_details\"}}",
        text(id)
    );
    invoice.set("parent", details);
    invoice.set_text("billing_reason", reason);
    invoice.set("collection_method", subscription.json("collection_method"));
    invoice.set("currency", subscription.json("currency"));
    invoice.set("auto_advance", "true");
    invoice.set("default_payment_method", subscription.json("default_payment_method"));
    invoice.set("discounts", subscription.json("discounts"));
    if let Some(days) = subscription.integer("days_until_due") {
        invoice.set_integer("due_date", context.now.saturating_add(days.saturating_mul(86_400)));
    }
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
pub(super) fn next_lines(context: &mut Context<'_>, subscription: &Object, invoice: &mut Object) {
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

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    let trial_end = trial_end(context)?;
    check_cancel_at(context)?;
    let mut subscription = context.existing(g::SUBSCRIPTION)?;
    if subscription.word("status") == Some("canceled") {
        return Err(ApiError::invalid(
            "A canceled subscription can only update its cancellation_details and metadata.",
        ));
    }
    let (listed, discounts) = (
        subscription.json("items").to_owned(),
        subscription.json("discounts").to_owned(),
    );
    context.apply(&mut subscription)?;
    subscription.set("items", listed);
    subscription.set("discounts", discounts);
    apply_discounts(context, &mut subscription)?;
    let mut change = items::Change::new(context, &subscription);
    for (index, given) in context.list("items").iter().enumerate() {
        change.apply(context, given, index)?;
    }
    items::check_count(change.items.len())?;
    items::check_prices(context, &change.items)?;
    if change.restarted {
        subscription.set_integer("billing_cycle_anchor", context.now);
    }
    let extra = invoice::extra_items(context)?;
    let ends_trial = subscription.word("status") == Some("trialing") && context.text("trial_end") == Some("now");
    let mut pauses = false;
    if context.given("trial_end") {
        set_trial(&mut subscription, context.now, trial_end);
        change.end_periods(trial_end);
    }
    if ends_trial {
        subscription.set_integer("trial_end", context.now);
        let missing = &subscription.value("trial_settings")["end_behavior"]["missing_payment_method"];
        pauses = missing == "pause" && !invoice::has_method(context, &subscription);
        if pauses {
            subscription.set_text("status", "paused");
        }
        subscription.set_integer("billing_cycle_anchor", context.now);
        change.begin_periods(context);
    }
    if context.given("cancel_at_period_end") {
        set_cancellation(context, &mut subscription, change.period_end());
    }
    subscription.set("items", discount::ids_json(&change.ids()));
    let at_once = change.keep(context, &subscription);
    let id = subscription.id.to_string();
    let customer = subscription.word("customer").unwrap_or_default().to_owned();
    invoice::wait_extra(context, &customer, &extra);
    context.put(subscription);
    if ends_trial && !pauses {
        bill_now(context, &id, &customer)?;
    } else if at_once {
        invoice_changes(context, &id)?;
    }
    finished(context, &id)
}

/// A trial has ended: the first period that costs something is invoiced and paid.
fn bill_now(context: &mut Context<'_>, id: &str, customer: &str) -> Result<(), ApiError> {
    let Some(customer) = context.find(g::CUSTOMER, customer) else {
        return Ok(());
    };
    let invoice = bill(context, id, &customer, "subscription_cycle");
    let sends = context
        .find(g::SUBSCRIPTION, id)
        .is_some_and(|subscription| subscription.word("collection_method") == Some("send_invoice"));
    if sends {
        invoice::settle_nothing(context, &invoice);
        return Ok(());
    }
    let paid = invoice::try_to_pay(context, &invoice);
    if paid.is_err()
        && let Some(mut subscription) = context.find(g::SUBSCRIPTION, id)
    {
        subscription.set_text("status", "past_due");
        context.put(subscription);
    }
    Ok(())
}

/// `proration_behavior=always_invoice`: what has changed is invoiced now.
fn invoice_changes(context: &mut Context<'_>, id: &str) -> Result<(), ApiError> {
    let Some(mut subscription) = context.find(g::SUBSCRIPTION, id) else {
        return Ok(());
    };
    let customer = subscription
        .word("customer")
        .and_then(|customer| context.find(g::CUSTOMER, customer));
    let Some(customer) = customer else { return Ok(()) };
    let mut invoice = invoice::draft(context, &customer);
    let details = format!(
        "{{\"quote_details\":null,\"subscription_details\":{{\"metadata\":{{}},\"subscription\":{}}},\"type\":\"subscription_details\"}}",
        text(id)
    );
    invoice.set("parent", details);
    invoice.set_text("billing_reason", "subscription_update");
    invoice::take_pending(context, &mut invoice);
    invoice::open(context, &mut invoice);
    let invoice_id = invoice.id.to_string();
    context.add(invoice);
    subscription.set_text("latest_invoice", &invoice_id);
    context.put(subscription);
    invoice::try_to_pay(context, &invoice_id)
}

/// Its first invoice has been paid: whatever was incomplete is active.
pub(super) fn paid(context: &mut Context<'_>, id: &str) {
    let Some(mut subscription) = context.find(g::SUBSCRIPTION, id) else {
        return;
    };
    if matches!(subscription.word("status"), Some("incomplete" | "past_due" | "unpaid")) {
        subscription.set_text("status", "active");
        context.put(subscription);
    }
}

pub(super) fn cancel(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut subscription = context.existing(g::SUBSCRIPTION)?;
    if subscription.word("status") == Some("canceled") {
        return Err(context.no_such(g::SUBSCRIPTION));
    }
    context.apply(&mut subscription)?;
    Ok(end(context, subscription))
}

/// Cancels a subscription now. The JSON of what is left.
pub(super) fn end(context: &mut Context<'_>, mut subscription: Object) -> String {
    subscription.set_text("status", "canceled");
    subscription.set_integer("canceled_at", context.now);
    subscription.set_integer("ended_at", context.now);
    let comment = subscription.value("cancellation_details");
    subscription.set(
        "cancellation_details",
        serde_json::json!({
            "comment": comment["comment"], "feedback": comment["feedback"], "reason": "cancellation_requested"
        })
        .to_string(),
    );
    let id = subscription.id.clone();
    let json = context.json(&subscription);
    // Its end is told of as a deletion, not as an update.
    context.put_as(subscription, None);
    context.emit("customer.subscription.deleted", g::SUBSCRIPTION, &id);
    json
}

/// When the trial ends, if there is one.
fn trial_end(context: &Context<'_>) -> Result<Option<i64>, ApiError> {
    if context.text("trial_end") == Some("now") {
        return Ok(None);
    }
    if let Some(end) = context.integer("trial_end")? {
        if end <= context.now {
            return Err(
                ApiError::invalid("Invalid timestamp: must be an integer Unix timestamp in the future.")
                    .param("trial_end"),
            );
        }
        if end > context.now.saturating_add(TRIAL_DAYS_MAX * 86_400) {
            return Err(
                ApiError::invalid("Invalid trial_end: it may be at most two years from now.").param("trial_end"),
            );
        }
        return Ok(Some(end));
    }
    match context.integer("trial_period_days")? {
        Some(days) if !(0..=TRIAL_DAYS_MAX).contains(&days) => {
            Err(ApiError::invalid("Trial periods must be at most 730 days.").param("trial_period_days"))
        }
        Some(days @ 1..) => Ok(Some(context.now.saturating_add(days * 86_400))),
        _ => Ok(None),
    }
}

/// A subscription cannot have ended before now.
fn check_cancel_at(context: &Context<'_>) -> Result<(), ApiError> {
    let named = context
        .text("cancel_at")
        .is_some_and(|text| text.starts_with(|c: char| c.is_ascii_alphabetic()));
    match if named { None } else { context.integer("cancel_at")? } {
        Some(at) if at <= context.now => {
            let message = "`cancel_at` must be a timestamp in the future.";
            Err(ApiError::invalid(message).param("cancel_at"))
        }
        _ => Ok(()),
    }
}

fn set_trial(subscription: &mut Object, now: i64, end: Option<i64>) {
    match end {
        Some(end) => {
            subscription.set("status", "\"trialing\"");
            subscription.set("trial_start", now.to_string());
            subscription.set("trial_end", end.to_string());
        }
        None => {
            subscription.set("status", "\"active\"");
            subscription.clear("trial_end");
        }
    }
}

fn set_cancellation(context: &Context<'_>, subscription: &mut Object, period_end: Option<i64>) {
    match context.flag("cancel_at_period_end") {
        Some(true) => {
            subscription.set_integer("cancel_at", period_end.unwrap_or(context.now));
            subscription.set_integer("canceled_at", context.now);
        }
        Some(false) => {
            subscription.clear("cancel_at");
            subscription.clear("canceled_at");
        }
        None => {}
    }
}

/// Only what was paused, for want of a payment method when its trial ended, goes on.
pub(super) fn resume(context: &mut Context<'_>) -> Result<String, ApiError> {
    let subscription = context.existing(g::SUBSCRIPTION)?;
    if subscription.word("status") != Some("paused") {
        return Err(ApiError::invalid(format!(
            "Only subscriptions with status `paused` can be resumed. This subscription has status `{}`.",
            subscription.word("status").unwrap_or_default()
        )));
    }
    generic::execute(context)
}
