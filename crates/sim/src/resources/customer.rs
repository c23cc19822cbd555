//! Customers. <https://docs.stripe.com/api/customers>

use super::card::refused_at_once;
use super::payment_method::last4;
use super::payment_method::owner::{check_default, check_use};
use super::{Context, generic, payment_method, subscription, text_of};
use crate::error::{ApiError, shortened};
use crate::generated as g;
use crate::json;
use crate::object::Object;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_email(context)?;
    let mut customer = context.fresh(g::CUSTOMER);
    customer.set("invoice_prefix", json::text(&context.random.capitals(8)));
    context.apply(&mut customer)?;
    let method = method_to_attach(context, &customer)?;
    match &method {
        Some(_) if given_default(context) == context.text("payment_method") => {}
        _ => check_default_method(context, &customer)?,
    }
    set_source(context, &mut customer)?;
    if let Some(method) = method {
        attach(context, &mut customer, method);
    }
    context.insert(customer)
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_email(context)?;
    context.update(g::CUSTOMER, |context, customer| {
        check_default_method(context, customer)?;
        set_source(context, customer)
    })
}

/// The payment method that a new customer comes with.
fn method_to_attach(context: &mut Context<'_>, customer: &Object) -> Result<Option<Object>, ApiError> {
    let Some(given) = context.text("payment_method") else {
        return Ok(None);
    };
    let method = payment_method::existing(context, given, "payment_method")?;
    check_use(&method, Some(&customer.id), "Customer")?;
    if let Some(refusal) = refused_at_once(&last4(&method)) {
        return Err(refusal.error(None, None));
    }
    Ok(Some(method))
}

/// It may be the default too, which the request says by the same name.
fn attach(context: &mut Context<'_>, customer: &mut Object, mut method: Object) {
    if given_default(context) == context.text("payment_method") {
        let mut settings = customer.value("invoice_settings");
        settings["default_payment_method"] = (*method.id).into();
        customer.set("invoice_settings", settings.to_string());
    }
    method.set_text("customer", &customer.id);
    let id = method.id.clone();
    context.put_as(method, None);
    context.emit("payment_method.attached", g::PAYMENT_METHOD, &id);
}

fn given_default<'a>(context: &Context<'a>) -> Option<&'a str> {
    text_of(context.map("invoice_settings")?, "default_payment_method")
}

fn check_default_method(context: &mut Context<'_>, customer: &Object) -> Result<(), ApiError> {
    match given_default(context) {
        Some(id) => check_default(
            context,
            id,
            Some(&customer.id),
            "invoice_settings[default_payment_method]",
        ),
        None => Ok(()),
    }
}

/// A customer's subscriptions end with it. <https://docs.stripe.com/api/customers/delete>
pub(super) fn delete(context: &mut Context<'_>) -> Result<String, ApiError> {
    let customer = context.existing(g::CUSTOMER)?;
    let of_customer = |one: &&Object| one.word("customer") == Some(&*customer.id);
    let table = context.data.table(g::SUBSCRIPTION).iter();
    let running: Vec<Object> = table
        .filter(of_customer)
        .filter(|one| !subscription::has_ended(one))
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
