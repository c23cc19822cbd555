//! Subscriptions: prices that recur. <https://docs.stripe.com/api/subscriptions>

mod billing;
pub(super) mod items;
mod terms;

use self::billing::{bill_now, first_invoice, invoice_changes, whole};
pub(super) use self::billing::{next_lines, paid};
use self::terms::{check_cancel_at, set_cancellation, set_trial, trial_end};
use super::discount::{self, Target};
use super::{Context, generic, invoice};
use crate::error::ApiError;
use crate::generated as g;
use crate::object::Object;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut like_it = Object::new(g::SUBSCRIPTION, "", context.now);
    context.apply(&mut like_it)?;
    whole(context, &like_it, create_now)
}

fn create_now(context: &mut Context<'_>) -> Result<String, ApiError> {
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
    let ends: Vec<i64> = made.iter().map(|item| item.amount("current_period_end")).collect();
    set_cancellation(context, &mut subscription, &ends);
    check_payable(context, &customer)?;
    let extra = invoice::extra_items(context)?;
    apply_discounts(context, &mut subscription)?;
    let id = subscription.id.to_string();
    invoice::wait_extra(context, &customer.id, &extra);
    for item in made {
        context.data.table_mut(g::SUBSCRIPTION_ITEM).insert(item);
    }
    context.add(subscription);
    first_invoice(context, &id, &customer)?;
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

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut like_it = context.existing(g::SUBSCRIPTION)?;
    if has_ended(&like_it) {
        return update_canceled(context);
    }
    context.apply(&mut like_it)?;
    whole(context, &like_it, update_now)
}

fn update_canceled(context: &mut Context<'_>) -> Result<String, ApiError> {
    let allowed = |name: &str| matches!(name, "cancellation_details" | "expand" | "metadata");
    if context.params.iter().all(|(name, _)| allowed(name)) {
        return context.update(g::SUBSCRIPTION, |_, _| Ok(()));
    }
    Err(ApiError::invalid(
        "A canceled subscription can only update its cancellation_details and metadata.",
    ))
}

fn update_now(context: &mut Context<'_>) -> Result<String, ApiError> {
    let trial_end = trial_end(context)?;
    check_cancel_at(context)?;
    let mut subscription = context.existing(g::SUBSCRIPTION)?;
    let (listed, discounts) = (
        subscription.json("items").to_owned(),
        subscription.json("discounts").to_owned(),
    );
    context.apply(&mut subscription)?;
    subscription.set("items", listed);
    subscription.set("discounts", discounts);
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
    apply_discounts(context, &mut subscription)?;
    let ends_trial = subscription.word("status") == Some("trialing") && context.text("trial_end") == Some("now");
    let mut pauses = false;
    // `now` ends a trial, and does nothing to what has none.
    if trial_end.is_some() || ends_trial {
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
    set_cancellation(context, &mut subscription, &change.period_ends());
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

pub(super) fn cancel(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut subscription = context.existing(g::SUBSCRIPTION)?;
    if has_ended(&subscription) {
        return Err(context.no_such(g::SUBSCRIPTION));
    }
    context.apply(&mut subscription)?;
    Ok(end(context, subscription))
}

/// Whether nothing comes after it any more. <https://docs.stripe.com/api/subscriptions/object#subscription_object-status>
pub(super) fn has_ended(subscription: &Object) -> bool {
    matches!(subscription.word("status"), Some("canceled" | "incomplete_expired"))
}

/// Cancels a subscription now; one that has never been paid for expires. The JSON of what is left.
pub(super) fn end(context: &mut Context<'_>, mut subscription: Object) -> String {
    let status = match subscription.word("status") {
        Some("incomplete") => "incomplete_expired",
        _ => "canceled",
    };
    subscription.set_text("status", status);
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
