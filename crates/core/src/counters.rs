//! How many requests there were, and how they ended.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::RequestStatus;

/// What has happened so far in a session or in a whole registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Requests that were accepted.
    pub submitted: u64,
    /// Requests that were carried out.
    pub completed: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests whose deadline passed.
    pub timeout: u64,
    /// Requests that were cancelled before they were sent.
    pub cancelled: u64,
    /// Attempts made beyond the first of each request.
    pub retries: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    submitted: AtomicU64,
    completed: AtomicU64,
    failed: AtomicU64,
    timeout: AtomicU64,
    cancelled: AtomicU64,
    retries: AtomicU64,
}

impl Counters {
    pub(crate) fn submitted(&self) {
        self.submitted.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted as submitted was not accepted.
    pub(crate) fn withdrawn(&self) {
        self.submitted.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn retried(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, status: RequestStatus) {
        if let Some(counter) = self.of(status) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A late answer or a reconciliation changed how a request ended.
    pub(crate) fn moved(&self, from: RequestStatus, to: RequestStatus) {
        if let Some(counter) = self.of(from) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
        self.ended(to);
    }

    pub(crate) fn snapshot(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            submitted: read(&self.submitted),
            completed: read(&self.completed),
            failed: read(&self.failed),
            timeout: read(&self.timeout),
            cancelled: read(&self.cancelled),
            retries: read(&self.retries),
        }
    }

    fn of(&self, status: RequestStatus) -> Option<&AtomicU64> {
        match status {
            RequestStatus::Pending => None,
            RequestStatus::Completed => Some(&self.completed),
            RequestStatus::Failed => Some(&self.failed),
            RequestStatus::Timeout => Some(&self.timeout),
            RequestStatus::Cancelled => Some(&self.cancelled),
        }
    }
}
