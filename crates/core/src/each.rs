//! Any number of requests in bounded memory: they are taken from their source as room appears.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use crate::group::Group;
use crate::wait::SubmitWhenRoom;
use crate::{
    BatchOptions, Effect, Failure, FailureKind, Outcome, Progress, Request, RequestId, Session, SubmitError,
    SubmitErrorKind,
};

/// How many failures a report names, unless [`Each::keep_failures`] says otherwise. Further ones are only counted.
pub const DEFAULT_KEPT_FAILURES: usize = 10_000;

/// Sends requests as there is room for them, and gives back how each has ended, with the tag that it was pushed with. What has been
/// given back is forgotten by the session, unless its effect is unknown.
///
/// Dropped, it cancels what was not sent.
pub struct Feeder<T> {
    session: Session,
    group: Arc<Group>,
    limit: usize,
    tags: HashMap<RequestId, T>,
    /// How many requests are still to come.
    expected: u64,
    key: Option<u64>,
    leaves: bool,
}

impl<T> Feeder<T> {
    /// A feeder into this session.
    #[must_use]
    pub fn new(session: &Session, options: BatchOptions) -> Self {
        let share = session.limits();
        let default = share.unsent.min(share.pending) / 2;
        Self {
            session: session.clone(),
            // The limit is kept here, so that nothing is held back there.
            group: Group::new(
                BatchOptions {
                    concurrency: None,
                    ..options
                },
                true,
            ),
            limit: options.concurrency.unwrap_or(default).max(1),
            tags: HashMap::new(),
            expected: 0,
            key: None,
            leaves: false,
        }
    }

    /// Says that, when it is dropped, what was not sent is to stay: a durable store has it for the next run.
    pub fn leave_unsent(&mut self) {
        self.leaves = true;
    }

    /// Whether fewer requests are on their way than may be.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.tags.len() < self.limit
    }

    /// Whether no request is on its way whose ending was not given back.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.tags.is_empty()
    }

    /// Whether nothing more is sent: after a failure where that stops the others, or [`stop`](Self::stop).
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.group.is_stopped()
    }

    /// How far the requests have come that were pushed so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.group.progress()
    }

    /// Cancels what was not sent, and whatever is pushed from now on. Gives how many.
    pub fn stop(&self) -> usize {
        self.group.stop()
    }

    /// Says how many requests are still to come, for whoever shows how far the registry's work has come: its
    /// [`expected`](crate::Registry::expected) counts them until something else is said or the feeder is dropped.
    pub fn expect(&mut self, requests: u64) {
        let all = &self.session.ledger().registry.expected;
        // The others' part stays as it is, though the counter wraps in between.
        all.fetch_add(requests.wrapping_sub(self.expected), Ordering::Relaxed);
        self.expected = requests;
    }

    /// The future of a request's submission, as soon as the queue has room. Its id is to be [noted](Self::note).
    pub fn submit(&self, request: Request) -> SubmitWhenRoom {
        SubmitWhenRoom::new(self.session.clone(), Some(Arc::clone(&self.group)), request)
    }

    /// Says what a submitted request is given back with.
    pub fn note(&mut self, id: RequestId, tag: T) {
        self.tags.insert(id, tag);
    }

    /// Takes in a request that an earlier run has submitted. One that is not known in the session is never given back.
    pub fn restore(&mut self, id: RequestId, tag: T) {
        if self.session.entry(id).is_some() {
            self.session.join_restored(Some(&self.group), id);
            self.note(id, tag);
        }
    }

    /// The next ending, in the order in which they came; `None` where no request is on its way.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Option<(RequestId, T, Arc<Outcome>)>> {
        if self.tags.is_empty() {
            return Poll::Ready(None);
        }
        // Registered before the last look, so that what ends in between is seen or wakes.
        self.group.waiters.register(&mut self.key, cx.waker());
        while let Some(id) = self.group.take_ended() {
            let tag = self.tags.remove(&id);
            if let (Some(tag), Ok(outcome)) = (tag, self.session.result(id)) {
                let in_doubt = matches!(&*outcome, Err(failure) if failure.effect == Effect::Unknown);
                if !in_doubt {
                    drop(self.session.take_result(id));
                }
                return Poll::Ready(Some((id, tag, outcome)));
            }
            if self.tags.is_empty() {
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    }
}

impl<T> Drop for Feeder<T> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.group.waiters.forget(key);
        }
        self.expect(0);
        if !self.leaves {
            self.group.stop();
        }
    }
}

impl<T> fmt::Debug for Feeder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feeder")
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}

/// One of the requests that failed.
#[derive(Debug, Clone)]
pub struct EachFailure {
    /// Its place in the source, counted from 0.
    pub index: u64,
    /// Its id; `None` where it was not accepted.
    pub id: Option<RequestId>,
    /// What it failed with, without the answer's body. Only an effect of `none` makes it safe to send it again under a new key.
    pub failure: Failure,
}

/// What became of the requests of an [`Each`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct EachReport {
    /// How many there were. Those that could not be made or were not accepted count as failed.
    pub progress: Progress,
    /// What failed or was cancelled, in the order of the endings.
    pub failures: Vec<EachFailure>,
    /// How many further failures there were than are kept.
    pub further_failures: u64,
    /// Whether the source was taken to its end.
    pub exhausted: bool,
}

