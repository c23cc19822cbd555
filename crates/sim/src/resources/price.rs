//! Prices, and plans, their older name. <https://docs.stripe.com/api/prices>

use inflight_stripe::{Params, Value};

use super::{Context, apply_params, currency_of, integer_of, product, text_of};
use crate::error::{ApiError, shortened};
use crate::generated as g;
use crate::json;
use crate::object::Object;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let price = build(context, context.params)?;
    let json = context.json(&price);
    add(context, price);
    Ok(json)
}

/// Adds a price, and the lookup key that it may have taken from another one.
pub(super) fn add(context: &mut Context<'_>, price: Object) {
    if let Some(product) = price.word("product") {
        context.data.priced_products.insert(product.into());
    }
    context.add(price);
}

/// A price from its parameters, those of `price.create` or nested ones of the same names.
pub(super) fn build(context: &mut Context<'_>, params: &Params) -> Result<Object, ApiError> {
    let mut price = context.fresh(g::PRICE);
    apply_params(&mut price, params, context.data)?;
    let currency = currency_of(params, "currency")?.ok_or_else(|| ApiError::missing("currency"))?;
    price.set("currency", json::text(&currency));
    set_amount(&mut price, params)?;
    check_tiers(params)?;
    set_recurring(&mut price, params)?;
    set_custom_amount(&mut price, params)?;
    check_lookup_key(context, &price.id, params)?;
    let product = product_of(context, params)?;
    price.set("product", json::text(&product));
    take_lookup_key(context, &price.id, params);
    Ok(price)
}

/// The id of the price's product, which is made if it comes along. Last, since it changes something.
fn product_of(context: &mut Context<'_>, params: &Params) -> Result<String, ApiError> {
    match (text_of(params, "product"), params.get("product_data")) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "You may only specify one of these parameters: product, product_data.",
        )
        .code("parameters_exclusive")),
        (Some(id), None) => {
            // A price that comes along with its product names one that is not there yet.
            let comes_along = context.plan.schema() == Some(g::PRODUCT);
            if !comes_along && context.data.get(g::PRODUCT, id).is_none() {
                return Err(ApiError::no_such("product", id, "product"));
            }
            Ok(id.to_owned())
        }
        (None, Some(Value::Map(data))) => {
            let product = product::inline(context, data)?;
            let id = product.id.to_string();
            context.add(product);
            Ok(id)
        }
        _ => Err(ApiError::invalid("You must pass either `product` or `product_data`.")
            .code("parameter_missing")
            .param("product")),
    }
}

fn set_amount(price: &mut Object, params: &Params) -> Result<(), ApiError> {
    let tiered = text_of(params, "billing_scheme") == Some("tiered");
    let amount = integer_of(params, "unit_amount")?;
    let decimal = text_of(params, "unit_amount_decimal");
    match (amount, decimal) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "You may only specify one of these parameters: unit_amount, unit_amount_decimal.",
        )
        .code("parameters_exclusive")),
        (Some(amount), None) if amount < 0 => Err(ApiError::invalid(format!("Invalid non-negative integer: {amount}"))
            .code("parameter_invalid_integer")
            .param("unit_amount")),
        (Some(amount), None) => {
            price.set("unit_amount_decimal", format!("\"{amount}\""));
            Ok(())
        }
        (None, Some(decimal)) if decimal.parse::<f64>().is_ok_and(|amount| amount < 0.0) => Err(ApiError::invalid(
            format!("Invalid non-negative decimal: {}", shortened(decimal)),
        )
        .param("unit_amount_decimal")),
        (None, Some(decimal)) => {
            if let Ok(amount) = decimal.parse::<i64>() {
                price.set("unit_amount", amount.to_string());
            }
            Ok(())
        }
        (None, None) if params.get("custom_unit_amount").is_some() || (tiered && params.get("tiers").is_some()) => {
            Ok(())
        }
        (None, None) => Err(ApiError::invalid(
            "You must specify one of `unit_amount`, `unit_amount_decimal`, `custom_unit_amount` or `tiers`.",
        )
        .code("parameter_missing")
        .param("unit_amount")),
    }
}

/// Tiers need a mode, and the last of them has no end. <https://docs.stripe.com/api/prices/create>, `tiers`
fn check_tiers(params: &Params) -> Result<(), ApiError> {
    let Some(tiers) = params.get("tiers").and_then(Value::as_list) else {
        return Ok(());
    };
    if text_of(params, "tiers_mode").is_none() {
        return Err(ApiError::missing("tiers_mode"));
    }
    let last = tiers.last().and_then(Value::as_map);
    match last.and_then(|tier| text_of(tier, "up_to")) {
        Some("inf") => Ok(()),
        _ => Err(ApiError::invalid("The last tier must have `up_to` set to `inf`.").param("tiers")),
    }
}

