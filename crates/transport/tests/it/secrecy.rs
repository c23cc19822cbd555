//! The key is sent to the server it belongs to, and appears nowhere else.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::{Credential, FailureKind, IdempotencyKey, MemoryCredentials, Method, Request, Secret};
use inflight_transport::Worker;
use tracing::field::{Field, Visit};

use crate::server::{Connection, RawServer, Rig, assert_kind, dead_url, ok, post, whole_text};

const KEY: &str = "sk_test_MARKED0000000000000000000000";

/// Everything that any library of the process logs through `tracing`.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = write!(self.0.lock().unwrap(), " {field}={value:?}");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

fn credentials(credential: Credential) -> Arc<MemoryCredentials> {
    let known = MemoryCredentials::new();
    known.insert("main", credential);
    Arc::new(known)
}

fn marked() -> Credential {
    Credential::new(Secret::new(KEY))
}

fn with_key(base_url: String, credential: Credential) -> Rig {
    Rig::with(base_url, |b| b.credentials(credentials(credential)).max_body(1000))
}

#[test]
fn the_key_appears_in_no_text() {
    let log = Log::default();
    // Only this process's first subscriber counts, and this is the only test that sets one.
    tracing::subscriber::set_global_default(log.clone()).unwrap();
    let misbehave: [fn(&mut Connection); 6] = [
        Connection::reset,
        |connection| drop(connection.read_request()),
        |connection| connection.wait_for_close(),
        |connection| {
            // What the server sends back is the caller's to read, but must not be quoted by us.
            connection.read_request();
            connection.write(format!("{KEY} {KEY}\r\n\r\n").as_bytes());
        },
        |connection| {
            connection.read_request();
            connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n");
        },
        |connection| {
            connection.read_request();
            connection.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n");
        },
    ];
    let mut texts = String::new();
    for serve in misbehave {
        let server = RawServer::start(serve);
        let rig = with_key(server.url(), marked());
        // Only the server that says nothing is a matter of time.
        let request = post().credential("main").attempt_timeout(Duration::from_millis(200));
        texts += &whole_text(&rig.failure(request));
        texts += &format!("{:?} {:?}", rig.registry, rig.worker);
    }
    for (base_url, request) in [
        (dead_url(), post()),
        (dead_url().replace("http", "https"), post()),
        (dead_url(), Request::new(Method::Post, "//evil.test")),
        (dead_url(), post().header("x\n", "y")),
        (dead_url(), post().header("authorization", "z")),
        (dead_url(), post().idempotency_key(IdempotencyKey::Given("\n".into()))),
        (dead_url(), post().deadline(Duration::ZERO)),
    ] {
        texts += &whole_text(&with_key(base_url, marked()).failure(request.credential("main")));
    }
    for credential in [
        Credential::new(Secret::new(format!("{KEY}\n"))),
        Credential::new(Secret::new(format!("{KEY} {KEY}"))),
        marked().endpoint(format!("http://{KEY}@127.0.0.1")),
        marked().endpoint("nonsense"),
    ] {
        let failure = with_key(dead_url(), credential).failure(post().credential("main"));
        assert_kind(&failure, FailureKind::Credential);
        texts += &whole_text(&failure);
    }
    texts += &format!("{:?}", Worker::builder().credentials(credentials(marked())));
    assert!(!texts.contains("MARKED"), "{texts}");
    let log = log.0.lock().unwrap();
    assert!(!log.contains("MARKED"), "{log}");
}

#[test]
fn the_key_goes_only_to_the_server_it_belongs_to() {
    let (own, other) = (RawServer::answering(ok("{}")), RawServer::answering(ok("{}")));
    let rig = with_key(other.url(), marked().endpoint(own.url()));
    rig.success(post().credential("main"));
    rig.success(Request::new(Method::Post, format!("{}/v1/x", own.url())).credential("main"));
    assert!(
        own.received()
            .iter()
            .all(|text| text.contains(&format!("Bearer {KEY}")))
    );
    assert_eq!(own.received().len(), 2);

    let elsewhere = format!("{}/v1/x", other.url());
    let failure = rig.failure(Request::new(Method::Post, elsewhere.clone()).credential("main"));
    assert_kind(&failure, FailureKind::InvalidRequest);
    assert_eq!(other.connections(), 0);
    rig.success(Request::new(Method::Post, elsewhere));
    assert!(!other.received()[0].to_lowercase().contains("authorization"));
}
