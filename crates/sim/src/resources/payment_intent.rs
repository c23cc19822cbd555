use super::{Context, currency_of};
use crate::error::{ApiError, Decline};
use crate::json;
use crate::object::{Object, Type};

/// The most that an amount may be: eight digits. <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>
const AMOUNT_MAX: i64 = 99_999_999;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_amount(context)?;
    context.check_reference("customer", Type::Customer)?;
    check_payment_method(context)?;
    let currency = currency_of(context.params, "currency")?;
    let id = context.random.id("pi_3", 23);
    let mut intent = Object::new(Type::PaymentIntent, id, context.now);
    context.apply(&mut intent)?;
    if let Some(currency) = currency {
        intent.set("currency", json::text(&currency));
    }
    let secret = context.random.id("", 25);
    intent.set("client_secret", json::text(&format!("{}_secret_{secret}", intent.id)));
    if !context.given("payment_method_types") {
        intent.set(
            "automatic_payment_methods",
            r#"{"allow_redirects":"always","enabled":true}"#,
        );
    }
    if context.given("payment_method") {
        intent.set("status", "\"requires_confirmation\"");
    }
    if context.flag("confirm") != Some(true) {
        return context.insert(intent);
    }
    let paid = pay(context, &mut intent);
    if let Err(error) = &paid
        && error.status != 402
    {
        return Err(error.clone());
    }
    // A declined intent is there all the same, and can be confirmed with another card.
    let answer = context.insert(intent)?;
    paid.map(|()| answer)
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_amount(context)?;
    context.check_reference("customer", Type::Customer)?;
    check_payment_method(context)?;
    context.update(Type::PaymentIntent, |context, intent| {
        let status = intent.word("status").unwrap_or_default();
        if matches!(status, "succeeded" | "canceled") && context.given("amount") {
            return Err(unexpected_state("update", intent));
        }
        if status == "requires_payment_method" && context.given("payment_method") {
            intent.set("status", "\"requires_confirmation\"");
        }
        Ok(())
    })
}

pub(super) fn confirm(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_payment_method(context)?;
    let mut intent = context.existing(Type::PaymentIntent)?.clone();
    let status = intent.word("status").unwrap_or_default();
    if !matches!(
        status,
        "requires_payment_method" | "requires_confirmation" | "requires_action"
    ) {
        return Err(unexpected_state("confirm", &intent));
    }
    context.apply(&mut intent)?;
    let paid = pay(context, &mut intent);
    if let Err(error) = &paid
        && error.status != 402
    {
        return Err(error.clone());
    }
    let answer = context.replace(intent)?;
    paid.map(|()| answer)
}

pub(super) fn capture(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut intent = context.existing(Type::PaymentIntent)?.clone();
    if intent.word("status") != Some("requires_capture") {
        return Err(unexpected_state("capture", &intent));
    }
    let capturable = intent.integer("amount_capturable").unwrap_or(0);
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
    context.replace(intent)
}

pub(super) fn cancel(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut intent = context.existing(Type::PaymentIntent)?.clone();
    if matches!(intent.word("status"), Some("succeeded" | "canceled")) {
        return Err(unexpected_state("cancel", &intent));
    }
    context.apply(&mut intent)?;
    intent.set("amount_capturable", "0");
    intent.set("canceled_at", context.now.to_string());
    intent.set("status", "\"canceled\"");
    context.replace(intent)
}

fn check_amount(context: &Context<'_>) -> Result<(), ApiError> {
    match context.integer("amount")? {
        Some(amount) if amount < 1 => Err(ApiError::invalid("This value must be greater than or equal to 1.")
            .code("parameter_invalid_integer")
            .param("amount")),
        Some(amount) if amount > AMOUNT_MAX => Err(ApiError::invalid("Amount must be no more than 999,999.99")
            .code("amount_too_large")
            .param("amount")),
        _ => Ok(()),
    }
}

