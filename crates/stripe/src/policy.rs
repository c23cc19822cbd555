//! What Stripe's answers mean.

mod body;
mod lane;
mod pace;
mod retry;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{
    Effect, FailedAttempt, Failure, FailureKind, Outcome, PaceClass, Policy, Request, Response, RetryDecision, Secret,
    Success, Throttle,
};

use self::body::{ErrorBody, ErrorFields, Object, Shape, Word};
use crate::catalogue::{Answer, Operation, is_v2};
use crate::raw::is_file_contents;
use crate::redact::{is_printable, redacted};
use crate::route::path_of;

pub use self::retry::RetrySettings;

/// Longest message that is kept, in characters.
const MESSAGE_MAX: usize = 2000;
/// Longest code, parameter or error type that is kept, in characters.
const WORD_MAX: usize = 200;

/// Headers that a failure's details tell: the name there, and the header's.
const TOLD_HEADERS: [(&str, &str); 3] = [
    ("idempotent_replayed", "idempotent-replayed"),
    ("rate_limited_reason", "stripe-rate-limited-reason"),
    ("should_retry", "stripe-should-retry"),
];

/// Stripe's rules.
///
/// Every failure carries Stripe's own error type as its kind (`card_error`), or one that the status stands for
/// (`rate_limit_error`, `authentication_error`, `permission_error`), with `code`, `param`, `decline_code` and the
/// request's id. <https://docs.stripe.com/api/errors>. Its `details` have what else Stripe says: `advice_code`, `doc_url`,
/// `payment_intent` (its id), `rate_limited_reason`, `idempotent_replayed`, …
///
/// ```
/// use inflight_core::{Effect, Policy, Request, Response};
/// use inflight_stripe::{Method, StripePolicy};
///
/// let request = Request::new(Method::Post, "/v1/charges");
/// let body = r#"{"error":{"type":"card_error","code":"card_declined","message":"Declined."}}"#;
/// let failure = StripePolicy::new().classify(&request, Response::new(402, body)).unwrap_err();
/// assert_eq!((failure.kind.as_str(), failure.effect), ("card_error", Effect::None));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StripePolicy {
    retry: RetrySettings,
}

impl StripePolicy {
    /// The rules with all defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How failed attempts are repeated. By default [`RetrySettings::default`]: up to twice.
    #[must_use]
    pub fn retry(mut self, settings: RetrySettings) -> Self {
        self.retry = settings;
        self
    }
}

impl Policy for StripePolicy {
    fn keep_headers(&self) -> &'static [&'static str] {
        &[
            "request-id",
            "content-type",
            "idempotent-replayed",
            "stripe-should-retry",
            "stripe-rate-limited-reason",
            "retry-after",
        ]
    }

    fn classify(&self, request: &Request, mut response: Response) -> Outcome {
        // Scripts may look at them, and a server may send anything back.
        for (_, value) in &mut response.headers {
            if let Cow::Owned(shown) = redacted(value) {
                *value = shown.into();
            }
        }
        if response.is_success() {
            return success(request, response);
        }
        let error = serde_json::from_slice::<ErrorBody<'_>>(&response.body);
        let mut failure = match error.ok().and_then(ErrorBody::into_fields) {
            Some(error) => stripe_error(request, &response, &error),
            None => foreign_error(request, &response),
        };
        failure.retryable = is_retryable(&response, &failure);
        Err(with_response(failure, response))
    }

    fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        self.retry.decide(attempt)
    }

    /// A replayed answer is the first attempt's own; a declined card (Stripe's 402, and nobody else's) was looked at in carrying the
    /// request out, which Stripe does once for each key. Refusals before that (401, 409, 429, most 400) say nothing about earlier
    /// attempts, nor does a second DELETE's 404: it does not tell who deleted.
    /// <https://docs.stripe.com/api/idempotent_requests>
    fn settles(&self, failure: &Failure) -> bool {
        let is_declined = failure.status() == Some(402) && failure.effect == Effect::None;
        failure.effect == Effect::Done || is_replayed(failure) || is_declined
    }

    fn repeatable_for(&self, request: &Request) -> Option<Duration> {
        self.retry.repeatable_for(request)
    }

    fn pace_class(&self, request: &Request, secret: Option<&Secret>) -> Option<PaceClass> {
        Some(pace::class_of(request, secret))
    }

    fn throttle(&self, failure: &Failure) -> Option<Throttle> {
        pace::throttle_of(failure)
    }

    fn server_request_id<'r>(&self, response: &'r Response) -> Option<&'r str> {
        response.header("request-id")
    }

    fn is_replay(&self, response: &Response) -> bool {
        is_replay(response)
    }

    fn lane(&self, request: &Request) -> Option<String> {
        lane::lane_of(request)
    }
}

