//! Brings pages through a session, one at a time and ahead of their need.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use inflight_core::{Failure, Outcome, RequestId, Session, SubmitErrorKind, SubmitWhenRoom, Wait};

use super::{PageError, Pages};

/// Why a page did not come. The same page can be fetched again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// It cannot be asked for, or is none.
    #[error(transparent)]
    Page(#[from] PageError),
    /// Its request was not accepted.
    #[error("{0}")]
    Submit(SubmitErrorKind),
    /// Its request failed.
    #[error("{0}")]
    Failed(#[source] Failure),
    /// Its result was taken or had expired before it was looked at.
    #[error("the page was fetched, and its result is no longer known")]
    Lost,
}

/// The page that is on its way. Dropped, it gives its request up.
///
/// Nothing is told of a page's request where nobody asks: it is no warning if it fails, and nobody waits for it at the end.
#[derive(Debug)]
pub struct PageFetch {
    session: Session,
    state: State,
}

#[derive(Debug)]
enum State {
    Idle,
    // Boxed: it holds the request.
    WaitsForRoom(Box<SubmitWhenRoom>),
    UnderWay(RequestId, Wait),
}

impl PageFetch {
    /// Fetches through this session.
    #[must_use]
    pub fn new(session: Session) -> Self {
        Self {
            session,
            state: State::Idle,
        }
    }

    /// Starts to fetch the next page if there is one, none is on its way, and there is room in the queue right now.
    pub fn start(&mut self, pages: &Pages) {
        if !matches!(self.state, State::Idle) {
            return;
        }
        // What is wrong is told when the page is needed.
        if let Ok(Some(request)) = pages.next_request()
            && let Ok(id) = self.session.submit(request)
        {
            self.under_way(id);
        }
    }

    /// The body of the page that `pages` needs next, to be [accepted](Pages::accept); `None` where there is none.
    ///
    /// # Errors
    /// [`FetchError`]; a further call fetches the same page again.
    pub fn poll(&mut self, pages: &Pages, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, FetchError>> {
        loop {
            match &mut self.state {
                State::Idle => match pages.next_request()? {
                    None => return Poll::Ready(Ok(None)),
                    Some(request) => self.state = State::WaitsForRoom(Box::new(self.session.submit_when_room(request))),
                },
                State::WaitsForRoom(submission) => match ready!(Pin::new(submission).poll(cx)) {
                    Ok(id) => self.under_way(id),
                    Err(error) => {
                        self.state = State::Idle;
                        return Poll::Ready(Err(FetchError::Submit(error.kind())));
                    }
                },
                State::UnderWay(id, ending) => {
                    let id = *id;
                    let outcome = ready!(Pin::new(ending).poll(cx));
                    self.state = State::Idle;
                    let _ = self.session.abandon(id);
                    return Poll::Ready(match Arc::unwrap_or_clone(outcome) as Outcome {
                        Ok(success) => Ok(Some(success.response.body)),
                        Err(failure) => Err(FetchError::Failed(failure)),
                    });
                }
            }
            if matches!(self.state, State::Idle) {
                return Poll::Ready(Err(FetchError::Lost));
            }
        }
    }

    fn under_way(&mut self, id: RequestId) {
        let _ = self.session.detach(id);
        self.state = match self.session.wait_async(id) {
            Some(ending) => State::UnderWay(id, ending),
            None => State::Idle,
        };
    }
}

impl Drop for PageFetch {
    fn drop(&mut self) {
        if let State::UnderWay(id, _) = &self.state {
            let _ = self.session.abandon(*id);
        }
    }
}
