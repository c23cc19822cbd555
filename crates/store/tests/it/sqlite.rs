//! What can happen to a file.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{Effect, FailureKind, Registry, RequestStatus, SessionLimits, block_on};
use inflight_store::{DurableStore, OpenError, StoreOptions};

use crate::support::{PATIENCE, Place, Process, post, quick, until};

fn file(place: &Place) -> std::path::PathBuf {
    place.url().strip_prefix("sqlite:").unwrap().into()
}

#[test]
fn one_process_has_the_file() {
    let place = Place::file();
    let store = place.open();
    assert!(matches!(
        DurableStore::open(&place.url(), quick()),
        Err(OpenError::InUse)
    ));
    drop(store);
    drop(place.open());
}

#[test]
fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let below = |name: &str| format!("sqlite:{}", folder.path().join(name).display());
    let no_folder = DurableStore::open(&below("none/store.db"), quick());
    assert!(matches!(no_folder, Err(OpenError::File(_))), "{no_folder:?}");
    fs::write(
        folder.path().join("text.db"),
        "not a database, whatever its name says".repeat(200),
    )
    .unwrap();
    let text = DurableStore::open(&below("text.db"), quick());
    assert!(
        matches!(text, Err(OpenError::Database(_) | OpenError::Damaged(_))),
        "{text:?}"
    );
}

#[test]
fn a_file_that_may_not_be_written_is_refused() {
    let place = Place::file();
    drop(place.open());
    // Whoever runs the tests may be allowed to write everything: a folder in the file's place is read-only for everyone.
    let path = file(&place);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let opened = DurableStore::open(&place.url(), quick());
    assert!(matches!(opened, Err(OpenError::Database(_))), "{opened:?}");
}

