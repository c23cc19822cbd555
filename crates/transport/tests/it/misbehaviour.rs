//! Servers that do wrong: each a typed failure with its cause, and with what it means for the other side.

use std::error::Error;
use std::sync::mpsc;
use std::time::Duration;

use inflight_core::{Effect, Failure, FailureKind, Request, RequestStatus};

use crate::server::{Connection, PATIENCE, RawServer, Rig, assert_kind, dead_url, get, ok, post};

/// A mutation and a read fail with this kind; the mutation with this effect, the read with none, both with a cause.
fn check(serve: impl Fn(&mut Connection) + Send + Sync + 'static, kind: FailureKind, effect: Effect) {
    let server = RawServer::start(serve);
    let rig = Rig::with(server.url(), |b| b.attempt_timeout(PATIENCE));
    for (request, effect) in [(post(), effect), (get(), Effect::None)] {
        let failure = rig.failure(request);
        assert_kind(&failure, kind.clone());
        assert_eq!(failure.effect, effect, "{failure:?}");
        assert_eq!(failure.needs_reconcile, effect == Effect::Unknown);
        assert!(failure.source().is_some(), "{failure:?}");
    }
}

#[test]
fn nobody_listens() {
    let failure = Rig::new(dead_url()).failure(post());
    assert_kind(&failure, FailureKind::Connect);
    assert_eq!((failure.effect, failure.retryable), (Effect::None, true));
    assert!(failure.source().is_some());
    assert!(failure.message.contains("refused"), "{}", failure.message);
}

#[test]
fn the_name_of_the_host_is_unknown() {
    let failure = Rig::new("http://no-such-host.invalid").failure(post());
    assert_kind(&failure, FailureKind::Connect);
    assert_eq!(failure.effect, Effect::None);
}

#[test]
fn the_connection_is_reset() {
    check(Connection::reset, FailureKind::Connection, Effect::Unknown);
}

#[test]
fn the_connection_is_closed_instead_of_an_answer() {
    let close = |connection: &mut Connection| drop(connection.read_request());
    check(close, FailureKind::Connection, Effect::Unknown);
}

#[test]
fn the_connection_is_closed_within_the_head() {
    let half = |connection: &mut Connection| {
        connection.read_request();
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-le");
    };
    check(half, FailureKind::Connection, Effect::Unknown);
}

#[test]
fn the_connection_is_closed_within_the_body() {
    let half = |connection: &mut Connection| {
        connection.read_request();
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"id\":");
    };
    check(half, FailureKind::Connection, Effect::Unknown);
}

#[test]
fn the_answer_is_not_http() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\n",
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnot a length\r\n",
    ] {
        let answer = move |connection: &mut Connection| {
            connection.read_request();
            connection.write(garbage.as_bytes());
        };
        check(answer, FailureKind::InvalidResponse, Effect::Unknown);
    }
}

#[test]
fn the_head_never_ends() {
    let endless = |connection: &mut Connection| {
        connection.read_request();
        let header = format!("x: {}\r\n", "y".repeat(1000));
        connection.write(format!("HTTP/1.1 200 OK\r\n{}", header.repeat(1000)).as_bytes());
    };
    check(endless, FailureKind::InvalidResponse, Effect::Unknown);
}

