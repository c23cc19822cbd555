//! Invoice items: what waits for a customer's next invoice. <https://docs.stripe.com/api/invoiceitems>

use super::line::{self, Line, add_line, price_amount, price_of};
use super::{not_editable, total};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::resources::discount::{self, Target};
use crate::resources::{Context, currency_of, generic, integer_of};

pub(crate) fn create_item(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(customer) = context.referred(g::CUSTOMER, "customer")? else {
        return Err(ApiError::missing("customer"));
    };
    let invoice = context.referred(g::INVOICE, "invoice")?;
    if invoice
        .as_ref()
        .is_some_and(|invoice| invoice.word("status") != Some("draft"))
    {
        return Err(not_editable());
    }
    let price = price_of(context, context.params, "pricing[price]")?;
    let quantity = context.integer("quantity")?.unwrap_or(1);
    let amount = context.integer("amount")?.or(context
        .integer("unit_amount")?
        .map(|unit| unit.saturating_mul(quantity)));
    let amount = amount.or(price.as_ref().map(|price| price_amount(price, quantity)));
    let Some(amount) = amount else {
        return Err(ApiError::missing("amount"));
    };
    let given = currency_of(context.params, "currency")?;
    let of_price = price
        .as_ref()
        .and_then(|price| price.word("currency"))
        .map(str::to_owned);
    let of_customer = customer.word("currency").map(str::to_owned);
    let currency = of_price.or(given).or(of_customer).unwrap_or_else(|| "usd".to_owned());
    let discounts = discount::given(context.params);
    let mut item = generic::build(context, g::INVOICEITEM)?;
    item.set_integer("date", context.now);
    item.set_integer("amount", amount);
    item.set_integer("quantity", quantity);
    item.set_text("quantity_decimal", &quantity.to_string());
    item.set_text("currency", &currency);
    if !item.has("period") {
        item.set("period", line::period((context.now, context.now)));
    }
    if let Some(price) = &price {
        item.set("pricing", line::pricing(g::INVOICEITEM, price));
    }
    if let Some(given) = discounts {
        let target = Target {
            field: "invoice_item",
            id: &item.id.clone(),
            customer: &text(&customer.id),
        };
        let discounts = discount::apply(context, given, &target)?;
        item.set("discounts", discount::ids_json(&discounts));
    }
    match invoice {
        Some(mut invoice) => {
            become_line(context, &mut invoice, &item);
            total(context, &mut invoice);
            context.put(invoice);
        }
        None => wait(context, &customer.id, &item.id),
    }
    context.insert(item)
}

fn wait(context: &mut Context<'_>, customer: &str, item: &str) {
    context
        .data
        .pending_items
        .entry(customer.into())
        .or_default()
        .push(item.into());
}

/// What the rest of a period costs more, or less.
pub(crate) struct Proration {
    pub(crate) amount: i64,
    pub(crate) description: String,
    pub(crate) quantity: i64,
    pub(crate) period: (i64, i64),
    /// The price's id.
    pub(crate) price: String,
    /// Whether it begins a new period, which is charged for in any case.
    pub(crate) begins: bool,
}

/// A proration waits for the customer's next invoice.
pub(crate) fn add_pending(context: &mut Context<'_>, customer: &str, currency: &str, proration: &Proration) {
    let mut item = context.fresh(g::INVOICEITEM);
    item.set_text("customer", customer);
    item.set_integer("date", context.now);
    item.set_integer("amount", proration.amount);
    item.set_integer("quantity", proration.quantity);
    item.set_text("quantity_decimal", &proration.quantity.to_string());
    item.set_text("currency", currency);
    item.set_text("description", &proration.description);
    item.set("period", line::period(proration.period));
    if let Some(price) = context.data.get(g::PRICE, &proration.price) {
        item.set("pricing", line::pricing(g::INVOICEITEM, price));
    }
    item.set("proration", "true");
    item.set("discountable", "false");
    wait(context, customer, &item.id);
    context.add(item);
}

