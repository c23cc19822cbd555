//! How many requests look for a connection at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

/// How many requests may look for a connection before the loop starts further ones.
///
/// Where thousands are submitted at once, the answers to the first come in while the last are started, and their connections carry
/// later ones. Started together, each of them would open a connection of its own, of which the server's system takes only so many
/// at a time, and the client's pool would search all that wait in it for each.
const AT_ONCE: usize = 32;

/// Where none has found a connection for so long, the network or another host is what they wait for, and not this one's time: twice
/// as many may look then.
const PATIENCE: Duration = Duration::from_millis(50);

/// All requests of a worker that look for a connection.
#[derive(Debug, Clone)]
pub(crate) struct Seeking(Arc<State>);

#[derive(Debug)]
struct State {
    /// How many there are.
    count: AtomicUsize,
    /// How many there may be.
    limit: AtomicUsize,
    /// Whether the loop waits for one to find its connection.
    awaited: AtomicBool,
    found: Notify,
}

impl Default for Seeking {
    fn default() -> Self {
        Self(Arc::new(State {
            count: AtomicUsize::new(0),
            limit: AtomicUsize::new(AT_ONCE),
            awaited: AtomicBool::new(false),
            found: Notify::new(),
        }))
    }
}

impl Seeking {
    /// Counts a request until it has found a connection or is dropped.
    pub(crate) fn begin(&self) -> Seeker {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Seeker {
            seeking: self.clone(),
            found: AtomicBool::new(false),
        }
    }

    /// How many may begin.
    pub(crate) fn room(&self) -> usize {
        let count = self.0.count.load(Ordering::Relaxed);
        if count == 0 {
            self.0.limit.store(AT_ONCE, Ordering::Relaxed);
        }
        self.0.limit.load(Ordering::Relaxed).saturating_sub(count)
    }

    /// Waits until there is room, or has been none for too long.
    pub(crate) async fn wait_for_room(&self) {
        // Those that were started have their turn, and so has what arrived.
        tokio::task::yield_now().await;
        if self.room() > 0 {
            return;
        }
        self.0.awaited.store(true, Ordering::Relaxed);
        if tokio::time::timeout(PATIENCE, self.0.found.notified()).await.is_err() {
            let limit = self.0.limit.load(Ordering::Relaxed);
            self.0.limit.store(limit.saturating_mul(2), Ordering::Relaxed);
        }
    }
}

/// A request that looks for a connection.
#[derive(Debug)]
pub(crate) struct Seeker {
    seeking: Seeking,
    found: AtomicBool,
}

impl Seeker {
    /// It looks no longer.
    pub(crate) fn found(&self) {
        if self.found.swap(true, Ordering::Relaxed) {
            return;
        }
        let state = &self.seeking.0;
        state.count.fetch_sub(1, Ordering::Relaxed);
        if state.awaited.swap(false, Ordering::Relaxed) {
            state.found.notify_one();
        }
    }
}

impl Drop for Seeker {
    fn drop(&mut self) {
        self.found();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_makes_room_once() {
        let seeking = Seeking::default();
        let mut seekers: Vec<_> = (0..AT_ONCE).map(|_| seeking.begin()).collect();
        assert_eq!(seeking.room(), 0);
        let found = seekers.pop().expect("the last");
        tokio::join!(seeking.wait_for_room(), async {
            while !seeking.0.awaited.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
            found.found();
        });
        assert_eq!(seeking.room(), 1, "it was no time that made room");
        drop(found);
        assert_eq!(seeking.room(), 1);
        drop(seekers);
        assert_eq!(seeking.room(), AT_ONCE);
    }

    /// Requests for a server that does not answer keep nothing from others, for longer than moments.
    #[tokio::test(start_paused = true)]
    async fn who_finds_none_holds_nobody_up_for_long() {
        let seeking = Seeking::default();
        let began = tokio::time::Instant::now();
        let mut seekers = Vec::new();
        while seekers.len() < 10_000 {
            seekers.extend((0..seeking.room()).map(|_| seeking.begin()));
            seeking.wait_for_room().await;
        }
        assert!(began.elapsed() < Duration::from_millis(600), "{:?}", began.elapsed());
        drop(seekers);
        assert_eq!(seeking.room(), AT_ONCE);
    }
}
