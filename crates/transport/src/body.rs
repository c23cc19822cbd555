//! A request's body that remembers whether it was asked for.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use crate::seeking::Seeker;

/// Whether a connection has begun to write the request. Until then no byte of it can have reached the other side.
#[derive(Debug, Clone)]
pub(crate) struct Begun(Arc<Attempt>);

#[derive(Debug)]
struct Attempt {
    begun: AtomicBool,
    seeker: Seeker,
}

impl Begun {
    /// Of an attempt that is about to look for a connection.
    pub(crate) fn not_yet(seeker: Seeker) -> Self {
        let begun = AtomicBool::new(false);
        Self(Arc::new(Attempt { begun, seeker }))
    }

    fn set(&self) {
        self.0.begun.store(true, Ordering::Relaxed);
        self.0.seeker.end();
    }

    /// The attempt is over, whoever still has its body.
    pub(crate) fn end(&self) {
        self.0.seeker.end();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed)
    }
}

/// The bytes of one attempt.
///
/// hyper asks a body whether it has ended right before it writes the head, on a connection that is established: that is the
/// only sign it gives that a request leaves. Whoever else asks earlier makes us more careful than need be, never less.
#[derive(Debug)]
pub(crate) struct WatchedBody {
    bytes: Option<Bytes>,
    begun: Begun,
}

impl WatchedBody {
    pub(crate) fn new(bytes: Bytes, begun: Begun) -> Self {
        Self {
            bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            begun,
        }
    }
}

impl http_body::Body for WatchedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.begun.set();
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.begun.set();
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
