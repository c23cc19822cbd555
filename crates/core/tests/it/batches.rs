//! Requests that are submitted together, and any number of them one after another.

use std::sync::Arc;
use std::task::Poll;

use inflight_core::{
    BatchOptions, Effect, IdempotencyKey, OnFailure, Registry, Request, RequestId, RequestStatus, SessionLimits,
    SubmitErrorKind,
};

use crate::support::{Polled, failure, manual, manual_with, named, post};

const CARRY_ON: BatchOptions = BatchOptions {
    concurrency: None,
    on_failure: OnFailure::CarryOn,
};

fn posts(count: usize) -> Vec<Request> {
    vec![post(); count]
}

#[test]
fn all_are_accepted_or_none() {
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(10));
    let session = registry.session_with(SessionLimits { pending: 8, unsent: 5 });
    session.submit(post()).unwrap();
    let error = session.submit_all(posts(5)).unwrap_err();
    let (needed, room, most) = (5, 4, 5);
    assert_eq!(error.kind(), SubmitErrorKind::NotEnoughRoom { needed, room, most });
    assert!(
        error.kind().is_temporary() && error.to_string().contains("`each`"),
        "{error}"
    );
    assert_eq!(
        (error.into_requests().len(), session.len(), registry.unsent()),
        (5, 1, 1)
    );
    assert!(!session.submit_all(posts(6)).unwrap_err().kind().is_temporary());

    let ids = session.submit_all(posts(4)).unwrap();
    assert_eq!((ids.len(), session.pending(), registry.unsent()), (4, 5, 5));
    while let Some(sent) = transport.try_next() {
        sent.succeed("x_1");
    }
    assert_eq!(
        (session.pending(), registry.unsent(), session.counts().completed),
        (0, 0, 5)
    );
    // The queue's bound counts as well, and a refusal leaves nothing taken.
    registry.root().submit_all(posts(8)).unwrap();
    assert!(matches!(
        session.submit_all(posts(3)).unwrap_err().kind(),
        SubmitErrorKind::NotEnoughRoom { room: 2, .. }
    ));
    assert_eq!(session.pending(), 0);
    assert_eq!(session.submit_all(posts(2)).unwrap().len(), 2);
}

#[test]
fn one_reused_key_refuses_all() {
    let tagged = |id: RequestId, request: &mut Request| {
        *request = request.clone().body("text/plain", id.to_string());
    };
    let (registry, mut transport) = manual_with(Registry::builder().on_submit(Arc::new(tagged)));
    let session = registry.session();
    let keyed = |target: &str| named(target).idempotency_key(IdempotencyKey::Given("k".into()));
    let requests = vec![post(), keyed("/a"), keyed("/b"), post()];
    let error = session.submit_all(requests.clone()).unwrap_err();
    assert_eq!(error.kind(), SubmitErrorKind::KeyReused);
    assert_eq!(error.into_requests(), requests, "as they were given");
    assert!(session.is_empty() && session.pending() == 0 && registry.unsent() == 0);
    assert!(transport.try_next().is_none());
    session.submit(keyed("/b")).unwrap();
}

#[test]
fn no_more_are_out_than_may_be() {
    let (registry, mut transport) = manual();
    let options = BatchOptions {
        concurrency: Some(2),
        ..CARRY_ON
    };
    let batch = registry.session().submit_batch(posts(5), options).unwrap();
    let mut wait = Polled::new(batch.wait());
    let mut done = 0;
    while done < 5 {
        let mut out: Vec<_> = std::iter::from_fn(|| transport.try_next()).collect();
        assert!(!out.is_empty() && out.len() <= 2, "{}", out.len());
        assert!(wait.is_pending());
        out.remove(0).succeed("x_1");
        done += 1;
        for sent in out {
            sent.fail(failure(Effect::None));
            done += 1;
        }
        assert_eq!(batch.progress().done, done);
    }
    assert!(wait.poll().is_ready() && wait.wakes() > 0);
    assert_eq!((registry.unsent(), registry.len()), (0, 0));
}

#[test]
fn a_failure_cancels_the_rest_unless_it_carries_on() {
    for (on_failure, cancelled) in [(OnFailure::Stop, 3), (OnFailure::CarryOn, 0)] {
        for concurrency in [None, Some(2)] {
            let (registry, mut transport) = manual();
            let session = registry.session();
            let options = BatchOptions {
                concurrency,
                on_failure,
            };
            let batch = session.submit_batch(posts(5), options).unwrap();
            let (first, second) = (transport.next(), transport.next());
            first.fail(failure(Effect::None));
            assert_eq!(batch.progress().cancelled, cancelled);
            second.succeed("x_1");
            while let Some(sent) = transport.try_next() {
                sent.succeed("x_2");
            }
            assert!(Polled::new(batch.wait()).poll().is_ready());
            let progress = batch.progress();
            assert_eq!(
                (progress.done, progress.failed, progress.completed),
                (5, 1, 4 - cancelled)
            );
            assert_eq!((registry.unsent(), transport.queue().cancelled()), (0, 0));
        }
    }
}

