//! What an invoice is made of.

use inflight_stripe::{Params, Value};

use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::resources::discount::{self, Target, described};
use crate::resources::{Context, apply_params, price, text_of};
use crate::schema::SchemaId;

/// One line: what for, how much, from when to when.
pub(crate) struct Line<'a> {
    pub(crate) amount: i64,
    pub(crate) currency: &'a str,
    pub(crate) description: Option<String>,
    pub(crate) quantity: i64,
    pub(crate) period: (i64, i64),
    /// The price, if there is one.
    pub(crate) price: Option<&'a Object>,
    /// The subscription and its item.
    pub(crate) subscription: Option<(&'a str, &'a str)>,
    /// The invoice item that became this line.
    pub(crate) invoice_item: Option<&'a str>,
}

/// Adds a line to an invoice that is not kept yet, or is about to be replaced.
pub(crate) fn add_line(context: &mut Context<'_>, invoice: &mut Object, line: &Line<'_>) {
    let mut object = context.fresh(g::LINE_ITEM);
    object.parent = Some(invoice.id.clone());
    object.set_text("invoice", &invoice.id);
    object.set_integer("amount", line.amount);
    object.set_integer("subtotal", line.amount);
    object.set_text("currency", line.currency);
    object.set_integer("quantity", line.quantity);
    object.set("period", period(line.period));
    object.set("discount_amounts", "[]");
    if let Some(description) = &line.description {
        object.set_text("description", description);
    }
    if let Some(price) = line.price {
        object.set("pricing", pricing(g::LINE_ITEM, price));
    }
    if let Some((subscription, item)) = line.subscription {
        object.set_text("subscription", subscription);
        let details = format!(
            "{{\"invoice_item\":null,\"proration\":false,\"proration_details\":null,\"subscription\":{},\"subscription_item\":{}}}",
            text(subscription),
            text(item)
        );
        object.set(
            "parent",
            format!(
                "{{\"invoice_item_details\":null,\"subscription_item_details\":{details},\"type\":\"subscription_item_details\"}}"
            ),
        );
    } else if let Some(item) = line.invoice_item {
        let details = format!(
            "{{\"invoice_item\":{},\"proration\":false,\"proration_details\":null,\"subscription\":null}}",
            text(item)
        );
        object.set(
            "parent",
            format!("{{\"invoice_item_details\":{details},\"subscription_item_details\":null,\"type\":\"invoice_item_details\"}}"),
        );
    }
    push(invoice, &object.id);
    if invoice.ids("lines").len() == 1 {
        invoice.set_text("currency", line.currency);
    }
    context.data.table_mut(g::LINE_ITEM).insert(object);
}

fn push(invoice: &mut Object, line: &str) {
    let mut lines = invoice.ids("lines");
    lines.push(line.to_owned());
    invoice.set("lines", serde_json::to_string(&lines).unwrap_or_default());
}

pub(super) fn period((start, end): (i64, i64)) -> String {
    format!("{{\"end\":{end},\"start\":{start}}}")
}

/// How a line or an invoice item shows its price.
pub(super) fn pricing(schema: SchemaId, price: &Object) -> String {
    let details = format!(
        "{{\"price\":{},\"product\":{}}}",
        text(&price.id),
        price.json("product")
    );
    described(
        schema.field("pricing").map(|field| field.shape),
        &[
            ("type", "\"price_details\"".to_owned()),
            ("price_details", details),
            ("unit_amount_decimal", price.json("unit_amount_decimal").to_owned()),
        ],
    )
}

/// The price that parameters name or bring along: `pricing[price]`, `price`, `price_data`.
pub(crate) fn price_of(context: &mut Context<'_>, params: &Params, param: &str) -> Result<Option<Object>, ApiError> {
    let named = params
        .get("pricing")
        .and_then(Value::as_map)
        .and_then(|pricing| text_of(pricing, "price"));
    if let Some(id) = named.or_else(|| text_of(params, "price")) {
        let found = context.find(g::PRICE, id);
        return found.map(Some).ok_or_else(|| ApiError::no_such("price", id, param));
    }
    let Some(Value::Map(data)) = params.get("price_data") else {
        return Ok(None);
    };
    let price = price::build(context, data)?;
    price::add(context, price.clone());
    Ok(Some(price))
}

