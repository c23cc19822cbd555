//! Payment intents: from the wish to be paid to the money. <https://docs.stripe.com/api/payment_intents>

use inflight_stripe::Value;

use super::card::{Outcome, Refusal, UNAUTHENTICATED, asks_until_set_up};
use super::charge::{self, Attempt};
use super::currency::check_minimum;
use super::payment_method::owner::{check_use, use_up};
use super::payment_method::{self, last4, outcome_of};
use super::{Context, currency_of, dispute, flag_of, invoice};
use crate::error::{ApiError, Details};
use crate::generated as g;
use crate::json;
use crate::object::Object;
use crate::plan::Verb;

/// The most that an amount may be: eight digits. <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>
const AMOUNT_MAX: i64 = 99_999_999;

/// What confirming leads to when the customer must prove that it is them.
const NEXT_ACTION: &str = r#"{"type":"use_stripe_sdk","use_stripe_sdk":{}}"#;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let amount = checked_amount(context)?;
    let currency = currency_of(context.params, "currency")?;
    if let (Some(amount), Some(currency)) = (amount, &currency) {
        check_minimum(amount, currency)?;
    }
    check_method_types(context)?;
    let method = method_of(context)?;
    if let Some(method) = &method {
        check_use(method, context.text("customer"), "PaymentIntent")?;
    }
    let mut intent = context.fresh(g::PAYMENT_INTENT);
    context.apply(&mut intent)?;
    if let Some(currency) = currency {
        intent.set("currency", json::text(&currency));
    }
    let secret = context.random.id("", 25);
    intent.set("client_secret", json::text(&format!("{}_secret_{secret}", intent.id)));
    if !context.given("payment_method_types") && !context.given("automatic_payment_methods") {
        intent.set(
            "automatic_payment_methods",
            r#"{"allow_redirects":"always","enabled":true}"#,
        );
    }
    if let Some(method) = &method {
        intent.set_text("payment_method", &method.id);
        intent.set("status", "\"requires_confirmation\"");
    }
    if context.flag("confirm") != Some(true) {
        return context.insert(intent);
    }
    let paid = pay(context, &mut intent, method);
    if let Err(error) = &paid
        && error.status != 402
    {
        return Err(error.clone());
    }
    // A declined intent is there all the same, and can be confirmed with another card.
    let id = intent.id.clone();
    let answer = context.insert(intent)?;
    announce(context, &id);
    paid.map(|()| answer)
}

/// What cannot be changed once an intent has been confirmed.
const FIXED: [&str; 7] = [
    "amount",
    "capture_method",
    "currency",
    "customer",
    "payment_method",
    "payment_method_data",
    "payment_method_types",
];

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_changeable(context)?;
    let amount = checked_amount(context)?;
    let currency = currency_of(context.params, "currency")?;
    let method = method_of(context)?;
    context.update(g::PAYMENT_INTENT, |_, intent| {
        if let Some(currency) = &currency {
            intent.set_text("currency", currency);
        }
        if let Some(amount) = amount {
            check_minimum(amount, intent.word("currency").unwrap_or("usd"))?;
        }
        let status = intent.word("status").unwrap_or_default();
        let waits = status == "requires_payment_method";
        if let Some(method) = method {
            check_use(&method, intent.word("customer"), "PaymentIntent")?;
            intent.set_text("payment_method", &method.id);
            if waits {
                intent.set("status", "\"requires_confirmation\"");
            }
        }
        Ok(())
    })
}

fn check_changeable(context: &mut Context<'_>) -> Result<(), ApiError> {
    let intent = context.existing(g::PAYMENT_INTENT)?;
    let status = intent.word("status").unwrap_or_default();
    // An invoice's intent is for what is due.
    let of_invoice = ["amount", "currency"].into_iter().find(|name| context.given(name));
    if let Some(name) = of_invoice.filter(|_| intent.parent.is_some()) {
        let message = format!("The {name} of a PaymentIntent that was created by an invoice cannot be changed.");
        return Err(ApiError::invalid(message).param(name));
    }
    if is_unconfirmed(status) {
        return Ok(());
    }
    let Some(name) = FIXED.into_iter().find(|name| context.params.get(name).is_some()) else {
        return Ok(());
    };
    let mut error = unexpected_state("update", context, &intent);
    error.message = format!(
        "This PaymentIntent's {name} could not be updated because it has a status of {status}. You may only update the {name} of \
         a PaymentIntent with one of the following statuses: requires_payment_method, requires_confirmation, requires_action."
    );
    Err(error)
}

