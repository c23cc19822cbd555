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

use self::body::{ErrorBody, ErrorFields, Object, Word};
use crate::catalogue::{Answer, Operation, is_v2};
use crate::raw::is_file_contents;
use crate::redact::redacted;

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

    fn classify(&self, request: &Request, response: Response) -> Outcome {
        if response.is_success() {
            return success(request, response);
        }
        let error = serde_json::from_slice::<ErrorBody<'_>>(&response.body);
        let mut failure = match error.ok().and_then(ErrorBody::into_fields) {
            Some(error) => stripe_error(request, response.status, &error),
            None => foreign_error(request, response.status),
        };
        failure.retryable = is_retryable(&response);
        Err(with_response(failure, response))
    }

    fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        self.retry.decide(attempt)
    }

    /// A replayed answer is the first attempt's own; a declined card (402) was looked at in carrying the request out, which Stripe
    /// does once for each key. Refusals before that (401, 409, 429, most 400) say nothing about earlier attempts, nor does a
    /// second DELETE's 404: it does not tell who deleted.
    /// <https://docs.stripe.com/api/idempotent_requests>
    fn settles(&self, failure: &Failure) -> bool {
        failure.effect == Effect::Done || is_replayed(failure) || failure.status() == Some(402)
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

    fn lane(&self, request: &Request) -> Option<String> {
        lane::lane_of(request)
    }
}

