//! Runs: their journals, their requests, their ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use inflight_core::{Call, Calls, Effect, FailureKind, Journal, JournalEntry, RequestStatus, SessionLimits};
use inflight_store::{QueryError, RunError, RunStart, RunState, StoredRun};

use crate::support::{PATIENCE, Place, Process, failure, post, until};

pub(crate) fn entry(sequence: u64) -> JournalEntry {
    JournalEntry {
        task: 1,
        sequence,
        operation: "is_complete".into(),
        arguments: u64::MAX - sequence,
        answer: format!("true\u{0}{sequence}").into_bytes(),
    }
}

struct Numbers(AtomicU64);

impl Calls for Numbers {
    fn next(&self) -> Call {
        Call {
            run: "nightly".into(),
            task: 0,
            sequence: self.0.fetch_add(1, Ordering::SeqCst),
        }
    }
}

pub(crate) fn session(process: &Process) -> inflight_core::Session {
    let limits = SessionLimits {
        pending: 100,
        unsent: 100,
    };
    process
        .registry
        .session_of_run(limits, Arc::new(Numbers(AtomicU64::new(0))))
}

pub(crate) fn resumed(process: &Process) -> StoredRun {
    until("the lease of the dead process ends", || {
        match process.store().begin_run("nightly", "nightly.rhai") {
            Ok(RunStart::Resumed(run)) => Some(run),
            Err(RunError::InUse(_)) => None,
            other => panic!("{other:?}"),
        }
    })
}

#[test]
fn a_run_goes_on_where_it_was() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let RunStart::New(run) = process.store().begin_run("nightly", "nightly.rhai").unwrap() else {
            panic!("it is new")
        };
        assert!(run.entries().unwrap().is_empty());
        let first = session(&process);
        for n in 0..3 {
            run.write(entry(n)).unwrap();
        }
        let ids = ["Mug", "Cup"].map(|name| first.submit(post(name)).unwrap());
        // What is written of a request is written after what was journalled before it.
        inflight_core::block_on(first.recorded(ids[1]).unwrap());
        until("the first one comes", || process.transport.try_next()).succeed("prod_1");
        let _ = first.wait(ids[0], None);
        drop((run, first));
        process.die();

        let mut process = Process::at(&place);
        let mut run = resumed(&process);
        assert_eq!(run.entries().unwrap(), [entry(0), entry(1), entry(2)]);
        let again = session(&process);
        for kept in run.take_kept() {
            again.restore(kept);
        }
        assert_eq!(again.submit(post("Mug")).unwrap(), ids[0]);
        assert_eq!(again.submit(post("Cup")).unwrap(), ids[1]);
        let done = ids.map(|id| again.status(id) == Some(RequestStatus::Completed));
        assert_eq!(done.iter().filter(|done| **done).count(), 1, "one had ended");
        process.next().succeed("prod_2");
        for id in ids {
            assert!(again.wait(id, Some(PATIENCE)).unwrap().is_ok());
        }
        assert!(process.transport.try_next().is_none());
        let row = &process.store().runs().unwrap()[0];
        assert_eq!((row.starts, row.journalled, row.requests, row.pending), (2, 3, 2, 0));
        assert!(row.is_alive);
        run.finish(RunState::Completed, Some("42".into())).unwrap();
        let finished = process.store().begin_run("nightly", "nightly.rhai").unwrap();
        assert!(
            matches!(&finished, RunStart::Finished(RunState::Completed, Some(result)) if result == "42"),
            "{finished:?}"
        );
    }
}

#[test]
fn one_process_works_on_a_run() {
    let Some(place) = Place::postgres() else { return };
    let (first, second) = (Process::at(&place), Process::at(&place));
    let run = first.store().begin_run("nightly", "nightly.rhai").unwrap();
    let begun = second.store().begin_run("nightly", "nightly.rhai");
    assert!(matches!(begun, Err(RunError::InUse(_))), "{begun:?}");
    drop(run);
    first.die();
    drop(resumed(&second));
}

pub(crate) fn begun(process: &Process) -> StoredRun {
    match process.store().begin_run("nightly", "nightly.rhai").unwrap() {
        RunStart::New(run) | RunStart::Resumed(run) => run,
        ended => panic!("{ended:?}"),
    }
}

#[test]
fn a_run_that_is_let_go_is_gone_on_with_at_once_in_the_same_process() {
    for place in Place::durable() {
        let process = Process::at(&place);
        for start in 0..20 {
            let run = begun(&process);
            assert_eq!(run.entries().unwrap(), (0..start).map(entry).collect::<Vec<_>>());
            let again = process.store().begin_run("nightly", "nightly.rhai");
            assert!(
                matches!(&again, Err(RunError::AtWork(id)) if id == "nightly"),
                "{again:?}"
            );
            run.write(entry(start)).unwrap();
        }
        begun(&process).finish(RunState::Completed, None).unwrap();
        let row = &process.store().runs().unwrap()[0];
        assert_eq!((row.starts, row.journalled, row.state), (21, 20, RunState::Completed));
    }
}

