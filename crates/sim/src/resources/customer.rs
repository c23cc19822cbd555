use super::{Context, deletion_stub};
use crate::error::{ApiError, shortened};
use crate::json;
use crate::object::{Object, Type};

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_email(context)?;
    let id = context.random.id("cus_", 14);
    let mut customer = Object::new(Type::Customer, id, context.now);
    customer.set("invoice_prefix", json::text(&context.random.capitals(8)));
    context.apply(&mut customer)?;
    context.insert(customer)
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_email(context)?;
    context.update(Type::Customer, |_, _| Ok(()))
}

pub(super) fn retrieve(context: &mut Context<'_>) -> Result<String, ApiError> {
    if context.data.deleted_customers.contains(context.id) {
        return Ok(deletion_stub(Type::Customer, context.id));
    }
    context.retrieve(Type::Customer)
}

pub(super) fn delete(context: &mut Context<'_>) -> Result<String, ApiError> {
    let stub = context.delete(Type::Customer)?;
    context.data.deleted_customers.insert(context.id.into());
    Ok(stub)
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