impl EachReport {
    /// The failures without an effect: what may be sent again.
    pub fn to_resubmit(&self) -> impl Iterator<Item = &EachFailure> {
        let failures = self.failures.iter();
        failures.filter(|failed| failed.failure.effect == Effect::None)
    }
}

/// Sends all requests that an iterator gives, as room appears, and gives a report: the future of [`Session::each`].
///
/// At no time are more in memory than may be on their way, beside the failures that are kept and the requests whose effect is unknown:
/// these the session keeps until they are settled or taken.
#[must_use = "a future does nothing unless it is polled"]
pub struct Each<I> {
    requests: I,
    feeder: Feeder<u64>,
    submitting: Option<(u64, SubmitWhenRoom)>,
    next: u64,
    unsent: u64,
    kept: usize,
    carries_on: bool,
    report: EachReport,
}

impl<I> Each<I> {
    pub(crate) fn new(session: &Session, requests: I, options: BatchOptions) -> Self {
        Self {
            requests,
            feeder: Feeder::new(session, options),
            submitting: None,
            next: 0,
            unsent: 0,
            kept: DEFAULT_KEPT_FAILURES,
            carries_on: options.on_failure == crate::OnFailure::CarryOn,
            report: EachReport::default(),
        }
    }

    /// How many failures the report names. By default [`DEFAULT_KEPT_FAILURES`].
    pub fn keep_failures(mut self, failures: usize) -> Self {
        self.kept = failures;
        self
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let mut progress = self.feeder.progress();
        progress.total += self.unsent;
        progress.done += self.unsent;
        progress.failed += self.unsent;
        progress
    }

    fn failed(&mut self, index: u64, id: Option<RequestId>, mut failure: Failure) {
        if let Some(response) = &mut failure.response {
            response.body = bytes::Bytes::new();
        }
        if self.report.failures.len() < self.kept {
            self.report.failures.push(EachFailure { index, id, failure });
        } else {
            self.report.further_failures += 1;
        }
    }

    /// A request that was never submitted.
    fn refused(&mut self, index: u64, failure: Failure) {
        self.unsent += 1;
        self.failed(index, None, failure);
        if !self.carries_on {
            self.feeder.stop();
        }
    }

    fn submitted(&mut self, index: u64, submitted: Result<RequestId, SubmitError>) {
        match submitted {
            Ok(id) => self.feeder.note(id, index),
            Err(error) => {
                let kind = match error.kind() {
                    SubmitErrorKind::KeyReused => FailureKind::key_reused(),
                    _ => FailureKind::Shutdown,
                };
                let closed = error.kind() == SubmitErrorKind::Closed;
                self.refused(index, Failure::new(kind, Effect::None, error.to_string()));
                if closed {
                    self.feeder.stop();
                }
            }
        }
    }

    /// Gives whether it got any further.
    fn settle(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(Some((id, index, outcome))) = self.feeder.poll_ended(cx) else {
            return false;
        };
        if let Err(failure) = &*outcome {
            self.failed(index, Some(id), failure.clone());
        }
        true
    }
}

impl<I: Iterator<Item = Result<Request, Failure>> + Unpin> Each<I> {
    /// Gives whether it got any further.
    fn feed(&mut self, cx: &mut Context<'_>) -> bool {
        if let Some((index, submission)) = &mut self.submitting {
            let index = *index;
            let Poll::Ready(submitted) = Pin::new(submission).poll(cx) else {
                return false;
            };
            self.submitting = None;
            self.submitted(index, submitted);
            self.expect_rest();
            return true;
        }
        if self.report.exhausted || self.feeder.is_stopped() || !self.feeder.has_place() {
            return false;
        }
        let index = self.next;
        match self.requests.next() {
            None => self.report.exhausted = true,
            Some(made) => {
                self.next += 1;
                match made {
                    Ok(request) => self.submitting = Some((index, self.feeder.submit(request))),
                    Err(failure) => self.refused(index, failure),
                }
            }
        }
        self.expect_rest();
        true
    }

    /// Where the iterator knows how many it will give.
    fn expect_rest(&mut self) {
        let left = match self.requests.size_hint() {
            (least, Some(most)) if least == most => most as u64,
            _ => 0,
        };
        self.feeder.expect(left + u64::from(self.submitting.is_some()));
    }
}

impl<I: Iterator<Item = Result<Request, Failure>> + Unpin> Future for Each<I> {
    type Output = EachReport;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<EachReport> {
        /// So many steps, and others have their turn.
        const STEPS: usize = 256;
        let this = &mut *self;
        for _ in 0..STEPS {
            if this.settle(cx) || this.feed(cx) {
                continue;
            }
            let over = this.report.exhausted || this.feeder.is_stopped();
            if !(over && this.submitting.is_none() && this.feeder.is_idle()) {
                return Poll::Pending;
            }
            this.feeder.expect(0);
            this.report.progress = this.progress();
            return Poll::Ready(std::mem::take(&mut this.report));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<I> fmt::Debug for Each<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Each")
            .field("progress", &self.progress())
            .finish_non_exhaustive()
    }
}
