//! Currencies that Stripe knows, and the least that can be charged in them. <https://docs.stripe.com/currencies>

use inflight_stripe::Params;

use super::text_of;
use crate::error::{ApiError, shortened};

/// In the order of Stripe's message.
const SUPPORTED: &str = "usd, aed, afn, all, amd, ang, aoa, ars, aud, awg, azn, bam, bbd, bdt, bgn, bhd, bif, bmd, bnd, bob, brl, bsd, bwp, byn, bzd, cad, cdf, chf, clp, cny, cop, crc, cve, czk, djf, dkk, dop, dzd, egp, etb, eur, fjd, fkp, gbp, gel, gip, gmd, gnf, gtq, gyd, hkd, hnl, hrk, htg, huf, idr, ils, inr, isk, jmd, jod, jpy, kes, kgs, khr, kmf, krw, kwd, kyd, kzt, lak, lbp, lkr, lrd, lsl, mad, mdl, mga, mkd, mmk, mnt, mop, mro, mur, mvr, mwk, mxn, myr, mzn, nad, ngn, nio, nok, npr, nzd, omr, pab, pen, pgk, php, pkr, pln, pyg, qar, ron, rsd, rub, rwf, sar, sbd, scr, sek, sgd, shp, sle, sll, sos, srd, std, szl, thb, tjs, tnd, top, try, ttd, twd, tzs, uah, ugx, uyu, uzs, vnd, vuv, wst, xaf, xcd, xof, xpf, yer, zar, zmw, btn, ghs, eek, lvl, svc, vef, ltl";

/// The least amount in the minor unit, and how the message writes it.
/// <https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts>
const MINIMUMS: [(&str, i64, &str); 26] = [
    ("usd", 50, "$0.50"),
    ("aed", 200, "2.00 د.إ"),
    ("aud", 50, "$0.50"),
    ("bgn", 100, "лв1.00"),
    ("brl", 50, "R$0.50"),
    ("cad", 50, "$0.50"),
    ("chf", 50, "0.50 Fr"),
    ("czk", 1500, "15.00Kč"),
    ("dkk", 250, "2.50-kr."),
    ("eur", 50, "€0.50"),
    ("gbp", 30, "£0.30"),
    ("hkd", 400, "$4.00"),
    ("huf", 17_500, "175.00 Ft"),
    ("inr", 50, "₹0.50"),
    ("jpy", 50, "¥50"),
    ("mxn", 1000, "$10"),
    ("myr", 200, "RM 2"),
    ("nok", 300, "3.00-kr."),
    ("nzd", 50, "$0.50"),
    ("pln", 200, "2.00 zł"),
    ("ron", 200, "lei2.00"),
    ("sek", 300, "3.00-kr."),
    ("sgd", 50, "$0.50"),
    ("thb", 1000, "฿10"),
    ("cop", 200_000, "$2000"),
    ("clp", 500, "$500"),
];

/// A lower-case three-letter code, as the fields show it.
pub(crate) fn currency_of(params: &Params, name: &str) -> Result<Option<String>, ApiError> {
    let Some(text) = text_of(params, name) else {
        return Ok(None);
    };
    let currency = text.to_ascii_lowercase();
    if SUPPORTED.split(", ").any(|known| known == currency) {
        return Ok(Some(currency));
    }
    let message = format!(
        "Invalid currency: {}. Stripe currently supports these currencies: {SUPPORTED}",
        shortened(&currency)
    );
    Err(ApiError::invalid(message).param(name))
}

/// Refuses a charge that is worth less than what it costs.
pub(crate) fn check_minimum(amount: i64, currency: &str) -> Result<(), ApiError> {
    match MINIMUMS.iter().find(|(known, ..)| *known == currency) {
        Some((_, least, written)) if amount < *least => Err(ApiError::invalid(format!(
            "Amount must be at least {written} {currency}"
        ))
        .code("amount_too_small")
        .param("amount")),
        _ => Ok(()),
    }
}
