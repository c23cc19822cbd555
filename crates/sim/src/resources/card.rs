//! Test cards: numbers, tokens and payment methods that always end in the same way. <https://docs.stripe.com/testing>

use inflight_stripe::Params;

use super::{integer_of, text_of};
use crate::calendar::date_time;
use crate::error::{ApiError, Details};

/// What happens when a card is charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Succeeds,
    /// The customer must prove that it is them.
    AsksForAuthentication,
    Declined(&'static Refusal),
}

/// Why a card is declined.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) decline_code: &'static str,
    pub(super) message: &'static str,
}

/// A card that a request means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Card {
    pub(super) brand: &'static str,
    pub(super) funding: &'static str,
    pub(super) last4: String,
}

const fn refusal(code: &'static str, decline_code: &'static str, message: &'static str) -> Refusal {
    Refusal {
        code,
        decline_code,
        message,
    }
}

static GENERIC: Refusal = refusal("card_declined", "generic_decline", "Your card was declined.");
static FUNDS: Refusal = refusal(
    "card_declined",
    "insufficient_funds",
    "Your card has insufficient funds.",
);
static LOST: Refusal = refusal("card_declined", "lost_card", "Your card was declined.");
static STOLEN: Refusal = refusal("card_declined", "stolen_card", "Your card was declined.");
static FRAUDULENT: Refusal = refusal("card_declined", "fraudulent", "Your card was declined.");
static EXPIRED: Refusal = refusal("expired_card", "expired_card", "Your card has expired.");
static CVC: Refusal = refusal(
    "incorrect_cvc",
    "incorrect_cvc",
    "Your card's security code is incorrect.",
);
static PROCESSING: Refusal = refusal(
    "processing_error",
    "processing_error",
    "An error occurred while processing your card. Try again in a little bit.",
);
static NUMBER: Refusal = refusal("incorrect_number", "incorrect_number", "Your card number is incorrect.");
static MONTH: Refusal = refusal("invalid_expiry_month", "", "Your card's expiration month is invalid.");
static YEAR: Refusal = refusal("invalid_expiry_year", "", "Your card's expiration year is invalid.");
static CVC_INVALID: Refusal = refusal("invalid_cvc", "", "Your card's security code is invalid.");
pub(super) static UNAUTHENTICATED: Refusal = refusal(
    "authentication_required",
    "authentication_required",
    "Your card was declined. This transaction requires authentication.",
);

/// The number, and the names that follow `pm_card_` and `tok_`.
static NAMED: &[(&str, &[&str])] = &[
    ("4242424242424242", &["visa", "us"]),
    ("4000056655665556", &["visa_debit"]),
    ("5555555555554444", &["mastercard"]),
    ("5200828282828210", &["mastercard_debit"]),
    ("5105105105105100", &["mastercard_prepaid"]),
    ("378282246310005", &["amex"]),
    ("6011111111111117", &["discover"]),
    ("3056930009020004", &["diners"]),
    ("3566002020360505", &["jcb"]),
    ("6200000000000005", &["unionpay"]),
    ("4000000000000077", &["bypassPending"]),
    ("4000000000000259", &["createDispute"]),
    ("4000000000000002", &["chargeDeclined"]),
    ("4000000000009995", &["chargeDeclinedInsufficientFunds"]),
    ("4000000000009987", &["chargeDeclinedLostCard"]),
    ("4000000000009979", &["chargeDeclinedStolenCard"]),
    ("4000000000000069", &["chargeDeclinedExpiredCard"]),
    ("4000000000000127", &["chargeDeclinedIncorrectCvc"]),
    ("4000000000000119", &["chargeDeclinedProcessingError"]),
    ("4100000000000019", &["chargeDeclinedFraudulent", "radarBlock"]),
    ("4000000000000341", &["chargeCustomerFail"]),
    ("4000002500003155", &["authenticationRequiredOnSetup"]),
    ("4000002760003184", &["authenticationRequired"]),
    ("4000000000003220", &["threeDSecure2Required", "threeDSecureRequired"]),
];

impl Card {
    /// The card that a test token or payment method stands for: `tok_visa`, `pm_card_mastercard`.
    pub(super) fn by_name(name: &str) -> Option<Self> {
        let name = name.strip_prefix("pm_card_").or_else(|| name.strip_prefix("tok_"))?;
        let find = |name: &str| NAMED.iter().find(|(_, names)| names.contains(&name));
        let (number, _) = find(name).or_else(|| find(name.strip_prefix("visa_")?))?;
        Some(Self::of(number))
    }

    /// The card of a number.
    pub(super) fn by_number(number: &str) -> Result<Self, ApiError> {
        let digits: String = number.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        if (12..=19).contains(&digits.len()) && passes_check(&digits) {
            return Ok(Self::of(&digits));
        }
        Err(NUMBER.error(None, None))
    }

