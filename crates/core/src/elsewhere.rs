//! What the durable store has and this process does not send, as far as anyone here waits for it.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use crate::RequestId;
use crate::entry::Entry;
use crate::session::IdHasher;

/// Each request's entries, the newest last: a run that has begun again in the same process knows a request beside the start before it, and
/// so does whoever sends it again before the loss of the first claim is known.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere(HashMap<RequestId, Vec<Arc<Entry>>, BuildHasherDefault<IdHasher>>);

impl Elsewhere {
    pub(crate) fn note(&mut self, entry: Arc<Entry>) {
        let known = self.0.entry(entry.id).or_insert_with(|| Vec::with_capacity(1));
        if !known.iter().any(|known| Arc::ptr_eq(known, &entry)) {
            known.push(entry);
        }
    }

    /// Whether this is an entry of a request that this process does not send. Another one of the same request may be on its way here.
    pub(crate) fn knows(&self, entry: &Arc<Entry>) -> bool {
        let known = self.0.get(&entry.id);
        known.is_some_and(|known| known.iter().any(|known| Arc::ptr_eq(known, entry)))
    }

    /// Takes out the newest entry, for whoever sends the request from here on. The others stay: they are told how it ends.
    #[must_use]
    pub(crate) fn take_newest(&mut self, id: RequestId) -> Option<Arc<Entry>> {
        let known = self.0.get_mut(&id)?;
        let newest = known.pop();
        if known.is_empty() {
            self.0.remove(&id);
        }
        newest
    }

    #[must_use]
    pub(crate) fn take(&mut self, id: RequestId) -> Vec<Arc<Entry>> {
        self.0.remove(&id).unwrap_or_default()
    }

    #[must_use]
    pub(crate) fn take_all(&mut self) -> Vec<Arc<Entry>> {
        std::mem::take(&mut self.0).into_values().flatten().collect()
    }

    /// Forgets one entry of a request.
    #[must_use]
    pub(crate) fn forget(&mut self, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        let known = self.0.get_mut(&entry.id)?;
        let at = known.iter().position(|known| Arc::ptr_eq(known, entry))?;
        let forgotten = known.swap_remove(at);
        if known.is_empty() {
            self.0.remove(&entry.id);
        }
        Some(forgotten)
    }

    pub(crate) fn ids(&self) -> Vec<RequestId> {
        self.0.keys().copied().collect()
    }
}
