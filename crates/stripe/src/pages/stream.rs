//! A list's objects as a `Stream`.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use inflight_core::Session;
use serde_json::Value;

use super::{FetchError, PageError, PageFetch, Pages};

/// Why a stream of objects ended early, and where.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{source}")]
pub struct StreamError {
    source: FetchError,
    cursor: String,
}

impl StreamError {
    /// Why.
    #[must_use]
    pub fn cause(&self) -> &FetchError {
        &self.source
    }

    /// Where to [resume](Pages::resume): every object before it was given.
    #[must_use]
    pub fn cursor(&self) -> &str {
        &self.cursor
    }
}

/// A list's objects, fetched through a session as they are needed, the next page ahead of its need.
///
/// It runs on any executor. After an error it ends; [`retry`](Self::retry) lets it go on, after an object that cannot be read. Dropped, it gives up the page that is on
/// its way.
///
/// ```no_run
/// # use std::pin::pin;
/// # use inflight_stripe::{Operation, Params, RequestOptions, pages::{Pages, PageStream}};
/// # async fn next<S: futures_core::Stream>(s: std::pin::Pin<&mut S>) -> Option<S::Item> { None }
/// # async fn example(session: inflight_core::Session) -> Result<(), Box<dyn std::error::Error>> {
/// let list = Operation::by_name("product.list").unwrap();
/// let pages = Pages::new(list, &[], Params::new().with("active", true), &RequestOptions::new())?;
/// let mut products = pin!(PageStream::new(session, pages.max(500)));
/// while let Some(product) = next(products.as_mut()).await {
///     println!("{}", product?["name"]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PageStream {
    pages: Pages,
    fetch: PageFetch,
    prefetch: bool,
    failed: bool,
}

impl PageStream {
    /// The objects of these pages.
    #[must_use]
    pub fn new(session: Session, pages: Pages) -> Self {
        Self {
            pages,
            fetch: PageFetch::new(session),
            prefetch: true,
            failed: false,
        }
    }

    /// Whether the next page is fetched ahead of its need, once half of a page was given. By default it is.
    #[must_use]
    pub fn prefetch(mut self, on: bool) -> Self {
        self.prefetch = on;
        self
    }

    /// The pages: what was given, and the cursor.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// Goes on after an error, from where it was.
    pub fn retry(&mut self) {
        self.failed = false;
    }

    fn fail(&mut self, source: FetchError) -> StreamError {
        self.failed = true;
        let cursor = self.pages.cursor();
        StreamError { source, cursor }
    }
}

impl Stream for PageStream {
    type Item = Result<Value, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.failed {
            return Poll::Ready(None);
        }
        loop {
            if let Some(object) = this.pages.peek_object() {
                let read = serde_json::from_str(object.get());
                // What cannot be read lies after the cursor of its error.
                let read = read.map_err(|error| this.fail(PageError::NotAPage(error.to_string()).into()));
                this.pages.next_object();
                if this.prefetch && this.pages.is_running_low() {
                    this.fetch.start(&this.pages);
                }
                return Poll::Ready(Some(read));
            }
            match ready!(this.fetch.poll(&this.pages, cx)) {
                Ok(None) => return Poll::Ready(None),
                Ok(Some(body)) => {
                    if let Err(error) = this.pages.accept(&body) {
                        return Poll::Ready(Some(Err(this.fail(error.into()))));
                    }
                }
                Err(error) => return Poll::Ready(Some(Err(this.fail(error)))),
            }
        }
    }
}
