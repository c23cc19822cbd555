//! How requests end, and what can be asked about them.

use std::time::Duration;

use inflight_core::{
    Effect, FailureKind, Ignored, InvalidEvent, Method, Request, RequestId, RequestStatus, ResultError,
};
use inflight_core::{State, Transition, WaitError, block_on};

use crate::support::{failure, manual, post, success};

#[test]
fn a_request_from_submission_to_its_result() {
    let (registry, mut transport) = manual();
    let id = registry.submit(post()).unwrap();
    assert_eq!(registry.status(id), Some(RequestStatus::Pending));
    assert_eq!(registry.root().state(id), Some(State::Queued));
    assert_eq!(registry.result(id).unwrap_err(), ResultError::Pending);
    assert_eq!(registry.take_result(id).unwrap_err(), ResultError::Pending);
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (1, 1, 0));

    let sent = transport.next();
    assert_eq!((sent.id(), sent.request()), (id, &post()));
    assert_eq!(registry.root().state(id), Some(State::Sent));
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (1, 0, 1));

    sent.succeed("prod_1");
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
    assert_eq!(registry.status(id), Some(RequestStatus::Completed));
    for _ in 0..2 {
        let outcome = registry.result(id).unwrap();
        assert_eq!(outcome.as_ref().as_ref().unwrap().object_id.as_deref(), Some("prod_1"));
    }
    assert!(registry.take_result(id).is_ok());
    assert_eq!(registry.take_result(id).unwrap_err(), ResultError::Unknown);
    assert_eq!(registry.status(id), None);
}

#[test]
fn nothing_is_known_of_an_id_that_was_never_given() {
    let (registry, _transport) = manual();
    let id = RequestId::random();
    assert_eq!(registry.status(id), None);
    assert_eq!(registry.is_complete(id), None);
    assert_eq!(registry.result(id).unwrap_err(), ResultError::Unknown);
    assert_eq!(registry.wait(id, None).unwrap_err(), WaitError::Unknown);
    assert!(registry.wait_async(id).is_none());
    assert_eq!(registry.cancel(id), None);
    assert_eq!(registry.complete(id, success("x")), Ok(None));
}

#[test]
fn cancelling_works_until_the_request_is_sent() {
    let (registry, mut transport) = manual();
    let [queued, sent_id] = [(); 2].map(|()| registry.submit(post()).unwrap());
    assert_eq!(registry.cancel(queued), Some(true));
    assert_eq!(registry.cancel(queued), Some(false), "it is cancelled already");
    let failed = registry.result(queued).unwrap();
    let failed = failed.as_ref().as_ref().unwrap_err();
    assert_eq!((&failed.kind, failed.effect), (&FailureKind::Cancelled, Effect::None));

    let sent = transport.next();
    assert_eq!(sent.id(), sent_id, "what is cancelled is not sent");
    assert_eq!(registry.cancel(sent_id), Some(false));
    sent.succeed("prod_1");
    assert_eq!(registry.status(sent_id), Some(RequestStatus::Completed));
    assert_eq!(registry.cancel(sent_id), Some(false));
    assert_eq!(registry.unsent(), 0);
}

#[test]
fn all_that_is_unsent_can_be_cancelled_at_once() {
    let (registry, mut transport) = manual();
    let session = registry.session();
    let ids = [(); 5].map(|()| session.submit(post()).unwrap());
    let elsewhere = registry.submit(post()).unwrap();
    let sent = transport.next();
    assert_eq!(session.cancel_unsent(), 4);
    sent.succeed("prod_1");
    assert_eq!(session.pending(), 0);
    assert_eq!(session.status(ids[0]), Some(RequestStatus::Completed));
    assert_eq!(registry.status(elsewhere), Some(RequestStatus::Pending));
}

#[test]
fn a_read_that_fails_has_no_effect() {
    let (registry, mut transport) = manual();
    let id = registry.submit(Request::new(Method::Get, "/v1/products")).unwrap();
    transport.next().fail(failure(Effect::Unknown));
    let outcome = registry.take_result(id).unwrap().unwrap_err();
    assert_eq!((outcome.effect, outcome.needs_reconcile), (Effect::None, false));
}

