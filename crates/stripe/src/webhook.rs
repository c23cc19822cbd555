//! Webhooks: what Stripe sends to us.
//!
//! A [`Webhook`] checks the `Stripe-Signature` header over the raw body and only then reads the body: as an [`Event`]
//! (API v1), or as an [`EventNotification`] (API v2, "thin": it names the object that it is about and does not hold it).
//! [`SeenEvents`] recognises what was delivered before. <https://docs.stripe.com/webhooks>
//!
//! Deliberately absent: HTTP, and the time. The caller says what time it is.
//!
//! ```
//! use std::time::SystemTime;
//! use inflight_stripe::webhook::{SignatureError, Webhook, WebhookError, WebhookSecret};
//!
//! let webhook = Webhook::new(WebhookSecret::new("whsec_test")?);
//! let now = SystemTime::now();
//! let body = br#"{"id":"evt_1","object":"event","type":"charge.succeeded","data":{"object":{"id":"ch_1"}}}"#;
//!
//! let header = webhook.sign(body, now);
//! let event = webhook.event(body, &header, now)?;
//! assert_eq!((event.id(), event.event_type()), ("evt_1", "charge.succeeded"));
//!
//! let forged = webhook.event(b"{}", &header, now).unwrap_err();
//! assert!(matches!(forged, WebhookError::Signature(SignatureError::Mismatch { .. })));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod event;
mod seen;
mod signature;

use std::time::{Duration, SystemTime};

pub use event::{Event, EventNotification, RelatedObject, WebhookError};
pub use seen::{DEFAULT_SEEN_CAPACITY, DEFAULT_SEEN_RETENTION, SeenEvents};
pub use signature::{BlankSecret, DEFAULT_TOLERANCE, Hint, SignatureError, WebhookSecret};

/// One webhook endpoint: its secret, and how old a delivery may be.
#[derive(Debug, Clone)]
pub struct Webhook {
    secret: WebhookSecret,
    tolerance: Option<Duration>,
}

impl Webhook {
    /// An endpoint with this secret and a tolerance of [`DEFAULT_TOLERANCE`].
    #[must_use]
    pub fn new(secret: WebhookSecret) -> Self {
        Self {
            secret,
            tolerance: Some(DEFAULT_TOLERANCE),
        }
    }

    /// How long ago a delivery may have been signed; `None` for any time. By default 5 minutes. A timestamp in the future is
    /// taken, as the official SDKs do: only who holds the secret can make one.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Option<Duration>) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Checks that Stripe signed this payload, and lately. `payload` is the request's body exactly as it was received, `header`
    /// the value of `Stripe-Signature`.
    ///
    /// # Errors
    /// [`SignatureError`]: the payload must not be trusted.
    pub fn verify(&self, payload: &[u8], header: &str, now: SystemTime) -> Result<(), SignatureError> {
        signature::verify(payload, header, &self.secret, self.tolerance, now)
    }

    /// The header with which Stripe would deliver this payload at that time: for tests.
    #[must_use]
    pub fn sign(&self, payload: &[u8], at: SystemTime) -> String {
        signature::sign(payload, &self.secret, at)
    }

    /// Verifies a delivery and reads its event of API v1.
    ///
    /// # Errors
    /// [`WebhookError`] where the signature does not hold or the payload is no such event.
    pub fn event(&self, payload: &[u8], header: &str, now: SystemTime) -> Result<Event, WebhookError> {
        self.verify(payload, header, now)?;
        Event::from_verified(payload)
    }

    /// Verifies a delivery and reads its event notification of API v2.
    ///
    /// # Errors
    /// [`WebhookError`] where the signature does not hold or the payload is no such notification.
    pub fn notification(
        &self,
        payload: &[u8],
        header: &str,
        now: SystemTime,
    ) -> Result<EventNotification, WebhookError> {
        self.verify(payload, header, now)?;
        EventNotification::from_verified(payload)
    }
}
