//! What every store does, the one in memory too.

use std::sync::Arc;
use std::time::Duration;

use inflight_core::{Effect, FailureKind, IdempotencyKey, RequestStatus, State};

use crate::support::{PATIENCE, Place, Process, failure, post, success, until};

#[test]
fn a_request_is_kept_through_its_life() {
    for place in Place::all() {
        let mut process = Process::at(&place);
        let request = post("Mug").header("Stripe-Account", "acct_1").max_retries(3);
        let id = process.registry.submit(request).unwrap();
        let sent = process.next();
        let kept = process.kept(id).unwrap();
        assert_eq!(&kept.request, sent.request());
        assert_eq!(kept.request.idempotency_key, IdempotencyKey::Given(id.to_string()));
        assert_eq!(
            (kept.attempts, kept.ended.is_some()),
            (1, false),
            "written before it leaves"
        );
        let mut in_flight = sent.into_inner();
        in_flight.begin_attempt(Duration::ZERO);
        in_flight.wait(Effect::Unknown, process.registry.clock().now());
        let in_flight = inflight_core::block_on(in_flight.resume()).unwrap();
        assert_eq!(process.kept(id).unwrap().attempts, 2, "each attempt");
        in_flight.complete(success("prod_1"));
        let outcome = process.registry.wait(id, Some(PATIENCE)).unwrap();
        let (status, kept) = process.kept(id).unwrap().ended.unwrap();
        assert_eq!(status, RequestStatus::Completed);
        assert_eq!(kept.unwrap(), *outcome.as_ref().as_ref().unwrap());
        assert!(process.registry.is_empty());
    }
}

#[test]
fn each_ending_is_kept_as_it_was() {
    for place in Place::all() {
        let mut process = Process::at(&place);
        for effect in [Effect::None, Effect::Unknown] {
            let id = process.registry.submit(post("Mug")).unwrap();
            let mut failed = failure(effect);
            failed.kind = FailureKind::Named("card_error".into());
            failed.code = Some("card_declined".into());
            process.next().fail(failed);
            process.registry.wait(id, Some(PATIENCE)).unwrap();
            let (status, outcome) = process.kept(id).unwrap().ended.unwrap();
            let failed = outcome.unwrap_err();
            assert_eq!((status, failed.effect), (RequestStatus::Failed, effect));
            assert_eq!(failed.code.as_deref(), Some("card_declined"));
        }
    }
}

#[test]
fn what_is_settled_later_is_kept() {
    for place in Place::all() {
        let mut process = Process::at(&place);
        let id = process.registry.submit(post("Mug")).unwrap();
        process.next().fail(failure(Effect::Unknown));
        process.registry.wait(id, Some(PATIENCE)).unwrap();
        process.registry.root().reconcile(id, success("prod_1")).unwrap();
        until("it is written", || {
            let (status, _) = process.kept(id)?.ended?;
            (status == RequestStatus::Completed).then_some(())
        });
    }
}

#[test]
fn several_are_written_all_or_none() {
    for place in Place::all() {
        let mut process = Process::at(&place);
        let keyed = |name: &str, key: &str| post(name).idempotency_key(IdempotencyKey::Given(key.into()));
        let first = process.registry.submit(keyed("Mug", "order-17")).unwrap();
        inflight_core::block_on(process.registry.root().recorded(first).unwrap());

        let session = process.registry.session();
        let refused = vec![keyed("Cup", "order-18"), keyed("Jug", "order-17"), post("Pan")];
        let refused = session.submit_all(refused).unwrap();
        for id in &refused {
            let outcome = session.wait(*id, Some(PATIENCE)).unwrap();
            let failed = outcome.as_ref().as_ref().unwrap_err();
            assert_eq!(
                (failed.kind.as_str(), failed.effect),
                ("idempotency_error", Effect::None)
            );
            let culprit = refused[1].to_string();
            assert!(failed.message.contains(&culprit), "{}", failed.message);
            assert!(process.kept(*id).is_none(), "nothing of it is there");
        }

        // Its keys are free: the same without the one that is taken is written and sent.
        let next = process.registry.session();
        let accepted = next.submit_all(vec![keyed("Cup", "order-18"), post("Pan")]).unwrap();
        let mut sent: Vec<_> = (0..3).map(|_| process.next()).collect();
        let mut ids: Vec<_> = sent.iter().map(|sent| sent.id()).collect();
        ids.sort();
        let mut expected = [&[first], &accepted[..]].concat();
        expected.sort();
        assert_eq!(ids, expected);
        assert!(process.transport.try_next().is_none(), "what was refused is never sent");
        for one in sent.drain(..) {
            one.succeed("prod_1");
        }
        for id in accepted {
            assert!(next.wait(id, Some(PATIENCE)).unwrap().is_ok());
        }
    }
}

