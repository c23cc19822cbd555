//! Waiting for room in a full queue: in turn, and without a wake-up lost.

use std::task::Poll;

use inflight_core::{Registry, Session, SessionLimits, SubmitErrorKind, SubmitWhenRoom, block_on};

use crate::support::{Polled, manual_with, post};

fn waiting(session: &Session) -> Polled<SubmitWhenRoom> {
    let mut submission = Polled::new(session.submit_when_room(post()));
    assert!(submission.is_pending());
    submission
}

fn is_accepted(submission: &mut Polled<SubmitWhenRoom>) -> bool {
    matches!(submission.poll(), Poll::Ready(Ok(_)))
}

fn unlimited(registry: &Registry) -> Session {
    registry.session_with(SessionLimits {
        pending: usize::MAX,
        unsent: usize::MAX,
    })
}

#[test]
fn room_goes_to_who_has_waited_longest() {
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(1));
    let session = unlimited(&registry);
    session.submit(post()).unwrap();
    let mut lined_up = [(); 3].map(|()| waiting(&session));
    for place in 0..3 {
        let sent = transport.next();
        let wakes = lined_up.each_ref().map(Polled::wakes);
        assert_eq!(wakes.map(|wakes| wakes > 0), [place >= 0, place >= 1, place >= 2]);
        assert!(is_accepted(&mut lined_up[place as usize]));
        sent.succeed("prod_1");
    }
}

#[test]
fn a_wake_up_that_is_not_used_goes_to_the_next() {
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(1));
    let session = unlimited(&registry);
    session.submit(post()).unwrap();
    let (first, mut second) = (waiting(&session), waiting(&session));
    transport.next().succeed("prod_1");
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first);
    assert_eq!(second.wakes(), 1);
    assert!(is_accepted(&mut second));
}

/// One that cannot use the queue's free place, since its own session is full, must not keep it from one that can.
#[test]
fn a_full_session_takes_no_wake_up_from_another() {
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(2));
    let small = registry.session_with(SessionLimits { pending: 9, unsent: 1 });
    registry.submit(post()).unwrap();
    small.submit(post()).unwrap();
    let mut stuck = waiting(&small);
    let mut other = waiting(&unlimited(&registry));
    transport.next().succeed("prod_1");
    assert!(stuck.is_pending());
    assert_eq!(other.wakes(), 1);
    assert!(is_accepted(&mut other));
    transport.next().succeed("prod_2");
    assert!(is_accepted(&mut stuck));
}

#[test]
fn who_changes_lines_hands_its_wake_up_on() {
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(1));
    let small = registry.session_with(SessionLimits { pending: 1, unsent: 1 });
    registry.submit(post()).unwrap();
    // Both wait for the queue; then the first one's session is full as well.
    let (mut first, mut second) = (waiting(&small), waiting(&unlimited(&registry)));
    let sent = transport.next();
    assert_eq!(first.wakes(), 1);
    small.submit(post()).unwrap();
    assert!(first.is_pending(), "it stands in its session's line now");
    assert_eq!(second.wakes(), 1, "and has handed its wake-up on");
    assert!(second.is_pending());
    sent.succeed("prod_1");
    let sent = transport.next();
    assert!(is_accepted(&mut second));
    sent.succeed("prod_2");
    transport.next().succeed("prod_3");
    assert!(is_accepted(&mut first));
}

#[test]
fn the_pending_limit_is_waited_for_too() {
    let (registry, mut transport) = manual_with(Registry::builder());
    let session = registry.session_with(SessionLimits { pending: 1, unsent: 1 });
    session.submit(post()).unwrap();
    let mut submission = waiting(&session);
    let sent = transport.next();
    assert!(submission.is_pending(), "sent is still pending");
    sent.succeed("prod_1");
    assert!(is_accepted(&mut submission));
}

#[test]
fn closing_ends_every_wait_for_room() {
    let (registry, _transport) = manual_with(Registry::builder().queue_capacity(1));
    let small = registry.session_with(SessionLimits { pending: 1, unsent: 1 });
    small.submit(post()).unwrap();
    let mut of_session = waiting(&small);
    let mut of_queue = waiting(&unlimited(&registry));
    let mut room = Polled::new(registry.room(1));
    assert!(room.is_pending());
    registry.close();
    for submission in [&mut of_session, &mut of_queue] {
        assert_eq!(submission.wakes(), 1);
        let Poll::Ready(Err(error)) = submission.poll() else {
            panic!("the registry is closed")
        };
        assert_eq!(error.kind(), SubmitErrorKind::Closed);
    }
    assert!(room.poll().is_ready());
}

#[test]
fn room_for_several_is_told_when_there_is_as_much() {
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(3));
    for _ in 0..3 {
        registry.submit(post()).unwrap();
    }
    let mut two = Polled::new(registry.room(2));
    let mut all = Polled::new(registry.room(usize::MAX));
    assert!(two.is_pending() && all.is_pending());
    transport.next().succeed("prod_1");
    assert_eq!(two.wakes(), 0);
    transport.next().succeed("prod_2");
    assert!(two.wakes() > 0 && two.poll().is_ready());
    assert!(all.is_pending());
    transport.next().succeed("prod_3");
    assert!(all.wakes() > 0 && all.poll().is_ready());
}

/// Many more submitters than places, in sessions of every kind, on real threads: each must get its turn.
#[test]
fn threads_that_wait_for_room_all_get_it() {
    const THREADS: usize = 6;
    const EACH: usize = 300;
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(2));
    let shared = registry.session_with(SessionLimits { pending: 3, unsent: 1 });
    let submitters: Vec<_> = (0..THREADS)
        .map(|number| {
            let session = match number % 3 {
                0 => shared.clone(),
                1 => registry.session_with(SessionLimits { pending: 2, unsent: 1 }),
                _ => registry.root().clone(),
            };
            std::thread::spawn(move || {
                for _ in 0..EACH {
                    block_on(session.submit_when_room(post())).unwrap();
                }
            })
        })
        .collect();
    // A lost wake-up shows as a hang here.
    for _ in 0..THREADS * EACH {
        transport.next().succeed("prod_1");
    }
    for submitter in submitters {
        submitter.join().unwrap();
    }
    assert_eq!((registry.len(), registry.unsent()), (0, 0));
}
