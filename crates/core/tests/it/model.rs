//! Random sequences of operations over several sessions, against a model of a few lines: every request ends exactly once, and
//! nothing is lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::testing::{ManualClock, ManualTransport};
use inflight_core::{
    Counts, Effect, Ended, InFlight, Job, Observer, Priority, Registry, RequestId, RequestStatus, ResultError, Session,
    SessionLimits, State, block_on,
};
use proptest::prelude::*;

use crate::support::{failure, post, success};

const SESSIONS: usize = 3;
const CAPACITY: usize = 6;
const LIMITS: SessionLimits = SessionLimits { pending: 5, unsent: 3 };

#[derive(Debug, Clone)]
enum Operation {
    Submit(usize, Priority, u64),
    /// Takes a job from the queue and starts it, or drops it.
    Send,
    DropJob,
    Tend,
    /// Ends the n-th request in flight.
    Succeed(usize),
    Fail(usize, Effect),
    DropInFlight(usize),
    /// Has the n-th request in flight wait for a further attempt, or the n-th that waits go on.
    Wait(usize, Effect),
    Resume(usize),
    /// Asks about, or changes, the n-th request ever submitted, from a session.
    Cancel(usize, usize),
    Take(usize, usize),
    Late(usize, usize, Effect),
    Advance(u64),
    CancelUnsent(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    let effect = prop_oneof![Just(Effect::None), Just(Effect::Done), Just(Effect::Unknown)];
    let session = 0..SESSIONS;
    let any = 0..40_usize;
    prop_oneof![
        6 => (session.clone(), prop::sample::select(Priority::ALL.to_vec()), 1..30_u64)
            .prop_map(|(s, p, d)| Operation::Submit(s, p, d)),
        4 => Just(Operation::Send),
        1 => Just(Operation::DropJob),
        2 => Just(Operation::Tend),
        2 => any.clone().prop_map(Operation::Succeed),
        2 => (any.clone(), effect.clone()).prop_map(|(n, e)| Operation::Fail(n, e)),
        1 => any.clone().prop_map(Operation::DropInFlight),
        2 => (any.clone(), effect.clone()).prop_map(|(n, e)| Operation::Wait(n, e)),
        2 => any.clone().prop_map(Operation::Resume),
        2 => (session.clone(), any.clone()).prop_map(|(s, n)| Operation::Cancel(s, n)),
        2 => (session.clone(), any.clone()).prop_map(|(s, n)| Operation::Take(s, n)),
        1 => (session.clone(), any, effect).prop_map(|(s, n, e)| Operation::Late(s, n, e)),
        1 => (1..10_u64).prop_map(Operation::Advance),
        1 => session.prop_map(Operation::CancelUnsent),
    ]
}

/// Counts the endings of each request.
#[derive(Default)]
struct Endings(Mutex<HashMap<RequestId, u32>>);

impl Observer for Endings {
    fn ended(&self, ended: &Ended<'_>) {
        *self.0.lock().unwrap().entry(ended.id).or_default() += 1;
    }
}

/// What the model knows of a request.
#[derive(Debug, Clone, Copy)]
struct Known {
    session: usize,
    status: RequestStatus,
    effect: Option<Effect>,
    deadline: u64,
    /// Whether it cannot be cancelled.
    sent: bool,
    taken: bool,
}

struct World {
    registry: Registry,
    transport: ManualTransport,
    sessions: Vec<Session>,
    clock: Arc<ManualClock>,
    endings: Arc<Endings>,
    in_flight: Vec<InFlight>,
    waiting: Vec<InFlight>,
    now: u64,
    order: Vec<RequestId>,
    known: HashMap<RequestId, Known>,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        let endings = Arc::new(Endings::default());
        let (registry, queue) = Registry::builder()
            .clock(clock.clone())
            .observer(endings.clone())
            .queue_capacity(CAPACITY)
            .build();
        Self {
            sessions: (0..SESSIONS).map(|_| registry.session_with(LIMITS)).collect(),
            transport: ManualTransport::new(queue),
            registry,
            clock,
            endings,
            in_flight: Vec::new(),
            waiting: Vec::new(),
            now: 0,
            order: Vec::new(),
            known: HashMap::new(),
        }
    }

    fn end(&mut self, id: RequestId, status: RequestStatus, effect: Option<Effect>) {
        let known = self.known.get_mut(&id).unwrap();
        assert_eq!(known.status, RequestStatus::Pending, "{id} ends twice");
        (known.status, known.effect) = (status, effect);
    }

    fn nth(&self, number: usize) -> Option<(RequestId, Known)> {
        let id = *self.order.get(number)?;
        Some((id, self.known[&id]))
    }

