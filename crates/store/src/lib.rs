#![doc = include_str!("../README.md")]

mod append;
mod begin;
mod claim;
mod database;
mod encode;
mod error;
mod export;
mod keeper;
mod lease;
mod notify;
mod options;
mod orders;
mod pace;
mod query;
mod rows;
mod runs;
mod schema;
mod started;
mod statement;
mod store;
mod transaction;
mod view;
mod writer;

pub use encode::Unreadable;
pub use error::{OpenError, QueryError, RunError};
pub use options::{Accounts, Lane, StoreOptions};
pub use query::{RequestFilter, RequestRow};
pub use runs::{RunRow, RunStart, RunState, StoredRun};
pub use store::{DurableStore, Working};
pub use view::{EndedRow, Overview, ProcessRow, StoreView, Total};