/// The amount of so many of a price.
pub(crate) fn price_amount(price: &Object, quantity: i64) -> i64 {
    if price.word("billing_scheme") == Some("tiered") {
        return tiered(price, quantity);
    }
    let quantity = transformed(price, quantity);
    match price.integer("unit_amount") {
        Some(unit) => unit.saturating_mul(quantity),
        // A fraction of the smallest unit: rounded once, for all of them.
        None => times(price.word("unit_amount_decimal"), quantity),
    }
}

/// So many times a decimal, rounded to the smallest unit.
fn times(decimal: Option<&str>, quantity: i64) -> i64 {
    let unit: f64 = decimal.and_then(|text| text.parse().ok()).unwrap_or(0.0);
    (unit * quantity as f64).round() as i64
}

/// What a tier takes for so many: whole units, or a decimal.
fn of_tier(tier: &serde_json::Value, name: &str, quantity: i64) -> i64 {
    match tier[name].as_i64() {
        Some(unit) => unit.saturating_mul(quantity),
        None => times(tier[format!("{name}_decimal")].as_str(), quantity),
    }
}

/// What is charged for: packages of so many, where the price says so (`transform_quantity`).
fn transformed(price: &Object, quantity: i64) -> i64 {
    let transform = price.value("transform_quantity");
    let Some(size) = transform["divide_by"].as_i64().filter(|size| *size > 0) else {
        return quantity;
    };
    let begun = transform["round"] == "up" && quantity.rem_euclid(size) != 0;
    quantity.div_euclid(size) + i64::from(begun)
}

/// `graduated` goes through the tiers, `volume` has the one that holds the whole quantity.
fn tiered(price: &Object, quantity: i64) -> i64 {
    let tiers = price.value("tiers");
    let graduated = price.word("tiers_mode") == Some("graduated");
    let (mut amount, mut below) = (0_i64, 0_i64);
    for tier in tiers.as_array().into_iter().flatten() {
        let up_to = tier["up_to"].as_i64().unwrap_or(i64::MAX);
        let here = if graduated {
            quantity.min(up_to).saturating_sub(below)
        } else {
            quantity
        };
        let cost = of_tier(tier, "unit_amount", here).saturating_add(of_tier(tier, "flat_amount", 1));
        if graduated && here > 0 {
            amount = amount.saturating_add(cost);
        }
        if quantity <= up_to {
            return if graduated { amount } else { cost };
        }
        below = up_to;
    }
    amount
}

/// Changes a line; its subtotal follows its amount. The customer, whose discounts may be new, is given as JSON.
pub(super) fn apply(
    context: &mut Context<'_>,
    line: &mut Object,
    given: &Params,
    customer: &str,
) -> Result<(), ApiError> {
    let before = line.json("discounts").to_owned();
    apply_params(line, given, context.data)?;
    line.set("discounts", before);
    let discounts = discount::given(given);
    discount::check(context, &Vec::from_iter(discounts), customer)?;
    let price = price_of(context, given, "pricing[price]")?;
    if let Some(discounts) = discounts {
        let target = Target {
            field: "invoice_item",
            id: &line.id.clone(),
            customer,
        };
        let discounts = discount::apply(context, discounts, &target)?;
        line.set("discounts", discount::ids_json(&discounts));
    }
    if let Some(price) = price {
        line.set("pricing", pricing(g::LINE_ITEM, &price));
        line.set_integer("amount", price_amount(&price, line.integer("quantity").unwrap_or(1)));
    }
    line.set("subtotal", line.json("amount").to_owned());
    Ok(())
}