    fn take_in_flight(&mut self, number: usize) -> Option<InFlight> {
        (!self.in_flight.is_empty()).then(|| {
            let length = self.in_flight.len();
            self.in_flight.remove(number % length)
        })
    }

    /// The model's own look at the job that the queue has given.
    fn pop(&mut self) -> Option<Job> {
        self.transport.next_job()
    }

    fn run(&mut self, operation: &Operation) {
        match *operation {
            Operation::Submit(session, priority, seconds) => self.submit(session, priority, seconds),
            Operation::Send => self.send(),
            Operation::DropJob => {
                if let Some(job) = self.pop() {
                    let id = format!("{job:?}");
                    let id = self.order.iter().copied().find(|known| id.contains(&known.to_string()));
                    drop(job);
                    self.end(id.unwrap(), RequestStatus::Cancelled, Some(Effect::None));
                }
            }
            Operation::Tend => self.tend(),
            Operation::Succeed(number) => {
                if let Some(sent) = self.take_in_flight(number) {
                    self.end(sent.id(), RequestStatus::Completed, None);
                    sent.complete(success("x"));
                }
            }
            Operation::Fail(number, effect) => {
                if let Some(sent) = self.take_in_flight(number) {
                    self.end(sent.id(), RequestStatus::Failed, Some(effect));
                    sent.complete(Err(failure(effect)));
                }
            }
            Operation::DropInFlight(number) => {
                if let Some(sent) = self.take_in_flight(number) {
                    self.end(sent.id(), RequestStatus::Failed, Some(Effect::Unknown));
                }
            }
            Operation::Wait(number, effect) => {
                if let Some(mut sent) = self.take_in_flight(number) {
                    sent.wait(effect, self.registry.clock().now());
                    self.known.get_mut(&sent.id()).unwrap().sent = effect != Effect::None;
                    self.waiting.push(sent);
                }
            }
            Operation::Resume(number) => self.resume(number),
            Operation::Cancel(session, number) => self.cancel(session, number),
            Operation::Take(session, number) => self.take(session, number),
            Operation::Late(session, number, effect) => self.late(session, number, effect),
            Operation::Advance(seconds) => {
                self.now += seconds;
                self.clock.advance(Duration::from_secs(seconds));
            }
            Operation::CancelUnsent(session) => {
                let unsent = |k: &Known| k.session == session && k.status == RequestStatus::Pending && !k.sent;
                let ids: Vec<_> = self
                    .order
                    .iter()
                    .filter(|id| unsent(&self.known[*id]))
                    .copied()
                    .collect();
                assert_eq!(self.sessions[session].cancel_unsent(), ids.len());
                for id in ids {
                    self.end(id, RequestStatus::Cancelled, Some(Effect::None));
                }
            }
        }
    }

    fn submit(&mut self, session: usize, priority: Priority, seconds: u64) {
        let request = post().priority(priority).deadline(Duration::from_secs(seconds));
        let before = self.sessions[session].pending();
        match self.sessions[session].submit(request) {
            Ok(id) => {
                assert!(before < LIMITS.pending);
                self.order.push(id);
                let known = Known {
                    session,
                    status: RequestStatus::Pending,
                    effect: None,
                    deadline: self.now + seconds,
                    sent: false,
                    taken: false,
                };
                self.known.insert(id, known);
            }
            Err(error) => {
                assert!(error.kind().is_temporary());
                // Cancelled requests hold a place of the queue until they leave it, never one of the pending.
                assert!(before >= LIMITS.pending || self.registry.unsent() > 0, "{error}");
            }
        }
    }

    fn send(&mut self) {
        let Some(job) = self.pop() else { return };
        match block_on(job.start()) {
            Some(sent) => {
                let known = self.known.get_mut(&sent.id()).unwrap();
                assert!(known.status == RequestStatus::Pending && !known.sent && known.deadline > self.now);
                known.sent = true;
                self.in_flight.push(sent);
            }
            // It was overdue: the registry says which, and the model that it may be.
            None => self.note_overdue(),
        }
    }

    fn resume(&mut self, number: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let length = self.waiting.len();
        let waiting = self.waiting.remove(number % length);
        let id = waiting.id();
        let known = self.known.get_mut(&id).unwrap();
        let before = self.sessions[known.session].state(id);
        match block_on(waiting.resume()) {
            Some(sent) => {
                assert!(known.status == RequestStatus::Pending && known.deadline > self.now);
                known.sent = true;
                self.in_flight.push(sent);
            }
            None if known.status == RequestStatus::Pending => {
                assert!(known.deadline <= self.now, "{id} ended before its deadline");
                let Some(State::Waiting(effect)) = before else {
                    panic!("{id} waited: {before:?}")
                };
                self.end(id, RequestStatus::Timeout, Some(effect));
            }
            None => assert_eq!(known.status, RequestStatus::Cancelled),
        }
    }

