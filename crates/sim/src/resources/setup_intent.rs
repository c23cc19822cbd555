//! Setup intents: a payment method for later. <https://docs.stripe.com/api/setup_intents>

use super::card::{Outcome, refused_at_once};
use super::payment_intent::{check_method_types, method_of};
use super::payment_method::owner::check_use;
use super::payment_method::{last4, outcome_of};
use super::{Context, generic};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_method_types(context)?;
    let method = method_of(context)?;
    if let Some(method) = &method {
        check_use(method, context.text("customer"), "SetupIntent")?;
    }
    let mut intent = generic::build(context, g::SETUP_INTENT)?;
    if let Some(method) = &method {
        intent.set_text("payment_method", &method.id);
        intent.set_text("status", "requires_confirmation");
    }
    if context.flag("confirm") != Some(true) {
        return context.insert(intent);
    }
    let outcome = set_up(context, &mut intent, method);
    finish(context, intent, outcome)
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    let method = method_of(context)?;
    context.update(g::SETUP_INTENT, |_, intent| {
        if let Some(method) = method {
            check_use(&method, intent.word("customer"), "SetupIntent")?;
            intent.set_text("payment_method", &method.id);
            intent.set_text("status", "requires_confirmation");
        }
        Ok(())
    })
}

pub(super) fn confirm(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut intent = context.existing(g::SETUP_INTENT)?;
    if matches!(intent.word("status"), Some("succeeded" | "canceled")) {
        return Err(unexpected_state("confirm", &intent));
    }
    let method = match method_of(context)? {
        Some(method) => Some(method),
        None => intent
            .word("payment_method")
            .and_then(|id| context.find(g::PAYMENT_METHOD, id)),
    };
    context.apply(&mut intent)?;
    let outcome = set_up(context, &mut intent, method);
    finish(context, intent, outcome)
}

pub(super) fn cancel(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut intent = context.existing(g::SETUP_INTENT)?;
    if matches!(intent.word("status"), Some("succeeded" | "canceled")) {
        return Err(unexpected_state("cancel", &intent));
    }
    context.apply(&mut intent)?;
    intent.set_text("status", "canceled");
    let id = intent.id.clone();
    let json = context.replace(intent)?;
    context.emit("setup_intent.canceled", g::SETUP_INTENT, &id);
    Ok(json)
}

fn set_up(context: &mut Context<'_>, intent: &mut Object, method: Option<Object>) -> Result<(), ApiError> {
    let Some(mut method) = method else {
        return Err(ApiError::invalid(
            "You cannot confirm this SetupIntent because it's missing a payment method. Update the SetupIntent with a payment \
             method and then try again.",
        )
        .code("setup_intent_unexpected_state"));
    };
    check_use(&method, intent.word("customer"), "SetupIntent")?;
    if let Some(refusal) = refused_at_once(&last4(&method)) {
        intent.clear("payment_method");
        intent.set_text("status", "requires_payment_method");
        return Err(refusal.error(None, Some(("setup_intent", context.json(intent)))));
    }
    intent.set_text("payment_method", &method.id);
    let waits = intent.word("status") == Some("requires_action");
    if outcome_of(&method) == Outcome::AsksForAuthentication && !waits {
        intent.set("next_action", r#"{"type":"use_stripe_sdk","use_stripe_sdk":{}}"#);
        intent.set_text("status", "requires_action");
        return Ok(());
    }
    intent.clear("next_action");
    intent.set_text("status", "succeeded");
    if let Some(customer) = intent.word("customer")
        && method.json("customer") == "null"
    {
        method.set("customer", text(customer));
        let id = method.id.clone();
        context.put_as(method, None);
        context.emit("payment_method.attached", g::PAYMENT_METHOD, &id);
    }
    Ok(())
}

/// An intent whose card was refused is kept too, and can be confirmed with another one.
fn finish(context: &mut Context<'_>, intent: Object, outcome: Result<(), ApiError>) -> Result<String, ApiError> {
    if let Err(error) = &outcome
        && error.status != 402
    {
        return Err(error.clone());
    }
    let event = match intent.word("status") {
        Some("succeeded") => "setup_intent.succeeded",
        Some("requires_action") => "setup_intent.requires_action",
        _ => "setup_intent.setup_failed",
    };
    let id = intent.id.clone();
    let json = context.replace(intent)?;
    context.emit(event, g::SETUP_INTENT, &id);
    outcome.map(|()| json)
}

fn unexpected_state(verb: &str, intent: &Object) -> ApiError {
    let status = intent.word("status").unwrap_or_default();
    ApiError::invalid(format!(
        "You cannot {verb} this SetupIntent because it has a status of {status}."
    ))
    .code("setup_intent_unexpected_state")
}
