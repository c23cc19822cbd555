//! What a script learned from outside, in order: the seam that lets a script be replayed after a crash.
//!
//! A script is deterministic but for what it learns from outside. Where each such answer is written down, and answered from
//! what is written when the script runs again, the second run comes to where the first one was.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::{RequestId, StoreError};

/// One call of a script that reaches outside, by its place: the run that it belongs to, the task within the script, and its number in
/// that task. The same each time the script runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Call {
    /// The run's id.
    pub run: Arc<str>,
    /// The task that makes the call: 0 is the script itself.
    pub task: u32,
    /// Its number among the calls of that task, from 0.
    pub sequence: u64,
}

impl Call {
    /// The id of the request that this call submits: always the same one.
    #[must_use]
    pub fn request_id(&self) -> RequestId {
        let name = format!("inflight/{}/{}/{}", self.run, self.task, self.sequence);
        RequestId::from_u128(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).as_u128())
    }
}

impl fmt::Display for Call {
    /// `call 3`, or `call 3 of task 2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}", self.sequence)?;
        if self.task > 0 {
            write!(f, " of task {}", self.task)?;
        }
        Ok(())
    }
}

/// Numbers the calls of a run: a [`Session`](crate::Session) that has one takes the ids of its requests from it.
pub trait Calls: Send + Sync + 'static {
    /// The call that is being made.
    fn next(&self) -> Call;
}

/// What was written of one call: a question about a request, the end of a wait, the time, a random number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// The task that made it: 0 is the script itself.
    pub task: u32,
    /// Its number among the calls of that task, from 0.
    pub sequence: u64,
    /// What was called: `product.create`, `is_complete`, `now_ms`.
    pub operation: String,
    /// A fingerprint of the arguments.
    pub arguments: u64,
    /// What the script was answered, in the caller's own encoding.
    pub answer: Vec<u8>,
}

/// The calls of one run, in the order in which they were answered.
pub trait Journal: Send + Sync + 'static {
    /// What an earlier run of the script has written, in order. Read once, before the script begins.
    ///
    /// # Errors
    /// Where the journal cannot be read: the script must not begin.
    fn entries(&self) -> Result<Vec<JournalEntry>, StoreError>;

    /// Writes a further entry. It returns at once: a store writes in the order in which it is asked, so that no request that is
    /// submitted later is written, and sent, before the entry is.
    ///
    /// # Errors
    /// Where this entry or an earlier one cannot be written: the script must not go on.
    fn write(&self, entry: JournalEntry) -> Result<(), StoreError>;
}

/// A journal that forgets with the process. Clones share what is written.
#[derive(Debug, Default, Clone)]
pub struct MemoryJournal {
    entries: Arc<Mutex<Vec<JournalEntry>>>,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A journal with these entries.
    #[must_use]
    pub fn with(entries: Vec<JournalEntry>) -> Self {
        Self {
            entries: Arc::new(Mutex::new(entries)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<JournalEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn entries(&self) -> Result<Vec<JournalEntry>, StoreError> {
        Ok(self.lock().clone())
    }

    fn write(&self, entry: JournalEntry) -> Result<(), StoreError> {
        self.lock().push(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back_in_order() {
        let journal = MemoryJournal::new();
        let entry = |sequence| JournalEntry {
            task: 0,
            sequence,
            operation: "is_complete".into(),
            arguments: 7,
            answer: b"true".to_vec(),
        };
        assert!(journal.entries().unwrap().is_empty());
        journal.write(entry(0)).unwrap();
        journal.clone().write(entry(1)).unwrap();
        assert_eq!(journal.entries().unwrap(), [entry(0), entry(1)]);
    }

    #[test]
    fn a_call_names_its_request_always_the_same_and_no_other() {
        let call = |run: &str, task, sequence| Call {
            run: run.into(),
            task,
            sequence,
        };
        let id = call("nightly", 0, 3).request_id();
        assert_eq!(id, call("nightly", 0, 3).request_id());
        for other in [call("nightly", 0, 4), call("nightly", 1, 3), call("weekly", 0, 3)] {
            assert_ne!(id, other.request_id());
        }
        assert_eq!(call("nightly", 2, 3).to_string(), "call 3 of task 2");
    }
}
