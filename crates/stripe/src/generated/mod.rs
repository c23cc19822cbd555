//! Stripe's API as tables, written by `examples/generate.rs`. Do not edit; see `NOTICE` for their licence.

mod operations;
mod shapes;

pub(crate) use operations::RESOURCES;
