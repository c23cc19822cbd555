//! What one session holds of the registry: its places, its counters, and who waits for either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::counters::Counters;
use crate::registry::RegistryShared;
use crate::state::State;
use crate::waiters::WaiterList;
use crate::{Priority, RequestStatus, SessionLimits, SubmitErrorKind};

/// What a session's requests are charged to. Entries hold this, never the session itself, so that nothing holds itself.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) id: u64,
    pub(crate) registry: Arc<RegistryShared>,
    pub(crate) limits: SessionLimits,
    pub(crate) counters: Counters,
    pub(crate) places: Places,
    /// What its requests' bodies and the answers that it keeps take.
    pub(crate) held_bytes: AtomicUsize,
    /// Who waits for this session's share of the queue.
    pub(crate) room: WaiterList,
    /// Who waits until nothing is pending.
    pub(crate) idle: WaiterList,
}

impl Ledger {
    /// Takes so many places in the session and in the queue, or none.
    pub(crate) fn reserve(&self, requests: usize) -> Result<(), SubmitErrorKind> {
        let registry = &self.registry;
        if registry.closed.load(Ordering::SeqCst) {
            return Err(SubmitErrorKind::Closed);
        }
        let refused = |one: SubmitErrorKind| match requests {
            1 => one,
            _ => SubmitErrorKind::NotEnoughRoom {
                needed: requests,
                room: self.free_places(),
                most: self.limits.pending.min(self.limits.unsent).min(registry.capacity),
            },
        };
        if let Err(full) = self.places.take(&self.limits, requests) {
            self.sweep_if_full();
            return Err(refused(full));
        }
        if !take_places(&registry.unsent, registry.capacity, requests) {
            self.places.give_back(requests);
            // Meanwhile other submissions may have found the session full.
            for _ in 0..requests {
                self.room.wake_one();
            }
            return Err(refused(SubmitErrorKind::QueueFull {
                unsent: registry.unsent.load(Ordering::SeqCst).max(registry.capacity),
                capacity: registry.capacity,
            }));
        }
        Ok(())
    }

    /// Has what was cancelled taken out of the queue where it keeps this session from submitting anything else.
    pub(crate) fn sweep_if_full(&self) {
        if self.registry.cancelled.load(Ordering::SeqCst) > 0 && self.places.is_unsent_full(&self.limits) {
            self.registry.sweep_wanted.store(true, Ordering::SeqCst);
            self.registry.notify();
        }
    }

    /// How many requests of this session would be accepted now.
    fn free_places(&self) -> usize {
        self.places.free(&self.limits).min(self.registry.free_places())
    }

    /// Gives back what was reserved for a request that was not accepted after all.
    pub(crate) fn withdraw(&self) {
        self.places.ended();
        self.free_place();
        self.wake_if_idle();
    }

    /// A request of this session is no longer in the queue.
    pub(crate) fn left_queue(&self, priority: Priority) {
        self.registry.queued[priority.level()].fetch_sub(1, Ordering::Relaxed);
        self.free_place();
    }

    fn free_place(&self) {
        self.places.left_queue();
        self.room.wake_one();
        self.registry.place_left();
    }

