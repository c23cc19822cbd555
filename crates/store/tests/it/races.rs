//! What happens in one moment rather than in another, what falls silent, and what is not taken or cannot be read.

use std::future::Future as _;
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use inflight_core::{Effect, FailureKind, Journal as _, Request};
use inflight_store::{DurableStore, RunError, RunState, StoreOptions};

use crate::proxy::Proxy;
use crate::runs::{begun, entry, resumed, session};
use crate::support::{PATIENCE, Place, Process, idle, long, post, quick, success, until};

#[test]
fn what_is_written_one_by_one_is_written_in_the_order_in_which_it_was_asked_for() {
    let Some(place) = Place::postgres() else { return };
    let process = Process::with(&place, idle());
    place.execute("CREATE INDEX short ON inflight_requests (operation)");
    let run = begun(&process);
    let session = session(&process);
    // While the first one is being written, the others come together.
    let locked = place.transaction("LOCK TABLE inflight_requests IN EXCLUSIVE MODE");
    session.submit(post("first")).unwrap();
    place.wait_for_lock("INSERT");
    run.write(entry(0)).unwrap();
    let follows = session.submit(post("Mug")).unwrap();
    let refused = session.submit(post("Cup").operation(long(10_000))).unwrap();
    locked.commit();
    let outcome = session.wait(refused, Some(PATIENCE)).unwrap();
    assert_eq!(outcome.as_ref().as_ref().unwrap_err().kind, FailureKind::Store);
    inflight_core::block_on(session.recorded(follows).unwrap());
    let in_order = format!(
        "SELECT COUNT(*) FROM inflight_requests AS r JOIN inflight_journal AS j ON j.run = r.run \
         WHERE r.id = '{follows}' AND j.xmin::text::bigint < r.xmin::text::bigint"
    );
    assert_eq!(place.number(&in_order), 1, "the journal's entry first");
}

#[test]
fn attempts_leave_in_the_order_in_which_they_began_to_wait_for_the_pace() {
    const REQUESTS: usize = 6;
    for place in Place::durable() {
        // One at once, and then one each 118 ms.
        let paced = StoreOptions {
            pace: Some(10.0),
            ..quick()
        };
        let mut process = Process::with(&place, paced);
        let submit = |n| process.registry.submit(post(&format!("{n}"))).unwrap();
        (0..REQUESTS).map(submit).for_each(drop);
        let left = Arc::new(Mutex::new(Vec::new()));
        let mut starts = Vec::new();
        for number in 0..REQUESTS {
            let job = until("it comes", || process.transport.next_job());
            if number == REQUESTS - 1 {
                // The last one asks when the others wait already.
                until("the first one leaves", || left.lock().unwrap().first().copied());
            }
            let mut start = Box::pin(job.start());
            let asked = start.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(asked.is_pending(), "that is to be written first");
            let left = Arc::clone(&left);
            starts.push(std::thread::spawn(move || {
                let in_flight = inflight_core::block_on(start).unwrap();
                left.lock().unwrap().push(number);
                in_flight.complete(success("prod_1"));
            }));
        }
        starts.into_iter().for_each(|start| start.join().unwrap());
        assert_eq!(*left.lock().unwrap(), (0..REQUESTS).collect::<Vec<_>>());
    }
}

#[test]
fn of_two_that_claim_from_one_lane_at_once_one_gives_its_request_back() {
    let Some(place) = Place::postgres() else { return };
    let lane = |request: &Request| (request.operation == "product.create").then(|| "cus_1".into());
    let options = |prefetch| StoreOptions {
        lane: Some(Arc::new(lane)),
        prefetch,
        ..quick()
    };
    let submitting = Process::with(&place, options(0));
    let submit = |request| {
        let id = submitting.registry.submit(request).unwrap();
        inflight_core::block_on(submitting.registry.root().recorded(id).unwrap());
        id
    };
    let (older, newer) = (submit(post("Mug")), submit(post("Cup")));
    let beside = submit(post("Jug").operation("other"));
    let store = place.open_with(options(64));
    // It has looked, and nobody has one of the lane. Meanwhile another process, which did not see the older one, takes the newer one.
    let mut other = place.transaction("LOCK TABLE inflight_requests IN EXCLUSIVE MODE");
    let mut process = Process::on(store);
    place.wait_for_lock("UPDATE inflight_requests SET owner = $1");
    other.execute(&format!(
        "UPDATE inflight_requests SET owner = 'other', epoch = 1, state = 'sent', lease_until = 9000000000000 WHERE id = '{newer}'"
    ));
    other.commit();
    assert_eq!(process.next().id(), beside, "two of a lane at once");
    let epoch = format!("SELECT epoch FROM inflight_requests WHERE id = '{older}'");
    assert_eq!(place.number(&epoch), 0, "nobody has had it");
    place.execute(&format!(
        "UPDATE inflight_requests SET state = 'completed', effect = 'done', ended_at = created_at, lease_until = NULL WHERE id = '{newer}'"
    ));
    assert_eq!(process.next().id(), older);
}

