//! A clock that is set back or forwards while requests are in the store.

use std::time::Duration;

use inflight_core::{Effect, IdempotencyKey, Method, RequestStatus};
use inflight_store::StoreOptions;

use crate::support::{PATIENCE, Place, Process, failure, idle, post, quick, until};

/// Longer than any of these tests waits.
const HOUR: f64 = 1.0;

#[test]
fn what_is_queued_is_sent_whichever_way_the_clock_goes() {
    for hours in [-HOUR, HOUR] {
        for place in Place::durable() {
            // Nothing is claimed, so that it stays where it was written.
            let idle = StoreOptions { prefetch: 0, ..quick() };
            let first = Process::with(&place, idle);
            let id = first.registry.submit(post("Mug")).unwrap();
            inflight_core::block_on(first.registry.root().recorded(id).unwrap());
            first.die();
            place.move_clock(hours);
            let mut next = Process::at(&place);
            let sent = next.next();
            assert_eq!(sent.id(), id);
            sent.succeed("prod_1");
            until("it is written", || next.kept(id)?.ended.map(drop));
        }
    }
}

#[test]
fn what_is_in_flight_ends_once_whichever_way_the_clock_goes() {
    for hours in [-HOUR, HOUR] {
        for place in Place::durable() {
            let mut process = Process::at(&place);
            let id = process.registry.submit(post("Mug")).unwrap();
            let sent = process.next();
            place.move_clock(hours);
            // It may have lost its lease to itself, and sends it again then under its key.
            let key = sent.request().idempotency_key.clone();
            sent.succeed("prod_1");
            let status = until("it ends", || {
                if let Some(again) = process.transport.try_next() {
                    assert_eq!((again.id(), &again.request().idempotency_key), (id, &key));
                    again.succeed("prod_1");
                }
                process.kept(id)?.ended
            });
            assert_eq!(status.0, RequestStatus::Completed);
            let outcome = process.registry.wait(id, Some(PATIENCE)).unwrap();
            assert!(outcome.is_ok(), "{outcome:?}");
        }
    }
}

#[test]
fn a_process_whose_lease_a_clock_has_ended_cannot_end_what_another_has() {
    let Some(place) = Place::postgres() else { return };
    let mut slow = Process::at(&place);
    let id = slow.registry.submit(post("Mug")).unwrap();
    let held = slow.next();
    let key = held.request().idempotency_key.clone();
    // It is silent while the clock goes forwards, so that it does not renew its lease first.
    slow.freeze();
    place.move_clock(HOUR);
    let mut other = Process::at(&place);
    let taken = other.next();
    assert_eq!(
        (taken.id(), &taken.request().idempotency_key),
        (id, &key),
        "the same key"
    );
    held.fail(failure(Effect::None));
    taken.succeed("prod_1");
    let (status, _) = until("it ends", || other.kept(id)?.ended);
    assert_eq!(status, RequestStatus::Completed);
    slow.thaw();
    assert!(other.transport.try_next().is_none() && slow.transport.try_next().is_none());
    assert_eq!(other.kept(id).unwrap().ended.unwrap().0, RequestStatus::Completed);
}

#[test]
fn a_key_is_sent_again_only_where_its_age_is_known() {
    // A clock that was set back a little, one of which nothing can be believed, and one by which the key is too old.
    for (hours, is_sent) in [(-0.5, true), (-3.0, false), (22.0, true), (24.0, false)] {
        for place in Place::durable() {
            let mut process = Process::at(&place);
            let id = process.registry.submit(post("Mug")).unwrap();
            let sent = process.next();
            let key = sent.request().idempotency_key.clone();
            drop(sent);
            let dead = process.store().process().to_owned();
            process.die();
            place.move_clock(hours);
            // Its lease is over, however it went: one that is not lasts longer by what the clock is set back. What the dead process
            // asked PostgreSQL for at last may still be carried out, and begin a lease that nobody ends.
            let end_lease = || {
                if matches!(place, Place::Postgres(_)) {
                    place.execute(&format!(
                        "UPDATE inflight_requests SET lease_until = 0 WHERE owner = '{dead}'"
                    ));
                }
            };
            let mut next = Process::at(&place);
            if is_sent {
                let again = until("it is sent again", || {
                    end_lease();
                    next.transport.try_next()
                });
                assert_eq!((again.id(), &again.request().idempotency_key), (id, &key));
                again.succeed("prod_1");
                continue;
            }
            let (status, outcome) = until("it ends", || {
                end_lease();
                next.kept(id)?.ended
            });
            let failed = outcome.unwrap_err();
            assert_eq!(
                (status, failed.effect),
                (RequestStatus::Failed, Effect::Unknown),
                "{hours}"
            );
            assert!(
                failed.needs_reconcile && failed.message.contains("too old"),
                "{}",
                failed.message
            );
            assert!(next.transport.try_next().is_none(), "{hours}");
        }
    }
}

#[test]
fn a_key_that_was_forgotten_while_the_machine_slept_is_not_sent_again() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let id = process.registry.submit(post("Mug")).unwrap();
        let job = until("it comes", || process.transport.next_job());
        let mut in_flight = inflight_core::block_on(job.start()).unwrap();
        in_flight.wait(Effect::Unknown, std::time::Instant::now());
        // The clock of deadlines has stood still meanwhile.
        place.move_clock(24.0);
        assert!(
            inflight_core::block_on(in_flight.resume()).is_none(),
            "it must not leave"
        );
        let (status, outcome) = until("it ends", || process.kept(id)?.ended);
        assert_eq!(
            (status, outcome.unwrap_err().effect),
            (RequestStatus::Failed, Effect::Unknown)
        );
        assert!(process.transport.try_next().is_none());
    }
}