fn is_replayed(failure: &Failure) -> bool {
    failure.response.as_ref().is_some_and(is_replay)
}

fn is_replay(response: &Response) -> bool {
    let header = response.header("idempotent-replayed");
    header.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// A 2xx: carried out, if the body is what Stripe sends. If it is not, nobody knows who answered.
fn success(request: &Request, response: Response) -> Outcome {
    // Bytes are what they are, and no content is none: if it was Stripe who says so.
    let is_empty = response.status == 204 && response.body.is_empty() && has_request_id(&response);
    if is_empty || gives_file(request) {
        return Ok(Success {
            object_id: None,
            response,
        });
    }
    // A derived struct would read `["…"]` as well.
    let is_object = response.body.trim_ascii_start().starts_with(b"{");
    let error = match serde_json::from_slice::<Object<'_>>(&response.body) {
        Ok(object) if is_object => {
            if let Some(error) = object.as_error() {
                let failure = failed_all_the_same(request, &error);
                return Err(with_response(failure, response));
            }
            let object_id = object.id.0.map(Into::into);
            return Ok(Success { object_id, response });
        }
        other => other.err(),
    };
    let message = format!("the answer with status {} is not a JSON object", response.status);
    let mut failure = Failure::new(FailureKind::InvalidResponse, unless_safe(request), message);
    failure.source = error.map(|error| Arc::new(error) as _);
    Err(with_response(failure, response))
}

/// An error with a status that says that all went well. What it means for the request is not documented; the official SDKs throw it.
fn failed_all_the_same(request: &Request, error: &ErrorFields<'_>) -> Failure {
    let kind = FailureKind::Named(Cow::Borrowed("api_error"));
    let message = error.message.0.as_deref();
    let message = message.map_or_else(
        || "the answer is an error, although its status is none".into(),
        message_text,
    );
    with_fields(Failure::new(kind, unless_safe(request), message), error)
}

/// Whether the request asks for a file.
fn gives_file(request: &Request) -> bool {
    let by_catalogue = || Operation::by_name(&request.operation).is_ok_and(|o| o.answer == Answer::File);
    request.method.is_safe() && (is_file_contents(&request.target) || by_catalogue())
}

/// An error in Stripe's shape.
fn stripe_error(request: &Request, response: &Response, error: &ErrorFields<'_>) -> Failure {
    let status = response.status;
    let message = match &error.message.0 {
        Some(message) => message_text(message),
        None => format!("Stripe answered with status {status}"),
    };
    let kind = kind(request, status, error);
    with_fields(Failure::new(kind, effect(request, response, error), message), error)
}

fn with_fields(mut failure: Failure, error: &ErrorFields<'_>) -> Failure {
    failure.code = word(&error.code);
    failure.param = word(&error.param);
    failure.decline_code = word(&error.decline_code);
    let details = error.details.iter();
    failure.details = details
        .map(|(name, text)| (*name, plain(&redacted(text), MESSAGE_MAX).into()))
        .collect();
    failure
}

/// An error in another shape: something between us and Stripe answered, or a server that is not Stripe.
fn foreign_error(request: &Request, response: &Response) -> Failure {
    let status = response.status;
    let kind = match status_kind(status) {
        Some(kind) => FailureKind::Named(Cow::Borrowed(kind)),
        None if status >= 500 => FailureKind::Named(Cow::Borrowed("api_error")),
        None => FailureKind::InvalidResponse,
    };
    let message = format!("the server answered with status {status} and a body that is not a Stripe error");
    Failure::new(kind, effect(request, response, &ErrorFields::default()), message)
}

/// The kinds that a status stands for whatever the body says, as the official SDKs have it.
fn status_kind(status: u16) -> Option<&'static str> {
    match status {
        401 => Some("authentication_error"),
        403 => Some("permission_error"),
        429 => Some("rate_limit_error"),
        _ => None,
    }
}

fn kind(request: &Request, status: u16, error: &ErrorFields<'_>) -> FailureKind {
    let code = error.code.0.as_deref();
    if is_v2(&request.target)
        && let Some(kind) = v2_kind(error.kind.0.as_deref(), code)
    {
        return FailureKind::Named(kind);
    }
    let named = match status {
        400 if code == Some("rate_limit") => status_kind(429),
        402 => Some("card_error"),
        status => status_kind(status),
    };
    let kind = match (named, &error.kind.0) {
        (Some(kind), _) => Cow::Borrowed(kind),
        (None, Some(kind)) if is_known_type(kind) => Cow::Owned(kind.to_string()),
        // Unknown types are kept as they are.
        (None, Some(kind)) if !kind.is_empty() => Cow::Owned(plain(&redacted(kind), WORD_MAX)),
        _ if status < 500 => Cow::Borrowed("invalid_request_error"),
        _ => Cow::Borrowed("api_error"),
    };
    FailureKind::Named(kind)
}

