//! Core from outside: what a caller, a transport and a store see.

#![allow(clippy::result_large_err, reason = "core's `Outcome` holds a failure by value")]

mod batches;
mod durable;
mod endings;
mod handed_out;
mod jobs;
mod model;
mod observers;
mod rooms;
mod sessions;
mod stores;
mod support;
mod waits;
