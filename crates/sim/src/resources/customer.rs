//! Customers. <https://docs.stripe.com/api/customers>

use super::{Context, payment_method};
use crate::error::{ApiError, shortened};
use crate::generated as g;
use crate::json;
use crate::object::Object;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_email(context)?;
    let mut customer = context.fresh(g::CUSTOMER);
    customer.set("invoice_prefix", json::text(&context.random.capitals(8)));
    context.apply(&mut customer)?;
    set_source(context, &mut customer)?;
    let attached = match context.text("payment_method") {
        Some(id) => Some(payment_method::existing(context, id, "payment_method")?),
        None => None,
    };
    if let Some(mut method) = attached {
        method.set_text("customer", &customer.id);
        context.put(method);
    }
    context.insert(customer)
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_email(context)?;
    context.update(g::CUSTOMER, set_source)
}

/// A token becomes the customer's card.
fn set_source(context: &mut Context<'_>, customer: &mut Object) -> Result<(), ApiError> {
    let token = context
        .text("source")
        .or(context.text("card"))
        .filter(|token| token.starts_with("tok_"));
    if let Some(token) = token {
        let source = payment_method::source_of(context, customer, token)?;
        customer.set_text("default_source", &source.id);
        context.add(source);
    }
    Ok(())
}

fn check_email(context: &Context<'_>) -> Result<(), ApiError> {
    match context.text("email") {
        Some(email) if !email.contains('@') => {
            let message = format!("Invalid email address: {}", shortened(email));
            Err(ApiError::invalid(message).code("email_invalid").param("email"))
        }
        _ => Ok(()),
    }
}
