//! Sessions know nothing of each other, and forget in time.

use std::sync::Arc;
use std::time::Duration;

use inflight_core::testing::ManualClock;
use inflight_core::{
    DEFAULT_RETENTION, IdempotencyKey, Registry, RequestStatus, ResultError, SessionLimits, SubmitErrorKind,
};

use crate::support::{manual, manual_with, named, post, success};

#[test]
fn an_id_is_known_in_its_own_session_only() {
    let (registry, mut transport) = manual();
    let (mine, other) = (registry.session(), registry.session());
    assert_ne!(mine.id(), other.id());
    let id = mine.submit(post()).unwrap();
    for stranger in [&other, registry.root()] {
        assert_eq!(stranger.status(id), None);
        assert_eq!(stranger.cancel(id), None);
        assert_eq!(stranger.complete(id, success("x")), Ok(None));
        assert_eq!(stranger.reconcile(id, success("x")), Ok(None));
        assert!(stranger.wait_async(id).is_none());
    }
    transport.next().succeed("prod_1");
    assert_eq!(other.take_result(id).unwrap_err(), ResultError::Unknown);
    assert!(mine.clone().take_result(id).is_ok(), "a clone is the same session");
}

#[test]
fn limits_are_named_in_the_error_and_the_request_comes_back() {
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(20));
    assert_eq!(registry.session_share(), 2);
    let session = registry.session();
    session.submit(post()).unwrap();
    session.submit(post()).unwrap();
    let error = session.submit(post()).unwrap_err();
    assert_eq!(error.kind(), SubmitErrorKind::SessionFull { limit: 2 });
    assert!(error.kind().is_temporary());
    assert_eq!(error.into_request(), post());

    let few = registry.session_with(SessionLimits { pending: 1, unsent: 9 });
    few.submit(post()).unwrap();
    let error = few.submit(post()).unwrap_err();
    assert_eq!(error.kind(), SubmitErrorKind::TooManyPending { limit: 1 });

    for _ in 0..17 {
        registry.submit(post()).unwrap();
    }
    let error = registry.submit(post()).unwrap_err();
    assert_eq!(
        error.kind(),
        SubmitErrorKind::QueueFull {
            unsent: 20,
            capacity: 20
        }
    );
    assert!(error.to_string().contains("20 requests"), "{error}");

    // Sent, it counts as pending only.
    let sent = transport.next();
    session.submit(post()).unwrap();
    sent.succeed("prod_1");
    registry.close();
    assert_eq!(registry.submit(post()).unwrap_err().kind(), SubmitErrorKind::Closed);
    transport.next().succeed("prod_2");
}

#[test]
fn results_of_a_closed_session_are_kept_for_the_retention() {
    let clock = Arc::new(ManualClock::new());
    let (registry, mut transport) = manual_with(Registry::builder().clock(clock.clone()));
    let session = registry.session();
    let [ended, pending] = [(); 2].map(|()| session.submit(post().deadline(DEFAULT_RETENTION * 9)).unwrap());
    transport.next().succeed("prod_1");
    clock.advance(DEFAULT_RETENTION * 2);
    assert_eq!(registry.sweep(), 0, "a living session keeps its results");

    session.close();
    session.close();
    clock.advance(DEFAULT_RETENTION - Duration::from_secs(1));
    assert_eq!(registry.sweep(), 0);
    assert!(session.result(ended).is_ok());
    clock.advance(Duration::from_secs(1));
    assert_eq!(registry.sweep(), 1);
    assert_eq!(session.result(ended).unwrap_err(), ResultError::Unknown);

    assert_eq!(session.status(pending), Some(RequestStatus::Pending), "never forgotten");
    transport.next().succeed("prod_2");
    assert!(session.result(pending).is_ok());
    clock.advance(DEFAULT_RETENTION);
    assert_eq!(registry.sweep(), 1, "what ended later is not kept for ever");
    assert!(session.is_empty());
}

#[test]
fn closing_a_session_sweeps_those_before_it() {
    let clock = Arc::new(ManualClock::new());
    let (registry, mut transport) = manual_with(
        Registry::builder()
            .clock(clock.clone())
            .retention(Duration::from_secs(10)),
    );
    let (first, second) = (registry.session(), registry.session());
    first.submit(post()).unwrap();
    transport.next().succeed("prod_1");
    first.close();
    clock.advance(Duration::from_secs(10));
    assert_eq!(first.len(), 1);
    second.close();
    assert_eq!(first.len(), 0);
}

#[test]
fn results_of_the_registrys_own_session_age_by_submission() {
    let clock = Arc::new(ManualClock::new());
    let (registry, mut transport) = manual_with(Registry::builder().clock(clock.clone()));
    let old = registry.submit(post()).unwrap();
    let pending = registry.submit(post().deadline(DEFAULT_RETENTION * 10)).unwrap();
    transport.next().succeed("prod_1");
    clock.advance(DEFAULT_RETENTION + Duration::from_secs(1));
    let new = registry.submit(post()).unwrap();
    transport.next().succeed("prod_2");
    transport.next().succeed("prod_3");
    assert_eq!(registry.is_complete(pending), Some(true));
    assert_eq!(registry.sweep(), 2);
    assert_eq!(registry.status(old), None);
    assert_eq!(registry.status(new), Some(RequestStatus::Completed));
}

#[test]
fn dropping_a_session_stops_nothing() {
    let (registry, mut transport) = manual();
    let session = registry.session();
    session.submit(post()).unwrap();
    drop(session);
    assert_eq!(registry.len(), 1);
    transport.next().succeed("prod_1");
    assert_eq!((registry.len(), registry.counts().completed), (0, 1));
}

#[test]
fn a_key_is_given_to_one_request_only() {
    let (registry, mut transport) = manual();
    let session = registry.session();
    let keyed = |target: &str| named(target).idempotency_key(IdempotencyKey::Given("order-7".into()));
    let id = session.submit(keyed("/v1/a")).unwrap();
    let before = (registry.len(), registry.unsent(), session.pending(), session.len());
    let refused = session.submit(keyed("/v1/b")).unwrap_err();
    assert_eq!(refused.kind(), SubmitErrorKind::KeyReused);
    assert!(!refused.kind().is_temporary());
    assert_eq!(refused.into_request(), keyed("/v1/b"));
    assert_eq!(
        (registry.len(), registry.unsent(), session.pending(), session.len()),
        before
    );
    assert_eq!(registry.counts().submitted, 1);
    // The same request may come again, another session is another account, and a kept result still has its key.
    session.submit(keyed("/v1/a")).unwrap();
    registry.session().submit(keyed("/v1/b")).unwrap();
    for _ in 0..3 {
        transport.next().succeed("x");
    }
    assert!(session.submit(keyed("/v1/b")).is_err());
    assert!(session.take_result(id).unwrap().is_ok());
    assert!(session.submit(keyed("/v1/b")).is_err(), "the second one still has it");
}

#[test]
fn a_request_can_be_changed_when_it_is_accepted() {
    let (registry, mut transport) = manual_with(Registry::builder().on_submit(Arc::new(|id, request| {
        request.headers.push(("x-id".into(), id.to_string()));
    })));
    let id = registry.submit(post()).unwrap();
    let sent = transport.next();
    assert_eq!(sent.request().headers, [("x-id".into(), id.to_string())]);
}
