//! How a session accepts requests: one, or several of which all are accepted or none.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::entry::Entry;
use crate::group::Group;
use crate::queue::{Job, lane_of};
use crate::state::{Event, Transition};
use crate::store::{Row, written};
use crate::{
    Effect, Failure, FailureKind, IdempotencyKey, Request, RequestId, Session, SubmitAllError, SubmitError,
    SubmitErrorKind,
};

impl Session {
    pub(crate) fn submit_in(&self, group: Option<&Arc<Group>>, request: Request) -> Result<RequestId, SubmitError> {
        let account = self.account();
        if let Err(kind) = account.reserve(1) {
            return Err(SubmitError::new(kind, request));
        }
        match self.register(group, request) {
            Ok((entry, request)) => {
                let id = entry.id;
                self.send(entry, request);
                Ok(id)
            }
            Err(request) => {
                account.withdraw();
                Err(SubmitError::new(SubmitErrorKind::KeyReused, request))
            }
        }
    }

    pub(crate) fn submit_all_in(
        &self,
        group: Option<&Arc<Group>>,
        requests: Vec<Request>,
    ) -> Result<Vec<RequestId>, SubmitAllError> {
        let account = self.account();
        let count = requests.len();
        if let Err(kind) = account.reserve(count) {
            return Err(SubmitAllError::new(kind, requests));
        }
        let mut registered = Vec::with_capacity(count);
        let mut requests = requests.into_iter();
        while let Some(request) = requests.next() {
            match self.register(group, request) {
                Ok(accepted) => registered.push(accepted),
                Err(refused) => {
                    let mut all = Vec::with_capacity(count);
                    for (entry, request) in registered {
                        self.shard(entry.id).lock().remove(&entry.id);
                        all.push(request);
                    }
                    all.push(refused);
                    all.extend(requests);
                    (0..count).for_each(|_| account.withdraw());
                    return Err(SubmitAllError::new(SubmitErrorKind::KeyReused, all));
                }
            }
        }
        let ids = registered.iter().map(|(entry, _)| entry.id).collect();
        for (entry, request) in registered {
            self.send(entry, request);
        }
        Ok(ids)
    }

    /// Makes a request known that has its place. Gives it back where it brings a key that another one has.
    fn register(&self, group: Option<&Arc<Group>>, request: Request) -> Result<(Arc<Entry>, Request), Request> {
        let member = group.map(Group::join);
        let entry = Arc::new(Entry::new(Arc::clone(self.account()), &request, member));
        let id = entry.id;
        self.shard(id).lock().insert(id, Arc::clone(&entry));
        // Generated keys are new each time, so that only those pay who bring one.
        if matches!(request.idempotency_key, IdempotencyKey::Given(_)) && !self.claim_key(id, &request) {
            let forgotten = self.shard(id).lock().remove(&id);
            drop(forgotten);
            if let Some(group) = group {
                group.leave();
            }
            return Err(request);
        }
        Ok((entry, request))
    }

    /// Sends a registered request on its way.
    fn send(&self, entry: Arc<Entry>, mut request: Request) {
        let account = self.account();
        let registry = &account.registry;
        let id = entry.id;
        if let Some(prepare) = &registry.on_submit {
            prepare(id, &mut request);
        }
        registry.queued[lane_of(entry.priority)].fetch_add(1, Ordering::Relaxed);
        account.counters.submitted();
        registry.counters.submitted();
        registry.pending.fetch_add(1, Ordering::SeqCst);
        entry.tell_submitted();

        let Some(store) = &registry.store else {
            return Arc::clone(&entry).enqueue(Job::new(entry, Box::new(request)));
        };
        if let Some(key) = request.idempotency_key.text(id).map(std::borrow::Cow::into_owned) {
            request.idempotency_key = IdempotencyKey::Given(key);
        }
        let row = Row {
            id,
            session: account.id,
            request: request.clone(),
        };
        let job = Job::new(Arc::clone(&entry), Box::new(request));
        store.append(
            vec![row],
            written(move |result| match result {
                Ok(()) => {
                    if let Ok((Transition::To(_), wake)) = entry.handover.advance(Event::Recorded) {
                        wake.all();
                        entry.enqueue(job);
                    }
                }
                Err(error) => {
                    let failure = Failure::new(FailureKind::Store, Effect::None, error.to_string()).with_source(error);
                    let _ = entry.end_now(Event::NotRecorded, Err(failure));
                    drop(job);
                }
            }),
        );
    }
}
