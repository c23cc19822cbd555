//! The worker against real servers on loopback: one that behaves and one that does not.

#![allow(clippy::result_large_err, reason = "core's `Outcome` holds a failure by value")]

mod breaker;
mod child;
mod guest;
mod http2;
mod lanes;
mod many;
mod misbehaviour;
mod observed;
mod ordinary;
mod pace;
mod policy;
mod proxy;
mod secrecy;
mod server;
mod shutdown;
mod storm;
mod tls;
mod waiting;
