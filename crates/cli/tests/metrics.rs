//! `run --metrics`: what is served, and what strangers can do to it.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use support::*;

/// A program that serves metrics until it is dropped.
struct Serving {
    child: std::process::Child,
    address: String,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Serving {
    fn start(script: &str) -> Self {
        Self::start_with(script, &[])
    }

    fn start_with(script: &str, flags: &[&str]) -> Self {
        let scripts = Scripts::new(&[("waiting.rhai", script.as_bytes())]);
        let mut child = Command::new(env!("CARGO_BIN_EXE_inflight"))
            .args(["run", "--quiet", "--metrics", "127.0.0.1:0"])
            .args(flags)
            .arg(scripts.path("waiting.rhai"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let address = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        assert!(ready.contains("ready"), "{ready}");
        Self {
            address: address.unwrap_or_else(|| panic!("no address in {line}")).to_owned(),
            child,
            stdout,
        }
    }

    fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        // The server may close a connection that it refuses before everything is read.
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.stdout.read_to_end(&mut Vec::new());
    }
}

#[test]
fn metrics_are_served_while_scripts_run() {
    let serving = Serving::start("new_product().name(`Mug`).create(); print(`ready`); sleep(600.0)");
    let answer = serving.get("/metrics");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    let line = r#"stripe_requests_total{method="POST",route="/v1/products",outcome="completed"} 1"#;
    assert!(answer.contains(line), "{answer}");
    assert!(
        answer.contains("http_client_request_duration_seconds_count"),
        "{answer}"
    );
    assert!(!answer.contains("sk_test"), "{answer}");
}

#[test]
fn scripts_that_ended_and_wake_ups_are_counted() {
    let scripts = Scripts::new(&[("wrong.rhai", b"let = 1"), ("throws.rhai", b"throw 1")]);
    let waiting = "for i in 0..3 { sleep(0.001); } print(`ready`); sleep(600.0)";
    // Two threads, so that the others end while this one goes on.
    let serving = Serving::start_with(
        waiting,
        &[
            "--threads",
            "2",
            &scripts.path("wrong.rhai"),
            &scripts.path("throws.rhai"),
        ],
    );
    let until = std::time::Instant::now() + PATIENCE;
    let counted =
        |answer: &str, result: &str| answer.contains(&format!(r#"stripe_script_runs_total{{result="{result}"}} 1"#));
    let mut answer = serving.get("/metrics");
    while !(counted(&answer, "syntax") && counted(&answer, "runtime")) {
        assert!(std::time::Instant::now() < until, "{answer}");
        answer = serving.get("/metrics");
    }
    assert!(
        answer.contains(r#"stripe_script_runs_total{result="ok"} 0"#),
        "{answer}"
    );
    assert!(
        answer.contains(r#"inflight_wakeup_seconds_bucket{le="0.00001"}"#),
        "{answer}"
    );
    let woken = answer
        .lines()
        .find_map(|line| line.strip_prefix("inflight_wakeup_seconds_count "));
    assert!(
        woken.expect("its count").parse::<u32>().expect("a number") >= 3,
        "{answer}"
    );
}

#[test]
fn a_runs_priority_is_that_of_all_its_requests_that_name_none() {
    let script = "new_product().name(`Mug`).create(); for p in new_product().list_all() {} \
                  new_product().name(`Cup`).priority(`high`).create(); print(`ready`); sleep(600.0)";
    let serving = Serving::start_with(script, &["--priority", "low"]);
    let answer = serving.get("/metrics");
    for (priority, requests) in [("low", 2), ("normal", 0), ("high", 1)] {
        let line = format!(r#"stripe_queue_wait_seconds_count{{priority="{priority}"}} {requests}"#);
        assert!(answer.contains(&line), "{line}: {answer}");
    }
    let wrong = run(&["run", "--priority", "urgent", "none.rhai"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("high, normal or low"), "{}", stderr(&wrong));
}

#[test]
fn strangers_get_nothing_and_stop_nothing() {
    let serving = Serving::start("print(`ready`); sleep(600.0)");
    for path in ["/", "/metrics/", "/metrics2", "/../metrics", "//metrics"] {
        assert!(serving.get(path).starts_with("HTTP/1.1 404"), "{path}");
    }
    assert!(
        serving
            .ask("POST /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 405")
    );
    let large = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "a".repeat(64 << 10));
    assert!(!serving.ask(&large).starts_with("HTTP/1.1 200"));
    assert!(!serving.ask("\0\u{1}nonsense\r\n\r\n").starts_with("HTTP/1.1 200"));
    // More silent connections than there are places: the oldest of them goes for ours.
    let silent: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(&serving.address).unwrap())
        .collect();
    assert!(serving.get("/metrics").starts_with("HTTP/1.1 200"));
    drop(silent);
}

#[test]
fn an_address_that_cannot_be_used_is_told_before_anything_runs() {
    let scripts = Scripts::new(&[("a.rhai", b"print(`ran`)")]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (address, says) in [
        (address.as_str(), "metrics cannot be served at"),
        ("nonsense", "invalid"),
    ] {
        let output = run(&["run", "--metrics", address, &scripts.path("a.rhai")]);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
        assert!(!stdout(&output).contains("ran"));
    }
}

#[test]
fn a_script_sees_its_own_requests_only() {
    let script = "let id = new_product().name(`Mug`).create(); try { new_price().product(`none`).create(); } catch {} \
                  let m = metrics(); `${m.submitted} ${m.completed} ${m.failed} ${m.pending} ${m.retries} ${m.len()}`";
    let scripts = Scripts::new(&[("own.rhai", script.as_bytes())]);
    let (json, _) = run_json(&["--copies", "3", &scripts.path("own.rhai")]);
    let results = json["results"].as_array().unwrap();
    assert_eq!(results.len(), 3);
    for result in results {
        assert_eq!(result["value"], "2 1 1 0 0 7", "{result}");
    }
}

/// Reads an exposition with Prometheus's own Python library, and checks what promtool checks: names, types, units, help.
const CHECK: &str = r#"
import re, sys
try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    print("absent")
    sys.exit()
families = list(text_string_to_metric_families(sys.stdin.read()))
for family in families:
    assert re.fullmatch(r"(stripe|http_client|inflight)_[a-z0-9_]+", family.name), family.name
    assert family.documentation, family.name
    assert family.type in ("counter", "gauge", "histogram"), (family.name, family.type)
    assert family.type != "histogram" or family.name.endswith("_seconds"), family.name
    if family.type == "histogram":
        assert any(sample.labels.get("le") == "+Inf" for sample in family.samples), family.name
        assert not any("quantile" in sample.labels for sample in family.samples), family.name
print(len(families))
"#;

#[test]
fn prometheus_own_parser_reads_it() {
    let serving = Serving::start("new_product().name(`Mug`).create(); print(`ready`); sleep(600.0)");
    let answer = serving.get("/metrics");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let python = std::env::var("INFLIGHT_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command
        .args(["-c", CHECK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        eprintln!("skipped: Python is not installed");
        return;
    };
    child
        .stdin
        .take()
        .expect("its input")
        .write_all(body.as_bytes())
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}\n{body}", stderr(&output));
    match stdout(&output).trim() {
        "absent" => eprintln!("skipped: prometheus-client is not installed"),
        families => assert!(families.parse::<u32>().expect("a number") >= 12, "{families}"),
    }
}
