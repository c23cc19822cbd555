//! `add_lines`, `update_lines` and `remove_lines` of a draft. What is wrong with one line is found before any is changed.

use inflight_stripe::{Params, Value};

use super::item;
use super::line::{Line, add_line, apply, price_amount, price_of};
use crate::error::ApiError;
use crate::generated as g;
use crate::object::Object;
use crate::resources::discount::{self, ids_json};
use crate::resources::{Context, apply_params, integer_of, text_of};

pub(super) fn change(context: &mut Context<'_>, invoice: &mut Object, word: &str) -> Result<(), ApiError> {
    let given: Vec<&Params> = context.list("lines").iter().filter_map(Value::as_map).collect();
    let discounts: Vec<&[Value]> = given.iter().filter_map(|line| discount::given(line)).collect();
    discount::check(context, &discounts, invoice.json("customer"))?;
    match word {
        "add_lines" => add(context, invoice, &given),
        "remove_lines" => remove(context, invoice, &given),
        _ => update(context, invoice, &given),
    }
}

/// An invoice item that waits, or a line of its own: how much, how many, of which price.
enum Addition<'a> {
    Item(Object),
    Own(&'a Params, i64, i64, Option<Object>),
}

fn add(context: &mut Context<'_>, invoice: &mut Object, given: &[&Params]) -> Result<(), ApiError> {
    let mut additions = Vec::new();
    for (index, given) in given.iter().enumerate() {
        additions.push(match text_of(given, "invoice_item") {
            Some(id) => Addition::Item(waiting(context, invoice, id, index, &additions)?),
            None => {
                apply_params(&mut Object::new(g::LINE_ITEM, "", context.now), given, context.data)?;
                let amount = integer_of(given, "amount")?;
                let quantity = integer_of(given, "quantity")?.unwrap_or(1);
                let price = price_of(context, given, &format!("lines[{index}][pricing][price]"))?;
                let amount = amount.or(price.as_ref().map(|price| price_amount(price, quantity)));
                Addition::Own(given, amount.unwrap_or(0), quantity, price)
            }
        });
    }
    for addition in additions {
        match addition {
            Addition::Item(item) => item::take(context, invoice, item),
            Addition::Own(given, amount, quantity, price) => {
                let currency = invoice.word("currency").unwrap_or("usd").to_owned();
                let line = Line {
                    amount,
                    currency: &currency,
                    description: text_of(given, "description").map(str::to_owned),
                    quantity,
                    period: (context.now, context.now),
                    price: price.as_ref(),
                    subscription: None,
                    invoice_item: None,
                };
                add_line(context, invoice, &line);
                complete(context, invoice, given)?;
            }
        }
    }
    Ok(())
}

/// What else is said of the line that was added last.
fn complete(context: &mut Context<'_>, invoice: &Object, given: &Params) -> Result<(), ApiError> {
    let lines = invoice.ids("lines");
    let line = lines.last().and_then(|id| context.find(g::LINE_ITEM, id));
    let Some(mut line) = line else { return Ok(()) };
    let kept = ["amount", "pricing", "price_data"];
    let rest = given.iter().filter(|(name, _)| !kept.contains(name));
    let mut params = Params::new();
    for (name, value) in rest {
        params.set(name, value.clone());
    }
    apply(context, &mut line, &params, invoice.json("customer"))?;
    context.put(line);
    Ok(())
}

/// An item of the invoice's customer that is on no invoice yet.
fn waiting(
    context: &Context<'_>,
    invoice: &Object,
    id: &str,
    index: usize,
    before: &[Addition<'_>],
) -> Result<Object, ApiError> {
    let param = format!("lines[{index}][invoice_item]");
    let Some(item) = context.find(g::INVOICEITEM, id) else {
        return Err(ApiError::no_such("invoiceitem", id, &param));
    };
    let is_named = |addition: &Addition<'_>| matches!(addition, Addition::Item(other) if other.id == item.id);
    if before.iter().any(is_named) {
        return Err(named_twice("invoice item", id, param));
    }
    if item.json("invoice") != "null" || item.json("customer") != invoice.json("customer") {
        let message = format!("The invoice item {id} is on an invoice already, or another customer's.");
        return Err(ApiError::invalid(message).param(param));
    }
    Ok(item)
}

fn named_twice(what: &str, id: &str, param: String) -> ApiError {
    ApiError::invalid(format!("The {what} {id} is named more than once.")).param(param)
}

/// The lines that are named, each with what is said of it.
fn named<'a>(
    context: &Context<'_>,
    invoice: &Object,
    given: &[&'a Params],
) -> Result<Vec<(Object, &'a Params)>, ApiError> {
    let lines = invoice.ids("lines");
    let mut found: Vec<(Object, &Params)> = Vec::new();
    for (index, given) in given.iter().enumerate() {
        let id = text_of(given, "id").unwrap_or_default();
        let param = format!("lines[{index}][id]");
        if found.iter().any(|(line, _)| &*line.id == id) {
            return Err(named_twice("line", id, param));
        }
        let line = context
            .find(g::LINE_ITEM, id)
            .filter(|_| lines.iter().any(|line| line == id));
        let line = line.ok_or_else(|| ApiError::no_such("line_item", id, &param))?;
        found.push((line, *given));
    }
    Ok(found)
}

fn update(context: &mut Context<'_>, invoice: &Object, given: &[&Params]) -> Result<(), ApiError> {
    let mut lines = named(context, invoice, given)?;
    for (line, given) in &lines {
        apply_params(&mut line.clone(), given, context.data)?;
        if given.get("price_data").is_none() {
            price_of(context, given, "pricing[price]")?;
        }
    }
    for (line, given) in &mut lines {
        apply(context, line, given, invoice.json("customer"))?;
    }
    for (line, _) in lines {
        context.put(line);
    }
    Ok(())
}

/// The item behind a line is deleted with it, or waits again (`behavior=unassign`).
fn remove(context: &mut Context<'_>, invoice: &mut Object, given: &[&Params]) -> Result<(), ApiError> {
    for (line, given) in named(context, invoice, given)? {
        let mut lines = invoice.ids("lines");
        lines.retain(|kept| **kept != *line.id);
        invoice.set("lines", ids_json(&lines));
        context.data.table_mut(g::LINE_ITEM).remove(&line.id);
        let parent = line.value("parent");
        let item = parent["invoice_item_details"]["invoice_item"].as_str();
        let Some(item) = item.and_then(|id| context.find(g::INVOICEITEM, id)) else {
            continue;
        };
        match text_of(given, "behavior") {
            Some("unassign") => item::wait_again(context, item),
            _ => drop(context.remove(g::INVOICEITEM, &item.id)),
        }
    }
    Ok(())
}
