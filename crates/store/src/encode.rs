//! Requests and outcomes as text: what the columns `request` and `outcome` hold.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use inflight_core::{
    Body, Effect, Failure, FailureKind, IdempotencyKey, Method, Outcome, Priority, Request, Response, Success,
};
use serde::{Deserialize, Serialize};

/// A row that cannot be read: another program wrote it, or it is damaged.
#[derive(Debug, thiserror::Error)]
#[error("a row of the store cannot be read: {0}")]
pub struct Unreadable(#[from] serde_json::Error);

/// Bytes: as text where they are text.
#[derive(Serialize, Deserialize)]
enum Content {
    #[serde(rename = "text")]
    Text(String),
    #[serde(rename = "base64")]
    Base64(String),
}

impl Content {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(BASE64.encode(bytes)),
        }
    }

    fn bytes(self) -> Bytes {
        match self {
            Self::Text(text) => text.into(),
            Self::Base64(text) => BASE64.decode(text).unwrap_or_default().into(),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct RequestText {
    method: String,
    target: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    body: Option<(String, Content)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempt_timeout_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deadline_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_retries: Option<u32>,
}

/// What a row has of a request in columns of its own.
pub(crate) struct Columns {
    pub(crate) operation: String,
    pub(crate) account: String,
    pub(crate) key: Option<String>,
    pub(crate) priority: i64,
}

pub(crate) fn priority_number(priority: Priority) -> i64 {
    match priority {
        Priority::High => 0,
        Priority::Normal => 1,
        Priority::Low => 2,
    }
}

pub(crate) fn priority_of(number: i64) -> Priority {
    match number {
        0 => Priority::High,
        2 => Priority::Low,
        _ => Priority::Normal,
    }
}

fn method_of(name: &str) -> Method {
    [Method::Get, Method::Put, Method::Patch, Method::Delete]
        .into_iter()
        .find(|method| method.as_str() == name)
        .unwrap_or(Method::Post)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn request_text(request: &Request) -> String {
    let body = request.body.as_ref();
    text_of(&RequestText {
        method: request.method.as_str().to_owned(),
        target: request.target.clone(),
        headers: request
            .headers
            .iter()
            .map(|(n, v)| (n.to_string(), v.clone()))
            .collect(),
        body: body.map(|body| (body.content_type.to_string(), Content::of(&body.bytes))),
        attempt_timeout_ms: request.attempt_timeout.map(millis),
        deadline_ms: request.deadline.map(millis),
        max_retries: request.max_retries,
    })
}

pub(crate) fn request_of(text: &str, columns: Columns) -> Result<Request, Unreadable> {
    let text: RequestText = serde_json::from_str(text).map_err(Unreadable)?;
    let mut request = Request::new(method_of(&text.method), text.target)
        .operation(columns.operation)
        .priority(priority_of(columns.priority));
    request.headers = text.headers.into_iter().map(|(n, v)| (Cow::Owned(n), v)).collect();
    request.body = text.body.map(|(content_type, content)| Body {
        content_type: Cow::Owned(content_type),
        bytes: content.bytes(),
    });
    request.credential = (!columns.account.is_empty()).then(|| columns.account.into());
    request.idempotency_key = columns.key.map_or(IdempotencyKey::None, IdempotencyKey::Given);
    request.attempt_timeout = text.attempt_timeout_ms.map(Duration::from_millis);
    request.deadline = text.deadline_ms.map(Duration::from_millis);
    request.max_retries = text.max_retries;
    Ok(request)
}

#[derive(Serialize, Deserialize)]
struct ResponseText {
    status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    headers: Vec<(String, String)>,
    body: Content,
}

impl ResponseText {
    fn of(response: &Response) -> Self {
        Self {
            status: response.status,
            headers: response
                .headers
                .iter()
                .map(|(n, v)| (n.to_string(), v.to_string()))
                .collect(),
            body: Content::of(&response.body),
        }
    }

    fn response(self) -> Response {
        Response {
            status: self.status,
            headers: self
                .headers
                .into_iter()
                .map(|(n, v)| (Cow::Owned(n), v.into()))
                .collect(),
            body: self.body.bytes(),
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "is")]
enum OutcomeText {
    #[serde(rename = "success")]
    Success {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        object_id: Option<String>,
        response: ResponseText,
    },
    #[serde(rename = "failure")]
    Failure(Box<FailureText>),
}

#[derive(Serialize, Deserialize)]
struct FailureText {
    kind: String,
    message: String,
    effect: String,
    #[serde(default)]
    retryable: bool,
    #[serde(default)]
    needs_reconcile: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    param: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    decline_code: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    details: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response: Option<ResponseText>,
    /// The causes, the nearest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<String>,
}

/// The causes of a failure that another process has seen.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
struct Cause {
    message: String,
    source: Option<Box<Cause>>,
}

pub(crate) fn outcome_text(outcome: &Outcome) -> String {
    text_of(&match outcome {
        Ok(success) => OutcomeText::Success {
            object_id: success.object_id.as_deref().map(str::to_owned),
            response: ResponseText::of(&success.response),
        },
        Err(failure) => OutcomeText::Failure(Box::new(failure_text(failure))),
    })
}

fn failure_text(failure: &Failure) -> FailureText {
    let owned = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
    let mut causes = Vec::new();
    let mut cause = failure.source.as_deref().map(|error| error as &dyn std::error::Error);
    while let Some(error) = cause {
        causes.push(error.to_string());
        cause = error.source();
    }
    FailureText {
        kind: failure.kind.as_str().to_owned(),
        message: failure.message.clone(),
        effect: failure.effect.as_str().to_owned(),
        retryable: failure.retryable,
        needs_reconcile: failure.needs_reconcile,
        code: owned(&failure.code),
        param: owned(&failure.param),
        decline_code: owned(&failure.decline_code),
        request_id: owned(&failure.request_id),
        details: failure
            .details
            .iter()
            .map(|(n, v)| ((*n).to_owned(), v.to_string()))
            .collect(),
        response: failure.response.as_ref().map(ResponseText::of),
        causes,
    }
}

pub(crate) fn outcome_of(text: &str) -> Result<Outcome, Unreadable> {
    Ok(match serde_json::from_str(text).map_err(Unreadable)? {
        OutcomeText::Success { object_id, response } => Ok(Success {
            object_id: object_id.map(Into::into),
            response: response.response(),
        }),
        OutcomeText::Failure(text) => {
            let mut failure = Failure::new(kind_of(text.kind), effect_of(&text.effect), text.message);
            failure.retryable = text.retryable;
            failure.needs_reconcile = text.needs_reconcile;
            failure.code = text.code.map(Into::into);
            failure.param = text.param.map(Into::into);
            failure.decline_code = text.decline_code.map(Into::into);
            failure.request_id = text.request_id.map(Into::into);
            failure.response = text.response.map(ResponseText::response);
            let details = text.details.into_iter();
            failure.details = details.filter_map(|(n, v)| Some((name(&n)?, v.into()))).collect();
            let causes = text.causes.into_iter().rev();
            let source = causes.fold(None, |source, message| Some(Box::new(Cause { message, source })));
            match source {
                Some(cause) => Err(failure.with_source(*cause)),
                None => Err(failure),
            }
        }
    })
}

fn kind_of(text: String) -> FailureKind {
    use FailureKind as K;
    let known = [
        K::Connect,
        K::Tls,
        K::Connection,
        K::AttemptTimeout,
        K::BodyTooLarge,
        K::InvalidResponse,
        K::Http,
        K::InvalidRequest,
        K::Credential,
        K::Deadline,
        K::Cancelled,
        K::Shutdown,
        K::Store,
        K::CircuitOpen,
    ];
    known
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .unwrap_or(K::Named(Cow::Owned(text)))
}

pub(crate) fn effect_of(text: &str) -> Effect {
    match text {
        "none" => Effect::None,
        "done" => Effect::Done,
        _ => Effect::Unknown,
    }
}

/// The names of a failure's further details live as long as the process: a policy has a handful. More than that is not kept.
fn name(text: &str) -> Option<&'static str> {
    const MOST_NAMES: usize = 64;
    static NAMES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = names.get_or_insert_default();
    if let Some(known) = names.get(text) {
        return Some(known);
    }
    if names.len() >= MOST_NAMES {
        return None;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    names.insert(kept);
    Some(kept)
}

fn text_of(value: &impl Serialize) -> String {
    // Plain structures of text and numbers: nothing in them can fail to be written.
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(request: &Request) -> Columns {
        Columns {
            operation: request.operation.to_string(),
            account: request.credential.as_deref().unwrap_or_default().to_owned(),
            key: match &request.idempotency_key {
                IdempotencyKey::Given(key) => Some(key.clone()),
                _ => None,
            },
            priority: priority_number(request.priority),
        }
    }

    #[test]
    fn a_request_comes_back_as_it_was() {
        for method in [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete] {
            for body in [&b"name=Mug&x=%00"[..], b"\xff\x00\xfe", b"\0", b""] {
                let request = Request::new(method, "/v1/products?limit=3")
                    .operation("product.create")
                    .body("application/x-www-form-urlencoded", body.to_vec())
                    .header("Stripe-Account", "acct_1\u{0}\"")
                    .credential("shop")
                    .idempotency_key(IdempotencyKey::Given("k\u{0}1".into()))
                    .priority(Priority::Low)
                    .deadline(Duration::from_millis(1500))
                    .attempt_timeout(Duration::from_secs(2))
                    .max_retries(7);
                let again = request_of(&request_text(&request), columns(&request)).unwrap();
                assert_eq!(again, request);
                assert_eq!(again.fingerprint(), request.fingerprint());
            }
        }
        let bare = Request::new(Method::Get, "/v1/balance");
        assert_eq!(request_of(&request_text(&bare), columns(&bare)).unwrap(), bare);
    }

    #[test]
    fn an_outcome_comes_back_as_it_was() {
        let mut response = Response::new(200, b"{\"id\":\"prod_1\",\"\xff\":0}".to_vec());
        response.headers.push(("request-id".into(), "req_1".into()));
        let success = Success {
            object_id: Some("prod_1".into()),
            response: response.clone(),
        };
        let again = outcome_of(&outcome_text(&Ok(success.clone()))).unwrap().unwrap();
        assert_eq!(again, success);

        let mut failure = Failure::new(FailureKind::Named("card_error".into()), Effect::Unknown, "declined")
            .with_source(std::io::Error::other("reset"))
            .retryable();
        failure.code = Some("card_declined".into());
        failure.details = vec![("doc_url", "https://stripe.invalid".into())];
        failure.response = Some(response);
        let again = outcome_of(&outcome_text(&Err(failure.clone()))).unwrap().unwrap_err();
        assert_eq!(
            (again.kind, again.effect, again.retryable),
            (failure.kind, failure.effect, true)
        );
        assert_eq!(
            (again.code, again.details, again.response),
            (failure.code, failure.details, failure.response)
        );
        assert_eq!(again.source.unwrap().to_string(), "reset");
    }

    #[test]
    fn what_is_damaged_is_an_error() {
        for text in ["", "{", "[]", "{\"is\":\"other\"}", "{\"is\":\"success\"}"] {
            assert!(outcome_of(text).is_err(), "{text}");
            let columns = Columns {
                operation: String::new(),
                account: String::new(),
                key: None,
                priority: 9,
            };
            assert!(request_of(text, columns).is_err(), "{text}");
        }
    }
}
