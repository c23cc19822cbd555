//! Coupons. <https://docs.stripe.com/api/coupons>

use super::{Context, currency_of, generic};
use crate::error::ApiError;
use crate::generated as g;
use crate::json;
use crate::object::Object;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    check_discount(context)?;
    check_duration(context)?;
    check_redeem_by(context)?;
    let id = match context.text("id") {
        Some(id) if context.data.get(g::COUPON, id).is_some() => return Err(ApiError::already_exists("Coupon")),
        Some(id) => id.to_owned(),
        None => context.random.capitals(8),
    };
    let mut coupon = Object::new(g::COUPON, id, context.now);
    context.apply(&mut coupon)?;
    if let Some(currency) = currency_of(context.params, "currency")? {
        coupon.set("currency", json::text(&currency));
    }
    context.insert(coupon)
}

/// Nobody redeems it any more, and discounts that it gave go on. <https://docs.stripe.com/api/coupons/delete>
pub(super) fn delete(context: &mut Context<'_>) -> Result<String, ApiError> {
    let coupon = context.existing(g::COUPON)?;
    if coupon.amount("times_redeemed") > 0 {
        context.data.ended_coupons.insert(coupon.id.clone(), coupon);
    }
    generic::delete(context)
}

fn check_discount(context: &Context<'_>) -> Result<(), ApiError> {
    let percent = context.text("percent_off");
    let amount = context.integer("amount_off")?;
    match (percent, amount) {
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "You may only specify one of these parameters: amount_off, percent_off.",
        )
        .code("parameters_exclusive")),
        (None, None) => Err(ApiError::invalid("You must pass either `percent_off` or `amount_off`.")
            .code("parameter_missing")
            .param("percent_off")),
        (Some(percent), None) => match percent.parse::<f64>() {
            Ok(number) if number > 0.0 && number <= 100.0 => Ok(()),
            _ => Err(
                ApiError::invalid("Invalid percent_off: must be greater than 0 and at most 100.").param("percent_off"),
            ),
        },
        (None, Some(amount)) if amount < 1 => {
            Err(ApiError::invalid("This value must be greater than or equal to 1.").param("amount_off"))
        }
        (None, Some(_)) if !context.given("currency") => {
            Err(ApiError::invalid("You must pass `currency` when passing `amount_off`.")
                .code("parameter_missing")
                .param("currency"))
        }
        (None, Some(_)) => Ok(()),
    }
}

fn check_redeem_by(context: &Context<'_>) -> Result<(), ApiError> {
    match context.integer("redeem_by")? {
        Some(end) if end <= context.now => {
            Err(ApiError::invalid("`redeem_by` must be a timestamp in the future.").param("redeem_by"))
        }
        _ => Ok(()),
    }
}

fn check_duration(context: &Context<'_>) -> Result<(), ApiError> {
    let months = context.integer("duration_in_months")?;
    match (context.text("duration").unwrap_or("once"), months) {
        ("once" | "forever", None) => Ok(()),
        ("once" | "forever", Some(_)) => Err(ApiError::invalid(
            "You may only pass `duration_in_months` when `duration` is `repeating`.",
        )
        .param("duration_in_months")),
        ("repeating", Some(1..)) => Ok(()),
        ("repeating", Some(_)) => {
            Err(ApiError::invalid("This value must be greater than or equal to 1.").param("duration_in_months"))
        }
        ("repeating", None) => Err(ApiError::missing("duration_in_months")),
        _ => Err(ApiError::invalid("Invalid duration: must be one of forever, once, or repeating").param("duration")),
    }
}