fn set_recurring(price: &mut Object, params: &Params) -> Result<(), ApiError> {
    let Some(Value::Map(recurring)) = params.get("recurring") else {
        return Ok(());
    };
    let interval = text_of(recurring, "interval").ok_or_else(|| ApiError::missing("recurring[interval]"))?;
    let count = integer_of(recurring, "interval_count")?.unwrap_or(1);
    if !(1..=1095).contains(&count) {
        return Err(ApiError::invalid("This value must be between 1 and 1095.").param("recurring[interval_count]"));
    }
    let meter = text_of(recurring, "meter").map_or("null".to_owned(), json::text);
    let usage = text_of(recurring, "usage_type").unwrap_or("licensed");
    price.set("type", "\"recurring\"");
    price.set(
        "recurring",
        format!(
            "{{\"interval\":{},\"interval_count\":{count},\"meter\":{meter},\"usage_type\":{}}}",
            json::text(interval),
            json::text(usage)
        ),
    );
    Ok(())
}

/// What the customer may choose, without the `enabled` that it was asked for with.
fn set_custom_amount(price: &mut Object, params: &Params) -> Result<(), ApiError> {
    let Some(Value::Map(custom)) = params.get("custom_unit_amount") else {
        return Ok(());
    };
    let bound = |name: &str| integer_of(custom, name).map(|n| n.map_or("null".to_owned(), |n| n.to_string()));
    let (maximum, minimum, preset) = (bound("maximum")?, bound("minimum")?, bound("preset")?);
    price.set(
        "custom_unit_amount",
        format!("{{\"maximum\":{maximum},\"minimum\":{minimum},\"preset\":{preset}}}"),
    );
    Ok(())
}

/// A lookup key belongs to one price; another takes it over only with `transfer_lookup_key`.
fn check_lookup_key(context: &Context<'_>, price: &str, params: &Params) -> Result<(), ApiError> {
    let transfer = text_of(params, "transfer_lookup_key") == Some("true");
    let owner = text_of(params, "lookup_key").and_then(|key| context.data.lookup_keys.get(key));
    match owner {
        Some(owner) if !transfer && &**owner != price => {
            let message = format!("A price (`{owner}`) already uses that lookup key.");
            Err(ApiError::invalid(message)
                .code("resource_already_exists")
                .param("lookup_key"))
        }
        _ => Ok(()),
    }
}

fn take_lookup_key(context: &mut Context<'_>, price: &str, params: &Params) {
    let Some(key) = text_of(params, "lookup_key") else {
        return;
    };
    let before = context.data.lookup_keys.insert(key.into(), price.into());
    if let Some(before) = before.filter(|owner| &**owner != price)
        && let Some(owner) = context.data.table_mut(g::PRICE).get_mut(&before)
    {
        owner.clear("lookup_key");
    }
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    context.update(g::PRICE, |context, price| {
        if context.params.get("lookup_key").is_none() {
            return Ok(());
        }
        check_lookup_key(context, &price.id, context.params)?;
        // The JSON of a text reads back as that text.
        let before = context.existing(g::PRICE)?.json("lookup_key").to_owned();
        if let Ok(before) = serde_json::from_str::<String>(&before) {
            context.data.lookup_keys.remove(&*before);
        }
        take_lookup_key(context, &price.id, context.params);
        Ok(())
    })
}

/// A plan: the older name of a recurring price. There is a price of the same id.
pub(super) fn create_plan(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut plan = super::generic::build(context, g::PLAN)?;
    let product = match context.params.get("product") {
        Some(Value::Map(data)) => {
            let product = product::inline(context, data)?;
            let id = product.id.to_string();
            context.add(product);
            Some(id)
        }
        _ => context.text("product").map(str::to_owned),
    };
    let mut price = Object::new(g::PRICE, plan.id.clone(), context.now);
    if let Some(product) = product {
        plan.set_text("product", &product);
        price.set_text("product", &product);
        context.data.priced_products.insert(product.into());
    }
    price.set("unit_amount", plan.json("amount"));
    price.set("unit_amount_decimal", plan.json("amount_decimal"));
    if let Some(amount) = plan.integer("amount") {
        price.set_text("unit_amount_decimal", &amount.to_string());
        plan.set_text("amount_decimal", &amount.to_string());
    }
    price.set("currency", plan.json("currency"));
    price.set("active", plan.json("active"));
    price.set("type", "\"recurring\"");
    price.set(
        "recurring",
        format!(
            "{{\"interval\":{},\"interval_count\":{},\"meter\":null,\"usage_type\":{}}}",
            plan.json("interval"),
            plan.json("interval_count"),
            plan.json("usage_type")
        ),
    );
    context.data.table_mut(g::PRICE).insert(price);
    context.insert(plan)
}
