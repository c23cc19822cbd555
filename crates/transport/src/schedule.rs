//! What is sent next: the one place that decides it.
//!
//! A request takes these steps, and holds no slot on any of them: the registry's queue, its lane, its server's breaker, its pace,
//! a free slot. After a failed attempt it waits for its time here and takes the last three again; its lane it keeps.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{Job, Priority, Queue};
use tokio::time::Instant;

use crate::breaker::{Breakers, Gate};
use crate::exchange::{Exchange, Report};
use crate::lanes::Lanes;
use crate::pace::Pacer;
use crate::work::{Held, Permit, Stage, Work, take_out};

/// What waits here and is overdue is looked for at most this often: a look walks all that waits.
const EXPIRY_GRANULARITY: Duration = Duration::from_millis(5);

/// Of so many takes, one begins with what is ready and one with what is not, whatever their priorities.
const TURNS: u32 = 16;
const READY_FIRST: u32 = 0;
const OTHERS_FIRST: u32 = TURNS / 2;

/// Everything that is not being sent.
pub(crate) struct Schedule {
    exchange: Arc<Exchange>,
    queue: Queue,
    lanes: Lanes,
    breakers: Breakers,
    /// Where limits are kept.
    pacer: Option<Pacer>,
    /// Further attempts, by their time.
    timers: BTreeMap<(Instant, u64), Work>,
    /// What only a slot is missing for, by priority.
    ready: [VecDeque<Work>; 3],
    sequence: u64,
    takes: u32,
    ready_takes: u32,
    /// Nothing that waits here expires before this.
    next_expiry: Option<Instant>,
    stopping: bool,
}

/// What became of what was waiting when the worker stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cleared {
    pub(crate) cancelled: usize,
    pub(crate) given_up: usize,
    pub(crate) left: usize,
}

impl Cleared {
    /// Counts a request that had not ended: the store goes on with it, or it ends now.
    fn count(&mut self, is_stored: bool, ends: fn(&mut Self) -> &mut usize) {
        *(if is_stored { &mut self.left } else { ends(self) }) += 1;
    }
}

impl Schedule {
    pub(crate) fn new(queue: Queue, exchange: Arc<Exchange>, breakers: Breakers, pacer: Option<Pacer>) -> Self {
        Self {
            exchange,
            queue,
            lanes: Lanes::default(),
            breakers,
            pacer,
            timers: BTreeMap::new(),
            ready: Default::default(),
            sequence: 0,
            takes: 0,
            ready_takes: 0,
            next_expiry: None,
            stopping: false,
        }
    }

