//! Pace: requests to a simulator with Stripe's documented limits, which are to be used to the full and not to be exceeded; and how
//! soon an urgent request is sent into a backlog.

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use inflight::sim::{Faults, RateLimits, Simulator};
use inflight::stripe::{Operation, Params, RequestOptions, StripePolicy};
use inflight::transport::Worker;
use inflight_benches::Options;
use inflight_core::{
    Credential, Effect, FailedAttempt, Failure, MemoryCredentials, Method, Outcome, PaceClass, Policy, Priority,
    Registry, Request, Response, RetryDecision, Secret, Session, SessionLimits, Throttle,
};
use serde_json::json;

const HELP: &str = "\
Sends requests over ten endpoints to a simulator that takes 100 a second in all and 25 at each endpoint, keeping to the pace of a live
account. Then submits urgent requests into a backlog. Ends with one line of JSON; the exit status is 1 unless at least 95 % of the
limit was used, fewer than 1 % of the calls after the first two seconds were refused, and each urgent request arrived within 100 ms.

  --requests N   requests over ten endpoints (3000)
  --backlog N    requests of low priority that wait when the urgent ones come (1000)
  --urgent N     urgent requests, one after the other (10)
  --seed N       what ids follow from (1)
";

/// Stripe's limit for all requests of a live account. <https://docs.stripe.com/rate-limits>
const LIMIT: f64 = 100.0;

/// Until here the full bucket that a simulator starts with is used up.
const SETTLED: Duration = Duration::from_secs(2);

const OPERATIONS: [&str; 10] = [
    "product.create",
    "customer.create",
    "coupon.create",
    "tax_rate.create",
    "product.list",
    "customer.list",
    "coupon.list",
    "price.list",
    "product.retrieve",
    "customer.retrieve",
];

/// Where urgent requests go: an endpoint that the backlog is at, too.
const URGENT: &str = "/v1/products/prod_urgent";

/// Stripe's policy at the pace of a live account, which no key has that a simulator takes.
struct LivePace(StripePolicy);

impl Policy for LivePace {
    fn keep_headers(&self) -> &'static [&'static str] {
        self.0.keep_headers()
    }

    fn classify(&self, request: &Request, response: Response) -> Outcome {
        self.0.classify(request, response)
    }

    fn retry(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        Policy::retry(&self.0, attempt)
    }

    fn settles(&self, failure: &Failure) -> bool {
        self.0.settles(failure)
    }

    fn repeatable_for(&self, request: &Request) -> Option<Duration> {
        self.0.repeatable_for(request)
    }

    fn pace_class(&self, request: &Request, _secret: Option<&Secret>) -> Option<PaceClass> {
        self.0.pace_class(request, Some(&Secret::new("sk_live_pace")))
    }

    fn throttle(&self, failure: &Failure) -> Option<Throttle> {
        self.0.throttle(failure)
    }

    fn lane(&self, request: &Request) -> Option<String> {
        self.0.lane(request)
    }
}

/// A call that the simulator answered: when, and whether it was refused.
struct Call {
    at: Instant,
    refused: bool,
}

struct Course {
    calls: Arc<Mutex<Vec<Call>>>,
    urgent: mpsc::Receiver<Instant>,
    simulator: Simulator,
    worker: Worker,
    session: Session,
}

fn main() {
    let options = Options::read(HELP, 0);
    let requests: usize = options.get("requests", 3_000);
    let backlog: usize = options.get("backlog", 1_000);
    let urgent: usize = options.get("urgent", 10);
    let course = Course::start(options.get("seed", 1));
    let sustained = course.sustained(requests);
    let slowest = course.urgent(backlog, urgent);
    let is_sound = sustained.used >= 0.95
        && sustained.refused < 0.01
        && sustained.failed == 0
        && slowest <= Duration::from_millis(100);
    println!(
        "{requests} requests over {} endpoints in {:.1} s; after the first {} s: {:.1} a second of {LIMIT}, {:.2} % refused",
        OPERATIONS.len(),
        sustained.wall.as_secs_f64(),
        SETTLED.as_secs(),
        sustained.used * LIMIT,
        sustained.refused * 100.0
    );
    println!(
        "{urgent} urgent requests into a backlog of {backlog}: the slowest arrived after {:.1} ms",
        slowest.as_secs_f64() * 1e3
    );
    println!(
        "{}",
        json!({
            "requests": requests, "wall_ms": sustained.wall.as_millis() as u64, "failed": sustained.failed,
            "used_of_limit": sustained.used, "refused_share": sustained.refused, "backlog": backlog,
            "urgent_slowest_ms": slowest.as_secs_f64() * 1e3, "sound": is_sound,
        })
    );
    std::process::exit(i32::from(!is_sound));
}