#[cfg(unix)]
#[test]
fn a_read_only_file_is_refused_and_can_still_be_looked_at() {
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::file();
    let mut process = Process::at(&place);
    let id = process.registry.submit(post("Mug")).unwrap();
    process.next().succeed("prod_1");
    process.registry.wait(id, Some(PATIENCE)).unwrap();
    process.die();
    let path = file(&place);
    let folder = path.parent().unwrap();
    let allow = |file: u32, folder_mode: u32| {
        for entry in fs::read_dir(folder).unwrap() {
            fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(file)).unwrap();
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(folder_mode)).unwrap();
    };
    allow(0o444, 0o555);
    if fs::File::options().append(true).open(&path).is_ok() {
        allow(0o644, 0o755);
        return eprintln!("skipped: whoever runs this may write every file");
    }
    let before = fs::read(&path).unwrap();
    let refused = DurableStore::open(&place.url(), quick());
    let looked = inflight_store::StoreView::open(&place.url()).map(|mut view| view.look());
    let after = fs::read(&path).unwrap();
    allow(0o644, 0o755);
    let Err(OpenError::File(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(looked.unwrap().unwrap().completed[0].id, id.to_string());
    assert!(before == after, "nothing is written");

    // Nothing is lost: with its rights back it goes on.
    let process = Process::at(&place);
    assert!(process.kept(id).unwrap().ended.is_some());
}

#[test]
fn a_damaged_file_is_found_when_it_is_opened() {
    let place = Place::file();
    let process = Process::at(&place);
    let (registry, echo) = process.echo();
    for name in 0..200 {
        let id = registry.submit(post(&format!("{name}"))).unwrap();
        registry.wait(id, Some(PATIENCE)).unwrap();
    }
    echo.die();
    drop(registry);
    let path = file(&place);
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    assert!(length > 40 * 4096, "{length}");
    for byte in &mut bytes[20 * 4096..30 * 4096] {
        *byte = 0x5a;
    }
    fs::write(&path, bytes).unwrap();
    let opened = DurableStore::open(&place.url(), quick());
    assert!(
        matches!(opened, Err(OpenError::Damaged(_) | OpenError::Database(_))),
        "{opened:?}"
    );
}

#[test]
fn what_an_earlier_process_has_left_is_taken_in_at_once_also_within_a_lane() {
    const LEFT: usize = 700;
    let place = Place::file();
    // At one look for each piece, this would take longer than the test waits.
    let options = || StoreOptions {
        lane: Some(Arc::new(|_| Some("cus_1".into()))),
        poll: 2 * PATIENCE,
        ..quick()
    };
    let process = Process::with(&place, options());
    let requests = (0..LEFT).map(|n| post(&format!("{n}"))).collect();
    let session = process.registry.session_with(SessionLimits {
        pending: LEFT,
        unsent: LEFT,
    });
    let ids = session.submit_all(requests).unwrap();
    for id in &ids {
        block_on(session.recorded(*id).unwrap());
    }
    drop(session);
    process.die();
    let mut process = Process::with(&place, options());
    let taken: Vec<_> = ids.iter().map(|_| process.next().id()).collect();
    assert_eq!(taken, ids, "in the order in which they were submitted");
}

#[test]
fn a_full_disk_refuses_what_is_new_and_loses_nothing() {
    let place = Place::file();
    drop(place.open());
    let size = fs::metadata(file(&place)).unwrap().len();
    let options = StoreOptions {
        max_bytes: Some(size + 40 * 4096),
        ..quick()
    };
    let process = Process::with(&place, options);
    let registry = process.registry.clone();
    let large = "x".repeat(3000);
    let mut accepted = Vec::new();
    let refused = loop {
        let id = registry.submit(post(&format!("{}-{large}", accepted.len()))).unwrap();
        inflight_core::block_on(registry.root().recorded(id).unwrap());
        match registry.status(id).unwrap() {
            RequestStatus::Pending => accepted.push(id),
            _ => break registry.result(id).unwrap(),
        }
        assert!(accepted.len() < 1000, "the file does not fill");
    };
    let failed = refused.as_ref().as_ref().unwrap_err();
    assert_eq!((&failed.kind, failed.effect), (&FailureKind::Store, Effect::None));
    assert!(failed.message.contains("full"), "{}", failed.message);
    assert!(!accepted.is_empty());
    process.die();
    drop(registry);

    // With room again, all that was accepted is sent, and nothing else.
    let process = Process::at(&place);
    let store = process.store().clone();
    let (registry, echo) = process.echo();
    for id in &accepted {
        let (status, _) = until("it is sent", || store.request(*id).unwrap()?.ended);
        assert_eq!(status, RequestStatus::Completed);
    }
    assert_eq!(echo.die(), accepted.len());
    assert_eq!(
        store.counts().unwrap(),
        [("completed".to_owned(), accepted.len() as u64)]
    );
    drop(registry);
}

#[test]
fn a_disk_that_fills_while_requests_are_under_way_loses_none() {
    let place = Place::file();
    drop(place.open());
    let size = fs::metadata(file(&place)).unwrap().len();
    let process = Process::with(
        &place,
        StoreOptions {
            max_bytes: Some(size + 30 * 4096),
            ..quick()
        },
    );
    let store = process.store().clone();
    let (registry, echo) = process.echo();
    let large = "x".repeat(1000);
    let mut accepted = 0;
    for n in 0..200 {
        let id = registry.submit(post(&format!("{n}-{large}"))).unwrap();
        inflight_core::block_on(registry.root().recorded(id).unwrap());
        accepted += u64::from(!matches!(registry.result(id).as_deref(), Ok(Err(_))));
    }
    assert!((1..200).contains(&accepted), "{accepted}");
    drop((registry, store));
    echo.die();

    let process = Process::at(&place);
    let store = process.store().clone();
    let (registry, echo) = process.echo();
    until("all have ended", || {
        let counts = store.counts().unwrap();
        (counts == [("completed".to_owned(), accepted)]).then_some(())
    });
    drop((registry, store));
    echo.die();
}

#[test]
fn rows_are_deleted_when_their_retention_is_over_but_not_what_is_in_doubt() {
    let place = Place::file();
    let mut process = Process::at(&place);
    for effect in [Effect::None, Effect::Unknown] {
        let id = process.registry.submit(post("Mug")).unwrap();
        process.next().fail(crate::support::failure(effect));
        process.registry.wait(id, Some(PATIENCE)).unwrap();
    }
    process.die();
    let process = Process::with(
        &place,
        StoreOptions {
            retention: Duration::ZERO,
            ..quick()
        },
    );
    until("the old row is deleted", || {
        let all = process.store().requests(&Default::default()).unwrap();
        (all.len() == 1).then_some(())
    });
    let left = &process.store().requests(&Default::default()).unwrap()[0];
    assert_eq!(left.effect.as_deref(), Some("unknown"));
}

#[test]
fn a_back_up_is_a_store() {
    let place = Place::file();
    let mut process = Process::at(&place);
    let id = process.registry.submit(post("Mug")).unwrap();
    drop(process.next());
    let copy = Place::file();
    assert!(process.store().back_up(&file(&copy)).unwrap());
    assert!(process.store().back_up(&file(&copy)).is_err(), "it is there");
    let mut restored = Process::at(&copy);
    let again = restored.next();
    assert_eq!(again.id(), id);
    again.succeed("prod_1");
    until("it is written", || restored.kept(id)?.ended.map(drop));
}

#[test]
fn rows_that_cannot_be_read_are_left_out_of_what_is_written_out() {
    let place = Place::file();
    let store = place.open();
    let columns = "id, mode, script, state, starts, begun_at";
    for id in ["a", "b", "c", "d"] {
        // JSON holds no blobs.
        let script = if matches!(id, "b" | "d") { "x'ff'" } else { "'s'" };
        place.execute(&format!(
            "INSERT INTO inflight_runs ({columns}) VALUES ('{id}', '', {script}, 'completed', 1, 1)"
        ));
        place.execute(&format!(
            "INSERT INTO inflight_journal (run, position, task, call, operation, arguments, answer)
             VALUES ('{id}', 7, 1, 1, {script}, '', '')"
        ));
    }
    let (line, lines) = std::sync::mpsc::channel();
    let left_out = store.export(move |text| line.send(text).is_ok()).unwrap();
    let left_out: Vec<_> = left_out
        .iter()
        .map(|row| row.split(':').next().unwrap_or_default())
        .collect();
    assert_eq!(
        left_out,
        [
            "inflight_runs \"b\"",
            "inflight_runs \"d\"",
            "inflight_journal \"b\" 7",
            "inflight_journal \"d\" 7"
        ]
    );
    assert_eq!(lines.iter().count(), 4);
}

#[test]
fn what_is_cancelled_before_it_is_claimed_is_not_sent_by_the_next_process() {
    let place = Place::file();
    let first = Process::at(&place);
    let id = first.registry.submit(post("Mug")).unwrap();
    until("it is written", || first.kept(id));
    first.die();

    // This one does not have the key yet, as before a script has named it.
    let store = place.open();
    let (registry, _queue) = Registry::builder().store(store.handle()).build();
    let working = store.start(&registry, Some(Arc::new(Vec::new)));
    let session = registry.session();
    session.restore(store.request(id).unwrap().unwrap());
    assert_eq!(session.cancel(id), Some(false), "the store is asked");
    until("it is cancelled", || {
        (session.status(id)? == RequestStatus::Cancelled).then_some(())
    });
    drop((working, store));

    let again = place.open();
    let (status, _) = again.request(id).unwrap().unwrap().ended.expect("it is cancelled");
    assert_eq!(status, RequestStatus::Cancelled);
}

#[test]
fn what_an_earlier_start_is_sending_is_not_cancelled_by_the_next() {
    let place = Place::file();
    let mut process = Process::at(&place);
    let id = process.registry.submit(post("Mug")).unwrap();
    let kept = until("it is written", || process.kept(id));
    // The run is begun again in the same process, and knows it as one that waits.
    let next = process.registry.session();
    next.restore(kept);
    let sent = process.next();
    assert_eq!(next.cancel(id), Some(false));
    sent.succeed("prod_1");
    until("it is told", || {
        (next.status(id)? == RequestStatus::Completed).then_some(())
    });
    assert_eq!(process.kept(id).unwrap().ended.unwrap().0, RequestStatus::Completed);
}
