//! Runs that this process lets go before their end, so that they can be gone on with, here or elsewhere.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The runs that were let go and of which the database does not know that yet.
#[derive(Default)]
pub(crate) struct Releases {
    unwritten: Mutex<HashSet<String>>,
    written: Notify,
}

impl Releases {
    fn unwritten(&self) -> MutexGuard<'_, HashSet<String>> {
        self.unwritten.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nobody here writes to this run's journal any more.
    pub(crate) fn begin(&self, id: &str) {
        self.unwritten().insert(id.to_owned());
    }

    /// The database knows it of these, and has all of their journals.
    pub(crate) fn end<'a>(&self, ids: impl Iterator<Item = &'a str>) {
        let mut unwritten = self.unwritten();
        ids.for_each(|id| {
            unwritten.remove(id);
        });
        drop(unwritten);
        self.written.notify_waiters();
    }

    /// Waits until nothing is left to be written of an earlier start of this run.
    pub(crate) async fn written(&self, id: &str) {
        loop {
            let written = self.written.notified();
            if !self.unwritten().contains(id) {
                return;
            }
            written.await;
        }
    }
}
