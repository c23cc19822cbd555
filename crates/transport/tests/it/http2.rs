//! HTTP/2 by prior knowledge.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use inflight_core::{Effect, FailureKind, IdempotencyKey};

use crate::server::{RawServer, Rig, assert_kind, ok, post};

type Incoming = Request<hyper::body::Incoming>;

/// Answers with what it was sent.
async fn echo(request: Incoming) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.version(), Version::HTTP_2);
    assert!(request.headers().contains_key("idempotency-key"));
    let body = request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes);
    Ok(Response::new(Full::new(body.unwrap_or_default())))
}

/// A server on a thread of its own; counts its connections.
fn echo_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let serve = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(echo));
                tokio::spawn(serve);
            }
        });
    });
    (address, connections)
}

#[test]
fn many_requests_share_a_connection() {
    let (address, connections) = echo_server();
    let rig = Rig::with(format!("http://{address}"), |b| b.http2_prior_knowledge(true));
    let ids: Vec<_> = (0..100)
        .map(|number| {
            let request = post()
                .idempotency_key(IdempotencyKey::Generated)
                .body("text/plain", format!("number {number}"));
            rig.registry.submit(request).unwrap()
        })
        .collect();
    for (number, id) in ids.into_iter().enumerate() {
        let success = rig.outcome_of(id).unwrap();
        assert_eq!(success.response.body, format!("number {number}"));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}

#[test]
fn a_server_that_knows_no_http2_is_a_failure() {
    let server = RawServer::answering(ok("{}"));
    let rig = Rig::with(server.url(), |b| b.http2_prior_knowledge(true));
    let failure = rig.failure(post());
    assert_kind(&failure, FailureKind::Connection);
    assert_eq!(failure.effect, Effect::Unknown);
}
