//! The `Stripe-Signature` header. <https://docs.stripe.com/webhooks#verify-manually>

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use inflight_core::Secret;
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How long ago a delivery may have been signed, as in the official SDKs: 5 minutes.
/// <https://docs.stripe.com/webhooks#replay-attacks>
pub const DEFAULT_TOLERANCE: Duration = Duration::from_secs(300);

/// How the secrets of webhook endpoints begin. <https://docs.stripe.com/webhooks>
const SECRET_PREFIX: &str = "whsec_";

/// A webhook endpoint's signing secret (`whsec_…`). It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Secret);

/// A webhook secret with nothing in it: with it, anyone could sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the webhook secret is blank")]
pub struct BlankSecret;

impl WebhookSecret {
    /// Wraps a secret. Stripe's begin with `whsec_`; for tests any text will do.
    ///
    /// # Errors
    /// [`BlankSecret`] where it is empty or consists of blanks.
    pub fn new(text: &str) -> Result<Self, BlankSecret> {
        if text.trim().is_empty() {
            return Err(BlankSecret);
        }
        Ok(Self(Secret::new(text)))
    }
}

impl fmt::Display for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whsec_…")
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

/// Why a payload must not be trusted. It holds neither the secret nor the payload.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// There is no header.
    #[error("there is no Stripe-Signature header: this did not come from Stripe, or the header was lost on its way")]
    NoHeader,
    /// The header has no timestamp that can be read.
    #[error("the Stripe-Signature header has no timestamp (t=…)")]
    NoTimestamp,
    /// The header has no signature of the scheme `v1`.
    #[error("the Stripe-Signature header has no signature of the scheme v1 (v1=…)")]
    NoSignature,
    /// None of the header's signatures is the payload's.
    #[error("none of the signatures is this payload's: {hint}")]
    Mismatch {
        /// What is most likely wrong.
        hint: Hint,
    },
    /// The payload is Stripe's, and was signed too long ago: it may be replayed by someone else.
    #[error("the payload was signed {} s ago, and {} s are allowed", age.as_secs(), tolerance.as_secs())]
    TooOld {
        /// How long ago it was signed.
        age: Duration,
        /// How long ago it may have been signed.
        tolerance: Duration,
    },
}

impl SignatureError {
    /// The reason in a word: `no_header`, `no_timestamp`, `no_signature`, `mismatch` or `too_old`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoHeader => "no_header",
            Self::NoTimestamp => "no_timestamp",
            Self::NoSignature => "no_signature",
            Self::Mismatch { .. } => "mismatch",
            Self::TooOld { .. } => "too_old",
        }
    }
}

/// What is most likely wrong where no signature fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hint {
    /// Without the blanks around it, the secret fits.
    SecretHasBlanks,
    /// Without the blanks around it, the payload fits.
    PayloadHasBlanks,
    /// The secret does not begin with `whsec_`, as those of webhook endpoints do.
    NotAWebhookSecret,
    /// Nothing in particular: another endpoint's secret, a body that was parsed and written again, or a forgery.
    Unknown,
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SecretHasBlanks => "the secret has blanks around it, and fits without them",
            Self::PayloadHasBlanks => "the payload has blanks around it, and fits without them: pass the body as it was received",
            Self::NotAWebhookSecret => "the secret is no webhook endpoint's, those begin with whsec_",
            Self::Unknown => {
                "pass the body exactly as it was received (JSON that was parsed and written again has other bytes), and the \
                 secret of this very endpoint"
            }
        })
    }
}

pub(super) fn sign(payload: &[u8], secret: &WebhookSecret, at: SystemTime) -> String {
    let timestamp = seconds(at).to_string();
    let signature = signature(&timestamp, payload, secret.0.expose());
    format!("t={timestamp},v1={signature}")
}

