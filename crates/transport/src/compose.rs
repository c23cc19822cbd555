//! From a request as plain data to what the HTTP client sends.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{BufMut, BytesMut};
use inflight_core::{Credential, Credentials, Effect, Failure, FailureKind, Method, Request, RequestId};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};

use crate::body::{Begun, WatchedBody};
use crate::target::{BaseUrl, BaseUrlError, invalid, resolve, server_of};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Headers that a request may not bring: the worker's own, and those that say where a message ends or who gets it.
const RESERVED_HEADERS: [&str; 8] = [
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "proxy-authorization",
    "transfer-encoding",
];

/// How many endpoints of credentials are kept parsed.
const KNOWN_ENDPOINTS: usize = 64;

/// Gives the headers that one attempt is sent with beside its request's own: names and values.
pub type AttemptHeaders = dyn Fn() -> Vec<(&'static str, String)> + Send + Sync;

/// What is sent, and to which server.
pub(crate) struct Outgoing {
    pub(crate) request: reqwest::Request,
    pub(crate) server: Arc<str>,
}

/// Turns requests into what is sent.
pub(crate) struct Composer {
    base: Arc<BaseUrl>,
    credentials: Option<Arc<dyn Credentials>>,
    attempt_headers: Option<Arc<AttemptHeaders>>,
    endpoints: Mutex<HashMap<Arc<str>, Arc<BaseUrl>>>,
}

impl Composer {
    pub(crate) fn new(
        base: BaseUrl,
        credentials: Option<Arc<dyn Credentials>>,
        attempt_headers: Option<Arc<AttemptHeaders>>,
    ) -> Self {
        Self {
            base: Arc::new(base),
            credentials,
            attempt_headers,
            endpoints: Mutex::default(),
        }
    }

    /// One attempt of the request. `begun` tells later whether it has begun to leave.
    pub(crate) fn compose(&self, id: RequestId, request: &Request, begun: &Begun) -> Result<Outgoing, Failure> {
        let credential = self.credential(request)?;
        let base = self.base_of(credential.as_ref())?;
        let url = resolve(&request.target, &base, credential.is_some())?;
        let mut outgoing = reqwest::Request::new(method_of(request.method), url);
        self.set_headers(outgoing.headers_mut(), id, request, credential.as_ref())?;
        *outgoing.body_mut() = Some(body_of(request, begun));
        let server = server_of(&request.target, &base);
        Ok(Outgoing {
            request: outgoing,
            server,
        })
    }

    /// The server that the request would be sent to now, if it could be sent at all.
    pub(crate) fn server(&self, request: &Request) -> Option<Arc<str>> {
        let credential = if request.credential.is_some() {
            Some(self.known_credential(request)?)
        } else {
            None
        };
        let base = self.base_of(credential.as_ref()).ok()?;
        Some(server_of(&request.target, &base))
    }

    /// The credential of the request, if it names one that is known. A look-up that panics, against its contract, finds none: the
    /// attempt will say so.
    pub(crate) fn known_credential(&self, request: &Request) -> Option<Credential> {
        catch_unwind(AssertUnwindSafe(|| self.credential(request))).ok()?.ok()?
    }

    fn base_of(&self, credential: Option<&Credential>) -> Result<Arc<BaseUrl>, Failure> {
        match credential.and_then(|credential| credential.endpoint.as_ref()) {
            Some(endpoint) => self.endpoint(endpoint),
            None => Ok(Arc::clone(&self.base)),
        }
    }

    fn credential(&self, request: &Request) -> Result<Option<Credential>, Failure> {
        let Some(name) = &request.credential else {
            return Ok(None);
        };
        match self.credentials.as_ref().and_then(|known| known.resolve(name)) {
            Some(credential) => Ok(Some(credential)),
            None => Err(Failure::new(
                FailureKind::Credential,
                Effect::None,
                format!("no credential is named {name:?}"),
            )),
        }
    }

    fn endpoint(&self, text: &Arc<str>) -> Result<Arc<BaseUrl>, Failure> {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = endpoints.get(text) {
            return Ok(Arc::clone(known));
        }
        let parsed = Arc::new(BaseUrl::parse(text).map_err(|error| unusable_endpoint(&error))?);
        if endpoints.len() >= KNOWN_ENDPOINTS {
            endpoints.clear();
        }
        endpoints.insert(Arc::clone(text), Arc::clone(&parsed));
        Ok(parsed)
    }

    fn set_headers(
        &self,
        headers: &mut HeaderMap,
        id: RequestId,
        request: &Request,
        credential: Option<&Credential>,
    ) -> Result<(), Failure> {
        headers.reserve(request.headers.len() + 3);
        for (name, value) in &request.headers {
            append(headers, name, value)?;
        }
        let further = self.attempt_headers.as_ref().map(|give| give()).unwrap_or_default();
        for (name, value) in &further {
            append(headers, name, value)?;
        }
        if let Some(credential) = credential {
            headers.insert(AUTHORIZATION, bearer(credential)?);
        }
        if let Some(body) = &request.body {
            headers.insert(CONTENT_TYPE, value_of("content-type", &body.content_type)?);
        }
        // hyper leaves the length of an empty body out, and some servers then answer 411.
        if is_bodiless(request) && matches!(request.method, Method::Post | Method::Put | Method::Patch) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some(key) = request.idempotency_key.text(id) {
            headers.insert(IDEMPOTENCY_KEY, value_of("idempotency-key", &key)?);
        }
        Ok(())
    }
}

fn append(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Failure> {
    let header = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| invalid(format!("{name:?} is not the name of a header")))?;
    if RESERVED_HEADERS.contains(&header.as_str()) {
        return Err(invalid(format!("the header {header} is the worker's to set")));
    }
    headers.append(header, value_of(name, value)?);
    Ok(())
}

fn is_bodiless(request: &Request) -> bool {
    request.body.as_ref().is_none_or(|body| body.bytes.is_empty())
}

fn body_of(request: &Request, begun: &Begun) -> reqwest::Body {
    let bytes = request.body.as_ref().map(|body| body.bytes.clone());
    reqwest::Body::wrap(WatchedBody::new(bytes.unwrap_or_default(), begun.clone()))
}

fn bearer(credential: &Credential) -> Result<HeaderValue, Failure> {
    let secret = credential.secret.expose();
    let mut text = BytesMut::with_capacity(secret.len() + 7);
    text.put_slice(b"Bearer ");
    text.put_slice(secret.as_bytes());
    // Stricter than HTTP is: a key with a blank or an accent in it is a mistake, and is best named as one.
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable_secret());
    }
    let mut value = HeaderValue::from_maybe_shared(text.freeze()).map_err(|_| unusable_secret())?;
    value.set_sensitive(true);
    Ok(value)
}

fn unusable_secret() -> Failure {
    Failure::new(
        FailureKind::Credential,
        Effect::None,
        "the credential's secret cannot be sent in a header: it is empty or holds a blank, a control character or an accent",
    )
}

fn unusable_endpoint(error: &BaseUrlError) -> Failure {
    Failure::new(
        FailureKind::Credential,
        Effect::None,
        format!("the credential's endpoint cannot be used: {error}"),
    )
    .with_source(error.clone())
}

fn value_of(name: &str, value: &str) -> Result<HeaderValue, Failure> {
    HeaderValue::from_str(value).map_err(|error| {
        invalid(format!("the value of the header {name:?} holds what a header cannot")).with_source(error)
    })
}

fn method_of(method: Method) -> reqwest::Method {
    match method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Patch => reqwest::Method::PATCH,
        Method::Delete => reqwest::Method::DELETE,
    }
}