    pub(crate) fn sent(&self) {
        self.registry.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// A sent request of this session is another process's to send.
    pub(crate) fn unsent(&self) {
        self.registry.sent.fetch_sub(1, Ordering::Relaxed);
    }

    /// A sent request of this session is back in the queue, to be sent again later. It takes a place there whether there is one or
    /// not: it cannot be refused.
    pub(crate) fn back_to_queue(&self, priority: Priority) {
        self.registry.queued[priority.level()].fetch_add(1, Ordering::Relaxed);
        self.registry.sent.fetch_sub(1, Ordering::Relaxed);
        self.registry.waiting.fetch_add(1, Ordering::Relaxed);
        self.places.back_to_queue();
        self.registry.unsent.fetch_add(1, Ordering::SeqCst);
    }

    /// A request that was back in the queue has left it again.
    pub(crate) fn left_queue_again(&self, priority: Priority) {
        self.registry.waiting.fetch_sub(1, Ordering::Relaxed);
        self.left_queue(priority);
    }

    pub(crate) fn retried(&self) {
        self.counters.retried();
        self.registry.counters.retried();
    }

    pub(crate) fn ended(&self, before: State, status: RequestStatus) {
        if before == State::Sent {
            self.registry.sent.fetch_sub(1, Ordering::Relaxed);
        }
        let is_cancelled = status == RequestStatus::Cancelled && self.registry.counts_cancelled();
        if is_cancelled && matches!(before, State::Waiting(_)) {
            self.registry.cancelled_waiting.fetch_add(1, Ordering::SeqCst);
        }
        self.counters.ended(status);
        self.registry.counters.ended(status);
        self.registry.pending.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn moved(&self, from: RequestStatus, to: RequestStatus) {
        self.counters.moved(from, to);
        self.registry.counters.moved(from, to);
    }

    pub(crate) fn wake_if_idle(&self) {
        // A place became free, which is what a submission at the session's limit waits for.
        self.room.wake_one();
        if self.places.pending() == 0 {
            self.idle.wake_all();
        }
    }
}

/// Never takes more than there is, not even for a moment: whoever looked just then would wait for a place that is free.
fn take_places(taken: &AtomicUsize, places: usize, wanted: usize) -> bool {
    let take = |taken: usize| taken.checked_add(wanted).filter(|taken| *taken <= places);
    taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
}

/// How many of a session's requests are pending, and how many of those are unsent: in one word, so that a submission takes a
/// place in both counts or in neither.
#[derive(Debug, Default)]
pub(crate) struct Places(AtomicU64);

impl Places {
    const UNSENT: u64 = 1 << 32;

    fn take(&self, limits: &SessionLimits, wanted: usize) -> Result<(), SubmitErrorKind> {
        let take = |taken| {
            let free = Self::free_of(taken, limits) >= wanted;
            free.then(|| taken + (Self::UNSENT + 1) * wanted as u64)
        };
        match self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Ok(()),
            Err(taken) if limits.pending.saturating_sub(Self::pending_of(taken)) < wanted => {
                Err(SubmitErrorKind::TooManyPending { limit: limits.pending })
            }
            Err(_) => Err(SubmitErrorKind::SessionFull { limit: limits.unsent }),
        }
    }

    /// Takes a place for a pending request that is not in the queue, whether there is one or not.
    pub(crate) fn take_beyond(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn free(&self, limits: &SessionLimits) -> usize {
        Self::free_of(self.0.load(Ordering::SeqCst), limits)
    }

    fn free_of(taken: u64, limits: &SessionLimits) -> usize {
        let pending = limits.pending.saturating_sub(Self::pending_of(taken));
        pending.min(limits.unsent.saturating_sub(Self::unsent_of(taken)))
    }

    fn is_unsent_full(&self, limits: &SessionLimits) -> bool {
        Self::unsent_of(self.0.load(Ordering::SeqCst)) >= limits.unsent
    }

    fn give_back(&self, places: usize) {
        self.0.fetch_sub((Self::UNSENT + 1) * places as u64, Ordering::SeqCst);
    }

    pub(crate) fn back_to_queue(&self) {
        self.0.fetch_add(Self::UNSENT, Ordering::SeqCst);
    }

    fn left_queue(&self) {
        self.0.fetch_sub(Self::UNSENT, Ordering::SeqCst);
    }

    pub(crate) fn ended(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    pub(crate) fn pending(&self) -> usize {
        Self::pending_of(self.0.load(Ordering::SeqCst))
    }

    fn pending_of(taken: u64) -> usize {
        (taken % Self::UNSENT) as usize
    }

    fn unsent_of(taken: u64) -> usize {
        (taken / Self::UNSENT) as usize
    }
}
