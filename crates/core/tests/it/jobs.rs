//! The transport's side: order, deadlines, and that no job can be lost.

use std::sync::Arc;
use std::time::Duration;

use inflight_core::testing::ManualClock;
use inflight_core::{Effect, FailureKind, Priority, Registry, RequestStatus, block_on};

use crate::support::{Polled, manual, manual_with, named, post};

#[test]
fn the_most_urgent_goes_first_and_equals_in_turn() {
    let (registry, mut transport) = manual();
    for (target, priority) in [
        ("/low/1", Priority::Low),
        ("/normal/1", Priority::Normal),
        ("/high/1", Priority::High),
        ("/normal/2", Priority::Normal),
        ("/high/2", Priority::High),
    ] {
        registry.submit(named(target).priority(priority)).unwrap();
    }
    let order = [(); 5].map(|()| {
        let sent = transport.next();
        let target = sent.request().target.clone();
        sent.succeed("x");
        target
    });
    assert_eq!(order, ["/high/1", "/high/2", "/normal/1", "/normal/2", "/low/1"]);
}

#[test]
fn no_priority_starves() {
    for starved in [Priority::Normal, Priority::Low] {
        let (registry, mut transport) = manual();
        let id = registry.submit(post().priority(starved)).unwrap();
        let mut taken = 0;
        while registry.is_complete(id) == Some(false) {
            for other in Priority::ALL {
                if other != starved {
                    registry.submit(post().priority(other)).unwrap();
                }
            }
            transport.next().succeed("x");
            taken += 1;
            assert!(taken < 20, "{starved:?} starves");
        }
    }
}

#[test]
fn only_what_is_more_urgent_is_taken_from_above() {
    let (registry, mut transport) = manual();
    for priority in [Priority::Low, Priority::Normal] {
        registry.submit(post().priority(priority)).unwrap();
    }
    assert!(transport.queue().pop_above(Priority::High).is_none());
    assert!(transport.queue().pop_above(Priority::Normal).is_none());
    let job = transport.queue().pop_above(Priority::Low).unwrap();
    assert_eq!(job.request().priority, Priority::Normal);
}

#[test]
fn tending_keeps_the_order_and_ends_what_is_overdue() {
    let clock = Arc::new(ManualClock::new());
    let (registry, mut transport) = manual_with(Registry::builder().clock(clock.clone()));
    let submitted = [(Priority::Normal, 10), (Priority::Normal, 60), (Priority::High, 60)];
    let ids = submitted.map(|(priority, seconds)| {
        let request = post().priority(priority).deadline(Duration::from_secs(seconds));
        registry.submit(request).unwrap()
    });
    let next = transport.queue().tend().unwrap();
    assert_eq!(transport.queue().len(), 3);
    assert!(next > inflight_core::Clock::now(&*clock));

    clock.advance(Duration::from_secs(10));
    let next = transport.queue().tend().unwrap();
    assert_eq!(registry.status(ids[0]), Some(RequestStatus::Timeout));
    let failure = registry.take_result(ids[0]).unwrap().unwrap_err();
    assert_eq!((failure.kind, failure.effect), (FailureKind::Deadline, Effect::None));
    assert_eq!(registry.unsent(), 2);
    assert!(next <= inflight_core::Clock::now(&*clock) + Duration::from_secs(50));

    assert_eq!(transport.next().id(), ids[2], "the urgent one first");
    assert_eq!(transport.next().id(), ids[1]);
    assert_eq!(transport.queue().tend().filter(|at| *at <= next), Some(next));
    clock.advance(Duration::from_secs(100));
    assert_eq!(transport.queue().tend(), None, "nothing waits");
}

#[test]
fn an_overdue_job_is_not_sent() {
    let clock = Arc::new(ManualClock::new());
    let (registry, mut transport) = manual_with(Registry::builder().clock(clock.clone()));
    let id = registry.submit(post()).unwrap();
    let job = transport.next_job().unwrap();
    clock.advance(inflight_core::DEFAULT_DEADLINE);
    assert!(block_on(job.start()).is_none());
    assert_eq!(registry.status(id), Some(RequestStatus::Timeout));
    assert_eq!((registry.len(), registry.unsent()), (0, 0));
}

#[test]
fn an_overdue_request_is_not_sent_again() {
    let clock = Arc::new(ManualClock::new());
    for effect in [Effect::None, Effect::Unknown] {
        let (registry, mut transport) = manual_with(Registry::builder().clock(clock.clone()));
        let id = registry.submit(post().deadline(Duration::from_secs(1))).unwrap();
        let mut sent = transport.next().into_inner();
        sent.begin_attempt(Duration::ZERO);
        sent.wait(effect, registry.clock().now());
        clock.advance(Duration::from_secs(1));
        let mut again = Polled::new(sent.resume());
        assert!(matches!(again.poll(), std::task::Poll::Ready(None)));
        let failure = registry.take_result(id).unwrap().unwrap_err();
        assert_eq!((failure.kind, failure.effect), (FailureKind::Deadline, effect));
        assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
    }
}

#[test]
fn cancelled_jobs_leave_a_queue_that_is_tended() {
    let (registry, mut transport) = manual_with(Registry::builder().queue_capacity(4));
    let ids = [(); 4].map(|()| registry.submit(post()).unwrap());
    transport.queue().tend();
    registry.cancel(ids[0]);
    assert_eq!(registry.unsent(), 4, "it still has its place");
    transport.queue().tend();
    assert_eq!(registry.unsent(), 3, "a full queue makes room");
    for id in &ids[1..3] {
        registry.cancel(*id);
    }
    transport.queue().tend();
    assert_eq!((registry.unsent(), transport.queue().len()), (1, 1));
    assert_eq!(transport.next().id(), ids[3]);
}

#[test]
fn whatever_is_dropped_ends_its_request() {
    let (registry, mut transport) = manual();
    let ids = [(); 6].map(|()| registry.submit(post()).unwrap());
    let ending = |id| {
        let failure = registry.result(id).unwrap().as_ref().as_ref().unwrap_err().clone();
        assert_eq!(failure.kind, FailureKind::Shutdown);
        (registry.status(id).unwrap(), failure.effect)
    };
    drop(transport.next_job());
    assert_eq!(ending(ids[0]), (RequestStatus::Cancelled, Effect::None));

    drop(transport.next_job().unwrap().start());
    assert_eq!(ending(ids[1]), (RequestStatus::Cancelled, Effect::None));

    drop(transport.next());
    assert_eq!(ending(ids[2]), (RequestStatus::Failed, Effect::Unknown));

    transport.queue().tend();
    drop(transport);
    for id in &ids[3..] {
        assert_eq!(ending(*id), (RequestStatus::Cancelled, Effect::None));
    }
    let late = registry.submit(post()).unwrap();
    assert_eq!(ending(late), (RequestStatus::Cancelled, Effect::None));
    assert_eq!((registry.len(), registry.unsent(), registry.in_flight()), (0, 0, 0));
}

#[test]
fn a_panic_of_the_transport_loses_nothing() {
    let (registry, mut transport) = manual();
    let ids = [(); 3].map(|()| registry.submit(post()).unwrap());
    let died = std::thread::spawn(move || {
        let _sent = transport.next();
        panic!("as asked");
    });
    assert!(died.join().is_err());
    let statuses = ids.map(|id| registry.status(id).unwrap());
    assert_eq!(
        statuses,
        [
            RequestStatus::Failed,
            RequestStatus::Cancelled,
            RequestStatus::Cancelled
        ]
    );
}
