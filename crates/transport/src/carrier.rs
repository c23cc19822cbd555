//! Tasks that carry requests out, one request at a time each.
//!
//! A task's future is large, since a whole exchange is in it. So a carrier that has nothing to carry waits for more, and most requests
//! are handed to one that waits.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use tokio::task::JoinSet;

use crate::dispatch::Slot;
use crate::work::Work;

/// How many carriers wait at most: some megabytes. Under a load that needs more, the others take their next request themselves and
/// hardly ever end.
const KEPT: usize = 256;

/// A request, and the slot in which it is carried out.
pub(crate) struct Load {
    pub(crate) slot: Slot,
    pub(crate) work: Work,
}

/// All carriers of a worker.
#[derive(Default)]
pub(crate) struct Carriers(Mutex<State>);

#[derive(Default)]
struct State {
    tasks: JoinSet<()>,
    waiting: Vec<Arc<Seat>>,
}

/// Where a carrier waits.
#[derive(Default)]
struct Seat(Mutex<Handover>);

#[derive(Default)]
struct Handover {
    load: Option<Load>,
    waker: Option<Waker>,
}

impl Carriers {
    /// Has a carrier carry this out.
    pub(crate) fn give(&self, load: Load) {
        let mut state = self.state();
        if let Some(seat) = state.waiting.pop() {
            drop(state);
            return seat.give(load);
        }
        while state.tasks.try_join_next().is_some() {}
        state.tasks.spawn(carry(load));
    }

    /// Drops all carriers, with what they carry.
    pub(crate) async fn stop(&self) {
        let State { mut tasks, waiting } = std::mem::take(&mut *self.state());
        drop(waiting);
        tasks.shutdown().await;
    }

    /// A place to wait in, unless enough carriers wait.
    fn sit_down(&self, seat: &Arc<Seat>) -> bool {
        let mut state = self.state();
        let free = state.waiting.len() < KEPT;
        if free {
            state.waiting.push(Arc::clone(seat));
        }
        free
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    fn give(&self, load: Load) {
        let mut handover = self.handover();
        handover.load = Some(load);
        let waker = handover.waker.take();
        drop(handover);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    async fn wait(&self) -> Load {
        poll_fn(|cx| {
            let mut handover = self.handover();
            match handover.load.take() {
                Some(load) => Poll::Ready(load),
                None => {
                    handover.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn handover(&self) -> MutexGuard<'_, Handover> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn carry(first: Load) {
    let seat = Arc::new(Seat::default());
    let mut next = first;
    loop {
        let Load { slot, work } = next;
        slot.run(work).await;
        if !slot.carriers().sit_down(&seat) {
            return;
        }
        drop(slot);
        next = seat.wait().await;
    }
}
