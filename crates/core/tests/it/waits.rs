//! Waiting: by threads, by futures, and giving up.

use std::time::Duration;

use inflight_core::{RequestStatus, WaitError, block_on};

use crate::support::{PATIENCE, Polled, manual, post};

#[test]
fn a_thread_waits_for_another() {
    let (registry, mut transport) = manual();
    let id = registry.submit(post()).unwrap();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let registry = registry.clone();
            std::thread::spawn(move || registry.wait(id, Some(PATIENCE)).map(|outcome| outcome.is_ok()))
        })
        .collect();
    transport.next().succeed("prod_1");
    for waiter in waiters {
        assert_eq!(waiter.join().unwrap(), Ok(true));
    }
}

#[test]
fn time_that_runs_out_changes_nothing() {
    let (registry, mut transport) = manual();
    let id = registry.submit(post()).unwrap();
    for timeout in [Duration::ZERO, Duration::from_millis(2)] {
        assert_eq!(registry.wait(id, Some(timeout)).unwrap_err(), WaitError::Timeout);
    }
    assert_eq!(registry.status(id), Some(RequestStatus::Pending));
    transport.next().succeed("prod_1");
    assert!(
        registry.wait(id, Some(Duration::ZERO)).is_ok(),
        "what has ended needs no time"
    );
    assert!(registry.wait(id, Some(Duration::MAX)).is_ok());
}

#[test]
fn futures_are_woken_once_and_those_dropped_not_at_all() {
    let (registry, mut transport) = manual();
    let id = registry.submit(post()).unwrap();
    let mut waits = [(); 3].map(|()| Polled::new(registry.wait_async(id).unwrap()));
    for wait in &mut waits {
        assert!(wait.is_pending());
        assert!(wait.is_pending(), "polled again, it registers no second time");
    }
    let [mut first, second, mut third] = waits;
    let dropped = Polled::new(registry.wait_async(id).unwrap());
    drop(second);
    transport.next().succeed("prod_1");
    assert_eq!((first.wakes(), third.wakes(), dropped.wakes()), (1, 1, 0));
    assert!(first.poll().is_ready() && third.poll().is_ready());
}

#[test]
fn what_is_taken_is_still_told_to_those_who_wait() {
    let (registry, mut transport) = manual();
    let id = registry.submit(post()).unwrap();
    let mut wait = Polled::new(registry.wait_async(id).unwrap());
    assert!(wait.is_pending());
    transport.next().succeed("prod_1");
    assert!(registry.take_result(id).is_ok());
    assert!(wait.poll().is_ready());
}

#[test]
fn a_session_is_drained_when_its_last_request_has_ended() {
    let (registry, mut transport) = manual();
    let session = registry.session();
    block_on(session.drained());
    session.submit(post()).unwrap();
    session.submit(post()).unwrap();
    let mut drained = Polled::new(session.drained());
    assert!(drained.is_pending());
    transport.next().succeed("prod_1");
    assert!(drained.is_pending());
    assert_eq!(drained.wakes(), 0);
    transport.next().succeed("prod_2");
    assert_eq!(drained.wakes(), 1);
    assert!(drained.poll().is_ready());
}

#[test]
fn many_threads_submit_and_wait_while_one_answers() {
    const THREADS: usize = 4;
    const EACH: usize = 500;
    let (registry, mut transport) = manual();
    let submitters: Vec<_> = (0..THREADS)
        .map(|_| {
            let registry = registry.clone();
            std::thread::spawn(move || {
                let session = registry.session();
                for _ in 0..EACH {
                    let id = session.submit(post()).unwrap();
                    assert!(session.wait(id, Some(PATIENCE)).unwrap().is_ok());
                    assert!(session.take_result(id).is_ok());
                }
                assert_eq!(session.len(), 0);
            })
        })
        .collect();
    for _ in 0..THREADS * EACH {
        transport.next().succeed("prod_1");
    }
    for submitter in submitters {
        submitter.join().unwrap();
    }
    assert_eq!(registry.counts().completed, (THREADS * EACH) as u64);
}