fn is_replayed(failure: &Failure) -> bool {
    let header = failure.response.as_ref().and_then(|r| r.header("idempotent-replayed"));
    header.is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

/// A 2xx: carried out, if the body is what Stripe sends. If it is not, nobody knows who answered.
fn success(request: &Request, response: Response) -> Outcome {
    // Bytes are what they are.
    if gives_file(request) {
        return Ok(Success {
            object_id: None,
            response,
        });
    }
    // A derived struct would read `["…"]` as well.
    let is_object = response.body.trim_ascii_start().starts_with(b"{");
    let error = match serde_json::from_slice::<Object<'_>>(&response.body) {
        Ok(object) if is_object => {
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

/// Whether the request asks for a file.
fn gives_file(request: &Request) -> bool {
    let by_catalogue = || Operation::by_name(&request.operation).is_ok_and(|o| o.answer == Answer::File);
    request.method.is_safe() && (is_file_contents(&request.target) || by_catalogue())
}

/// An error in Stripe's shape.
fn stripe_error(request: &Request, status: u16, error: &ErrorFields<'_>) -> Failure {
    let message = match &error.message.0 {
        Some(message) => message_text(message),
        None => format!("Stripe answered with status {status}"),
    };
    let mut failure = Failure::new(kind(request, status, error), effect(request, status, error), message);
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
fn foreign_error(request: &Request, status: u16) -> Failure {
    let kind = match status_kind(status) {
        Some(kind) => FailureKind::Named(Cow::Borrowed(kind)),
        None if status >= 500 => FailureKind::Named(Cow::Borrowed("api_error")),
        None => FailureKind::InvalidResponse,
    };
    let message = format!("the server answered with status {status} and a body that is not a Stripe error");
    Failure::new(kind, effect(request, status, &ErrorFields::default()), message)
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
        (None, Some(kind)) if !kind.is_empty() => Cow::Owned(plain(kind, WORD_MAX)),
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
        Some(kind) if !kind.is_empty() && !is_known_type(kind) => Some(Cow::Owned(plain(kind, WORD_MAX))),
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
/// - Stripe does not redirect. Whoever sends a 3xx is something else, and what it did with a request is not known.
fn effect(request: &Request, status: u16, error: &ErrorFields<'_>) -> Effect {
    let in_use = status == 409 && error.code.0.as_deref() == Some("idempotency_key_in_use");
    if (400..500).contains(&status) && !in_use {
        Effect::None
    } else {
        unless_safe(request)
    }
}

fn unless_safe(request: &Request) -> Effect {
    if request.method.is_safe() {
        Effect::None
    } else {
        Effect::Unknown
    }
}

/// Stripe's own word first (`Stripe-Should-Retry`), then the statuses at which trying again makes sense.
fn is_retryable(response: &Response) -> bool {
    match response.header("stripe-should-retry") {
        Some("true") => true,
        Some("false") => false,
        _ => matches!(response.status, 409 | 429) || response.status >= 500,
    }
}

fn with_response(mut failure: Failure, response: Response) -> Failure {
    failure.request_id = response.header("request-id").map(|id| plain(id, WORD_MAX).into());
    for (name, header) in TOLD_HEADERS {
        let value = response.header(header).map(|value| plain(value, WORD_MAX).into());
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

/// Bounded, and without control characters.
fn plain(text: &str, max: usize) -> String {
    let mut plain: String = text
        .chars()
        .take(max)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(max).is_some() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use inflight_core::Method;

    use super::*;

    fn classify(method: Method, status: u16, headers: &[(&'static str, &str)], body: &str) -> Outcome {
        let mut response = Response::new(status, body.to_owned());
        response.headers = headers
            .iter()
            .map(|(name, value)| (Cow::Borrowed(*name), (*value).into()))
            .collect();
        StripePolicy::new().classify(&Request::new(method, "/v1/products"), response)
    }

    #[test]
    fn successes() {
        for (body, id) in [
            (r#"{"id":"prod_1","object":"product"}"#, Some("prod_1")),
            (r#"{"object":"list","data":[{"id":"prod_1"}]}"#, None),
            (r#" {"id":{"nested":[1,true,null,"x"]}}"#, None),
            (r#"{"id":null}"#, None),
            (r#"{"id":"a\nb"}"#, Some("a\nb")),
            ("{}", None),
        ] {
            let success = classify(Method::Post, 200, &[], body).unwrap();
            assert_eq!(success.object_id.as_deref(), id, "{body}");
        }
    }

    #[test]
    fn failures() {
        use Method::{Delete, Get, Post};
        const HTML: &str = "<html>";
        let named =
            |kind: &str, code: &str| format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"m"}}}}"#);
        let invalid = named("invalid_request_error", "resource_missing");
        for (method, status, body, kind, effect, retryable) in [
            (Post, 200, HTML, "invalid_response", Effect::Unknown, false),
            (Delete, 200, "", "invalid_response", Effect::Unknown, false),
            (Get, 200, "[1]", "invalid_response", Effect::None, false),
            (Post, 200, r#"["id"]"#, "invalid_response", Effect::Unknown, false),
            (Post, 302, HTML, "invalid_response", Effect::Unknown, false),
            (Get, 302, HTML, "invalid_response", Effect::None, false),
            (Post, 400, &*invalid, "invalid_request_error", Effect::None, false),
            (
                Post,
                400,
                &*named("idempotency_error", ""),
                "idempotency_error",
                Effect::None,
                false,
            ),
            (
                Post,
                400,
                &*named("invalid_request_error", "rate_limit"),
                "rate_limit_error",
                Effect::None,
                false,
            ),
            (Post, 401, &*invalid, "authentication_error", Effect::None, false),
            (
                Post,
                402,
                &*named("card_error", "card_declined"),
                "card_error",
                Effect::None,
                false,
            ),
            (Post, 403, &*invalid, "permission_error", Effect::None, false),
            (Post, 404, &*invalid, "invalid_request_error", Effect::None, false),
            (Post, 404, HTML, "invalid_response", Effect::None, false),
            (
                Post,
                409,
                &*named("invalid_request_error", "idempotency_key_in_use"),
                "invalid_request_error",
                Effect::Unknown,
                true,
            ),
            (
                Post,
                409,
                &*named("invalid_request_error", "other"),
                "invalid_request_error",
                Effect::None,
                true,
            ),
            (
                Post,
                429,
                &*named("invalid_request_error", "lock_timeout"),
                "rate_limit_error",
                Effect::None,
                true,
            ),
            (Post, 429, HTML, "rate_limit_error", Effect::None, true),
            (Post, 500, &*named("api_error", ""), "api_error", Effect::Unknown, true),
            (Delete, 502, HTML, "api_error", Effect::Unknown, true),
            (Get, 503, HTML, "api_error", Effect::None, true),
            (
                Post,
                400,
                &*named("brand_new_error", ""),
                "brand_new_error",
                Effect::None,
                false,
            ),
            (
                Post,
                400,
                r#"{"error":"invalid_grant","error_description":"m"}"#,
                "invalid_request_error",
                Effect::None,
                false,
            ),
            (
                Post,
                400,
                r#"{"error":{"message":7,"param":[]}}"#,
                "invalid_request_error",
                Effect::None,
                false,
            ),
            (Post, 400, r#"{"error":null}"#, "invalid_response", Effect::None, false),
        ] {
            let failure = classify(method, status, &[], body).unwrap_err();
            let got = (failure.kind.as_str(), failure.effect, failure.retryable);
            assert_eq!(got, (kind, effect, retryable), "{method} {status} {body}");
            assert_eq!(failure.status(), Some(status));
            assert_eq!(failure.needs_reconcile, effect == Effect::Unknown);
        }
    }

    #[test]
    fn fields_are_read() {
        let body = r#"{"error":{"type":"card_error","code":"card_declined","decline_code":"insufficient_funds",
            "param":"payment_method","message":"Declined.","charge":{"id":1}}}"#;
        let failure = classify(Method::Post, 402, &[("request-id", "req_1")], body).unwrap_err();
        assert_eq!(failure.code.as_deref(), Some("card_declined"));
        assert_eq!(failure.decline_code.as_deref(), Some("insufficient_funds"));
        assert_eq!(failure.param.as_deref(), Some("payment_method"));
        assert_eq!(failure.request_id.as_deref(), Some("req_1"));
        assert_eq!(failure.message, "Declined.");
        let oauth = classify(
            Method::Post,
            400,
            &[],
            r#"{"error":"invalid_grant","error_description":"No."}"#,
        );
        let oauth = oauth.unwrap_err();
        assert_eq!((oauth.code.as_deref(), &*oauth.message), (Some("invalid_grant"), "No."));
    }

    #[test]
    fn details_are_kept_and_hold_no_secret() {
        let body = r#"{"error":{"type":"card_error","message":"m","advice_code":"do_not_try_again","doc_url":"https://d",
            "payment_intent":{"id":"pi_1","client_secret":"pi_1_secret_x","deep":{"id":"no"}},"source":null,"charge":["x"],
            "user_message":"pi_1_secret_xyz"}}"#;
        let headers = [
            ("stripe-rate-limited-reason", "endpoint-rate"),
            ("idempotent-replayed", "true"),
        ];
        let failure = classify(Method::Post, 402, &headers, body).unwrap_err();
        let details: Vec<(&str, &str)> = failure.details.iter().map(|(name, text)| (*name, &**text)).collect();
        let expected = [
            ("advice_code", "do_not_try_again"),
            ("doc_url", "https://d"),
            ("payment_intent", "pi_1"),
            ("user_message", "pi_1_secret_…"),
            ("idempotent_replayed", "true"),
            ("rate_limited_reason", "endpoint-rate"),
        ];
        assert_eq!(details, expected);
        for text in [format!("{failure}"), format!("{failure:?}")] {
            assert!(!text.contains("secret_x"), "{text}");
        }
    }

    #[test]
    fn errors_of_v2_are_named_by_their_type() {
        for (status, kind, code, expected) in [
            (
                400,
                "temporary_session_expired",
                "billing_meter_event_session_expired",
                "temporary_session_expired",
            ),
            (429, "rate_limit", "too_many_concurrent_requests", "rate_limit_error"),
            (400, "invalid_request_error", "invalid_fields", "invalid_request_error"),
            (400, "brand_new", "x", "brand_new"),
            (401, "", "x", "authentication_error"),
            (409, "idempotency_error", "idempotency_error", "idempotency_error"),
            (500, "", "", "api_error"),
        ] {
            let body = format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"m"}}}}"#);
            let request = Request::new(Method::Post, "/v2/core/accounts");
            let failure = StripePolicy::new()
                .classify(&request, Response::new(status, body))
                .unwrap_err();
            assert_eq!(failure.kind.as_str(), expected, "{status} {kind} {code}");
        }
    }

    #[test]
    fn a_file_is_bytes() {
        let pdf = &b"%PDF\xff{"[..];
        let quote = Request::new(Method::Get, "/v1/quotes/qt_1/pdf").operation("quote.pdf");
        let contents = Request::new(Method::Get, "/v1/files/file_1/contents");
        for request in [quote, contents] {
            let success = StripePolicy::new().classify(&request, Response::new(200, pdf)).unwrap();
            assert_eq!((success.object_id, &success.response.body[..]), (None, pdf));
            assert!(
                StripePolicy::new()
                    .classify(&request, Response::new(404, "{}"))
                    .is_err()
            );
        }
    }

    #[test]
    fn stripes_own_word_on_retries_goes_first() {
        for (word, status, retryable) in [("false", 500, false), ("true", 400, true), ("perhaps", 500, true)] {
            let failure = classify(Method::Post, status, &[("stripe-should-retry", word)], "{}").unwrap_err();
            assert_eq!(failure.retryable, retryable, "{word} {status}");
        }
    }

    #[test]
    fn messages_are_bounded_and_hold_no_secret() {
        let message = format!("a\\nb sk_live_a1b2c3d4e5f6 pi_1_secret_xyz {}", "x".repeat(100_000));
        let body = format!(r#"{{"error":{{"message":"{message}","type":"{}"}}}}"#, "t".repeat(9000));
        let failure = classify(Method::Post, 400, &[], &body).unwrap_err();
        assert!(failure.message.chars().count() <= MESSAGE_MAX + 1);
        assert!(
            failure.message.starts_with("a b sk_live_…e5f6 pi_1_secret_… xxx"),
            "{}",
            failure.message
        );
        assert!(failure.kind.as_str().len() < 300);
    }
}
