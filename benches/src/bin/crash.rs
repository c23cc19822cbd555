//! Never lost, never twice, whatever kills the process: scripts that mutate through a simulator that fails, in a process that is killed again
//! and again, and what both sides know afterwards.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use inflight::sim::{Fault, Faults, Latency, RateLimitReason, Rule, Simulator};
use inflight::store::{DurableStore, RunStart, RunState, StoredRun};
use inflight::stripe::RetrySettings;
use inflight::stripe_rhai::ApiKey;
use inflight::transport::{CircuitBreaker, RetryBudget};
use inflight::{Inflight, ScriptOptions, ScriptRun, store_options};
use inflight_benches::{Options, Random};
use inflight_core::Kept;
use serde_json::{Value, json};

const HELP: &str = "\
Runs scripts that send mutating requests, with a durable store, in a process of its own; kills it with SIGKILL at random moments and starts
it again, while the simulator fails too. Then compares what the simulator has done with what the scripts were told. Ends with one line of
JSON; the exit status is 1 unless every request was carried out once and every script has its right result.

  --store URL      sqlite, sqlite:FILE, or postgres://… where it may make tables (sqlite: a file in a new folder)
  --requests N     mutating requests in all (2000)
  --scripts N      scripts that send them (20)
  --kills N        how often the process is killed (50)
  --faults SHARE   the share of requests that meet a fault (0.1)
  --seed N         what the moments, ids and faults follow from (1)
  --limit S        after so many seconds it has failed (300)
";

