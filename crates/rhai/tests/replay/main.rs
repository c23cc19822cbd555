//! Scripts that are replayed after a crash.

mod every_point;
mod support;
