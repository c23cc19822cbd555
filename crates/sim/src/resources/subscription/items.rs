//! What a subscription is made of. <https://docs.stripe.com/api/subscription_items>

use inflight_stripe::{Params, Value};

use super::billing::whole;
use crate::calendar::{add_interval, day};
use crate::error::ApiError;
use crate::generated as g;
use crate::object::Object;
use crate::resources::discount::ids_json;
use crate::resources::invoice::{Proration, add_pending, price_amount};
use crate::resources::{Context, apply_params, integer_of, price as prices, text_of};

/// A subscription has at most so many items. <https://docs.stripe.com/billing/subscriptions/multiple-products>
const ITEMS_MAX: usize = 20;

pub(super) fn check_count(items: usize) -> Result<(), ApiError> {
    match items {
        0 => Err(ApiError::missing("items")),
        1..=ITEMS_MAX => Ok(()),
        _ => Err(ApiError::invalid(format!("A subscription can have at most {ITEMS_MAX} items.")).param("items")),
    }
}

/// The price of an item.
pub(super) fn price<'c>(context: &'c Context<'_>, item: &Object) -> Option<&'c Object> {
    context.data.get(g::PRICE, item.word("price")?)
}

/// What an item costs for one period. Usage that is metered is not known when the period begins.
pub(super) fn charged(price: &Object, quantity: i64) -> i64 {
    let metered = price.value("recurring")["usage_type"] == "metered";
    if metered { 0 } else { price_amount(price, quantity) }
}

/// One item for each price, and one currency for all of them.
pub(super) fn check_prices(context: &Context<'_>, items: &[Object]) -> Result<(), ApiError> {
    let currency = |item: &Object| price(context, item).map(|price| price.json("currency").to_owned());
    for (place, item) in items.iter().enumerate() {
        if items[..place]
            .iter()
            .any(|other| other.json("price") == item.json("price"))
        {
            let price = item.word("price").unwrap_or_default();
            return Err(ApiError::invalid(format!(
                "Cannot add multiple subscription items with the same plan: {price}"
            )));
        }
        if currency(&items[0]) != currency(item) {
            return Err(
                ApiError::invalid("All prices on a subscription must have the same currency.")
                    .param(format!("items[{place}][price]")),
            );
        }
    }
    Ok(())
}

/// A new item. It is not kept yet.
pub(super) fn build(
    context: &mut Context<'_>,
    subscription: &str,
    given: &Value,
    index: usize,
    period_end: Option<i64>,
) -> Result<Object, ApiError> {
    let param = |name: &str| format!("items[{index}][{name}]");
    let Value::Map(given) = given else {
        return Err(ApiError::missing(&param("price")));
    };
    from_params(context, subscription, given, period_end, &param)
}

fn from_params(
    context: &mut Context<'_>,
    subscription: &str,
    given: &Params,
    period_end: Option<i64>,
    param: &dyn Fn(&str) -> String,
) -> Result<Object, ApiError> {
    let price = price_of(context, given, param)?;
    let start = context.now;
    let regular_end = context
        .data
        .get(g::PRICE, &price)
        .map(|price| period_from(price, start));
    let mut item = context.fresh(g::SUBSCRIPTION_ITEM);
    apply_params(&mut item, given, context.data)?;
    item.clear("discounts");
    item.set_text("subscription", subscription);
    item.set_text("price", &price);
    item.set_integer("quantity", quantity_of(given, param)?.unwrap_or(1));
    item.set_integer("current_period_start", start);
    item.set_integer("current_period_end", period_end.or(regular_end).unwrap_or(start));
    Ok(item)
}

pub(super) fn period_from(price: &Object, start: i64) -> i64 {
    let recurring = price.value("recurring");
    let interval = recurring["interval"].as_str().unwrap_or("month");
    add_interval(start, interval, recurring["interval_count"].as_i64().unwrap_or(1))
}

/// The id of an item's price: one that exists and recurs, or one that comes along.
fn price_of(context: &mut Context<'_>, given: &Params, param: &dyn Fn(&str) -> String) -> Result<String, ApiError> {
    let name = param("price");
    if let Some(Value::Map(data)) = given.get("price_data") {
        if data
            .get("recurring")
            .is_none_or(|recurring| recurring.as_map().is_none())
        {
            return Err(ApiError::missing(&param("price_data][recurring")));
        }
        let price = prices::build(context, data)?;
        let id = price.id.to_string();
        prices::add(context, price);
        return Ok(id);
    }
    let id = text_of(given, "price")
        .or_else(|| text_of(given, "plan"))
        .ok_or_else(|| ApiError::missing(&name))?;
    let Some(price) = context.data.get(g::PRICE, id) else {
        return Err(ApiError::no_such("price", id, &name));
    };
    if price.json("active") != "true" {
        return Err(
            ApiError::invalid("The price specified is inactive. This field only accepts active prices.").param(name),
        );
    }
    if price.word("type") != Some("recurring") {
        return Err(ApiError::invalid(
            "The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.",
        )
        .param(name));
    }
    Ok(id.to_owned())
}

