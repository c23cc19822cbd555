//! Where a request's outcome passes from the thread that completes it to whoever waits for it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::state::{Event, Ignored, InvalidEvent, State, Transition, transition};
use crate::sync::Mutex;
use crate::{Effect, Outcome};

/// State, outcome and waiters of one request, behind one short lock of its own, so that threads queue behind nothing shared.
#[derive(Debug)]
pub(crate) struct Handover {
    cell: Mutex<Cell>,
}

#[derive(Debug)]
struct Cell {
    state: State,
    /// Whether an ending is on its way through the store: until that is known nothing else ends the request.
    ending: bool,
    outcome: Option<Arc<Outcome>>,
    waiters: Waiters,
}

/// Nearly every request has one waiter or none; only further ones cost an allocation.
#[derive(Debug, Default)]
struct Waiters {
    first: Option<(u32, Waker)>,
    further: Vec<(u32, Waker)>,
    next_key: u32,
}

impl Waiters {
    /// Remembers the waker under `key`, or under a new key that it leaves there.
    fn register(&mut self, key: &mut Option<u32>, waker: &Waker) {
        let known = key.and_then(|key| {
            self.first
                .iter_mut()
                .chain(self.further.iter_mut())
                .find(|(k, _)| *k == key)
        });
        if let Some((_, registered)) = known {
            registered.clone_from(waker);
            return;
        }
        let new = *key.insert(self.next_key);
        self.next_key = self.next_key.wrapping_add(1);
        if self.first.is_none() {
            self.first = Some((new, waker.clone()));
        } else {
            self.further.push((new, waker.clone()));
        }
    }

    fn forget(&mut self, key: u32) {
        if self.first.as_ref().is_some_and(|(k, _)| *k == key) {
            self.first = None;
        } else {
            self.further.retain(|(k, _)| *k != key);
        }
    }
}

/// Wakers to call once no lock is held.
#[must_use]
#[derive(Debug)]
pub(crate) struct Wake(Option<Waiters>);

impl Wake {
    pub(crate) fn all(self) {
        let Some(waiters) = self.0 else { return };
        for (_, waker) in waiters.first.into_iter().chain(waiters.further) {
            waker.wake();
        }
    }
}

impl Handover {
    pub(crate) fn new(state: State) -> Self {
        Self {
            cell: Mutex::new(Cell {
                state,
                ending: false,
                outcome: None,
                waiters: Waiters::default(),
            }),
        }
    }

    pub(crate) fn state(&self) -> State {
        self.cell.lock().state
    }

    pub(crate) fn outcome(&self) -> Option<Arc<Outcome>> {
        self.cell.lock().outcome.clone()
    }

    /// Says that the store is about to write an ending. Gives `false` where there is nothing to add: the request has ended, or an
    /// earlier ending is being written.
    pub(crate) fn begin_ending(&self) -> bool {
        let mut cell = self.cell.lock();
        !cell.state.is_ended() && !std::mem::replace(&mut cell.ending, true)
    }

    /// The same for cancelling a request that has not been sent, or that waits after attempts without an effect: from here on it is
    /// not sent. Gives `false` for any other.
    pub(crate) fn begin_cancel(&self) -> bool {
        let mut cell = self.cell.lock();
        let may = matches!(transition(cell.state, Event::Cancel), Ok(Transition::To(_)));
        may && !std::mem::replace(&mut cell.ending, true)
    }

    /// The store has not written the ending, and another one may come.
    pub(crate) fn give_up_ending(&self) {
        self.cell.lock().ending = false;
    }

    /// Whether the store is writing an ending.
    pub(crate) fn is_ending(&self) -> bool {
        self.cell.lock().ending
    }

    /// Applies an event that does not end the request.
    pub(crate) fn advance(&self, event: Event) -> Result<(Transition, Wake), InvalidEvent> {
        let mut cell = self.cell.lock();
        if cell.ending && event == Event::Send {
            return Err(InvalidEvent::Ended);
        }
        let done = transition(cell.state, event)?;
        let mut woken = None;
        if let Transition::To(state) = done {
            debug_assert!(!state.is_ended(), "{event:?} ends the request and needs an outcome");
            let was_recording = cell.state == State::Recording;
            cell.state = state;
            if was_recording {
                woken = Some(std::mem::take(&mut cell.waiters));
            }
        }
        Ok((done, Wake(woken)))
    }

