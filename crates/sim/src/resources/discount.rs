//! Coupons and promotion codes at work. <https://docs.stripe.com/billing/subscriptions/coupons>

mod amounts;

use std::collections::{HashMap, HashSet};

use inflight_stripe::{Params, Value};

use self::amounts::coupon_of;
pub(super) use self::amounts::{Share, amounts_json, left, sums, take};

use super::{Context, flag_of, generic, text_of};
use crate::calendar::add_interval;
use crate::defaults::nested;
use crate::error::{ApiError, shortened};
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::schema::{SchemaId, Shape};

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

/// A discount that is there, or what is to be redeemed.
enum Wanted {
    Kept(String),
    Coupon(Object),
    Code(Object, Object),
}

impl Wanted {
    fn redeemed(&self) -> Vec<&Object> {
        match self {
            Self::Kept(_) => Vec::new(),
            Self::Coupon(coupon) => vec![coupon],
            Self::Code(code, coupon) => vec![code, coupon],
        }
    }
}

/// How often coupons and promotion codes are about to be redeemed.
type Uses = HashMap<(SchemaId, Box<str>), i64>;

/// Discounts from `discounts[0][coupon]` and its like: the ids of new ones. All are checked before any is redeemed.
pub(super) fn apply(context: &mut Context<'_>, given: &[Value], target: &Target<'_>) -> Result<Vec<String>, ApiError> {
    let wanted = wanted(context, given, target, &Uses::new())?;
    let redeemed = wanted.into_iter().map(|wanted| match wanted {
        Wanted::Kept(id) => id,
        Wanted::Coupon(coupon) => redeem(context, coupon, None, target),
        Wanted::Code(code, coupon) => redeem(context, coupon, Some(code), target),
    });
    Ok(redeemed.collect())
}

/// That the discounts of several lines, given for each, can be redeemed one after the other. Asked before any is.
pub(super) fn check(context: &Context<'_>, lines: &[&[Value]], customer: &str) -> Result<(), ApiError> {
    let target = Target {
        field: "invoice_item",
        id: "",
        customer,
    };
    let mut uses = Uses::new();
    for given in lines {
        let wanted = wanted(context, given, &target, &uses)?;
        for redeemed in wanted.iter().flat_map(Wanted::redeemed) {
            *uses.entry((redeemed.schema, redeemed.id.clone())).or_default() += 1;
        }
    }
    Ok(())
}

/// What the parameters ask for, if it can be had after so many uses.
fn wanted(context: &Context<'_>, given: &[Value], target: &Target<'_>, uses: &Uses) -> Result<Vec<Wanted>, ApiError> {
    let mut wanted = Vec::new();
    for (index, given) in given.iter().enumerate() {
        let Value::Map(given) = given else { continue };
        let param = |name: &str| format!("discounts[{index}][{name}]");
        if let Some(id) = text_of(given, "discount") {
            if context.data.get(g::DISCOUNT, id).is_none() {
                return Err(ApiError::no_such("discount", id, &param("discount")));
            }
            wanted.push(Wanted::Kept(id.to_owned()));
        } else if let Some(id) = text_of(given, "promotion_code") {
            let (code, coupon) = usable_code(context, id, target, uses, &param("promotion_code"))?;
            wanted.push(Wanted::Code(code, coupon));
        } else if let Some(id) = text_of(given, "coupon") {
            wanted.push(Wanted::Coupon(usable_coupon(context, id, uses, &param("coupon"))?));
        }
    }
    check_once(&wanted)?;
    Ok(wanted)
}

fn check_once(wanted: &[Wanted]) -> Result<(), ApiError> {
    let coupons = wanted.iter().filter_map(|wanted| match wanted {
        Wanted::Kept(_) => None,
        Wanted::Coupon(coupon) | Wanted::Code(_, coupon) => Some(&coupon.id),
    });
    let mut seen = HashSet::new();
    for coupon in coupons {
        if !seen.insert(coupon) {
            let message = format!("The coupon {coupon} cannot be applied more than once.");
            return Err(ApiError::invalid(message).param("discounts"));
        }
    }
    Ok(())
}

