//! Several processes on one PostgreSQL, and what can happen between them and it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use inflight_core::{Effect, FailureKind, RequestStatus, SessionLimits};
use inflight_store::{DurableStore, StoreOptions};

use crate::proxy::Proxy;
use crate::support::{PATIENCE, Place, Process, long, post, quick, success, until};

#[test]
fn one_process_sends_what_another_submits() {
    let Some(place) = Place::postgres() else { return };
    // The first one claims nothing by itself.
    let submitting = Process::with(&place, StoreOptions { prefetch: 0, ..quick() });
    let mut sending = Process::at(&place);
    let ids = ["Mug", "Cup"].map(|name| submitting.registry.submit(post(name)).unwrap());
    for _ in 0..2 {
        let sent = sending.next();
        let id = format!("prod_{}", sent.id());
        sent.succeed(&id);
    }
    for id in ids {
        let outcome = submitting.registry.wait(id, Some(PATIENCE)).unwrap();
        let object = outcome.as_ref().as_ref().unwrap().object_id.clone();
        assert_eq!(object.as_deref(), Some(&*format!("prod_{id}")));
    }
    assert_eq!((submitting.registry.len(), submitting.registry.unsent()), (0, 0));
}

#[test]
fn processes_share_the_work() {
    const REQUESTS: usize = 400;
    let Some(place) = Place::postgres() else { return };
    let options = || StoreOptions { prefetch: 8, ..quick() };
    let submitting = Process::with(&place, StoreOptions { prefetch: 0, ..quick() });
    let workers: Vec<_> = (0..3).map(|_| Process::with(&place, options()).echo()).collect();
    let registry = &submitting.registry;
    let ids: Vec<_> = (0..REQUESTS)
        .map(|n| registry.submit(post(&format!("{n}"))).unwrap())
        .collect();
    for id in &ids {
        assert!(registry.wait(*id, Some(PATIENCE)).unwrap().is_ok());
    }
    let answered: Vec<_> = workers
        .into_iter()
        .map(|(registry, echo)| {
            drop(registry);
            echo.die()
        })
        .collect();
    assert_eq!(answered.iter().sum::<usize>(), REQUESTS, "each once: {answered:?}");
    assert!(answered.iter().all(|count| *count > 0), "{answered:?}");
}

#[test]
fn a_process_that_was_frozen_neither_sends_nor_ends_what_another_took_over() {
    let Some(place) = Place::postgres() else { return };
    let mut frozen = Process::at(&place);
    let ids = ["sent", "queued"].map(|name| frozen.registry.submit(post(name)).unwrap());
    let sent = frozen.next();
    let job = until("the second one is claimed", || frozen.transport.next_job());
    let first = sent.id();
    frozen.freeze();

    let mut other = Process::at(&place);
    for _ in 0..2 {
        let again = other.next();
        let id = format!("prod_{}", again.id());
        again.succeed(&id);
    }
    for id in ids {
        until("it is written", || other.kept(id)?.ended.map(drop));
    }
    // It wakes up, and goes on with what it was about.
    sent.succeed("prod_stale");
    assert!(inflight_core::block_on(job.start()).is_none(), "it must not leave");
    frozen.thaw();
    for id in ids {
        let outcome = frozen.registry.wait(id, Some(PATIENCE)).unwrap();
        let object = outcome.as_ref().as_ref().unwrap().object_id.clone();
        assert_eq!(
            object.as_deref(),
            Some(&*format!("prod_{id}")),
            "as the other one ended it"
        );
    }
    assert!(ids.contains(&first));
}

#[test]
fn a_process_that_was_frozen_cancels_nothing_that_another_took_over() {
    let Some(place) = Place::postgres() else { return };
    let mut frozen = Process::at(&place);
    let id = frozen.registry.submit(post("Mug")).unwrap();
    let job = until("it is claimed", || frozen.transport.next_job());
    frozen.freeze();
    let mut other = Process::at(&place);
    other.next().succeed("prod_1");
    until("it is written", || other.kept(id)?.ended.map(drop));
    assert_eq!(frozen.registry.cancel(id), Some(false));
    drop(job);
    frozen.thaw();
    let outcome = frozen.registry.wait(id, Some(PATIENCE)).unwrap();
    let object = outcome.as_ref().as_ref().unwrap().object_id.clone();
    assert_eq!(object.as_deref(), Some("prod_1"), "as the other one ended it");
    assert_eq!(other.kept(id).unwrap().ended.unwrap().0, RequestStatus::Completed);
}