pub(super) fn verify(
    payload: &[u8],
    header: &str,
    secret: &WebhookSecret,
    tolerance: Option<Duration>,
    now: SystemTime,
) -> Result<(), SignatureError> {
    if header.trim().is_empty() {
        return Err(SignatureError::NoHeader);
    }
    let (timestamp, signed_at) = timestamp(header).ok_or(SignatureError::NoTimestamp)?;
    let given = || fields(header).filter_map(|(name, value)| (name == "v1").then_some(value));
    if given().next().is_none() {
        return Err(SignatureError::NoSignature);
    }
    // While a secret is being rolled there is one for the old and one for the new.
    let fits = |payload: &[u8], secret: &str| {
        let expected = signature(timestamp, payload, secret);
        given().fold(false, |fits, one| {
            bool::from(expected.as_bytes().ct_eq(one.as_bytes())) | fits
        })
    };
    if !fits(payload, secret.0.expose()) {
        return Err(SignatureError::Mismatch {
            hint: hint(payload, secret.0.expose(), fits),
        });
    }
    // After the signature: how old a forgery claims to be says nothing.
    let age = Duration::from_secs(seconds(now).saturating_sub(signed_at));
    match tolerance {
        Some(tolerance) if age > tolerance => Err(SignatureError::TooOld { age, tolerance }),
        _ => Ok(()),
    }
}

fn hint(payload: &[u8], secret: &str, fits: impl Fn(&[u8], &str) -> bool) -> Hint {
    let (bare_payload, bare_secret) = (payload.trim_ascii(), secret.trim());
    if bare_secret != secret && fits(payload, bare_secret) {
        return Hint::SecretHasBlanks;
    }
    if bare_payload != payload && fits(bare_payload, secret) {
        return Hint::PayloadHasBlanks;
    }
    if !bare_secret.starts_with(SECRET_PREFIX) {
        return Hint::NotAWebhookSecret;
    }
    Hint::Unknown
}

/// The header's `name=value` pairs.
fn fields(header: &str) -> impl Iterator<Item = (&str, &str)> {
    header.split(',').filter_map(|field| {
        let (name, value) = field.split_once('=')?;
        Some((name.trim(), value.trim()))
    })
}

/// The first timestamp as it is written, which is what was signed, and in seconds.
fn timestamp(header: &str) -> Option<(&str, u64)> {
    let (_, text) = fields(header).find(|(name, _)| *name == "t")?;
    // `parse` would also take a sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((text, text.parse().ok()?))
}

