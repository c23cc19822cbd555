//! HTTP/1.1 and HTTP/2 on one port, all on one thread.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::api::{Api, ApiRequest, ApiResponse};
use crate::control::{self, Control, control};
use crate::delivery::AnswerBody;
use crate::error::ApiError;
use crate::faults::Fault;
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
/// How long an answer that never comes keeps its connection.
const HANG: Duration = Duration::from_secs(3600);
/// The pause after a connection could not be accepted, when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// What the server and the simulator's handle share.
pub(crate) struct Shared {
    /// The server has one thread, so nobody waits for this but someone who inspects the state.
    pub(crate) api: Mutex<Api>,
    pub(crate) hook: Option<Hook>,
    pub(crate) read_timeout: Duration,
    /// Set where the server goes away, for how long.
    pub(crate) down: watch::Sender<Duration>,
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
pub(crate) async fn serve(mut listener: TcpListener, shared: Arc<Shared>) {
    let mut down = shared.down.subscribe();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::spawn(connection(stream, Arc::clone(&shared)))),
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Ok(()) = down.changed() => {
                let time = *down.borrow_and_update();
                let Ok(address) = listener.local_addr() else { return };
                drop(listener);
                tokio::time::sleep(time).await;
                listener = listen_again(address).await;
            }
        }
    }
}

/// Another program may have the address for a moment.
async fn listen_again(address: SocketAddr) -> TcpListener {
    loop {
        match crate::simulator::listen(address) {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Why a connection ends without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault resets the connection")]
struct Reset;

/// A second handle to a connection's socket, so that it can be closed with a reset.
fn second_handle(stream: TcpStream) -> std::io::Result<(TcpStream, std::net::TcpStream)> {
    let stream = stream.into_std()?;
    let handle = stream.try_clone()?;
    Ok((TcpStream::from_std(stream)?, handle))
}

async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let mut down = shared.down.subscribe();
    let has_faults = shared.api.lock().unwrap_or_else(PoisonError::into_inner).has_faults();
    let (stream, handle) = if has_faults {
        let Ok((stream, handle)) = second_handle(stream) else {
            return;
        };
        (stream, Some(Arc::new(handle)))
    } else {
        (stream, None)
    };
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
        let (shared, handle) = (Arc::clone(&shared), handle.clone());
        async move {
            let answer = respond(&shared, request).await;
            if answer.is_err()
                && let Some(handle) = handle
            {
                // Closed with a reset, not with an end. Where that cannot be had, an end is a fault as well.
                let _ = socket2::SockRef::from(&*handle).set_linger(Some(Duration::ZERO));
            }
            answer
        }
    });
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    // hyper bounds the wait for headers only once it knows which protocol is spoken.
    tokio::select! {
        // A malformed request ends its connection and nothing else.
        _ = &mut serving => return,
        Ok(()) = down.changed() => return,
        () = tokio::time::sleep(shared.read_timeout) => {}
    }
    if asked.load(Ordering::Relaxed) {
        tokio::select! {
            _ = serving => {}
            Ok(()) = down.changed() => {}
        }
    }
}

async fn respond(shared: &Shared, request: Request<Incoming>) -> Result<Response<AnswerBody>, Reset> {
    let (head, body) = request.into_parts();
    if body.size_hint().lower() > BODY_MAX as u64 {
        return Ok(unread(413, "The request's body is too large."));
    }
    let body = match tokio::time::timeout(shared.read_timeout, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Ok(unread(413, "The request's body is too large.")),
        Ok(Err(_)) => return Ok(unread(400, "The request's body is malformed.")),
        Err(_) => return Ok(unread(408, "The request's body took too long.")),
    };
    let request = ApiRequest {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: head.uri.query().unwrap_or_default(),
        authorization: text(&head.headers, "authorization"),
        content_type: text(&head.headers, "content-type"),
        idempotency_key: text(&head.headers, "idempotency-key"),
        stripe_account: text(&head.headers, "stripe-account"),
        stripe_context: text(&head.headers, "stripe-context"),
        stripe_version: text(&head.headers, "stripe-version"),
        body: &body,
    };
    let response = match control(&request) {
        Some(asked) => {
            let asked = control::check_caller(&head.headers).and(asked);
            control::answer(asked.and_then(|asked| shared.control(asked)))
        }
        None => shared.api().handle(&request, Instant::now()),
    };
    if let Some(hook) = &shared.hook {
        hook(&record(&request, &response));
    }
    if !response.latency.is_zero() {
        tokio::time::sleep(response.latency).await;
    }
    match response.fault {
        Some(Fault::ResetBefore | Fault::ResetAfter) => return Err(Reset),
        Some(Fault::Down(time)) => {
            shared.down.send_replace(time);
            return Err(Reset);
        }
        Some(Fault::Hang) => {
            tokio::time::sleep(HANG).await;
            return Err(Reset);
        }
        None if response.is_conclusive => {
            if let Some(key) = request.idempotency_key {
                shared.api.lock().unwrap_or_else(PoisonError::into_inner).tell(key);
            }
        }
        _ => {}
    }
    Ok(http_response(&request, response))
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

fn http_response(request: &ApiRequest<'_>, answer: ApiResponse) -> Response<AnswerBody> {
    let (body, encoding) = AnswerBody::spoilt(answer.body, answer.fault);
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if let Some((name, value)) = encoding {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let should_retry = answer.should_retry.map(|retry| if retry { "true" } else { "false" });
    let replayed = answer.replay_of.as_ref().map(|_| "true");
    for (name, value) in [
        ("request-id", Some(answer.request_id.as_str())),
        ("stripe-version", Some(&answer.stripe_version)),
        ("stripe-account", request.stripe_account),
        ("idempotency-key", request.idempotency_key),
        ("idempotent-replayed", replayed),
        ("stripe-rate-limited-reason", answer.rate_limited_reason),
        ("stripe-should-retry", should_retry),
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
fn unread(status: u16, message: &str) -> Response<AnswerBody> {
    let error = ApiError::invalid(message).status(status);
    let mut response = Response::new(AnswerBody::whole(error.json().into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
