//! Customers. <https://docs.stripe.com/api/customers>

use super::{Context, generic, payment_method, subscription};
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

/// A customer's subscriptions end with it. <https://docs.stripe.com/api/customers/delete>
pub(super) fn delete(context: &mut Context<'_>) -> Result<String, ApiError> {
    let customer = context.existing(g::CUSTOMER)?;
    let of_customer = |one: &&Object| one.word("customer") == Some(&*customer.id);
    let table = context.data.table(g::SUBSCRIPTION).iter();
    let running: Vec<Object> = table
        .filter(of_customer)
        .filter(|one| one.word("status") != Some("canceled"))
        .cloned()
        .collect();
    for one in running {
        subscription::end(context, one);
    }
    generic::delete(context)
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
