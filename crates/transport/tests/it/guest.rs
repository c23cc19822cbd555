//! A future that shares the worker's thread.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use inflight_core::{Effect, FailureKind, Registry, RequestStatus};
use inflight_transport::{ShutdownReport, Worker};

use crate::server::{PATIENCE, RawServer, assert_kind, ok, post};

/// Starts a worker with a guest.
fn start_with<Fut: Future<Output = ()> + 'static>(
    url: String,
    queue: inflight_core::Queue,
    attempt_timeout: Duration,
    guest: impl FnOnce() -> Fut + Send + 'static,
) -> Worker {
    Worker::builder()
        .base_url(url)
        .attempt_timeout(attempt_timeout)
        .start_with(queue, guest)
        .unwrap()
}

#[test]
fn a_guest_waits_for_requests_on_the_workers_own_thread() {
    let server = RawServer::answering(ok("{}"));
    let (registry, queue) = Registry::new();
    let (tell, told) = mpsc::channel();
    let session = registry.session();
    let worker = start_with(server.url(), queue, PATIENCE, move || async move {
        for _ in 0..3 {
            let tasks = (0..5).map(|_| {
                let session = session.clone();
                tokio::task::spawn_local(async move {
                    let id = session.submit(post()).unwrap();
                    session.wait_async(id).unwrap().await.is_ok()
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                tell.send((task.await.unwrap(), thread::current().id())).unwrap();
            }
        }
    });
    let all: Vec<(bool, ThreadId)> = told.iter().collect();
    assert_eq!(all.len(), 15);
    assert!(all.iter().all(|(well, thread)| *well && *thread == all[0].1));
    assert_ne!(all[0].1, thread::current().id());
    assert_eq!(worker.shutdown(PATIENCE), ShutdownReport::default());
}

#[test]
fn a_guest_goes_on_after_the_workers_end_and_a_panic_of_its_own_ends_it_alone() {
    let server = RawServer::answering(ok("{}"));
    let (registry, queue) = Registry::new();
    let (go_on, gate) = tokio::sync::oneshot::channel::<()>();
    let (tell, told) = mpsc::channel();
    let session = registry.session();
    let worker = start_with(server.url(), queue, PATIENCE, move || async move {
        gate.await.unwrap();
        let refused = session.submit(post());
        tell.send(refused.is_ok().then(|| session.status(refused.unwrap()).unwrap()))
            .unwrap();
        panic!("a guest's own");
    });
    assert_eq!(worker.shutdown(PATIENCE), ShutdownReport::default());
    go_on.send(()).unwrap();
    // Accepted and answered: nothing that was submitted is lost.
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), Some(RequestStatus::Cancelled));
    assert!(told.recv().is_err(), "the guest is gone");
    assert_eq!(worker.shutdown(PATIENCE), ShutdownReport::default());
    drop(worker);

    let (registry, queue) = Registry::new();
    let worker = start_with(server.url(), queue, PATIENCE, || async { panic!("at once") });
    let id = registry.submit(post()).unwrap();
    assert!(registry.wait(id, Some(PATIENCE)).unwrap().is_ok());
    drop(worker);
}

#[test]
fn what_does_not_finish_in_time_is_ended_also_beside_a_guest() {
    let server = RawServer::start(|connection| {
        connection.read_request();
        connection.wait_for_close();
    });
    let (registry, queue) = Registry::new();
    let (_never, gate) = tokio::sync::oneshot::channel::<()>();
    let worker = start_with(server.url(), queue, PATIENCE, move || async move { drop(gate.await) });
    let id = registry.submit(post()).unwrap();
    inflight_core::block_on(registry.room(registry.capacity()));
    assert_eq!(worker.shutdown(Duration::ZERO).abandoned, 1);
    let failure = (*registry.wait(id, Some(PATIENCE)).unwrap()).clone().unwrap_err();
    assert_kind(&failure, FailureKind::Shutdown);
    assert_eq!(failure.effect, Effect::Unknown);
}

/// What a guest computes for too long must not look like a server that does not answer.
#[test]
fn an_answer_that_came_in_time_counts_where_the_thread_was_held_up() {
    let (answered, has_answered) = mpsc::channel();
    let server = RawServer::start(move |connection| {
        while connection.read_request().is_some() {
            connection.write(ok("{}").as_bytes());
            let _ = answered.send(());
        }
    });
    let timeout = Duration::from_millis(200);
    let (registry, queue) = Registry::new();
    let registry = Arc::new(registry);
    let session = registry.session();
    let (tell, told) = mpsc::channel();
    let worker = start_with(server.url(), queue, timeout, move || async move {
        let id = session.submit(post()).unwrap();
        // Until it has been sent; then nothing is read until the answer is there and the time is over.
        while has_answered.try_recv().is_err() {
            tokio::task::yield_now().await;
            if session.is_complete(id) == Some(true) {
                break;
            }
        }
        let over = Instant::now() + 2 * timeout;
        while Instant::now() < over {
            std::hint::spin_loop();
        }
        tell.send((*session.wait_async(id).unwrap().await).clone()).unwrap();
    });
    let outcome = told.recv_timeout(PATIENCE).unwrap();
    assert!(outcome.is_ok(), "{outcome:?}");
    drop(worker);
}
