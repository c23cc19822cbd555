//! Stripe's API as data.
//!
//! - The catalogue: every [`Operation`] with its route and its parameters, found by name or by route, listed by
//!   [`resources`].
//! - Calls: typed builders ([`CreateProduct`], [`ListPrices`], …) for what is used most, [`Operation::request`] for
//!   everything. Parameters are checked before anything is sent; what Stripe would take is never refused.
//! - [`raw`]: any request, unchecked, for what the catalogue does not know yet.
//! - [`form`]: the encoding of Stripe's v1 API, both ways.
//! - [`StripePolicy`]: what an answer of Stripe's means, what is tried again, and at which pace.
//! - [`reconcile`]: whether a request with an unknown effect was carried out.
//! - [`pages`]: lists page by page, as a state machine and as a `Stream`.
//! - [`webhook`]: what Stripe sends to us: signatures, events, duplicates.
//!
//! Deliberately absent: HTTP, threads, script engines. What comes out is a core [`Request`], plain data that compares with
//! `==`.
//!
//! ```
//! use inflight_stripe::{CreatePrice, Method};
//!
//! let request = CreatePrice::new("usd").unit_amount(1000).product("prod_1").request()?;
//! assert_eq!((request.method, &*request.target), (Method::Post, "/v1/prices"));
//!
//! let error = CreatePrice::new("usd").param("unit_amout", 1000).request().unwrap_err();
//! assert_eq!(error.to_string(), "unknown parameter `unit_amout`: did you mean `unit_amount`?");
//! # Ok::<_, inflight_stripe::BuildError>(())
//! ```
#![forbid(unsafe_code)]

mod api_path;
mod builder;
mod catalogue;
mod check;
pub mod form;
mod generated;
mod json;
mod multipart;
mod options;
pub mod pages;
mod param_error;
mod policy;
mod raw;
pub mod reconcile;
mod redact;
mod request;
mod route;
mod value;
pub mod webhook;

pub use builder::Call;
pub use catalogue::{
    Answer, Encoding, Kind, Operation, Param, Resource, Server, UnknownOperation, nearest, operations, resources,
    unnamed,
};
pub use check::{METADATA_ENTRIES_MAX, METADATA_KEY_MAX, METADATA_VALUE_MAX};
pub use generated::builders::*;
pub use inflight_core::{Method, Priority, Request};
pub use options::RequestOptions;
pub use param_error::{ParamError, Problem};
pub use policy::{RetrySettings, StripePolicy};
pub use raw::raw;
pub use redact::redacted;
pub use request::{API_VERSION, BuildError, FILE_MAX, FORM_MAX, IDEMPOTENCY_KEY_MAX, TARGET_MAX};
pub use value::{Params, Upload, Value};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
