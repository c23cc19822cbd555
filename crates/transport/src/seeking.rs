//! How many requests look for a connection at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// How many requests may look for a connection before the loop starts further ones.
///
/// Where thousands are submitted at once, the answers to the first come in while the last are started, and their connections carry
/// later ones. Started together, each of them would open a connection of its own, of which the server's system takes only so many
/// at a time, and the client's pool would search all that wait in it for each.
const AT_ONCE: usize = 32;

/// Where the thread had nothing else to do for half of this time, those that look wait for the network and not for the thread: twice
/// as many may look then.
const IDLE_PATIENCE: Duration = Duration::from_millis(5);

/// Where the thread was busy and still fewer than may look found theirs within this time, twice as many may look too: they may all
/// look for one host, and the others for another.
const BUSY_PATIENCE: Duration = Duration::from_millis(50);

/// All requests of a worker that look for a connection: from the time that an attempt begins, when what has to be stored is stored.
#[derive(Debug, Clone)]
pub(crate) struct Seeking(Arc<State>);

#[derive(Debug)]
struct State {
    /// How many there are.
    count: AtomicUsize,
    /// How many there may be.
    limit: AtomicUsize,
    /// Whether the loop waits for room.
    awaited: AtomicBool,
    room: Notify,
    /// How many no longer look for one.
    ended: AtomicUsize,
    /// For how many nanoseconds the thread has slept.
    slept: AtomicU64,
}

/// Since when the loop has had to wait for room, and what had been by then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crowded {
    idle_since: Instant,
    slept: Duration,
    busy_since: Instant,
    ended: usize,
}

impl Default for Seeking {
    fn default() -> Self {
        Self(Arc::new(State {
            count: AtomicUsize::new(0),
            limit: AtomicUsize::new(AT_ONCE),
            awaited: AtomicBool::new(false),
            room: Notify::new(),
            ended: AtomicUsize::new(0),
            slept: AtomicU64::new(0),
        }))
    }
}

impl Seeking {
    /// Counts a request until it has found a connection, or no longer looks for one.
    pub(crate) fn begin(&self) -> Seeker {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Seeker {
            seeking: self.clone(),
            ended: AtomicBool::new(false),
        }
    }

    /// How many may begin.
    pub(crate) fn room(&self) -> usize {
        let limit = self.0.limit.load(Ordering::Relaxed);
        limit.saturating_sub(self.0.count.load(Ordering::Relaxed))
    }