#[test]
fn the_body_is_announced_too_large() {
    let (closed, hung_up) = mpsc::channel();
    let server = RawServer::start(move |connection| {
        connection.read_request();
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n");
        connection.wait_for_close();
        let _ = closed.send(());
    });
    let rig = Rig::with(server.url(), |b| b.max_body(100_000));
    too_large(&rig.failure(post()));
    hung_up.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn the_body_never_ends() {
    let (closed, hung_up) = mpsc::channel();
    let server = RawServer::start(move |connection| {
        use std::io::Write;
        connection.read_request();
        connection.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
        while connection.stream.write_all(chunk.as_bytes()).is_ok() {}
        let _ = closed.send(());
    });
    let rig = Rig::with(server.url(), |b| b.max_body(100_000));
    too_large(&rig.failure(post()));
    hung_up.recv_timeout(PATIENCE).unwrap();
}

fn too_large(failure: &Failure) {
    assert_kind(failure, FailureKind::BodyTooLarge);
    assert_eq!(failure.effect, Effect::Unknown);
    assert!(failure.message.contains("100000"), "{failure}");
}

#[test]
fn a_body_of_exactly_the_limit_is_taken() {
    let server = RawServer::answering(ok(&"x".repeat(1000)));
    let rig = Rig::with(server.url(), |b| b.max_body(1000));
    assert_eq!(rig.success(post()).response.body.len(), 1000);
}

fn silent_server() -> RawServer {
    RawServer::start(|connection| {
        connection.read_request();
        connection.wait_for_close();
    })
}

#[test]
fn no_answer_comes_within_the_attempts_time() {
    let server = silent_server();
    let rig = Rig::new(server.url());
    for (request, effect) in [(post(), Effect::Unknown), (get(), Effect::None)] {
        let failure = server.with_time_to_arrive(|time| rig.failure(request.clone().attempt_timeout(time)));
        assert_kind(&failure, FailureKind::AttemptTimeout);
        assert_eq!((failure.effect, failure.retryable), (effect, true));
        assert!(failure.source().is_some());
    }
}

#[test]
fn the_answer_trickles() {
    let trickle = |connection: &mut Connection| {
        use std::io::Write;
        connection.read_request();
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
        // Paced by nothing but the reader: each byte is its own segment.
        connection.stream.set_nodelay(true).unwrap();
        while connection.stream.write_all(b"x").is_ok() {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    };
    let server = RawServer::start(trickle);
    let rig = Rig::new(server.url());
    let failure = server.with_time_to_arrive(|time| rig.failure(post().attempt_timeout(time)));
    assert_kind(&failure, FailureKind::AttemptTimeout);
    assert_eq!(failure.effect, Effect::Unknown);
}

#[test]
fn no_answer_comes_before_the_deadline() {
    let server = silent_server();
    let rig = Rig::new(server.url());
    for (request, effect) in [(post(), Effect::Unknown), (get(), Effect::None)] {
        let (id, failure) = server.with_time_to_arrive(|time| {
            let id = rig.registry.submit(request.clone().deadline(time)).unwrap();
            (id, rig.outcome_of(id).unwrap_err())
        });
        assert_kind(&failure, FailureKind::Deadline);
        assert_eq!(failure.effect, effect);
        assert_eq!(rig.registry.status(id), Some(RequestStatus::Timeout));
    }
}

/// Nothing has left while the connection is still being made, so an attempt that runs out then has had no effect.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_connection_is_never_accepted() {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    // With a full backlog Linux drops further attempts to connect.
    let mut backlog = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        backlog.push(stream);
    }
    let rig = Rig::new(format!("http://{address}"));
    let failed = |request: Request| {
        let id = rig.registry.submit(request).unwrap();
        let ended = rig.registry.wait_async(id).unwrap();
        async { (*ended.await).clone().unwrap_err() }
    };
    let failure = failed(post().attempt_timeout(Duration::from_millis(50))).await;
    assert_kind(&failure, FailureKind::AttemptTimeout);
    assert_eq!(failure.effect, Effect::None);
    let failure = failed(post().deadline(Duration::from_millis(50))).await;
    assert_kind(&failure, FailureKind::Deadline);
    assert_eq!(failure.effect, Effect::None);
}

#[test]
fn a_kept_connection_that_the_server_closes_is_not_used_again() {
    let (closed, was_closed) = mpsc::channel();
    let server = RawServer::start(move |connection| {
        connection.read_request();
        connection.write(ok("{}").as_bytes());
        // The client has noticed once it closes its own side.
        connection.stop_sending();
        connection.wait_for_close();
        let _ = closed.send(());
    });
    let rig = Rig::new(server.url());
    for _ in 0..50 {
        rig.success(post());
        was_closed.recv_timeout(PATIENCE).unwrap();
    }
    assert_eq!(server.connections(), 50);
}

#[test]
fn an_absurd_timeout_is_no_timeout() {
    let server = RawServer::answering(ok("{}"));
    let rig = Rig::with(server.url(), |b| b.attempt_timeout(Duration::MAX));
    rig.success(post().deadline(Duration::MAX));
    let failure = rig.failure(post().deadline(Duration::ZERO));
    assert_kind(&failure, FailureKind::Deadline);
    assert_eq!(failure.effect, Effect::None);
}
