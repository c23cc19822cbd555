//! What an idempotency key that was given may be used for.

use std::time::Duration;

use inflight_core::{Effect, IdempotencyKey, Request, RequestStatus, Session};
use inflight_store::StoreOptions;

use crate::support::{PATIENCE, Place, Process, failure, post, quick, success, until};

fn keyed(name: &str, key: &str) -> Request {
    post(name).idempotency_key(IdempotencyKey::Given(key.into()))
}

/// Submits it, and gives whether the store has taken it.
fn is_taken(session: &Session, request: Request) -> bool {
    let id = session.submit(request).unwrap();
    inflight_core::block_on(session.recorded(id).unwrap());
    if session.status(id) == Some(RequestStatus::Pending) {
        return true;
    }
    let outcome = session.wait(id, Some(PATIENCE)).unwrap();
    let failed = outcome.as_ref().as_ref().unwrap_err();
    assert_eq!(
        (failed.kind.as_str(), failed.effect),
        ("idempotency_error", Effect::None)
    );
    assert!(failed.message.contains("idempotency key"), "{}", failed.message);
    false
}

#[test]
fn a_key_belongs_to_one_request() {
    for place in Place::all() {
        let process = Process::at(&place);
        let given = || IdempotencyKey::Given("order-17".into());
        let sessions = [process.registry.session(), process.registry.session()];
        let first = sessions[0].submit(post("Mug").idempotency_key(given())).unwrap();
        let second = sessions[1].submit(post("Cup").idempotency_key(given())).unwrap();
        inflight_core::block_on(sessions[0].recorded(first).unwrap());
        let outcome = sessions[1].wait(second, Some(PATIENCE)).unwrap();
        let failed = outcome.as_ref().as_ref().unwrap_err();
        assert_eq!(
            (failed.kind.as_str(), failed.effect),
            ("idempotency_error", Effect::None)
        );
        assert!(failed.message.contains("key"), "{}", failed.message);
        // Another account's keys are its own.
        let other = process.registry.session();
        let third = other
            .submit(post("Cup").idempotency_key(given()).credential("other"))
            .unwrap();
        inflight_core::block_on(other.recorded(third).unwrap());
        assert_eq!(other.status(third), Some(RequestStatus::Pending));
    }
}

#[test]
fn the_same_may_be_submitted_again_under_its_key() {
    for place in Place::all() {
        let mut process = Process::at(&place);
        let sessions = [process.registry.session(), process.registry.session()];
        assert!(is_taken(&sessions[0], keyed("Mug", "order-17")));
        process.next().complete(success("prod_1"));
        assert!(is_taken(&sessions[1], keyed("Mug", "order-17")));
        let again = process.next();
        assert_eq!(
            again.request().idempotency_key,
            IdempotencyKey::Given("order-17".into())
        );
        again.complete(success("prod_1"));
        assert!(!is_taken(&process.registry.session(), keyed("Cup", "order-17")));
        // A header may name another account, which has keys of its own.
        let connected = |name: &str| keyed(name, "order-17").header("Stripe-Account", "acct_1");
        assert!(is_taken(&sessions[0], connected("Cup")));
        assert!(!is_taken(&sessions[1], connected("Mug")));
    }
}

#[test]
fn also_under_a_key_that_was_made_for_it() {
    for place in Place::all() {
        let mut process = Process::at(&place);
        let id = process.registry.submit(post("Mug")).unwrap();
        process.next().fail(failure(Effect::Unknown));
        process.registry.wait(id, Some(PATIENCE)).unwrap();
        let [other, same] = [process.registry.session(), process.registry.session()];
        assert!(!is_taken(&other, keyed("Cup", &id.to_string())));
        assert!(is_taken(&same, keyed("Mug", &id.to_string())));
    }
}

#[test]
fn but_not_once_the_other_side_may_have_forgotten_it() {
    for place in Place::durable() {
        let forgotten = StoreOptions {
            key_lifetime: Duration::ZERO,
            ..quick()
        };
        let mut process = Process::with(&place, forgotten);
        let [first, second] = [process.registry.session(), process.registry.session()];
        for (key, outcome, may_again) in [
            ("done", success("prod_1"), false),
            ("unknown", Err(failure(Effect::Unknown)), false),
            ("none", Err(failure(Effect::None)), true),
        ] {
            let id = first.submit(keyed("Mug", key)).unwrap();
            process.next().complete(outcome);
            let _ = first.wait(id, Some(PATIENCE)).unwrap();
            assert_eq!(is_taken(&second, keyed("Mug", key)), may_again, "{key}");
        }
    }
}

