//! How a request ended, and what that means for the other side.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

/// What a request's ending means for the other side.
///
/// Only [`Effect::None`] makes it safe to submit the same work again under a new idempotency key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing happened there: the request was never sent, was refused before execution, or only read.
    None,
    /// It was carried out.
    Done,
    /// It was sent and no trustworthy answer came back: it may have been carried out or not.
    Unknown,
}

impl Effect {
    /// `none`, `done` or `unknown`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Done => "done",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The other side's answer to one attempt.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers that the [`Policy`](crate::Policy) asked to keep, names in lower case.
    pub headers: Vec<(Cow<'static, str>, Box<str>)>,
    /// The whole body.
    pub body: Bytes,
}

impl fmt::Debug for Response {
    /// Without the body, which may hold secrets: what is debugged is logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("headers", &self.headers)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

impl Response {
    /// A response with this status and body, and no headers.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The value of the header with this lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| &**v)
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A request that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Success {
    /// The id of the object that the answer is about, if it is about one: what a script's `get_result` gives.
    pub object_id: Option<Box<str>>,
    /// The answer.
    pub response: Response,
}

/// What kind of failure ended a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// No connection could be made: nothing was sent.
    Connect,
    /// The TLS handshake failed, or its set-up did: nothing was sent.
    Tls,
    /// The connection broke while the request was under way.
    Connection,
    /// One attempt took longer than its timeout.
    AttemptTimeout,
    /// The answer's body was larger than the worker takes.
    BodyTooLarge,
    /// The answer made no sense: not HTTP, not JSON where JSON was due.
    InvalidResponse,
    /// The answer's status says that the request failed, and no policy knows more.
    Http,
    /// The request itself cannot be sent: a malformed target, header or credential.
    InvalidRequest,
    /// The request names a credential that is not known.
    Credential,
    /// The request's own deadline passed.
    Deadline,
    /// The request was cancelled before it was sent.
    Cancelled,
    /// The worker was shut down.
    Shutdown,
    /// The durable store did not take the request.
    Store,
    /// The server has been failing, and nothing is sent to it until it has recovered.
    CircuitOpen,
    /// A kind that a [`Policy`](crate::Policy) names, such as Stripe's `card_error`.
    Named(Cow<'static, str>),
}

impl FailureKind {
    /// An idempotency key that was used for another request: what the other side would answer.
    pub(crate) fn key_reused() -> Self {
        Self::Named(Cow::Borrowed("idempotency_error"))
    }

    /// The kind as a script sees it: `connect_error`, `card_error`, …
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Connect => "connect_error",
            Self::Tls => "tls_error",
            Self::Connection => "connection_error",
            Self::AttemptTimeout => "attempt_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::InvalidResponse => "invalid_response",
            Self::Http => "http_error",
            Self::InvalidRequest => "invalid_request",
            Self::Credential => "credential_error",
            Self::Deadline => "timeout",
            Self::Cancelled => "cancelled",
            Self::Shutdown => "shutdown",
            Self::Store => "store_error",
            Self::CircuitOpen => "circuit_open",
            Self::Named(name) => name,
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that was not carried out, or of which nobody knows.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// One readable line.
    pub message: String,
    /// What it means for the other side.
    pub effect: Effect,
    /// Whether the same request may succeed if it is tried again.
    pub retryable: bool,
    /// Whether someone has to look at the other side to learn what happened.
    pub needs_reconcile: bool,
    /// The other side's error code.
    pub code: Option<Box<str>>,
    /// The parameter that the other side complains of.
    pub param: Option<Box<str>>,
    /// Why the issuer of a card declined.
    pub decline_code: Option<Box<str>>,
    /// The other side's own id for the attempt.
    pub request_id: Option<Box<str>>,
    /// What else the other side says of it: a name (`doc_url`, `advice_code`) and a text. A [`Policy`](crate::Policy) fills it.
    pub details: Vec<(&'static str, Box<str>)>,
    /// The answer, if one came.
    pub response: Option<Response>,
    /// The cause, if there is one.
    pub source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Failure {
    /// A failure with this meaning and nothing else known of it.
    #[must_use]
    pub fn new(kind: FailureKind, effect: Effect, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            effect,
            retryable: false,
            needs_reconcile: effect == Effect::Unknown,
            code: None,
            param: None,
            decline_code: None,
            request_id: None,
            details: Vec::new(),
            response: None,
            source: None,
        }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// Says that the same request may succeed later.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.retryable = true;
        self
    }

    /// The HTTP status of the answer, if one came.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|r| r.status)
    }
}

impl fmt::Display for Failure {
    /// One readable line: `card_error: Your card was declined. (status 402, code card_declined, effect none)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (", self.kind, self.message.replace(['\n', '\r'], " "))?;
        if let Some(status) = self.status() {
            write!(f, "status {status}, ")?;
        }
        for (name, value) in [
            ("code", &self.code),
            ("decline code", &self.decline_code),
            ("param", &self.param),
            ("request", &self.request_id),
        ] {
            if let Some(value) = value {
                write!(f, "{name} {value}, ")?;
            }
        }
        write!(f, "effect {})", self.effect)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|s| &**s as &(dyn Error + 'static))
    }
}

/// How a request ended.
pub type Outcome = Result<Success, Failure>;
