//! How a request is named.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The name of one submitted request: a random (version 4) UUID.
///
/// It is known only in the session that submitted the request.
///
/// ```
/// use inflight_core::RequestId;
///
/// let id = RequestId::random();
/// assert_eq!(id.to_string().parse::<RequestId>().unwrap(), id);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A new random id.
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4())
    }

    /// The id's 128 bits.
    #[must_use]
    pub fn as_u128(self) -> u128 {
        self.0.as_u128()
    }

    /// The id of these 128 bits, as a durable store gives them back.
    #[must_use]
    pub fn from_u128(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// A text that is not a request id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a request id")]
pub struct ParseRequestIdError;

impl FromStr for RequestId {
    type Err = ParseRequestIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // One spelling only: an id that is compared as text must not have five.
        if text.len() != 36 {
            return Err(ParseRequestIdError);
        }
        Uuid::try_parse(text).map(Self).map_err(|_| ParseRequestIdError)
    }
}