    /// Applies an event that ends the request with this outcome, or changes how it ended. `on_end` runs before anyone can see
    /// the ending, with the state before and after, under the request's lock.
    pub(crate) fn end(
        &self,
        event: Event,
        mut outcome: Outcome,
        on_end: impl FnOnce(State, State, &Outcome),
    ) -> Result<(Transition, Wake), InvalidEvent> {
        let mut cell = self.cell.lock();
        if cell.ending && event == Event::Cancel {
            return Ok((Transition::Ignore(Ignored::AlreadyEnded), Wake(None)));
        }
        let done = transition(cell.state, event)?;
        let Transition::To(state) = done else {
            return Ok((done, Wake(None)));
        };
        if let (Err(failure), State::Failed(effect) | State::Timeout(effect)) = (&mut outcome, state)
            && failure.effect != effect
        {
            // The table has the last word: what was never sent has no effect.
            failure.effect = effect;
            failure.needs_reconcile = effect == Effect::Unknown;
        }
        on_end(cell.state, state, &outcome);
        cell.state = state;
        cell.outcome = Some(Arc::new(outcome));
        Ok((done, Wake(Some(std::mem::take(&mut cell.waiters)))))
    }

    /// The outcome, or a registration to be woken by.
    pub(crate) fn poll_outcome(&self, cx: &mut Context<'_>, key: &mut Option<u32>) -> Poll<Arc<Outcome>> {
        let mut cell = self.cell.lock();
        if let Some(outcome) = &cell.outcome {
            return Poll::Ready(Arc::clone(outcome));
        }
        cell.waiters.register(key, cx.waker());
        Poll::Pending
    }

    /// Ready once the request is no longer being recorded.
    pub(crate) fn poll_recorded(&self, cx: &mut Context<'_>, key: &mut Option<u32>) -> Poll<()> {
        let mut cell = self.cell.lock();
        if cell.state != State::Recording {
            return Poll::Ready(());
        }
        cell.waiters.register(key, cx.waker());
        Poll::Pending
    }

    /// Withdraws a registration.
    pub(crate) fn forget(&self, key: u32) {
        self.cell.lock().waiters.forget(key);
    }
}

/// Run with `RUSTFLAGS="--cfg loom" cargo test -p inflight-core --lib --release loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::{Response, Success};
    use loom::thread;
    use std::future::poll_fn;

    fn success() -> Outcome {
        Ok(Success {
            object_id: Some("prod_1".into()),
            response: Response::default(),
        })
    }

    fn complete(handover: &Handover) {
        let (done, wake) = handover.end(Event::Succeed, success(), |_, _, _| {}).unwrap();
        assert_eq!(done, Transition::To(State::Completed));
        wake.all();
    }

    fn wait(handover: &Handover) -> Arc<Outcome> {
        let mut key = None;
        loom::future::block_on(poll_fn(|cx| handover.poll_outcome(cx, &mut key)))
    }

    #[test]
    fn loom_no_wake_up_is_lost() {
        loom::model(|| {
            let handover = Arc::new(Handover::new(State::Sent));
            let other = Arc::clone(&handover);
            let worker = thread::spawn(move || complete(&other));
            assert!(wait(&handover).is_ok());
            worker.join().unwrap();
        });
    }

    #[test]
    fn loom_two_waiters_are_both_woken() {
        let mut bound = loom::model::Builder::new();
        bound.preemption_bound = Some(3);
        bound.check(|| {
            let handover = Arc::new(Handover::new(State::Sent));
            let waiters: Vec<_> = (0..2)
                .map(|_| {
                    let handover = Arc::clone(&handover);
                    thread::spawn(move || wait(&handover).is_ok())
                })
                .collect();
            complete(&handover);
            for waiter in waiters {
                assert!(waiter.join().unwrap());
            }
        });
    }

    #[test]
    fn loom_a_withdrawn_waiter_takes_no_wake_up_from_another() {
        loom::model(|| {
            let handover = Arc::new(Handover::new(State::Sent));
            let mut withdrawn = None;
            let mut cx = Context::from_waker(Waker::noop());
            assert!(handover.poll_outcome(&mut cx, &mut withdrawn).is_pending());
            let other = Arc::clone(&handover);
            let worker = thread::spawn(move || complete(&other));
            handover.forget(withdrawn.unwrap());
            assert!(wait(&handover).is_ok());
            worker.join().unwrap();
        });
    }

    #[test]
    fn loom_cancel_and_send_exclude_each_other() {
        loom::model(|| {
            let handover = Arc::new(Handover::new(State::Queued));
            let other = Arc::clone(&handover);
            let sender = thread::spawn(move || other.advance(Event::Send).is_ok());
            let cancelled = handover.end(Event::Cancel, success(), |_, _, _| {}).unwrap();
            let sent = sender.join().unwrap();
            assert_ne!(sent, matches!(cancelled.0, Transition::To(State::Cancelled)));
        });
    }

    #[test]
    fn loom_recorded_is_told() {
        loom::model(|| {
            let handover = Arc::new(Handover::new(State::Recording));
            let other = Arc::clone(&handover);
            let store = thread::spawn(move || other.advance(Event::Recorded).unwrap().1.all());
            let mut key = None;
            loom::future::block_on(poll_fn(|cx| handover.poll_recorded(cx, &mut key)));
            store.join().unwrap();
        });
    }
}
