//! Requests that are in flight: a caller submits one, gets its id at once and goes on; it asks, takes the result, or waits
//! without holding a thread.
//!
//! This crate knows no HTTP, no runtime and no scripting language. It owns the ids, the [state table](transition()), the
//! [`Registry`] with its [`Session`]s, the [`Queue`] that a [`Transport`] takes [`Job`]s from, and the seams around them:
//! [`Policy`], [`Credentials`], [`Store`], [`Journal`], [`Clock`], [`Observer`].
//!
//! ```
//! use inflight_core::{Method, Registry, Request, Response, Success};
//!
//! let (registry, mut queue) = Registry::new();
//! let id = registry.submit(Request::new(Method::Post, "/v1/products"))?;
//! assert_eq!(registry.is_complete(id), Some(false));
//!
//! // A transport of three lines: it answers everything at once.
//! let worker = std::thread::spawn(move || {
//!     let job = queue.pop().expect("one job is queued");
//!     let sent = inflight_core::block_on(job.start()).expect("nobody has cancelled it");
//!     sent.complete(Ok(Success { object_id: Some("prod_1".into()), response: Response::new(200, "{}") }));
//! });
//!
//! let outcome = registry.wait(id, None)?;
//! assert_eq!(outcome.as_ref().as_ref().unwrap().object_id.as_deref(), Some("prod_1"));
//! # worker.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![allow(
    clippy::result_large_err,
    reason = "an `Outcome` is stored once and shared; boxing its failure would only move the bytes"
)]

mod batch;
mod clock;
mod counters;
mod credentials;
mod durable;
mod each;
mod elsewhere;
mod entry;
mod error;
mod given_keys;
mod group;
mod handover;
mod id;
mod in_flight;
mod journal;
mod ledger;
mod observer;
mod outcome;
mod policy;
mod queue;
mod registry;
mod request;
mod session;
mod state;
mod store;
mod submission;
mod sync;
mod telling;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;
mod wait;
mod waiters;

pub use batch::{Batch, BatchOptions, BatchWait, OnFailure, Progress};
pub use clock::{Clock, SystemClock};
pub use counters::Counts;
pub use credentials::{Credential, Credentials, MemoryCredentials, Secret};
pub use durable::{Kept, Restored};
pub use each::{DEFAULT_KEPT_FAILURES, Each, EachFailure, EachReport, Feeder};
pub use error::{ResultError, SubmitAllError, SubmitError, SubmitErrorKind, WaitError};
pub use id::{ParseRequestIdError, RequestId};
pub use in_flight::InFlight;
pub use journal::{Call, Calls, Journal, JournalEntry, MemoryJournal};
pub use observer::{AttemptBegan, AttemptEnded, AttemptResult, Ended, Observer, RetryReason, Settled, Submitted};
pub use outcome::{Effect, Failure, FailureKind, Outcome, Response, Success};
pub use policy::{FailedAttempt, PaceClass, PaceLimit, PlainHttp, Policy, RetryDecision, Throttle};
pub use queue::{Job, Queue, Start};
pub use registry::{
    DEFAULT_DEADLINE, DEFAULT_QUEUE_CAPACITY, DEFAULT_RETENTION, DEFAULT_SESSION_PENDING, OnSubmit, Registry,
    RegistryBuilder,
};
pub use request::{Body, IdempotencyKey, Method, Priority, Request};
pub use session::{Session, SessionLimits};
pub use state::{Event, Ignored, InvalidEvent, RequestStatus, State, Transition, transition};
pub use store::{MemoryRecord, MemoryStore, Row, Store, StoreError, Written};
pub use transport::Transport;
pub use wait::{Drained, Recorded, Room, SubmitWhenRoom, Wait, block_on, block_on_for};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