/// Whether an intent can still be changed and confirmed.
pub(super) fn is_unconfirmed(status: &str) -> bool {
    matches!(
        status,
        "requires_payment_method" | "requires_confirmation" | "requires_action"
    )
}

pub(super) fn confirm(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut intent = context.existing(g::PAYMENT_INTENT)?;
    let status = intent.word("status").unwrap_or_default();
    if !is_unconfirmed(status) {
        return Err(unexpected_state("confirm", context, &intent));
    }
    let method = method_of(context)?;
    context.apply(&mut intent)?;
    if let Some(method) = &method {
        check_use(method, intent.word("customer"), "PaymentIntent")?;
    }
    let method = match method {
        Some(method) => {
            intent.set_text("payment_method", &method.id);
            Some(method)
        }
        None => intent
            .word("payment_method")
            .and_then(|id| context.find(g::PAYMENT_METHOD, id)),
    };
    let paid = pay(context, &mut intent, method);
    if let Err(error) = &paid
        && error.status != 402
    {
        return Err(error.clone());
    }
    let id = intent.id.clone();
    let answer = context.replace(intent)?;
    announce(context, &id);
    paid.map(|()| answer)
}

pub(super) fn capture(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut intent = context.existing(g::PAYMENT_INTENT)?;
    if intent.word("status") != Some("requires_capture") {
        return Err(unexpected_state("capture", context, &intent));
    }
    let capturable = intent.amount("amount_capturable");
    let amount = context.integer("amount_to_capture")?.unwrap_or(capturable);
    if !(1..=capturable).contains(&amount) {
        let message = format!("The amount to capture must be between 1 and {capturable}.");
        return Err(ApiError::invalid(message)
            .code("amount_too_large")
            .param("amount_to_capture"));
    }
    context.apply(&mut intent)?;
    intent.set("amount_capturable", "0");
    intent.set("amount_received", amount.to_string());
    intent.set("status", "\"succeeded\"");
    if let Some(charge) = intent.word("latest_charge") {
        charge::capture(context, charge, amount);
    }
    let id = intent.id.clone();
    let answer = context.replace(intent)?;
    announce(context, &id);
    Ok(answer)
}

pub(super) fn cancel(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut intent = context.existing(g::PAYMENT_INTENT)?;
    if matches!(intent.word("status"), Some("succeeded" | "canceled")) {
        return Err(unexpected_state("cancel", context, &intent));
    }
    context.apply(&mut intent)?;
    intent.set("amount_capturable", "0");
    intent.set("canceled_at", context.now.to_string());
    intent.set("next_action", "null");
    intent.set("status", "\"canceled\"");
    if let Some(charge) = intent.word("latest_charge") {
        charge::release(context, charge);
    }
    let id = intent.id.clone();
    let answer = context.replace(intent)?;
    announce(context, &id);
    Ok(answer)
}

/// `POST /v1/payment_intents/{intent}/increment_authorization`: more is held.
pub(super) fn increment(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut intent = context.existing(g::PAYMENT_INTENT)?;
    if intent.word("status") != Some("requires_capture") {
        return Err(unexpected_state("increment", context, &intent));
    }
    let held = intent.amount("amount");
    let amount = checked_amount(context)?.ok_or_else(|| ApiError::missing("amount"))?;
    if amount <= held {
        let message = format!("The amount must be greater than the currently authorized amount, which is {held}.");
        return Err(ApiError::invalid(message).param("amount"));
    }
    context.apply(&mut intent)?;
    intent.set_integer("amount_capturable", amount);
    if let Some(charge) = intent.word("latest_charge") {
        charge::hold(context, charge, amount);
    }
    let id = intent.id.clone();
    let answer = context.replace(intent)?;
    announce(context, &id);
    Ok(answer)
}

