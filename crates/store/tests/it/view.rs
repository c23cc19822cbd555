//! A store that is looked at while others work on it.

use inflight_core::Effect;
use inflight_store::{OpenError, StoreView};

use crate::support::{PATIENCE, Place, Process, failure, post, until};

#[test]
fn a_view_sees_what_another_process_does_and_takes_nothing_from_it() {
    for place in Place::durable() {
        let mut process = Process::at(&place);
        let mut view = StoreView::open(&place.url()).unwrap();
        assert!(view.look().unwrap().totals.is_empty());

        let ids: Vec<_> = ["done", "failed", "sent"]
            .map(|name| process.registry.submit(post(name)).unwrap())
            .into();
        let mut sent: Vec<_> = (0..3).map(|_| process.next()).collect();
        sent.sort_by_key(|sent| ids.iter().position(|id| *id == sent.id()));
        let (_held, failed, done) = (sent.pop(), sent.pop().unwrap(), sent.pop().unwrap());
        done.succeed("prod_1");
        failed.fail(failure(Effect::Unknown));
        for id in &ids[..2] {
            process.registry.wait(*id, Some(PATIENCE)).unwrap();
        }

        let seen = view.look().unwrap();
        let count = |state: &str| -> u64 {
            let of_state = seen.totals.iter().filter(|total| total.state == state);
            of_state.map(|total| total.requests).sum()
        };
        assert_eq!((count("completed"), count("failed"), count("sent")), (1, 1, 1));
        assert!(seen.totals.iter().all(|total| total.account == "shop"));
        assert_eq!((seen.in_flight, seen.waiting, seen.queued), (1, 0, [0; 3]));
        assert_eq!(seen.pending[0].id, ids[2].to_string());
        assert_eq!(seen.completed[0].id, ids[0].to_string());
        assert_eq!(seen.failed[0].effect.as_deref(), Some("unknown"));
        let [owner] = &seen.processes[..] else {
            panic!("{:?}", seen.processes)
        };
        assert_eq!((owner.id.as_str(), owner.sent), (process.store().process(), 1));
        assert_eq!(owner.lease_until.is_some(), matches!(place, Place::Postgres(_)));

        // Each ending is given once, when it is a second old.
        let mut ended = Vec::new();
        until("both endings are given", || {
            ended.append(&mut view.look().unwrap().ended);
            (ended.len() >= 2).then_some(())
        });
        assert_eq!(ended.iter().filter(|ended| ended.is_completed).count(), 1);
    }
}

#[test]
fn what_is_no_store_of_this_program_is_not_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let url = format!("sqlite:{}", file.display());
    assert!(matches!(StoreView::open(&url), Err(OpenError::Missing)));
    assert!(!file.exists(), "nothing is made");
    std::fs::write(&file, []).unwrap();
    let opened = StoreView::open(&url);
    assert!(matches!(opened, Err(OpenError::Schema { found: 0, .. })), "{opened:?}");
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 0, "nothing is written");
    std::fs::write(&file, "not a database, whatever its name says".repeat(200)).unwrap();
    let opened = StoreView::open(&url);
    assert!(matches!(opened, Err(OpenError::Damaged(_))), "{opened:?}");
    if let Some(Place::Postgres(schema)) = Place::postgres() {
        let opened = StoreView::open(&schema.url());
        assert!(matches!(opened, Err(OpenError::Schema { found: 0, .. })), "{opened:?}");
    }
}