#[test]
fn what_waits_for_a_further_attempt_keeps_no_other_from_being_claimed() {
    let Some(place) = Place::postgres() else { return };
    let mut process = Process::with(&place, StoreOptions { prefetch: 2, ..quick() });
    let waiting = ["Mug", "Cup"].map(|name| {
        process.registry.submit(post(name)).unwrap();
        let mut in_flight = process.next().into_inner();
        in_flight.wait(Effect::None, Instant::now() + Duration::from_secs(3600));
        in_flight
    });
    assert_eq!(process.registry.unsent(), waiting.len());
    let further = process.registry.submit(post("Jug")).unwrap();
    assert_eq!(process.next().id(), further);
}

#[test]
fn endings_are_told_also_when_the_database_has_gone_without_a_word() {
    let Some(place) = Place::postgres() else { return };
    let proxy = Proxy::before(&place.url());
    let waiting = Process::on(DurableStore::open(proxy.url(), idle()).unwrap());
    let id = waiting.registry.submit(post("Mug")).unwrap();
    inflight_core::block_on(waiting.registry.root().recorded(id).unwrap());
    // The writer's, the keeper's, and two to hear of endings.
    until("it listens", || (proxy.opened() >= 4).then_some(()));
    proxy.fall_silent();
    let mut sending = Process::at(&place);
    sending.next().succeed("prod_1");
    assert!(waiting.registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
}

#[test]
fn requests_are_claimed_also_when_the_database_has_gone_without_a_word() {
    let Some(place) = Place::postgres() else { return };
    let proxy = Proxy::before(&place.url());
    let mut process = Process::on(DurableStore::open(proxy.url(), quick()).unwrap());
    let submitting = Process::with(&place, idle());
    let mut jobs = Vec::new();
    for name in ["before", "after"] {
        submitting.registry.submit(post(name)).unwrap();
        jobs.push(until("it is claimed", || process.transport.next_job()));
        proxy.fall_silent();
    }
}

#[test]
fn a_start_of_which_nobody_was_told_is_not_at_work() {
    let Some(place) = Place::postgres() else { return };
    for is_here in [true, false] {
        let proxy = Proxy::before(&place.url());
        let process = Process::on(DurableStore::open(proxy.url(), quick()).unwrap());
        proxy.cut_next_commit(true);
        let unanswered = process.store().begin_run("nightly", "nightly.rhai");
        assert!(matches!(unanswered, Err(RunError::Query(_))), "{unanswered:?}");
        let started = "SELECT COUNT(*) FROM inflight_runs WHERE starts = 1 AND owner IS NOT NULL";
        until("it is committed", || (place.number(started) == 1).then_some(()));
        let other = Process::at(&place);
        // Here at once, and elsewhere when the lease ends that nobody renews.
        let asked = if is_here { &process } else { &other };
        assert!(!process.store().runs().unwrap()[0].is_alive);
        let run = resumed(asked);
        assert!(asked.store().runs().unwrap()[0].is_alive);
        run.finish(RunState::Completed, None).unwrap();
        drop(run);
        asked.store().prune_runs(0).unwrap();
    }
}

#[test]
fn nothing_is_submitted_that_follows_what_the_journal_does_not_take() {
    let Some(place) = Place::postgres() else { return };
    let process = Process::at(&place);
    place.execute("CREATE INDEX short ON inflight_journal (operation)");
    let run = begun(&process);
    let mut refused = entry(0);
    refused.operation = long(10_000);
    run.write(refused).unwrap();
    let session = session(&process);
    let id = session.submit(post("Mug")).unwrap();
    let outcome = session.wait(id, Some(PATIENCE)).unwrap();
    let failed = outcome.as_ref().as_ref().unwrap_err();
    assert_eq!((&failed.kind, failed.effect), (&FailureKind::Store, Effect::None));
    assert!(process.kept(id).is_none());
    // The next start has a journal without a gap.
    drop(run);
    assert!(begun(&process).entries().unwrap().is_empty());
}

#[test]
fn an_ending_that_cannot_be_read_keeps_no_other_from_being_told() {
    let Some(place) = Place::postgres() else { return };
    let process = Process::with(&place, idle());
    let ids = ["Mug", "Cup"].map(|name| process.registry.submit(post(name)).unwrap());
    for id in ids {
        inflight_core::block_on(process.registry.root().recorded(id).unwrap());
    }
    place.execute(&format!(
        "UPDATE inflight_requests SET outcome = 'damaged', state = 'completed', effect = 'done', ended_at = created_at WHERE id = '{}'",
        ids[0]
    ));
    assert!(process.store().cancel_request(ids[1]).unwrap());
    let [damaged, cancelled] = ids.map(|id| process.registry.wait(id, Some(PATIENCE)).unwrap().as_ref().clone());
    let damaged = damaged.unwrap_err();
    assert_eq!((&damaged.kind, damaged.effect), (&FailureKind::Store, Effect::Unknown));
    assert_eq!(cancelled.unwrap_err().kind, FailureKind::Cancelled);
}

#[test]
fn what_is_claimed_again_before_its_loss_is_known_goes_on_once() {
    let Some(place) = Place::postgres() else { return };
    let mut process = Process::at(&place);
    let id = process.registry.submit(post("Mug")).unwrap();
    let job = until("it is claimed", || process.transport.next_job());
    // Another process's keeper has found its lease over, and nobody else claims it.
    place.execute("UPDATE inflight_requests SET owner = NULL, lease_until = NULL");
    place.execute("NOTIFY inflight_new");
    let again = "SELECT COUNT(*) FROM inflight_requests WHERE owner IS NOT NULL AND epoch = 2";
    until("it is claimed again", || (place.number(again) == 1).then_some(()));
    until("that is known here", || {
        let mut start = Box::pin(process.registry.wait_async(id).unwrap());
        let pending = start
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending();
        (pending && place.number(again) == 1).then_some(())
    });
    let in_flight = inflight_core::block_on(job.start()).expect("it goes on");
    assert!(process.transport.next_job().is_none(), "and once");
    in_flight.complete(success("prod_1"));
    let outcome = process.registry.wait(id, Some(PATIENCE)).unwrap();
    assert!(outcome.is_ok());
    assert_eq!(process.kept(id).unwrap().attempts, 1);
}

#[test]
fn what_another_process_had_in_between_is_not_sent_by_an_older_claim() {
    let Some(place) = Place::postgres() else { return };
    let mut process = Process::at(&place);
    let id = process.registry.submit(post("Mug")).unwrap();
    let job = until("it is claimed", || process.transport.next_job());
    place.execute("UPDATE inflight_requests SET owner = NULL, lease_until = NULL, epoch = epoch + 1");
    place.execute("NOTIFY inflight_new");
    let again = "SELECT COUNT(*) FROM inflight_requests WHERE owner IS NOT NULL AND epoch = 3";
    until("it is claimed again", || (place.number(again) == 1).then_some(()));
    assert!(inflight_core::block_on(job.start()).is_none(), "it is lost");
    // Nobody renews that claim.
    process.next().succeed("prod_1");
    assert!(process.registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
    assert_eq!(process.kept(id).unwrap().attempts, 1);
}

#[test]
fn what_is_a_runs_is_cancelled_by_whoever_has_the_run() {
    let Some(place) = Place::postgres() else { return };
    let process = Process::with(&place, idle());
    let _run = begun(&process);
    let session = session(&process);
    let id = session.submit(post("Mug")).unwrap();
    inflight_core::block_on(session.recorded(id).unwrap());
    place.execute("UPDATE inflight_runs SET owner = 'another'");
    assert_eq!(session.cancel(id), Some(false));
    // What was asked for after that is written after it.
    let after = process.registry.submit(post("Cup")).unwrap();
    inflight_core::block_on(process.registry.root().recorded(after).unwrap());
    assert!(process.kept(id).unwrap().ended.is_none());
}
