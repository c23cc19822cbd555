//! Requests that are in flight.
mod clock;
mod credentials;
mod id;
mod outcome;
mod policy;
mod request;
mod transport;

pub use clock::{Clock, SystemClock};
pub use credentials::{Credential, Credentials, MemoryCredentials, Secret};
pub use id::{ParseRequestIdError, RequestId};
pub use outcome::{Effect, Failure, FailureKind, Outcome, Response, Success};
pub use policy::{FailedAttempt, PlainHttp, Policy, RetryDecision};
pub use request::{Body, IdempotencyKey, Method, Priority, Request};
pub use transport::Transport;
