//! Requests that a store hands out: to batches, and to several starts of one run.

use inflight_core::{BatchOptions, Effect, RequestStatus};

use crate::durable::{kept, nth, of_run, shared};
use crate::support::{Polled, failure, manual_with, post, success};

fn one_at_a_time() -> BatchOptions {
    BatchOptions {
        concurrency: Some(1),
        ..BatchOptions::default()
    }
}

#[test]
fn a_batch_that_stops_asks_the_store_for_what_nobody_has_claimed() {
    let (registry, mut transport, store) = shared();
    let batch = registry
        .root()
        .submit_batch(vec![post(), post(), post()], BatchOptions::default())
        .unwrap();
    registry.take_in(store.claim());
    store.log();
    transport.next().fail(failure(Effect::None));
    let cancels = store.log().iter().filter(|what| *what == "cancel").count();
    assert_eq!(cancels, 2, "those that another process may claim");
    for id in &batch.ids()[1..] {
        assert!(registry.learn(*id, RequestStatus::Cancelled, Err(failure(Effect::None))));
    }
    assert_eq!((batch.progress().failed, batch.progress().cancelled), (1, 2));
    assert_eq!((registry.len(), registry.unsent()), (0, 0));
}

#[test]
fn a_request_that_is_handed_out_again_takes_one_place_in_its_batch() {
    let (registry, mut transport, store) = shared();
    let batch = registry
        .root()
        .submit_batch(vec![post(), post()], one_at_a_time())
        .unwrap();
    let first = store.claim();
    registry.take_in(first.clone());
    let in_flight = transport.next();
    store.lost.lock().unwrap().push(first.id);
    in_flight.succeed("prod_1");
    assert!(transport.try_next().is_none());

    // It is another process's now, and its place free.
    registry.take_in(store.claim());
    let second = transport.next();
    store.lost.lock().unwrap().clear();
    registry.take_in(first);
    assert!(transport.try_next().is_none(), "one at a time");
    second.succeed("prod_2");
    transport.next().succeed("prod_1");
    assert_eq!(batch.progress().completed, 2);
    assert_eq!((registry.len(), registry.unsent()), (0, 0));
}

#[test]
fn a_request_that_comes_back_before_its_loss_is_known_takes_one_place() {
    let (registry, mut transport, store) = shared();
    let batch = registry.root().submit_batch(vec![post()], one_at_a_time()).unwrap();
    let claimed = store.claim();
    registry.take_in(claimed.clone());
    // The store freed it and hands it out again, while the first job of it is still queued here.
    let id = claimed.id;
    store.lost.lock().unwrap().push(id);
    assert!(transport.try_next().is_none(), "it is not written that it is sent");
    store.lost.lock().unwrap().clear();
    registry.take_in(claimed);
    transport.next().succeed("prod_1");
    assert_eq!(batch.progress().completed, 1);
}

#[test]
fn each_start_of_a_run_is_told_how_its_requests_end() {
    let (registry, mut transport, store) = shared();
    let first = of_run(&registry);
    first.restore(kept(nth(0), post()));
    registry.take_in(kept(nth(0), post()));
    let in_flight = transport.next();

    // It is begun again in the same process, and then the first start's claim is lost.
    let second = of_run(&registry);
    second.restore(kept(nth(0), post()));
    store.lost.lock().unwrap().push(nth(0));
    in_flight.succeed("prod_1");
    let waits: Vec<_> = [&first, &second].map(|run| Polled::new(run.drained())).into();
    assert!(registry.learn(nth(0), RequestStatus::Completed, success("prod_1")));
    for (mut wait, run) in waits.into_iter().zip([&first, &second]) {
        assert!(wait.poll().is_ready());
        assert_eq!(run.status(nth(0)), Some(RequestStatus::Completed));
    }
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
}

#[test]
fn a_request_that_was_handed_out_before_counts_in_each_start_until_it_ends() {
    let (registry, mut transport, _store) = shared();
    registry.take_in(kept(nth(0), post()));
    let runs = [of_run(&registry), of_run(&registry)];
    for run in &runs {
        run.restore(kept(nth(0), post()));
        assert_eq!(run.pending(), 1);
    }
    transport.next().succeed("prod_1");
    for run in &runs {
        assert_eq!(run.pending(), 0);
        assert!(Polled::new(run.drained()).poll().is_ready());
    }
}

