//! A TCP server that does what a test tells it, byte by byte, and what the tests share around it.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::{Failure, FailureKind, Method, Outcome, Queue, Registry, Request, RequestId, Success};
use inflight_transport::{Worker, WorkerBuilder};

/// Far beyond what any of these tests takes: it only turns a hang into a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `serve` for every connection, each on a thread of its own.
pub(crate) struct RawServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    /// What has been received, one text for each request.
    received: Arc<Mutex<Vec<String>>>,
}

impl RawServer {
    pub(crate) fn start(serve: impl Fn(&mut Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let received = Arc::new(Mutex::new(Vec::new()));
        let (counted, log) = (Arc::clone(&connections), Arc::clone(&received));
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                counted.fetch_add(1, Ordering::SeqCst);
                let (serve, log) = (Arc::clone(&serve), Arc::clone(&log));
                std::thread::spawn(move || {
                    let mut connection = Connection { stream, log };
                    serve(&mut connection);
                });
            }
        });
        Self {
            address,
            connections,
            received,
        }
    }

    /// Answers every request of every connection with this text.
    pub(crate) fn answering(answer: impl Into<String>) -> Self {
        let answer = answer.into();
        Self::start(move |connection| {
            while connection.read_request().is_some() {
                connection.write(answer.as_bytes());
            }
        })
    }

    /// Does something whose time runs out, with more time until a request has arrived within it: a busy machine may take long
    /// to connect.
    pub(crate) fn with_time_to_arrive<T>(&self, mut attempt: impl FnMut(Duration) -> T) -> T {
        let mut time = Duration::from_millis(50);
        loop {
            let before = self.received().len();
            let ended = attempt(time);
            if self.received().len() > before {
                return ended;
            }
            time *= 2;
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    log: Arc<Mutex<Vec<String>>>,
}

impl Connection {
    /// Reads a whole request, or gives `None` where the client closes.
    pub(crate) fn read_request(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte) {
                Ok(1) => bytes.push(byte[0]),
                _ => return None,
            }
        }
        let head = String::from_utf8_lossy(&bytes).to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).ok()?;
        bytes.extend_from_slice(&body);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.log.lock().unwrap().push(text.clone());
        Some(text)
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        // The client may have hung up, which is often the point.
        let _ = self.stream.write_all(bytes);
    }

    /// Has the connection end with a reset: a system resets one that is closed while received bytes are unread.
    pub(crate) fn reset(&mut self) {
        let _ = self.stream.peek(&mut [0]);
    }

    pub(crate) fn stop_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Blocks until the client closes the connection.
    pub(crate) fn wait_for_close(&mut self) {
        let mut rest = [0; 1024];
        while matches!(self.stream.read(&mut rest), Ok(read) if read > 0) {}
    }
}

/// A 200 with this body.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// An address that nobody listens on.
pub(crate) fn dead_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A registry with its worker.
pub(crate) struct Rig {
    pub(crate) registry: Registry,
    pub(crate) worker: Worker,
}

impl Rig {
    pub(crate) fn new(base_url: impl Into<String>) -> Self {
        Self::with(base_url, |builder| builder)
    }

    pub(crate) fn with(base_url: impl Into<String>, configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder) -> Self {
        let (registry, queue) = Registry::new();
        Self {
            registry,
            worker: start(base_url, queue, configure),
        }
    }

    pub(crate) fn outcome(&self, request: Request) -> Outcome {
        let id = self.registry.submit(request).unwrap();
        self.outcome_of(id)
    }

    pub(crate) fn outcome_of(&self, id: RequestId) -> Outcome {
        (*self.registry.wait(id, Some(PATIENCE)).unwrap()).clone()
    }

    pub(crate) fn success(&self, request: Request) -> Success {
        self.outcome(request).unwrap()
    }

    pub(crate) fn failure(&self, request: Request) -> Failure {
        self.outcome(request).unwrap_err()
    }
}

pub(crate) fn start(
    base_url: impl Into<String>,
    queue: Queue,
    configure: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
) -> Worker {
    configure(Worker::builder().base_url(base_url)).start(queue).unwrap()
}

pub(crate) fn get() -> Request {
    Request::new(Method::Get, "/v1/products")
}

pub(crate) fn post() -> Request {
    Request::new(Method::Post, "/v1/products").body("application/x-www-form-urlencoded", "name=Mug")
}

/// The text of a failure and of all its causes.
pub(crate) fn whole_text(failure: &Failure) -> String {
    let mut text = format!("{failure} {failure:?}");
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        text += &format!(" {error} {error:?}");
        cause = error.source();
    }
    text
}

pub(crate) fn assert_kind(failure: &Failure, kind: FailureKind) {
    assert_eq!(failure.kind, kind, "{failure:?}");
}
