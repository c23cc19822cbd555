//! Mutual exclusion: many mutations of one object among many others, at a simulator that locks an object while it is changed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use inflight::sim::{Faults, Latency, Simulator};
use inflight::stripe::{Operation, Params, RequestOptions, StripePolicy};
use inflight::transport::{TokioClock, Worker};
use inflight_benches::{Options, median};
use inflight_core::{Ended, Observer, Registry, Request, RequestId, Session, SessionLimits};
use serde_json::json;

const HELP: &str = "\
Sends mutations of one object among mutations of others, to a simulator that fails what touches an object while it is being changed.
The others are sent alone, too, and take as long as before where nothing is slowed. Ends with one line of JSON; the exit status is 1
unless no lock_timeout was seen, the object was changed in order, and the others took at most a quarter longer with it.

  --mutations N  mutations of one object (200)
  --others N     mutations of others, half of which change an object of their own (2000)
  --rounds N     times that it is done with the object and without, of which the median counts (5)
  --seed N       what ids and latencies follow from (1)
";

/// How much longer the others may take in the median: the noise of a busy machine.
const TOLERANCE: f64 = 1.25;

#[derive(Default)]
struct Endings(Mutex<Vec<(RequestId, Instant)>>);

impl Observer for Endings {
    fn ended(&self, ended: &Ended<'_>) {
        let ending = (ended.id, Instant::now());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(ending);
    }
}

struct Settings {
    mutations: usize,
    others: usize,
    seed: u64,
}

/// What one round came to.
struct Round {
    /// From the first submission until the last of the others had ended.
    others: Duration,
    lock_timeouts: u64,
    out_of_order: usize,
    failed: usize,
}

fn main() {
    let options = Options::read(HELP, 0);
    let settings = Settings {
        mutations: options.get("mutations", 200),
        others: options.get("others", 2_000),
        seed: options.get("seed", 1),
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // In turns, so that what else the machine does falls on both.
    for _ in 0..options.get("rounds", 5_usize).max(1) {
        without.push(settings.round(0));
        with.push(settings.round(settings.mutations));
    }
    let all = || with.iter().chain(&without);
    let lock_timeouts: u64 = all().map(|round| round.lock_timeouts).sum();
    let out_of_order: usize = all().map(|round| round.out_of_order).sum();
    let failed: usize = all().map(|round| round.failed).sum();
    let milliseconds = |rounds: &[Round]| {
        let times: Vec<f64> = rounds.iter().map(|round| round.others.as_secs_f64() * 1e3).collect();
        median(&times)
    };
    let (with, without) = (milliseconds(&with), milliseconds(&without));
    let is_sound = lock_timeouts == 0 && out_of_order == 0 && failed == 0 && with <= without * TOLERANCE;
    println!(
        "{} mutations of one object among {} others: {lock_timeouts} lock_timeout, {out_of_order} out of order, {failed} failed",
        settings.mutations, settings.others
    );
    println!("the others took {with:.0} ms with them, {without:.0} ms without");
    println!(
        "{}",
        json!({
            "mutations": settings.mutations, "others": settings.others, "lock_timeouts": lock_timeouts,
            "out_of_order": out_of_order, "failed": failed, "others_ms": with, "others_alone_ms": without, "sound": is_sound,
        })
    );
    std::process::exit(i32::from(!is_sound));
}

impl Settings {
    /// The others, and so many mutations of one object among them.
    fn round(&self, mutations: usize) -> Round {
        let simulator = Simulator::builder()
            .seed(self.seed)
            .latency(Latency::range(Duration::from_millis(3)..Duration::from_millis(9)))
            .start()
            .expect("a simulator");
        let endings = Arc::new(Endings::default());
        let (registry, queue) = Registry::builder()
            .clock(Arc::new(TokioClock))
            .queue_capacity(100_000)
            .observer(Arc::clone(&endings) as Arc<dyn Observer>)
            .build();
        let _worker = Worker::builder()
            .base_url(simulator.url())
            .policy(Arc::new(StripePolicy::new()))
            .credentials(credentials())
            .start(queue)
            .expect("a worker");
        let session = registry.session_with(SessionLimits {
            pending: 100_000,
            unsent: 100_000,
        });
        let products = create(&session, self.others / 2 + 1);
        let (one, own) = products.split_first().expect("products");
        // What comes now meets the locks.
        simulator.set_faults(Faults::new().object_locks(true));

        let start = Instant::now();
        let mut submitted = (Vec::new(), Vec::new());
        for number in 0..self.others.max(mutations) {
            if number < self.others {
                submitted
                    .1
                    .push(session.submit(other(number, own)).expect("there is room"));
            }
            // Spread over the others.
            if (number + 1) * mutations / self.others.max(1) > number * mutations / self.others.max(1) {
                submitted
                    .0
                    .push(session.submit(update(one, number)).expect("there is room"));
            }
        }
        let ids = submitted.0.iter().chain(&submitted.1);
        let failed = ids
            .filter(|id| session.wait(**id, None).expect("it ends").is_err())
            .count();
        let ended = std::mem::take(&mut *endings.0.lock().unwrap_or_else(PoisonError::into_inner));
        let last = |ids: &[RequestId]| ended.iter().filter(|(id, _)| ids.contains(id)).map(|(_, at)| *at).max();
        let order: Vec<RequestId> = ended
            .iter()
            .map(|(id, _)| *id)
            .filter(|id| submitted.0.contains(id))
            .collect();
        assert_eq!(submitted.0.len(), mutations, "each is submitted");
        Round {
            others: last(&submitted.1).unwrap_or(start).saturating_duration_since(start),
            lock_timeouts: simulator.injected().get("lock_timeout").copied().unwrap_or(0),
            out_of_order: order
                .iter()
                .zip(&submitted.0)
                .filter(|(ended, submitted)| ended != submitted)
                .count(),
            failed,
        }
    }
}

fn credentials() -> Arc<inflight_core::MemoryCredentials> {
    let credentials = inflight_core::MemoryCredentials::new();
    let secret = inflight_core::Secret::new("sk_test_lanes");
    credentials.insert("main", inflight_core::Credential::new(secret));
    Arc::new(credentials)
}

fn options() -> RequestOptions {
    RequestOptions::new().credential("main")
}

fn create_one(name: String) -> Request {
    let operation = Operation::by_name("product.create").expect("an operation");
    operation
        .request(&[], Params::new().with("name", name), &options())
        .expect("a request")
}

fn update(product: &str, number: usize) -> Request {
    let operation = Operation::by_name("product.update").expect("an operation");
    let params = Params::new().with("description", format!("change {number}"));
    operation.request(&[product], params, &options()).expect("a request")
}

/// Every second one changes an object of its own, the others create one.
fn other(number: usize, own: &[String]) -> Request {
    match own.get(number / 2) {
        Some(product) if number % 2 == 1 => update(product, number),
        _ => create_one(format!("other-{number}")),
    }
}

/// So many products, by their ids.
fn create(session: &Session, count: usize) -> Vec<String> {
    let ids: Vec<_> = (0..count)
        .map(|number| {
            session
                .submit(create_one(format!("own-{number}")))
                .expect("there is room")
        })
        .collect();
    let created = ids.into_iter().map(|id| {
        let outcome = session.wait(id, None).expect("it ends");
        let success = outcome.as_ref().as_ref().expect("it is created");
        success.object_id.as_deref().expect("an id").to_owned()
    });
    created.collect()
}
