//! A small HTTP server for what this program shows of itself: on a thread of its own, with a bound on everything that a client
//! can make it hold.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

/// How large all headers of one request may be. The least that hyper takes.
const HEADERS_MAX: usize = 8 << 10;
/// How long a client may take to send a request's headers, and how long it may keep a connection without a request.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How many connections are open at once. For a further one the oldest goes that has not been trusted.
const CONNECTIONS_MAX: usize = 128;
/// How long those who may ask have to receive what was sent, when the server stops.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// The pause after a connection could not be accepted, when the process has no descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// An address at which nothing can be served.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be served at {address}: {source}")]
pub(crate) struct ListenError {
    what: &'static str,
    address: SocketAddr,
    source: io::Error,
}

impl ListenError {
    pub(crate) fn of(what: &'static str, address: SocketAddr, source: io::Error) -> Self {
        Self { what, address, source }
    }
}

/// What is sent back.
pub(crate) type Answer = Response<Body>;

/// Answers requests. It runs on the server's thread.
pub(crate) trait Handler: Send + Sync + 'static {
    /// The answer to this request. `trust` is told where the client has shown that it may ask.
    fn handle(&self, request: Request<Incoming>, trust: &Trust) -> impl Future<Output = Answer> + Send;
}

/// Whether the client of a connection may ask.
#[derive(Debug, Default)]
pub(crate) struct Trust(AtomicBool);

impl Trust {
    /// It may: its connection is not closed for another's sake.
    pub(crate) fn grant(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_granted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body: a whole one, or one that goes on.
pub(crate) enum Body {
    Whole(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => bytes.take(),
            Self::Stream(receiver) => std::task::ready!(receiver.poll_recv(cx)),
        };
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// An answer with a whole body. Nothing of what this program shows may be kept by anyone.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Body::Whole(Some(body.into())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}

/// A plain line of text.
pub(crate) fn text(status: StatusCode, line: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", format!("{line}\n"))
}

/// A server that serves until it is dropped.
pub(crate) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens, and serves on a thread of its own. The handler is made when the address is known.
    pub(crate) fn start<H: Handler>(address: SocketAddr, handler: impl FnOnce(SocketAddr) -> H) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _entered = runtime.enter();
            TcpListener::from_std(listener)?
        };
        let handler = Arc::new(handler(address));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("inflight-page".into())
            .spawn(move || {
                runtime.block_on(async {
                    let open = Arc::default();
                    tokio::select! {
                        () = stopped.cancelled() => {}
                        () = serve(listener, handler, &open) => {}
                    }
                    let _ = tokio::time::timeout(LAST_WORDS, open.none_trusted()).await;
                });
            })?;
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // Its panic has been reported where it happened, and costs the run nothing.
            let _ = thread.join();
        }
    }
}

/// The open connections, the oldest first.
#[derive(Default)]
struct Connections {
    open: Mutex<BTreeMap<u64, Connection>>,
    closed: Notify,
}

#[derive(Clone, Default)]
struct Connection {
    trust: Arc<Trust>,
    close: CancellationToken,
}

impl Connections {
    /// A place for a further connection, or none.
    fn admit(&self, number: u64) -> Option<Connection> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= CONNECTIONS_MAX {
            let oldest = open.iter().find(|(_, connection)| !connection.trust.is_granted());
            let number = *oldest?.0;
            if let Some(connection) = open.remove(&number) {
                connection.close.cancel();
            }
        }
        let connection = Connection::default();
        open.insert(number, connection.clone());
        Some(connection)
    }

    fn remove(&self, number: u64) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        self.closed.notify_one();
    }

    /// Waits until nobody is connected who may ask.
    async fn none_trusted(&self) {
        let trusted = || {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.values().any(|connection| connection.trust.is_granted())
        };
        while trusted() {
            self.closed.notified().await;
        }
    }
}

async fn serve(listener: TcpListener, handler: Arc<impl Handler>, open: &Arc<Connections>) {
    let mut number = 0;
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        number += 1;
        let Some(connection) = open.admit(number) else { continue };
        let (open, handler) = (Arc::clone(open), Arc::clone(&handler));
        tokio::spawn(async move {
            tokio::select! {
                () = connection.close.cancelled() => {}
                () = converse(stream, &connection.trust, &*handler) => {}
            }
            open.remove(number);
        });
    }
}

async fn converse(stream: TcpStream, trust: &Trust, handler: &impl Handler) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| async { Ok::<_, Infallible>(handler.handle(request, trust).await) });
    // A malformed request ends its connection and nothing else.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_TIMEOUT)
        .max_buf_size(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
