use inflight_stripe::{Params, Value};

use super::{Context, integer_of, price, text_of};
use crate::calendar::add_interval;
use crate::error::ApiError;
use crate::object::{Item, Object, Type};

/// A subscription has at most so many items. <https://docs.stripe.com/billing/subscriptions/multiple-products>
const ITEMS_MAX: usize = 20;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    if context.text("customer").is_none() {
        return Err(ApiError::missing("customer"));
    }
    context.check_reference("customer", Type::Customer)?;
    let Some(Value::List(given)) = context.params.get("items") else {
        return Err(ApiError::missing("items"));
    };
    check_count(given.len())?;
    let trial_end = trial_end(context)?;
    let id = context.random.id("sub_1", 23);
    let mut subscription = Object::new(Type::Subscription, id, context.now);
    context.apply(&mut subscription)?;
    let period_end = trial_end;
    for (index, given) in given.iter().enumerate() {
        let item = new_item(context, given, index, period_end)?;
        subscription.items.push(item);
    }
    let now = context.now.to_string();
    subscription.set("start_date", &*now);
    subscription.set("billing_cycle_anchor", trial_end.unwrap_or(context.now).to_string());
    set_currency(context, &mut subscription);
    set_trial(&mut subscription, context.now, trial_end);
    set_cancellation(context, &mut subscription);
    context.insert(subscription)
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    let trial_end = trial_end(context)?;
    context.update(Type::Subscription, |context, subscription| {
        if subscription.word("status") == Some("canceled") {
            return Err(ApiError::invalid(
                "A canceled subscription can only update its cancellation_details and metadata.",
            ));
        }
        if let Some(Value::List(given)) = context.params.get("items") {
            for (index, given) in given.iter().enumerate() {
                update_item(context, subscription, given, index)?;
            }
            check_count(subscription.items.len())?;
        }
        if context.given("trial_end") {
            set_trial(subscription, context.now, trial_end);
        }
        if context.given("cancel_at_period_end") {
            set_cancellation(context, subscription);
        }
        Ok(())
    })
}

pub(super) fn cancel(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut subscription = context.existing(Type::Subscription)?.clone();
    if subscription.word("status") == Some("canceled") {
        return Err(context.no_such(Type::Subscription));
    }
    context.apply(&mut subscription)?;
    let now = context.now.to_string();
    subscription.set("status", "\"canceled\"");
    subscription.set("canceled_at", &*now);
    subscription.set("ended_at", now);
    subscription.set(
        "cancellation_details",
        r#"{"comment":null,"feedback":null,"reason":"cancellation_requested"}"#,
    );
    context.replace(subscription)
}

