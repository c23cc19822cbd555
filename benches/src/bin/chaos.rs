//! Never lost, never twice: many scripts mutate through a simulator that fails in every way it knows, and every request is looked at
//! afterwards on both sides.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use futures_util::stream::{self, StreamExt};
use inflight::Inflight;
use inflight::sim::{Faults, Latency, Simulator};
use inflight::stripe::RetrySettings;
use inflight::stripe::reconcile::{IfAbsent, ReconcileError, Settled, reconcile};
use inflight::stripe_rhai::ApiKey;
use inflight::transport::{CircuitBreaker, RetryBudget};
use inflight_benches::Options;
use inflight_core::{Effect, Ended, IdempotencyKey, Observer, RequestId, RequestStatus, Session};
use inflight_rhai::{Locals, RunOptions};
use rhai::Scope;
use serde_json::json;

const HELP: &str = "\
Sends mutating requests from many scripts through a simulator with faults, then compares what the scripts were told with what was
done. Ends with one line of JSON; the exit status is 1 unless nothing was lost, nothing was done twice, nothing hung, and unknown is
said only where nobody could know.

  --requests N   mutating requests in all (20000)
  --scripts N    scripts that send them (500)
  --faults SHARE the share of requests that meet a fault (0.2)
  --seed N       what ids and faults follow from (1)
  --concurrency N requests in flight at once (256)
  --retries N    further attempts of a request, besides those that were turned away for the rate (4)
  --limit S      after so many seconds, what has not ended hangs (120)
";

