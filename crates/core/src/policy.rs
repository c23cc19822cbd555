//! What an answer means: the seam between a plain HTTP worker and one API's own rules.

use std::borrow::Cow;
use std::time::Duration;

use crate::{Effect, Failure, FailureKind, Outcome, Request, Response, Success};

/// The rules of one API.
///
/// The worker asks and carries out; it decides nothing itself. Without a policy it is a plain HTTP worker, with the rules of
/// [`PlainHttp`].
pub trait Policy: Send + Sync + 'static {
    /// The response headers to keep, in lower case: those that [`classify`](Self::classify) reads and those that results show.
    /// By default none.
    fn keep_headers(&self) -> &'static [&'static str] {
        &[]
    }

    /// What a whole answer means. `Err` with [`Effect::None`] says that the other side refused before it did anything.
    fn classify(&self, request: &Request, response: Response) -> Outcome;

    /// Whether a failed attempt is repeated. By default never.
    fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        let _ = attempt;
        RetryDecision::Stop
    }

    /// Which pace the request is subject to. By default none: it is sent as soon as a connection is free.
    fn pace_class(&self, request: &Request) -> Option<Cow<'static, str>> {
        let _ = request;
        None
    }

    /// The lane of the request: requests of one lane run one after another. By default none: it runs beside all others.
    fn lane(&self, request: &Request) -> Option<String> {
        let _ = request;
        None
    }
}

/// An attempt that failed, for [`Policy::retry`].
#[derive(Debug)]
pub struct FailedAttempt<'a> {
    /// What was to be done.
    pub request: &'a Request,
    /// How many attempts have been made, this one included: 1 after the first.
    pub attempts: u32,
    /// How the attempt failed.
    pub failure: &'a Failure,
    /// The time since submission.
    pub elapsed: Duration,
    /// The time that is left until the request's deadline.
    pub remaining: Duration,
}

/// Whether a failed attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// The failure stands.
    Stop,
    /// Another attempt after this pause, with the same idempotency key and the same bytes.
    After(Duration),
}

/// Plain HTTP: 2xx is success, everything else a failure. A 4xx means that nothing was done; after a 5xx nobody knows.
#[derive(Debug, Clone, Copy, Default)]
pub struct PlainHttp;

impl Policy for PlainHttp {
    fn keep_headers(&self) -> &'static [&'static str] {
        &["content-type", "location", "retry-after"]
    }

    fn classify(&self, request: &Request, response: Response) -> Outcome {
        if response.is_success() {
            return Ok(Success {
                object_id: None,
                response,
            });
        }
        let status = response.status;
        let effect = if request.method.is_safe() || (400..500).contains(&status) {
            Effect::None
        } else {
            Effect::Unknown
        };
        let mut failure = Failure::new(
            FailureKind::Http,
            effect,
            format!("the server answered with status {status}"),
        );
        failure.retryable = status == 429 || status >= 500;
        failure.response = Some(response);
        Err(failure)
    }
}
