//! Tasks that wait for a condition of a whole session or registry: for room, or for the last request to end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Waker;

use crate::sync::Mutex;

/// A first-in, first-out list of wakers.
///
/// A waiter registers *before* it looks at the condition for the last time, and whoever changes the condition does so before
/// it wakes: so no wake-up is lost. The count of waiters makes waking nobody cheap.
#[derive(Debug, Default)]
pub(crate) struct WaiterList {
    count: AtomicUsize,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_key: u64,
    /// In the order of their keys, since each new one is the highest: thousands may wait.
    wakers: std::collections::VecDeque<(u64, Waker)>,
}

impl Waiting {
    fn place_of(&self, key: u64) -> Result<usize, usize> {
        self.wakers.binary_search_by_key(&key, |(key, _)| *key)
    }
}

impl WaiterList {
    /// Registers the waker anew at the list's end, or in its old place where it still waits.
    pub(crate) fn register(&self, key: &mut Option<u64>, waker: &Waker) {
        let mut waiting = self.waiting.lock();
        if let Some(known) = key
            && let Ok(place) = waiting.place_of(*known)
        {
            waiting.wakers[place].1.clone_from(waker);
            return;
        }
        let new = *key.insert(waiting.next_key);
        waiting.next_key += 1;
        waiting.wakers.push_back((new, waker.clone()));
        self.count.store(waiting.wakers.len(), Ordering::SeqCst);
    }

    /// Withdraws a waiter. Gives `false` where it had been woken before: its wake-up then belongs to the next one.
    pub(crate) fn forget(&self, key: u64) -> bool {
        let mut waiting = self.waiting.lock();
        let Ok(place) = waiting.place_of(key) else { return false };
        let withdrawn = waiting.wakers.remove(place);
        self.count.store(waiting.wakers.len(), Ordering::SeqCst);
        drop(waiting);
        withdrawn.is_some()
    }

    /// Wakes the one that has waited longest.
    pub(crate) fn wake_one(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let woken = {
            let mut waiting = self.waiting.lock();
            let woken = waiting.wakers.pop_front();
            self.count.store(waiting.wakers.len(), Ordering::SeqCst);
            woken
        };
        if let Some((_, waker)) = woken {
            waker.wake();
        }
    }

    /// Wakes all.
    pub(crate) fn wake_all(&self) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let woken = {
            let mut waiting = self.waiting.lock();
            self.count.store(0, Ordering::SeqCst);
            std::mem::take(&mut waiting.wakers)
        };
        for (_, waker) in woken {
            waker.wake();
        }
    }
}