    /// Refuses a date that cannot be, or is past, and a code that is none.
    pub(super) fn check(given: &Params, now: i64) -> Result<(), ApiError> {
        let (month, year) = (
            integer_of(given, "exp_month")?,
            integer_of(given, "exp_year")?.map(full_year),
        );
        let today = date_time(now);
        let part = |range: std::ops::Range<usize>| today.get(range).and_then(|text| text.parse::<i64>().ok());
        let (this_year, this_month) = (part(0..4).unwrap_or(0), part(5..7).unwrap_or(0));
        if month.is_some_and(|month| !(1..=12).contains(&month)) {
            return Err(MONTH.error(None, None));
        }
        // The longest that a card is taken to be good for.
        if year.is_some_and(|year| !(this_year..=this_year + 50).contains(&year)) {
            return Err(YEAR.error(None, None));
        }
        if year == Some(this_year) && month.is_some_and(|month| month < this_month) {
            return Err(MONTH.error(None, None));
        }
        let is_code = |code: &str| (3..=4).contains(&code.len()) && code.bytes().all(|digit| digit.is_ascii_digit());
        match text_of(given, "cvc") {
            Some(code) if !is_code(code) => Err(CVC_INVALID.error(None, None)),
            _ => Ok(()),
        }
    }

    /// A card that works.
    pub(super) fn plain() -> Self {
        Self::of("4242424242424242")
    }

    fn of(number: &str) -> Self {
        let brand = match number.as_bytes() {
            [b'4', ..] => "visa",
            [b'3', b'4' | b'7', ..] => "amex",
            [b'3', b'5', ..] => "jcb",
            [b'3', ..] => "diners",
            [b'5' | b'2', ..] => "mastercard",
            [b'6', b'2', ..] => "unionpay",
            [b'6', ..] => "discover",
            _ => "unknown",
        };
        let funding = match number {
            "4000056655665556" | "5200828282828210" => "debit",
            "5105105105105100" => "prepaid",
            _ => "credit",
        };
        Self {
            brand,
            funding,
            last4: number
                .get(number.len().saturating_sub(4)..)
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// `34` is 2034.
pub(super) fn full_year(year: i64) -> i64 {
    if (0..100).contains(&year) { 2000 + year } else { year }
}

/// Luhn's check of a number's digits (ISO/IEC 7812).
fn passes_check(digits: &str) -> bool {
    let mut sum = 0;
    for (place, byte) in digits.bytes().rev().enumerate() {
        if !byte.is_ascii_digit() {
            return false;
        }
        let digit = u32::from(byte - b'0') * if place % 2 == 1 { 2 } else { 1 };
        sum += digit / 10 + digit % 10;
    }
    sum % 10 == 0
}

/// What happens to a card with these last digits: no two test cards that end differently share them.
pub(super) fn outcome(last4: &str) -> Outcome {
    match last4 {
        "3155" | "3184" | "3220" => Outcome::AsksForAuthentication,
        "0341" => Outcome::Declined(&GENERIC),
        _ => refused_at_once(last4).map_or(Outcome::Succeeds, Outcome::Declined),
    }
}

/// Whether a card asks for authentication off-session only until it has been set up for that.
pub(super) fn asks_until_set_up(last4: &str) -> bool {
    last4 == "3155"
}

/// Why a card cannot even be kept for later.
pub(super) fn refused_at_once(last4: &str) -> Option<&'static Refusal> {
    Some(match last4 {
        "0002" => &GENERIC,
        "9995" => &FUNDS,
        "9987" => &LOST,
        "9979" => &STOLEN,
        "0019" => &FRAUDULENT,
        "0069" => &EXPIRED,
        "0127" => &CVC,
        "0119" => &PROCESSING,
        _ => return None,
    })
}

impl Refusal {
    /// The part of the card that is wrong, if one is.
    fn param(&self) -> Option<&'static str> {
        Some(match self.code {
            "incorrect_number" => "number",
            "incorrect_cvc" | "invalid_cvc" => "cvc",
            "expired_card" | "invalid_expiry_month" => "exp_month",
            "invalid_expiry_year" => "exp_year",
            _ => return None,
        })
    }

    /// The error that tells of it.
    pub(super) fn error(&self, charge: Option<String>, intent: Option<(&'static str, String)>) -> ApiError {
        let mut error = ApiError::invalid(self.message).status(402).code(self.code);
        error.kind = "card_error";
        error.param = self.param().map(str::to_owned);
        error.details = Some(Box::new(Details {
            decline_code: Some(self.decline_code).filter(|code| !code.is_empty()),
            charge,
            intent,
            ..Details::default()
        }));
        error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_by_name_and_number() {
        for (number, names) in NAMED {
            assert!(passes_check(number), "{number}");
            for name in *names {
                let card = Card::by_name(&format!("pm_card_{name}")).unwrap();
                assert_eq!(Some(&card), Card::by_number(number).ok().as_ref());
                assert_eq!(Card::by_name(&format!("tok_{name}")), Some(card));
            }
        }
        assert_eq!(
            Card::by_name("pm_card_visa_chargeDeclined"),
            Card::by_name("pm_card_chargeDeclined")
        );
        assert_eq!(Card::by_name("pm_card_zebra"), None);
        for number in ["", "4242424242424241", "4242", "424242424242424x", "é"] {
            assert_eq!(
                Card::by_number(number).unwrap_err().code,
                Some("incorrect_number"),
                "{number}"
            );
        }
    }

    #[test]
    fn outcomes() {
        assert_eq!(outcome("4242"), Outcome::Succeeds);
        assert_eq!(outcome("3220"), Outcome::AsksForAuthentication);
        assert_eq!(outcome("9995"), Outcome::Declined(&FUNDS));
        assert_eq!(
            (outcome("0341"), refused_at_once("0341")),
            (Outcome::Declined(&GENERIC), None)
        );
    }
}
