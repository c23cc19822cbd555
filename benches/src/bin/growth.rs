//! What a request and a script cost, and the memory they take, from few to very many of them.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Stdio, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use inflight::core::{Ended, Observer};
use inflight::rhai::max_live_fibers;
use inflight::stripe::CreateProduct;
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions};
use inflight_benches::chart::{Chart, Curve};
use inflight_benches::loopback::{Server, itself, runtime, serve};
use inflight_benches::page::{Part, circumstances, load_average, thousands};
use inflight_benches::{Options, median, processor_time, resident};
use serde_json::{Value, json};

const HELP: &str = "\
Shows how the cost of a request and the memory grow with the number of requests and of scripts. Where nothing is wrong, the cost
does not grow. Ends with one line of JSON. Takes some ten minutes.

  --only CURVE,…  loop, each, pending, scripts (all)
  --requests N    up to so many requests, at least 100 (1000000)
  --scripts N     up to so many live scripts, at most as many as can live at once (20000)
  --rounds N      how often each curve is measured, in turns; medians count (3)
  --write DOCS    writes what was seen into DOCS/benchmarks.md and DOCS/generated/growth.svg (writes nothing)";

/// The curves: a name, over what it goes, and what it shows.
const CURVES: [(&str, &str, &str); 4] = [
    (
        "loop",
        "requests so far",
        "64 scripts, each making one request after the other",
    ),
    (
        "each",
        "requests so far",
        "one script with `each`, 64 requests at a time",
    ),
    (
        "pending",
        "pending at once",
        "requests submitted together, of which 64 at a time are under way",
    ),
    (
        "scripts",
        "live scripts",
        "scripts that wait for one request after the other, of which 64 at a time are under way",
    ),
];

const CONCURRENCY: usize = 64;
/// What is not counted, so that connections are open and code and caches are warm.
const WARM_UP: u64 = 1_000;
/// How many requests are measured while so many scripts live: ten of each where there are the most. The first ones of each are dearer
/// than those that follow.
const OF_LIVE_SCRIPTS: u64 = 200_000;

fn main() {
    let role = std::env::args().nth(1).filter(|role| !role.starts_with("--"));
    let hidden = format!("{HELP}\n\n  --url URL \n  --most N ");
    let options = Options::read(if role.is_some() { &hidden } else { HELP }, usize::from(role.is_some()));
    let most = options.get("most", 0);
    match role.as_deref() {
        None => compare(&options),
        Some("serve") => serve(Duration::ZERO, false),
        Some(curve) => {
            let measured = Measured::start(&options.get("url", String::new()));
            match curve {
                "loop" => measured.looping(most),
                "each" => measured.each(most),
                "pending" => measured.pending(most),
                _ => measured.scripts(most),
            }
        }
    }
}

/// A point of a curve.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: f64,
    /// Microseconds of the processor for each request since the point before.
    cpu: f64,
    /// Megabytes beyond what was resident at the beginning.
    memory: f64,
}

fn compare(options: &Options) {
    let only: Vec<String> = options.list("only", "");
    let requests: u64 = options.get("requests", 1_000_000);
    let rounds: usize = options.get("rounds", 3);
    let can_live = max_live_fibers() as u64;
    let scripts = options.get("scripts", can_live.min(20_000));
    if requests < 100 || !(1..=can_live).contains(&scripts) || rounds == 0 {
        eprintln!("--requests is at least 100, --scripts from 1 to {can_live}, --rounds at least 1");
        exit(2);
    }
    if let Some(unknown) = only.iter().find(|only| CURVES.iter().all(|curve| curve.0 != *only)) {
        let known = CURVES.map(|curve| curve.0).join(", ");
        eprintln!("there is no curve {unknown}: there are {known}");
        exit(2);
    }
    let load = load_average();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name);
    let curves: Vec<usize> = (0..CURVES.len()).filter(|index| wanted(CURVES[*index].0)).collect();
    let mut runs = vec![Vec::new(); CURVES.len()];
    for round in 1..=rounds {
        for &index in &curves {
            println!("[{round}/{rounds}] {}: {}", CURVES[index].0, CURVES[index].2);
            runs[index].push(measure(CURVES[index], requests, scripts));
        }
    }
    let seen: Vec<_> = curves.into_iter().map(|index| (index, medians(&runs[index]))).collect();
    let text = markdown(&seen, rounds, &load);
    println!("\n{text}");
    let write: String = options.get("write", String::new());
    let part = Part {
        program: "growth",
        text: &text,
        chart: Some(("growth.svg", &svg(&seen))),
    };
    part.write(&write);
    let point = |point: &Point| json!({ "at": point.at, "cpu_us": point.cpu, "mb": point.memory });
    let curve = |(index, points): &(usize, Vec<Point>)| {
        (CURVES[*index].0.to_owned(), points.iter().map(point).collect::<Value>())
    };
    println!(
        "{}",
        seen.iter()
            .map(curve)
            .collect::<serde_json::Map<_, _>>()
            .into_iter()
            .collect::<Value>()
    );
}