/// What `add_invoice_items` of a subscription asks for: prices and how many of each.
pub(crate) fn extra_items(context: &mut Context<'_>) -> Result<Vec<(Object, i64)>, ApiError> {
    let mut extra = Vec::new();
    for (index, given) in context.list("add_invoice_items").iter().enumerate() {
        let name = format!("add_invoice_items[{index}][price]");
        let Some(given) = given.as_map() else {
            return Err(ApiError::missing(&name));
        };
        let Some(price) = price_of(context, given, &name)? else {
            return Err(ApiError::missing(&name));
        };
        let quantity = integer_of(given, "quantity")?.unwrap_or(1);
        extra.push((price, quantity));
    }
    Ok(extra)
}

/// Such items wait for the next invoice, which may be made at once.
pub(crate) fn wait_extra(context: &mut Context<'_>, customer: &str, extra: &[(Object, i64)]) {
    for (price, quantity) in extra {
        let mut item = context.fresh(g::INVOICEITEM);
        item.set_text("customer", customer);
        item.set_integer("date", context.now);
        item.set_integer("amount", price_amount(price, *quantity));
        item.set_integer("quantity", *quantity);
        item.set_text("quantity_decimal", &quantity.to_string());
        item.set("currency", price.json("currency"));
        item.set("period", line::period((context.now, context.now)));
        item.set("pricing", line::pricing(g::INVOICEITEM, price));
        let product = price.word("product").and_then(|id| context.data.get(g::PRODUCT, id));
        if let Some(product) = product {
            item.set("description", product.json("name"));
        }
        wait(context, customer, &item.id);
        context.add(item);
    }
}

fn become_line(context: &mut Context<'_>, invoice: &mut Object, item: &Object) {
    let period = item.value("period");
    let details = item.value("pricing");
    let price = details["price_details"]["price"]
        .as_str()
        .and_then(|id| context.find(g::PRICE, id));
    let currency = item.word("currency").unwrap_or("usd").to_owned();
    let line = Line {
        amount: item.amount("amount"),
        currency: &currency,
        description: item.value("description").as_str().map(str::to_owned),
        quantity: item.amount("quantity"),
        period: (
            period["start"].as_i64().unwrap_or(context.now),
            period["end"].as_i64().unwrap_or(context.now),
        ),
        price: price.as_ref(),
        subscription: None,
        invoice_item: Some(&item.id),
    };
    add_line(context, invoice, &line);
    let lines = invoice.ids("lines");
    let line = lines
        .last()
        .and_then(|id| context.data.table_mut(g::LINE_ITEM).get_mut(id));
    if let Some(line) = line {
        copy_to(item, line);
    }
}

/// What an item says of itself and its line says too.
fn copy_to(item: &Object, line: &mut Object) {
    for name in [
        "amount",
        "description",
        "discountable",
        "discounts",
        "period",
        "pricing",
        "quantity",
    ] {
        if item.has(name) {
            line.set(name, item.json(name));
        }
    }
    line.set("subtotal", item.json("amount"));
}

/// What waits becomes lines of an invoice that nobody keeps.
pub(super) fn show_pending(context: &mut Context<'_>, invoice: &mut Object) {
    let customer = invoice.word("customer").unwrap_or_default().to_owned();
    let waiting = context.data.pending_items.get(customer.as_str());
    for id in waiting.cloned().unwrap_or_default() {
        if let Some(item) = context.find(g::INVOICEITEM, &id) {
            become_line(context, invoice, &item);
        }
    }
}

/// Everything that waits becomes lines of this invoice.
pub(crate) fn take_pending(context: &mut Context<'_>, invoice: &mut Object) {
    let customer = invoice.word("customer").unwrap_or_default().to_owned();
    for id in context.data.pending_items.remove(customer.as_str()).unwrap_or_default() {
        if let Some(item) = context.find(g::INVOICEITEM, &id) {
            take(context, invoice, item);
        }
    }
}

/// An item that waits becomes a line of this invoice.
pub(super) fn take(context: &mut Context<'_>, invoice: &mut Object, mut item: Object) {
    wait_no_more(context, &item);
    become_line(context, invoice, &item);
    item.set_text("invoice", &invoice.id);
    context.put(item);
}