fn quantity_of(given: &Params, param: &dyn Fn(&str) -> String) -> Result<Option<i64>, ApiError> {
    let quantity = integer_of(given, "quantity")?;
    if quantity.is_some_and(|quantity| quantity < 0) {
        let message = "This value must be greater than or equal to 0.";
        return Err(ApiError::invalid(message).param(param("quantity")));
    }
    Ok(quantity)
}

/// Items while they are changed. Nothing is kept until all changes are known to be sound.
pub(super) struct Change {
    subscription: String,
    pub(super) items: Vec<Object>,
    /// What the rest of the period costs more, or less, and what for.
    prorations: Vec<Proration>,
    /// Whether a price of another interval has begun a new period.
    pub(super) restarted: bool,
}

impl Change {
    pub(super) fn new(context: &Context<'_>, subscription: &Object) -> Self {
        let ids = subscription.ids("items");
        Self {
            subscription: subscription.id.to_string(),
            items: ids
                .iter()
                .filter_map(|id| context.find(g::SUBSCRIPTION_ITEM, id))
                .collect(),
            prorations: Vec::new(),
            restarted: false,
        }
    }

    pub(super) fn ids(&self) -> Vec<String> {
        self.items.iter().map(|item| item.id.to_string()).collect()
    }

    pub(super) fn period_ends(&self) -> Vec<i64> {
        self.items
            .iter()
            .map(|item| item.amount("current_period_end"))
            .collect()
    }

    fn period_end(&self) -> Option<i64> {
        self.period_ends().into_iter().min()
    }

    pub(super) fn end_periods(&mut self, end: Option<i64>) {
        for item in &mut self.items {
            if let Some(end) = end {
                item.set_integer("current_period_end", end);
            }
        }
    }

    /// Every item's period begins now.
    pub(super) fn begin_periods(&mut self, context: &Context<'_>) {
        for item in &mut self.items {
            let end = price(context, item).map(|price| period_from(price, context.now));
            item.set_integer("current_period_start", context.now);
            item.set_integer("current_period_end", end.unwrap_or(context.now));
        }
        // What was free is not given back.
        self.prorations.clear();
    }

    /// Without an id an item is added; with one it is changed or deleted.
    pub(super) fn apply(&mut self, context: &mut Context<'_>, given: &Value, index: usize) -> Result<(), ApiError> {
        let param = |name: &str| format!("items[{index}][{name}]");
        let id = given.as_map().and_then(|given| text_of(given, "id"));
        let (Some(id), Value::Map(params)) = (id, given) else {
            let end = self.period_end();
            let item = build(context, &self.subscription.clone(), given, index, end)?;
            self.prorate(context, &item, 1);
            self.items.push(item);
            return Ok(());
        };
        let Some(at) = self.items.iter().position(|item| &*item.id == id) else {
            return Err(ApiError::no_such("subscription_item", id, &param("id")));
        };
        if text_of(params, "deleted") == Some("true") {
            let item = self.items.remove(at);
            self.prorate(context, &item, -1);
            return Ok(());
        }
        self.update(context, at, params, &param)
    }

    fn update(
        &mut self,
        context: &mut Context<'_>,
        at: usize,
        params: &Params,
        param: &dyn Fn(&str) -> String,
    ) -> Result<(), ApiError> {
        let before = self.items[at].clone();
        let mut item = before.clone();
        if params.get("price").is_some() || params.get("price_data").is_some() {
            let price = price_of(context, params, param)?;
            item.set_text("price", &price);
        }
        if let Some(quantity) = quantity_of(params, param)? {
            item.set_integer("quantity", quantity);
        }
        if let Some(metadata) = params.get("metadata") {
            crate::resources::apply_metadata(&mut item, metadata)?;
        }
        self.prorate(context, &before, -1);
        let length = |item: &Object| price(context, item).map(|price| period_from(price, 0));
        let begins = length(&before) != length(&item);
        if begins {
            let end = price(context, &item).map(|price| period_from(price, context.now));
            item.set_integer("current_period_start", context.now);
            item.set_integer("current_period_end", end.unwrap_or(context.now));
            self.restarted = true;
        }
        self.prorate(context, &item, 1);
        if let Some(last) = self.prorations.last_mut() {
            last.begins = begins;
        }
        self.items[at] = item;
        Ok(())
    }

    /// The part of an item's cost that the rest of the period stands for, by the second.
    fn prorate(&mut self, context: &Context<'_>, item: &Object, sign: i64) {
        let Some(price) = price(context, item) else { return };
        let (start, end) = (item.amount("current_period_start"), item.amount("current_period_end"));
        let whole = i128::from(end.saturating_sub(start).max(1));
        let left = i128::from(end.saturating_sub(context.now.max(start)).max(0)).min(whole);
        let cost = i128::from(charged(price, item.amount("quantity")));
        let part = i64::try_from((cost * left + whole / 2).div_euclid(whole)).unwrap_or(i64::MAX);
        let product = price.word("product").and_then(|id| context.data.get(g::PRODUCT, id));
        let name = product.map(|product| product.value("name")).unwrap_or_default();
        let name = name.as_str().unwrap_or("item").to_owned();
        let what = if sign < 0 {
            "Unused time on"
        } else {
            "Remaining time on"
        };
        let quantity = item.amount("quantity");
        let many = if quantity == 1 {
            String::new()
        } else {
            format!("{quantity} × ")
        };
        self.prorations.push(Proration {
            amount: sign * part,
            description: format!("{what} {many}{name} after {}", day(context.now)),
            quantity,
            period: (context.now, end.max(context.now)),
            price: price.id.to_string(),
            begins: false,
        });
    }

