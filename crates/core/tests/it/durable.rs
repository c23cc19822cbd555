//! What a durable store hands back: requests of an earlier process, and of other ones.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight_core::testing::ManualTransport;
use inflight_core::{
    BatchOptions, Call, Calls, Effect, Ended, IdempotencyKey, Kept, Observer, Outcome, Registry, Request, RequestId,
    RequestStatus, Row, Session, SessionLimits, State, Store, StoreError, SubmitErrorKind, Written,
};

use crate::support::{Polled, failure, manual_with, post, success};

/// A store that other processes work on too, played by the test. It writes at once.
#[derive(Default)]
pub(crate) struct Shared {
    rows: Mutex<Vec<Row>>,
    log: Mutex<Vec<String>>,
    /// Whose requests are another's by now.
    pub(crate) lost: Mutex<Vec<RequestId>>,
    /// What it has not answered yet, while it answers nothing.
    unanswered: Mutex<Option<Vec<Written>>>,
}

impl Shared {
    fn note(&self, id: RequestId, what: String, done: Written) {
        self.log.lock().unwrap().push(what);
        if let Some(unanswered) = &mut *self.unanswered.lock().unwrap() {
            return unanswered.push(done);
        }
        let lost = self.lost.lock().unwrap().contains(&id);
        done(if lost { Err(StoreError::lost()) } else { Ok(()) });
    }

