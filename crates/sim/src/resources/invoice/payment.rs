//! How an invoice is paid.

use super::{open, settle_nothing, transition};
use crate::error::{ApiError, Details};
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::resources::card::Outcome;
use crate::resources::discount::described;
use crate::resources::payment_method::owner::check_use;
use crate::resources::{Context, payment_intent, payment_method, subscription};

/// `POST /v1/invoices/{invoice}/pay`
pub(crate) fn pay(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut invoice = context.existing(g::INVOICE)?;
    match invoice.word("status") {
        Some("paid") => return Err(ApiError::invalid("Invoice is already paid").code("invoice_already_paid")),
        Some("void") => {
            return Err(
                ApiError::invalid("You cannot pay an invoice that has been voided.").code("invoice_not_editable")
            );
        }
        _ => {}
    }
    let method = given_method(context, &invoice)?;
    let id = context.id();
    if invoice.word("status") == Some("draft") {
        open(context, &mut invoice);
        context.put(invoice);
        context.emit("invoice.finalized", g::INVOICE, id);
    }
    settle_nothing(context, id);
    if context.flag("paid_out_of_band") == Some(true) {
        settle(context, id, None);
    } else if !is_paid(context, id) {
        let Some(method) = method.or_else(|| default_method(context, id)) else {
            return Err(ApiError::invalid(
                "There is no `default_payment_method` set on this Customer or Invoice. Please set either an \
                 `invoice_settings.default_payment_method` on the Customer or a `default_payment_method` on the Invoice.",
            )
            .code("invoice_payment_intent_requires_action"));
        };
        charge(context, id, Some(method))?;
        check_paid(context, id, "invoice_payment_intent_requires_action")?;
    }
    let invoice = context.existing(g::INVOICE)?;
    Ok(context.json(&invoice))
}

/// The payment method that the request names.
fn given_method(context: &mut Context<'_>, invoice: &Object) -> Result<Option<Object>, ApiError> {
    let Some(method) = context.text("payment_method").or(context.text("source")) else {
        return Ok(None);
    };
    let method = payment_method::existing(context, method, "payment_method")?;
    check_use(&method, invoice.word("customer"), "Invoice")?;
    Ok(Some(method))
}

pub(crate) fn is_paid(context: &Context<'_>, id: &str) -> bool {
    let invoice = context.data.get(g::INVOICE, id);
    invoice.is_some_and(|invoice| invoice.word("status") == Some("paid"))
}

/// Whether an invoice waits for its customer, which whoever wanted it paid is told of.
pub(crate) fn check_paid(context: &Context<'_>, id: &str, code: &'static str) -> Result<(), ApiError> {
    if is_paid(context, id) {
        return Ok(());
    }
    let mut error = ApiError::invalid(
        "This payment requires additional user action before it can be completed successfully. Payment can be completed using the \
         PaymentIntent associated with the invoice. For more details see: \
         https://stripe.com/docs/billing/subscriptions/overview#requires-action",
    )
    .status(402)
    .code(code);
    error.kind = "card_error";
    let intent = context
        .data
        .get(g::INVOICE, id)
        .and_then(|invoice| open_intent(context, invoice));
    error.details = Some(Box::new(Details {
        intent: intent.map(|intent| ("payment_intent", context.json(&intent))),
        ..Details::default()
    }));
    Err(error)
}

/// The payment method that an invoice is paid with unless told otherwise.
fn default_method(context: &mut Context<'_>, invoice: &str) -> Option<Object> {
    let invoice = context.find(g::INVOICE, invoice)?;
    let parent = invoice.value("parent");
    let of_subscription = parent["subscription_details"]["subscription"].as_str();
    let subscription = of_subscription.and_then(|id| context.find(g::SUBSCRIPTION, id));
    default_of(context, &invoice, subscription.as_ref())
}

/// Whether a subscription's invoices will be paid is not sure.
pub(crate) fn may_fail(context: &mut Context<'_>, subscription: &Object) -> bool {
    let method = default_of(context, subscription, None);
    method.is_some_and(|method| payment_method::outcome_of(&method) != Outcome::Succeeds)
}

