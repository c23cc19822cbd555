//! What a script learned from outside, in order: the seam that lets a script be replayed after a crash.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::StoreError;

/// One call of a script that reaches outside: a request, a question about one, the time, a random number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// What was called: `product.create`, `is_complete`, `now_ms`.
    pub operation: String,
    /// A fingerprint of the arguments.
    pub arguments: u64,
    /// What the script was answered, in the caller's own encoding.
    pub answer: Vec<u8>,
}

/// The calls of one run, by sequence number.
pub trait Journal: Send + Sync + 'static {
    /// The entry of this sequence number, counted from 0, if the run has come that far before.
    ///
    /// # Errors
    /// Where the journal cannot be read: the script must not go on.
    fn read(&self, sequence: u64) -> Result<Option<JournalEntry>, StoreError>;

    /// Writes the entry of the next sequence number.
    ///
    /// # Errors
    /// Where it was not written, or `sequence` is not the next one: the script must not go on.
    fn write(&self, sequence: u64, entry: JournalEntry) -> Result<(), StoreError>;
}

/// A journal that forgets with the process.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    entries: Mutex<Vec<JournalEntry>>,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<JournalEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal for MemoryJournal {
    fn read(&self, sequence: u64) -> Result<Option<JournalEntry>, StoreError> {
        let index = usize::try_from(sequence).unwrap_or(usize::MAX);
        Ok(self.entries().get(index).cloned())
    }

    fn write(&self, sequence: u64, entry: JournalEntry) -> Result<(), StoreError> {
        let mut entries = self.entries();
        if sequence != entries.len() as u64 {
            return Err(StoreError::new(format!(
                "entry {sequence} is out of sequence: the next is {}",
                entries.len()
            )));
        }
        entries.push(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back_and_written_in_sequence_only() {
        let journal = MemoryJournal::new();
        let entry = JournalEntry {
            operation: "is_complete".into(),
            arguments: 7,
            answer: b"true".to_vec(),
        };
        assert!(journal.read(0).unwrap().is_none());
        journal.write(0, entry.clone()).unwrap();
        assert_eq!(journal.read(0).unwrap(), Some(entry.clone()));
        assert!(journal.write(5, entry).is_err());
    }
}
