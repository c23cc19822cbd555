//! The API key as a script holds it: to be used, never to be read.

use std::fmt;

use inflight_core::Secret;
use rhai::{Dynamic, ImmutableString};

/// Stripe's prefixes for keys that may call the API from a server: secret and restricted ones.
/// <https://docs.stripe.com/keys>
const USABLE: [&str; 2] = ["sk_", "rk_"];

/// Why a text is no API key. It never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// Nothing was given.
    #[error("the API key is empty")]
    Empty,
    /// A key that browsers may hold; it cannot create anything.
    #[error("this is a publishable key (pk_…): a secret (sk_…) or restricted (rk_…) key is needed")]
    Publishable,
    /// Anything else.
    #[error("this is no Stripe API key: it must begin with sk_ or rk_ and have no blanks in it")]
    Malformed,
}

/// An API key that a script can use and cannot read: its text is `sk_test_…last4`, wherever it is printed, concatenated,
/// serialised or thrown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(Secret);

impl ApiKey {
    /// Checks a key's form; whether Stripe knows it shows when it is used.
    ///
    /// # Errors
    /// [`InvalidKey`] where it cannot be one.
    pub fn new(text: &str) -> Result<Self, InvalidKey> {
        if text.is_empty() {
            return Err(InvalidKey::Empty);
        }
        if text.starts_with("pk_") {
            return Err(InvalidKey::Publishable);
        }
        let usable = USABLE.iter().any(|prefix| {
            text.strip_prefix(prefix)
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
        });
        if !usable || text.len() > 512 {
            return Err(InvalidKey::Malformed);
        }
        Ok(Self(Secret::new(text)))
    }

    /// The token of a session, which some operations take in a key's place. Nothing is known of its form.
    pub(crate) fn of_session(token: &str) -> Option<Self> {
        let usable = !token.is_empty() && token.len() <= 4096 && token.bytes().all(|byte| byte.is_ascii_graphic());
        usable.then(|| Self(Secret::new(token)))
    }

    /// Whether it may move real money: anything but `sk_test_…` and `rk_test_…`.
    #[must_use]
    pub fn is_live(&self) -> bool {
        !USABLE
            .iter()
            .any(|prefix| self.0.expose().starts_with(&format!("{prefix}test_")))
    }

    /// The key for the worker's credentials.
    #[must_use]
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({self})")
    }
}

/// The key in a script's value, given as a key or as text.
pub(crate) fn key_of(value: &Dynamic) -> Option<Result<ApiKey, InvalidKey>> {
    if let Some(key) = value.read_lock::<ApiKey>() {
        return Some(Ok(key.clone()));
    }
    let text = value.read_lock::<ImmutableString>()?;
    Some(ApiKey::new(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_secret_and_restricted_keys_are_keys() {
        for good in ["sk_test_123", "rk_live_abcDEF", "sk_123"] {
            assert!(ApiKey::new(good).is_ok(), "{good}");
        }
        assert_eq!(ApiKey::new(""), Err(InvalidKey::Empty));
        assert_eq!(ApiKey::new("pk_test_123"), Err(InvalidKey::Publishable));
        for bad in [
            "sk_",
            "secret",
            "sk_test_1\r\nX: y",
            "sk test",
            " sk_test_1",
            "sk_test_é",
        ] {
            assert_eq!(ApiKey::new(bad), Err(InvalidKey::Malformed), "{bad:?}");
        }
    }
}
