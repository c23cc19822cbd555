//! Many machines, played by processes on one PostgreSQL: they share the work and the account's pace, and one that dies or freezes loses
//! nothing and does nothing twice.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use inflight::sim::{Latency, Simulator};
use inflight::store::{DurableStore, RequestFilter, StoreOptions};
use inflight::stripe::RetrySettings;
use inflight::stripe_rhai::ApiKey;
use inflight::transport::RetryBudget;
use inflight::{Inflight, ScriptOptions, store_options};
use inflight_benches::Options;
use serde_json::json;

const HELP: &str = "\
Submits requests to a store on PostgreSQL and has four processes send them. One is killed, one is frozen for longer than its lease and goes on,
one is added in the middle. Ends with one line of JSON; the exit status is 1 unless every request was carried out once, no second saw more
attempts than the account's limit, and the work was shared within 20 % while all were up.

  --store URL     postgres://…, where it may make tables in a schema of their own (required)
  --requests N    how many (8000)
  --pace N        the account's limit: attempts a second, all processes together (500)
  --seed N        what ids follow from (1)
  --limit S       after so many seconds it has failed (180)
";

const KEY: &str = "sk_test_0123456789abcdef";
const LEASE: Duration = Duration::from_secs(2);
const SUBMITTERS: usize = 4;

/// Submits as room appears, and gives how many were carried out.
const SCRIPT: &str = r#"
    let report = each(0..count, |i| new_product().name(`p${me}-${i}`), #{ concurrency: 900 });
    report.completed
"#;

fn main() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("the limit of open files");
    if std::env::args().nth(1).as_deref() == Some("child") {
        return child(&Options::read("--store --base-url --pace --mode ", 1));
    }
    let options = Options::read(HELP, 0);
    let store: String = options.get("store", String::new());
    if !store.starts_with("postgres") {
        eprintln!("{HELP}");
        std::process::exit(2);
    }
    let trial = Trial {
        store,
        mode: format!("fleet-{}", std::process::id()),
        requests: options.get("requests", 8000),
        pace: options.get("pace", 500.0),
        seed: options.get("seed", 1),
        limit: Duration::from_secs(options.get("limit", 180)),
    };
    std::process::exit(i32::from(!trial.run()));
}

struct Trial {
    store: String,
    mode: String,
    requests: usize,
    pace: f64,
    seed: u64,
    limit: Duration,
}

/// `mode` keeps this trial's rows apart from what earlier ones have left in the database.
fn options(mode: &str, pace: f64, prefetch: usize) -> StoreOptions {
    StoreOptions {
        lease: LEASE,
        poll: Duration::from_millis(250),
        prefetch,
        pace: Some(pace),
        ..store_options(mode)
    }
}

fn assemble(store: DurableStore, base: &str) -> Inflight {
    Inflight::builder()
        .base_url(base)
        .api_key(ApiKey::new(KEY).expect("a key"))
        .store(store)
        .concurrency(64)
        .retry(RetrySettings {
            max_retries: 1000,
            ..RetrySettings::default()
        })
        .retry_budget(RetryBudget::unlimited())
        .build()
        .expect("an assembly")
}

