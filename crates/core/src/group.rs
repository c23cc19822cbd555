//! Requests that were submitted together: how many of them may be on their way at once, and what one's failure means for the others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::counters::Counters;
use crate::entry::Entry;
use crate::queue::Job;
use crate::sync::Mutex;
use crate::waiters::WaiterList;
use crate::{BatchOptions, OnFailure, Progress, RequestId, RequestStatus};

/// What the requests of one batch share. A request is held back here until there is a place for it.
pub(crate) struct Group {
    options: BatchOptions,
    pub(crate) counters: Counters,
    state: Mutex<State>,
    /// Who waits for the next ending, or for the last one.
    pub(crate) waiters: WaiterList,
}

#[derive(Default)]
struct State {
    next: u32,
    pending: usize,
    held: BTreeMap<u32, Job>,
    /// In the queue or sent.
    released: HashMap<u32, Weak<Entry>>,
    /// In a shared store, or submitted by an earlier process: where those are is the store's to know.
    elsewhere: HashMap<u32, Weak<Entry>>,
    /// Whether a thread hands out places: endings that it causes itself only make room, so that nothing recurses.
    releasing: bool,
    stopped: bool,
    /// The endings that nobody has taken, for a feeder.
    ended: Option<VecDeque<RequestId>>,
}

/// One request's place in its group.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) group: Arc<Group>,
    number: u32,
    /// Whether the group knows that it has ended.
    told: AtomicBool,
}

impl Group {
    pub(crate) fn new(options: BatchOptions, keeps_endings: bool) -> Arc<Self> {
        let state = State {
            ended: keeps_endings.then(VecDeque::new),
            ..State::default()
        };
        Arc::new(Self {
            options,
            counters: Counters::default(),
            state: Mutex::new(state),
            waiters: WaiterList::default(),
        })
    }

    /// A place for a further request.
    pub(crate) fn join(self: &Arc<Self>) -> Member {
        let mut state = self.state.lock();
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        state.pending += 1;
        self.counters.submitted();
        Member {
            group: Arc::clone(self),
            number,
            told: AtomicBool::new(false),
        }
    }

    /// A request that had joined was not accepted.
    pub(crate) fn leave(&self) {
        self.state.lock().pending -= 1;
        self.counters.withdrawn();
    }

    pub(crate) fn pending(&self) -> usize {
        self.state.lock().pending
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    pub(crate) fn progress(&self) -> Progress {
        Progress::of(self.counters.snapshot())
    }

    pub(crate) fn take_ended(&self) -> Option<RequestId> {
        self.state.lock().ended.as_mut()?.pop_front()
    }

    /// Cancels what was not sent; what comes later is cancelled at once. Gives how many.
    pub(crate) fn stop(&self) -> usize {
        let (held, elsewhere) = {
            let mut state = self.state.lock();
            state.stopped = true;
            let elsewhere: Vec<_> = state
                .released
                .values()
                .chain(state.elsewhere.values())
                .filter_map(Weak::upgrade)
                .collect();
            (std::mem::take(&mut state.held), elsewhere)
        };
        let held = held
            .into_values()
            .map(cancel_job)
            .filter(|cancelled| *cancelled)
            .count();
        held + elsewhere.iter().filter(|entry| entry.cancel()).count()
    }

    /// Hands out the places that are free.
    pub(crate) fn release(&self) {
        let mut state = self.state.lock();
        if state.releasing {
            return;
        }
        state.releasing = true;
        let most = self.options.concurrency.unwrap_or(usize::MAX).max(1);
        while state.released.len() < most
            && let Some((number, job)) = state.held.pop_first()
        {
            let Some(entry) = job.entry().map(Arc::clone) else {
                continue;
            };
            state.released.insert(number, Arc::downgrade(&entry));
            drop(state);
            entry.ledger.registry.enqueue(job);
            state = self.state.lock();
        }
        state.releasing = false;
    }
}

/// Cancels a job's request. One that an earlier process has sent may have had its effect: it goes on. Gives whether it is cancelled.
fn cancel_job(job: Job) -> bool {
    let Some(entry) = job.entry().map(Arc::clone) else {
        return false;
    };
    let cancelled = entry.cancel();
    if !cancelled && !job.is_ended() {
        entry.ledger.registry.enqueue(job);
    }
    cancelled
}

impl Member {
    /// Takes in a job, to be sent when there is a place for it.
    pub(crate) fn admit(&self, job: Job) {
        let refused = {
            let mut state = self.group.state.lock();
            // It may come back before it is known here that it was lost.
            state.released.remove(&self.number);
            state.elsewhere.remove(&self.number);
            if state.stopped {
                Some(job)
            } else {
                state.held.insert(self.number, job);
                None
            }
        };
        match refused {
            Some(job) => {
                cancel_job(job);
            }
            None => self.group.release(),
        }
    }

    /// The store hands the request out from here on: it takes no place here, and [`Group::stop`] still reaches it.
    pub(crate) fn note_elsewhere(&self, entry: &Arc<Entry>) {
        let mut state = self.group.state.lock();
        if !self.told.load(Ordering::SeqCst) {
            state.released.remove(&self.number);
            state.elsewhere.insert(self.number, Arc::downgrade(entry));
        }
    }

    /// The request has ended, or is `left` to the durable store: that is no failure, and stops nothing.
    pub(crate) fn ended(&self, id: RequestId, status: RequestStatus, left: bool) {
        if self.told.swap(true, Ordering::SeqCst) {
            return;
        }
        let group = &self.group;
        let failed = !left && matches!(status, RequestStatus::Failed | RequestStatus::Timeout);
        let (held, stops, wakes) = {
            let mut state = group.state.lock();
            state.released.remove(&self.number);
            state.elsewhere.remove(&self.number);
            state.pending -= 1;
            group.counters.ended(status);
            if let Some(ended) = &mut state.ended {
                ended.push_back(id);
            }
            let stops = failed && group.options.on_failure == OnFailure::Stop && !state.stopped;
            let wakes = state.pending == 0 || state.ended.is_some();
            (state.held.remove(&self.number), stops, wakes)
        };
        // Without the lock: dropping a job gives its place in the queue back.
        drop(held);
        if stops {
            group.stop();
        }
        group.release();
        if wakes {
            group.waiters.wake_all();
        }
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("progress", &self.progress()).finish()
    }
}
