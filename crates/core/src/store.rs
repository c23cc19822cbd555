//! Where requests are written down before they are sent: the seam for durability.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Call, FailureKind, IdempotencyKey, Outcome, Request, RequestId, RequestStatus};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    NotWritten,
    KeyTaken,
    Lost,
}

impl Reason {
    fn prefix(self) -> &'static str {
        match self {
            Self::KeyTaken => "",
            Self::NotWritten | Self::Lost => "the store did not write: ",
        }
    }
}

/// A store that could not write.
#[derive(Debug, thiserror::Error)]
#[error("{}{message}", reason.prefix())]
pub struct StoreError {
    message: String,
    reason: Reason,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error with this reason, one readable line.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            reason: Reason::NotWritten,
            source: None,
        }
    }

    /// Says that nothing of an append of so many rows was written, since the idempotency key of this one may not be used for it: within
    /// its [scope](Request::key_scope) it belongs to another request, or was sent so long ago that the other side may have forgotten it.
    #[must_use]
    pub fn key_taken(id: RequestId, rows: usize) -> Self {
        let taken = "belongs to another request in the store, or was sent too long ago to be sent again";
        let message = match rows {
            1 => format!("its idempotency key {taken}"),
            _ => format!("the idempotency key of {id} {taken}, so that none of these {rows} requests was written"),
        };
        Self {
            reason: Reason::KeyTaken,
            ..Self::new(message)
        }
    }

    /// Says that the request is another process's to send by now, or has ended there: this one must neither send it nor end it, and
    /// is told of its ending by [`Registry::learn`](crate::Registry::learn).
    #[must_use]
    pub fn lost() -> Self {
        Self {
            reason: Reason::Lost,
            ..Self::new("another process has taken the request over")
        }
    }

    /// Whether the request is another process's by now.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.reason == Reason::Lost
    }

    /// Whether the idempotency key may not be used for the request: see [`key_taken`](Self::key_taken).
    #[must_use]
    pub fn is_key_taken(&self) -> bool {
        self.reason == Reason::KeyTaken
    }

    /// As what a request fails that is not written.
    pub(crate) fn failure_kind(&self) -> FailureKind {
        if self.is_key_taken() {
            FailureKind::key_reused()
        } else {
            FailureKind::Store
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
    /// How long it may take in all, from its submission.
    pub deadline: Duration,
    /// The script's call that submitted it, where the script can be replayed.
    pub call: Option<Call>,
}

/// A durable store.
///
/// Completion-based: each method returns at once and calls `done` later, on whatever thread it likes, so that core stays free
/// of any runtime. The registry keeps the order of writes: a request is not sent before its row is written, no byte of an attempt
/// leaves before [`sent`](Self::sent) is written, and nobody sees an outcome before [`ended`](Self::ended) is written. A store
/// writes in the order in which it is asked.
///
/// What a store has kept from an earlier process, or from other ones, it hands to the registry: [`Session::restore`] makes a request
/// known, [`Registry::take_in`] has it sent, [`Registry::learn`] tells how it ended elsewhere.
///
/// [`Session::restore`]: crate::Session::restore
/// [`Registry::take_in`]: crate::Registry::take_in
/// [`Registry::learn`]: crate::Registry::learn
pub trait Store: Send + Sync + 'static {
    /// Writes new requests, all or none. A row whose id is written already stays as it is. Where the idempotency key of one may not be used
    /// for it, none is written, and the error is [`StoreError::key_taken`].
    fn append(&self, rows: Vec<Row>, done: Written);

    /// Writes that this attempt of a request, the first being 1, is about to leave. Where its key has become too old for that meanwhile, the
    /// error is [`StoreError::key_taken`].
    fn sent(&self, id: RequestId, attempt: u32, done: Written);

    /// Writes how a request ended.
    fn ended(&self, id: RequestId, status: RequestStatus, outcome: &Outcome, done: Written);

    /// Writes what became known of a request that had ended with its effect unknown. By default nothing.
    fn settled(&self, id: RequestId, status: RequestStatus, outcome: &Outcome, done: Written) {
        let _ = (id, status, outcome);
        done(Ok(()));
    }

    /// Whether other processes work on the same rows. Then what is appended is not sent at once: the store hands it to
    /// [`Registry::take_in`](crate::Registry::take_in) here or in another process.
    fn is_shared(&self) -> bool {
        false
    }

    /// Asks the store to cancel a request that this process does not send and nobody has begun to. Gives whether it can;
    /// [`Registry::learn`](crate::Registry::learn) tells then whether it did. By default it cannot, and the request ends here.
    fn cancel(&self, id: RequestId) -> bool {
        let _ = id;
        false
    }

    /// The transport stops ([`Queue::retire`](crate::Queue::retire)) and has given up a request that it was to send or had sent: the store may
    /// hand it out again, here or elsewhere. By default nothing.
    fn left(&self, id: RequestId) {
        let _ = id;
    }
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
    /// What came of it.
    pub outcome: Option<Outcome>,
    /// Whether the transport has stopped and given it up.
    pub left: bool,
}