    /// The thread has slept for so long, since it had nothing to do.
    pub(crate) fn note_sleep(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.slept.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn slept(&self) -> Duration {
        Duration::from_nanos(self.0.slept.load(Ordering::Relaxed))
    }

    fn crowded_since(&self, now: Instant) -> Crowded {
        Crowded {
            idle_since: now,
            slept: self.slept(),
            busy_since: now,
            ended: self.0.ended.load(Ordering::Relaxed),
        }
    }

    /// Nothing waits for room any more: a limit that was raised is lowered, so far that whoever still looks holds nobody up.
    pub(crate) fn calm(&self) {
        let count = self.0.count.load(Ordering::Relaxed);
        self.0.limit.fetch_min(count + AT_ONCE, Ordering::Relaxed);
    }

    /// Waits until there is room, though not for long; `crowded` is what it gave the last time, where there has been no calm since.
    pub(crate) async fn wait_for_room(&self, crowded: Option<Crowded>) -> Crowded {
        let now = Instant::now();
        let crowded = crowded.unwrap_or_else(|| self.crowded_since(now));
        // Those that were started have their turn, and so has what arrived.
        tokio::task::yield_now().await;
        if self.room() == 0 {
            self.0.awaited.store(true, Ordering::Relaxed);
            let _ = tokio::time::timeout_at(now + IDLE_PATIENCE, self.0.room.notified()).await;
            self.0.awaited.store(false, Ordering::Relaxed);
        }
        self.look_again(crowded, Instant::now())
    }

    /// Raises the limit where it holds back more than the thread's time does.
    fn look_again(&self, crowded: Crowded, now: Instant) -> Crowded {
        let limit = self.0.limit.load(Ordering::Relaxed);
        let next = self.crowded_since(now);
        let idle_time = now - crowded.idle_since;
        let was_idle = idle_time >= IDLE_PATIENCE && (next.slept - crowded.slept) * 2 >= idle_time;
        let busy_time_is_over = now - crowded.busy_since >= BUSY_PATIENCE;
        if was_idle || (busy_time_is_over && next.ended.wrapping_sub(crowded.ended) < limit) {
            self.0.limit.store(limit.saturating_mul(2), Ordering::Relaxed);
            return next;
        }
        let mut crowded = crowded;
        if idle_time >= IDLE_PATIENCE {
            (crowded.idle_since, crowded.slept) = (now, next.slept);
        }
        if busy_time_is_over {
            (crowded.busy_since, crowded.ended) = (now, next.ended);
        }
        crowded
    }
}

/// A request that looks for a connection.
#[derive(Debug)]
pub(crate) struct Seeker {
    seeking: Seeking,
    ended: AtomicBool,
}

impl Seeker {
    /// It looks no longer.
    pub(crate) fn end(&self) {
        if self.ended.swap(true, Ordering::Relaxed) {
            return;
        }
        let state = &self.seeking.0;
        state.count.fetch_sub(1, Ordering::Relaxed);
        state.ended.fetch_add(1, Ordering::Relaxed);
        // Who makes no room wakes nobody.
        if state.awaited.load(Ordering::Relaxed) && self.seeking.room() > 0 {
            state.awaited.store(false, Ordering::Relaxed);
            state.room.notify_one();
        }
    }
}

impl Drop for Seeker {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seekers(seeking: &Seeking) -> Vec<Seeker> {
        (0..seeking.room()).map(|_| seeking.begin()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_makes_room_once() {
        let seeking = Seeking::default();
        let mut all = seekers(&seeking);
        assert_eq!(all.len(), AT_ONCE);
        let found = all.pop().expect("the last");
        tokio::join!(seeking.wait_for_room(None), async {
            while !seeking.0.awaited.load(Ordering::Relaxed) {
                tokio::task::yield_now().await;
            }
            found.end();
        });
        assert_eq!(seeking.room(), 1, "it was no time that made room");
        drop(found);
        assert_eq!(seeking.room(), 1);
        drop(all);
        assert_eq!(seeking.room(), AT_ONCE);
    }

    /// How long it takes until a thousand have begun that find nothing, where others find theirs every other millisecond.
    async fn time_to_begin(seeking: &Seeking, idle: bool) -> Duration {
        let began = Instant::now();
        let (mut stuck, mut crowded) = (Vec::new(), None);
        tokio::select! {
            () = async {
                while stuck.len() < 1_000 {
                    stuck.extend(seekers(seeking));
                    crowded = Some(seeking.wait_for_room(crowded).await);
                }
            } => {}
            () = async {
                loop {
                    let other = seeking.begin();
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    drop(other);
                    if idle {
                        seeking.note_sleep(Duration::from_millis(2));
                    }
                }
            } => {}
        }
        assert_eq!(seeking.0.count.load(Ordering::Relaxed), stuck.len());
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_the_network_holds_nobody_up() {
        let time = time_to_begin(&Seeking::default(), true).await;
        assert!(time <= 8 * IDLE_PATIENCE, "{time:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_dead_host_holds_nobody_up_for_long_on_a_busy_thread() {
        let seeking = Seeking::default();
        let time = time_to_begin(&seeking, false).await;
        assert!(time > BUSY_PATIENCE && time <= 8 * BUSY_PATIENCE, "{time:?}");
        let stuck: Vec<_> = (0..100).map(|_| seeking.begin()).collect();
        seeking.calm();
        assert_eq!(seeking.room(), AT_ONCE);
        drop(stuck);
        seeking.calm();
        assert_eq!(seeking.room(), AT_ONCE);
    }
}
