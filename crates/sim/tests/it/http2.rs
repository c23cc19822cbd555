//! HTTP/2 by prior knowledge, on the same port.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use inflight_sim::{Latency, Simulator};
use tokio::net::TcpStream;

#[test]
fn one_connection_carries_many_requests_at_once() {
    let latency = Duration::from_millis(200);
    let simulator = Simulator::builder().latency(Latency::fixed(latency)).start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let begin = Instant::now();
    runtime.block_on(async {
        let stream = TcpStream::connect(simulator.addr()).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let requests: Vec<_> = (0..500)
            .map(|n| {
                let mut sender = sender.clone();
                let request = Request::post(format!("{}/v1/products", simulator.url()))
                    .header("authorization", "Bearer sk_test_1")
                    .header("idempotency-key", n.to_string())
                    .body(Full::new(Bytes::from_static(b"name=Mug")))
                    .unwrap();
                tokio::spawn(async move {
                    sender.ready().await.unwrap();
                    let response = sender.send_request(request).await.unwrap();
                    assert_eq!(response.status(), 200);
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    assert!(body.starts_with(b"{\"id\":\"prod_"));
                })
            })
            .collect();
        for request in requests {
            request.await.unwrap();
        }
    });
    assert_eq!(simulator.counts().effects, 500);
    // One after another they would take 100 seconds.
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}