/// The event of the state that an intent has come to.
pub(super) fn announce(context: &mut Context<'_>, id: &str) {
    let Some(intent) = context.data.get(g::PAYMENT_INTENT, id) else {
        return;
    };
    let invoice = intent
        .parent
        .clone()
        .filter(|_| intent.word("status") == Some("succeeded"));
    let name = match intent.word("status") {
        Some("succeeded") => "payment_intent.succeeded",
        Some("canceled") => "payment_intent.canceled",
        Some("requires_action") => "payment_intent.requires_action",
        Some("requires_capture") => "payment_intent.amount_capturable_updated",
        Some("requires_payment_method") if intent.has("last_payment_error") => "payment_intent.payment_failed",
        _ => return,
    };
    context.emit(name, g::PAYMENT_INTENT, id);
    if let Some(invoice) = invoice {
        invoice::settle(context, &invoice, Some(id));
    }
}

pub(super) fn checked_amount(context: &Context<'_>) -> Result<Option<i64>, ApiError> {
    match context.integer("amount")? {
        Some(amount) if amount < 1 => Err(ApiError::invalid("This value must be greater than or equal to 1.")
            .code("parameter_invalid_integer")
            .param("amount")),
        Some(amount) if amount > AMOUNT_MAX => Err(ApiError::invalid("Amount must be no more than 999,999.99")
            .code("amount_too_large")
            .param("amount")),
        amount => Ok(amount),
    }
}

/// Which methods may pay is said in one of two ways.
pub(super) fn check_method_types(context: &Context<'_>) -> Result<(), ApiError> {
    let automatic = context
        .map("automatic_payment_methods")
        .is_some_and(|automatic| flag_of(automatic, "enabled") == Some(true));
    if automatic && context.given("payment_method_types") {
        return Err(ApiError::invalid(
            "You may only specify one of these parameters: automatic_payment_methods, payment_method_types.",
        )
        .param("automatic_payment_methods"));
    }
    Ok(())
}

/// The payment method that the request names or brings along.
pub(super) fn method_of(context: &mut Context<'_>) -> Result<Option<Object>, ApiError> {
    if let Some(id) = context.text("payment_method") {
        return payment_method::existing(context, id, "payment_method").map(Some);
    }
    if let Some(Value::Map(given)) = context.params.get("payment_method_data") {
        let method = payment_method::build(context, given)?;
        context.data.table_mut(g::PAYMENT_METHOD).insert(method.clone());
        return Ok(Some(method));
    }
    Ok(None)
}

/// Charges the intent's payment method. A decline leaves its trace on the intent.
pub(super) fn pay(context: &mut Context<'_>, intent: &mut Object, method: Option<Object>) -> Result<(), ApiError> {
    let Some(method) = method else {
        return Err(ApiError::invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method. Update the PaymentIntent with a \
             payment method and then try again.",
        )
        .code("payment_intent_unexpected_state"));
    };
    check_use(&method, intent.word("customer"), "PaymentIntent")?;
    let refusal = match outcome_of(&method) {
        Outcome::Declined(refusal) => Some(refusal),
        Outcome::AsksForAuthentication if is_authenticated(intent) => None,
        Outcome::AsksForAuthentication if is_off_session(context) && was_set_up(context, &method) => None,
        Outcome::AsksForAuthentication if goes_without_customer(context) => Some(&UNAUTHENTICATED),
        Outcome::AsksForAuthentication => {
            intent.clear("last_payment_error");
            intent.set("next_action", NEXT_ACTION);
            intent.set("status", "\"requires_action\"");
            return Ok(());
        }
        Outcome::Succeeds => None,
    };
    // What pays an invoice is never only held.
    let capture = intent.parent.is_some() || intent.word("capture_method") != Some("manual");
    let amount = intent.amount("amount");
    let customer = intent.json("customer").to_owned();
    let charge = charge::attempt(
        context,
        &Attempt {
            amount,
            currency: intent.word("currency").unwrap_or("usd"),
            customer: &customer,
            method: &method,
            of: Some(intent),
            capture,
        },
        refusal,
    );
    intent.set_text("latest_charge", &charge);
    intent.set("next_action", "null");
    if let Some(refusal) = refusal {
        return Err(declined(context, intent, &charge, &method, refusal));
    }
    intent.clear("last_payment_error");
    if capture {
        intent.set_integer("amount_received", amount);
        intent.set("status", "\"succeeded\"");
    } else {
        intent.set_integer("amount_capturable", amount);
        intent.set("status", "\"requires_capture\"");
    }
    keep_method(context, intent, &method, &customer);
    if last4(&method) == "0259" {
        dispute::open(context, &charge);
    }
    Ok(())
}