    /// Keeps all changes. Whether an invoice is to be made at once.
    pub(super) fn keep(mut self, context: &mut Context<'_>, subscription: &Object) -> bool {
        let before = context
            .find(g::SUBSCRIPTION, &subscription.id)
            .map(|old| old.ids("items"))
            .unwrap_or_default();
        let kept = self.ids();
        for gone in before.iter().filter(|id| !kept.contains(id)) {
            context.remove(g::SUBSCRIPTION_ITEM, gone);
        }
        for item in std::mem::take(&mut self.items) {
            context.put(item);
        }
        let behavior = context.text("proration_behavior").unwrap_or("create_prorations");
        if behavior == "none" {
            self.prorations.retain(|proration| proration.begins);
        }
        let changes = self.prorations.iter().map(|one| one.amount).sum::<i64>() != 0;
        let free = subscription.word("status") != Some("active");
        if free || !changes {
            return false;
        }
        let customer = subscription.word("customer").unwrap_or_default().to_owned();
        let currency = subscription.word("currency").unwrap_or("usd").to_owned();
        for proration in &self.prorations {
            add_pending(context, &customer, &currency, proration);
        }
        behavior == "always_invoice" || self.restarted
    }
}

/// `POST /v1/subscription_items`
pub(crate) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    match context.referred(g::SUBSCRIPTION, "subscription")? {
        Some(subscription) => whole(context, &subscription, create_now),
        None => Err(ApiError::missing("subscription")),
    }
}

fn create_now(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(mut subscription) = context.referred(g::SUBSCRIPTION, "subscription")? else {
        return Err(ApiError::missing("subscription"));
    };
    let mut change = Change::new(context, &subscription);
    check_count(change.items.len() + 1)?;
    let end = change.period_end();
    let item = from_params(context, &subscription.id.clone(), context.params, end, &|name| {
        name.to_owned()
    })?;
    let json = context.json(&item);
    change.prorate(context, &item, 1);
    change.items.push(item);
    check_prices(context, &change.items)?;
    finish(context, &mut subscription, change)?;
    Ok(json)
}

fn finish(context: &mut Context<'_>, subscription: &mut Object, change: Change) -> Result<(), ApiError> {
    subscription.set("items", ids_json(&change.ids()));
    if change.restarted {
        subscription.set_integer("billing_cycle_anchor", context.now);
    }
    let at_once = change.keep(context, subscription);
    context.put(subscription.clone());
    if at_once {
        super::invoice_changes(context, &subscription.id)?;
    }
    Ok(())
}

pub(crate) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    let (subscription, ..) = in_path(context)?;
    whole(context, &subscription, update_now)
}

fn update_now(context: &mut Context<'_>) -> Result<String, ApiError> {
    let (mut subscription, mut change, at) = in_path(context)?;
    change.update(context, at, context.params, &|name| name.to_owned())?;
    check_prices(context, &change.items)?;
    let json = context.json(&change.items[at]);
    finish(context, &mut subscription, change)?;
    Ok(json)
}

pub(crate) fn delete(context: &mut Context<'_>) -> Result<String, ApiError> {
    let (subscription, ..) = in_path(context)?;
    whole(context, &subscription, delete_now)
}

fn delete_now(context: &mut Context<'_>) -> Result<String, ApiError> {
    let (mut subscription, mut change, at) = in_path(context)?;
    if change.items.len() == 1 {
        return Err(ApiError::invalid(
            "A subscription must have at least one active plan. To remove all plans, cancel the subscription.",
        ));
    }
    let item = change.items.remove(at);
    change.prorate(context, &item, -1);
    finish(context, &mut subscription, change)?;
    Ok(crate::resources::generic::stub(context.plan.shape, &item))
}

/// The subscription of the item in the path, its items, and which one it is.
fn in_path(context: &mut Context<'_>) -> Result<(Object, Change, usize), ApiError> {
    let item = context.existing(g::SUBSCRIPTION_ITEM)?;
    let subscription = item
        .word("subscription")
        .and_then(|id| context.find(g::SUBSCRIPTION, id));
    let Some(subscription) = subscription else {
        return Err(context.no_such(g::SUBSCRIPTION_ITEM));
    };
    let change = Change::new(context, &subscription);
    match change.items.iter().position(|known| known.id == item.id) {
        Some(at) => Ok((subscription, change, at)),
        None => Err(context.no_such(g::SUBSCRIPTION_ITEM)),
    }
}