const SCRIPT: &str = r#"
    let ids = [];
    for i in 0..count {
        let name = `s${me}-${i}`;
        ids.push(switch (me + i) % 5 {
            0 => stripe::product::create_async(#{ name: name }),
            1 => stripe::customer::create_async(#{ name: name }),
            2 => stripe::coupon::create_async(#{ name: name, percent_off: 10, duration: "once" }),
            3 => stripe::tax_rate::create_async(#{ display_name: name, percentage: 7, inclusive: false }),
            _ => stripe::product::update_async(products[i / 5], #{ description: name }),
        });
        if ids.len() % 10 == 0 { sleep(1); }
    }
    await_settled(ids, 600);
    ids.len()
"#;

/// How a request ended, for those that look afterwards.
struct Ending {
    id: RequestId,
    status: RequestStatus,
    effect: Effect,
    latency: Duration,
    /// Seconds since 1970.
    at: u64,
}

impl Ending {
    /// When its object was made, if it was: seconds since 1970, with some to spare.
    fn created(&self) -> RangeInclusive<u64> {
        const SPARE: u64 = 1;
        self.at.saturating_sub(self.latency.as_secs() + SPARE)..=self.at + SPARE
    }
}

#[derive(Default)]
struct Endings(Mutex<Vec<Ending>>);

impl Observer for Endings {
    fn ended(&self, ended: &Ended<'_>) {
        let effect = ended
            .outcome
            .as_ref()
            .err()
            .map_or(Effect::Done, |failure| failure.effect);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Ending {
            id: ended.id,
            status: ended.status,
            effect,
            latency: ended.latency,
            at: SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs()),
        });
    }
}

fn main() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("the limit of open files");
    let options = Options::read(HELP, 0);
    let storm = Storm {
        requests: options.get("requests", 20_000),
        scripts: options.get("scripts", 500),
        share: options.get("faults", 0.2),
        seed: options.get("seed", 1),
        concurrency: options.get("concurrency", 256),
        retries: options.get("retries", 4),
        limit: Duration::from_secs_f64(options.get("limit", 120.0)),
    };
    std::process::exit(i32::from(!storm.run()));
}

struct Storm {
    requests: usize,
    scripts: usize,
    share: f64,
    seed: u64,
    concurrency: usize,
    retries: u32,
    limit: Duration,
}

impl Storm {
    fn run(&self) -> bool {
        let simulator = Simulator::builder()
            .seed(self.seed)
            .latency(Latency::exponential(Duration::from_millis(3)))
            .start()
            .expect("a simulator");
        let endings = Arc::new(Endings::default());
        // An object that had a tag already could not tell a change that was not made from one that another has covered.
        let products = self.products(&self.assemble(&simulator, &endings, false));
        let inflight = self.assemble(&simulator, &endings, true);
        let before = simulator.counts();
        endings.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        simulator.set_faults(Faults::chaos(self.share));

        let start = Instant::now();
        let sessions: Vec<Session> = (0..self.scripts).map(|_| inflight.session()).collect();
        let hung_scripts = self.scripts_run(&inflight, &sessions, &products);
        let wall = start.elapsed();
        let counts = simulator.counts();
        let injected = simulator.injected();

        let ended = std::mem::take(&mut *endings.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut tally = Tally::of(&simulator, &ended, self.submitted());
        tally.hangs += hung_scripts;
        tally.duplicates = duplicates(&simulator);
        tally.wall = wall;
        // Nobody knows, and nobody could: only looking them up tells, when the storm is over.
        simulator.set_faults(Faults::new());
        tally.left = settle(&sessions, &ended);
        tally.wrongly_settled = wrongly_settled(&simulator, &sessions, &ended);

        tally.print(
            self,
            counts.requests - before.requests,
            &injected,
            counts.effects - before.effects,
        );
        let is_sound = tally.is_sound();
        drop(inflight);
        is_sound
    }

    /// For each script what it is to change, each once, made while nothing fails: a product's metadata names its last change only.
    fn products(&self, inflight: &Inflight) -> Vec<Vec<String>> {
        let each = (self.requests / self.scripts).div_ceil(5);
        let script = format!(
            "let ids = []; for i in 0..{each} {{ ids.push(new_product().name(`old-${{i}}`).create_async()); }} await_all(ids, 60)"
        );
        let runtime = runtime();
        let made = (0..self.scripts).map(|_| {
            let report = runtime.block_on(inflight.run(&script, inflight::ScriptOptions::default()));
            let ids = report.result.expect("products");
            let ids = ids.as_array().into_iter().flatten();
            ids.filter_map(|id| Some(id.as_str()?.to_owned())).collect()
        });
        made.collect()
    }

    fn submitted(&self) -> usize {
        self.requests / self.scripts * self.scripts
    }

    /// `tagged`: requests write their ids into the metadata, so that they can be looked up.
    fn assemble(&self, simulator: &Simulator, endings: &Arc<Endings>, tagged: bool) -> Inflight {
        let retry = RetrySettings {
            max_retries: self.retries,
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_millis(200),
            ..RetrySettings::default()
        };
        let breaker = CircuitBreaker {
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_millis(100),
            ..CircuitBreaker::default()
        };
        Inflight::builder()
            .base_url(simulator.url())
            .api_key(ApiKey::new("sk_test_0123456789abcdef").expect("a key"))
            .concurrency(self.concurrency)
            .queue_capacity(self.requests * 10)
            .attempt_timeout(Duration::from_millis(400))
            .request_deadline(Duration::from_secs(60))
            .retry(retry)
            .retry_budget(RetryBudget::unlimited())
            .circuit_breaker(breaker)
            .tag_requests(tagged)
            .observer(Arc::clone(endings) as Arc<dyn Observer>)
            .build()
            .expect("an assembly")
    }

    /// Runs all scripts. Gives how many had not ended when the limit was over.
    fn scripts_run(&self, inflight: &Inflight, sessions: &[Session], products: &[Vec<String>]) -> usize {
        let count = (self.requests / self.scripts) as i64;
        let running: Vec<_> = sessions
            .iter()
            .enumerate()
            .zip(products)
            .map(|((me, session), products)| {
                let (session, products) = (session.clone(), products.clone());
                inflight.pool().spawn(move |engine| async move {
                    let mut scope = Scope::new();
                    scope.push_constant("me", me as i64);
                    scope.push_constant("count", count);
                    let products: rhai::Array = products.into_iter().map(Into::into).collect();
                    scope.push_constant("products", products);
                    let script = engine.compile(SCRIPT).expect("a script");
                    let run = RunOptions::new(Locals::for_session(session));
                    script.run_then(run, scope, |_, value| Ok(value.to_string())).await
                })
            })
            .collect();
        let until = tokio::time::Instant::now() + self.limit;
        runtime().block_on(async {
            let mut hung = 0;
            for script in running {
                match tokio::time::timeout_at(until, script).await {
                    Ok(ended) => drop(ended.expect("a script's task").expect("a script that ends well")),
                    Err(_) => hung += 1,
                }
            }
            hung
        })
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// How often something was created that had been created before: each name is asked for once.
fn duplicates(simulator: &Simulator) -> usize {
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (kind, name) in [
        ("product", "name"),
        ("customer", "name"),
        ("coupon", "name"),
        ("tax_rate", "display_name"),
    ] {
        for object in simulator.objects(kind) {
            let name = object[name].as_str().unwrap_or_default();
            if name.starts_with("old-") {
                continue;
            }
            *seen.entry(format!("{kind} {name}")).or_default() += 1;
        }
    }
    seen.values().map(|times| times - 1).sum()
}

fn key_of(id: RequestId) -> String {
    IdempotencyKey::Generated
        .text(id)
        .map(|key| key.to_string())
        .unwrap_or_default()
}

#[derive(Default)]
struct Tally {
    submitted: usize,
    completed: usize,
    failed: usize,
    unknown: usize,
    /// Said to be done and not done, or said to be not done and done.
    lost: usize,
    wrongly_unknown: usize,
    hangs: usize,
    duplicates: usize,
    /// Still unknown after they were looked up.
    left: usize,
    wrongly_settled: usize,
    slowest: Duration,
    wall: Duration,
}

impl Tally {
    fn of(simulator: &Simulator, ended: &[Ending], submitted: usize) -> Self {
        let mut tally = Self {
            submitted,
            hangs: submitted.saturating_sub(ended.len()),
            ..Self::default()
        };
        for ending in ended {
            let key = key_of(ending.id);
            let is_done = simulator.effect_of_key(&key) == Some(true);
            tally.slowest = tally.slowest.max(ending.latency);
            match (ending.status, ending.effect) {
                (RequestStatus::Completed, _) => {
                    tally.completed += 1;
                    tally.lost += usize::from(!is_done);
                }
                (_, Effect::Unknown) => {
                    tally.unknown += 1;
                    tally.wrongly_unknown += usize::from(simulator.was_told(&key));
                }
                (_, effect) => {
                    tally.failed += 1;
                    tally.lost += usize::from((effect == Effect::Done) != is_done);
                }
            }
        }
        tally
    }

    fn is_sound(&self) -> bool {
        self.lost + self.wrongly_unknown + self.hangs + self.duplicates + self.left + self.wrongly_settled == 0
    }

    fn print(
        &self,
        storm: &Storm,
        arrived: u64,
        injected: &std::collections::BTreeMap<&'static str, u64>,
        effects: u64,
    ) {
        println!("faults, by kind:");
        for (name, times) in injected {
            println!("  {name:<16} {times:>7}");
        }
        println!(
            "{} requests from {} scripts, {arrived} attempts arrived, {:.1} s, the slowest took {:.1} s",
            self.submitted,
            storm.scripts,
            self.wall.as_secs_f64(),
            self.slowest.as_secs_f64()
        );
        for (what, number) in [
            ("completed", self.completed),
            ("failed, effect known", self.failed),
            ("unknown", self.unknown),
            ("  of them wrongly", self.wrongly_unknown),
            ("  still unknown when looked up", self.left),
            ("  settled wrongly", self.wrongly_settled),
            ("done twice", self.duplicates),
            ("lost", self.lost),
            ("hanging", self.hangs),
        ] {
            println!("  {what:<32} {number:>7}");
        }
        println!(
            "{}",
            json!({
                "submitted": self.submitted, "effects": effects, "duplicates": self.duplicates, "lost": self.lost,
                "unknown": self.unknown, "wrongly_unknown": self.wrongly_unknown, "left_unknown": self.left,
                "wrongly_settled": self.wrongly_settled, "hangs": self.hangs, "completed": self.completed, "failed": self.failed,
                "retries": arrived.saturating_sub(self.submitted as u64), "wall_ms": self.wall.as_millis() as u64, "seed": storm.seed,
            })
        );
    }
}

/// How many requests are looked up at once.
const LOOK_UPS: usize = 32;

/// Looks up every request whose effect is unknown. Gives how many are unknown all the same.
fn settle(sessions: &[Session], ended: &[Ending]) -> usize {
    let in_doubt: Vec<_> = ended
        .iter()
        .filter(|ending| ending.effect == Effect::Unknown && ending.status != RequestStatus::Completed)
        .collect();
    let look_ups = in_doubt.iter().map(|ending| async {
        let session = sessions.iter().find(|session| session.in_doubt(ending.id).is_some())?;
        let settled = reconcile(session, ending.id, Some(ending.created()), IfAbsent::SettleAsNone).await;
        // A late answer may have settled it meanwhile.
        if !matches!(
            settled,
            Ok(Settled::Done | Settled::NotDone) | Err(ReconcileError::NotInDoubt)
        ) {
            eprintln!("{}: {settled:?}", ending.id);
        }
        Some(())
    });
    runtime().block_on(stream::iter(look_ups).buffer_unordered(LOOK_UPS).collect::<Vec<_>>());
    let is_unknown = |ending: &&&Ending| {
        let known = sessions.iter().find_map(|session| session.result(ending.id).ok());
        known.is_none_or(|outcome| {
            outcome
                .as_ref()
                .as_ref()
                .is_err_and(|failure| failure.effect == Effect::Unknown)
        })
    };
    in_doubt.iter().filter(is_unknown).count()
}

/// How many of those that were looked up were settled against the truth.
fn wrongly_settled(simulator: &Simulator, sessions: &[Session], ended: &[Ending]) -> usize {
    let in_doubt = ended.iter().filter(|ending| ending.effect == Effect::Unknown);
    in_doubt
        .filter(|ending| {
            let known = sessions.iter().find_map(|session| session.result(ending.id).ok());
            let is_done = simulator.effect_of_key(&key_of(ending.id)) == Some(true);
            known.is_some_and(|outcome| outcome.is_ok() != is_done)
        })
        .count()
}