/// Each request is awaited by some scripts at once and by others with the next nine.
const SCRIPT: &str = r#"
    let made = [];
    let ids = [];
    for i in 0..count {
        let name = `s${me}-${i}`;
        let id = switch (me + i) % 4 {
            0 => stripe::product::create_async(#{ name: name }),
            1 => stripe::customer::create_async(#{ name: name }),
            2 => stripe::coupon::create_async(#{ name: name, percent_off: 10, duration: "once" }),
            _ => stripe::tax_rate::create_async(#{ display_name: name, percentage: 7, inclusive: false }),
        };
        if me % 2 == 0 {
            made.push(await_result(id, 300));
        } else {
            ids.push(id);
            if ids.len() == 10 { made += await_all(ids, 300); ids.clear(); }
        }
    }
    made += await_all(ids, 300);
    made
"#;

const KEY: &str = "sk_test_0123456789abcdef";

fn main() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("the limit of open files");
    if std::env::args().nth(1).as_deref() == Some("child") {
        return child(&Options::read("--store --base-url --scripts --each --run ", 1));
    }
    let options = Options::read(HELP, 0);
    std::process::exit(i32::from(!Trial::of(&options).run()));
}

struct Trial {
    store: String,
    /// Where the file is, if it is one of our own.
    folder: Option<std::path::PathBuf>,
    each: usize,
    scripts: usize,
    kills: usize,
    share: f64,
    seed: u64,
    limit: Duration,
}

impl Trial {
    fn of(options: &Options) -> Self {
        let mut store: String = options.get("store", "sqlite".to_owned());
        let mut folder = None;
        if store == "sqlite" {
            let new = std::env::temp_dir().join(format!("inflight-crash-{}", std::process::id()));
            std::fs::create_dir_all(&new).expect("a folder for the file");
            store = format!("sqlite:{}", new.join("crash.db").display());
            folder = Some(new);
        }
        let scripts: usize = options.get("scripts", 20).max(1);
        Self {
            store,
            folder,
            each: (options.get("requests", 2000) / scripts).max(1),
            scripts,
            kills: options.get("kills", 50),
            share: options.get("faults", 0.1),
            seed: options.get("seed", 1),
            limit: Duration::from_secs(options.get("limit", 300)),
        }
    }

    fn requests(&self) -> usize {
        self.each * self.scripts
    }

    fn run(&self) -> bool {
        let simulator = Simulator::builder()
            .seed(self.seed)
            .latency(Latency::exponential(Duration::from_millis(4)))
            .faults(faults(self.share))
            .start()
            .expect("a simulator");
        let mut random = Random::new(self.seed);
        // A process is killed when so many effects are there, or so long after its start.
        let mut marks: Vec<u64> = (0..self.kills)
            .map(|_| random.below(self.requests() as u64 * 95 / 100))
            .collect();
        marks.sort_unstable();
        let begun = Instant::now();
        let run = format!("crash-{}-{}", std::process::id(), self.seed);
        let mut killed = 0;
        let mut starts = 0;
        let results = loop {
            if begun.elapsed() > self.limit {
                eprintln!("not done within {} s", self.limit.as_secs());
                break None;
            }
            starts += 1;
            let mut process = Process::start(self, &simulator, &run);
            let early = Duration::from_millis(random.below(150));
            let is_early = random.below(4) == 0;
            let started = Instant::now();
            let outcome = loop {
                if let Some(outcome) = process.ended() {
                    break Some(outcome);
                }
                let is_due = match marks.get(killed) {
                    None => false,
                    Some(_) if is_early => started.elapsed() >= early,
                    Some(mark) => simulator.counts().effects >= *mark && started.elapsed() >= early,
                };
                if is_due || begun.elapsed() > self.limit {
                    process.kill();
                    killed += 1;
                    break None;
                }
                std::thread::sleep(Duration::from_micros(500));
            };
            match outcome {
                Some(Some(results)) => break Some(results),
                Some(None) => {
                    eprintln!("a process ended by itself without results");
                    break None;
                }
                None => {}
            }
        };
        let wall = begun.elapsed();
        for result in results
            .iter()
            .flatten()
            .filter(|result| result["made"]["error"].is_string())
        {
            eprintln!("script {}: {}", result["me"], result["made"]["error"]);
        }
        let verdict = Verdict::of(&simulator, results.as_ref(), self);
        let is_sound = verdict.print(self, killed, starts, wall, &simulator);
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
        is_sound
    }
}

/// Faults after which a repetition finds out what is: those after which nobody could are for the program `chaos`.
fn faults(share: f64) -> Faults {
    let kinds = [
        Fault::RateLimited(None),
        Fault::RateLimited(Some(RateLimitReason::EndpointRate)),
        Fault::LockTimeout,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::HalfBody,
        Fault::Hang,
        Fault::Slow(Duration::from_millis(50)),
        Fault::Delay(Latency::exponential(Duration::from_millis(20))),
    ];
    let part = share.clamp(0.0, 1.0) / kinds.len() as f64;
    let mut left = 1.0;
    let mut faults = Faults::new();
    for kind in kinds {
        faults = faults.rule(Rule::new(kind).rate((part / left).min(1.0)));
        left -= part;
    }
    faults
}

/// The process that is killed.
struct Process {
    child: Child,
    lines: mpsc::Receiver<String>,
    results: Vec<Value>,
}

impl Process {
    fn start(trial: &Trial, simulator: &Simulator, run: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut child = Command::new(program)
            .args([
                "child",
                "--store",
                &trial.store,
                "--base-url",
                &simulator.url(),
                "--run",
                run,
            ])
            .args([
                "--scripts",
                &trial.scripts.to_string(),
                "--each",
                &trial.each.to_string(),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let stdout = child.stdout.take().expect("its output");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self {
            child,
            lines,
            results: Vec::new(),
        }
    }

    /// Its results, where it has ended by itself: `None` within where it gave none.
    fn ended(&mut self) -> Option<Option<Vec<Value>>> {
        loop {
            match self.lines.try_recv() {
                Ok(line) => self.results.extend(serde_json::from_str::<Value>(&line)),
                Err(mpsc::TryRecvError::Empty) => return None,
                Err(mpsc::TryRecvError::Disconnected) => {
                    let status = self.child.wait().expect("its end");
                    return Some(status.success().then(|| std::mem::take(&mut self.results)));
                }
            }
        }
    }

    fn kill(mut self) {
        // `SIGKILL`: it has no say in the matter.
        self.child.kill().expect("a kill");
        self.child.wait().expect("its end");
    }
}

struct Verdict {
    effects: u64,
    objects: usize,
    /// Objects of one name beyond the first.
    twice: usize,
    /// Names that no object has.
    lost: usize,
    scripts_right: usize,
}

impl Verdict {
    fn of(simulator: &Simulator, results: Option<&Vec<Value>>, trial: &Trial) -> Self {
        let mut names = HashSet::new();
        let mut ids = std::collections::HashMap::new();
        let mut objects = 0;
        for (kind, field) in [
            ("product", "name"),
            ("customer", "name"),
            ("coupon", "name"),
            ("tax_rate", "display_name"),
        ] {
            for object in simulator.objects(kind) {
                let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
                objects += 1;
                names.insert(text(field));
                ids.insert(text("id"), text(field));
            }
        }
        let wanted = |me: usize| (0..trial.each).map(move |i| format!("s{me}-{i}"));
        let lost = (0..trial.scripts)
            .flat_map(wanted)
            .filter(|name| !names.contains(name))
            .count();
        let is_right = |result: &&Value| {
            let me = result["me"].as_u64().unwrap_or(u64::MAX) as usize;
            let made = result["made"].as_array().map(Vec::as_slice).unwrap_or_default();
            let made = made.iter().map(|id| ids.get(id.as_str().unwrap_or_default()).cloned());
            made.eq(wanted(me).map(Some))
        };
        Self {
            effects: simulator.counts().effects,
            objects,
            twice: objects - names.len(),
            lost,
            scripts_right: results.map_or(0, |results| results.iter().filter(is_right).count()),
        }
    }

    fn print(&self, trial: &Trial, killed: usize, starts: usize, wall: Duration, simulator: &Simulator) -> bool {
        let requests = trial.requests();
        let is_sound = self.effects == requests as u64
            && self.objects == requests
            && self.twice + self.lost == 0
            && self.scripts_right == trial.scripts
            && killed == trial.kills;
        for (what, number) in [
            ("requests", requests),
            ("times killed", killed),
            ("starts", starts),
            ("attempts that arrived", simulator.counts().requests as usize),
            ("answers given again", simulator.counts().replays as usize),
            ("effects", self.effects as usize),
            ("done twice", self.twice),
            ("lost", self.lost),
            ("scripts with the right result", self.scripts_right),
        ] {
            println!("  {what:<32} {number:>7}");
        }
        println!("  {:<32} {:>6.1}s", "wall time", wall.as_secs_f64());
        println!(
            "{}",
            json!({
                "store": trial.store.split(':').next(), "requests": requests, "kills": killed, "starts": starts, "effects": self.effects,
                "duplicates": self.twice, "lost": self.lost, "scripts": trial.scripts, "scripts_right": self.scripts_right,
                "faults": simulator.injected().values().sum::<u64>(), "wall_ms": wall.as_millis() as u64, "seed": trial.seed, "right": is_sound,
            })
        );
        is_sound
    }
}

/// What is killed: runs all scripts as runs of the store, and prints each one's result.
fn child(options: &Options) {
    let (url, base): (String, String) = (
        options.get("store", String::new()),
        options.get("base-url", String::new()),
    );
    let (scripts, each): (usize, i64) = (options.get("scripts", 1), options.get("each", 1));
    let run: String = options.get("run", String::new());
    let mut settings = store_options(&run);
    settings.lease = Duration::from_millis(1500);
    let store = DurableStore::open(&url, settings).expect("the store");
    let inflight = Inflight::builder()
        .base_url(base)
        .api_key(ApiKey::new(KEY).expect("a key"))
        .store(store.clone())
        .attempt_timeout(Duration::from_millis(500))
        .retry(RetrySettings {
            max_retries: 1000,
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_millis(100),
            ..RetrySettings::default()
        })
        .retry_budget(RetryBudget::unlimited())
        .circuit_breaker(CircuitBreaker {
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_millis(50),
            ..CircuitBreaker::default()
        })
        .build()
        .expect("an assembly");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let running: Vec<_> = (0..scripts)
        .map(|me| {
            let started = begin(&store, &format!("{run}/{me}")).map(|(run, kept)| {
                let script = ScriptRun::new(run.id(), Arc::clone(&run) as _).kept(kept);
                let constants = json!({"me": me, "count": each})
                    .as_object()
                    .cloned()
                    .unwrap_or_default();
                let options = ScriptOptions {
                    constants,
                    ..ScriptOptions::default()
                };
                (run, inflight.run(SCRIPT, options.run(script)))
            });
            (me, started)
        })
        .collect();
    for (me, started) in running {
        let made = match started {
            Err(kept) => kept,
            Ok((run, script)) => {
                let report = runtime.block_on(script);
                let made = report
                    .result
                    .unwrap_or_else(|error| json!({"error": error.to_string()}));
                run.finish(RunState::Completed, Some(made.to_string()))
                    .expect("an end that is written");
                made
            }
        };
        println!("{}", json!({"me": me, "made": made}));
    }
}

/// Begins a run or goes on with it; the result of one that has ended.
fn begin(store: &DurableStore, id: &str) -> Result<(Arc<StoredRun>, Vec<Kept>), Value> {
    loop {
        match store.begin_run(id, "crash") {
            Ok(RunStart::New(mut run) | RunStart::Resumed(mut run)) => {
                let kept = run.take_kept();
                return Ok((Arc::new(run), kept));
            }
            Ok(RunStart::Finished(_, result)) => {
                return Err(serde_json::from_str(&result.unwrap_or_default()).unwrap_or_default());
            }
            // The lease of the process that was killed has not ended.
            Err(inflight::store::RunError::InUse(_)) => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => panic!("{error}"),
        }
    }
}
