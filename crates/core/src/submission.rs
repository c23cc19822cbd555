//! How a session accepts requests: one, or several of which all are accepted or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::entry::Entry;
use crate::group::Group;
use crate::queue::Job;
use crate::state::Event;
use crate::store::{Row, written};
use crate::{
    Call, Effect, Failure, IdempotencyKey, Request, RequestId, Session, StoreError, SubmitAllError, SubmitError,
    SubmitErrorKind,
};

/// What a session knows by now.
#[allow(clippy::large_enum_variant, reason = "made once per request and taken apart at once")]
enum Registered {
    New(New),
    /// An earlier run of the script has submitted it. The request is what it asked for again.
    Known(RequestId, Box<Request>),
}

/// A request to be sent on its way.
struct New {
    entry: Arc<Entry>,
    request: Request,
    call: Option<Call>,
}

/// A request that a store is to write before it is sent.
struct ToRecord {
    entry: Arc<Entry>,
    row: Row,
    job: Job,
}

/// Why a request is not accepted, and the request.
type Refused = (SubmitErrorKind, Box<Request>);

impl Session {
    pub(crate) fn submit_in(&self, group: Option<&Arc<Group>>, request: Request) -> Result<RequestId, SubmitError> {
        let ledger = self.ledger();
        if let Err(kind) = ledger.reserve(1) {
            return Err(SubmitError::new(kind, request));
        }
        match self.register(group, request) {
            Ok(Registered::New(new)) => {
                let id = new.entry.id;
                self.record(self.accept(new).into_iter().collect());
                Ok(id)
            }
            Ok(Registered::Known(id, _)) => {
                ledger.withdraw();
                Ok(id)
            }
            Err((kind, request)) => {
                ledger.withdraw();
                Err(SubmitError::new(kind, *request))
            }
        }
    }

    pub(crate) fn submit_all_in(
        &self,
        group: Option<&Arc<Group>>,
        requests: Vec<Request>,
    ) -> Result<Vec<RequestId>, SubmitAllError> {
        let ledger = self.ledger();
        let count = requests.len();
        if let Err(kind) = ledger.reserve(count) {
            return Err(SubmitAllError::new(kind, requests));
        }
        let mut registered = Vec::with_capacity(count);
        let mut requests = requests.into_iter();
        while let Some(request) = requests.next() {
            match self.register(group, request) {
                Ok(accepted) => registered.push(accepted),
                Err((kind, refused)) => {
                    let mut all: Vec<_> = registered.into_iter().map(|one| self.take_back(one)).collect();
                    all.push(*refused);
                    all.extend(requests);
                    (0..count).for_each(|_| ledger.withdraw());
                    return Err(SubmitAllError::new(kind, all));
                }
            }
        }
        let mut ids = Vec::with_capacity(count);
        let mut to_record = Vec::new();
        for one in registered {
            match one {
                Registered::New(new) => {
                    ids.push(new.entry.id);
                    to_record.extend(self.accept(new));
                }
                Registered::Known(id, _) => {
                    ids.push(id);
                    ledger.withdraw();
                }
            }
        }
        self.record(to_record);
        Ok(ids)
    }

    /// Makes a request known that has its place. Gives it back where it brings a key that another one has, or is not what the script
    /// asked for here in its first run.
    fn register(&self, group: Option<&Arc<Group>>, request: Request) -> Result<Registered, Refused> {
        let call = self.next_call();
        let id = call.as_ref().map_or_else(RequestId::random, Call::request_id);
        if call.is_some() {
            let mut prepared = request.clone();
            self.prepare(id, &mut prepared);
            match self.is_restored(id, &prepared) {
                Ok(false) => {}
                Ok(true) => {
                    self.join_restored(group, id);
                    return Ok(Registered::Known(id, Box::new(request)));
                }
                Err(kind) => return Err((kind, Box::new(request))),
            }
        }
        let member = group.map(Group::join);
        let entry = Arc::new(Entry::new(id, Arc::clone(self.ledger()), &request, member));
        self.shard(id).lock().insert(id, Arc::clone(&entry));
        // Generated keys are new each time, so that only those pay who bring one.
        if matches!(request.idempotency_key, IdempotencyKey::Given(_)) && !self.claim_key(id, &request) {
            let forgotten = self.shard(id).lock().remove(&id);
            drop(forgotten);
            if let Some(group) = group {
                group.leave();
            }
            return Err((SubmitErrorKind::KeyReused, Box::new(request)));
        }
        Ok(Registered::New(New { entry, request, call }))
    }