fn signature(timestamp: &str, payload: &[u8], secret: &str) -> String {
    let mut mac = match Hmac::<Sha256>::new_from_slice(secret.as_bytes()) {
        Ok(mac) => mac,
        Err(_) => unreachable!("HMAC takes keys of any length"),
    };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(payload);
    let bytes = mac.finalize().into_bytes();
    bytes.iter().fold(String::with_capacity(64), |mut hex, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// Whole seconds since 1970; zero before.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::Webhook;

    /// Made with Python: `hmac.new(secret, b"1700000000." + payload, "sha256").hexdigest()`.
    const KNOWN: [(&str, &str, &str); 4] = [
        (
            "whsec_test_secret",
            r#"{"id":"evt_1","object":"event"}"#,
            "0c8670ed117751cc551a20e35839447075c42800ea3cf3e8a2fbda99cd1e6edd",
        ),
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "{\n  \"id\": \"evt_1MqqbKLt4dXK03v5qaIbiNCC\",\n  \"object\": \"event\",\n  \"type\": \"charge.succeeded\"\n}",
            "db6d6bf9ce5f0cc760b3c467211407bdefd63fb8dd5ab37d317ced2c973a4bfe",
        ),
        (
            "whsec_ünïcode",
            r#"{"name":"Müller 🦀"}"#,
            "073577a0e3b706501ebe6e763352d6d2577a17adb3eb0b160ca8960b5520f2fd",
        ),
        (
            "whsec_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "",
            "f17aa518a8ef675983fafb3923293ca728e0a02e97addc1f9958e650be31f3a6",
        ),
    ];
    const AT: u64 = 1_700_000_000;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn webhook(secret: &str) -> Webhook {
        Webhook::new(WebhookSecret::new(secret).unwrap())
    }

    #[test]
    fn signatures_are_those_that_another_implementation_makes() {
        for (secret, payload, expected) in KNOWN {
            let webhook = webhook(secret);
            let header = format!("t={AT},v1={expected}");
            assert_eq!(webhook.sign(payload.as_bytes(), at(AT)), header);
            assert_eq!(webhook.verify(payload.as_bytes(), &header, at(AT)), Ok(()));
        }
    }

    #[test]
    fn any_of_several_signatures_may_fit() {
        let webhook = webhook("whsec_new");
        let signed = webhook.sign(b"{}", at(AT));
        let (_, v1) = signed.split_once(",v1=").unwrap();
        let zeros = "0".repeat(64);
        for header in [
            format!("t={AT},v1={zeros},v1={v1}"),
            format!("t={AT},v1={v1},v1={zeros},v0={zeros}"),
            format!("v1={v1},t={AT}"),
            format!("t={AT}, v1={v1}"),
            format!("x,=,t={AT},v1=,v1={v1},v2=abc"),
        ] {
            assert_eq!(webhook.verify(b"{}", &header, at(AT)), Ok(()), "{header}");
        }
        // Another scheme's signature is none of v1.
        let other = format!("t={AT},v0={v1},v1={zeros}");
        assert_eq!(webhook.verify(b"{}", &other, at(AT)).unwrap_err().reason(), "mismatch");
    }

    #[test]
    fn reasons_are_told_apart() {
        let webhook = webhook("whsec_1");
        let good = webhook.sign(b"{}", at(AT));
        let (t, v1) = good.split_once(',').unwrap();
        let reason = |header: &str| webhook.verify(b"{}", header, at(AT)).unwrap_err().reason();
        assert_eq!(reason(""), "no_header");
        assert_eq!(reason("  "), "no_header");
        for header in [
            v1,
            "t=,v1=00",
            "t=+1700000000,v1=00",
            "t=1.5,v1=00",
            "t=99999999999999999999,v1=00",
            "nonsense",
        ] {
            assert_eq!(reason(header), "no_timestamp", "{header}");
        }
        assert_eq!(reason(t), "no_signature");
        assert_eq!(reason(&format!("{t},v0=00")), "no_signature");
        assert_eq!(reason(&good.replace("t=1700000000", "t=1700000001")), "mismatch");
        assert_eq!(reason(&good.replace("t=1700000000", "t=01700000000")), "mismatch");
        assert_eq!(reason(&format!("{t},v1=é")), "mismatch");
    }

    #[test]
    fn a_delivery_may_be_old_within_the_tolerance_only() {
        let webhook = webhook("whsec_1");
        let header = webhook.sign(b"{}", at(AT));
        let verify = |webhook: &Webhook, now: u64| webhook.verify(b"{}", &header, at(now));
        assert_eq!(verify(&webhook, AT + 300), Ok(()));
        let error = verify(&webhook, AT + 301).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the payload was signed 301 s ago, and 300 s are allowed"
        );
        // The past only, as in the official SDKs.
        assert_eq!(verify(&webhook, AT - 100_000), Ok(()));
        let any_age = webhook.clone().tolerance(None);
        assert_eq!(verify(&any_age, AT + 1_000_000), Ok(()));
        let none = webhook.clone().tolerance(Some(Duration::ZERO));
        assert_eq!(verify(&none, AT), Ok(()));
        assert_eq!(verify(&none, AT + 1).unwrap_err().reason(), "too_old");
        // A forgery is told as one, however old it claims to be.
        let forged = webhook.verify(b"[]", &header, at(AT + 301)).unwrap_err();
        assert_eq!(forged.reason(), "mismatch");
    }

    #[test]
    fn hints() {
        let header = webhook("whsec_1").sign(b"{}", at(AT));
        let hint = |secret: &str, payload: &[u8]| match webhook(secret).verify(payload, &header, at(AT)) {
            Err(SignatureError::Mismatch { hint }) => hint,
            other => panic!("{other:?}"),
        };
        assert_eq!(hint("whsec_1\n", b"{}"), Hint::SecretHasBlanks);
        assert_eq!(hint("whsec_1", b"{}\n"), Hint::PayloadHasBlanks);
        assert_eq!(hint("sk_test_1", b"{}"), Hint::NotAWebhookSecret);
        assert_eq!(hint("whsec_2", b"{}"), Hint::Unknown);
        assert_eq!(hint("whsec_1", b"{ }"), Hint::Unknown);
    }

    #[test]
    fn a_secret_is_never_shown_and_never_blank() {
        assert_eq!(WebhookSecret::new(""), Err(BlankSecret));
        assert_eq!(WebhookSecret::new(" \t\n"), Err(BlankSecret));
        let webhook = webhook("whsec_abcdef123456");
        let error = webhook.verify(b"{}", "t=1,v1=00", at(1)).unwrap_err();
        let shown = format!("{webhook:?} {error:?} {error} {}", webhook.secret);
        for part in ["abcdef", "123456", "3456"] {
            assert!(!shown.contains(part), "{shown}");
        }
    }
}