#[test]
fn a_run_that_is_let_go_is_gone_on_with_in_another_process() {
    let Some(place) = Place::postgres() else { return };
    // Nothing but the letting go frees it within the test's patience.
    let options = inflight_store::StoreOptions {
        lease: std::time::Duration::from_secs(3600),
        ..crate::support::quick()
    };
    let (first, second) = (Process::with(&place, options.clone()), Process::with(&place, options));
    let run = Arc::new(begun(&first));
    let journal: Arc<dyn Journal> = run.clone();
    journal.write(entry(0)).unwrap();
    drop(run);
    let refused = second.store().begin_run("nightly", "nightly.rhai");
    assert!(
        matches!(refused, Err(RunError::InUse(_))),
        "its journal is held: {refused:?}"
    );
    drop(journal);
    assert_eq!(resumed(&second).entries().unwrap(), [entry(0)]);
}

#[test]
fn an_end_that_is_not_written_is_told() {
    for place in Place::durable() {
        let process = Process::at(&place);
        let run = begun(&process);
        run.finish(RunState::Completed, Some("42".into())).unwrap();
        let again = run.finish(RunState::Failed, None);
        assert!(
            matches!(&again, Err(QueryError::NotOurs(id)) if id == "nightly"),
            "{again:?}"
        );
        drop(run);
        let finished = process.store().begin_run("nightly", "nightly.rhai").unwrap();
        assert!(matches!(finished, RunStart::Finished(RunState::Completed, Some(_))));
    }
}

#[test]
fn a_run_has_an_id() {
    for place in Place::durable() {
        let process = Process::at(&place);
        for id in ["", "\0"] {
            let begun = process.store().begin_run(id, "nightly.rhai");
            assert!(matches!(begun, Err(RunError::NoId)), "{begun:?}");
        }
    }
}

#[test]
fn a_run_is_given_up_and_deleted() {
    for place in Place::durable() {
        let process = Process::at(&place);
        let store = process.store();
        drop(store.begin_run("nightly", "nightly.rhai").unwrap());
        assert!(store.cancel_run("nightly").unwrap());
        assert!(!store.cancel_run("nightly").unwrap(), "once");
        assert!(!store.cancel_run("other").unwrap());
        let begun = store.begin_run("nightly", "nightly.rhai");
        assert!(matches!(begun, Err(RunError::Cancelled(_))), "{begun:?}");
        assert_eq!(store.prune_runs(60_000).unwrap(), 0, "not old enough");
        assert_eq!(store.prune_runs(0).unwrap(), 1);
        assert!(store.runs().unwrap().is_empty());
    }
}

#[test]
fn a_run_is_kept_until_all_of_its_requests_are_settled() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let store = process.store().clone();
        let RunStart::New(run) = store.begin_run("nightly", "nightly.rhai").unwrap() else {
            panic!("it is new")
        };
        let session = session(&process);
        let id = session.submit(post("Mug")).unwrap();
        let sent = process.next();
        run.finish(RunState::Completed, None).unwrap();
        assert_eq!(store.prune_runs(0).unwrap(), 0, "it has not ended");
        sent.fail(failure(Effect::Unknown));
        session.wait(id, Some(PATIENCE)).unwrap();
        assert_eq!(store.prune_runs(0).unwrap(), 0, "it is in doubt");
        assert!(store.reconcile_request(id, Some("prod_1")).unwrap());
        assert_eq!(store.prune_runs(0).unwrap(), 1);
        assert!(store.request(id).unwrap().is_none());
    }
}

#[test]
fn everything_can_be_written_out() {
    for place in Place::durable() {
        let process = Process::at(&place);
        let store = process.store();
        let RunStart::New(run) = store.begin_run("nightly", "nightly.rhai").unwrap() else {
            panic!("it is new")
        };
        run.write(entry(0)).unwrap();
        let id = process.registry.submit(post("Mug")).unwrap();
        inflight_core::block_on(process.registry.root().recorded(id).unwrap());
        let (line, lines) = std::sync::mpsc::channel();
        store.export(move |text| line.send(text).is_ok()).unwrap();
        let lines: Vec<serde_json::Value> = lines.iter().map(|line| serde_json::from_str(&line).unwrap()).collect();
        let tables: Vec<_> = lines.iter().map(|line| line["table"].as_str().unwrap()).collect();
        assert_eq!(tables, ["inflight_requests", "inflight_runs", "inflight_journal"]);
        assert_eq!(lines[0]["row"]["id"], id.to_string());
        store.vacuum().unwrap();
        assert_eq!(store.check().unwrap(), None);
    }
}