fn check_payment_method(context: &Context<'_>) -> Result<(), ApiError> {
    match context.text("payment_method") {
        Some(id) if !id.starts_with("pm_") => Err(ApiError::no_such("PaymentMethod", id, "payment_method")),
        _ => Ok(()),
    }
}

/// Charges the intent's payment method. A decline leaves its trace on the intent.
fn pay(context: &mut Context<'_>, intent: &mut Object) -> Result<(), ApiError> {
    let Some(method) = intent.word("payment_method").map(str::to_owned) else {
        return Err(ApiError::invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method. Update the PaymentIntent with a \
             payment method and then try again.",
        )
        .code("payment_intent_unexpected_state"));
    };
    let charge = context.random.id("ch_3", 23);
    intent.set("latest_charge", json::text(&charge));
    if let Some(refusal) = refusal(&method) {
        return Err(declined(context, intent, &refusal));
    }
    intent.clear("last_payment_error");
    if matches!(
        &*method,
        "pm_card_authenticationRequired" | "pm_card_threeDSecure2Required"
    ) {
        intent.clear("latest_charge");
        intent.set("next_action", r#"{"type":"use_stripe_sdk","use_stripe_sdk":{}}"#);
        intent.set("status", "\"requires_action\"");
        return Ok(());
    }
    let amount = intent.json("amount").to_owned();
    if intent.word("capture_method") == Some("manual") {
        intent.set("amount_capturable", amount);
        intent.set("status", "\"requires_capture\"");
    } else {
        intent.set("amount_received", amount);
        intent.set("status", "\"succeeded\"");
    }
    Ok(())
}

struct Refusal {
    code: &'static str,
    decline_code: &'static str,
    message: &'static str,
}

/// The test cards that are declined. <https://docs.stripe.com/testing#declined-payments>
fn refusal(method: &str) -> Option<Refusal> {
    let declined = |decline_code, message| Refusal {
        code: "card_declined",
        decline_code,
        message,
    };
    let card = method.strip_prefix("pm_card_")?;
    Some(match card.strip_prefix("visa_").unwrap_or(card) {
        "chargeDeclined" => declined("generic_decline", "Your card was declined."),
        "chargeDeclinedInsufficientFunds" => declined("insufficient_funds", "Your card has insufficient funds."),
        "chargeDeclinedLostCard" => declined("lost_card", "Your card was declined."),
        "chargeDeclinedStolenCard" => declined("stolen_card", "Your card was declined."),
        "chargeDeclinedExpiredCard" => Refusal {
            code: "expired_card",
            decline_code: "expired_card",
            message: "Your card has expired.",
        },
        "chargeDeclinedIncorrectCvc" => Refusal {
            code: "incorrect_cvc",
            decline_code: "incorrect_cvc",
            message: "Your card's security code is incorrect.",
        },
        "chargeDeclinedProcessingError" => Refusal {
            code: "processing_error",
            decline_code: "processing_error",
            message: "An error occurred while processing your card. Try again in a little bit.",
        },
        _ => return None,
    })
}

fn declined(context: &Context<'_>, intent: &mut Object, refusal: &Refusal) -> ApiError {
    let mut error = ApiError::invalid(refusal.message).status(402).code(refusal.code);
    error.kind = "card_error";
    intent.set(
        "last_payment_error",
        format!(
            "{{\"code\":\"{}\",\"decline_code\":\"{}\",\"message\":{},\"type\":\"card_error\"}}",
            refusal.code,
            refusal.decline_code,
            json::text(refusal.message)
        ),
    );
    intent.clear("payment_method");
    intent.set("status", "\"requires_payment_method\"");
    error.decline = Some(Box::new(Decline {
        code: refusal.decline_code,
        payment_intent: context.json(intent),
    }));
    error
}

fn unexpected_state(action: &str, intent: &Object) -> ApiError {
    let status = intent.word("status").unwrap_or_default();
    ApiError::invalid(format!(
        "You cannot {action} this PaymentIntent because it has a status of {status}."
    ))
    .code("payment_intent_unexpected_state")
}
