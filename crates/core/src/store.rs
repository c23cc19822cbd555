//! Where requests are written down before they are sent: the seam for durability.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Outcome, Request, RequestId, RequestStatus};

/// Called once, when a store has written something or knows that it cannot. Dropping it uncalled counts as a failure.
pub type Written = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A [`Written`] that calls `then` in any case: with an error where the store drops it uncalled.
pub(crate) fn written(then: impl FnOnce(Result<(), StoreError>) + Send + 'static) -> Written {
    struct Once<F: FnOnce(Result<(), StoreError>)>(Option<F>);
    impl<F: FnOnce(Result<(), StoreError>)> Once<F> {
        fn call(&mut self, result: Result<(), StoreError>) {
            if let Some(then) = self.0.take() {
                then(result);
            }
        }
    }
    impl<F: FnOnce(Result<(), StoreError>)> Drop for Once<F> {
        fn drop(&mut self) {
            self.call(Err(StoreError::new("it gave no answer")));
        }
    }
    let mut once = Once(Some(then));
    Box::new(move |result| once.call(result))
}

/// A store that could not write.
#[derive(Debug, thiserror::Error)]
#[error("the store did not write: {message}")]
pub struct StoreError {
    message: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error with this reason, one readable line.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    /// Keeps the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// What a store keeps of a request when it is submitted. It names a credential and never holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The request's id.
    pub id: RequestId,
    /// The name of the session that submitted it.
    pub session: u64,
    /// What to do, the idempotency key's final text included.
    pub request: Request,
}

/// A durable store.
///
/// Completion-based: each method returns at once and calls `done` later, on whatever thread it likes, so that core stays free
/// of any runtime. The registry keeps the order of writes: a request is not sent before its row is written, no byte leaves
/// before [`sent`](Self::sent) is written, and nobody sees an outcome before [`ended`](Self::ended) is written.
pub trait Store: Send + Sync + 'static {
    /// Writes new requests, all or none.
    fn append(&self, rows: Vec<Row>, done: Written);

    /// Writes that an attempt of this request is about to leave.
    fn sent(&self, id: RequestId, done: Written);

    /// Writes how a request ended.
    fn ended(&self, id: RequestId, status: RequestStatus, outcome: &Outcome, done: Written);
}

/// What a [`MemoryStore`] knows of one request.
#[derive(Debug, Clone)]
pub struct MemoryRecord {
    /// The row as appended.
    pub row: Row,
    /// How many attempts were written.
    pub sent: u32,
    /// How it ended.
    pub ended: Option<RequestStatus>,
}

/// A store that forgets with the process. It writes at once; for tests, and as the simplest example.
#[derive(Default)]
pub struct MemoryStore {
    records: Mutex<HashMap<RequestId, MemoryRecord>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What is known of this request.
    #[must_use]
    pub fn record(&self, id: RequestId) -> Option<MemoryRecord> {
        self.records().get(&id).cloned()
    }

    fn records(&self) -> MutexGuard<'_, HashMap<RequestId, MemoryRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, id: RequestId, change: impl FnOnce(&mut MemoryRecord)) -> Result<(), StoreError> {
        match self.records().get_mut(&id) {
            Some(record) => {
                change(record);
                Ok(())
            }
            None => Err(StoreError::new("no such row")),
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("records", &self.records().len())
            .finish()
    }
}

// Every `done` is called after the lock is released: it may come back with the next write.
impl Store for MemoryStore {
    fn append(&self, rows: Vec<Row>, done: Written) {
        {
            let mut records = self.records();
            for row in rows {
                let id = row.id;
                let record = MemoryRecord {
                    row,
                    sent: 0,
                    ended: None,
                };
                records.insert(id, record);
            }
        }
        done(Ok(()));
    }

    fn sent(&self, id: RequestId, done: Written) {
        let written = self.update(id, |record| record.sent += 1);
        done(written);
    }

    fn ended(&self, id: RequestId, status: RequestStatus, _outcome: &Outcome, done: Written) {
        let written = self.update(id, |record| record.ended = Some(status));
        done(written);
    }
}