#[test]
fn what_is_cancelled_is_never_sent() {
    for place in Place::all() {
        // Nothing is claimed, so that it stays where it was written.
        let mut process = match &place {
            Place::Memory => Process::at(&place),
            _ => Process::with(
                &place,
                inflight_store::StoreOptions {
                    prefetch: 0,
                    ..crate::support::quick()
                },
            ),
        };
        let id = process.registry.submit(post("Mug")).unwrap();
        inflight_core::block_on(process.registry.root().recorded(id).unwrap());
        process.registry.cancel(id);
        process.registry.wait(id, Some(PATIENCE)).unwrap();
        assert_eq!(process.registry.status(id), Some(RequestStatus::Cancelled));
        until("it is written", || {
            let (status, _) = process.kept(id)?.ended?;
            (status == RequestStatus::Cancelled).then_some(())
        });
        assert!(process.transport.try_next().is_none());
    }
}

#[test]
fn requests_of_many_threads_each_end_once() {
    const THREADS: usize = 4;
    const EACH: usize = 100;
    for place in Place::all() {
        let process = Arc::new(std::sync::Mutex::new(Process::at(&place)));
        let registry = process.lock().unwrap().registry.clone();
        let submitting: Vec<_> = (0..THREADS)
            .map(|thread| {
                let registry = registry.clone();
                std::thread::spawn(move || {
                    let submit = |n| registry.submit(post(&format!("{thread}-{n}"))).unwrap();
                    (0..EACH).map(submit).collect::<Vec<_>>()
                })
            })
            .collect();
        for _ in 0..THREADS * EACH {
            let sent = process.lock().unwrap().next();
            let id = format!("prod_{}", sent.id());
            sent.succeed(&id);
        }
        for thread in submitting {
            for id in thread.join().unwrap() {
                let outcome = registry.wait(id, Some(PATIENCE)).unwrap();
                let object = outcome.as_ref().as_ref().unwrap().object_id.clone();
                assert_eq!(object.as_deref(), Some(&*format!("prod_{id}")));
            }
        }
        assert!(
            process.lock().unwrap().transport.try_next().is_none(),
            "none is sent twice"
        );
        assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
    }
}

#[test]
fn what_a_process_leaves_behind_goes_on_in_the_next() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let ids = ["queued", "sent", "ended"].map(|name| process.registry.submit(post(name)).unwrap());
        let mut by_name = std::collections::HashMap::new();
        let mut sents = Vec::new();
        for _ in 0..3 {
            let sent = process.next();
            by_name.insert(sent.id(), ());
            sents.push(sent);
        }
        let key = sents[1].request().idempotency_key.clone();
        let ended = sents.iter().position(|sent| sent.id() == ids[2]).unwrap();
        sents.remove(ended).succeed("prod_ended");
        process.registry.wait(ids[2], Some(PATIENCE)).unwrap();
        // The other two are on their way when the process dies.
        let dying = process.store().clone();
        drop(sents);
        process.die();
        drop(dying);

        let mut next = Process::at(&place);
        let mut again = [next.next(), next.next()];
        again.sort_by_key(|sent| ids.iter().position(|id| *id == sent.id()));
        assert_eq!(again.each_ref().map(|sent| sent.id()), [ids[0], ids[1]]);
        for sent in again {
            assert_eq!(next.kept(sent.id()).unwrap().attempts, 2);
            if sent.id() == ids[1] {
                assert_eq!(sent.request().idempotency_key, key, "the same key");
            }
            let id = sent.id();
            sent.succeed("prod_again");
            until("it is written", || next.kept(id)?.ended.map(drop));
        }
        assert!(next.transport.try_next().is_none());
        assert_eq!(next.registry.root().state(ids[0]), None::<State>);
    }
}

#[test]
fn a_key_that_is_too_old_is_not_sent_again() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let id = process.registry.submit(post("Mug")).unwrap();
        drop(process.next());
        process.die();
        let options = inflight_store::StoreOptions {
            key_lifetime: Duration::ZERO,
            ..crate::support::quick()
        };
        let mut next = Process::with(&place, options);
        let (status, outcome) = until("it ends", || next.kept(id)?.ended);
        let failed = outcome.unwrap_err();
        assert_eq!((status, failed.effect), (RequestStatus::Failed, Effect::Unknown));
        assert!(failed.needs_reconcile);
        assert!(next.transport.try_next().is_none());
    }
}

