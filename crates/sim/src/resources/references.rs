//! Objects that a request names must exist.

use inflight_stripe::{Params, Value};

use super::payment_method::owner::check_default;
use super::{Context, schema_name, text_of};
use crate::error::ApiError;
use crate::generated as g;
use crate::plan::{Verb, is_made};
use crate::schema::SchemaId;

/// What a parameter of this name names, wherever it stands. Payment methods are left out: test ids name them too.
fn referred(name: &str) -> Option<SchemaId> {
    Some(match name {
        "customer" | "from_customer" => g::CUSTOMER,
        "price" | "default_price" => g::PRICE,
        "product" => g::PRODUCT,
        "coupon" => g::COUPON,
        "promotion_code" => g::PROMOTION_CODE,
        "subscription" => g::SUBSCRIPTION,
        "invoice" => g::INVOICE,
        "charge" => g::CHARGE,
        "payment_intent" => g::PAYMENT_INTENT,
        "setup_intent" => g::SETUP_INTENT,
        "payment_link" => g::PAYMENT_LINK,
        "shipping_rate" => g::SHIPPING_RATE,
        "tax_rate" => g::TAX_RATE,
        "test_clock" => g::TEST_HELPERS_TEST_CLOCK,
        _ => return None,
    })
}

pub(super) fn check(context: &mut Context<'_>) -> Result<(), ApiError> {
    check_owner(context)?;
    // A list of what belongs to nobody is empty; only what is written must refer to something.
    if matches!(context.plan.verb, Verb::List | Verb::Search | Verb::Retrieve) {
        return Ok(());
    }
    check_map(context, context.params, &mut String::new())?;
    check_default_method(context)
}

/// What a subscription or an invoice is paid with is its customer's.
fn check_default_method(context: &mut Context<'_>) -> Result<(), ApiError> {
    let name = "default_payment_method";
    let (Some(id), Some(schema @ (g::SUBSCRIPTION | g::INVOICE))) = (context.text(name), context.plan.schema()) else {
        return Ok(());
    };
    let customer = match context.text("customer") {
        Some(customer) => Some(customer.to_owned()),
        None => {
            let changed = context.find(schema, context.id());
            changed.and_then(|object| object.word("customer").map(str::to_owned))
        }
    };
    check_default(context, id, customer.as_deref(), name)
}

/// The object in the path, before its last part.
fn check_owner(context: &mut Context<'_>) -> Result<(), ApiError> {
    let Some((schemas, place)) = &context.plan.owner else {
        return Ok(());
    };
    let Some(id) = context.ids.get(*place) else {
        return Ok(());
    };
    let is_itself =
        matches!(context.plan.verb, Verb::Act(_)) && schemas.iter().any(|s| context.plan.schemas.contains(s));
    let exists = schemas.iter().any(|schema| context.data.get(*schema, id).is_some());
    // An account needs not be made: each one that a header names is there.
    let made = schemas.iter().any(|schema| is_made(*schema) && *schema != g::ACCOUNT);
    if is_itself || exists || !made {
        return Ok(());
    }
    let name = schemas.first().map_or("object", |schema| schema_name(*schema));
    let param = context.operation.path_params.get(*place).copied().unwrap_or("id");
    Err(ApiError::no_such(name, id, param).status(404))
}

fn check_map(context: &Context<'_>, params: &Params, path: &mut String) -> Result<(), ApiError> {
    for (name, value) in params.iter() {
        if matches!(name, "metadata" | "expand") {
            continue;
        }
        let length = path.len();
        if path.is_empty() {
            path.push_str(name);
        } else {
            path.extend(["[", name, "]"]);
        }
        match value {
            Value::Map(inner) => check_map(context, inner, path)?,
            Value::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    let length = path.len();
                    path.push_str(&format!("[{index}]"));
                    if let Value::Map(inner) = value {
                        check_map(context, inner, path)?;
                    }
                    path.truncate(length);
                }
            }
            _ => check_one(context, params, name, path)?,
        }
        path.truncate(length);
    }
    Ok(())
}

fn check_one(context: &Context<'_>, params: &Params, name: &str, path: &str) -> Result<(), ApiError> {
    match (text_of(params, name), referred(name)) {
        (Some(id), Some(schema)) if context.data.get(schema, id).is_none() => {
            // A plan is a price to a subscription.
            let is_plan = name == "price" && context.data.get(g::PLAN, id).is_some();
            if is_plan {
                Ok(())
            } else {
                Err(ApiError::no_such(schema_name(schema), id, path))
            }
        }
        _ => Ok(()),
    }
}