fn wait_no_more(context: &mut Context<'_>, item: &Object) {
    let waiting = item
        .word("customer")
        .and_then(|customer| context.data.pending_items.get_mut(customer));
    if let Some(waiting) = waiting {
        waiting.retain(|id| *id != item.id);
    }
}

/// An item whose line was taken off waits for the next invoice.
pub(super) fn wait_again(context: &mut Context<'_>, mut item: Object) {
    item.clear("invoice");
    let customer = item.word("customer").unwrap_or_default().to_owned();
    wait(context, &customer, &item.id);
    context.put(item);
}

pub(crate) fn update_item(context: &mut Context<'_>) -> Result<String, ApiError> {
    let item = context.existing(g::INVOICEITEM)?;
    check_draft(context, &item)?;
    let before = item.json("discounts").to_owned();
    let given = discount::given(context.params);
    let price = price_of(context, context.params, "pricing[price]")?;
    let amount = context.integer("amount")?;
    // So many more cost so much more.
    let price = match price {
        None if context.given("quantity") => {
            let pricing = item.value("pricing");
            let id = pricing["price_details"]["price"].as_str();
            id.and_then(|id| context.find(g::PRICE, id))
        }
        price => price,
    };
    context.update(g::INVOICEITEM, |context, item| {
        item.set("discounts", before);
        if let Some(given) = given {
            let target = Target {
                field: "invoice_item",
                id: &item.id.clone(),
                customer: item.json("customer"),
            };
            let discounts = discount::apply(context, given, &target)?;
            item.set("discounts", discount::ids_json(&discounts));
        }
        if let Some(price) = price {
            item.set("pricing", line::pricing(g::INVOICEITEM, &price));
            item.set_integer("amount", price_amount(&price, item.amount("quantity")));
        }
        item.set_text("quantity_decimal", &item.amount("quantity").to_string());
        if let Some(amount) = amount {
            item.set_integer("amount", amount);
        }
        with_line(context, item, |context, mut line| {
            copy_to(item, &mut line);
            context.put(line);
        });
        Ok(())
    })
}

pub(crate) fn delete_item(context: &mut Context<'_>) -> Result<String, ApiError> {
    let item = context.existing(g::INVOICEITEM)?;
    check_draft(context, &item)?;
    with_line(context, &item, |context, line| {
        if let Some(mut invoice) = line.parent.as_deref().and_then(|id| context.find(g::INVOICE, id)) {
            let mut lines = invoice.ids("lines");
            lines.retain(|one| **one != *line.id);
            invoice.set("lines", discount::ids_json(&lines));
            context.put(invoice);
        }
        context.data.table_mut(g::LINE_ITEM).remove(&line.id);
    });
    wait_no_more(context, &item);
    generic::delete(context)
}

/// What stands on a finalized invoice stays as it is.
fn check_draft(context: &Context<'_>, item: &Object) -> Result<(), ApiError> {
    let invoice = item.word("invoice").and_then(|id| context.data.get(g::INVOICE, id));
    match invoice.and_then(|invoice| invoice.word("status")) {
        None | Some("draft") => Ok(()),
        Some(_) => Err(not_editable()),
    }
}

/// The line that an item has become, and its invoice's total after it has changed.
fn with_line(context: &mut Context<'_>, item: &Object, change: impl FnOnce(&mut Context<'_>, Object)) {
    let Some(invoice) = item.word("invoice").and_then(|id| context.find(g::INVOICE, id)) else {
        return;
    };
    let is_of_item =
        |line: &Object| line.value("parent")["invoice_item_details"]["invoice_item"].as_str() == Some(&item.id);
    let lines = invoice.ids("lines");
    let line = lines
        .iter()
        .filter_map(|id| context.data.get(g::LINE_ITEM, id))
        .find(|line| is_of_item(line))
        .cloned();
    let Some(line) = line else { return };
    change(context, line);
    if let Some(mut invoice) = context.find(g::INVOICE, &invoice.id) {
        total(context, &mut invoice);
        context.put(invoice);
    }
}
