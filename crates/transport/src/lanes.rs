//! Requests that run one after another.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::work::{Work, take_out};

/// The lanes that are in use. A lane is taken when a request first comes to the schedule, and given back when it has ended: it is
/// held through all attempts and the pauses between them.
///
/// Deliberately absent: requests that hold two lanes. They could wait for each other for ever.
#[derive(Default)]
pub(crate) struct Lanes {
    /// Who waits, by lane. A lane that is here is taken.
    waiting: HashMap<Arc<str>, VecDeque<Work>>,
    length: usize,
}

impl Lanes {
    /// Gives the request back with the lane taken, or keeps it until the lane is free.
    pub(crate) fn enter(&mut self, lane: String, mut work: Work) -> Option<Work> {
        if let Some(waiting) = self.waiting.get_mut(&*lane) {
            waiting.push_back(work);
            self.length += 1;
            return None;
        }
        let lane: Arc<str> = lane.into();
        self.waiting.insert(Arc::clone(&lane), VecDeque::new());
        work.permit.lane = Some(lane);
        Some(work)
    }

    /// Gives the lane to the request that has waited longest, if one waits.
    pub(crate) fn leave(&mut self, lane: Arc<str>) -> Option<Work> {
        let next = self.waiting.get_mut(&lane).and_then(VecDeque::pop_front);
        match next {
            Some(mut work) => {
                self.length -= 1;
                work.permit.lane = Some(lane);
                Some(work)
            }
            None => {
                self.waiting.remove(&lane);
                None
            }
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Takes out those that wait and of which `is_over` holds.
    pub(crate) fn sweep(&mut self, is_over: &mut dyn FnMut(&Work) -> bool, over: &mut Vec<Work>) {
        for waiting in self.waiting.values_mut() {
            take_out(waiting, is_over, over);
        }
        self.length = self.waiting.values().map(VecDeque::len).sum();
    }
}
