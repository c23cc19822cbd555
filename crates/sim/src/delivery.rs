//! How an answer reaches the client: whole, or spoilt.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::faults::Fault;

/// In how many pieces a slow body arrives.
const PIECES: u32 = 16;

/// Why an answer ends before its end.
#[derive(Debug, thiserror::Error)]
#[error("a fault ended the connection")]
pub(crate) struct Cut;

/// An answer's body, at once or in pieces, with an end or without.
pub(crate) struct AnswerBody {
    rest: Bytes,
    /// Pieces of so many bytes, each after such a pause.
    pace: Option<(usize, Duration)>,
    sleep: Option<Pin<Box<Sleep>>>,
    is_cut: bool,
    is_flushed: bool,
    /// What `Content-Length` says where that is not true.
    declared: Option<u64>,
}

impl AnswerBody {
    pub(crate) fn whole(bytes: Bytes) -> Self {
        Self {
            rest: bytes,
            pace: None,
            sleep: None,
            is_cut: false,
            is_flushed: false,
            declared: None,
        }
    }

    /// The body as this fault spoils it, and the headers that go with that.
    pub(crate) fn spoilt(bytes: Bytes, fault: Option<Fault>) -> (Self, Option<(&'static str, &'static str)>) {
        let length = bytes.len() as u64;
        let mut body = Self::whole(bytes);
        match fault {
            Some(Fault::HalfBody) => {
                body.declared = Some(length);
                body.rest.truncate(body.rest.len() / 2);
                body.is_cut = true;
            }
            Some(Fault::Slow(time)) => {
                let piece = (body.rest.len() / PIECES as usize).max(1);
                body.pace = Some((piece, time / PIECES));
            }
            Some(Fault::ShortLength) => {
                body.declared = Some(length / 2);
                body.rest.truncate(body.rest.len() / 2);
            }
            Some(Fault::LongLength) => {
                body.declared = Some(length + 16);
                body.is_cut = true;
            }
            Some(Fault::InvalidJson) => body.rest = Bytes::from_static(b"<html><body>502 Bad Gateway</body></html>"),
            Some(Fault::Gzip) => {
                body.rest = packed(&body.rest);
                return (body, Some(("content-encoding", "gzip")));
            }
            _ => {}
        }
        (body, None)
    }
}

fn packed(bytes: &[u8]) -> Bytes {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.unwrap_or_default().into()
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if self.rest.is_empty() {
            if self.is_cut && !self.is_flushed {
                // What was given so far leaves while nothing more is there.
                self.is_flushed = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            return Poll::Ready(std::mem::take(&mut self.is_cut).then_some(Err(Cut)));
        }
        let Some((piece, pause)) = self.pace else {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.rest)))));
        };
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + pause)));
        std::task::ready!(sleep.as_mut().poll(cx));
        self.sleep = None;
        let piece = piece.min(self.rest.len());
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && !self.is_cut
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.declared.unwrap_or(self.rest.len() as u64))
    }
}
