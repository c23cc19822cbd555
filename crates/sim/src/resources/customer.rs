use super::Context;
use crate::error::{ApiError, shortened};
use crate::json;
use crate::generated as g;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_email(context)?;
    let mut customer = context.fresh(g::CUSTOMER);
    customer.set("invoice_prefix", json::text(&context.random.capitals(8)));
    context.apply(&mut customer)?;
    context.insert(customer)
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_email(context)?;
    context.update(g::CUSTOMER, |_, _| Ok(()))
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