/// All points of a curve.
fn measure((name, over, _): (&str, &str, &str), requests: u64, scripts: u64) -> Vec<Point> {
    let sizes = match name {
        "loop" | "each" => vec![requests],
        "pending" => decades(100, requests),
        _ => decades(1, scripts),
    };
    let mut points = Vec::new();
    for most in sizes {
        run(name, most, |point: Point| {
            println!(
                "  {:>9} {over}: {:6.1} µs CPU each, {:7.1} MB",
                thousands(point.at),
                point.cpu,
                point.memory
            );
            points.push(point);
        });
    }
    points
}

/// Point by point: every run of a curve has the same.
fn medians(runs: &[Vec<Point>]) -> Vec<Point> {
    let of =
        |index: usize, field: fn(&Point) -> f64| median(&runs.iter().map(|run| field(&run[index])).collect::<Vec<_>>());
    let point = |index: usize| Point {
        at: runs[0][index].at,
        cpu: of(index, |point| point.cpu),
        memory: of(index, |point| point.memory),
    };
    (0..runs[0].len()).map(point).collect()
}

/// 1, 10, 100 and so on times `least`, and `most`.
fn decades(least: u64, most: u64) -> Vec<u64> {
    let powers = std::iter::successors(Some(least), |number| number.checked_mul(10));
    powers.take_while(|number| *number < most).chain([most]).collect()
}

/// Runs a curve, or a point of it, in a process of its own.
fn run(curve: &str, most: u64, mut seen: impl FnMut(Point)) {
    let server = Server::start(itself("serve").args(["--most", "0"]));
    let mut process = itself(curve)
        .args(["--url", &server.url, "--most", &most.to_string()])
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process");
    let output = BufReader::new(process.stdout.take().expect("its output"));
    for line in output.lines().map_while(Result::ok) {
        let line: Value = serde_json::from_str(&line).expect("a point");
        let number = |name: &str| line[name].as_f64().expect("a number");
        seen(Point {
            at: number("at"),
            cpu: number("cpu_us"),
            memory: number("kb") / 1024.0,
        });
    }
    if !process.wait().expect("its end").success() {
        eprintln!("{curve} failed at {most}");
        exit(1);
    }
}

fn markdown(seen: &[(usize, Vec<Point>)], rounds: usize, load: &str) -> String {
    let how =
        format!("medians of {rounds} rounds; the server in a process of its own; load average before the run {load}");
    let mut text = circumstances("growth", &how);
    for (index, points) in seen {
        let (name, over, what) = CURVES[*index];
        let _ = writeln!(
            text,
            "\n**`{name}`**: {what}\n\n| {over} | CPU µs/request | MB | KB for each |\n|---:|---:|---:|---:|"
        );
        for point in points {
            let _ = writeln!(
                text,
                "| {} | {:.1} | {:.1} | {:.2} |",
                thousands(point.at),
                point.cpu,
                point.memory,
                point.memory * 1024.0 / point.at
            );
        }
    }
    text
}

fn svg(seen: &[(usize, Vec<Point>)]) -> String {
    let mut chart = Chart::new();
    let curves = |scripts: bool, field: fn(&Point) -> f64| {
        let wanted = seen
            .iter()
            .filter(move |(index, _)| (CURVES[*index].0 == "scripts") == scripts);
        let curve = move |(index, points): &(usize, Vec<Point>)| -> Curve<'static> {
            (
                CURVES[*index].0,
                points.iter().map(|point| (point.at, field(point).max(0.1))).collect(),
            )
        };
        wanted.map(curve).collect::<Vec<_>>()
    };
    for (over, scripts) in [("number of requests", false), ("live scripts", true)] {
        for (what, field) in [
            ("CPU µs per request", (|point| point.cpu) as fn(&Point) -> f64),
            ("memory in MB", |point| point.memory),
        ] {
            let curves = curves(scripts, field);
            if !curves.is_empty() {
                chart.curves(&format!("{what}, by {over}"), &curves);
            }
        }
    }
    chart.svg("Cost and memory by the number of requests and of scripts")
}

/// Tells the program what was reached, when so many requests have ended.
#[derive(Debug, Default)]
struct Marks {
    ended: AtomicU64,
    /// The next mark.
    next: AtomicU64,
    /// What is told as the mark's size, where it is not the number of requests.
    at: AtomicU64,
    /// The last mark: nothing more is to be requested then.
    most: AtomicU64,
    over: AtomicBool,
    /// Of the mark before: requests, and nanoseconds of the processor.
    before: [AtomicU64; 2],
    /// Kilobytes that were resident at the beginning.
    resident: AtomicU64,
}

