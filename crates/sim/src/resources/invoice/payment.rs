//! How an invoice is paid.

use super::{open, settle_nothing, transition};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
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
        Some("draft") => {
            open(context, &mut invoice);
            let id = invoice.id.to_string();
            context.put(invoice.clone());
            context.emit("invoice.finalized", g::INVOICE, &id);
        }
        _ => {}
    }
    let id = context.id();
    settle_nothing(context, id);
    let open_still = context
        .data
        .get(g::INVOICE, id)
        .is_some_and(|invoice| invoice.word("status") != Some("paid"));
    if context.flag("paid_out_of_band") == Some(true) {
        settle(context, id, None);
    } else if open_still {
        let method = match context.text("payment_method").or(context.text("source")) {
            Some(method) => {
                let method = payment_method::existing(context, method, "payment_method")?;
                check_use(&method, invoice.word("customer"), "Invoice")?;
                Some(method)
            }
            None => None,
        };
        let Some(method) = method.or_else(|| default_method(context, id)) else {
            return Err(ApiError::invalid(
                "There is no `default_payment_method` set on this Customer or Invoice. Please set either an \
                 `invoice_settings.default_payment_method` on the Customer or a `default_payment_method` on the Invoice.",
            )
            .code("invoice_payment_intent_requires_action"));
        };
        charge(context, id, Some(method))?;
    }
    let invoice = context.existing(g::INVOICE)?;
    Ok(context.json(&invoice))
}

/// The payment method that an invoice is paid with unless told otherwise.
fn default_method(context: &mut Context<'_>, invoice: &str) -> Option<Object> {
    let invoice = context.find(g::INVOICE, invoice)?;
    let parent = invoice.value("parent");
    let of_subscription = parent["subscription_details"]["subscription"].as_str();
    let subscription = of_subscription.and_then(|id| context.find(g::SUBSCRIPTION, id));
    let customer = invoice.word("customer").and_then(|id| context.find(g::CUSTOMER, id));
    let settings = customer.as_ref().map(|customer| customer.value("invoice_settings"));
    let candidates = [
        invoice.word("default_payment_method").map(str::to_owned),
        subscription.and_then(|subscription| subscription.word("default_payment_method").map(str::to_owned)),
        settings.and_then(|settings| settings["default_payment_method"].as_str().map(str::to_owned)),
        customer.and_then(|customer| customer.word("default_source").map(str::to_owned)),
    ];
    let owner = invoice.word("customer");
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
    if context
        .data
        .get(g::INVOICE, id)
        .is_some_and(|invoice| invoice.word("status") == Some("paid"))
    {
        return Ok(());
    }
    let method = match default_method(context, id) {
        Some(method) => method,
        None => payment_method::existing(context, "pm_card_visa", "payment_method")?,
    };
    charge(context, id, Some(method))
}

/// Makes a payment intent for what is due and confirms it, where there is a payment method to confirm it with.
pub(crate) fn charge(context: &mut Context<'_>, id: &str, method: Option<Object>) -> Result<(), ApiError> {
    let Some(mut invoice) = context.find(g::INVOICE, id) else {
        return Ok(());
    };
    let due = invoice.amount("amount_remaining");
    let mut intent = context.fresh(g::PAYMENT_INTENT);
    intent.parent = Some(id.into());
    intent.set_integer("amount", due);
    intent.set("currency", invoice.json("currency"));
    intent.set("customer", invoice.json("customer"));
    let secret = format!("{}_secret_{}", intent.id, context.random.id("", 25));
    intent.set_text("client_secret", &secret);
    invoice.set(
        "confirmation_secret",
        format!("{{\"client_secret\":{},\"type\":\"payment_intent\"}}", text(&secret)),
    );
    add_payment(context, &mut invoice, &intent, due);
    let paid = match method {
        Some(method) => {
            invoice.set("attempted", "true");
            invoice.set_integer("attempt_count", invoice.amount("attempt_count") + 1);
            intent.set_text("payment_method", &method.id);
            payment_intent::pay(context, &mut intent, Some(method))
        }
        None => Ok(()),
    };
    let intent_id = intent.id.to_string();
    context.put(invoice);
    context.add(intent);
    payment_intent::announce(context, &intent_id);
    if paid.is_err() {
        context.emit("invoice.payment_failed", g::INVOICE, id);
    }
    paid
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
    if invoice.word("status") == Some("paid") {
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
        if let Some(payment) = context.data.table_mut(g::INVOICE_PAYMENT).get_mut(&payment) {
            payment.set_text("status", "paid");
            payment.set_integer("amount_paid", due);
        }
    }
    let parent = invoice.value("parent");
    context.put(invoice);
    context.emit("invoice.paid", g::INVOICE, id);
    context.emit("invoice.payment_succeeded", g::INVOICE, id);
    if let Some(subscription) = parent["subscription_details"]["subscription"].as_str() {
        subscription::paid(context, subscription);
    }
}
