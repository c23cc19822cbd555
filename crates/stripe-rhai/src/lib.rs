//! Stripe for Rhai scripts.
