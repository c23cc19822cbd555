//! Against a server that counts, in a time of our own: nothing here waits.

use std::time::Duration;

use inflight_core::{Method, PaceLimit, Priority, Queue, Registry, Request};

use super::*;

/// How strictly the server counts: requests within the last second, of all and of each endpoint.
struct Server {
    account: usize,
    endpoint: usize,
    served: Vec<(Instant, String)>,
    refused: Vec<Instant>,
}

impl Server {
    fn new(account: usize, endpoint: usize) -> Self {
        Self {
            account,
            endpoint,
            served: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn serve(&mut self, endpoint: &str, now: Instant) -> Option<Throttle> {
        let second = Duration::from_secs(1);
        let lately = || self.served.iter().rev().take_while(|(at, _)| now - *at < second);
        let throttle = if lately().count() >= self.account {
            Some(Throttle::AccountRate)
        } else if lately().filter(|(_, name)| name == endpoint).count() >= self.endpoint {
            Some(Throttle::EndpointRate)
        } else {
            None
        };
        match throttle {
            None => self.served.push((now, endpoint.to_owned())),
            Some(_) => self.refused.push(now),
        }
        throttle
    }
}

struct World {
    pacer: Pacer,
    registry: Registry,
    queue: Queue,
    taken: u64,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let (registry, queue) = Registry::builder().queue_capacity(100_000).build();
        Self {
            pacer: Pacer::new(),
            registry,
            queue,
            taken: 0,
            now: Instant::now(),
        }
    }

    fn class(endpoint: &str) -> PaceClass {
        PaceClass {
            account: Some(PaceLimit::per_second(100)),
            endpoint: Cow::Owned(endpoint.to_owned()),
            limit: PaceLimit::per_second(25),
        }
    }

    fn submit(&mut self, endpoint: &str, priority: Priority) {
        let request = Request::new(Method::Post, endpoint).priority(priority);
        self.registry.submit(request).unwrap();
        self.taken += 1;
        let work = Work::fresh(self.queue.pop().unwrap(), self.taken);
        self.pacer.push(Self::class(endpoint), None, work, self.now);
    }

    /// Sends all that may be sent now; what is refused comes back. Gives the priorities of what was served.
    fn send(&mut self, server: &mut Server) -> Vec<Priority> {
        let mut sent = Vec::new();
        while let Some(mut work) = self.pacer.pop(self.now) {
            let key = work.permit.pace.take().unwrap();
            let throttle = server.serve(&key.endpoint, self.now);
            self.pacer.passed(&key, throttle, self.now, self.now);
            if throttle.is_some() {
                self.pacer.push(Self::class(&key.endpoint), None, work, self.now);
            } else {
                sent.push(work.request().priority);
            }
        }
        sent
    }

    fn wait(&mut self, milliseconds: u64) {
        self.now += Duration::from_millis(milliseconds);
    }
}

#[test]
fn the_limits_are_used_and_hardly_ever_passed() {
    let mut world = World::new();
    let mut server = Server::new(100, 25);
    for number in 0..3000 {
        world.submit(&format!("/v1/{}", number % 10), Priority::Normal);
    }
    let start = world.now;
    while world.pacer.len() > 0 {
        world.send(&mut server);
        world.wait(1);
        assert!(world.now - start < Duration::from_secs(60), "it takes too long");
    }
    let seconds = (world.now - start).as_secs_f64();
    assert!(3000.0 / seconds >= 95.0, "{} requests a second", 3000.0 / seconds);
    let late = |at: &&Instant| **at - start > Duration::from_secs(2);
    let refused = server.refused.iter().filter(late).count();
    assert!(refused * 100 < 3000, "{refused} were refused");
}

#[test]
fn a_limit_that_is_lower_than_said_is_learned() {
    let mut world = World::new();
    let mut server = Server::new(40, 25);
    for number in 0..1200 {
        world.submit(&format!("/v1/{}", number % 10), Priority::Normal);
    }
    let start = world.now;
    while world.pacer.len() > 0 {
        world.send(&mut server);
        world.wait(1);
        assert!(world.now - start < Duration::from_secs(60), "it takes too long");
    }
    let refused = server.refused.len();
    assert!(refused < 200, "{refused} of 1200 were refused");
}

#[test]
fn an_urgent_request_is_sent_at_once_into_any_backlog() {
    let mut world = World::new();
    let mut server = Server::new(100, 25);
    for number in 0..1000 {
        world.submit(&format!("/v1/{}", number % 10), Priority::Low);
    }
    for _ in 0..50 {
        for _ in 0..97 {
            world.send(&mut server);
            world.wait(1);
        }
        world.submit("/v1/0", Priority::High);
        let submitted = world.now;
        while !world.send(&mut server).contains(&Priority::High) {
            world.wait(1);
            assert!(world.now - submitted < Duration::from_millis(100), "it waits too long");
        }
    }
}

#[test]
fn nobody_starves() {
    for starved in [Priority::Low, Priority::Normal] {
        let mut world = World::new();
        let mut server = Server::new(1000, 1000);
        world.submit("/v1/0", starved);
        let start = world.now;
        loop {
            while world.pacer.len() < 50 {
                world.submit("/v1/0", Priority::High);
            }
            if world.send(&mut server).contains(&starved) {
                break;
            }
            world.wait(1);
            assert!(world.now - start < Duration::from_secs(2), "{starved:?} starves");
        }
    }
}

#[test]
fn one_endpoint_is_not_in_the_way_of_another() {
    let mut world = World::new();
    let mut server = Server::new(100, 25);
    for _ in 0..1000 {
        world.submit("/v1/crowded", Priority::Normal);
    }
    world.wait(1000);
    world.send(&mut server);
    world.submit("/v1/quiet", Priority::Normal);
    world.wait(40);
    world.send(&mut server);
    assert!(server.served.iter().any(|(_, name)| name == "/v1/quiet"));
}

#[test]
fn the_loop_is_told_when_to_come_again() {
    let mut world = World::new();
    let mut server = Server::new(1000, 1000);
    assert_eq!(world.pacer.next_wake(world.now), None, "nothing waits");
    for _ in 0..10 {
        world.submit("/v1/0", Priority::Normal);
    }
    let mut wakes = 0;
    while world.pacer.len() > 0 {
        let at = world.pacer.next_wake(world.now).unwrap();
        assert!(at >= world.now && at - world.now < Duration::from_millis(100));
        // As late as a timer is.
        world.now = at + Duration::from_millis(1);
        world.send(&mut server);
        wakes += 1;
    }
    assert!(wakes <= 10, "{wakes} wakes for 10 requests");
}

#[test]
fn what_comes_again_goes_before_what_came_later() {
    let mut world = World::new();
    world.submit("/v1/first", Priority::Normal);
    let mut first = world.pacer.pop(world.now).unwrap();
    for _ in 0..500 {
        world.submit("/v1/first", Priority::Normal);
    }
    let key = first.permit.pace.take().unwrap();
    world.pacer.passed(&key, None, world.now, world.now);
    world.pacer.push(World::class("/v1/first"), None, first, world.now);
    let next = world.pacer.pop(world.now).unwrap();
    assert_eq!(next.permit.arrival, 1);
}

#[test]
fn what_was_not_sent_takes_no_token() {
    let mut world = World::new();
    for _ in 0..500 {
        world.submit("/v1/first", Priority::Normal);
    }
    for _ in 0..400 {
        let mut work = world
            .pacer
            .pop(world.now)
            .expect("no time has passed, and nothing was sent");
        world.pacer.give_back(&work.permit.pace.take().unwrap());
    }
}

#[test]
fn what_is_over_is_taken_out_and_order_is_kept() {
    let mut world = World::new();
    for number in 0..20 {
        world.submit(&format!("/v1/{}", number % 2), Priority::Normal);
    }
    let mut over = Vec::new();
    let mut number = 0;
    let mut every_third = |_: &Work| {
        number += 1;
        number % 3 == 0
    };
    world.pacer.sweep(&mut every_third, &mut over);
    assert_eq!((over.len(), world.pacer.len()), (6, 14));
    for account in world.pacer.accounts.values() {
        for endpoint in account.endpoints.values() {
            let left: Vec<_> = endpoint.waiting.iter().flat_map(BTreeMap::keys).copied().collect();
            assert_eq!(left.len(), 7);
            assert!(left.is_sorted());
        }
    }
}

#[test]
fn endpoints_that_nobody_uses_are_forgotten() {
    let mut world = World::new();
    let mut server = Server::new(usize::MAX, usize::MAX);
    for number in 0..5000 {
        world.submit(&format!("/v1/{number}"), Priority::Normal);
        world.wait(100);
        world.send(&mut server);
    }
    let kept: usize = world
        .pacer
        .accounts
        .values()
        .map(|account| account.endpoints.len())
        .sum();
    assert!(kept <= ENDPOINTS_KEPT + 1, "{kept} are kept");
}