/// A method that is to be used again belongs to the customer from now on. One that belongs to nobody was good for this once.
fn keep_method(context: &mut Context<'_>, intent: &Object, method: &Object, customer: &str) {
    if method.json("customer") != "null" {
        return;
    }
    let keeps = intent.json("setup_future_usage") != "null" && customer != "null";
    match context.data.table_mut(g::PAYMENT_METHOD).get_mut(&method.id) {
        Some(kept) if keeps => kept.set("customer", customer),
        Some(spent) => use_up(spent),
        None => {}
    }
}

/// Confirming an intent that waits for its customer is how the simulator lets the customer prove that it is them.
fn is_authenticated(intent: &Object) -> bool {
    intent.word("status") == Some("requires_action")
}

fn goes_without_customer(context: &Context<'_>) -> bool {
    context.flag("error_on_requires_action") == Some(true)
        || matches!(context.text("off_session"), Some("true" | "one_off" | "recurring"))
}

/// Whether the customer is away. An invoice that is paid by `pay` is, unless told otherwise.
fn is_off_session(context: &Context<'_>) -> bool {
    let pays = (context.plan.schema(), context.plan.verb) == (Some(g::INVOICE), Verb::Act("pay"));
    context.text("off_session").map_or(pays, |told| told != "false")
}

/// Whether a card that asks only until it is set up has been: by a setup intent, or by a payment for future use.
fn was_set_up(context: &Context<'_>, method: &Object) -> bool {
    let by = |schema, is_setup: fn(&Object) -> bool| {
        let mut intents = context.data.table(schema).iter();
        intents.any(|intent| {
            intent.word("payment_method") == Some(&*method.id)
                && intent.word("status") == Some("succeeded")
                && is_setup(intent)
        })
    };
    asks_until_set_up(&last4(method))
        && (by(g::SETUP_INTENT, |_| true)
            || by(g::PAYMENT_INTENT, |intent| {
                intent.word("setup_future_usage") == Some("off_session")
            }))
}

fn declined(context: &Context<'_>, intent: &mut Object, charge: &str, method: &Object, refusal: &Refusal) -> ApiError {
    intent.set(
        "last_payment_error",
        format!(
            "{{\"charge\":\"{charge}\",\"code\":\"{}\",\"decline_code\":\"{}\",\"doc_url\":\
             \"https://docs.stripe.com/error-codes/{}\",\"message\":{},\"payment_method\":{},\"type\":\"card_error\"}}",
            refusal.code,
            refusal.decline_code,
            refusal.code.replace('_', "-"),
            json::text(refusal.message),
            context.json(method)
        ),
    );
    intent.clear("payment_method");
    intent.set("status", "\"requires_payment_method\"");
    let mut error = refusal.error(Some(charge.to_owned()), Some(("payment_intent", context.json(intent))));
    if let Some(details) = &mut error.details {
        details.payment_method = Some(context.json(method));
    }
    error
}

fn unexpected_state(verb: &str, context: &Context<'_>, intent: &Object) -> ApiError {
    let status = intent.word("status").unwrap_or_default();
    let message = match (verb, status) {
        ("confirm", "succeeded") => {
            "You cannot confirm this PaymentIntent because it has already succeeded after being previously confirmed."
                .to_owned()
        }
        _ => format!(
            "This PaymentIntent could not be {} because it has a status of {status}.",
            past(verb)
        ),
    };
    let mut error = ApiError::invalid(message).code("payment_intent_unexpected_state");
    error.details = Some(Box::new(Details {
        intent: Some(("payment_intent", context.json(intent))),
        ..Details::default()
    }));
    error
}

fn past(verb: &str) -> &'static str {
    match verb {
        "confirm" => "confirmed",
        "capture" => "captured",
        "increment" => "incremented",
        "cancel" => "canceled",
        _ => "updated",
    }
}