#[test]
fn what_is_added_while_rows_are_written_out_neither_hides_nor_repeats_any() {
    const ROWS: usize = 2500;
    for place in Place::durable() {
        let store = place.open();
        let runs = |ids: &mut dyn Iterator<Item = String>| {
            let values: Vec<_> = ids
                .map(|id| format!("('{id}', '', 's', 'completed', 1, 1, 1)"))
                .collect();
            let columns = "id, mode, script, state, starts, begun_at, ended_at";
            format!("INSERT INTO inflight_runs ({columns}) VALUES {}", values.join(", "))
        };
        let entries = |positions: std::ops::Range<usize>| {
            let values: Vec<_> = positions.map(|at| format!("('m', {at}, 1, 1, 'o', '', '')")).collect();
            let columns = "run, position, task, call, operation, arguments, answer";
            format!("INSERT INTO inflight_journal ({columns}) VALUES {}", values.join(", "))
        };
        place.execute(&runs(&mut (0..ROWS).map(|n| format!("m{n:05}"))));
        place.execute(&entries(10..10 + ROWS));
        let before = [runs(&mut (0..10).map(|n| format!("a{n}"))), entries(0..10)];
        let place = Arc::new(place);
        let (line, lines) = std::sync::mpsc::channel();
        let adding = Arc::clone(&place);
        let mut given = 0;
        store
            .export(move |text| {
                given += 1;
                // In the middle of a page of each table, before what has been given.
                let add = [(ROWS / 2, 0), (ROWS + ROWS / 2, 1)]
                    .into_iter()
                    .find(|(at, _)| *at == given);
                if let Some((_, which)) = add {
                    let (adding, statement) = (Arc::clone(&adding), before[which].clone());
                    std::thread::spawn(move || adding.execute(&statement)).join().unwrap();
                }
                line.send(text).is_ok()
            })
            .unwrap();
        let lines: Vec<String> = lines.iter().collect();
        let different: std::collections::HashSet<_> = lines.iter().collect();
        assert_eq!((lines.len(), different.len()), (2 * ROWS, 2 * ROWS));
    }
}

#[test]
fn an_operator_settles_and_repeats() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let submit = |process: &mut Process, effect| {
            let id = process.registry.submit(post("Mug")).unwrap();
            let sent = process.next();
            let key = sent.request().idempotency_key.clone();
            sent.fail(crate::support::failure(effect));
            process.registry.wait(id, Some(PATIENCE)).unwrap();
            (id, key)
        };
        let (refused, first_key) = submit(&mut process, inflight_core::Effect::None);
        let (in_doubt, doubtful_key) = submit(&mut process, inflight_core::Effect::Unknown);
        let (settled, _) = submit(&mut process, inflight_core::Effect::Unknown);
        let store = process.store().clone();
        assert!(store.reconcile_request(settled, Some("prod_9")).unwrap());
        assert!(!store.reconcile_request(settled, None).unwrap(), "it is known");
        assert!(!store.retry_request(settled).unwrap(), "it was carried out");
        for (id, key, same) in [(refused, first_key, false), (in_doubt, doubtful_key, true)] {
            assert!(store.retry_request(id).unwrap());
            let sent = process.next();
            assert_eq!(sent.id(), id);
            assert_eq!(sent.request().idempotency_key == key, same);
            sent.succeed("prod_1");
            until("it is written", || process.kept(id)?.ended.map(drop));
        }
        let filter = inflight_store::RequestFilter {
            state: Some("completed".into()),
            ..Default::default()
        };
        assert_eq!(store.requests(&filter).unwrap().len(), 3);
        assert!(!store.cancel_request(settled).unwrap(), "too late");
    }
}

#[test]
fn a_run_stays_in_its_world() {
    for place in Place::durable() {
        let process = Process::at(&place);
        drop(process.store().begin_run("nightly", "nightly.rhai").unwrap());
        process.die();
        let options = inflight_store::StoreOptions {
            mode: "live".into(),
            ..crate::support::quick()
        };
        let live = Process::with(&place, options);
        let begun = live.store().begin_run("nightly", "nightly.rhai");
        assert!(matches!(begun, Err(RunError::OtherMode { .. })), "{begun:?}");
    }
}