/// In v2 an error's own type goes first, such as `temporary_session_expired`; the types of v1 say no more than the status does.
/// <https://docs.stripe.com/api-v2-overview>
fn v2_kind(kind: Option<&str>, code: Option<&str>) -> Option<Cow<'static, str>> {
    match kind {
        Some("rate_limit") => Some(Cow::Borrowed("rate_limit_error")),
        Some(kind) if !kind.is_empty() && !is_known_type(kind) => Some(Cow::Owned(plain(&redacted(kind), WORD_MAX))),
        _ if code == Some("invalid_fields") => Some(Cow::Borrowed("invalid_request_error")),
        _ => None,
    }
}

/// The error types on the wire. <https://docs.stripe.com/api/errors>
fn is_known_type(kind: &str) -> bool {
    matches!(
        kind,
        "api_error" | "card_error" | "idempotency_error" | "invalid_request_error"
    )
}

/// What an error means at Stripe. <https://docs.stripe.com/error-low-level>
///
/// - A 4xx refuses the request; the documentation has it sent again, corrected and under a new key. That holds for a
///   declined card (402) too: a payment intent may record the failed attempt, but no money moved.
/// - A 409 `idempotency_key_in_use` says that the same key's first request is still being carried out.
/// - "Treat requests that return 500 errors as indeterminate."
/// - Stripe does not redirect. Whoever sends a 3xx is something else, and what it did with a request is not known. Nor is it where
///   something else sends a 4xx: it may have stopped the request, or only Stripe's answer to it. Only a 429 says that it let nothing
///   through.
fn effect(request: &Request, response: &Response, error: &ErrorFields<'_>) -> Effect {
    let status = response.status;
    let in_use = status == 409 && error.code.0.as_deref() == Some("idempotency_key_in_use");
    let refuses = status == 429 || is_stripes(request, response, error);
    if (400..500).contains(&status) && refuses && !in_use {
        Effect::None
    } else {
        unless_safe(request)
    }
}

/// Whether Stripe itself has answered: its errors are objects with a type or a code that are texts (a gateway's have numbers), but for
/// OAuth's, which are texts, and its answers have an id, or say that they were given before.
/// <https://docs.stripe.com/api/errors>, <https://docs.stripe.com/api/request_ids>, <https://docs.stripe.com/connect/oauth-reference>
fn is_stripes(request: &Request, response: &Response, error: &ErrorFields<'_>) -> bool {
    let has_its_shape = match error.shape {
        Shape::Object => error.kind.has_text() || error.code.has_text(),
        Shape::Text => path_of(request).starts_with("/oauth/"),
        Shape::None => false,
    };
    has_its_shape || has_request_id(response) || is_replay(response)
}

fn has_request_id(response: &Response) -> bool {
    response.header("request-id").is_some_and(|id| !id.is_empty())
}

fn unless_safe(request: &Request) -> Effect {
    if request.method.is_safe() {
        Effect::None
    } else {
        Effect::Unknown
    }
}

/// Stripe's own word first (`Stripe-Should-Retry`), then the statuses at which trying again makes sense. A rate limit may also come
/// as a 400 with the code `rate_limit`.
fn is_retryable(response: &Response, failure: &Failure) -> bool {
    match response.header("stripe-should-retry") {
        Some("true") => true,
        Some("false") => false,
        _ => {
            matches!(response.status, 409 | 429)
                || response.status >= 500
                || failure.code.as_deref() == Some("rate_limit")
        }
    }
}

fn with_response(mut failure: Failure, response: Response) -> Failure {
    let header = |name| response.header(name).map(|value| plain(value, WORD_MAX).into());
    failure.request_id = header("request-id");
    for (name, told) in TOLD_HEADERS {
        let value = header(told);
        failure.details.extend(value.map(|value| (name, value)));
    }
    failure.response = Some(response);
    failure
}

/// A message for people: bounded, on one line, without secrets.
fn message_text(message: &str) -> String {
    plain(&redacted(message), MESSAGE_MAX)
}

/// A code or a name, if there is one.
fn word(word: &Word<'_>) -> Option<Box<str>> {
    let text = word.0.as_deref()?;
    Some(plain(&redacted(text), WORD_MAX).into())
}

/// Bounded, and without characters that control a terminal or turn the writing.
fn plain(text: &str, max: usize) -> String {
    let mut plain: String = text
        .chars()
        .take(max)
        .map(|c| if is_printable(c) { c } else { ' ' })
        .collect();
    if text.chars().nth(max).is_some() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests;