/// The payment method of an invoice or a subscription, else of its subscription, else of its customer.
fn default_of(context: &mut Context<'_>, payer: &Object, subscription: Option<&Object>) -> Option<Object> {
    let customer = payer.word("customer").and_then(|id| context.find(g::CUSTOMER, id));
    let settings = customer.as_ref().map(|customer| customer.value("invoice_settings"));
    let candidates = [
        payer.word("default_payment_method").map(str::to_owned),
        subscription.and_then(|subscription| subscription.word("default_payment_method").map(str::to_owned)),
        settings.and_then(|settings| settings["default_payment_method"].as_str().map(str::to_owned)),
        customer.and_then(|customer| customer.word("default_source").map(str::to_owned)),
    ];
    let owner = payer.word("customer");
    // One that was detached since is nobody's default any more.
    candidates.into_iter().flatten().find_map(|id| {
        let method = payment_method::existing(context, &id, "default_payment_method").ok()?;
        (method.word("customer") == owner).then_some(method)
    })
}

/// Whether there is anything that a subscription's invoices can be paid with.
pub(crate) fn has_method(context: &Context<'_>, subscription: &Object) -> bool {
    let customer = subscription
        .word("customer")
        .and_then(|id| context.find(g::CUSTOMER, id));
    let of_customer = customer.is_some_and(|customer| {
        customer.value("invoice_settings")["default_payment_method"].is_string()
            || customer.word("default_source").is_some()
    });
    of_customer || subscription.word("default_payment_method").is_some()
}

/// Pays an open invoice by itself. A customer without any payment method counts as paying all the same: see the
/// simulator's list of differences.
pub(crate) fn try_to_pay(context: &mut Context<'_>, id: &str) -> Result<(), ApiError> {
    settle_nothing(context, id);
    if is_paid(context, id) {
        return Ok(());
    }
    let method = match default_method(context, id) {
        Some(method) => method,
        None => payment_method::existing(context, "pm_card_visa", "payment_method")?,
    };
    charge(context, id, Some(method))
}

/// Confirms the payment intent of what is due, where there is a payment method to confirm it with. An invoice has one such intent.
pub(crate) fn charge(context: &mut Context<'_>, id: &str, method: Option<Object>) -> Result<(), ApiError> {
    let Some(mut invoice) = context.find(g::INVOICE, id) else {
        return Ok(());
    };
    let mut intent = match open_intent(context, &invoice) {
        Some(intent) => intent,
        None => new_intent(context, &mut invoice),
    };
    let paid = match method {
        Some(method) => {
            invoice.set("attempted", "true");
            invoice.set_integer("attempt_count", invoice.amount("attempt_count") + 1);
            intent.set_text("payment_method", &method.id);
            // Whoever did not prove who they are is asked again.
            intent.set_text("status", "requires_confirmation");
            payment_intent::pay(context, &mut intent, Some(method))
        }
        None => Ok(()),
    };
    let intent_id = intent.id.to_string();
    let waits = intent.word("status") == Some("requires_action");
    context.put(invoice);
    context.put_as(intent, None);
    payment_intent::announce(context, &intent_id);
    if waits {
        context.emit("invoice.payment_action_required", g::INVOICE, id);
    }
    if paid.is_err() {
        context.emit("invoice.payment_failed", g::INVOICE, id);
    }
    paid
}

/// The intents of an invoice's payments.
fn intents<'c>(context: &'c Context<'_>, invoice: &Object) -> Vec<&'c Object> {
    let payments = invoice.ids("payments");
    let payments = payments
        .iter()
        .filter_map(|id| context.data.get(g::INVOICE_PAYMENT, id));
    let intents = payments.filter_map(|payment| {
        let payment = payment.value("payment");
        context.data.get(g::PAYMENT_INTENT, payment["payment_intent"].as_str()?)
    });
    intents.collect()
}

/// The intent by which an invoice is to be paid.
fn open_intent(context: &Context<'_>, invoice: &Object) -> Option<Object> {
    let is_open = |intent: &&Object| payment_intent::is_unconfirmed(intent.word("status").unwrap_or_default());
    intents(context, invoice).into_iter().find(is_open).cloned()
}

/// The charge that paid an invoice.
pub(crate) fn charge_of(context: &Context<'_>, invoice: &Object) -> Option<Object> {
    let intent = intents(context, invoice)
        .into_iter()
        .find(|intent| intent.word("status") == Some("succeeded"))?;
    context.find(g::CHARGE, intent.word("latest_charge")?)
}

