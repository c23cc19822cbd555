//! A stateful Stripe simulator on loopback.