#[test]
fn what_the_store_is_asked_to_cancel_is_being_cancelled() {
    let (registry, _transport, _store) = shared();
    let session = registry.session();
    let id = session.submit(post()).unwrap();
    assert_eq!(session.cancel_unsent(), 0, "only the store knows");
    assert_eq!(session.being_cancelled(), [id]);
    assert!(registry.learn(id, RequestStatus::Cancelled, Err(failure(Effect::None))));
    assert!(session.being_cancelled().is_empty());
}

#[test]
fn what_is_cancelled_makes_room_for_its_own_session() {
    let limits = inflight_core::SessionLimits {
        pending: 100,
        unsent: 10,
    };
    for cancels_first in [false, true] {
        let (registry, mut transport) = manual_with(inflight_core::Registry::builder());
        let others: Vec<_> = (0..50).map(|_| registry.submit(post()).unwrap()).collect();
        let session = registry.session_with(limits);
        let mut ids: Vec<_> = (0..9).map(|_| session.submit(post()).unwrap()).collect();
        let cancelled = ids[0];
        if cancels_first {
            // The session was not full then.
            session.cancel(cancelled);
            transport.queue().tend();
        }
        ids.push(session.submit(post()).unwrap());
        if cancels_first {
            assert!(session.submit(post()).is_err());
        } else {
            session.cancel(cancelled);
        }
        transport.queue().tend();
        assert!(session.submit(post()).is_ok(), "{cancels_first}");
        drop((others, ids));
    }
}

#[test]
fn each_start_of_a_run_waits_for_its_batch() {
    let (registry, mut transport, _store) = shared();
    registry.take_in(kept(nth(0), post()));
    let batches: Vec<_> = (0..2)
        .map(|_| {
            let run = of_run(&registry);
            run.restore(kept(nth(0), post()));
            (run.restore_batch(vec![nth(0)], BatchOptions::default()), run)
        })
        .collect();
    for (batch, _) in &batches {
        assert_eq!((batch.progress().total, batch.progress().done), (1, 0));
    }
    transport.next().succeed("prod_1");
    for (batch, _) in &batches {
        assert_eq!(batch.progress().completed, 1);
        assert!(Polled::new(batch.wait()).poll().is_ready());
    }
}

#[test]
fn what_this_process_is_to_send_is_cancelled_here_though_another_start_waits_for_it() {
    let (registry, mut transport, store) = shared();
    let runs = [of_run(&registry), of_run(&registry)];
    for run in &runs {
        run.restore(kept(nth(0), post()));
    }
    registry.take_in(kept(nth(0), post()));
    store.log();
    assert_eq!(runs[1].cancel(nth(0)), Some(false), "that is written first");
    assert_eq!(store.log(), ["cancelled"]);
    assert_eq!(runs[1].status(nth(0)), Some(RequestStatus::Cancelled));
    assert!(transport.try_next().is_none(), "it is not sent");
}

#[test]
fn what_a_session_holds_is_what_it_sends_and_keeps() {
    let (registry, mut transport) = manual_with(inflight_core::Registry::builder());
    let session = registry.session();
    let id = session.submit(post().body("text/plain", "twelve bytes")).unwrap();
    assert_eq!(session.held_bytes(), 12);
    transport.next().succeed("prod_1");
    let answer = session
        .result(id)
        .unwrap()
        .as_ref()
        .as_ref()
        .unwrap()
        .response
        .body
        .len();
    assert_eq!(session.held_bytes(), answer);
    assert!(session.take_result(id).unwrap().is_ok());
    assert_eq!(session.held_bytes(), 0);

    // In doubt, both are kept.
    let id = session.submit(post().body("text/plain", "twelve bytes")).unwrap();
    transport.next().fail(failure(Effect::Unknown));
    assert_eq!(session.held_bytes(), 12);
    drop(session.take_result(id));

    // What an earlier start was answered, this one has not asked for.
    let ended = inflight_core::Kept {
        ended: Some((RequestStatus::Completed, success("prod_1"))),
        ..kept(nth(0), post().body("text/plain", "twelve bytes"))
    };
    let run = of_run(&registry);
    run.restore(ended);
    assert_eq!(run.held_bytes(), 0);
}