    fn tend(&mut self) {
        self.transport.queue().tend();
        self.note_overdue();
    }

    fn note_overdue(&mut self) {
        for id in self.order.clone() {
            let known = self.known[&id];
            let ended =
                known.status == RequestStatus::Pending && self.sessions[known.session].is_complete(id) == Some(true);
            if ended {
                assert!(
                    !known.sent && known.deadline <= self.now,
                    "{id} ended before its deadline"
                );
                self.end(id, RequestStatus::Timeout, Some(Effect::None));
            }
        }
    }

    fn cancel(&mut self, session: usize, number: usize) {
        let Some((id, known)) = self.nth(number) else { return };
        let cancelled = self.sessions[session].cancel(id);
        if session != known.session || known.taken {
            assert_eq!(cancelled, None);
        } else if known.status == RequestStatus::Pending && !known.sent {
            assert_eq!(cancelled, Some(true));
            self.end(id, RequestStatus::Cancelled, Some(Effect::None));
        } else {
            assert_eq!(cancelled, Some(false));
        }
    }

    fn take(&mut self, session: usize, number: usize) {
        let Some((id, known)) = self.nth(number) else { return };
        let taken = self.sessions[session].take_result(id);
        if session != known.session || known.taken {
            assert_eq!(taken.unwrap_err(), ResultError::Unknown);
        } else if known.status == RequestStatus::Pending {
            assert_eq!(taken.unwrap_err(), ResultError::Pending);
        } else {
            assert_eq!(taken.unwrap().err().map(|failure| failure.effect), known.effect);
            self.known.get_mut(&id).unwrap().taken = true;
        }
    }

    fn late(&mut self, session: usize, number: usize, effect: Effect) {
        let Some((id, known)) = self.nth(number) else { return };
        // Of a pending request this would be an answer; those the model gives through the transport.
        if known.status == RequestStatus::Pending {
            return;
        }
        let outcome = if effect == Effect::Done {
            success("late")
        } else {
            Err(failure(effect))
        };
        let done = self.sessions[session].complete(id, outcome).unwrap();
        assert_eq!(done.is_some(), session == known.session && !known.taken);
        if done.is_some() && known.effect == Some(Effect::Unknown) {
            let known = self.known.get_mut(&id).unwrap();
            match effect {
                Effect::Done => (known.status, known.effect) = (RequestStatus::Completed, None),
                Effect::None => known.effect = Some(Effect::None),
                Effect::Unknown => {}
            }
        }
    }

    fn check(&self) {
        let mut expected = [Counts::default(); SESSIONS];
        let mut pending = [0; SESSIONS];
        let mut kept = [0; SESSIONS];
        for (id, known) in &self.known {
            let counts = &mut expected[known.session];
            counts.submitted += 1;
            match known.status {
                RequestStatus::Pending => pending[known.session] += 1,
                RequestStatus::Completed => counts.completed += 1,
                RequestStatus::Failed => counts.failed += 1,
                RequestStatus::Timeout => counts.timeout += 1,
                RequestStatus::Cancelled => counts.cancelled += 1,
            }
            kept[known.session] += usize::from(!known.taken);
            let status = (!known.taken).then_some(known.status);
            assert_eq!(self.sessions[known.session].status(*id), status, "{id}");
        }
        for (number, session) in self.sessions.iter().enumerate() {
            assert_eq!(session.counts(), expected[number]);
            assert_eq!((session.pending(), session.len()), (pending[number], kept[number]));
        }
        assert_eq!(self.registry.len(), pending.iter().sum::<usize>());
        assert_eq!(self.registry.in_flight(), self.in_flight.len());
        assert_eq!(self.registry.waiting(), self.waiting.len());
        assert!(self.registry.unsent() <= CAPACITY + self.waiting.len());
    }

    /// The transport goes away: all that is pending ends.
    fn finish(self) {
        let Self {
            registry,
            transport,
            in_flight,
            waiting,
            order,
            endings,
            ..
        } = self;
        drop((transport, in_flight, waiting));
        assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
        let endings = endings.0.lock().unwrap();
        assert_eq!(endings.len(), order.len());
        assert!(endings.values().all(|times| *times == 1), "{endings:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn every_request_ends_exactly_once(operations in prop::collection::vec(operation(), 1..120)) {
        let mut world = World::new();
        for operation in &operations {
            world.run(operation);
            world.check();
        }
        world.finish();
    }
}
