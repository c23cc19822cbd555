//! Until when a subscription runs: trials and cancellations.

use crate::error::ApiError;
use crate::object::Object;
use crate::resources::Context;

/// Two years. <https://docs.stripe.com/api/subscriptions/create>, `trial_end`
const TRIAL_DAYS_MAX: i64 = 730;

/// When the trial ends, if there is one.
pub(super) fn trial_end(context: &Context<'_>) -> Result<Option<i64>, ApiError> {
    if context.text("trial_end") == Some("now") {
        return Ok(None);
    }
    if let Some(end) = context.integer("trial_end")? {
        if end <= context.now {
            return Err(
                ApiError::invalid("Invalid timestamp: must be an integer Unix timestamp in the future.")
                    .param("trial_end"),
            );
        }
        if end > context.now.saturating_add(TRIAL_DAYS_MAX * 86_400) {
            return Err(
                ApiError::invalid("Invalid trial_end: it may be at most two years from now.").param("trial_end"),
            );
        }
        return Ok(Some(end));
    }
    match context.integer("trial_period_days")? {
        Some(days) if !(0..=TRIAL_DAYS_MAX).contains(&days) => {
            Err(ApiError::invalid("Trial periods must be at most 730 days.").param("trial_period_days"))
        }
        Some(days @ 1..) => Ok(Some(context.now.saturating_add(days * 86_400))),
        _ => Ok(None),
    }
}

/// A subscription cannot have ended before now.
pub(super) fn check_cancel_at(context: &Context<'_>) -> Result<(), ApiError> {
    let named = context
        .text("cancel_at")
        .is_some_and(|text| text.starts_with(|c: char| c.is_ascii_alphabetic()));
    match if named { None } else { context.integer("cancel_at")? } {
        Some(at) if at <= context.now => {
            let message = "`cancel_at` must be a timestamp in the future.";
            Err(ApiError::invalid(message).param("cancel_at"))
        }
        _ => Ok(()),
    }
}

pub(super) fn set_trial(subscription: &mut Object, now: i64, end: Option<i64>) {
    match end {
        Some(end) => {
            subscription.set("status", "\"trialing\"");
            subscription.set("trial_start", now.to_string());
            subscription.set("trial_end", end.to_string());
        }
        None => {
            subscription.set("status", "\"active\"");
            subscription.clear("trial_end");
        }
    }
}

/// The ends are those of the items' periods.
pub(super) fn set_cancellation(context: &Context<'_>, subscription: &mut Object, ends: &[i64]) {
    let (first, last) = (ends.iter().min().copied(), ends.iter().max().copied());
    let named = match context.text("cancel_at") {
        Some("min_period_end") => first,
        Some("max_period_end") => last,
        _ => None,
    };
    if let Some(end) = named {
        subscription.set_integer("cancel_at", end);
    }
    match context.flag("cancel_at_period_end") {
        Some(true) => {
            subscription.set_integer("cancel_at", first.unwrap_or(context.now));
            subscription.set_integer("canceled_at", context.now);
        }
        Some(false) => {
            subscription.clear("cancel_at");
            subscription.clear("canceled_at");
        }
        None => {}
    }
}
