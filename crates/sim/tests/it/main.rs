//! The simulator over real sockets on loopback.

mod billing;
mod billing_rules;
mod cards;
mod client;
mod control;
mod errors;
mod faults;
mod givebacks;
mod hostile;
mod http2;
mod idempotency;
mod invoices;
mod ledger;
mod lists;
mod methods;
mod money;
mod objects;
mod payments;
mod properties;
mod reading;
mod refusals;
mod sample;
mod schema;
mod server;
mod sweep;
mod world;