impl Marks {
    /// Counts from now on, with these marks.
    fn begin(&self, next: u64, most: u64, at: u64) {
        self.ended.store(0, Ordering::Relaxed);
        self.at.store(at, Ordering::Relaxed);
        self.most.store(most, Ordering::Relaxed);
        self.resident.store(resident(), Ordering::Relaxed);
        self.note(0);
        self.next.store(next, Ordering::Release);
    }

    /// What has been used, for the next mark to start from.
    fn note(&self, ended: u64) -> (u64, f64) {
        let now = u64::try_from(processor_time().as_nanos()).expect("less than centuries");
        let requests = ended - self.before[0].swap(ended, Ordering::Relaxed).min(ended);
        let spent = now - self.before[1].swap(now, Ordering::Relaxed);
        (requests, spent as f64 / 1e3)
    }

    fn tell(&self, ended: u64) {
        let (requests, spent) = self.note(ended);
        let at = match self.at.load(Ordering::Relaxed) {
            0 => ended,
            at => at,
        };
        let kilobytes = resident().saturating_sub(self.resident.load(Ordering::Relaxed));
        println!(
            "{}",
            json!({ "at": at, "cpu_us": spent / requests as f64, "kb": kilobytes })
        );
    }
}

impl Observer for Marks {
    fn ended(&self, _: &Ended<'_>) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        if ended != self.next.load(Ordering::Acquire) {
            return;
        }
        let most = self.most.load(Ordering::Relaxed);
        let at = self.at.load(Ordering::Relaxed);
        if at > 0 && ended < most {
            // All scripts live: from here on it counts.
            self.note(ended);
            self.next.store(most, Ordering::Release);
            return;
        }
        self.tell(ended);
        self.over.store(ended == most, Ordering::Release);
        self.next.store((ended * 10).min(most), Ordering::Release);
    }
}

/// Inflight as it is measured.
struct Measured {
    inflight: Inflight,
    marks: Arc<Marks>,
}

const LOOP: &str = r#"do { new_product().name("Mug").create(); } while again();"#;

const EACH: &str = r#"each(0..requests, |i| new_product().name("Mug"), #{ concurrency: 64 });"#;

impl Measured {
    fn start(url: &str) -> Self {
        let marks = Arc::new(Marks::default());
        let asked = Arc::clone(&marks);
        let inflight = Inflight::builder()
            .base_url(url)
            .api_key(ApiKey::new("sk_test_000000000000000000000000").expect("a key"))
            .concurrency(CONCURRENCY)
            .queue_capacity(2_000_000)
            .observer(Arc::clone(&marks) as Arc<dyn Observer>)
            .engine(move |engine| {
                let marks = Arc::clone(&asked);
                engine.register_fn("again", move || !marks.over.load(Ordering::Acquire));
            })
            .build()
            .expect("an assembly");
        let measured = Self { inflight, marks };
        measured.submit(WARM_UP);
        measured.wait();
        measured.run("()", 1, 0);
        measured
    }

    fn submit(&self, requests: u64) {
        for _ in 0..requests {
            let request = CreateProduct::new("Mug").request().expect("a request");
            self.inflight.registry().root().submit(request).expect("room for it");
        }
    }

    /// Until nothing is pending.
    fn wait(&self) {
        runtime().block_on(self.inflight.registry().root().drained());
    }

    /// Runs so many scripts of this text at once.
    fn run(&self, text: &str, scripts: u64, requests: u64) {
        let mut options = ScriptOptions::default();
        options.constants.insert("requests".into(), requests.into());
        let running: Vec<_> = (0..scripts).map(|_| self.inflight.run(text, options.clone())).collect();
        runtime().block_on(async {
            for script in running {
                script.await.result.expect("a script that ends well");
            }
        });
    }

    fn looping(&self, most: u64) {
        self.marks.begin(100, most, 0);
        self.run(LOOP, CONCURRENCY as u64, 0);
    }

    fn each(&self, most: u64) {
        self.marks.begin(100, most, 0);
        self.run(EACH, 1, most);
    }

    fn pending(&self, most: u64) {
        self.inflight.pause();
        self.marks.begin(0, most, most);
        self.submit(most);
        // Memory is read at the end as well, when what has been pending is still there as results.
        self.marks.next.store(most, Ordering::Release);
        self.inflight.resume();
        self.wait();
    }

    fn scripts(&self, most: u64) {
        self.marks.begin(most, most + OF_LIVE_SCRIPTS, most);
        self.run(LOOP, most, 0);
    }
}
