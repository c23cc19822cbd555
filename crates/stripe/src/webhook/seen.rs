//! Events that were delivered before.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inflight_core::{Clock, SystemClock};

/// How many events are remembered unless the host says otherwise. One takes about 150 bytes.
pub const DEFAULT_SEEN_CAPACITY: usize = 100_000;

/// How long an event is remembered unless the host says otherwise: as long as Stripe goes on to deliver it, three days.
/// <https://docs.stripe.com/webhooks#retries>
pub const DEFAULT_SEEN_RETENTION: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// Longest id that is told apart from others: a bound on memory, far above any of Stripe's.
const ID_MAX: usize = 255;

/// Recognises events by their id: Stripe may deliver one more than once.
///
/// In the memory of one process, bounded in number and in time; the oldest go first. A service of several processes keeps the ids
/// in a table of its own.
///
/// ```
/// use inflight_stripe::webhook::SeenEvents;
///
/// let seen = SeenEvents::default();
/// assert!(seen.first_time("evt_1"));
/// assert!(!seen.first_time("evt_1"));
/// // Its handling failed, and Stripe shall deliver it again.
/// seen.forget("evt_1");
/// assert!(seen.first_time("evt_1"));
/// ```
pub struct SeenEvents {
    capacity: usize,
    retention: Duration,
    clock: Arc<dyn Clock>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// When each was seen first.
    by_id: HashMap<Arc<str>, Instant>,
    /// Oldest first. One that was forgotten stays here until its turn; what the map says counts.
    in_order: VecDeque<(Arc<str>, Instant)>,
}

impl SeenEvents {
    /// Remembers at most `capacity` events, each for at most `retention`.
    #[must_use]
    pub fn new(capacity: usize, retention: Duration) -> Self {
        Self::with_clock(capacity, retention, Arc::new(SystemClock))
    }

    /// The same by another clock: for tests.
    #[must_use]
    pub fn with_clock(capacity: usize, retention: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            capacity: capacity.max(1),
            retention,
            clock,
            seen: Mutex::default(),
        }
    }

    /// Whether this event has not been seen before; from now on it has.
    pub fn first_time(&self, id: &str) -> bool {
        let id = bounded(id);
        let now = self.clock.now();
        let mut seen = self.lock();
        seen.forget_older(now, self.retention);
        if seen.by_id.contains_key(id) {
            return false;
        }
        while seen.in_order.len() >= self.capacity {
            seen.forget_oldest();
        }
        let id: Arc<str> = id.into();
        seen.by_id.insert(Arc::clone(&id), now);
        seen.in_order.push_back((id, now));
        true
    }

    /// Forgets an event, so that its next delivery is a first one: for a delivery whose handling failed.
    pub fn forget(&self, id: &str) {
        self.lock().by_id.remove(bounded(id));
    }

    /// How many events are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().by_id.len()
    }

    /// Whether no event is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn forget_older(&mut self, now: Instant, retention: Duration) {
        let over = |since: Instant| now.saturating_duration_since(since) >= retention;
        while self.in_order.front().is_some_and(|(_, since)| over(*since)) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((id, since)) = self.in_order.pop_front() else {
            return;
        };
        // Forgotten and seen again, it has a later place in the line.
        if self.by_id.get(&id) == Some(&since) {
            self.by_id.remove(&id);
        }
    }
}

fn bounded(id: &str) -> &str {
    let end = (0..=ID_MAX.min(id.len())).rev().find(|end| id.is_char_boundary(*end));
    &id[..end.unwrap_or(0)]
}

impl Default for SeenEvents {
    fn default() -> Self {
        Self::new(DEFAULT_SEEN_CAPACITY, DEFAULT_SEEN_RETENTION)
    }
}

impl fmt::Debug for SeenEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeenEvents")
            .field("capacity", &self.capacity)
            .field("retention", &self.retention)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct HandClock(Mutex<Instant>);

    impl HandClock {
        fn advance(&self, by: Duration) {
            *self.0.lock().unwrap() += by;
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> Instant {
            *self.0.lock().unwrap()
        }
    }

    fn seen(capacity: usize) -> (SeenEvents, Arc<HandClock>) {
        let clock = Arc::new(HandClock(Mutex::new(Instant::now())));
        let seen = SeenEvents::with_clock(capacity, Duration::from_secs(10), Arc::clone(&clock) as _);
        (seen, clock)
    }

    #[test]
    fn the_second_delivery_is_none_of_the_first() {
        let (seen, _) = seen(10);
        assert!(seen.first_time("a"));
        assert!(seen.first_time("b"));
        assert!(!seen.first_time("a"));
        assert!(!seen.first_time("b"));
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn memory_is_bounded_in_number_and_in_time() {
        let (seen, clock) = seen(3);
        for id in ["a", "b", "c", "d"] {
            assert!(seen.first_time(id));
        }
        assert_eq!(seen.len(), 3);
        assert!(seen.first_time("a"), "the oldest went first");
        clock.advance(Duration::from_secs(9));
        assert!(!seen.first_time("d"));
        clock.advance(Duration::from_secs(1));
        assert!(seen.first_time("d"));
        assert_eq!(seen.len(), 1);
        // Forgetting and seeing again and again takes no room.
        for _ in 0..1000 {
            seen.forget("x");
            assert!(seen.first_time("x"));
        }
        assert!(seen.lock().in_order.len() <= 3);
        // Nor does a text that is no id.
        assert!(seen.first_time(&"é".repeat(1_000_000)));
        assert!(seen.lock().by_id.keys().all(|id| id.len() <= ID_MAX));
    }

    #[test]
    fn one_that_was_forgotten_and_seen_again_lasts_from_then_on() {
        let (seen, clock) = seen(10);
        assert!(seen.first_time("a"));
        seen.forget("a");
        clock.advance(Duration::from_secs(6));
        assert!(seen.first_time("a"));
        clock.advance(Duration::from_secs(6));
        assert!(!seen.first_time("a"));
    }

    #[test]
    fn of_many_threads_one_is_first() {
        let seen = SeenEvents::default();
        let firsts: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| usize::from(seen.first_time("a"))))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(firsts, 1);
    }
}
