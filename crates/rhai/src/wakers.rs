//! Who is to be woken when something has happened that several coroutines may wait for.

use std::task::Waker;

use crate::heap::uncharged;

/// The wakers of those who wait. They are the host's memory, whoever adds and wakes them.
#[derive(Default)]
pub(crate) struct Wakers(Vec<Waker>);

impl Wakers {
    /// Notes who waits. Once is enough: the main coroutine is polled as often as any of its script's tasks is woken.
    pub(crate) fn add(&mut self, waker: &Waker) {
        if !self.0.iter().any(|known| known.will_wake(waker)) {
            uncharged(|| self.0.push(waker.clone()));
        }
    }

    pub(crate) fn wake(self) {
        uncharged(|| self.0.into_iter().for_each(Waker::wake));
    }
}
