//! The invoice that would come next. <https://docs.stripe.com/api/invoices/create_preview>

use super::{draft, item, total};
use crate::error::ApiError;
use crate::generated as g;
use crate::object::Object;
use crate::resources::{Context, subscription};

/// The next invoice of a customer or a subscription. Nothing of it is kept.
pub(crate) fn preview(context: &mut Context<'_>) -> Result<String, ApiError> {
    let subscription = context.referred(g::SUBSCRIPTION, "subscription")?;
    if subscription.as_ref().is_some_and(subscription::has_ended) {
        return Err(ApiError::invalid("No upcoming invoices for customer").code("invoice_upcoming_none"));
    }
    let of_subscription = subscription
        .as_ref()
        .and_then(|subscription| subscription.word("customer"))
        .and_then(|id| context.find(g::CUSTOMER, id));
    let Some(customer) = of_subscription.or(context.referred(g::CUSTOMER, "customer")?) else {
        return Err(ApiError::missing("customer"));
    };
    let mut invoice = draft(context, &customer);
    invoice.id = context.random.id("upcoming_in_", 24).into();
    invoice.set_text("billing_reason", "upcoming");
    if let Some(subscription) = &subscription {
        subscription::next_lines(context, subscription, &mut invoice);
    }
    item::show_pending(context, &mut invoice);
    total(context, &mut invoice);
    let json = context.json(&invoice);
    forget_lines(context, &invoice);
    Ok(json)
}

fn forget_lines(context: &mut Context<'_>, invoice: &Object) {
    for line in invoice.ids("lines") {
        context.data.table_mut(g::LINE_ITEM).remove(&line);
    }
}
