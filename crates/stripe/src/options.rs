//! How a request is sent.

use std::sync::Arc;
use std::time::Duration;

use inflight_core::Priority;

use crate::request::API_VERSION;

/// How a request is sent. Plain data; nothing is checked before [`Operation::request`](crate::Operation::request).
///
/// ```
/// use std::time::Duration;
/// use inflight_stripe::{Priority, RequestOptions};
///
/// let options = RequestOptions::new().priority(Priority::High).timeout(Duration::from_secs(20));
/// assert_ne!(options, RequestOptions::default());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RequestOptions {
    /// The key under which Stripe recognises a repeated request. By default one is made at submission.
    pub idempotency_key: Option<String>,
    /// The connected account that the request is for. By default the key's own account.
    pub stripe_account: Option<String>,
    /// The account or the organisation's account that the request is for, as `org_…/acct_…`. By default the key's own. Not
    /// beside `stripe_account`.
    pub stripe_context: Option<String>,
    /// The version of Stripe's API. By default [`API_VERSION`].
    pub stripe_version: Option<String>,
    /// Which requests it goes before. By default `normal`, or what the script has configured.
    pub priority: Option<Priority>,
    /// How long one attempt may take. By default the worker's own (80 s).
    pub timeout: Option<Duration>,
    /// How long the request may take in all, from submission. By default the registry's own (10 minutes).
    pub deadline: Option<Duration>,
    /// How many further attempts there may be after the first. By default the policy's own number
    /// ([`RetrySettings::max_retries`](crate::RetrySettings), 2).
    pub max_retries: Option<u32>,
    /// The name of the credential to send with it. By default none.
    pub credential: Option<Arc<str>>,
}

impl RequestOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the version of Stripe's API is the catalogue's, so that parameters can be checked by it.
    #[must_use]
    pub fn is_of_catalogue(&self) -> bool {
        self.stripe_version
            .as_deref()
            .is_none_or(|version| version == API_VERSION)
    }

    /// Sets the idempotency key: 1 to 255 printable ASCII characters. Only a POST sends one, and a DELETE of v2; Stripe ignores it
    /// elsewhere.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Sets the connected account (`acct_…`) that the request is for.
    #[must_use]
    pub fn stripe_account(mut self, account: impl Into<String>) -> Self {
        self.stripe_account = Some(account.into());
        self
    }

    /// Sets the context (`org_…/acct_…`) that the request is for. Not beside a connected account.
    #[must_use]
    pub fn stripe_context(mut self, context: impl Into<String>) -> Self {
        self.stripe_context = Some(context.into());
        self
    }

    /// Sets the version of Stripe's API. By default [`API_VERSION`]. Parameters of another one are not checked.
    #[must_use]
    pub fn stripe_version(mut self, version: impl Into<String>) -> Self {
        self.stripe_version = Some(version.into());
        self
    }

    /// Sets the priority. By default `normal`.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Sets how long one attempt may take. By default the worker's own (80 s).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets how long the request may take in all. By default the registry's own (10 minutes).
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// Sets how many further attempts there may be after the first. By default the policy's own number (2).
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }

    /// Names the credential to send with the request. By default none.
    #[must_use]
    pub fn credential(mut self, name: impl Into<Arc<str>>) -> Self {
        self.credential = Some(name.into());
        self
    }
}