#[test]
fn a_late_answer_settles_what_was_unknown_and_nothing_else() {
    let (registry, mut transport) = manual();
    let id = registry.submit(post()).unwrap();
    transport.next().fail(failure(Effect::Unknown));
    assert!(
        registry
            .result(id)
            .unwrap()
            .as_ref()
            .as_ref()
            .unwrap_err()
            .needs_reconcile
    );
    assert_eq!(registry.counts().failed, 1);

    let still = registry.complete(id, Err(failure(Effect::Unknown)));
    assert_eq!(still, Ok(Some(Transition::Ignore(Ignored::StillUnknown))));
    let settled = registry.complete(id, success("prod_1"));
    assert_eq!(settled, Ok(Some(Transition::To(State::Completed))));
    let again = registry.complete(id, Err(failure(Effect::None)));
    assert_eq!(again, Ok(Some(Transition::Ignore(Ignored::AlreadyEnded))));

    assert_eq!(registry.status(id), Some(RequestStatus::Completed));
    assert!(registry.result(id).unwrap().is_ok());
    let counts = registry.counts();
    assert_eq!((counts.failed, counts.completed), (0, 1));
    assert_eq!(registry.root().counts(), counts);
}

#[test]
fn reconciling_a_request_that_was_not_carried_out() {
    let (registry, mut transport) = manual();
    let root = registry.root();
    let id = registry.submit(post()).unwrap();
    assert_eq!(root.reconcile(id, success("x")), Err(InvalidEvent::NotEnded));
    transport.next().into_inner().complete_overdue(Effect::Unknown);
    assert_eq!(registry.status(id), Some(RequestStatus::Timeout));

    for contradiction in [
        root.reconcile(id, Err(failure(Effect::Done))),
        root.complete(id, Err(failure(Effect::Done))),
    ] {
        assert_eq!(contradiction, Err(InvalidEvent::DoneWithoutAnswer));
    }
    let settled = root.reconcile(id, Err(failure(Effect::None)));
    assert_eq!(settled, Ok(Some(Transition::To(State::Timeout(Effect::None)))));
    assert_eq!(registry.status(id), Some(RequestStatus::Timeout));
    let outcome = registry.take_result(id).unwrap().unwrap_err();
    assert_eq!((outcome.effect, outcome.needs_reconcile), (Effect::None, false));
    assert_eq!(registry.counts().timeout, 1);
}

#[test]
fn what_is_not_sent_cannot_be_carried_out() {
    let (registry, mut transport) = manual();
    let id = registry.submit(post()).unwrap();
    assert_eq!(registry.complete(id, success("x")), Err(InvalidEvent::NotSent));
    assert_eq!(registry.status(id), Some(RequestStatus::Pending));
    transport.next().succeed("prod_1");
}

#[test]
fn failures_that_nobody_looked_at_are_listed() {
    let (registry, mut transport) = manual();
    let ids = [(); 4].map(|()| registry.submit(post()).unwrap());
    for _ in 0..3 {
        transport.next().fail(failure(Effect::None));
    }
    transport.next().succeed("prod_1");
    assert!(registry.result(ids[1]).is_ok());
    let listed: Vec<_> = registry.root().unobserved_failures();
    assert_eq!(listed.iter().map(|f| f.0).collect::<Vec<_>>(), [ids[0], ids[2]]);
    assert_eq!(listed[0].1, "product.create");
}

#[test]
fn counters_add_up() {
    let (registry, mut transport) = manual();
    let sessions = [registry.session(), registry.session()];
    for session in &sessions {
        for _ in 0..5 {
            session.submit(post()).unwrap();
        }
    }
    transport.next().succeed("prod_1");
    transport.next().fail(failure(Effect::None));
    transport.next().into_inner().complete_overdue(Effect::None);
    let mut retried = transport.next().into_inner();
    for _ in 0..3 {
        retried.begin_attempt(Duration::ZERO);
    }
    assert_eq!(retried.attempts(), 3);
    retried.complete(success("prod_2"));
    for session in &sessions {
        session.cancel_unsent();
    }
    let counts = registry.counts();
    assert_eq!((counts.submitted, counts.completed, counts.failed), (10, 2, 1));
    assert_eq!((counts.timeout, counts.cancelled, counts.retries), (1, 6, 2));
    let [one, two] = sessions.map(|session| session.counts());
    assert_eq!(one.submitted + two.submitted, counts.submitted);
    assert_eq!(one.cancelled + two.cancelled, counts.cancelled);
    assert_eq!(registry.len(), 0);
}

