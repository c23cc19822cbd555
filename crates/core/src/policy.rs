//! What an answer means: the seam between a plain HTTP worker and one API's own rules.

use std::borrow::Cow;
use std::time::Duration;

use crate::{Effect, Failure, FailureKind, Outcome, Request, Response, Secret, Success};

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
    ///
    /// Called on the worker's thread; it must not wait. A pure function of what it is given, the random number included, can be
    /// tested by a table.
    fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        let _ = attempt;
        RetryDecision::Stop
    }

    /// Whether a failure says what became of the attempts before it, too. Where it does not, and one of them may have been
    /// carried out, the request's effect stays unknown. By default only a failure with [`Effect::Done`] does.
    fn settles(&self, failure: &Failure) -> bool {
        failure.effect == Effect::Done
    }

    /// How long after its submission a request may still be repeated: after that the other side may have forgotten its key, and
    /// would take it for a new one. By default for ever.
    fn repeatable_for(&self, request: &Request) -> Option<Duration> {
        let _ = request;
        None
    }

    /// Which limits of the other side the request is subject to, where the worker keeps them. `secret` is what it is sent with, since
    /// limits may depend on the kind of key. By default none.
    fn pace_class(&self, request: &Request, secret: Option<&Secret>) -> Option<PaceClass> {
        let _ = (request, secret);
        None
    }

    /// Which limit this failure says was passed, if it says so. By default none.
    fn throttle(&self, failure: &Failure) -> Option<Throttle> {
        let _ = failure;
        None
    }

    /// The other side's own id for the attempt that it answered this way, if it gives one. By default none.
    fn server_request_id<'r>(&self, response: &'r Response) -> Option<&'r str> {
        let _ = response;
        None
    }

    /// Whether the answer is one that the other side gave before, to an earlier attempt with the same key. By default not.
    fn is_replay(&self, response: &Response) -> bool {
        let _ = response;
        false
    }

    /// The lane of the request: requests of one lane run one after another, in the order of their submission where they have the
    /// same priority, further attempts included. By default none: it runs beside all others.
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
    /// How many attempts have been made, this one included: 1 after the first. Those that were sent back to the queue
    /// ([`RetryDecision::Requeue`]) are not counted.
    pub attempts: u32,
    /// How many attempts were sent back to the queue, this one not included.
    pub requeued: u32,
    /// How the attempt failed. Its effect speaks of all attempts together.
    pub failure: &'a Failure,
    /// Whether the connection ended before a byte of the answer came, as one does that was kept too long.
    pub unanswered: bool,
    /// Whether an attempt of this request has been repeated at once before.
    pub repeated_at_once: bool,
    /// The time since submission, which the key is never older than.
    pub elapsed: Duration,
    /// The time that is left until the request's deadline.
    pub remaining: Duration,
    /// A random number from 0 up to but without 1, new for each attempt.
    pub random: f64,
}

/// Whether a failed attempt is repeated, with the same idempotency key and the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryDecision {
    /// The failure stands.
    Stop,
    /// Another attempt without a pause.
    AtOnce,
    /// Another attempt after this pause.
    After(Duration),
    /// Another attempt after this pause, which does not count: the other side was too busy to look at this one.
    Requeue(Duration),
}

/// The limits that one request is subject to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaceClass {
    /// What all requests with the same secret share. `None` where the request does not count there.
    pub account: Option<PaceLimit>,
    /// The name of what the request shares the second limit with: a method and a route, never with an id in it.
    pub endpoint: Cow<'static, str>,
    /// What all requests with the same secret and the same name share.
    pub limit: PaceLimit,
}

/// How much the other side takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceLimit {
    /// Requests a second.
    pub per_second: u32,
    /// Requests at once. `None` is as many as the worker sends.
    pub concurrent: Option<u32>,
}

impl PaceLimit {
    /// So many requests a second.
    #[must_use]
    pub const fn per_second(requests: u32) -> Self {
        Self {
            per_second: requests,
            concurrent: None,
        }
    }

    /// So many requests at once, too.
    #[must_use]
    pub const fn concurrent(mut self, requests: u32) -> Self {
        self.concurrent = Some(requests);
        self
    }
}

/// Which limit was passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Throttle {
    /// Too many requests a second, of the account.
    AccountRate,
    /// Too many requests at once, of the account.
    AccountConcurrency,
    /// Too many requests a second, at the endpoint.
    EndpointRate,
    /// Too many requests at once, at the endpoint.
    EndpointConcurrency,
}

impl Throttle {
    /// All limits.
    pub const ALL: [Self; 4] = [
        Self::AccountRate,
        Self::AccountConcurrency,
        Self::EndpointRate,
        Self::EndpointConcurrency,
    ];

    /// `account_rate`, `account_concurrency`, `endpoint_rate` or `endpoint_concurrency`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccountRate => "account_rate",
            Self::AccountConcurrency => "account_concurrency",
            Self::EndpointRate => "endpoint_rate",
            Self::EndpointConcurrency => "endpoint_concurrency",
        }
    }
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