fn check_count(items: usize) -> Result<(), ApiError> {
    match items {
        0 => Err(ApiError::missing("items")),
        1..=ITEMS_MAX => Ok(()),
        _ => Err(ApiError::invalid(format!("A subscription can have at most {ITEMS_MAX} items.")).param("items")),
    }
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
        return Ok(Some(end));
    }
    match context.integer("trial_period_days")? {
        // Two years, as Stripe has it.
        Some(days) if !(0..=730).contains(&days) => {
            Err(ApiError::invalid("Trial periods must be at most 730 days.").param("trial_period_days"))
        }
        Some(days @ 1..) => Ok(Some(context.now.saturating_add(days * 86_400))),
        _ => Ok(None),
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

fn set_cancellation(context: &Context<'_>, subscription: &mut Object) {
    match context.flag("cancel_at_period_end") {
        Some(true) => {
            let end = subscription.items.iter().map(|item| item.period_end).min();
            subscription.set("cancel_at", end.unwrap_or(context.now).to_string());
            subscription.set("canceled_at", context.now.to_string());
        }
        Some(false) => {
            subscription.clear("cancel_at");
            subscription.clear("canceled_at");
        }
        None => {}
    }
}

fn set_currency(context: &Context<'_>, subscription: &mut Object) {
    let price = subscription
        .items
        .first()
        .and_then(|item| context.data.table(Type::Price).get(&item.price));
    if let Some(price) = price {
        subscription.set("currency", price.json("currency"));
    }
}

fn new_item(context: &mut Context<'_>, given: &Value, index: usize, period_end: Option<i64>) -> Result<Item, ApiError> {
    let Value::Map(given) = given else {
        return Err(ApiError::missing(&format!("items[{index}][price]")));
    };
    let price = price_of(context, given, index)?;
    let created = context.now;
    let regular_end = context
        .data
        .table(Type::Price)
        .get(&price)
        .map(|price| period_from(price, created));
    Ok(Item {
        id: context.random.id("si_", 14).into(),
        created,
        price: price.into(),
        quantity: quantity_of(given, index)?.unwrap_or(1),
        period_start: created,
        period_end: period_end.or(regular_end).unwrap_or(created),
    })
}

fn period_from(price: &Object, start: i64) -> i64 {
    let recurring: serde_json::Value = serde_json::from_str(price.json("recurring")).unwrap_or_default();
    let interval = recurring["interval"].as_str().unwrap_or("month");
    add_interval(start, interval, recurring["interval_count"].as_i64().unwrap_or(1))
}

/// The id of an item's price: one that exists and recurs, or one that comes along.
fn price_of(context: &mut Context<'_>, given: &Params, index: usize) -> Result<String, ApiError> {
    let param = format!("items[{index}][price]");
    if let Some(Value::Map(data)) = given.get("price_data") {
        if data
            .get("recurring")
            .is_none_or(|recurring| recurring.as_map().is_none())
        {
            return Err(ApiError::missing(&format!("items[{index}][price_data][recurring]")));
        }
        let price = price::build(context, data)?;
        let id = price.id.to_string();
        price::add(context, price);
        return Ok(id);
    }
    let id = text_of(given, "price")
        .or_else(|| text_of(given, "plan"))
        .ok_or_else(|| ApiError::missing(&param))?;
    let Some(price) = context.data.table(Type::Price).get(id) else {
        return Err(ApiError::no_such("price", id, &param));
    };
    if price.json("active") != "true" {
        return Err(
            ApiError::invalid("The price specified is inactive. This field only accepts active prices.").param(param),
        );
    }
    if price.word("type") != Some("recurring") {
        return Err(ApiError::invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
        )
        .param(param));
    }
    Ok(id.to_owned())
}

fn quantity_of(given: &Params, index: usize) -> Result<Option<i64>, ApiError> {
    let quantity = integer_of(given, "quantity")?;
    if quantity.is_some_and(|quantity| quantity < 0) {
        let message = "This value must be greater than or equal to 0.";
        return Err(ApiError::invalid(message).param(format!("items[{index}][quantity]")));
    }
    Ok(quantity)
}

/// Without an id an item is added; with one it is changed or deleted.
fn update_item(
    context: &mut Context<'_>,
    subscription: &mut Object,
    given: &Value,
    index: usize,
) -> Result<(), ApiError> {
    let id = given.as_map().and_then(|given| text_of(given, "id"));
    let (Some(id), Value::Map(params)) = (id, given) else {
        let item = new_item(context, given, index, None)?;
        subscription.items.push(item);
        return Ok(());
    };
    let Some(at) = subscription.items.iter().position(|item| &*item.id == id) else {
        return Err(ApiError::no_such(
            "subscription_item",
            id,
            &format!("items[{index}][id]"),
        ));
    };
    if text_of(params, "deleted") == Some("true") {
        subscription.items.remove(at);
        return Ok(());
    }
    if params.get("price").is_some() || params.get("price_data").is_some() {
        subscription.items[at].price = price_of(context, params, index)?.into();
    }
    if let Some(quantity) = quantity_of(params, index)? {
        subscription.items[at].quantity = quantity;
    }
    Ok(())
}