    /// Counts a request that an earlier run has submitted as one of this batch.
    pub(crate) fn join_restored(&self, group: Option<&Arc<Group>>, id: RequestId) {
        let (Some(group), Some(entry)) = (group, self.entry(id)) else {
            return;
        };
        entry.join(group);
    }

    fn take_back(&self, one: Registered) -> Request {
        match one {
            Registered::Known(_, request) => *request,
            Registered::New(new) => {
                self.shard(new.entry.id).lock().remove(&new.entry.id);
                new.request
            }
        }
    }

    /// What the host adds to a request when it is accepted.
    fn prepare(&self, id: RequestId, request: &mut Request) {
        if let Some(prepare) = &self.ledger().registry.on_submit {
            prepare(id, request);
        }
    }

    /// Counts a registered request, and queues it unless a store is to write it first: then it is given back, to be recorded.
    fn accept(&self, new: New) -> Option<ToRecord> {
        let New {
            entry,
            mut request,
            call,
        } = new;
        let ledger = self.ledger();
        let registry = &ledger.registry;
        let id = entry.id;
        self.prepare(id, &mut request);
        registry.queued[entry.priority.level()].fetch_add(1, Ordering::Relaxed);
        ledger.counters.submitted();
        registry.counters.submitted();
        registry.pending.fetch_add(1, Ordering::SeqCst);
        entry.tell_submitted();

        if registry.store.is_none() {
            Arc::clone(&entry).enqueue(Job::new(entry, Box::new(request)));
            return None;
        }
        if let Some(key) = request.idempotency_key.text(id).map(std::borrow::Cow::into_owned) {
            request.idempotency_key = IdempotencyKey::Given(key);
        }
        let row = Row {
            id,
            session: ledger.id,
            request: request.clone(),
            deadline: entry.deadline.saturating_duration_since(entry.submitted),
            call,
        };
        let job = Job::new(Arc::clone(&entry), Box::new(request));
        Some(ToRecord { entry, row, job })
    }

    /// Has the store write these requests, all or none, and then sends them on their way.
    fn record(&self, requests: Vec<ToRecord>) {
        let registry = &self.ledger().registry;
        let Some(store) = registry.store.as_ref().filter(|_| !requests.is_empty()) else {
            return;
        };
        let shared = store.is_shared();
        if shared {
            // Before they are written: whoever works on the store may be quicker than the answer.
            requests.iter().for_each(|one| one.entry.note_elsewhere());
        }
        let (rows, jobs): (Vec<_>, Vec<_>) = requests.into_iter().map(|one| (one.row, (one.entry, one.job))).unzip();
        store.append(
            rows,
            written(move |result| {
                let result = result.map_err(Arc::new);
                for (entry, job) in jobs {
                    match &result {
                        Ok(()) => send(&entry, job, shared),
                        Err(error) => refuse(&entry, job, error),
                    }
                }
            }),
        );
    }
}

/// Lets a request go that the store has written: to the queue, or to whoever claims it from the store.
fn send(entry: &Arc<Entry>, job: Job, shared: bool) {
    let is_new = entry.recorded();
    if shared {
        job.hand_over();
        entry.cancel_if_stopped();
    } else if is_new {
        entry.enqueue(job);
    }
}

/// Ends a request that the store has not written.
fn refuse(entry: &Arc<Entry>, job: Job, error: &Arc<StoreError>) {
    let mut failure = Failure::new(error.failure_kind(), Effect::None, error.to_string());
    failure.source = Some(Arc::clone(error) as _);
    let _ = entry.end_now(Event::NotRecorded, Err(failure));
    // Who cancels it from now on finds it ended.
    let known = entry.ledger.registry.elsewhere.lock().forget(entry);
    drop((known, job));
}
