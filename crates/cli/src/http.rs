//! A small HTTP server for what an operator looks at. One request a connection, and everything is bounded.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How many connections are open at once. Further ones wait in the operating system's list.
const CONNECTIONS_MAX: usize = 32;
/// How large a request's line and headers may be.
const HEADERS_MAX: usize = 16 << 10;
/// How long a client may take to send them.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may last in all, so that a client that does not read keeps none.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a connection could not be accepted, when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub(crate) struct ListenError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Takes the address, before there is a runtime.
pub(crate) fn listen(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| ListenError { address, source })
}

/// Answers requests until it is dropped, and with it every connection.
pub(crate) async fn serve<H>(listener: TcpListener, handler: H) -> std::io::Result<()>
where
    H: Fn(&Request<Incoming>) -> Response<Full<Bytes>> + Clone + Send + 'static,
{
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return Ok(());
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let handler = handler.clone();
        connections.spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = handler(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(HEADERS_TIMEOUT)
                .max_buf_size(HEADERS_MAX)
                .keep_alive(false);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            // A client that breaks off or is too slow is not the program's to complain of.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
            drop(place);
        });
    }
}

/// An answer with this text.
pub(crate) fn text(content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The answer to everything that is not there.
pub(crate) fn not_found() -> Response<Full<Bytes>> {
    let mut response = text("text/plain; charset=utf-8", "not found\n");
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
