//! What a credit note is made of: lines of its invoice, or lines of its own.

use inflight_stripe::{Params, Value};

use crate::error::ApiError;
use crate::generated as g;
use crate::object::Object;
use crate::resources::discount::ids_json;
use crate::resources::{Context, integer_of, text_of};

/// One line that is about to be kept.
pub(super) struct Credited {
    kind: &'static str,
    /// The line of the invoice.
    of: Option<String>,
    description: Option<String>,
    quantity: i64,
    amount: i64,
}

pub(super) fn sum(lines: &[Credited]) -> i64 {
    lines.iter().map(|line| line.amount).fold(0, i64::saturating_add)
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
    Ok(Credited {
        kind: "invoice_line_item",
        of: Some(id.to_owned()),
        description: line.value("description").as_str().map(str::to_owned),
        quantity: quantity.unwrap_or(many),
        amount,
    })
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
    })
}

pub(super) fn keep(context: &mut Context<'_>, note: &mut Object, lines: Vec<Credited>) {
    if lines.is_empty() {
        return;
    }
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
        ids.push(object.id.to_string());
        context.data.table_mut(g::CREDIT_NOTE_LINE_ITEM).insert(object);
    }
    note.set("lines", ids_json(&ids));
}
