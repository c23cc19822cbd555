//! What a credit note is made of: lines of its invoice, or lines of its own.

use inflight_stripe::{Params, Value};

use crate::error::ApiError;
use crate::generated as g;
use crate::object::Object;
use crate::resources::discount::{amounts_json, ids_json, sums};
use crate::resources::{Context, integer_of, text_of};

/// One line that is about to be kept.
pub(super) struct Credited {
    kind: &'static str,
    /// The line of the invoice.
    of: Option<String>,
    description: Option<String>,
    quantity: i64,
    /// Before discounts. <https://docs.stripe.com/api/credit_notes/line_item>
    amount: i64,
    /// What discounts take off that.
    discounts: Vec<(String, i64)>,
    /// How much of it those of the line itself take, and not the invoice's.
    by_own: i64,
}

/// What all lines come to, less their discounts.
pub(super) fn sum(lines: &[Credited]) -> i64 {
    let net = |line: &Credited| line.amount.saturating_sub(total(&line.discounts));
    lines.iter().map(net).fold(0, i64::saturating_add)
}

/// What they come to before the invoice's discounts, as the invoice's own subtotal does.
pub(super) fn subtotal(lines: &[Credited]) -> i64 {
    let left = |line: &Credited| line.amount.saturating_sub(line.by_own);
    lines.iter().map(left).fold(0, i64::saturating_add)
}

/// What each discount takes off all lines.
pub(super) fn discounts(lines: &[Credited]) -> Vec<(String, i64)> {
    sums(lines.iter().flat_map(|line| &line.discounts))
}

pub(super) fn total(discounts: &[(String, i64)]) -> i64 {
    discounts.iter().map(|(_, amount)| *amount).fold(0, i64::saturating_add)
}

pub(super) fn given(context: &Context<'_>, invoice: &Object) -> Result<Vec<Credited>, ApiError> {
    let given = context.list("lines").iter().filter_map(Value::as_map).enumerate();
    given
        .map(|(index, given)| match text_of(given, "type") {
            Some("invoice_line_item") => of_invoice(context, invoice, given, index),
            _ => custom(given, index),
        })
        .collect()
}

/// A line of the invoice, or part of it: an amount, or so many of them.
fn of_invoice(context: &Context<'_>, invoice: &Object, given: &Params, index: usize) -> Result<Credited, ApiError> {
    let param = format!("lines[{index}][invoice_line_item]");
    let id = text_of(given, "invoice_line_item").ok_or_else(|| ApiError::missing(&param))?;
    let lines = invoice.ids("lines");
    let line = context
        .find(g::LINE_ITEM, id)
        .filter(|_| lines.iter().any(|line| line == id));
    let line = line.ok_or_else(|| ApiError::no_such("line_item", id, &param))?;
    let (many, whole) = (line.amount("quantity").max(1), line.amount("amount"));
    let quantity = integer_of(given, "quantity")?;
    let amount = integer_of(given, "amount")?;
    let part = quantity.map(|quantity| whole.saturating_mul(quantity) / many);
    let amount = amount.or(part).unwrap_or(whole);
    if !(0..=whole.max(0)).contains(&amount) {
        let message = format!("A credit note line must be between 0 and its invoice line's amount ({whole}).");
        return Err(ApiError::invalid(message).param(format!("lines[{index}][amount]")));
    }
    let discounts = discounts_of(&line, amount);
    let own = line.ids("discounts");
    Ok(Credited {
        by_own: discounts
            .iter()
            .filter(|(id, _)| own.contains(id))
            .map(|(_, amount)| *amount)
            .sum(),
        discounts,
        kind: "invoice_line_item",
        of: Some(id.to_owned()),
        description: line.value("description").as_str().map(str::to_owned),
        quantity: quantity.unwrap_or(many),
        amount,
    })
}

/// The line's discounts, in proportion to how much of it is credited.
fn discounts_of(line: &Object, amount: i64) -> Vec<(String, i64)> {
    let whole = i128::from(line.amount("amount")).max(1);
    let part = |taken: i64| {
        let part = (2 * i128::from(taken) * i128::from(amount) + whole) / (2 * whole);
        i64::try_from(part).unwrap_or(0)
    };
    let taken = line.value("discount_amounts");
    let taken = taken.as_array().into_iter().flatten();
    taken
        .filter_map(|one| Some((one["discount"].as_str()?.to_owned(), part(one["amount"].as_i64()?))))
        .collect()
}

fn custom(given: &Params, index: usize) -> Result<Credited, ApiError> {
    let param = format!("lines[{index}][unit_amount]");
    let quantity = integer_of(given, "quantity")?.unwrap_or(1);
    let decimal = text_of(given, "unit_amount_decimal").and_then(|text| text.parse::<f64>().ok());
    let amount = match (integer_of(given, "unit_amount")?, decimal) {
        (Some(unit), _) => unit.saturating_mul(quantity),
        (None, Some(unit)) => (unit * quantity as f64).round() as i64,
        (None, None) => return Err(ApiError::missing(&param)),
    };
    if amount < 0 {
        return Err(ApiError::invalid("This value must be greater than or equal to 0.").param(param));
    }
    Ok(Credited {
        kind: "custom_line_item",
        of: None,
        description: text_of(given, "description").map(str::to_owned),
        quantity,
        amount,
        discounts: Vec::new(),
        by_own: 0,
    })
}

pub(super) fn keep(context: &mut Context<'_>, note: &mut Object, lines: Vec<Credited>) {
    let mut ids = Vec::new();
    for line in lines {
        let mut object = context.fresh(g::CREDIT_NOTE_LINE_ITEM);
        object.parent = Some(note.id.clone());
        object.set_text("type", line.kind);
        if let Some(of) = &line.of {
            object.set_text("invoice_line_item", of);
        }
        if let Some(description) = &line.description {
            object.set_text("description", description);
        }
        object.set_integer("quantity", line.quantity);
        object.set_integer("amount", line.amount);
        object.set_integer("discount_amount", total(&line.discounts));
        object.set("discount_amounts", amounts_json(&line.discounts));
        ids.push(object.id.to_string());
        context.data.table_mut(g::CREDIT_NOTE_LINE_ITEM).insert(object);
    }
    note.set("lines", ids_json(&ids));
}