#[test]
fn a_key_is_as_old_as_its_first_request() {
    const HOUR: Duration = Duration::from_secs(3600);
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let first = process.registry.submit(keyed("Mug", "order-17")).unwrap();
        process.next().complete(success("prod_1"));
        process.registry.wait(first, Some(PATIENCE)).unwrap();
        place.execute("UPDATE inflight_requests SET key_sent_at = key_sent_at - 3600000");
        let second = process.registry.submit(keyed("Mug", "order-17")).unwrap();
        let _sent = process.next();
        let kept = process.kept(second).unwrap();
        assert!(kept.sent_ago.is_some_and(|ago| ago >= HOUR), "{:?}", kept.sent_ago);
        // One of its own is as old as itself.
        let other = process.registry.submit(post("Mug")).unwrap();
        let _sent = process.next();
        assert!(process.kept(other).unwrap().sent_ago.is_some_and(|ago| ago < HOUR));
    }
}

#[test]
fn a_key_that_has_become_too_old_meanwhile_is_not_sent() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let first = process.registry.submit(keyed("Mug", "order-17")).unwrap();
        process.next().complete(success("prod_1"));
        process.registry.wait(first, Some(PATIENCE)).unwrap();
        let session = process.registry.session();
        let second = session.submit(keyed("Mug", "order-17")).unwrap();
        inflight_core::block_on(session.recorded(second).unwrap());
        place.execute("UPDATE inflight_requests SET key_sent_at = key_sent_at - 24 * 3600000");
        let failed = until("it ends", || {
            assert!(process.transport.try_next().is_none(), "it is sent");
            session.result(second).ok()
        });
        let failed = failed.as_ref().as_ref().unwrap_err();
        assert_eq!(
            (failed.kind.as_str(), failed.effect),
            ("idempotency_error", Effect::None)
        );
    }
}

#[test]
fn what_was_done_since_under_its_key_is_not_retried() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let session = process.registry.session();
        let mut submit = |key: &str, outcome| {
            let id = session.submit(keyed("Mug", key)).unwrap();
            process.next().complete(outcome);
            session.wait(id, Some(PATIENCE)).unwrap();
            id
        };
        let failed = submit("order-17", Err(failure(Effect::None)));
        submit("order-17", success("prod_1"));
        let alone = submit("order-18", Err(failure(Effect::None)));
        assert!(!process.store().retry_request(failed).unwrap());
        assert!(process.store().retry_request(alone).unwrap());
    }
}

#[test]
fn many_keys_at_once_take_few_locks() {
    const MANY: usize = 8_000;
    let Some(place) = Place::postgres() else { return };
    let process = Process::at(&place);
    let all = (0..MANY).map(|n| keyed("Mug", &format!("order-{n}"))).collect();
    let session = process.registry.session_with(inflight_core::SessionLimits {
        pending: MANY,
        unsent: MANY,
    });
    for id in session.submit_all(all).unwrap() {
        inflight_core::block_on(session.recorded(id).unwrap());
        assert_eq!(session.status(id), Some(RequestStatus::Pending));
    }
}

#[test]
fn two_processes_do_not_use_one_key_for_two_things() {
    let Some(place) = Place::postgres() else { return };
    let processes = [Process::at(&place), Process::at(&place)];
    let together = std::sync::Barrier::new(2);
    let taken = std::thread::scope(|scope| {
        let threads = [("Mug", &processes[0].registry), ("Cup", &processes[1].registry)].map(|(name, registry)| {
            let (session, together) = (registry.session(), &together);
            let submit = move |n| {
                together.wait();
                is_taken(&session, keyed(name, &format!("order-{n}")))
            };
            scope.spawn(move || (0..100).map(submit).collect::<Vec<_>>())
        });
        threads.map(|thread| thread.join().unwrap())
    });
    for (mug, cup) in taken[0].iter().zip(&taken[1]) {
        assert!(mug ^ cup, "{taken:?}");
    }
}

#[test]
fn a_key_that_is_made_anew_is_not_longer_than_the_other_side_takes() {
    let long = "k".repeat(255);
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let mut seen = std::collections::HashSet::new();
        for key in [&long, &long[..246], "order-17"] {
            let id = process.registry.submit(keyed("Mug", key)).unwrap();
            for _ in 0..30 {
                let sent = process.next();
                let IdempotencyKey::Given(key) = sent.request().idempotency_key.clone() else {
                    panic!("it has a key")
                };
                assert!(key.len() <= 255, "{}", key.len());
                assert!(seen.insert(key), "it would be another request's");
                sent.fail(failure(Effect::None));
                until("it is sent again", || {
                    process.store().retry_request(id).unwrap().then_some(())
                });
            }
            process.next().complete(success("prod_1"));
        }
    }
}