    pub(crate) fn log(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    pub(crate) fn claim(&self) -> Kept {
        let row = self.rows.lock().unwrap().remove(0);
        kept(row.id, row.request)
    }
}

impl Store for Shared {
    fn append(&self, rows: Vec<Row>, done: Written) {
        self.rows.lock().unwrap().extend(rows);
        done(Ok(()));
    }
    fn sent(&self, id: RequestId, attempt: u32, done: Written) {
        self.note(id, format!("sent {attempt}"), done);
    }
    fn ended(&self, id: RequestId, status: RequestStatus, _: &Outcome, done: Written) {
        self.note(id, status.as_str().into(), done);
    }
    fn settled(&self, id: RequestId, status: RequestStatus, _: &Outcome, done: Written) {
        self.note(id, format!("settled {}", status.as_str()), done);
    }
    fn is_shared(&self) -> bool {
        true
    }
    fn cancel(&self, _: RequestId) -> bool {
        self.log.lock().unwrap().push("cancel".into());
        true
    }
}

pub(crate) fn kept(id: RequestId, request: Request) -> Kept {
    Kept {
        id,
        request,
        deadline: Duration::from_secs(600),
        attempts: 0,
        sent_ago: None,
        ended: None,
    }
}

fn sent_before(kept: Kept) -> Kept {
    Kept {
        attempts: 1,
        sent_ago: Some(Duration::from_secs(60)),
        ..kept
    }
}

pub(crate) fn shared() -> (Registry, ManualTransport, Arc<Shared>) {
    let store = Arc::new(Shared::default());
    let (registry, transport) = manual_with(Registry::builder().store(store.clone()));
    (registry, transport, store)
}

/// The calls of one task, in order.
#[derive(Default)]
struct Numbers(AtomicU64);

impl Calls for Numbers {
    fn next(&self) -> Call {
        Call {
            run: "nightly".into(),
            task: 0,
            sequence: self.0.fetch_add(1, Ordering::SeqCst),
        }
    }
}

pub(crate) fn of_run(registry: &Registry) -> Session {
    let limits = SessionLimits {
        pending: 100,
        unsent: 100,
    };
    registry.session_of_run(limits, Arc::new(Numbers::default()))
}

pub(crate) fn nth(sequence: u64) -> RequestId {
    Call {
        run: "nightly".into(),
        task: 0,
        sequence,
    }
    .request_id()
}

#[test]
fn a_shared_request_is_sent_by_whoever_the_store_hands_it_to() {
    let (registry, mut transport, store) = shared();
    let id = registry.submit(post()).unwrap();
    assert!(transport.next_job().is_none(), "the store hands it out");
    assert_eq!((registry.len(), registry.unsent()), (1, 0), "the store is the queue");
    assert_eq!(registry.elsewhere(), [id]);
    let mut wait = Polled::new(registry.wait_async(id).unwrap());
    assert!(wait.is_pending());

    registry.take_in(store.claim());
    assert_eq!(registry.unsent(), 1);
    transport.next().succeed("prod_1");
    assert!(wait.poll().is_ready());
    assert_eq!(store.log(), ["sent 1", "completed"]);
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
    assert!(registry.elsewhere().is_empty());
}

#[test]
fn what_another_process_did_is_learned() {
    let (registry, _transport, store) = shared();
    let ids = [(); 3].map(|()| registry.submit(post()).unwrap());
    let mut wait = Polled::new(registry.wait_async(ids[0]).unwrap());
    assert!(wait.is_pending());
    assert!(registry.learn(ids[0], RequestStatus::Completed, success("prod_1")));
    assert!(wait.poll().is_ready());
    assert!(registry.learn(ids[1], RequestStatus::Failed, Err(failure(Effect::Unknown))));
    assert_eq!(
        registry.cancel(ids[2]),
        Some(false),
        "whether it was sent only the store knows"
    );
    assert!(registry.learn(ids[2], RequestStatus::Cancelled, Err(failure(Effect::None))));
    let statuses = ids.map(|id| registry.status(id).unwrap().as_str());
    assert_eq!(statuses, ["completed", "failed", "cancelled"]);
    assert!(
        !registry.learn(ids[0], RequestStatus::Failed, Err(failure(Effect::None))),
        "once"
    );
    assert_eq!(store.log(), ["cancel"], "it is written already");
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
}

#[test]
fn observers_are_told_what_ended_before_and_what_ends_here_only() {
    #[derive(Default)]
    struct Seen(Mutex<Vec<(bool, bool)>>);
    impl Observer for Seen {
        fn ended(&self, ended: &Ended<'_>) {
            self.0.lock().unwrap().push((ended.restored, ended.left));
        }
    }
    let seen = Arc::new(Seen::default());
    let store = Arc::new(Shared::default());
    let (registry, transport) = manual_with(Registry::builder().store(store).observer(seen.clone()));
    let run = of_run(&registry);
    run.restore(Kept {
        ended: Some((RequestStatus::Completed, success("prod_1"))),
        ..sent_before(kept(nth(0), post()))
    });
    run.restore(kept(nth(1), post()));
    registry.take_in(kept(nth(1), post()));
    drop(transport);
    assert_eq!(*seen.0.lock().unwrap(), [(true, false), (false, true)]);
}

#[test]
fn what_was_taken_over_is_neither_sent_nor_ended_here() {
    for steps in 0..2 {
        let (registry, mut transport, store) = shared();
        let id = registry.submit(post()).unwrap();
        registry.take_in(store.claim());
        let lose = || store.lost.lock().unwrap().push(id);
        if steps == 0 {
            lose();
            assert!(transport.try_next().is_none());
        } else {
            let sent = transport.next();
            lose();
            sent.succeed("prod_1");
        }
        assert_eq!(registry.status(id), Some(RequestStatus::Pending));
        assert_eq!(registry.unsent(), 0);
        assert!(registry.learn(id, RequestStatus::Completed, success("prod_2")));
        let outcome = registry.result(id).unwrap();
        assert_eq!(outcome.as_ref().as_ref().unwrap().object_id.as_deref(), Some("prod_2"));
        assert_eq!((registry.len(), registry.in_flight()), (0, 0));
    }
}

#[test]
fn what_was_taken_over_is_not_cancelled_here() {
    // In the queue, in the transport's hands, and waiting for a further attempt.
    for steps in 0..3 {
        let (registry, mut transport, store) = shared();
        let id = registry.submit(post()).unwrap();
        registry.take_in(store.claim());
        let mut job = (steps > 0).then(|| transport.next_job().unwrap());
        let mut waiting = None;
        if steps == 2 {
            let mut in_flight = inflight_core::block_on(job.take().unwrap().start()).unwrap();
            in_flight.wait(Effect::None, std::time::Instant::now());
            waiting = Some(in_flight);
        }
        store.lost.lock().unwrap().push(id);
        assert_eq!(registry.cancel(id), Some(false), "only the store knows");
        assert_eq!(registry.status(id), Some(RequestStatus::Pending), "{steps}");
        assert!(job.is_none_or(|job| inflight_core::block_on(job.start()).is_none()));
        assert!(waiting.is_none_or(|waiting| inflight_core::block_on(waiting.resume()).is_none()));
        assert!(transport.try_next().is_none());
        assert!(
            registry.learn(id, RequestStatus::Completed, success("prod_2")),
            "{steps}"
        );
        let outcome = registry.result(id).unwrap();
        assert_eq!(outcome.as_ref().as_ref().unwrap().object_id.as_deref(), Some("prod_2"));
        assert_eq!(
            (registry.len(), registry.unsent(), registry.in_flight()),
            (0, 0, 0),
            "{steps}"
        );
    }
}

#[test]
fn what_was_lost_while_the_transport_had_it_is_sent_once_when_it_is_handed_out_again() {
    // Not begun, and waiting for a further attempt.
    for is_waiting in [false, true] {
        let (registry, mut transport, store) = shared();
        let id = registry.submit(post()).unwrap();
        registry.take_in(store.claim());
        let mut job = Some(transport.next_job().unwrap());
        let waiting = is_waiting.then(|| {
            let mut in_flight = inflight_core::block_on(job.take().unwrap().start()).unwrap();
            in_flight.wait(Effect::None, std::time::Instant::now());
            in_flight
        });
        store.lost.lock().unwrap().push(id);
        assert_eq!(registry.cancel(id), Some(false));
        assert_eq!(
            store.log().last().map(String::as_str),
            Some("cancel"),
            "whoever has it is asked"
        );
        // Nobody has begun it, and this process claims it again.
        store.lost.lock().unwrap().clear();
        registry.take_in(sent_before(kept(id, post())));
        let again = transport.try_next().expect("it is handed out");
        assert!(job.is_none_or(|job| job.is_ended() && inflight_core::block_on(job.start()).is_none()));
        assert!(
            waiting.is_none_or(|waiting| waiting.is_ended() && inflight_core::block_on(waiting.resume()).is_none())
        );
        assert_eq!(
            registry.status(id),
            Some(RequestStatus::Pending),
            "the new attempt alone ends it"
        );
        again.succeed("prod_1");
        assert_eq!(registry.status(id), Some(RequestStatus::Completed));
        assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
    }
}

#[test]
fn a_late_word_of_a_loss_does_not_touch_what_was_handed_out_since() {
    let (registry, mut transport, store) = shared();
    let id = registry.submit(post()).unwrap();
    registry.take_in(store.claim());
    *store.unanswered.lock().unwrap() = Some(Vec::new());
    let start = transport.next_job().unwrap().start();
    registry.cancel(id);
    let [sent, ended] = store
        .unanswered
        .lock()
        .unwrap()
        .take()
        .unwrap()
        .try_into()
        .ok()
        .unwrap();
    sent(Err(StoreError::lost()));
    assert!(inflight_core::block_on(start).is_none());
    registry.take_in(kept(id, post()));
    ended(Err(StoreError::lost()));
    transport.try_next().expect("it is still there").succeed("prod_1");
    assert_eq!(registry.status(id), Some(RequestStatus::Completed));
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
}

#[test]
fn what_fails_by_itself_is_not_taken_for_cancelled() {
    let (registry, mut transport, store) = shared();
    let session = registry.session();
    let id = session.submit(post()).unwrap();
    registry.take_in(store.claim());
    let sent = transport.next();
    *store.unanswered.lock().unwrap() = Some(Vec::new());
    sent.fail(failure(Effect::None));
    assert!(session.being_cancelled().is_empty(), "its ending is being written");
    for ended in store.unanswered.lock().unwrap().take().unwrap() {
        ended(Ok(()));
    }
    assert_eq!(session.status(id), Some(RequestStatus::Failed));
    assert!(session.being_cancelled().is_empty());
    // What is cancelled is, until the store has written it.
    let second = session.submit(post()).unwrap();
    registry.take_in(store.claim());
    *store.unanswered.lock().unwrap() = Some(Vec::new());
    session.cancel_unsent();
    assert_eq!(session.being_cancelled(), [second]);
}

#[test]
fn what_is_cancelled_in_a_shared_store_leaves_the_queue_at_once() {
    let (registry, mut transport, store) = shared();
    let ids = [(); 3].map(|()| registry.submit(post()).unwrap());
    for _ in ids {
        registry.take_in(store.claim());
    }
    transport.queue().tend();
    assert_eq!(transport.queue().len(), 3);
    registry.cancel(ids[1]);
    assert!(transport.queue().sweep_wanted());
    transport.queue().tend();
    assert!(!transport.queue().sweep_wanted(), "once");
    assert_eq!((transport.queue().len(), registry.unsent()), (2, 2));
}

#[test]
fn what_is_cancelled_in_a_shared_store_is_cancelled_once_that_is_written() {
    for is_waiting in [false, true] {
        let (registry, mut transport, store) = shared();
        let id = registry.submit(post()).unwrap();
        registry.take_in(store.claim());
        let waiting = is_waiting.then(|| {
            let mut in_flight = inflight_core::block_on(transport.next_job().unwrap().start()).unwrap();
            in_flight.wait(Effect::None, std::time::Instant::now());
            in_flight
        });
        assert_eq!(registry.cancel(id), Some(false));
        assert_eq!(
            registry.status(id),
            Some(RequestStatus::Cancelled),
            "this store writes at once"
        );
        assert!(waiting.as_ref().is_none_or(inflight_core::InFlight::is_ended));
        drop(waiting);
        assert!(transport.try_next().is_none());
        assert_eq!(store.log().last().map(String::as_str), Some("cancelled"));
        assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
        let queue = transport.queue();
        assert_eq!(
            (queue.cancelled(), queue.cancelled_waiting()),
            (0, 0),
            "nothing is left to be dropped"
        );
    }
}

#[test]
fn who_waits_is_told_where_a_request_is_lost_to_another_process_while_this_one_stops() {
    let (registry, mut transport, store) = shared();
    let id = registry.submit(post()).unwrap();
    registry.take_in(store.claim());
    let sent = transport.next();
    drop(transport);
    store.lost.lock().unwrap().push(id);
    sent.succeed("prod_1");
    let outcome = registry.result(id).unwrap();
    assert_eq!(outcome.as_ref().as_ref().unwrap_err().effect, Effect::Unknown);
    assert!(registry.elsewhere().is_empty(), "nobody learns any more");
}

#[test]
fn what_a_dead_process_had_sent_is_in_doubt_until_it_is_answered() {
    let (registry, mut transport, _store) = shared();
    let id = RequestId::random();
    let request = post().idempotency_key(IdempotencyKey::Given("k".into()));
    registry.take_in(sent_before(kept(id, request)));
    let job = transport.next_job().unwrap();
    assert!(job.was_sent());
    job.refuse(failure(Effect::None));
    assert_eq!((registry.len(), registry.unsent()), (0, 0));

    // Of a session here, whose request another process had begun and lost.
    let id = registry.submit(post()).unwrap();
    registry.take_in(sent_before(kept(id, post())));
    assert_eq!(registry.root().state(id), Some(State::Waiting(Effect::Unknown)));
    assert_eq!(registry.cancel(id), Some(false), "its effect may be real");
    let mut sent = transport.next().into_inner();
    assert_eq!(sent.attempts(), 1);
    sent.begin_attempt(Duration::ZERO);
    assert_eq!(sent.attempts(), 2);
    sent.complete(success("prod_1"));
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
}

#[test]
fn a_script_that_runs_again_sends_nothing_twice() {
    let (registry, _transport, store) = shared();
    let first = of_run(&registry);
    let ids = [first.submit(post()).unwrap(), first.submit(post()).unwrap()];
    assert_eq!(ids, [nth(0), nth(1)]);
    let rows = std::mem::take(&mut *store.rows.lock().unwrap());
    assert_eq!(rows[1].call.as_ref().map(|call| call.sequence), Some(1));

    // The process dies; the next one knows what the store has kept.
    let (registry, _transport, _) = shared();
    let again = of_run(&registry);
    let ended = Kept {
        ended: Some((RequestStatus::Completed, success("prod_1"))),
        ..kept(rows[0].id, rows[0].request.clone())
    };
    again.restore(ended);
    again.restore(kept(rows[1].id, rows[1].request.clone()));
    assert_eq!(again.submit(rows[0].request.clone()).unwrap(), nth(0));
    assert_eq!(again.status(nth(0)), Some(RequestStatus::Completed));
    let batch = again
        .submit_batch(vec![rows[1].request.clone(), post()], BatchOptions::default())
        .unwrap();
    assert_eq!(batch.ids(), [nth(1), nth(2)]);
    assert_eq!(registry.elsewhere().len(), 2);
    assert!(registry.learn(nth(1), RequestStatus::Completed, success("prod_2")));
    assert!(registry.learn(nth(2), RequestStatus::Completed, success("prod_3")));
    assert_eq!((batch.progress().total, batch.progress().completed), (2, 2));
    assert_eq!((again.pending(), registry.len(), registry.unsent()), (0, 0, 0));
}

#[test]
fn a_script_that_has_changed_is_found_out() {
    let (registry, _transport, _store) = shared();
    let session = of_run(&registry);
    session.restore(kept(nth(0), post().operation("product.create")));
    for other in [
        post().operation("price.create"),
        Request::new(inflight_core::Method::Post, "/v1/other").operation("product.create"),
    ] {
        let again = of_run(&registry);
        again.restore(kept(nth(0), post().operation("product.create")));
        let error = again.submit(other).unwrap_err();
        assert_eq!(error.kind(), SubmitErrorKind::Diverged { id: nth(0) });
        assert_eq!(again.restored(nth(0)).unwrap().operation, "product.create");
        assert_eq!(again.pending(), 1, "the first one's");
    }
    let error = session
        .submit_all(vec![post().operation("price.create"), post()])
        .unwrap_err();
    assert_eq!(error.into_requests().len(), 2);
    assert_eq!(session.pending(), 1);
}

#[test]
fn what_becomes_known_later_is_written() {
    let (registry, mut transport, store) = shared();
    let id = registry.submit(post()).unwrap();
    registry.take_in(store.claim());
    transport.next().fail(failure(Effect::Unknown));
    registry.root().reconcile(id, success("prod_1")).unwrap();
    assert_eq!(store.log(), ["sent 1", "failed", "settled completed"]);
}

#[test]
fn a_run_counts_as_its_own_what_the_store_has_handed_out_before() {
    for ends_first in [false, true] {
        let (registry, mut transport, _store) = shared();
        registry.take_in(kept(nth(0), post()));
        if ends_first {
            transport.next().succeed("prod_1");
        }
        let run = of_run(&registry);
        run.restore(kept(nth(0), post()));
        assert_eq!(run.submit(post()).unwrap(), nth(0));
        let mut drained = Polled::new(run.drained());
        if !ends_first {
            assert_eq!(run.pending(), 1);
            assert!(drained.is_pending(), "it is not sent, and not to be cancelled");
            transport.next().succeed("prod_1");
        }
        assert!(drained.poll().is_ready());
        assert_eq!(run.status(nth(0)), Some(RequestStatus::Completed));
        assert_eq!((run.counts().submitted, run.counts().completed), (1, 1));
        assert_eq!((registry.counts().submitted, registry.counts().completed), (1, 1));
        assert_eq!((run.pending(), registry.len(), registry.unsent()), (0, 0, 0));
    }
}

#[test]
fn a_batch_that_stops_cancels_nothing_that_was_sent() {
    for joins_first in [false, true] {
        let (registry, mut transport, _store) = shared();
        let run = of_run(&registry);
        let requests = [post(), post()];
        for (sequence, request) in (0..).zip(&requests) {
            run.restore(kept(nth(sequence), request.clone()));
        }
        let options = BatchOptions {
            concurrency: Some(1),
            ..BatchOptions::default()
        };
        let mut batch = None;
        let mut join = || batch = Some(run.restore_batch(vec![nth(0), nth(1)], options));
        if joins_first {
            join();
        }
        registry.take_in(kept(nth(0), post()));
        registry.take_in(sent_before(kept(nth(1), post())));
        if !joins_first {
            join();
        }
        let batch = batch.unwrap();
        assert_eq!(batch.cancel(), 0, "the store is asked first");
        assert_eq!(run.status(nth(0)), Some(RequestStatus::Cancelled));
        assert_eq!(
            run.status(nth(1)),
            Some(RequestStatus::Pending),
            "its effect may be real"
        );
        transport.next().succeed("prod_1");
        assert_eq!(run.status(nth(1)), Some(RequestStatus::Completed));
        assert_eq!((run.pending(), registry.len(), registry.unsent()), (0, 0, 0));
    }
}

#[test]
fn what_was_cancelled_elsewhere_ends_here_too_though_it_was_sent_before() {
    let (registry, mut transport, store) = shared();
    let run = of_run(&registry);
    run.restore(sent_before(kept(nth(0), post())));
    assert!(registry.learn(nth(0), RequestStatus::Cancelled, Err(failure(Effect::None))));
    assert_eq!(run.status(nth(0)), Some(RequestStatus::Cancelled));

    // Of one that this process was sending when another one took it over.
    let id = registry.submit(post()).unwrap();
    registry.take_in(store.claim());
    let sent = transport.next();
    store.lost.lock().unwrap().push(id);
    sent.succeed("prod_1");
    assert_eq!(registry.in_flight(), 0, "it is the other's");
    assert!(registry.learn(id, RequestStatus::Cancelled, Err(failure(Effect::None))));
    assert_eq!(registry.status(id), Some(RequestStatus::Cancelled));
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
    assert_eq!(transport.next_job().map(|job| job.request().operation.clone()), None);
}

#[test]
fn who_only_waits_does_not_free_what_the_worker_still_sends() {
    let store = Arc::new(inflight_core::MemoryStore::new());
    let (registry, mut transport) = manual_with(Registry::builder().store(store.clone()));
    let id = registry.submit(post()).unwrap();
    let in_flight = transport.next();
    // Its run is begun again meanwhile, and waits for it too.
    registry.session().restore(kept(id, post()));
    assert_eq!(registry.elsewhere(), [id]);
    drop(transport);
    registry.leave_elsewhere();
    assert!(!store.record(id).unwrap().left);
    in_flight.complete(success("prod_1"));
    assert_eq!(store.record(id).unwrap().ended, Some(RequestStatus::Completed));
}
