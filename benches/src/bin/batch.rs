//! Many creations in one `each`, some of which are made to fail, and a second run that sends only those.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use inflight::sim::{Fault, Faults, Rule, Simulator};
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions};
use inflight_benches::{Options, peak_resident};
use serde_json::{Value, json};

const HELP: &str = "\
Makes many customers with one `each`, against a simulator in a process of its own that refuses some of them, and then sends only what
was refused. Ends with one line of JSON; the exit status is 1 unless the report says what the simulator says.

  --requests N     customers to make (100000)
  --failing SHARE  the share of them that is refused (0.03)
  --concurrency N  requests on their way at once (200)
  --seed N         what ids and refusals follow from (1)
";

/// What the program calls itself with to be the simulator.
const SIMULATOR: &str = "simulator";

const SCRIPT: &str = r#"
    let make = |i| new_customer().email(`c${i}@example.com`).max_retries(0);
    let next = 0;
    let show = |p| if p.done >= next { print(`${p.done} of ${p.total}, ${p.failed} failed`); next += 10000; };
    let options = #{ concurrency: concurrency, on_failure: "carry_on", on_progress: show };
    let first = each(0..requests, make, options);
    calm();
    let second = each(first.to_resubmit, make, options);
    #{ done: first.done, completed: first.completed, failed: first.failed, named: first.failures.len(),
       again: second.total, completed_again: second.completed }
"#;

fn main() {
    if std::env::args().nth(1).as_deref() == Some(SIMULATOR) {
        return simulate();
    }
    let options = Options::read(HELP, 0);
    let requests: u64 = options.get("requests", 100_000);
    let failing: f64 = options.get("failing", 0.03);
    let concurrency: u64 = options.get("concurrency", 200);
    let simulator = Arc::new(std::sync::Mutex::new(Remote::start(failing, options.get("seed", 1))));

    let url = simulator.lock().expect("no panic elsewhere").ask("url");
    let calm = Arc::clone(&simulator);
    let inflight = Inflight::builder()
        .base_url(url.as_str().expect("an address"))
        .api_key(ApiKey::new("sk_test_123456789").expect("a key"))
        .engine(move |engine| {
            let calm = Arc::clone(&calm);
            engine.register_fn("calm", move || {
                calm.lock().expect("no panic elsewhere").ask("calm");
            });
        })
        .build()
        .expect("a worker");
    let mut script = ScriptOptions::default();
    script.constants.insert("requests".into(), requests.into());
    script.constants.insert("concurrency".into(), concurrency.into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let start = Instant::now();
    let report = runtime.block_on(inflight.run(SCRIPT, script));
    let wall = start.elapsed().as_secs_f64();
    let said = report
        .result
        .unwrap_or_else(|error| panic!("the script failed: {error}"));
    let simulated = simulator.lock().expect("no panic elsewhere").ask("counts");

    let refused = simulated["refused"].as_u64().unwrap_or_default();
    let is_right = said["done"] == requests
        && said["failed"] == refused
        && said["completed"] == requests - refused
        && said["named"] == refused.min(10_000)
        && said["again"] == refused
        && said["completed_again"] == refused
        && simulated["customers"] == requests;
    println!(
        "{requests} creations, {refused} refused and sent again: {wall:.1} s, {:.0} requests a second, {:.1} MB at most",
        (requests + refused) as f64 / wall,
        peak_resident() as f64 / 1024.0,
    );
    println!(
        "{}",
        json!({
            "requests": requests, "concurrency": concurrency, "wall_s": wall, "peak_kb": peak_resident(), "script": said,
            "simulator": simulated, "right": is_right,
        })
    );
    std::process::exit(i32::from(!is_right));
}

/// The simulator in its own process, so that its memory is not counted.
struct Remote {
    child: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Remote {
    fn start(failing: f64, seed: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([SIMULATOR, &failing.to_string(), &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let questions = child.stdin.take().expect("its input");
        let answers = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self {
            child,
            questions,
            answers,
        }
    }

    fn ask(&mut self, question: &str) -> Value {
        writeln!(self.questions, "{question}").expect("the simulator lives");
        let answer = self.answers.next().expect("an answer").expect("a line");
        serde_json::from_str(&answer).expect("JSON")
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Answers a question a line, until the input ends.
fn simulate() {
    let argument = |at| std::env::args().nth(at).unwrap_or_default();
    let failing = argument(2).parse().expect("a share");
    let refusals = Rule::new(Fault::LockTimeout).operation("customer.create").rate(failing);
    let simulator = Simulator::builder()
        .seed(argument(3).parse().expect("a number"))
        .faults(Faults::new().rule(refusals))
        .start()
        .expect("a simulator");
    let mut refused = 0;
    for question in std::io::stdin().lines().map_while(Result::ok) {
        let injected = simulator.injected().get("lock_timeout").copied().unwrap_or_default();
        let answer = match question.as_str() {
            "url" => json!(simulator.url()),
            "calm" => {
                refused = injected;
                simulator.set_faults(Faults::new());
                Value::Null
            }
            _ => json!({ "customers": simulator.count("customer"), "refused": refused }),
        };
        println!("{answer}");
    }
}
