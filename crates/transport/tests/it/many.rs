//! Many requests at once: those that look for a connection hold nobody up.

use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use inflight_core::{Method, Request, RequestStatus, SessionLimits};
use tokio::net::{TcpListener, TcpSocket};

use crate::server::{PATIENCE, RawServer, Rig, ok, post};

/// A server whose system drops all further attempts to connect: its queue is full, and nobody takes from it.
fn full() -> (String, TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
        queued.push(stream);
    }
    (format!("http://{address}"), listener, queued)
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_holds_up_no_other() {
    const UNREACHABLE: usize = 200;
    let (url, _listener, _queued) = full();
    let server = RawServer::answering(ok("{}"));
    let rig = Rig::with(server.url(), |builder| {
        builder.concurrency(1_000).drain_limit(Duration::ZERO)
    });
    let session = rig.registry.session_with(SessionLimits {
        pending: 1_000,
        unsent: 1_000,
    });
    let stuck: Vec<_> = (0..UNREACHABLE)
        .map(|_| Request::new(Method::Post, format!("{url}/v1/products")).attempt_timeout(PATIENCE * 2))
        .map(|request| session.submit(request).unwrap())
        .collect();
    let others: Vec<_> = (0..UNREACHABLE).map(|_| session.submit(post()).unwrap()).collect();
    for id in others {
        let ended = tokio::time::timeout(PATIENCE, session.wait_async(id).unwrap()).await;
        assert!(ended.expect("nothing holds it up").is_ok());
    }
    for id in stuck {
        assert_eq!(session.status(id).unwrap(), RequestStatus::Pending);
    }
}

/// However many look for a connection at once: in the end all are under way at the same time.
#[test]
fn as_many_are_under_way_as_may_be() {
    const ALL: usize = 200;
    let together = Arc::new(Barrier::new(ALL));
    let server = RawServer::start(move |connection| {
        connection.read_request();
        together.wait();
        connection.write(ok("{}").as_bytes());
    });
    let rig = Rig::with(server.url(), |builder| {
        builder.concurrency(ALL).attempt_timeout(PATIENCE)
    });
    let ids: Vec<_> = (0..ALL).map(|_| rig.registry.submit(post()).unwrap()).collect();
    for id in ids {
        rig.outcome_of(id).unwrap();
    }
    assert_eq!(server.connections(), ALL);
}
