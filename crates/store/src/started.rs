//! The runs that this process has started, each until the database knows that it has let it go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::runs::RunShared;

/// Starts of runs, by the run's id. A run that another process has had meanwhile may have more than one.
#[derive(Default)]
pub(crate) struct Started {
    runs: Mutex<HashMap<String, Vec<Arc<RunShared>>>>,
    removed: Notify,
}

impl Started {
    fn runs(&self) -> MutexGuard<'_, HashMap<String, Vec<Arc<RunShared>>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process works on it from now on.
    pub(crate) fn add(&self, run: &Arc<RunShared>) {
        self.runs()
            .entry(run.id().to_owned())
            .or_default()
            .push(Arc::clone(run));
    }

    /// It does no more. The database knows, and has all of the journal.
    pub(crate) fn remove(&self, run: &RunShared) {
        let mut runs = self.runs();
        if let Some(starts) = runs.get_mut(run.id()) {
            starts.retain(|start| start.starts() != run.starts());
            if starts.is_empty() {
                runs.remove(run.id());
            }
        }
        drop(runs);
        self.removed.notify_waiters();
    }

    fn any(&self, id: &str, is: impl Fn(&RunShared) -> bool) -> bool {
        self.runs()
            .get(id)
            .is_some_and(|starts| starts.iter().any(|run| is(run)))
    }

    /// Someone has given this run up.
    pub(crate) fn give_up(&self, id: &str) {
        self.runs().get(id).into_iter().flatten().for_each(|run| run.give_up());
    }

    /// Whether a start of this run is this process's.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.any(id, |_| true)
    }

    /// Whether this start is.
    pub(crate) fn has_start(&self, id: &str, starts: i64) -> bool {
        self.any(id, |run| run.starts() == starts)
    }

    /// Whether the run was given up, or something is missing in its journal, so that nothing may be written that follows.
    pub(crate) fn is_cut(&self, id: &str) -> bool {
        self.any(id, RunShared::is_cut)
    }

    pub(crate) fn all(&self) -> Vec<Arc<RunShared>> {
        self.runs().values().flatten().cloned().collect()
    }

    /// Waits until nothing is left to be written of an earlier start of this run that was let go.
    pub(crate) async fn written(&self, id: &str) {
        loop {
            let removed = self.removed.notified();
            if !self.any(id, RunShared::is_let_go) {
                return;
            }
            removed.await;
        }
    }
}