#[test]
fn the_rest_can_be_cancelled() {
    let (registry, mut transport) = manual();
    let session = registry.session();
    let options = BatchOptions {
        concurrency: Some(1),
        ..CARRY_ON
    };
    let batch = session.submit_batch(posts(4), options).unwrap();
    let sent = transport.next();
    assert_eq!(session.cancel(batch.ids()[2]), Some(true), "one that is held back");
    assert_eq!(batch.cancel(), 2);
    assert_eq!(session.status(batch.ids()[3]), Some(RequestStatus::Cancelled));
    sent.succeed("x_1");
    assert!(transport.try_next().is_none());
    assert_eq!(
        (registry.unsent(), transport.queue().cancelled(), batch.progress().done),
        (0, 0, 4)
    );
}

#[test]
fn a_worker_that_is_gone_ends_all_that_is_held_back() {
    let (registry, transport) = manual_with(Registry::builder().queue_capacity(20_000));
    let options = BatchOptions {
        concurrency: Some(1),
        ..CARRY_ON
    };
    let batch = registry.root().submit_batch(posts(20_000), options).unwrap();
    drop(transport);
    assert_eq!((batch.progress().done, registry.unsent()), (20_000, 0));
}

#[test]
fn each_sends_any_number_and_keeps_little() {
    let (registry, mut transport) = manual();
    let session = registry.session();
    let requests = (0..10_000).map(|number| Ok(named(&format!("/{number}"))));
    let mut each = Polled::new(session.each(requests, CARRY_ON).keep_failures(90));
    let mut number = 0;
    let report = loop {
        if let Poll::Ready(report) = each.poll() {
            break report;
        }
        assert!(session.len() <= 500 + 10, "{}", session.len());
        while let Some(sent) = transport.try_next() {
            let effect = if number % 200 == 0 {
                Effect::Unknown
            } else {
                Effect::None
            };
            match number % 100 {
                0 => sent.fail(failure(effect)),
                _ => sent.succeed("x_1"),
            }
            number += 1;
        }
    };
    let progress = report.progress;
    assert_eq!(
        (progress.total, progress.completed, progress.failed),
        (10_000, 9_900, 100)
    );
    assert!(report.exhausted);
    assert_eq!((report.failures.len(), report.further_failures), (90, 10));
    assert!(report.failures.iter().all(|failed| failed.index % 100 == 0));
    assert_eq!(report.to_resubmit().count(), 45);
    // Only what is in doubt stays known.
    assert_eq!(session.len(), 50);
}

#[test]
fn each_stops_at_a_failure_and_tells_what_could_not_be_made() {
    let (registry, mut transport) = manual();
    let session = registry.session();
    let options = BatchOptions {
        concurrency: Some(3),
        ..BatchOptions::default()
    };
    let mut each = Polled::new(session.each(std::iter::repeat_with(|| Ok(post())), options));
    assert!(each.is_pending());
    assert_eq!(registry.expected(), 0, "nobody knows how many");
    let sent = transport.next();
    sent.fail(failure(Effect::None));
    let Poll::Ready(report) = each.poll() else {
        panic!("it goes on")
    };
    assert_eq!((report.progress.failed, report.progress.cancelled), (1, 2));
    assert!(!report.exhausted && transport.try_next().is_none());
    assert_eq!((registry.unsent(), session.len()), (0, 0));

    let broken = || vec![Err(failure(Effect::None)), Ok(post())];
    let Poll::Ready(report) = Polled::new(session.each(broken(), options)).poll() else {
        panic!("it goes on")
    };
    assert_eq!((report.progress.total, report.progress.failed), (1, 1));
    let mut each = Polled::new(session.each(broken(), CARRY_ON));
    assert!(each.is_pending());
    transport.next().succeed("x_1");
    let Poll::Ready(report) = each.poll() else {
        panic!("it goes on")
    };
    assert_eq!((report.progress.total, report.progress.completed), (2, 1));
}

#[test]
fn each_waits_for_room_that_others_take_and_cancels_when_it_is_dropped() {
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(2));
    registry.submit(post()).unwrap();
    let session = registry.session_with(SessionLimits {
        pending: 10,
        unsent: 10,
    });
    let requests = (0..4).map(|_| Ok(post()));
    let mut each = Polled::new(session.each(requests, CARRY_ON));
    assert!(each.is_pending());
    // One is submitted, and the next waits for room.
    assert_eq!((session.pending(), registry.expected()), (1, 3));
    transport.next().succeed("x_1");
    assert!(each.wakes() > 0 && each.is_pending());
    assert_eq!(session.pending(), 2);
    drop(each);
    assert_eq!((session.pending(), session.counts().cancelled), (0, 2));
    assert_eq!(registry.expected(), 0, "nothing more is to come");

    registry.close();
    let Poll::Ready(report) = Polled::new(session.each((0..4).map(|_| Ok(post())), CARRY_ON)).poll() else {
        panic!("it goes on")
    };
    assert_eq!((report.progress.total, report.progress.failed), (1, 1));
}