    /// The next request to send, for a free slot.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Work> {
        if self.stopping {
            return None;
        }
        self.move_due(now);
        loop {
            let mut work = self.pick(now)?;
            work.held.end(now);
            if work.is_over(now) {
                self.retire(work, now);
            } else if self.breakers.all_closed() || work.permit.probe.is_some() {
                return Some(work);
            } else if let Some(work) = self.past_breaker(work, now) {
                return Some(work);
            }
        }
    }

    /// What is ready, and what is not, have their turns: neither starves while there is always some of the other.
    fn pick(&mut self, now: Instant) -> Option<Work> {
        self.takes = self.takes.wrapping_add(1);
        let turn = self.takes % TURNS;
        if self.pacer.is_some() {
            self.look_at_all(now);
            return if turn == OTHERS_FIRST {
                self.pop_paced(now).or_else(|| self.pop_ready())
            } else {
                self.pop_ready().or_else(|| self.pop_paced(now))
            };
        }
        loop {
            let job = match self.ready_priority() {
                None => self.queue.pop()?,
                Some(priority) => {
                    let first = match turn {
                        READY_FIRST => None,
                        OTHERS_FIRST => self.queue.pop(),
                        _ => self.queue.pop_above(priority),
                    };
                    match first {
                        Some(job) => job,
                        None => return self.pop_ready(),
                    }
                }
            };
            let work = self.fresh(job);
            if let Some(work) = self.in_lane(work, now) {
                return Some(work);
            }
        }
    }

    /// Takes all that is new to where it waits for its pace: which may be sent is not the queue's to know.
    fn look_at_all(&mut self, now: Instant) {
        while let Some(job) = self.queue.pop() {
            let work = self.fresh(job);
            if let Some(work) = self.in_lane(work, now) {
                self.make_ready(work, now);
            }
        }
    }

    fn fresh(&mut self, job: Job) -> Work {
        self.sequence += 1;
        Work::fresh(job, self.sequence)
    }

    fn pop_paced(&mut self, now: Instant) -> Option<Work> {
        self.pacer.as_mut().and_then(|pacer| pacer.pop(now))
    }

    fn ready_priority(&self) -> Option<Priority> {
        let mut levels = Priority::ALL.into_iter().zip(&self.ready);
        levels.find_map(|(priority, ready)| (!ready.is_empty()).then_some(priority))
    }

    fn pop_ready(&mut self) -> Option<Work> {
        self.ready_takes = self.ready_takes.wrapping_add(1);
        let mut order = Priority::order(self.ready_takes).into_iter();
        order.find_map(|priority| self.ready[priority.level()].pop_front())
    }

    /// The request with its lane, or nothing where it waits for that.
    fn in_lane(&mut self, mut work: Work, now: Instant) -> Option<Work> {
        let lane = self.exchange.guarded(|policy| policy.lane(work.request())).flatten();
        let Some(lane) = lane else { return Some(work) };
        let expires = work.expires();
        work.held.begin(now);
        let entered = self.lanes.enter(lane, work);
        if entered.is_none() {
            self.note_expiry(expires);
        }
        entered
    }

    /// For a request that has its lane: to its pace, or to where only a slot is missing.
    fn make_ready(&mut self, mut work: Work, now: Instant) {
        self.note_expiry(work.expires());
        if self.pacer.is_none() {
            work.held.end(now);
            return self.ready[work.level()].push_back(work);
        }
        // What waits for a server that is down must not use up its pace.
        let mut work = if self.breakers.all_closed() || work.permit.probe.is_some() {
            work
        } else {
            match self.past_breaker(work, now) {
                Some(work) => work,
                None => return,
            }
        };
        let request = work.request();
        let credential = self.exchange.composer.known_credential(request);
        let secret = credential.as_ref().map(|credential| &credential.secret);
        let class = self
            .exchange
            .guarded(|policy| policy.pace_class(request, secret))
            .flatten();
        match (class, &mut self.pacer) {
            (Some(class), Some(pacer)) => {
                work.held.begin(now);
                pacer.push(class, secret, work, now);
            }
            _ => {
                work.held.end(now);
                self.ready[work.level()].push_back(work);
            }
        }
    }

    /// The request, or nothing where it waits for its server or is refused.
    fn past_breaker(&mut self, mut work: Work, now: Instant) -> Option<Work> {
        let Some(server) = self.exchange.composer.server(work.request()) else {
            return Some(work);
        };
        self.note_expiry(work.expires());
        let pace = work.permit.pace.take();
        work.held.begin(now);
        let permit = match self.breakers.gate(work, &server, now) {
            Gate::Pass(mut work) => {
                work.permit.pace = pace;
                work.held.end(now);
                return Some(work);
            }
            Gate::Held => Permit::default(),
            Gate::Refused(work, failure) => {
                work.stage.refuse(failure);
                work.permit
            }
        };
        self.release(Permit { pace, ..permit }, now);
        None
    }

    /// Takes in how an attempt went, and what its request held.
    pub(crate) fn settle(&mut self, permit: Permit, report: Report, now: Instant) {
        let Permit {
            lane,
            pace,
            probe,
            arrival,
        } = permit;
        if let (Some(pacer), Some(pace)) = (&mut self.pacer, &pace) {
            pacer.passed(pace, report.throttle, report.began, now);
        }
        if let Some((server, health)) = &report.health {
            for work in self.breakers.record(server, *health, now) {
                self.make_ready(work, now);
            }
        }
        if let Some(probe) = &probe {
            self.breakers.not_probed(probe, now);
        }
        match report.again {
            Some((again, _)) if self.stopping => {
                again.stop();
                self.leave_lane(lane, now);
            }
            Some((again, until)) => {
                self.sequence += 1;
                let arrival = if report.requeued { self.sequence } else { arrival };
                let permit = Permit {
                    lane,
                    arrival,
                    ..Permit::default()
                };
                let work = Work {
                    stage: Stage::Again(again),
                    permit,
                    held: Held::default(),
                };
                self.note_expiry(work.expires());
                self.timers.insert((until, self.sequence), work);
            }
            None => self.leave_lane(lane, now),
        }
    }

    /// Gives back what a request held that was not sent.
    pub(crate) fn release(&mut self, mut permit: Permit, now: Instant) {
        if let (Some(pacer), Some(pace)) = (&mut self.pacer, permit.pace.take()) {
            pacer.give_back(&pace);
        }
        if !permit.is_empty() {
            self.settle(permit, Report::nothing(now), now);
        }
    }

    fn leave_lane(&mut self, lane: Option<Arc<str>>, now: Instant) {
        if let Some(next) = lane.and_then(|lane| self.lanes.leave(lane)) {
            self.make_ready(next, now);
        }
    }

    fn move_due(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= now
        {
            let work = entry.remove();
            self.make_ready(work, now);
        }
        for work in self.breakers.due(now) {
            self.make_ready(work, now);
        }
    }

    /// Ends what is overdue and forgets what was cancelled. Gives when to come again; `free` says whether more could be sent now.
    pub(crate) fn tend(&mut self, free: bool, now: Instant) -> Option<Instant> {
        self.move_due(now);
        let cancelled = self.queue.cancelled();
        let many = cancelled * 2 > self.len() + self.queue.len() || (cancelled > 0 && self.queue.is_full());
        let overdue = self.next_expiry.is_some_and(|next| next <= now);
        // What was cancelled between two attempts may hold a lane that others wait for.
        let holding = self.queue.cancelled_waiting() > 0 || self.queue.sweep_wanted();
        if overdue || (many && self.len() > 0) || holding {
            self.sweep(now);
        }
        let queue = self.queue.tend().map(Instant::from_std);
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        let pace = self
            .pacer
            .as_mut()
            .filter(|_| free)
            .and_then(|pacer| pacer.next_wake(now));
        // A look that has just freed a lane may have found something to send.
        let ready = self.ready.iter().any(|ready| !ready.is_empty());
        let ready = (free && ready).then_some(now);
        [queue, timer, pace, ready, self.next_expiry, self.breakers.next_wake()]
            .into_iter()
            .flatten()
            .min()
    }

    fn sweep(&mut self, now: Instant) {
        let mut next: Option<Instant> = None;
        let mut over = Vec::new();
        let mut is_over = |work: &Work| {
            let is_over = work.is_over(now);
            if !is_over {
                next = Some(next.map_or(work.expires(), |next| next.min(work.expires())));
            }
            is_over
        };
        self.lanes.sweep(&mut is_over, &mut over);
        self.breakers.sweep(&mut is_over, &mut over);
        if let Some(pacer) = &mut self.pacer {
            pacer.sweep(&mut is_over, &mut over);
        }
        for ready in &mut self.ready {
            take_out(ready, &mut is_over, &mut over);
        }
        let timers = self.timers.iter();
        let keys: Vec<_> = timers.filter(|(_, work)| is_over(work)).map(|(key, _)| *key).collect();
        over.extend(keys.into_iter().filter_map(|key| self.timers.remove(&key)));
        self.next_expiry = next.map(|next| next.max(now + EXPIRY_GRANULARITY));
        for work in over {
            self.retire(work, now);
        }
    }

    /// Ends a request whose time is over, or forgets one that was cancelled.
    fn retire(&mut self, work: Work, now: Instant) {
        let Work { stage, permit, .. } = work;
        stage.expire(now);
        self.release(permit, now);
    }

    /// Ends everything that waits: what was never sent is cancelled, what was sent ends as it last failed. What a store keeps stays
    /// there.
    pub(crate) fn clear(&mut self, now: Instant) -> Cleared {
        self.stopping = true;
        self.queue.retire();
        let mut cleared = Cleared::default();
        let mut all = Vec::new();
        let mut every = |_: &Work| true;
        self.breakers.sweep(&mut every, &mut all);
        if let Some(pacer) = &mut self.pacer {
            pacer.sweep(&mut every, &mut all);
        }
        self.lanes.sweep(&mut every, &mut all);
        all.extend(self.ready.iter_mut().flat_map(std::mem::take));
        all.extend(std::mem::take(&mut self.timers).into_values());
        while let Some(job) = self.queue.pop() {
            all.push(Work::fresh(job, 0));
        }
        for work in all {
            let Work { stage, permit, .. } = work;
            match stage {
                Stage::Fresh(job) => {
                    if !job.is_ended() {
                        cleared.count(job.is_stored(), |cleared| &mut cleared.cancelled);
                    }
                    drop(job);
                }
                Stage::Again(again) => {
                    if !again.in_flight.is_ended() {
                        cleared.count(again.in_flight.is_stored(), |cleared| &mut cleared.given_up);
                    }
                    again.stop();
                }
            }
            self.release(permit, now);
        }
        cleared
    }

    /// Whether something may have come up that only the loop looks after: what waits here has its times.
    pub(crate) fn has_waiting(&self) -> bool {
        self.len() > 0
    }

    fn len(&self) -> usize {
        let ready: usize = self.ready.iter().map(VecDeque::len).sum();
        let paced = self.pacer.as_ref().map_or(0, Pacer::len);
        self.lanes.len() + self.breakers.len() + paced + ready + self.timers.len()
    }

    fn note_expiry(&mut self, expires: Instant) {
        self.next_expiry = Some(self.next_expiry.map_or(expires, |next| next.min(expires)));
    }
}

#[cfg(test)]
mod tests;
