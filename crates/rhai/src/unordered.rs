//! Futures that run beside one another, for scripts of which most have none: an empty set costs no memory.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, Stream};

/// A [`FuturesUnordered`] that is made when the first future comes.
pub(crate) struct Unordered<F>(Option<FuturesUnordered<F>>);

impl<F> Default for Unordered<F> {
    fn default() -> Self {
        Self(None)
    }
}

impl<F: Future> Unordered<F> {
    pub(crate) fn push(&mut self, future: F) {
        self.0.get_or_insert_default().push(future);
    }

    pub(crate) fn extend(&mut self, futures: Vec<F>) {
        for future in futures {
            self.push(future);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, FuturesUnordered::len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(FuturesUnordered::is_empty)
    }

    /// Drops all futures.
    pub(crate) fn clear(&mut self) {
        self.0 = None;
    }

    /// The next value of those futures that have ended; `None` where there is no future.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<F::Output>> {
        match &mut self.0 {
            Some(futures) => Pin::new(futures).poll_next(cx),
            None => Poll::Ready(None),
        }
    }
}
