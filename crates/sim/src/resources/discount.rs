//! Coupons and promotion codes at work. <https://docs.stripe.com/billing/subscriptions/coupons>

use inflight_stripe::{Params, Value};

use super::{Context, flag_of, generic, text_of};
use crate::calendar::add_interval;
use crate::defaults::nested;
use crate::error::{ApiError, shortened};
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::schema::Shape;

/// A promotion code: what customers enter for a coupon.
pub(super) fn create_promotion_code(context: &mut Context<'_>) -> Result<String, ApiError> {
    let coupon = context
        .map("promotion")
        .and_then(|promotion| text_of(promotion, "coupon"));
    let Some(coupon) = coupon.or(context.text("coupon")) else {
        return Err(ApiError::missing("promotion[coupon]"));
    };
    if context.data.get(g::COUPON, coupon).is_none() {
        return Err(ApiError::no_such("coupon", coupon, "promotion[coupon]"));
    }
    let code = match context.text("code") {
        Some(code) => code.to_owned(),
        None => context.random.capitals(8),
    };
    let key = code.to_lowercase();
    let taken = context
        .data
        .promotion_codes
        .get(key.as_str())
        .and_then(|id| context.data.get(g::PROMOTION_CODE, id));
    if taken.is_some_and(|other| other.is_true("active")) && flag_of(context.params, "active") != Some(false) {
        return Err(ApiError::invalid(format!(
            "An active promotion code with `code: {}` already exists.",
            shortened(&code)
        ))
        .param("code"));
    }
    let mut promotion = generic::build(context, g::PROMOTION_CODE)?;
    promotion.set_text("code", &code);
    promotion.set(
        "promotion",
        format!("{{\"coupon\":{},\"type\":\"coupon\"}}", text(coupon)),
    );
    context.data.promotion_codes.insert(key.into(), promotion.id.clone());
    context.insert(promotion)
}

/// What one discount is to apply to.
pub(super) struct Target<'a> {
    /// The field of a discount that names it: `subscription`.
    pub(super) field: &'a str,
    pub(super) id: &'a str,
    /// JSON.
    pub(super) customer: &'a str,
}

/// Discounts from `discounts[0][coupon]` and its like: the ids of new ones.
pub(super) fn apply(context: &mut Context<'_>, given: &[Value], target: &Target<'_>) -> Result<Vec<String>, ApiError> {
    let mut ids = Vec::new();
    for (index, given) in given.iter().enumerate() {
        let Value::Map(given) = given else { continue };
        let param = |name: &str| format!("discounts[{index}][{name}]");
        if let Some(id) = text_of(given, "discount") {
            if context.data.get(g::DISCOUNT, id).is_none() {
                return Err(ApiError::no_such("discount", id, &param("discount")));
            }
            ids.push(id.to_owned());
        } else if let Some(id) = text_of(given, "promotion_code") {
            ids.push(redeem_code(context, id, target, &param("promotion_code"))?);
        } else if let Some(id) = text_of(given, "coupon") {
            ids.push(redeem(context, id, None, target, &param("coupon"))?);
        }
    }
    Ok(ids)
}

