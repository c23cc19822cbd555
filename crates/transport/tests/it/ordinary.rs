//! What the worker sends and brings back from a server that behaves.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use inflight_core::{Body, Effect, FailureKind, IdempotencyKey, Method, Priority, Registry, Request};
use wiremock::matchers::{body_string, header, header_exists, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::server::{PATIENCE, RawServer, Rig, assert_kind, get, ok, post, start};

#[tokio::test]
async fn a_request_arrives_as_it_was_described() {
    let server = MockServer::start().await;
    Mock::given(method("POST"))
        .and(path("/proxy/v1/products"))
        .and(query_param("expand[]", "default_price"))
        .and(header("content-type", "application/x-www-form-urlencoded"))
        .and(header("stripe-version", "2026-01-01"))
        .and(header("user-agent", "the test"))
        .and(header_exists("idempotency-key"))
        .and(body_string("name=Mug"))
        .respond_with(ResponseTemplate::new(201).set_body_string("{\"id\":\"prod_1\"}"))
        .mount(&server)
        .await;
    let rig = Rig::with(format!("{}/proxy/", server.uri()), |b| b.user_agent("the test"));

    let mut request = post()
        .header("Stripe-Version", "2026-01-01")
        .idempotency_key(IdempotencyKey::Generated);
    request.target = "/v1/products?expand[]=default_price".into();
    let id = rig.registry.submit(request).unwrap();
    let outcome = rig.registry.wait_async(id).unwrap().await;

    let response = &outcome.as_ref().as_ref().unwrap().response;
    assert_eq!(
        (response.status, &response.body[..]),
        (201, &b"{\"id\":\"prod_1\"}"[..])
    );
    assert!(response.header("date").is_none(), "only kept headers are copied");
    let sent = &server.received_requests().await.unwrap()[0];
    assert_eq!(sent.headers["idempotency-key"], id.to_string().as_str());
    for absent in ["authorization", "cookie", "referer", "accept-encoding"] {
        assert!(!sent.headers.contains_key(absent), "{absent}");
    }
}

#[test]
fn every_method_is_sent_and_an_empty_body_has_a_length() {
    let server = RawServer::answering(ok("{}"));
    let rig = Rig::new(server.url());
    for method in [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete] {
        assert_eq!(rig.success(Request::new(method, "/v1/x")).response.status, 200);
        let sent = server.received().pop().unwrap().to_lowercase();
        assert!(sent.starts_with(&format!("{} /v1/x http/1.1\r\n", method.as_str().to_lowercase())));
        let wants_length = matches!(method, Method::Post | Method::Put | Method::Patch);
        assert!(!wants_length || sent.contains("content-length: 0\r\n"), "{sent}");
        assert!(!sent.contains("transfer-encoding"), "{sent}");
    }
    assert_eq!(server.connections(), 1, "the connection is kept alive");
}

#[test]
fn a_status_is_an_answer_and_a_redirect_is_not_followed() {
    for (status, effect) in [(404, Effect::None), (500, Effect::Unknown), (302, Effect::Unknown)] {
        let server = RawServer::answering(format!(
            "HTTP/1.1 {status} X\r\nlocation: /elsewhere\r\ncontent-length: 2\r\n\r\n{{}}"
        ));
        let failure = Rig::new(server.url()).failure(post());
        assert_kind(&failure, FailureKind::Http);
        assert_eq!((failure.status(), failure.effect), (Some(status), effect));
        assert_eq!(failure.response.unwrap().header("location"), Some("/elsewhere"));
        assert_eq!(server.received().len(), 1);
    }
}

#[test]
fn a_body_that_is_no_json_is_the_policys_to_judge() {
    let server = RawServer::answering(ok("<html>not json</html>"));
    let success = Rig::new(server.url()).success(get());
    assert_eq!(&success.response.body[..], b"<html>not json</html>");
}

#[test]
fn chunked_bodies_are_joined() {
    let chunk = "x".repeat(20_000);
    let mut answer = String::from("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    for _ in 0..10 {
        answer += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
    }
    answer += "0\r\n\r\n";
    let server = RawServer::answering(answer);
    assert_eq!(Rig::new(server.url()).success(get()).response.body.len(), 200_000);
}

#[test]
fn malformed_requests_fail_before_anything_is_sent() {
    let server = RawServer::answering(ok("{}"));
    let rig = Rig::new(server.url());
    let mut accent = post();
    accent.body = Some(Body {
        content_type: "text/\u{e9}\n".into(),
        bytes: "".into(),
    });
    for request in [
        Request::new(Method::Post, "v1/products"),
        Request::new(Method::Post, "//evil.test/"),
        Request::new(Method::Post, "ftp://evil.test/"),
        post().header("a b", "c"),
        post().header("x", "a\r\nb: c"),
        post().header("Authorization", "Bearer x"),
        post().header("Content-Length", "3"),
        post().header("transfer-encoding", "chunked"),
        post().idempotency_key(IdempotencyKey::Given("a\nb".into())),
        accent,
    ] {
        let failure = rig.failure(request);
        assert_kind(&failure, FailureKind::InvalidRequest);
        assert_eq!(failure.effect, Effect::None);
    }
    assert_eq!(server.connections(), 0);
}

#[test]
fn as_many_as_the_limit_run_at_once_and_no_more() {
    const LIMIT: usize = 8;
    const REQUESTS: usize = 12 * LIMIT;
    let (present, most) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    // Nobody is answered before there are as many as the limit allows.
    let together = Barrier::new(LIMIT);
    let server = RawServer::start(move |connection| {
        while connection.read_request().is_some() {
            seen.fetch_max(present.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            together.wait();
            present.fetch_sub(1, Ordering::SeqCst);
            connection.write(ok("{}").as_bytes());
        }
    });
    let rig = Rig::with(server.url(), |b| b.concurrency(LIMIT));
    let ids: Vec<_> = (0..REQUESTS).map(|_| rig.registry.submit(post()).unwrap()).collect();
    for id in ids {
        assert!(rig.outcome_of(id).is_ok());
    }
    assert_eq!(most.load(Ordering::SeqCst), LIMIT);
    assert_eq!(server.received().len(), REQUESTS);
}

#[test]
fn with_every_slot_taken_queued_requests_still_time_out_and_can_be_cancelled() {
    let server = RawServer::start(|connection| {
        connection.read_request();
        connection.wait_for_close();
    });
    let (registry, queue) = Registry::builder().queue_capacity(3).build();
    let worker = start(server.url(), queue, |b| b.concurrency(1));
    let stuck = registry.submit(post()).unwrap();
    inflight_core::block_on(registry.room(3));

    let overdue = registry.submit(post().deadline(Duration::from_millis(30))).unwrap();
    let outcome = registry.wait(overdue, Some(PATIENCE)).unwrap();
    let failure = (*outcome).clone().unwrap_err();
    assert_eq!((failure.kind, failure.effect), (FailureKind::Deadline, Effect::None));

    // Cancelled requests leave the queue, so that there is room for others.
    for _ in 0..20 {
        let id = inflight_core::block_on(registry.root().submit_when_room(post())).unwrap();
        assert_eq!(registry.cancel(id), Some(true));
    }
    inflight_core::block_on(registry.room(3));
    assert_eq!(registry.is_complete(stuck), Some(false));
    worker.shutdown(Duration::ZERO);
}

#[test]
fn what_was_queued_before_the_worker_started_is_sent_by_priority() {
    let server = RawServer::answering(ok("{}"));
    let (registry, queue) = Registry::new();
    for priority in [Priority::Low, Priority::Normal, Priority::High] {
        let target = format!("/{}", priority.as_str());
        registry
            .submit(Request::new(Method::Get, target).priority(priority))
            .unwrap();
    }
    let _worker = start(server.url(), queue, |b| b.concurrency(1));
    inflight_core::block_on(registry.root().drained());
    let order: Vec<_> = server.received().iter().map(|r| r[5..8].to_owned()).collect();
    assert_eq!(order, ["hig", "nor", "low"]);
}

#[test]
fn an_unusable_configuration_is_a_typed_error() {
    use inflight_transport::{StartError, Worker};
    let start = |configure: fn(inflight_transport::WorkerBuilder) -> inflight_transport::WorkerBuilder| {
        let (registry, queue) = Registry::new();
        let id = registry.submit(post()).unwrap();
        let error = configure(Worker::builder()).start(queue).unwrap_err();
        assert!(registry.is_complete(id).unwrap(), "what was submitted is answered");
        error
    };
    assert!(matches!(
        start(|b| b.base_url("api.stripe.com")),
        StartError::BaseUrl { .. }
    ));
    assert!(
        matches!(start(|b| b), StartError::BaseUrl { .. }),
        "nothing goes anywhere by default"
    );
    let unsendable = start(|b| b.base_url("http://127.0.0.1:9").user_agent("a\nb"));
    assert!(matches!(unsendable, StartError::UserAgent(_)));
}
