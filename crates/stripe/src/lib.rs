//! Stripe's API as data: builders, form encoding, error classification.
#![forbid(unsafe_code)]

mod catalogue;
mod check;
pub mod form;
mod generated;
mod policy;
mod redact;
mod request;
mod value;

pub use catalogue::{Kind, Operation, Param, Resource, nearest, operations, resources};
pub use check::{METADATA_KEY_MAX, METADATA_VALUE_MAX, ParamError, Problem};
pub use inflight_core::{Method, Priority, Request};
pub use policy::StripePolicy;
pub use request::{API_VERSION, BuildError, IDEMPOTENCY_KEY_MAX, RequestOptions};
pub use value::{Params, Value};
