//! Stripe for Rhai scripts: builders that start requests and go on.
//!
//! Glue between `inflight-stripe` (what a request says), `inflight-rhai` (scripts that wait) and `inflight-core` (the registry).
//! No HTTP: a transport takes the requests from the registry's queue.
//!
//! ```
//! use inflight_core::{Registry, testing::ManualTransport};
//! use inflight_rhai::Locals;
//! use inflight_stripe_rhai::{ApiKey, HostOptions, StripeHost, StripePackage};
//!
//! let (registry, queue) = Registry::new();
//! let host = StripeHost::new(HostOptions { api_key: Some(ApiKey::new("sk_test_123")?), ..HostOptions::default() });
//! let mut engine = rhai::Engine::new();
//! StripePackage::install(&host, &mut engine);
//! Locals::for_session(registry.session()).set_default(&mut engine);
//!
//! let id: String = engine.eval(r#"new_product().name("Mug").create_async()"#)?;
//! let sent = ManualTransport::new(queue).next();
//! assert_eq!((sent.id().to_string(), &*sent.request().target), (id, "/v1/products"));
//! # sent.succeed("prod_1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod builder;
mod call;
mod check;
mod configure;
mod convert;
mod error;
mod host;
mod key;
mod namespace;
mod opaque;
mod options;
mod package;
mod pages;
mod reference;
mod upload;
mod webhook;

pub use builder::{
    StripeBuilder, aliases, constructed_by, constructor_name, knows, setter, unknown_constructor, unknown_method,
};
pub use check::{Finding, Migration, Rewritten, check_ast, check_script, migrations};
pub use host::{DEFAULT_CURRENCY, HostOptions, NoKey, StripeConfig, StripeHost};
pub use key::{ApiKey, InvalidKey};
pub use namespace::{beside_operations, reword};
pub use options::OPTION_SETTERS;
pub use package::StripePackage;
pub use pages::StripePages;
pub use reference::reference;

/// What a function that a script calls gives.
type Answer<T> = Result<T, Box<rhai::EvalAltResult>>;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