fn redeem_code(context: &mut Context<'_>, id: &str, target: &Target<'_>, param: &str) -> Result<String, ApiError> {
    let Some(mut promotion) = context.find(g::PROMOTION_CODE, id) else {
        return Err(ApiError::no_such("promotion code", id, param));
    };
    let redeemed = promotion.amount("times_redeemed");
    let used_up = promotion.integer("max_redemptions").is_some_and(|max| redeemed >= max);
    let expired = promotion.integer("expires_at").is_some_and(|end| end <= context.now);
    if !promotion.is_true("active") || used_up || expired {
        return Err(ApiError::invalid("This promotion code is not active.")
            .code("promotion_code_inactive")
            .param(param));
    }
    let others = promotion.json("customer") != "null" && promotion.json("customer") != target.customer;
    if others {
        return Err(ApiError::invalid("This promotion code cannot be redeemed by this customer.").param(param));
    }
    let coupon = promotion.value("promotion")["coupon"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let discount = redeem(context, &coupon, Some(id), target, param)?;
    promotion.set_integer("times_redeemed", redeemed + 1);
    if promotion.integer("max_redemptions") == Some(redeemed + 1) {
        promotion.set("active", "false");
    }
    context.put(promotion);
    Ok(discount)
}

fn redeem(
    context: &mut Context<'_>,
    coupon: &str,
    promotion: Option<&str>,
    target: &Target<'_>,
    param: &str,
) -> Result<String, ApiError> {
    let Some(mut coupon) = context.find(g::COUPON, coupon) else {
        return Err(ApiError::no_such("coupon", coupon, param));
    };
    let redeemed = coupon.amount("times_redeemed");
    let used_up = coupon.integer("max_redemptions").is_some_and(|max| redeemed >= max);
    let expired = coupon.integer("redeem_by").is_some_and(|end| end <= context.now);
    if used_up || expired || !coupon.is_true("valid") {
        return Err(ApiError::invalid(format!("Coupon expired: {}", coupon.id))
            .code("coupon_expired")
            .param(param));
    }
    let mut discount = context.fresh(g::DISCOUNT);
    discount.set_integer("start", context.now);
    discount.set("customer", target.customer);
    discount.set_text(target.field, target.id);
    discount.set(
        "source",
        format!("{{\"coupon\":{},\"type\":\"coupon\"}}", text(&coupon.id)),
    );
    if let Some(promotion) = promotion {
        discount.set_text("promotion_code", promotion);
    }
    if let (Some("repeating"), Some(months)) = (coupon.word("duration"), coupon.integer("duration_in_months")) {
        discount.set_integer("end", add_interval(context.now, "month", months));
    }
    coupon.set_integer("times_redeemed", redeemed + 1);
    if coupon.integer("max_redemptions") == Some(redeemed + 1) {
        coupon.set("valid", "false");
    }
    context.put(coupon);
    let id = discount.id.to_string();
    context.data.table_mut(g::DISCOUNT).insert(discount);
    context.emit("customer.discount.created", g::DISCOUNT, &id);
    Ok(id)
}

/// What each discount takes off an amount, in their order.
pub(super) fn amounts(context: &Context<'_>, discounts: &[String], amount: i64) -> Vec<(String, i64)> {
    let mut left = amount.max(0);
    let mut taken = Vec::new();
    for id in discounts {
        let Some(coupon) = coupon_of(context, id) else { continue };
        let off = match coupon.json("percent_off").parse::<f64>() {
            // An amount has at most eight digits, so nothing is lost.
            Ok(percent) => (left as f64 * percent / 100.0).round() as i64,
            Err(_) => coupon.amount("amount_off"),
        };
        let off = off.clamp(0, left);
        left -= off;
        taken.push((id.clone(), off));
    }
    taken
}

fn coupon_of<'c>(context: &'c Context<'_>, discount: &str) -> Option<&'c Object> {
    let discount = context.data.get(g::DISCOUNT, discount)?;
    let source = discount.value("source");
    context.data.get(g::COUPON, source["coupon"].as_str()?)
}

/// `[{"amount": 5, "discount": "di_…"}]`
pub(super) fn amounts_json(amounts: &[(String, i64)]) -> String {
    let each = amounts
        .iter()
        .map(|(id, amount)| format!("{{\"amount\":{amount},\"discount\":{}}}", text(id)));
    format!("[{}]", each.collect::<Vec<_>>().join(","))
}

/// A list of ids as JSON.
pub(super) fn ids_json(ids: &[String]) -> String {
    serde_json::to_string(ids).unwrap_or_else(|_| "[]".to_owned())
}

/// Discounts that still hold when the next invoice is made: those for one use are used up.
pub(super) fn lasting(context: &Context<'_>, discounts: Vec<String>) -> Vec<String> {
    let lasts = |id: &String| coupon_of(context, id).is_some_and(|coupon| coupon.word("duration") != Some("once"));
    discounts.into_iter().filter(lasts).collect()
}

/// The object that a field of this shape holds, of these fields.
pub(super) fn described(shape: Option<Shape>, fields: &[(&str, String)]) -> String {
    match shape.map(Shape::objects).as_deref() {
        Some([schema, ..]) => nested(*schema, fields, 0),
        _ => "null".to_owned(),
    }
}

/// Whether `discounts` was given, with whatever it holds.
pub(super) fn given(params: &Params) -> Option<&[Value]> {
    match params.get("discounts")? {
        Value::List(list) => Some(list),
        _ => Some(&[]),
    }
}