#[test]
fn what_a_process_has_claimed_can_be_cancelled_there() {
    let Some(place) = Place::postgres() else { return };
    let mut process = Process::at(&place);
    let id = process.registry.submit(post("Mug")).unwrap();
    let job = until("it is claimed", || process.transport.next_job());
    assert_eq!(process.registry.cancel(id), Some(false), "that is to be written first");
    assert!(inflight_core::block_on(job.start()).is_none(), "it must not leave");
    let outcome = process.registry.wait(id, Some(PATIENCE)).unwrap();
    let failed = outcome.as_ref().as_ref().unwrap_err();
    assert_eq!((&failed.kind, failed.effect), (&FailureKind::Cancelled, Effect::None));
    assert_eq!(process.kept(id).unwrap().ended.unwrap().0, RequestStatus::Cancelled);
}

#[test]
fn a_process_that_claims_no_more_keeps_what_it_is_sending() {
    let Some(place) = Place::postgres() else { return };
    let mut stopping = Process::at(&place);
    let id = stopping.registry.submit(post("Mug")).unwrap();
    let sent = stopping.next();
    stopping.stop_claiming();
    let mut other = Process::at(&place);
    let begun = Instant::now();
    while begun.elapsed() < 4 * quick().lease {
        assert!(other.transport.try_next().is_none(), "its leases are renewed");
        std::thread::sleep(Duration::from_millis(10));
    }
    let further = stopping.registry.submit(post("Cup")).unwrap();
    assert_eq!(other.next().id(), further, "the other one has it");
    assert!(stopping.transport.try_next().is_none());
    sent.succeed("prod_1");
    let outcome = stopping.registry.wait(id, Some(PATIENCE)).unwrap();
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn a_lane_may_have_any_name() {
    let Some(place) = Place::postgres() else { return };
    let options = StoreOptions {
        lane: Some(Arc::new(|_| Some(long(5_000).into()))),
        ..quick()
    };
    let mut process = Process::with(&place, options);
    let ids = ["Mug", "Cup"].map(|name| process.registry.submit(post(name)).unwrap());
    let first = process.next();
    assert!(process.transport.try_next().is_none(), "one at a time");
    first.succeed("prod_1");
    process.next().succeed("prod_2");
    for id in ids {
        assert!(process.registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
    }
}

#[test]
fn what_the_database_does_not_take_is_refused_alone() {
    let Some(place) = Place::postgres() else { return };
    let mut process = Process::at(&place);
    place.execute("CREATE INDEX short ON inflight_requests (operation)");
    let session = process.registry.session();
    let good = session.submit(post("Mug")).unwrap();
    // No index takes a text of that length.
    let bad = session.submit(post("Cup").operation(long(10_000))).unwrap();
    let after = session.submit(post("Jug")).unwrap();
    for _ in 0..2 {
        process.next().succeed("prod_1");
    }
    let outcomes = [good, bad, after].map(|id| session.wait(id, Some(PATIENCE)).unwrap().as_ref().clone());
    assert!(outcomes[0].is_ok() && outcomes[2].is_ok(), "{outcomes:?}");
    let refused = outcomes[1].as_ref().unwrap_err();
    assert_eq!((&refused.kind, refused.effect), (&FailureKind::Store, Effect::None));
}

#[test]
fn an_older_request_of_a_lane_that_appears_later_waits_for_the_one_that_is_sent() {
    let Some(place) = Place::postgres() else { return };
    let options = StoreOptions {
        lane: Some(Arc::new(|_| Some("cus_1".into()))),
        poll: PATIENCE,
        ..quick()
    };
    let mut process = Process::with(&place, options);
    let old = process.registry.submit(post("Mug")).unwrap();
    process.next().fail(crate::support::failure(Effect::None));
    until("it is written", || process.kept(old)?.ended.map(drop));
    let new = process.registry.submit(post("Cup")).unwrap();
    let sent = process.next();
    assert_eq!(sent.id(), new);
    assert!(process.store().retry_request(old).unwrap());
    let mut other = Process::at(&place);
    let begun = Instant::now();
    while begun.elapsed() < 5 * quick().poll {
        assert!(
            other.transport.try_next().is_none() && process.transport.try_next().is_none(),
            "two at once"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    sent.succeed("prod_1");
    let again = until("the older one comes", || {
        process.transport.try_next().or_else(|| other.transport.try_next())
    });
    assert_eq!(again.id(), old);
    again.succeed("prod_2");
}

#[test]
fn requests_of_one_lane_run_one_after_another_over_all_processes() {
    const REQUESTS: usize = 30;
    let Some(place) = Place::postgres() else { return };
    let options = || StoreOptions {
        lane: Some(Arc::new(|_| Some("cus_1".into()))),
        ..quick()
    };
    let mut processes = [Process::with(&place, options()), Process::with(&place, options())];
    let ids: Vec<_> = (0..REQUESTS)
        .map(|n| processes[n % 2].registry.submit(post(&format!("{n}"))).unwrap())
        .collect();
    let mut order = Vec::new();
    while order.len() < REQUESTS {
        let sent = until("the next one comes", || {
            processes.iter_mut().find_map(|process| process.transport.try_next())
        });
        // Long enough for the other process to claim, if it could.
        let idle = Instant::now();
        while idle.elapsed() < Duration::from_millis(10) {
            assert!(
                processes
                    .iter_mut()
                    .all(|process| process.transport.try_next().is_none()),
                "two at once"
            );
        }
        order.push(sent.id());
        sent.succeed("prod_1");
    }
    assert_eq!(order.iter().collect::<HashSet<_>>(), ids.iter().collect());
}

#[test]
fn the_next_of_a_lane_is_not_left_until_someone_looks_for_it() {
    // At one look for each, this would take longer than the test waits.
    const REQUESTS: u32 = 24;
    let Some(place) = Place::postgres() else { return };
    let options = StoreOptions {
        lane: Some(Arc::new(|_| Some("cus_1".into()))),
        poll: PATIENCE / (REQUESTS / 2),
        ..quick()
    };
    let (registry, echo) = Process::with(&place, options).echo();
    let ids: Vec<_> = (0..REQUESTS)
        .map(|n| registry.submit(post(&format!("{n}"))).unwrap())
        .collect();
    let begun = Instant::now();
    for id in ids {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        assert!(registry.wait(id, Some(left)).unwrap().is_ok(), "all within the time");
    }
    drop(registry);
    echo.die();
}

#[test]
fn sessions_take_turns() {
    let Some(place) = Place::postgres() else { return };
    let submitting = Process::with(&place, StoreOptions { prefetch: 0, ..quick() });
    let limits = SessionLimits {
        pending: 1000,
        unsent: 1000,
    };
    let large = submitting.registry.session_with(limits);
    let small = submitting.registry.session_with(limits);
    let many: Vec<_> = (0..100).map(|n| large.submit(post(&format!("{n}"))).unwrap()).collect();
    inflight_core::block_on(large.recorded(many[99]).unwrap());
    let few: Vec<_> = (0..5)
        .map(|n| small.submit(post(&format!("few {n}"))).unwrap())
        .collect();
    inflight_core::block_on(small.recorded(few[4]).unwrap());
    let mut sending = Process::with(
        &place,
        StoreOptions {
            prefetch: 10,
            ..quick()
        },
    );
    let first: Vec<_> = (0..10).map(|_| sending.next()).collect();
    let of_small = first.iter().filter(|sent| few.contains(&sent.id())).count();
    assert_eq!(of_small, 5, "half of the first ten");
}

#[test]
fn an_urgent_request_is_claimed_first_and_none_starves() {
    let Some(place) = Place::postgres() else { return };
    let submitting = Process::with(&place, StoreOptions { prefetch: 0, ..quick() });
    let registry = &submitting.registry;
    let low = registry
        .submit(post("low").priority(inflight_core::Priority::Low))
        .unwrap();
    let normal = registry.submit(post("normal")).unwrap();
    let high = registry
        .submit(post("high").priority(inflight_core::Priority::High))
        .unwrap();
    for id in [low, normal, high] {
        inflight_core::block_on(registry.root().recorded(id).unwrap());
    }
    let mut sending = Process::with(&place, StoreOptions { prefetch: 1, ..quick() });
    let mut order = Vec::new();
    for _ in 0..3 {
        let sent = sending.next();
        order.push(sent.id());
        sent.succeed("prod_1");
    }
    assert_eq!(order, [high, normal, low]);
}

#[test]
fn a_connection_that_is_lost_in_the_middle_of_a_commit_loses_nothing() {
    let Some(place) = Place::postgres() else { return };
    // The commit does not arrive, or its answer does not.
    for arrives in [false, true] {
        let proxy = Proxy::before(&place.url());
        let store = DurableStore::open(proxy.url(), quick()).unwrap();
        let mut process = Process::on(store);
        let mut ended = 0;
        for round in 0..8 {
            let id = process.registry.submit(post(&format!("{arrives} {round}"))).unwrap();
            if round % 2 == 0 {
                proxy.cut_next_commit(arrives);
            }
            inflight_core::block_on(process.registry.root().recorded(id).unwrap());
            if process.registry.is_complete(id) == Some(true) {
                // Refused: then it is nowhere.
                let outcome = process.registry.result(id).unwrap();
                let failed = outcome.as_ref().as_ref().unwrap_err();
                assert_eq!((&failed.kind, failed.effect), (&FailureKind::Store, Effect::None));
                let kept = until("the database is there", || process.try_kept(id));
                assert!(kept.is_none(), "refused, and kept");
                continue;
            }
            let sent = process.next();
            proxy.cut_next_commit(arrives);
            assert_eq!(sent.id(), id);
            sent.succeed("prod_1");
            let outcome = process.registry.wait(id, Some(PATIENCE)).unwrap();
            assert!(outcome.is_ok());
            ended += 1;
        }
        assert!(ended >= 4, "{ended}");
        assert!(process.transport.try_next().is_none(), "none is sent twice");
    }
}

#[test]
fn while_the_database_is_away_submissions_fail_fast_and_the_rest_waits() {
    let Some(place) = Place::postgres() else { return };
    let proxy = Proxy::before(&place.url());
    let store = DurableStore::open(proxy.url(), quick()).unwrap();
    let mut process = Process::on(store);
    let id = process.registry.submit(post("before")).unwrap();
    let sent = process.next();
    proxy.set_down(true);
    sent.succeed("prod_1");
    let refused = process.registry.submit(post("during")).unwrap();
    let begun = Instant::now();
    let outcome = process.registry.wait(refused, Some(PATIENCE)).unwrap();
    let failed = outcome.as_ref().as_ref().unwrap_err();
    assert_eq!((&failed.kind, failed.effect), (&FailureKind::Store, Effect::None));
    assert!(begun.elapsed() < PATIENCE / 2, "fast, not after the database is back");
    assert_eq!(
        process.registry.status(id),
        Some(RequestStatus::Pending),
        "not ended before it is written"
    );
    proxy.set_down(false);
    assert!(process.registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
    let after = process.registry.submit(post("after"));
    let after = after.unwrap();
    let sent = process.next();
    assert_eq!(sent.id(), after);
    sent.complete(success("prod_2"));
    assert!(process.registry.wait(after, Some(PATIENCE)).unwrap().is_ok());
}

#[test]
fn a_newer_schema_beside_an_older_program_goes_on() {
    let Some(place) = Place::postgres() else { return };
    let mut old = Process::at(&place);
    for change in [
        "ALTER TABLE inflight_requests ADD COLUMN colour TEXT",
        "INSERT INTO inflight_schema (version) VALUES (1000)",
    ] {
        crate::schema::on_postgres(&place.url(), change);
    }
    let mut new = Process::at(&place);
    let id = old.registry.submit(post("Mug")).unwrap();
    until("one of them sends it", || {
        let sent = old.transport.try_next().or_else(|| new.transport.try_next())?;
        sent.succeed("prod_1");
        Some(())
    });
    assert!(old.registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
}

#[test]
fn a_store_whose_database_is_away_can_be_closed() {
    let Some(place) = Place::postgres() else { return };
    let proxy = Proxy::before(&place.url());
    let store = DurableStore::open(proxy.url(), quick()).unwrap();
    let mut process = Process::on(store);
    process.registry.submit(post("Mug")).unwrap();
    let sent = process.next();
    proxy.set_down(true);
    sent.succeed("prod_1");
    process.die();
    // Whoever comes next sends it again, with the same key.
    proxy.set_down(false);
    let mut next = Process::at(&place);
    next.next().succeed("prod_1");
}
