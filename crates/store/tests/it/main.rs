//! The store from outside: what a registry, a script's host and an operator see.
//!
//! Tests on PostgreSQL run where `INFLIGHT_TEST_POSTGRES` has the address of a database that they may make schemas in.

#![allow(clippy::result_large_err, reason = "core's `Outcome` holds a failure by value")]

mod clock;
mod conformance;
mod keys;
mod postgres;
mod proxy;
mod races;
mod runs;
mod schema;
mod sqlite;
mod support;
mod view;
