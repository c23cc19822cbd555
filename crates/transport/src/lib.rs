//! The worker of Inflight: it takes the jobs of a registry's [`Queue`](inflight_core::Queue) and sends them with reqwest.
//!
//! One thread owns a single-threaded tokio runtime and a client for each kind of host. What an answer means and whether an
//! attempt is repeated is the [`Policy`](inflight_core::Policy)'s to say, and what a credential's name stands for the
//! [`Credentials`](inflight_core::Credentials)'; without either this is a plain HTTP worker.
//!
//! ```no_run
//! use inflight_core::{Method, Registry, Request};
//! use inflight_transport::Worker;
//!
//! let (registry, queue) = Registry::new();
//! let worker = Worker::builder().base_url("http://127.0.0.1:12111").start(queue)?;
//!
//! let id = registry.submit(Request::new(Method::Get, "/v1/products"))?;
//! let outcome = registry.wait(id, None)?;
//! # drop((outcome, worker));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Deliberately absent: redirects (a 3xx is an answer), cookies, decompression, and reqwest's own retries.

#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "a `Failure` passes through few hands, and core's `Outcome` holds one by value"
)]

mod answer;
mod body;
mod breaker;
mod budget;
mod builder;
mod carrier;
mod client;
mod clock;
mod compose;
mod dispatch;
mod exchange;
mod failure;
mod lanes;
mod pace;
mod schedule;
mod seeking;
mod target;
mod work;
mod worker;

pub use breaker::{CircuitBreaker, WhenOpen};
pub use budget::RetryBudget;
pub use builder::{
    DEFAULT_ATTEMPT_TIMEOUT, DEFAULT_CONCURRENCY, DEFAULT_DRAIN_LIMIT, DEFAULT_MAX_BODY, DEFAULT_USER_AGENT,
    StartError, WorkerBuilder,
};
pub use clock::TokioClock;
pub use compose::AttemptHeaders;
pub use worker::{ShutdownReport, Worker};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
