//! With a durable store: what is written when, and what happens when it is not.

use std::sync::{Arc, Mutex};

use inflight_core::testing::ManualTransport;
use inflight_core::{
    BatchOptions, Effect, FailureKind, IdempotencyKey, MemoryStore, Outcome, Registry, RequestId, RequestStatus, Row,
    State, Store, StoreError, Written,
};

use crate::support::{Polled, failure, manual_with, post};

/// A store that the test answers for.
#[derive(Default)]
struct ManualStore {
    calls: Mutex<Vec<(Call, Written)>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Call {
    Append(RequestId),
    AppendAll(Vec<RequestId>),
    Sent(RequestId, u32),
    Ended(RequestId, RequestStatus),
}

impl ManualStore {
    fn take(&self) -> (Call, Written) {
        self.calls.lock().unwrap().remove(0)
    }

    fn is_idle(&self) -> bool {
        self.calls.lock().unwrap().is_empty()
    }

    fn write(&self) -> Call {
        let (call, done) = self.take();
        done(Ok(()));
        call
    }

    fn note(&self, call: Call, done: Written) {
        self.calls.lock().unwrap().push((call, done));
    }
}

impl Store for ManualStore {
    fn append(&self, rows: Vec<Row>, done: Written) {
        let call = match rows[..] {
            [ref row] => Call::Append(row.id),
            _ => Call::AppendAll(rows.iter().map(|row| row.id).collect()),
        };
        self.note(call, done);
    }
    fn sent(&self, id: RequestId, attempt: u32, done: Written) {
        self.note(Call::Sent(id, attempt), done);
    }
    fn ended(&self, id: RequestId, status: RequestStatus, _outcome: &Outcome, done: Written) {
        self.note(Call::Ended(id, status), done);
    }
}

fn with_store() -> (Registry, ManualTransport, Arc<ManualStore>) {
    let store = Arc::new(ManualStore::default());
    let (registry, transport) = manual_with(Registry::builder().store(store.clone()));
    (registry, transport, store)
}

/// How a store may fail to write.
fn failing() -> [fn(Written); 2] {
    [|done| done(Err(StoreError::new("the disk is full"))), drop]
}

#[test]
fn the_memory_store_sees_a_request_through() {
    let store = Arc::new(MemoryStore::new());
    let (registry, mut transport) = manual_with(Registry::builder().store(store.clone()));
    let id = registry
        .submit(post().idempotency_key(IdempotencyKey::Generated))
        .unwrap();
    let row = store.record(id).unwrap().row;
    assert_eq!(row.request.idempotency_key, IdempotencyKey::Given(id.to_string()));
    let sent = transport.next();
    assert_eq!(sent.request(), &row.request);
    assert_eq!(store.record(id).unwrap().sent, 1);
    sent.succeed("prod_1");
    assert_eq!(store.record(id).unwrap().ended, Some(RequestStatus::Completed));
}

#[test]
fn each_step_waits_for_its_write() {
    let (registry, mut transport, store) = with_store();
    let id = registry.submit(post()).unwrap();
    let mut recorded = Polled::new(registry.root().recorded(id).unwrap());
    assert!(recorded.is_pending());
    assert_eq!(registry.root().state(id), Some(State::Recording));
    assert!(transport.next_job().is_none(), "not sent before it is written");
    assert_eq!(store.write(), Call::Append(id));
    assert_eq!(recorded.wakes(), 1);
    assert!(recorded.poll().is_ready());

    let mut start = Polled::new(transport.next_job().unwrap().start());
    assert!(start.is_pending());
    assert_eq!(registry.root().state(id), Some(State::Queued));
    assert_eq!(store.write(), Call::Sent(id, 1));
    assert_eq!(start.wakes(), 1);
    let std::task::Poll::Ready(Some(in_flight)) = start.poll() else {
        panic!("it is written")
    };
    assert_eq!(registry.root().state(id), Some(State::Sent));

    let mut wait = Polled::new(registry.wait_async(id).unwrap());
    in_flight.complete(crate::support::success("prod_1"));
    assert!(wait.is_pending(), "nobody sees an ending that is not written");
    assert_eq!(registry.len(), 1);
    assert_eq!(store.write(), Call::Ended(id, RequestStatus::Completed));
    assert!(wait.poll().is_ready());
    assert!(store.is_idle() && registry.is_empty());
}

#[test]
fn what_is_not_recorded_fails_and_is_never_sent() {
    for fail in failing() {
        let (registry, mut transport, store) = with_store();
        let id = registry.submit(post()).unwrap();
        let mut recorded = Polled::new(registry.root().recorded(id).unwrap());
        assert!(recorded.is_pending());
        fail(store.take().1);
        assert!(recorded.poll().is_ready());
        let ended = registry.take_result(id).unwrap().unwrap_err();
        assert_eq!((ended.kind, ended.effect), (FailureKind::Store, Effect::None));
        assert!(ended.source.is_some());
        assert!(transport.next_job().is_none());
        assert!(store.is_idle(), "no row, no ending of it");
        assert_eq!((registry.len(), registry.unsent()), (0, 0));
    }
}

#[test]
fn what_is_submitted_together_is_written_together() {
    let (registry, mut transport, store) = with_store();
    let session = registry.session();
    let ids = session.submit_all(vec![post(), post(), post()]).unwrap();
    assert!(transport.next_job().is_none(), "not sent before it is written");
    assert_eq!(store.write(), Call::AppendAll(ids.clone()));
    assert!(store.is_idle(), "one write for all");
    let jobs: Vec<_> = (0..3).map(|_| transport.next_job().unwrap()).collect();
    assert!(ids.iter().all(|id| session.state(*id) == Some(State::Queued)));
    drop(jobs);
}

#[test]
fn a_batch_that_is_not_recorded_fails_as_a_whole() {
    for fail in failing() {
        let (registry, mut transport, store) = with_store();
        let session = registry.session();
        let batch = session
            .submit_batch(vec![post(), post(), post()], BatchOptions::default())
            .unwrap();
        fail(store.take().1);
        inflight_core::block_on(batch.wait());
        for id in batch.ids() {
            let ended = session.take_result(*id).unwrap().unwrap_err();
            assert_eq!((ended.kind, ended.effect), (FailureKind::Store, Effect::None));
            assert!(ended.source.is_some());
        }
        assert_eq!(batch.progress().failed, 3);
        assert!(transport.next_job().is_none());
        assert!(store.is_idle(), "no row, no ending of it");
        assert_eq!((registry.len(), registry.unsent()), (0, 0));
    }
}

#[test]
fn what_cannot_be_marked_as_sent_is_not_sent() {
    for fail in failing() {
        let (registry, mut transport, store) = with_store();
        let id = registry.submit(post()).unwrap();
        store.write();
        let mut start = Polled::new(transport.next_job().unwrap().start());
        assert!(start.is_pending());
        fail(store.take().1);
        assert!(matches!(start.poll(), std::task::Poll::Ready(None)));
        assert_eq!(store.write(), Call::Ended(id, RequestStatus::Failed));
        let ended = registry.take_result(id).unwrap().unwrap_err();
        assert_eq!((ended.kind, ended.effect), (FailureKind::Store, Effect::None));
    }
}

#[test]
fn an_ending_that_cannot_be_written_is_told_with_what_is_known() {
    for fail in failing() {
        for (outcome, kind, effect) in [
            (crate::support::success("prod_1"), FailureKind::Store, Effect::Done),
            (Err(failure(Effect::Unknown)), FailureKind::Http, Effect::Unknown),
            // The store's next process sends it.
            (Err(failure(Effect::None)), FailureKind::Http, Effect::Unknown),
        ] {
            let (registry, mut transport, store) = with_store();
            let id = registry.submit(post()).unwrap();
            store.write();
            let mut start = Polled::new(transport.next_job().unwrap().start());
            assert!(start.is_pending());
            store.write();
            let std::task::Poll::Ready(Some(in_flight)) = start.poll() else {
                panic!("it is written")
            };
            in_flight.complete(outcome);
            fail(store.take().1);
            let ended = registry.take_result(id).unwrap().unwrap_err();
            assert_eq!((&ended.kind, ended.effect), (&kind, effect));
            assert!(ended.message.contains("the store could not keep"), "{ended}");
            assert!(ended.source.as_ref().is_some_and(|cause| cause.is::<StoreError>()));
            if effect == Effect::Done {
                assert_eq!(ended.details, [("object_id", "prod_1".into())]);
                assert_eq!(ended.status(), Some(200), "the answer is not lost");
            }
            assert!(registry.is_empty() && store.is_idle());
        }
    }
}

#[test]
fn what_was_never_sent_is_in_doubt_where_the_store_still_has_it() {
    for fail in failing() {
        let clock = Arc::new(inflight_core::testing::ManualClock::new());
        let store = Arc::new(ManualStore::default());
        let (registry, mut transport) = manual_with(Registry::builder().store(store.clone()).clock(clock.clone()));
        let id = registry.submit(post()).unwrap();
        store.write();
        transport.next_job().unwrap().expire();
        fail(store.take().1);
        let ended = registry.take_result(id).unwrap().unwrap_err();
        assert_eq!((&ended.kind, ended.effect), (&FailureKind::Deadline, Effect::Unknown));
        assert!(!ended.needs_reconcile, "it goes on by itself");
    }
}

#[test]
fn what_is_cancelled_is_ended_once_in_the_store() {
    // While it is being recorded, while it is queued, and while its start is being written.
    for steps in 0..3 {
        let (registry, mut transport, store) = with_store();
        let id = registry.submit(post()).unwrap();
        let mut start = None;
        let mut append = Some(store.take().1);
        if steps > 0 {
            append.take().unwrap()(Ok(()));
        }
        if steps > 1 {
            let mut begun = Polled::new(transport.next_job().unwrap().start());
            assert!(begun.is_pending());
            start = Some((begun, store.take().1));
        }
        assert_eq!(registry.cancel(id), Some(true));
        assert_eq!(store.write(), Call::Ended(id, RequestStatus::Cancelled));
        if let Some(done) = append {
            done(Ok(()));
        }
        if let Some((mut begun, done)) = start {
            done(Ok(()));
            assert!(matches!(begun.poll(), std::task::Poll::Ready(None)));
        }
        assert!(transport.next_job().is_none());
        assert!(store.is_idle(), "after {steps} steps");
        assert_eq!((registry.len(), registry.unsent()), (0, 0));
        // Cancelled jobs are no longer counted: a fresh queue is not cleared out for nothing.
        assert_eq!(registry.status(id), Some(RequestStatus::Cancelled));
    }
}

#[test]
fn an_overdue_job_is_ended_once_however_slow_the_store() {
    let clock = Arc::new(inflight_core::testing::ManualClock::new());
    let store = Arc::new(ManualStore::default());
    let (registry, mut transport) = manual_with(Registry::builder().store(store.clone()).clock(clock.clone()));
    let id = registry.submit(post()).unwrap();
    store.write();
    transport.queue().tend();
    clock.advance(inflight_core::DEFAULT_DEADLINE);
    for _ in 0..3 {
        transport.queue().tend();
        clock.advance(std::time::Duration::from_secs(1));
    }
    assert_eq!(registry.is_complete(id), Some(false));
    assert_eq!(store.write(), Call::Ended(id, RequestStatus::Timeout));
    assert!(store.is_idle());
    assert_eq!(registry.status(id), Some(RequestStatus::Timeout));
    assert_eq!((registry.len(), registry.unsent()), (0, 0));
}

#[test]
fn what_a_transport_leaves_behind_stays_in_the_store() {
    let (registry, mut transport, store) = with_store();
    let ids = [(); 4].map(|()| registry.submit(post()).unwrap());
    for _ in 0..4 {
        store.write();
    }
    let mut in_flight = Vec::new();
    for _ in 0..2 {
        let mut start = Polled::new(transport.next_job().unwrap().start());
        assert!(start.is_pending());
        store.write();
        let std::task::Poll::Ready(Some(sent)) = start.poll() else {
            panic!("it is written")
        };
        in_flight.push(sent);
    }
    in_flight[1].begin_attempt(std::time::Duration::ZERO);
    in_flight[1].wait(Effect::None, registry.clock().now());
    let mut unsent = Polled::new(transport.next_job().unwrap().start());
    assert!(unsent.is_pending());
    store.write();
    drop((in_flight, unsent, transport));
    assert!(store.is_idle(), "none of them has ended");
    for id in ids {
        let failure = registry.take_result(id).unwrap().unwrap_err();
        assert_eq!((failure.kind, failure.effect), (FailureKind::Shutdown, Effect::Unknown));
    }
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
}

#[test]
fn what_is_left_of_a_batch_stays_in_the_store_too() {
    for concurrency in [None, Some(2)] {
        let store = Arc::new(MemoryStore::new());
        let (registry, transport) = manual_with(Registry::builder().store(store.clone()));
        let options = BatchOptions {
            concurrency,
            ..BatchOptions::default()
        };
        let batch = registry.root().submit_batch(vec![post(); 5], options).unwrap();
        drop(transport);
        for id in batch.ids() {
            assert_eq!(store.record(*id).unwrap().ended, None, "of {concurrency:?} at once");
            assert_eq!(registry.status(*id), Some(RequestStatus::Failed));
        }
        assert_eq!(batch.progress().failed, 5);
        assert_eq!((registry.len(), registry.unsent()), (0, 0));
    }
}

#[test]
fn each_further_attempt_is_written_before_it_leaves() {
    let (registry, mut transport, store) = with_store();
    let id = registry.submit(post()).unwrap();
    store.write();
    let mut start = Polled::new(transport.next_job().unwrap().start());
    assert!(start.is_pending());
    store.write();
    let std::task::Poll::Ready(Some(mut in_flight)) = start.poll() else {
        panic!("it is written")
    };
    in_flight.begin_attempt(std::time::Duration::ZERO);
    in_flight.wait(Effect::Unknown, registry.clock().now());
    let mut again = Polled::new(in_flight.resume());
    assert!(again.is_pending());
    assert_eq!(registry.root().state(id), Some(State::Waiting(Effect::Unknown)));
    let (call, done) = store.take();
    assert_eq!(call, Call::Sent(id, 2));
    done(Err(StoreError::new("the disk is full")));
    assert!(matches!(again.poll(), std::task::Poll::Ready(None)));
    assert_eq!(store.write(), Call::Ended(id, RequestStatus::Failed));
    let failure = registry.result(id).unwrap();
    let failure = failure.as_ref().as_ref().unwrap_err();
    assert_eq!((&failure.kind, failure.effect), (&FailureKind::Store, Effect::Unknown));
    assert!(registry.root().in_doubt(id).is_some());
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
}
