//! Whose a payment method is, and who may use it. <https://docs.stripe.com/payments/payment-methods/saving>

use crate::error::ApiError;
use crate::generated as g;
use crate::object::Object;
use crate::resources::Context;
use crate::resources::card::Card;

/// A method that belonged to nobody when it was charged, or was detached, is of no more use.
const USED_UP: &str = "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared with \
                       a connected account without Customer attachment, or was detached from a Customer. It may not be used \
                       again. To use a PaymentMethod multiple times, you must attach it to a Customer first.";

/// Marks a method as one that nobody can use again.
pub(crate) fn use_up(method: &mut Object) {
    method.parent = Some(method.id.clone());
}

/// A customer from whom a method is taken has it as the default no more.
pub(crate) fn forget_default(context: &mut Context<'_>, method: &Object) {
    let owner = method.word("customer").and_then(|id| context.find(g::CUSTOMER, id));
    let Some(mut customer) = owner else { return };
    let mut settings = customer.value("invoice_settings");
    if settings["default_payment_method"] == *method.id {
        settings["default_payment_method"] = serde_json::Value::Null;
        customer.set("invoice_settings", settings.to_string());
        context.put(customer);
    }
}

/// Refuses a method that was used up.
pub(crate) fn check_fresh(method: &Object) -> Result<(), ApiError> {
    let used_up = method.parent.is_some() && method.json("customer") == "null";
    if used_up {
        return Err(ApiError::invalid(USED_UP).param("payment_method"));
    }
    Ok(())
}

/// Refuses a method that this customer, or nobody in particular, cannot use. The intent's kind is for the message.
pub(crate) fn check_use(method: &Object, customer: Option<&str>, intent: &str) -> Result<(), ApiError> {
    check_fresh(method)?;
    let id = &method.id;
    let message = match (method.word("customer"), customer) {
        (None, _) => return Ok(()),
        (Some(owner), Some(customer)) if owner == customer => return Ok(()),
        (Some(_), Some(customer)) => format!(
            "The PaymentMethod {id} does not belong to the Customer you supplied {customer}. Please use this PaymentMethod with the \
             Customer that it belongs to instead."
        ),
        (Some(owner), None) => format!(
            "The `payment_method` parameter supplied {id} belongs to the Customer {owner}. Please include the Customer in the \
             `customer` parameter on the {intent}."
        ),
    };
    Err(ApiError::invalid(message).param("payment_method"))
}

/// The method that a parameter makes the default of a customer, of a subscription or of an invoice: one of that customer's.
pub(crate) fn check_default(
    context: &mut Context<'_>,
    id: &str,
    customer: Option<&str>,
    param: &str,
) -> Result<(), ApiError> {
    let known = context
        .find(g::PAYMENT_METHOD, id)
        .or_else(|| context.find(g::CARD, id));
    let belongs = match known {
        Some(method) => method.word("customer").is_some_and(|owner| customer == Some(owner)),
        // A test method's name would make a new one, which belongs to nobody.
        None if id.starts_with("pm_card_") && Card::by_name(id).is_some() => false,
        None => return Err(ApiError::no_such("PaymentMethod", id, param)),
    };
    if belongs {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "The customer does not have a payment method with the ID {id}. The payment method must be attached to the customer."
    ))
    .code("resource_missing")
    .param(param))
}
