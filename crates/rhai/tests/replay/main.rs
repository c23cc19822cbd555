//! Scripts that are replayed after a crash.

mod divergence;
mod every_point;
mod generated;
mod log;
mod stopped;
mod support;
