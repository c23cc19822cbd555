//! What Stripe's answers look like, as tables, written by `examples/generate_schemas.rs`. Do not edit; see `NOTICE` for their licence.

#[rustfmt::skip]
#[allow(dead_code, reason = "one constant for each resource, whether it is named by hand or not")]
mod schemas;

pub(crate) use schemas::*;
