//! HTTP/1.1 and HTTP/2 on one port, all on one thread.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::api::{Api, ApiRequest, ApiResponse};
use crate::control::{self, Control, control};
use crate::error::ApiError;
use crate::simulator::{Hook, RequestRecord};
use crate::state::{self, StateError};

/// The largest body that is read.
const BODY_MAX: usize = 1 << 20;
/// How large all headers of one request may be.
const HEADERS_MAX: usize = 64 << 10;
/// How long a client may take to send a request's headers, and again to send its body, unless the builder says otherwise.
pub(crate) const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How many requests one HTTP/2 connection may have in flight.
const STREAMS_MAX: u32 = 10_000;
/// The pause after a connection could not be accepted, when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What the server and the simulator's handle share.
pub(crate) struct Shared {
    /// The server has one thread, so nobody waits for this but someone who inspects the state.
    pub(crate) api: Mutex<Api>,
    pub(crate) hook: Option<Hook>,
    pub(crate) read_timeout: Duration,
    /// Where the state is kept from one run to the next.
    pub(crate) state: Option<PathBuf>,
}

impl Shared {
    pub(crate) fn api(&self) -> MutexGuard<'_, Api> {
        self.api.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the state to its file. `false` if it has none.
    pub(crate) fn save(&self) -> Result<bool, StateError> {
        let Some(path) = &self.state else { return Ok(false) };
        let text = self.api().save()?;
        state::write(path, &text).map(|()| true)
    }

    fn control(&self, asked: Control) -> Result<serde_json::Value, ApiError> {
        match asked {
            Control::Health => Ok(json!({ "status": "ok" })),
            Control::Stats => Ok(control::stats(&self.api())),
            Control::Reset => {
                self.api().reset();
                Ok(json!({ "reset": true }))
            }
            Control::Save => match self.save() {
                Ok(saved) => Ok(json!({ "saved": saved })),
                Err(error) => Err(ApiError::invalid(error.to_string()).status(500)),
            },
        }
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&shared)))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    // Answers are small; a client must not wait for them to be collected.
    let _ = stream.set_nodelay(true);
    let mut server = auto::Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.read_timeout)
        .max_buf_size(HEADERS_MAX)
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADERS_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX);
    let asked = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request| {
        asked.store(true, Ordering::Relaxed);
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(&shared, request).await) }
    });
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // hyper bounds the wait for headers only once it knows which protocol is spoken.
    tokio::select! {
        // A malformed request ends its connection and nothing else.
        _ = &mut serving => return,
        () = tokio::time::sleep(shared.read_timeout) => {}
    }
    if asked.load(Ordering::Relaxed) {
        let _ = serving.await;
    }
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > BODY_MAX as u64 {
        return unread(413, "The request's body is too large.");
    }
    let body = match tokio::time::timeout(shared.read_timeout, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return unread(413, "The request's body is too large."),
        Ok(Err(_)) => return unread(400, "The request's body is malformed."),
        Err(_) => return unread(408, "The request's body took too long."),
    };
    let request = ApiRequest {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        authorization: text(&head.headers, "authorization"),
        content_type: text(&head.headers, "content-type"),
        idempotency_key: text(&head.headers, "idempotency-key"),
        stripe_account: text(&head.headers, "stripe-account"),
        stripe_version: text(&head.headers, "stripe-version"),
        body: &body,
    };
    let response = match control(&request) {
        Some(asked) => control::answer(asked.and_then(|asked| shared.control(asked))),
        None => shared.api().handle(&request, Instant::now()),
    };
    if let Some(hook) = &shared.hook {
        hook(&record(&request, &response));
    }
    if !response.latency.is_zero() {
        tokio::time::sleep(response.latency).await;
    }
    http_response(&request, response)
}

/// A header's text. One that is not text counts as empty: it is there, and it is wrong.
fn text<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

fn record(request: &ApiRequest<'_>, response: &ApiResponse) -> RequestRecord {
    RequestRecord {
        method: request.method.to_owned(),
        path: request.path.to_owned(),
        status: response.status,
        request_id: response.request_id.clone(),
        operation: response.operation,
        replayed: response.replay_of.is_some(),
        latency: response.latency,
    }
}

fn http_response(request: &ApiRequest<'_>, answer: ApiResponse) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    let replayed = answer.replay_of.as_ref().map(|_| "true");
    for (name, value) in [
        ("request-id", Some(answer.request_id.as_str())),
        ("stripe-version", Some(&answer.stripe_version)),
        ("stripe-account", request.stripe_account),
        ("idempotency-key", request.idempotency_key),
        ("idempotent-replayed", replayed),
        ("original-request", answer.replay_of.as_deref()),
    ] {
        // Echoed values came in as headers, so they go out as headers.
        if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// The answer to a request whose body was not read to its end. What is left of it would be taken for the next request.
fn unread(status: u16, message: &str) -> Response<Full<Bytes>> {
    let error = ApiError::invalid(message).status(status);
    let mut response = Response::new(Full::new(error.json().into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