/// A promotion code that this customer can use, and its coupon.
fn usable_code(
    context: &Context<'_>,
    id: &str,
    target: &Target<'_>,
    uses: &Uses,
    param: &str,
) -> Result<(Object, Object), ApiError> {
    let Some(promotion) = context.find(g::PROMOTION_CODE, id) else {
        return Err(ApiError::no_such("promotion code", id, param));
    };
    let used_up = is_used_up(&promotion, uses);
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
    if promotion.value("restrictions")["first_time_transaction"] == true && has_paid(context, target.customer) {
        let message = "This promotion code cannot be redeemed because the associated customer has prior transactions.";
        return Err(ApiError::invalid(message).param(param));
    }
    let coupon = promotion.value("promotion")["coupon"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    Ok((promotion, usable_coupon(context, &coupon, uses, param)?))
}

/// Whether a customer, given as JSON, has ever paid anything.
fn has_paid(context: &Context<'_>, customer: &str) -> bool {
    let has = |schema, paid: fn(&Object) -> bool| {
        let mut objects = context.data.table(schema).iter();
        objects.any(|object| object.json("customer") == customer && paid(object))
    };
    customer != "null"
        && (has(g::CHARGE, |charge| charge.is_true("paid"))
            || has(g::INVOICE, |invoice| invoice.amount("amount_paid") > 0))
}

fn is_used_up(redeemed: &Object, uses: &Uses) -> bool {
    let uses = uses.get(&(redeemed.schema, redeemed.id.clone())).copied().unwrap_or(0);
    let times = redeemed.amount("times_redeemed").saturating_add(uses);
    redeemed.integer("max_redemptions").is_some_and(|max| times >= max)
}

fn usable_coupon(context: &Context<'_>, id: &str, uses: &Uses, param: &str) -> Result<Object, ApiError> {
    let Some(coupon) = context.find(g::COUPON, id) else {
        return Err(ApiError::no_such("coupon", id, param));
    };
    let used_up = is_used_up(&coupon, uses);
    let expired = coupon.integer("redeem_by").is_some_and(|end| end <= context.now);
    if used_up || expired || !coupon.is_true("valid") {
        return Err(ApiError::invalid(format!("Coupon expired: {}", coupon.id))
            .code("coupon_expired")
            .param(param));
    }
    Ok(coupon)
}

/// A new discount, by its id.
fn redeem(context: &mut Context<'_>, mut coupon: Object, code: Option<Object>, target: &Target<'_>) -> String {
    let mut discount = context.fresh(g::DISCOUNT);
    discount.set_integer("start", context.now);
    discount.set("customer", target.customer);
    discount.set_text(target.field, target.id);
    discount.set(
        "source",
        format!("{{\"coupon\":{},\"type\":\"coupon\"}}", text(&coupon.id)),
    );
    if let (Some("repeating"), Some(months)) = (coupon.word("duration"), coupon.integer("duration_in_months")) {
        discount.set_integer("end", add_interval(context.now, "month", months));
    }
    if let Some(mut code) = code {
        discount.set_text("promotion_code", &code.id);
        count(&mut code, "active");
        context.put(code);
    }
    count(&mut coupon, "valid");
    context.put(coupon);
    let id = discount.id.to_string();
    context.data.table_mut(g::DISCOUNT).insert(discount);
    context.emit("customer.discount.created", g::DISCOUNT, &id);
    id
}

/// Counts a redemption. The last one ends it.
fn count(redeemed: &mut Object, flag: &str) {
    let times = redeemed.amount("times_redeemed") + 1;
    redeemed.set_integer("times_redeemed", times);
    if redeemed.integer("max_redemptions") == Some(times) {
        redeemed.set(flag, "false");
    }
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
