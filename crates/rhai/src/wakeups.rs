//! How long scripts that wait take to run on once what they wait for has come.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// Who is told of each wake-up: a value of a script's [`Locals`](crate::Locals). Where there is none, no clock is read.
///
/// It is told, on the script's thread and right before the script runs on, how long ago what it waited for had woken it: a request
/// that ended, a time that was over, a task. Be quick.
///
/// ```
/// use inflight_rhai::{Locals, WakeUps};
///
/// let locals = Locals::new();
/// locals.set(WakeUps::new(|latency| println!("woken {latency:?} ago")));
/// ```
#[derive(Clone)]
pub struct WakeUps(Arc<dyn Fn(Duration) + Send + Sync>);

impl WakeUps {
    /// Tells this function. A panic of it costs nothing but the call.
    pub fn new(tell: impl Fn(Duration) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }
}

impl fmt::Debug for WakeUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WakeUps").finish_non_exhaustive()
    }
}

/// Wakes a coroutine, and takes down when it did.
pub(crate) struct Alarm {
    listener: Arc<WakeUps>,
    state: Mutex<State>,
}

struct State {
    coroutine: Waker,
    /// Since when the coroutine could go on.
    woken: Option<Instant>,
}

impl Alarm {
    pub(crate) fn new(listener: Arc<WakeUps>) -> Arc<Self> {
        Arc::new(Self {
            listener,
            state: Mutex::new(State {
                coroutine: Waker::noop().clone(),
                woken: None,
            }),
        })
    }

    /// The coroutine looks at what it waits for: what woke it before that is no news.
    pub(crate) fn set(&self) {
        self.state().woken = None;
    }

    /// The coroutine runs on, and is woken by this waker from now on.
    pub(crate) fn answer(&self, coroutine: &Waker) {
        let woken = {
            let mut state = self.state();
            state.coroutine.clone_from(coroutine);
            state.woken.take()
        };
        if let Some(woken) = woken {
            let _ = catch_unwind(AssertUnwindSafe(|| (self.listener.0)(woken.elapsed())));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let coroutine = {
            let mut state = self.state();
            state.woken.get_or_insert_with(Instant::now);
            state.coroutine.clone()
        };
        coroutine.wake();
    }
}
