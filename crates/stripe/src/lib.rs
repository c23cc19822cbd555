//! Stripe's API as data: builders, form encoding, error classification.