impl Trial {
    fn run(&self) -> bool {
        let arrivals = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&arrivals);
        let simulator = Simulator::builder()
            .seed(self.seed)
            .latency(Latency::exponential(Duration::from_millis(20)))
            .on_request(move |_| {
                noted
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Instant::now())
            })
            .start()
            .expect("a simulator");
        // It submits and sends nothing.
        let store = DurableStore::open(&self.store, options(&self.mode, self.pace, 0)).expect("the store");
        let submitting = assemble(store.clone(), &simulator.url());
        let begun = Instant::now();
        let mut workers: Vec<Worker> = (0..4).map(|_| Worker::start(self, &simulator)).collect();
        let scripts = self.submit(&submitting);

        let effects = || simulator.counts().effects;
        let total = self.requests as u64;
        let wait_for = |share: u64| {
            while effects() < total * share / 100 && begun.elapsed() < self.limit {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        // Between these all are at work: at first some had not begun. Whoever looks first has the tokens that have come, some eight at a
        // time, so that of few requests the shares differ by chance.
        wait_for(10);
        let before = self.shares(&store, &workers);
        wait_for(50);
        let after = self.shares(&store, &workers);
        let shares: Vec<_> = after.iter().zip(before).map(|(after, before)| after - before).collect();
        workers.remove(0).kill();
        let frozen = Instant::now();
        workers[0].signal("STOP");
        wait_for(60);
        workers.push(Worker::start(self, &simulator));
        wait_for(70);
        std::thread::sleep((LEASE * 2).saturating_sub(frozen.elapsed()));
        workers[0].signal("CONT");

        let completed = scripts.join().unwrap_or(0);
        let wall = begun.elapsed();
        drop(workers);
        let arrivals = std::mem::take(&mut *arrivals.lock().unwrap_or_else(PoisonError::into_inner));
        let most = most_in_a_second(&arrivals);
        let names: HashSet<String> = simulator
            .objects("product")
            .iter()
            .map(|product| product["name"].as_str().unwrap_or_default().to_owned())
            .collect();
        let uneven = unevenness(&shares);
        let twice = simulator.count("product") - names.len();
        let is_sound = effects() == total
            && names.len() == self.requests
            && twice == 0
            && completed == self.requests
            && most as f64 <= self.pace
            && uneven <= 0.2;
        for (what, number) in [
            ("requests", self.requests),
            ("told as carried out", completed),
            ("effects", effects() as usize),
            ("done twice", twice),
            ("lost", self.requests.saturating_sub(names.len())),
            ("attempts that arrived", arrivals.len()),
            ("most attempts in a second", most),
        ] {
            println!("  {what:<32} {number:>7}");
        }
        println!(
            "  {:<32} {shares:?}, within {:.0} %",
            "shares while all were up",
            uneven * 100.0
        );
        println!("  {:<32} {:>6.1}s", "wall time", wall.as_secs_f64());
        println!(
            "{}",
            json!({
                "requests": self.requests, "effects": effects(), "duplicates": twice, "completed": completed, "pace": self.pace,
                "most_in_a_second": most, "shares": shares, "uneven": uneven, "wall_ms": wall.as_millis() as u64, "right": is_sound,
            })
        );
        is_sound
    }

    /// Submits everything from scripts. The thread gives how many they were told to be carried out.
    fn submit(&self, inflight: &Inflight) -> std::thread::JoinHandle<usize> {
        let each = self.requests / SUBMITTERS;
        let limit = self.limit;
        let scripts: Vec<_> = (0..SUBMITTERS)
            .map(|me| {
                let count = if me == 0 {
                    self.requests - each * (SUBMITTERS - 1)
                } else {
                    each
                };
                let options = ScriptOptions {
                    constants: json!({"me": me, "count": count})
                        .as_object()
                        .cloned()
                        .unwrap_or_default(),
                    time_limit: Some(limit),
                    ..ScriptOptions::default()
                };
                inflight.run(SCRIPT, options)
            })
            .collect();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            scripts
                .into_iter()
                .map(|script| match runtime.block_on(script).result {
                    Ok(value) => value.as_u64().unwrap_or(0) as usize,
                    Err(error) => {
                        eprintln!("a script failed: {error}");
                        0
                    }
                })
                .sum()
        })
    }

    /// How many requests each worker has ended.
    fn shares(&self, store: &DurableStore, workers: &[Worker]) -> Vec<usize> {
        let filter = RequestFilter {
            state: Some("completed".into()),
            ..RequestFilter::default()
        };
        let mut by_owner: HashMap<String, usize> = HashMap::new();
        for row in store.requests(&filter).expect("the store's answer") {
            *by_owner.entry(row.owner.unwrap_or_default()).or_default() += 1;
        }
        let share = |worker: &Worker| by_owner.get(&worker.name).copied().unwrap_or(0);
        workers.iter().map(share).collect()
    }
}

/// How far the worst share is from the mean, as a part of the mean.
fn unevenness(shares: &[usize]) -> f64 {
    let mean = shares.iter().sum::<usize>() as f64 / shares.len().max(1) as f64;
    let far = |share: &usize| (*share as f64 - mean).abs() / mean.max(1.0);
    shares.iter().map(far).fold(0.0, f64::max)
}

/// The most arrivals that any second has seen.
fn most_in_a_second(arrivals: &[Instant]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in arrivals.iter().enumerate() {
        while at.duration_since(arrivals[first]) >= Duration::from_secs(1) {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most
}

/// A process that sends what others submit.
struct Worker {
    child: Child,
    name: String,
}

impl Worker {
    fn start(trial: &Trial, simulator: &Simulator) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args(["child", "--store", &trial.store, "--base-url", &simulator.url()])
            .args(["--pace", &trial.pace.to_string(), "--mode", &trial.mode])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut name = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut name).expect("its name");
        Self {
            child,
            name: name.trim().to_owned(),
        }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name}");
    }

    fn kill(mut self) {
        self.child.kill().expect("a kill");
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Works until its input ends.
fn child(arguments: &Options) {
    let (url, base): (String, String) = (
        arguments.get("store", String::new()),
        arguments.get("base-url", String::new()),
    );
    let mode: String = arguments.get("mode", String::new());
    let store = DurableStore::open(&url, options(&mode, arguments.get("pace", 100.0), 16)).expect("the store");
    println!("{}", store.process());
    let _inflight = assemble(store, &base);
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
