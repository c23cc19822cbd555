//! Stripe's API as tables, written by `examples/generate.rs`. Do not edit; see `NOTICE` for their licence.

pub(crate) mod builders;
#[rustfmt::skip]
mod operations;
#[rustfmt::skip]
mod shapes;

pub(crate) use operations::{RESOURCES, UNNAMED};