struct Sustained {
    wall: Duration,
    /// The share of the limit that was answered, after the start.
    used: f64,
    /// The share of the calls that were refused, after the start.
    refused: f64,
    failed: usize,
}

impl Course {
    fn start(seed: u64) -> Self {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (told, urgent) = mpsc::channel();
        let noted = Arc::clone(&calls);
        let simulator = Simulator::builder()
            .seed(seed)
            .faults(Faults::new().rate_limits(RateLimits::documented()))
            .on_request(move |record| {
                let at = Instant::now();
                if record.path == URGENT {
                    let _ = told.send(at);
                }
                let refused = record.status == 429;
                noted
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Call { at, refused });
            })
            .start()
            .expect("a simulator");
        let credentials = MemoryCredentials::new();
        credentials.insert("main", Credential::new(Secret::new("sk_test_pace")));
        let (registry, queue) = Registry::builder().queue_capacity(100_000).build();
        let worker = Worker::builder()
            .base_url(simulator.url())
            .policy(Arc::new(LivePace(StripePolicy::new())))
            .credentials(Arc::new(credentials))
            .pace(true)
            .start(queue)
            .expect("a worker");
        let session = registry.session_with(SessionLimits {
            pending: 100_000,
            unsent: 100_000,
        });
        Self {
            calls,
            urgent,
            simulator,
            worker,
            session,
        }
    }

    /// Submits all requests at once and waits for them.
    fn sustained(&self, requests: usize) -> Sustained {
        let start = Instant::now();
        let ids: Vec<_> = (0..requests)
            .map(|number| {
                self.session
                    .submit(request(number, Priority::Normal))
                    .expect("there is room")
            })
            .collect();
        let failed = ids
            .into_iter()
            .filter(|id| match &*self.session.wait(*id, None).expect("it ends") {
                Ok(_) => false,
                // There is nothing to read under the ids that are asked for.
                Err(failure) => failure.status() != Some(404) || failure.effect != Effect::None,
            })
            .count();
        let wall = start.elapsed();
        let calls = std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
        let later: Vec<&Call> = calls.iter().filter(|call| call.at >= start + SETTLED).collect();
        let refused = later.iter().filter(|call| call.refused).count();
        Sustained {
            wall,
            used: (later.len() - refused) as f64 / wall.saturating_sub(SETTLED).as_secs_f64() / LIMIT,
            refused: refused as f64 / later.len().max(1) as f64,
            failed,
        }
    }

    /// How long the slowest of the urgent requests took from its submission until it arrived.
    fn urgent(self, backlog: usize, urgent: usize) -> Duration {
        for number in 0..backlog {
            self.session
                .submit(request(number, Priority::Low))
                .expect("there is room");
        }
        // When the first of the backlog arrive, all of it is in the worker's hands.
        while self.calls.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut slowest = Duration::ZERO;
        for _ in 0..urgent {
            let start = Instant::now();
            let request = Request::new(Method::Get, URGENT)
                .credential("main")
                .priority(Priority::High);
            self.session.submit(request).expect("there is room");
            let arrived = self.urgent.recv_timeout(Duration::from_secs(60)).expect("it arrives");
            slowest = slowest.max(arrived.saturating_duration_since(start));
            std::thread::sleep(Duration::from_millis(200));
        }
        let waiting = self.session.pending();
        println!("{waiting} of the backlog were still waiting after the last urgent request");
        self.session.cancel_unsent();
        self.worker.shutdown(Duration::from_secs(5));
        self.simulator.shutdown();
        slowest
    }
}

/// The request of this number: each operation gets one in ten.
fn request(number: usize, priority: Priority) -> Request {
    let operation = Operation::by_name(OPERATIONS[number % OPERATIONS.len()]).expect("an operation");
    let name = format!("pace-{number}");
    let params = match operation.name {
        "product.create" | "customer.create" => Params::new().with("name", name),
        "coupon.create" => Params::new().with("percent_off", 10).with("duration", "once"),
        "tax_rate.create" => Params::new()
            .with("display_name", name)
            .with("percentage", 7)
            .with("inclusive", false),
        _ => Params::new(),
    };
    let ids: &[&str] = if operation.name.ends_with(".retrieve") {
        &["none"]
    } else {
        &[]
    };
    let options = RequestOptions::new().credential("main").priority(priority);
    operation.request(ids, params, &options).expect("a request")
}