#[test]
fn a_deadline_beyond_what_the_clock_counts_is_none() {
    let (registry, mut transport) = manual();
    let id = registry.submit(post().deadline(Duration::MAX)).unwrap();
    transport.next().succeed("prod_1");
    assert_eq!(registry.is_complete(id), Some(true));
}

#[test]
fn what_is_given_up_is_cancelled_or_no_longer_waited_for() {
    let (registry, mut transport) = manual();
    let session = registry.session();
    let get = || Request::new(Method::Get, "/v1/products");
    let (reading, writing) = (session.submit(get()).unwrap(), session.submit(post()).unwrap());
    let (read, written) = (transport.next(), transport.next());
    let unsent = session.submit(get()).unwrap();
    assert_eq!(session.pending(), 3);

    assert_eq!(session.abandon(unsent), Some(()));
    assert_eq!((session.pending(), session.counts().cancelled), (2, 1));
    assert!(transport.try_next().is_none());
    assert_eq!(session.abandon(reading), Some(()));
    assert_eq!(session.pending(), 1, "a sent read is not waited for");
    assert_eq!(session.abandon(writing), Some(()));
    assert_eq!(session.pending(), 1, "a sent write is");
    for id in [unsent, reading, writing] {
        assert_eq!((session.status(id), session.abandon(id)), (None, None));
    }

    // The endings are counted once, and nobody is told of the failure.
    read.fail(failure(Effect::None));
    assert_eq!(session.pending(), 1);
    written.succeed("prod_1");
    assert_eq!((session.pending(), registry.len()), (0, 0));
    assert!(session.unobserved_failures().is_empty());
}

#[test]
fn a_wait_for_a_further_attempt_counts_as_unsent() {
    let (registry, mut transport) = manual();
    let id = registry.submit(post()).unwrap();
    let mut sent = transport.next().into_inner();
    sent.wait(Effect::None, registry.clock().now());
    assert_eq!(registry.root().state(id), Some(State::Waiting(Effect::None)));
    assert_eq!(
        (
            registry.unsent(),
            registry.waiting(),
            registry.in_flight(),
            registry.len()
        ),
        (1, 1, 0, 1)
    );
    let sent = block_on(sent.resume()).unwrap();
    assert_eq!(registry.root().state(id), Some(State::Sent));
    assert_eq!((registry.unsent(), registry.waiting(), registry.in_flight()), (0, 0, 1));
    sent.complete(success("x"));
    assert_eq!((registry.unsent(), registry.in_flight(), registry.len()), (0, 0, 0));
}

#[test]
fn a_wait_can_be_cancelled_while_nothing_can_have_happened() {
    let (registry, mut transport) = manual();
    for (effect, cancelled) in [(Effect::None, true), (Effect::Unknown, false)] {
        let id = registry.submit(post()).unwrap();
        let mut sent = transport.next().into_inner();
        sent.wait(effect, registry.clock().now());
        assert_eq!(registry.cancel(id), Some(cancelled));
        assert_eq!(sent.is_ended(), cancelled);
        assert_eq!(block_on(sent.resume()).is_none(), cancelled);
        assert_eq!((registry.len(), registry.unsent(), registry.waiting()), (0, 0, 0));
        assert_eq!(
            (transport.queue().cancelled(), transport.queue().cancelled_waiting()),
            (0, 0)
        );
        let outcome = registry.result(id).unwrap();
        assert_eq!(outcome.as_ref().as_ref().unwrap_err().effect, effect);
    }
}

#[test]
fn a_wait_that_is_dropped_keeps_what_is_known() {
    let (registry, mut transport) = manual();
    for effect in [Effect::None, Effect::Unknown] {
        let id = registry.submit(post()).unwrap();
        let mut sent = transport.next().into_inner();
        sent.wait(effect, registry.clock().now());
        drop(sent);
        let outcome = registry.result(id).unwrap();
        assert_eq!(outcome.as_ref().as_ref().unwrap_err().effect, effect);
        assert_eq!((registry.unsent(), registry.waiting()), (0, 0));
    }
}
