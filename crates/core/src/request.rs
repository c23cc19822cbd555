//! What to do: a request as plain data.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::RequestId;

/// An HTTP method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads; never has an effect on the other side.
    Get,
    /// Creates or changes.
    Post,
    /// Replaces.
    Put,
    /// Changes in part.
    Patch,
    /// Removes.
    Delete,
}

impl Method {
    /// The method's name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }

    /// Whether the method only reads ("safe" in RFC 9110, section 9.2.1). A failed read never has an effect.
    #[must_use]
    pub fn is_safe(self) -> bool {
        self == Self::Get
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which of two queued requests is sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Priority {
    /// Before all others.
    High,
    /// The default.
    #[default]
    Normal,
    /// When nothing else waits; now and then all the same, so that it never starves.
    Low,
}

impl Priority {
    /// All priorities, the most urgent first.
    pub const ALL: [Self; 3] = [Self::High, Self::Normal, Self::Low];

    /// Its place among [`ALL`](Self::ALL): 0 for the most urgent.
    #[must_use]
    pub const fn level(self) -> usize {
        match self {
            Self::High => 0,
            Self::Normal => 1,
            Self::Low => 2,
        }
    }

    /// `high`, `normal` or `low`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The order in which to look for work that waits by priority, at the take of this number: the most urgent first, but at one take
    /// in sixteen [`Low`](Self::Low) and at one [`Normal`](Self::Normal), so that neither starves.
    #[must_use]
    pub fn order(take: u32) -> [Self; 3] {
        match take % 16 {
            0 => [Self::Low, Self::High, Self::Normal],
            8 => [Self::Normal, Self::High, Self::Low],
            _ => Self::ALL,
        }
    }

    /// The priority of that name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.as_str() == name)
    }
}

/// The key under which the other side recognises a repeated request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum IdempotencyKey {
    /// No key: the request only reads, or the other side knows no keys.
    #[default]
    None,
    /// Made from the request's own id when it is submitted, and the same on every attempt.
    Generated,
    /// The caller's own key.
    Given(String),
}

impl IdempotencyKey {
    /// The key's text for the request of this id, the same each time it is asked for.
    #[must_use]
    pub fn text(&self, id: RequestId) -> Option<Cow<'_, str>> {
        match self {
            Self::None => None,
            Self::Generated => Some(Cow::Owned(id.to_string())),
            Self::Given(key) => Some(Cow::Borrowed(key)),
        }
    }
}

/// A request's body with its content type.
#[derive(Clone, PartialEq, Eq)]
pub struct Body {
    /// The value of `Content-Type`.
    pub content_type: Cow<'static, str>,
    /// The bytes that are sent.
    pub bytes: Bytes,
}

impl fmt::Debug for Body {
    /// Without the bytes, which may hold secrets: what is debugged is logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body")
            .field("content_type", &self.content_type)
            .field("bytes", &format_args!("{} bytes", self.bytes.len()))
            .finish()
    }
}

/// What to do: one request, not yet submitted.
///
/// Plain data: it holds no connection, no key and no callback, so that two requests compare with `==`.
///
/// ```
/// use inflight_core::{Method, Request};
///
/// let request = Request::new(Method::Post, "/v1/products")
///     .operation("product.create")
///     .body("application/x-www-form-urlencoded", "name=Mug");
/// assert_eq!(request.target, "/v1/products");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The HTTP method.
    pub method: Method,
    /// A path with its query (`/v1/products?limit=3`), which the worker joins to the credential's endpoint or to its own
    /// base URL, or an absolute `http` or `https` URL.
    pub target: String,
    /// The body, if there is one.
    pub body: Option<Body>,
    /// Further headers. `Authorization`, `Content-Type` and `Idempotency-Key` are the worker's to set.
    pub headers: Vec<(Cow<'static, str>, String)>,
    /// The operation's name or route template, never with an id in it: `product.create`. Policies and metrics go by it.
    pub operation: Cow<'static, str>,
    /// The *name* of the credential to send with the request. The worker resolves it at each attempt; the secret itself is
    /// never part of a request.
    pub credential: Option<Arc<str>>,
    /// The idempotency key.
    pub idempotency_key: IdempotencyKey,
    /// Which requests it goes before.
    pub priority: Priority,
    /// How long one attempt may take, from connecting to the last byte of the body. By default the worker's own (80 s).
    pub attempt_timeout: Option<Duration>,
    /// How long the request may take in all, from submission. By default the registry's own (10 minutes).
    pub deadline: Option<Duration>,
    /// How many further attempts there may be after the first. By default the policy's own number.
    pub max_retries: Option<u32>,
}