#[test]
fn an_account_keeps_its_pace() {
    const REQUESTS: usize = 40;
    for place in Place::durable() {
        let pace = 40.0;
        let process = Process::with(
            &place,
            inflight_store::StoreOptions {
                pace: Some(pace),
                ..crate::support::quick()
            },
        );
        let (registry, echo) = process.echo();
        let begun = std::time::Instant::now();
        let ids: Vec<_> = (0..REQUESTS)
            .map(|n| registry.submit(post(&format!("{n}"))).unwrap())
            .collect();
        for id in ids {
            assert!(registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
        }
        // However fast the machine: the tokens are not there before.
        let least = REQUESTS as f64 / pace * 0.9;
        assert!(begun.elapsed().as_secs_f64() >= least, "{:?}", begun.elapsed());
        drop(registry);
        assert_eq!(echo.die(), REQUESTS);
    }
}

#[test]
fn tables_of_an_older_program_are_brought_up_to_date() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let id = process.registry.submit(post("Mug")).unwrap();
        process.next().succeed("prod_1");
        process.registry.wait(id, Some(PATIENCE)).unwrap();
        process.die();
        let later = [
            "DROP INDEX inflight_requests_doubt",
            "DROP INDEX inflight_requests_failed",
            "DROP INDEX inflight_requests_keys",
            "ALTER TABLE inflight_requests DROP COLUMN key_scope",
        ];
        later.iter().for_each(|change| place.execute(change));
        place.execute(
            "CREATE UNIQUE INDEX inflight_requests_key ON inflight_requests (account, mode, idempotency_key) \
             WHERE idempotency_key IS NOT NULL",
        );
        place.execute("DELETE FROM inflight_schema WHERE version > 1");

        let process = Process::at(&place);
        assert!(process.kept(id).unwrap().ended.is_some());
        process.die();
        // They are there again.
        later.iter().for_each(|change| place.execute(change));
    }
}

#[test]
fn what_is_cancelled_while_it_is_written_is_never_sent() {
    for place in Place::durable() {
        let mut ids = Vec::new();
        {
            let process = Process::with(
                &place,
                inflight_store::StoreOptions {
                    prefetch: 0,
                    ..crate::support::quick()
                },
            );
            for n in 0..20 {
                let id = process.registry.submit(post(&format!("{n}"))).unwrap();
                process.registry.cancel(id);
                ids.push(id);
            }
            for id in &ids {
                process.registry.wait(*id, Some(PATIENCE)).unwrap();
                assert_eq!(process.registry.status(*id), Some(RequestStatus::Cancelled));
            }
            process.die();
        }
        let mut next = Process::at(&place);
        for id in ids {
            let ended = until("the next process has it", || next.kept(id)).ended;
            let (status, _) = ended.expect("it was cancelled before the first process ended");
            assert_eq!(status, RequestStatus::Cancelled);
        }
        assert!(next.transport.try_next().is_none());
    }
}

#[test]
fn what_was_sent_without_a_key_is_not_sent_again() {
    use inflight_core::{IdempotencyKey, Method};
    for (method, is_sent) in [(Method::Post, false), (Method::Patch, false), (Method::Delete, true)] {
        for place in Place::durable() {
            let mut process = Process::at(&place);
            let mut request = post("Mug").idempotency_key(IdempotencyKey::None);
            request.method = method;
            let id = process.registry.submit(request).unwrap();
            drop(process.next());
            process.die();
            let mut next = Process::at(&place);
            if is_sent {
                assert_eq!(next.next().id(), id);
                continue;
            }
            let (status, outcome) = until("it ends", || next.kept(id)?.ended);
            let failed = outcome.unwrap_err();
            assert_eq!((status, failed.effect), (RequestStatus::Failed, Effect::Unknown));
            assert!(failed.needs_reconcile && failed.message.contains("without an idempotency key"));
            assert!(next.transport.try_next().is_none());
        }
    }
}

#[test]
fn what_a_worker_has_left_is_the_next_ones_also_in_the_same_process() {
    for place in Place::durable() {
        let mut first = Process::at(&place);
        let store = first.store().clone();
        let sent = first.registry.submit(post("Mug")).unwrap();
        let in_flight = first.next();
        let queued = first.registry.submit(post("Cup")).unwrap();
        let cancelled = first.registry.submit(post("Jug")).unwrap();
        // Where it is not known who has it, it is cancelled.
        first.registry.cancel(cancelled).unwrap();
        first.die_with(in_flight);

        let mut second = Process::on(store);
        for _ in [sent, queued] {
            second.next().complete(success("prod_1"));
        }
        for id in [sent, queued] {
            until("it has ended", || {
                let (status, _) = second.kept(id)?.ended?;
                (status == RequestStatus::Completed).then_some(())
            });
        }
        assert_eq!(second.kept(sent).unwrap().attempts, 2);
        assert_eq!(second.kept(queued).unwrap().attempts, 1);
        let cancelled = until("that is written", || second.kept(cancelled)?.ended);
        assert_eq!(cancelled.0, RequestStatus::Cancelled);
        assert!(second.transport.try_next().is_none());
    }
}