/// A store that forgets with the process. It writes at once; for tests, and as the simplest example.
#[derive(Default)]
pub struct MemoryStore {
    kept: Mutex<MemoryRecords>,
}

#[derive(Default)]
struct MemoryRecords {
    by_id: HashMap<RequestId, MemoryRecord>,
    /// What each key was used for, by [`Request::key_scope`] and key: the request's fingerprint.
    keys: HashMap<(u128, String), u128>,
}

impl MemoryRecords {
    /// Notes the rows' keys. Where the key of one belongs to another request, notes none and gives that one.
    fn claim_keys(&mut self, rows: &[Row]) -> Result<(), RequestId> {
        let mut new = HashMap::new();
        for Row { id, request, .. } in rows {
            let IdempotencyKey::Given(key) = &request.idempotency_key else {
                continue;
            };
            let (key, content) = ((request.key_scope(), key.clone()), request.fingerprint());
            let used_for = match self.keys.get(&key) {
                Some(used_for) => *used_for,
                None => *new.entry(key).or_insert(content),
            };
            if used_for != content {
                return Err(*id);
            }
        }
        self.keys.extend(new);
        Ok(())
    }

    fn append(&mut self, rows: Vec<Row>) -> Result<(), StoreError> {
        self.claim_keys(&rows)
            .map_err(|id| StoreError::key_taken(id, rows.len()))?;
        for row in rows {
            let id = row.id;
            let record = MemoryRecord {
                row,
                sent: 0,
                ended: None,
                outcome: None,
                left: false,
            };
            self.by_id.entry(id).or_insert(record);
        }
        Ok(())
    }
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
        self.records().by_id.get(&id).cloned()
    }

    fn records(&self) -> MutexGuard<'_, MemoryRecords> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, id: RequestId, change: impl FnOnce(&mut MemoryRecord)) -> Result<(), StoreError> {
        match self.records().by_id.get_mut(&id) {
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
            .field("records", &self.records().by_id.len())
            .finish()
    }
}

// Every `done` is called after the lock is released: it may come back with the next write.
impl Store for MemoryStore {
    fn append(&self, rows: Vec<Row>, done: Written) {
        let written = self.records().append(rows);
        done(written);
    }

    fn sent(&self, id: RequestId, attempt: u32, done: Written) {
        let written = self.update(id, |record| record.sent = attempt);
        done(written);
    }

    fn ended(&self, id: RequestId, status: RequestStatus, outcome: &Outcome, done: Written) {
        let written = self.update(id, |record| {
            record.ended = Some(status);
            record.outcome = Some(outcome.clone());
        });
        done(written);
    }

    fn settled(&self, id: RequestId, status: RequestStatus, outcome: &Outcome, done: Written) {
        self.ended(id, status, outcome, done);
    }

    fn left(&self, id: RequestId) {
        let _ = self.update(id, |record| record.left = true);
    }
}
