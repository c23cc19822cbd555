//! Hosts of `https`: bad certificates, none at all, and what is offered to good ones.
//!
//! Where certificates of CAs are looked for is a matter of the environment, so that these tests run themselves again in a
//! process of their own, where it points elsewhere.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{Effect, FailureKind, Method, Request};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, Stream};

use crate::child::run_in_child;
use crate::server::{RawServer, Rig, assert_kind, get, ok, post};

/// Runs the test of this name again, with the machine's CA certificates replaced by those at `certificates`.
fn in_child(test: &str, certificates: &Path) -> bool {
    let certificates = certificates.to_str().unwrap();
    run_in_child(
        test,
        &[("SSL_CERT_FILE", certificates), ("SSL_CERT_DIR", "/nonexistent")],
    )
}

/// A self-signed certificate for 127.0.0.1, and a file of its own that names it as a CA.
fn certificate(file: &str) -> (Arc<ServerConfig>, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    std::fs::write(&path, made.cert.pem()).unwrap();
    (Arc::new(config), path)
}

fn secure_server(config: Arc<ServerConfig>) -> RawServer {
    answering(config, |mut stream| {
        let _ = stream.write_all(ok("{}").as_bytes());
    })
}

fn answering(
    config: Arc<ServerConfig>,
    answer: impl Fn(Stream<'_, ServerConnection, TcpStream>) + Send + Sync + 'static,
) -> RawServer {
    RawServer::start(move |connection| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = Stream::new(&mut tls, &mut connection.stream);
        let mut byte = [0];
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                _ => return,
            }
        }
        answer(stream);
    })
}

fn secure(server: &RawServer) -> String {
    server.url().replace("http:", "https:")
}

#[test]
fn without_any_certificates_plain_hosts_work_and_secure_ones_fail() {
    let test = "tls::without_any_certificates_plain_hosts_work_and_secure_ones_fail";
    if !in_child(test, Path::new("/nonexistent/certificates.pem")) {
        return;
    }
    let server = RawServer::answering(ok("{}"));
    let rig = Rig::new(server.url());
    rig.success(post());
    let failure = rig.failure(Request::new(Method::Post, secure(&server)));
    assert_kind(&failure, FailureKind::Tls);
    assert_eq!(failure.effect, Effect::None);
    assert!(std::error::Error::source(&failure).is_some());
    rig.success(post());
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    // Another self-signed certificate is the only CA that the child knows.
    let (_, other) = certificate("other.pem");
    if !in_child("tls::a_certificate_that_nobody_vouches_for_is_refused", &other) {
        return;
    }
    let (config, _) = certificate("unknown.pem");
    let failure = Rig::new(secure(&secure_server(config))).failure(post());
    assert_kind(&failure, FailureKind::Tls);
    assert_eq!((failure.effect, failure.retryable), (Effect::None, false));
    assert!(failure.message.contains("certificate"), "{failure}");
}

#[test]
fn a_plain_server_behind_a_secure_url_is_a_tls_failure() {
    let (_, other) = certificate("any.pem");
    if !in_child("tls::a_plain_server_behind_a_secure_url_is_a_tls_failure", &other) {
        return;
    }
    let server = RawServer::start(|connection| connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let failure = Rig::new(secure(&server)).failure(post());
    assert_kind(&failure, FailureKind::Tls);
    assert_eq!(failure.effect, Effect::None);
}

#[test]
fn a_handshake_that_hangs_has_no_effect() {
    let (_, other) = certificate("hanging.pem");
    if !in_child("tls::a_handshake_that_hangs_has_no_effect", &other) {
        return;
    }
    let server = RawServer::start(|connection| connection.wait_for_close());
    let rig = Rig::new(secure(&server));
    let failure = rig.failure(post().attempt_timeout(Duration::from_millis(50)));
    assert_kind(&failure, FailureKind::AttemptTimeout);
    assert_eq!(failure.effect, Effect::None);
}

#[test]
fn a_trusted_certificate_is_accepted() {
    // The child makes it again, before it looks for CAs: so it trusts what its own server shows.
    let (config, trusted) = certificate("trusted.pem");
    if !in_child("tls::a_trusted_certificate_is_accepted", &trusted) {
        return;
    }
    let success = Rig::new(secure(&secure_server(config))).success(get());
    assert_eq!(&success.response.body[..], b"{}");
}

#[test]
fn what_breaks_a_secure_connection_under_way_leaves_its_request_in_doubt() {
    let (config, trusted) = certificate("garbled.pem");
    let test = "tls::what_breaks_a_secure_connection_under_way_leaves_its_request_in_doubt";
    if !in_child(test, &trusted) {
        return;
    }
    // A record that is none of this connection's.
    let server = answering(config, |stream| {
        let _ = stream.sock.write_all(&[23, 3, 3, 0, 5, 1, 2, 3, 4, 5]);
    });
    let failure = Rig::new(secure(&server)).failure(post());
    assert_kind(&failure, FailureKind::Connection);
    assert_eq!((failure.effect, failure.retryable), (Effect::Unknown, true));
}