#[test]
fn a_process_that_was_frozen_submits_nothing_more_for_a_run() {
    let Some(place) = Place::postgres() else { return };
    let mut frozen = Process::at(&place);
    let run = begun(&frozen);
    let stale = session(&frozen);
    frozen.freeze();
    let mut other = Process::at(&place);
    let taken_over = resumed(&other);
    // Both come to the same place of the script, and ask for something else there.
    let refused = stale.submit(post("Mug")).unwrap();
    let outcome = stale.wait(refused, Some(PATIENCE)).unwrap();
    let failed = outcome.as_ref().as_ref().unwrap_err();
    assert_eq!((&failed.kind, failed.effect), (&FailureKind::Store, Effect::None));
    let fresh = session(&other);
    let asked = fresh.submit(post("Cup")).unwrap();
    assert_eq!(asked, refused, "it is the same call of the same run");
    let sent = other.next();
    assert_eq!(sent.request().body, post("Cup").body);
    sent.succeed("prod_1");
    assert!(fresh.wait(asked, Some(PATIENCE)).unwrap().is_ok());
    drop(run);
    taken_over.finish(RunState::Completed, None).unwrap();
}

#[test]
fn a_request_is_not_taken_for_another_one_of_the_same_id() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let run = begun(&process);
        let first = session(&process).submit(post("Mug")).unwrap();
        process.next().succeed("prod_1");
        until("it is written", || process.kept(first)?.ended.map(drop));
        // A session that was told nothing of the first one.
        let again = session(&process);
        let second = again.submit(post("Cup")).unwrap();
        assert_eq!(second, first);
        assert!(again.wait(second, Some(PATIENCE)).unwrap().is_err());
        drop(run);
    }
}

#[test]
fn a_process_that_was_frozen_writes_nothing_more_for_a_run() {
    let Some(place) = Place::postgres() else { return };
    let mut frozen = Process::at(&place);
    let RunStart::New(run) = frozen.store().begin_run("nightly", "nightly.rhai").unwrap() else {
        panic!("it is new")
    };
    run.write(entry(0)).unwrap();
    until("it is written", || {
        (frozen.store().runs().unwrap()[0].journalled == 1).then_some(())
    });
    frozen.freeze();
    let other = Process::at(&place);
    let taken_over = resumed(&other);
    // It wakes up, and learns with its next write that it has lost the run.
    let mut sequence = 1;
    until("it is told", || {
        let refused = run.write(entry(sequence)).is_err();
        sequence += 1;
        refused.then_some(())
    });
    assert_eq!(other.store().runs().unwrap()[0].journalled, 1);
    assert_eq!(taken_over.entries().unwrap(), [entry(0)]);
    let ended = run.finish(RunState::Completed, None);
    assert!(matches!(ended, Err(QueryError::NotOurs(_))), "{ended:?}");
    drop(run);
    taken_over.finish(RunState::Completed, None).unwrap();
}

#[test]
fn a_run_that_was_given_up_goes_on_nowhere() {
    let Some(place) = Place::postgres() else { return };
    for is_pruned in [false, true] {
        let mut frozen = Process::at(&place);
        let run = begun(&frozen);
        let stale = session(&frozen);
        frozen.freeze();
        let operator = place.open();
        assert!(operator.cancel_run("nightly").unwrap());
        if is_pruned {
            assert_eq!(operator.prune_runs(0).unwrap(), 1);
        }
        // It wakes up, and goes on with what it was about.
        let id = stale.submit(post("Mug")).unwrap();
        let outcome = stale.wait(id, Some(PATIENCE)).unwrap();
        let failed = outcome.as_ref().as_ref().unwrap_err();
        assert_eq!((&failed.kind, failed.effect), (&FailureKind::Store, Effect::None));
        assert!(frozen.kept(id).is_none(), "it is written, pruned: {is_pruned}");
        let mut sequence = 0;
        until("it is told", || {
            let refused = run.write(entry(sequence)).is_err();
            sequence += 1;
            refused.then_some(())
        });
        assert_eq!(place.number("SELECT COUNT(*) FROM inflight_journal"), 0);
        drop(run);
        operator.prune_runs(0).unwrap();
    }
}

#[test]
fn a_run_that_is_given_up_by_its_own_process_submits_nothing_more() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let run = begun(&process);
        let session = session(&process);
        let before = session.submit(post("Mug")).unwrap();
        process.next().succeed("prod_1");
        assert!(session.wait(before, Some(PATIENCE)).unwrap().is_ok());
        assert!(process.store().cancel_run("nightly").unwrap());
        let after = session.submit(post("Cup")).unwrap();
        let outcome = session.wait(after, Some(PATIENCE)).unwrap();
        let failed = outcome.as_ref().as_ref().unwrap_err();
        assert_eq!((&failed.kind, failed.effect), (&FailureKind::Store, Effect::None));
        assert!(process.kept(after).is_none());
        assert!(run.write(entry(0)).is_err());
    }
}