fn new_intent(context: &mut Context<'_>, invoice: &mut Object) -> Object {
    let due = invoice.amount("amount_remaining");
    let mut intent = context.fresh(g::PAYMENT_INTENT);
    intent.parent = Some(invoice.id.clone());
    intent.set_integer("amount", due);
    intent.set("currency", invoice.json("currency"));
    intent.set("customer", invoice.json("customer"));
    let secret = format!("{}_secret_{}", intent.id, context.random.id("", 25));
    intent.set_text("client_secret", &secret);
    invoice.set(
        "confirmation_secret",
        format!("{{\"client_secret\":{},\"type\":\"payment_intent\"}}", text(&secret)),
    );
    add_payment(context, invoice, &intent, due);
    intent
}

/// The intent follows its invoice: another amount is due, or none any more.
pub(crate) fn follow(context: &mut Context<'_>, id: &str) {
    let Some(invoice) = context.find(g::INVOICE, id) else {
        return;
    };
    let Some(mut intent) = open_intent(context, &invoice) else {
        return;
    };
    if matches!(invoice.word("status"), Some("open" | "uncollectible")) {
        intent.set_integer("amount", invoice.amount("amount_remaining"));
        context.put_as(intent, None);
        return;
    }
    for payment in invoice.ids("payments") {
        let payment = context.data.table_mut(g::INVOICE_PAYMENT).get_mut(&payment);
        if let Some(payment) = payment.filter(|payment| payment.word("status") == Some("open")) {
            payment.set_text("status", "canceled");
        }
    }
    intent.set_integer("canceled_at", context.now);
    intent.set("next_action", "null");
    intent.set_text("cancellation_reason", "void_invoice");
    intent.set_text("status", "canceled");
    let id = intent.id.clone();
    context.put_as(intent, None);
    payment_intent::announce(context, &id);
}

fn add_payment(context: &mut Context<'_>, invoice: &mut Object, intent: &Object, due: i64) {
    let mut payment = context.fresh(g::INVOICE_PAYMENT);
    payment.parent = Some(invoice.id.clone());
    payment.set_text("invoice", &invoice.id);
    payment.set_integer("amount_requested", due);
    payment.set("currency", invoice.json("currency"));
    payment.set("is_default", "true");
    payment.set_text("status", "open");
    let shape = g::INVOICE_PAYMENT.field("payment").map(|field| field.shape);
    let fields = [("type", text("payment_intent")), ("payment_intent", text(&intent.id))];
    payment.set("payment", described(shape, &fields));
    invoice.set("payments", serde_json::to_string(&[&*payment.id]).unwrap_or_default());
    context.data.table_mut(g::INVOICE_PAYMENT).insert(payment);
}

/// An invoice has been paid, by an intent or otherwise.
pub(crate) fn settle(context: &mut Context<'_>, id: &str, intent: Option<&str>) {
    let Some(mut invoice) = context.find(g::INVOICE, id) else {
        return;
    };
    if matches!(invoice.word("status"), Some("paid" | "void")) {
        return;
    }
    let due = invoice.amount("amount_due");
    invoice.set_text("status", "paid");
    invoice.set_integer("amount_paid", due);
    invoice.set_integer("amount_remaining", 0);
    if due > 0 && intent.is_none() {
        invoice.set_integer("amount_paid_off_stripe", due);
    }
    invoice.set("attempted", "true");
    transition(&mut invoice, "paid_at", context.now);
    for payment in invoice.ids("payments") {
        let payment = context.data.table_mut(g::INVOICE_PAYMENT).get_mut(&payment);
        if let Some(payment) = payment.filter(|payment| intent.is_some() && payment.word("status") == Some("open")) {
            payment.set_text("status", "paid");
            payment.set_integer("amount_paid", due);
        }
    }
    let parent = invoice.value("parent");
    context.put(invoice);
    if intent.is_none() {
        follow(context, id);
    }
    context.emit("invoice.paid", g::INVOICE, id);
    context.emit("invoice.payment_succeeded", g::INVOICE, id);
    if let Some(subscription) = parent["subscription_details"]["subscription"].as_str() {
        subscription::paid(context, subscription);
    }
}