#[test]
fn the_pace_goes_on_after_the_clock_was_set_back() {
    for place in Place::durable() {
        let paced = StoreOptions {
            pace: Some(40.0),
            ..quick()
        };
        let process = Process::with(&place, paced);
        let (registry, echo) = process.echo();
        for (number, hours) in [(0, -HOUR), (1, HOUR), (2, -HOUR)] {
            // More than may be sent at once after a silence.
            let ids: Vec<_> = (0..5)
                .map(|n| registry.submit(post(&format!("{number}-{n}"))).unwrap())
                .collect();
            for id in ids {
                assert!(registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
            }
            place.move_clock(hours);
        }
        drop(registry);
        echo.die();
    }
}

#[test]
fn retention_deletes_nothing_early_that_has_not_ended_or_is_in_doubt() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let ids = ["ended", "doubt", "sent"].map(|name| process.registry.submit(post(name)).unwrap());
        let mut sent: Vec<_> = (0..3).map(|_| process.next()).collect();
        sent.sort_by_key(|sent| ids.iter().position(|id| *id == sent.id()));
        let (_held, doubt, ended) = (sent.pop(), sent.pop().unwrap(), sent.pop().unwrap());
        doubt.fail(failure(Effect::Unknown));
        ended.succeed("prod_1");
        for id in &ids[..2] {
            process.registry.wait(*id, Some(PATIENCE)).unwrap();
        }
        // A clock that was set back keeps all.
        let week = StoreOptions {
            retention: Duration::from_secs(7 * 24 * 3600),
            prefetch: 0,
            ..quick()
        };
        process.freeze();
        place.move_clock(-HOUR);
        let all = process.store().requests(&Default::default()).unwrap();
        assert_eq!(all.len(), 3);
        process.die();
        place.move_clock(8.0 * 24.0);
        let next = Process::with(&place, week);
        until("the old row is deleted", || next.kept(ids[0]).is_none().then_some(()));
        let states = [ids[1], ids[2]].map(|id| next.kept(id).map(|kept| kept.ended.is_some()));
        assert!(states.iter().all(Option::is_some), "{states:?}");
    }
}

/// A request's time.
const DEADLINE: Duration = Duration::from_secs(600);

#[test]
fn what_outlived_a_process_has_its_time_anew_whatever_the_machines_clock_says() {
    let Some(place) = Place::with_clock() else { return };
    place.set_clock_ahead(1);
    let first = Process::with(&place, idle());
    let id = first.registry.submit(post("Mug").deadline(DEADLINE)).unwrap();
    inflight_core::block_on(first.registry.root().recorded(id).unwrap());
    first.die();
    // Half an hour before the next process begins, and half an hour ahead of this machine's clock.
    place.move_clock(0.5);
    let next = Process::with(&place, idle());
    assert_eq!(next.kept(id).unwrap().deadline, DEADLINE);
}

#[test]
fn what_is_retried_has_its_time_anew_also_where_nobody_had_claimed_it() {
    let Some(place) = Place::with_clock() else { return };
    place.set_clock_ahead(0);
    let mut older = Process::at(&place);
    older.freeze();
    let submitting = Process::with(&place, idle());
    let id = submitting.registry.submit(post("Mug").deadline(DEADLINE)).unwrap();
    inflight_core::block_on(submitting.registry.root().recorded(id).unwrap());
    assert!(submitting.store().cancel_request(id).unwrap());
    place.set_clock_ahead(1);
    assert!(submitting.store().retry_request(id).unwrap());
    older.thaw();
    until("it is claimed", || older.transport.next_job());
    assert_eq!(older.kept(id).unwrap().deadline, DEADLINE);
}

#[test]
fn what_has_no_key_is_sent_again_only_shortly_after() {
    for (hours, is_sent) in [(0.1, true), (0.2, false)] {
        for place in Place::durable() {
            let mut process = Process::at(&place);
            let mut request = post("Mug").idempotency_key(IdempotencyKey::None);
            request.method = Method::Delete;
            let id = process.registry.submit(request).unwrap();
            drop(process.next());
            process.die();
            place.move_clock(hours);
            let mut next = Process::at(&place);
            if is_sent {
                assert_eq!(next.next().id(), id);
                continue;
            }
            let (status, outcome) = until("it ends", || next.kept(id)?.ended);
            let failed = outcome.unwrap_err();
            assert_eq!((status, failed.effect), (RequestStatus::Failed, Effect::Unknown));
            assert!(failed.needs_reconcile && failed.message.contains("another object's"));
            assert!(next.transport.try_next().is_none());
            assert!(!next.store().retry_request(id).unwrap(), "nor by hand");
            // What someone has looked up is another matter.
            assert!(next.store().reconcile_request(id, None).unwrap());
            assert!(next.store().retry_request(id).unwrap());
            assert_eq!(next.next().id(), id);
        }
    }
}

#[test]
fn retention_deletes_all_at_once_however_many_there_are() {
    // More than are deleted in one go; and the next look is later than the test waits.
    const ROWS: usize = 2500;
    for place in Place::durable() {
        let store = place.open();
        let row =
            |n| format!("('{n}', '', 1, '', '', '', 'POST', '', '', '', 1, 1, 1, 1, 'completed', 1, 1, 'done', 1)");
        let rows: Vec<_> = (0..ROWS).map(row).collect();
        place.execute(&format!(
            "INSERT INTO inflight_requests (id, submitter, session, account, mode, operation, method, path, request, fingerprint, \
             priority, created_at, not_before, deadline_ms, state, epoch, attempts, effect, ended_at) VALUES {}",
            rows.join(", ")
        ));
        let process = Process::on(store);
        until("they are deleted", || {
            process.store().counts().unwrap().is_empty().then_some(())
        });
    }
}
