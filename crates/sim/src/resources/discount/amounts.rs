//! What discounts take off: of each line, in their order.

use super::Context;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;

/// One line, and what is left of its amount.
pub(crate) struct Share {
    /// The product's id.
    pub(crate) product: Option<String>,
    pub(crate) discountable: bool,
    pub(crate) left: i64,
    /// By the ids of discounts.
    pub(crate) taken: Vec<(String, i64)>,
}

impl Share {
    /// That of an invoice's line.
    pub(crate) fn of_line(line: &Object) -> Self {
        let pricing = line.value("pricing");
        Self {
            product: pricing["price_details"]["product"].as_str().map(str::to_owned),
            discountable: line.is_true("discountable"),
            left: line.amount("amount"),
            taken: Vec::new(),
        }
    }
}

/// What is left of all lines.
pub(crate) fn left(shares: &[Share]) -> i64 {
    shares.iter().map(|share| share.left).fold(0, i64::saturating_add)
}

/// Takes discounts off lines, one after the other.
pub(crate) fn take(context: &Context<'_>, discounts: &[String], shares: &mut [Share]) {
    for id in discounts {
        let Some(coupon) = coupon_of(context, id) else { continue };
        let products = coupon.value("applies_to");
        let products = products["products"].as_array().filter(|products| !products.is_empty());
        let fits = |share: &Share| {
            let of_product = |product: &serde_json::Value| product.as_str() == share.product.as_deref();
            share.discountable && products.is_none_or(|products| products.iter().any(of_product))
        };
        let mut taking: Vec<&mut Share> = shares.iter_mut().filter(|share| fits(share)).collect();
        let base = taking.iter().map(|share| share.left).fold(0, i64::saturating_add);
        if base > 0 {
            spread(id, off(coupon, base), base, &mut taking);
        }
    }
}

fn off(coupon: &Object, base: i64) -> i64 {
    let off = match coupon.json("percent_off").parse::<f64>() {
        // An amount has at most eight digits, so nothing is lost.
        Ok(percent) => (base as f64 * percent / 100.0).round() as i64,
        Err(_) => coupon.amount("amount_off"),
    };
    off.clamp(0, base)
}

/// Each line bears as much as it is of the whole; the last one bears what rounding left.
fn spread(id: &str, off: i64, base: i64, shares: &mut [&mut Share]) {
    let (mut rest, last) = (off, shares.len().saturating_sub(1));
    for (place, share) in shares.iter_mut().enumerate() {
        let part = i128::from(off) * i128::from(share.left) / i128::from(base);
        let part = if place == last {
            rest
        } else {
            i64::try_from(part).unwrap_or(0)
        };
        rest = rest.saturating_sub(part);
        share.left = share.left.saturating_sub(part);
        share.taken.push((id.to_owned(), part));
    }
}

/// What each discount takes in all.
pub(crate) fn sums<'t>(taken: impl Iterator<Item = &'t (String, i64)>) -> Vec<(String, i64)> {
    let mut sums: Vec<(String, i64)> = Vec::new();
    for (id, amount) in taken {
        match sums.iter_mut().find(|(known, _)| known == id) {
            Some((_, sum)) => *sum = sum.saturating_add(*amount),
            None => sums.push((id.clone(), *amount)),
        }
    }
    sums
}

/// A discount's coupon, which may have been deleted since.
pub(super) fn coupon_of<'c>(context: &'c Context<'_>, discount: &str) -> Option<&'c Object> {
    let discount = context.data.get(g::DISCOUNT, discount)?;
    let source = discount.value("source");
    let id = source["coupon"].as_str()?;
    context
        .data
        .get(g::COUPON, id)
        .or_else(|| context.data.ended_coupons.get(id))
}

/// `[{"amount": 5, "discount": "di_…"}]`
pub(crate) fn amounts_json(amounts: &[(String, i64)]) -> String {
    let each = amounts
        .iter()
        .map(|(id, amount)| format!("{{\"amount\":{amount},\"discount\":{}}}", text(id)));
    format!("[{}]", each.collect::<Vec<_>>().join(","))
}
