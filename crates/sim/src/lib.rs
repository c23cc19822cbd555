//! A stateful Stripe simulator on loopback: every operation of Stripe's API, with objects that stay.
//!
//! It answers as Stripe does: the same fields, the same errors, idempotency keys, pages, expansion, events. It runs on one thread of
//! its own, so that a blocking program can use it as well as an asynchronous one, and stops when it is dropped.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//! use inflight_sim::Simulator;
//!
//! let simulator = Simulator::builder().seed(7).start()?;
//! let mut stream = TcpStream::connect(simulator.addr())?;
//! stream.write_all(
//!     b"POST /v1/products HTTP/1.1\r\nHost: sim\r\nConnection: close\r\nAuthorization: Bearer sk_test_1\r\n\
//!       Content-Length: 8\r\n\r\nname=Mug",
//! )?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK"));
//! assert_eq!(simulator.objects("product")[0]["name"], "Mug");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # How it is made
//! - [`Api`] takes one request and gives one answer; [`Simulator`] puts a server around it.
//! - `schema` and the generated tables say what each answer looks like, `plan` what each operation does, by its route. `resources`
//!   does it: by rule, and by hand where scripts depend on more than shapes.
//! - An object holds only what differs from its schema's defaults. References are ids; whole objects are put in their place when
//!   an answer is written.
//!
//! # What it decides where Stripe is silent
//! - All test keys belong to one account. `Stripe-Account: acct_…` names another one, with data of its own.
//! - A request is carried out when it arrives; the latency passes between that and the answer, and so long its idempotency
//!   key is in flight.
//! - Under an idempotency key every answer is saved that comes after the check of the parameters' names and types, as
//!   Stripe's does "once the endpoint has begun executing": also that an object does not exist, and a declined card.
//! - A customer without a payment method pays a subscription's invoices all the same. Inline prices of an item that is refused
//!   stay.
//!
//! All known differences from Stripe are in `docs/simulator.md` of the repository.
#![forbid(unsafe_code)]

mod api;
mod auth;
mod calendar;
mod control;
mod defaults;
mod delivery;
mod error;
mod event;
mod expand;
mod faults;
mod fit;
mod generated;
mod idempotency;
mod incoming;
mod json;
mod latency;
mod multipart;
mod object;
mod plan;
mod prefix;
mod random;
mod resources;
mod schema;
mod server;
mod simulator;
mod state;
mod store;

pub use api::{Api, ApiRequest, ApiResponse, Counts};
pub use faults::{Fault, Faults, FaultsError, PROFILES, RateLimitReason, RateLimits, Rule};
pub use latency::Latency;
pub use simulator::{Builder, RequestRecord, Simulator, StartError};
pub use state::StateError;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
