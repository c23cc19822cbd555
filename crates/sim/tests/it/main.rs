//! The simulator over real sockets on loopback.

mod client;
mod errors;
mod faults;
mod hostile;
mod http2;
mod idempotency;
mod lists;
mod objects;
mod payments;
mod properties;
mod sample;
mod schema;
mod server;
mod sweep;