impl fmt::Debug for Request {
    /// Without the values of headers, which may hold secrets: what is debugged is logged.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("body", &self.body)
            .field("headers", &headers)
            .field("operation", &self.operation)
            .field("credential", &self.credential)
            .field("idempotency_key", &self.idempotency_key)
            .field("priority", &self.priority)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("deadline", &self.deadline)
            .field("max_retries", &self.max_retries)
            .finish()
    }
}

/// What a fingerprint is made of: parts, each with its length, so that no part can be taken for the end of another.
struct Parts(Vec<u8>);

impl Parts {
    fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    fn push(&mut self, part: &[u8]) {
        self.0.extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.0.extend_from_slice(part);
    }

    fn hash(&self) -> u128 {
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, &self.0).as_u128()
    }
}

impl Request {
    /// A request without body, headers, credential or key, of normal priority.
    #[must_use]
    pub fn new(method: Method, target: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            body: None,
            headers: Vec::new(),
            operation: Cow::Borrowed(""),
            credential: None,
            idempotency_key: IdempotencyKey::None,
            priority: Priority::Normal,
            attempt_timeout: None,
            deadline: None,
            max_retries: None,
        }
    }

    /// A fingerprint of what the request says: method, target, credential's name, headers and body. The same in every process and on
    /// every machine; two requests that say something different have different ones.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        let mut text = Parts::with_capacity(256);
        text.push(self.method.as_str().as_bytes());
        text.push(self.target.as_bytes());
        self.write_scope(&mut text);
        if let Some(body) = &self.body {
            text.push(body.content_type.as_bytes());
            text.push(&body.bytes);
        }
        text.hash()
    }

    /// A fingerprint of where an idempotency key counts: of the credential's name and the headers, which may name an account. Within it a
    /// key belongs to one [`fingerprint`](Self::fingerprint).
    #[must_use]
    pub fn key_scope(&self) -> u128 {
        let mut text = Parts::with_capacity(64);
        self.write_scope(&mut text);
        text.hash()
    }

    fn write_scope(&self, text: &mut Parts) {
        text.push(self.credential.as_deref().unwrap_or_default().as_bytes());
        // So that a header is never taken for a body.
        text.push(&(self.headers.len() as u64).to_le_bytes());
        for (name, value) in &self.headers {
            text.push(name.as_bytes());
            text.push(value.as_bytes());
        }
    }

    /// Sets the operation's name.
    #[must_use]
    pub fn operation(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.operation = name.into();
        self
    }

    /// Sets the body and its content type.
    #[must_use]
    pub fn body(mut self, content_type: impl Into<Cow<'static, str>>, bytes: impl Into<Bytes>) -> Self {
        self.body = Some(Body {
            content_type: content_type.into(),
            bytes: bytes.into(),
        });
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        // Few requests have more than one or two, and thousands may be pending: no room to spare.
        self.headers.reserve_exact(1);
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Names the credential to send with the request.
    #[must_use]
    pub fn credential(mut self, name: impl Into<Arc<str>>) -> Self {
        self.credential = Some(name.into());
        self
    }

    /// Sets the idempotency key.
    #[must_use]
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = key;
        self
    }

    /// Sets the priority. By default `normal`.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets how long one attempt may take.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = Some(timeout);
        self
    }

    /// Sets how long the request may take in all, from submission.
    #[must_use]
    pub fn deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// Sets how many further attempts there may be after the first.
    #[must_use]
    pub fn max_retries(mut self, retries: u32) -> Self {
        self.max_retries = Some(retries);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_debugged_holds_no_value_of_a_header() {
        let request = Request::new(Method::Post, "/v1/a")
            .header("authorization", "Bearer sk_test_123")
            .body("text/plain", "secret");
        let shown = format!("{request:?}");
        assert!(shown.contains("authorization") && shown.contains("/v1/a"), "{shown}");
        assert!(!shown.contains("sk_test") && !shown.contains("secret"), "{shown}");
    }

    #[test]
    fn what_says_something_different_has_another_fingerprint() {
        let post = || Request::new(Method::Post, "/v1/a");
        let all = [
            post(),
            Request::new(Method::Get, "/v1/a"),
            post().header("a", "b"),
            post().body("a", "b"),
            post().header("a", "b").body("a", "b"),
            post().header("a", "b").header("a", "b"),
            post().credential("a"),
        ];
        let mut seen: Vec<_> = all.iter().map(Request::fingerprint).collect();
        assert_eq!(all[0].fingerprint(), post().fingerprint());
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), all.len());
    }
}
