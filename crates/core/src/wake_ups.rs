//! Wake-ups kept for a moment, so that one thread wakes another once for many endings.

use std::cell::RefCell;
use std::task::Waker;

thread_local! {
    static HELD: RefCell<Option<Held>> = const { RefCell::new(None) };
}

struct Held {
    most: usize,
    wakers: Vec<Waker>,
}

/// From now on this thread keeps the wake-ups of the requests that it ends, at most this many of them, until
/// [`release_wake_ups`].
///
/// For the thread of a transport that ends many requests in one go: waking a sleeping thread costs more than ending a request.
/// Whoever calls this must call [`release_wake_ups`] before the thread sleeps, and before it ends.
pub fn hold_wake_ups(most: usize) {
    HELD.with_borrow_mut(|held| {
        held.get_or_insert_with(|| Held {
            most,
            wakers: Vec::with_capacity(most),
        })
        .most = most;
    });
}

/// Wakes whoever waits for what this thread has ended since [`hold_wake_ups`] or the last release.
pub fn release_wake_ups() {
    let held = HELD.with_borrow_mut(|held| held.as_mut().map(|held| std::mem::take(&mut held.wakers)));
    // Without the borrow: a waker may be anything, and end further requests.
    let Some(mut wakers) = held else { return };
    wakers.drain(..).for_each(Waker::wake);
    HELD.with_borrow_mut(|held| {
        if let Some(held) = held
            && held.wakers.is_empty()
        {
            held.wakers = wakers;
        }
    });
}

/// Wakes now, or keeps the wake-up where this thread holds them.
pub(crate) fn wake(waker: Waker) {
    let now = HELD.with_borrow_mut(|held| match held {
        Some(held) => {
            held.wakers.push(waker);
            if held.wakers.len() < held.most {
                None
            } else {
                Some(None)
            }
        }
        None => Some(Some(waker)),
    });
    match now {
        None => {}
        Some(None) => release_wake_ups(),
        Some(Some(waker)) => waker.wake(),
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn wake_ups_are_kept_until_they_are_released_or_too_many() {
        let count = Arc::new(Count::default());
        let woken = || count.0.load(Ordering::Relaxed);
        let wake_one = || wake(Arc::clone(&count).into());
        wake_one();
        assert_eq!(woken(), 1);
        hold_wake_ups(3);
        wake_one();
        wake_one();
        assert_eq!(woken(), 1);
        wake_one();
        assert_eq!(woken(), 4);
        wake_one();
        assert_eq!(woken(), 4);
        release_wake_ups();
        assert_eq!(woken(), 5);
        release_wake_ups();
        assert_eq!(woken(), 5);
    }
}
