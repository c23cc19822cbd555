//! What a durable store is told of Stripe.

use std::sync::Arc;

use inflight_core::Policy;
use inflight_store::StoreOptions;
use inflight_stripe::{RetrySettings, StripePolicy};

/// Options for a store of Stripe's requests: lanes and the lifetime of keys as Stripe has them. `mode` is the world that this process talks
/// to, such as `test` or `live`.
#[must_use]
pub fn store_options(mode: impl Into<String>) -> StoreOptions {
    let policy = StripePolicy::new();
    StoreOptions {
        lane: Some(Arc::new(move |request| policy.lane(request).map(Into::into))),
        key_lifetime: RetrySettings::default().key_lifetime,
        mode: mode.into(),
        ..StoreOptions::default()
    }
}
