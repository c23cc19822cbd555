//! The worker against real servers on loopback: one that behaves and one that does not.

mod misbehaviour;
mod ordinary;
mod policy;
mod secrecy;
mod server;
mod shutdown;
mod tls;
