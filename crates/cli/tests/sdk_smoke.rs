//! Stripe's own SDKs at `inflight sim`: what they make of its answers, from pages and searches to error classes and a payment.
//!
//! Where an SDK is not installed, its test says that it was skipped, and passes. How to have them: see `sdk_comparison.rs`.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const KEY: &str = "sk_test_smoke1234";

/// The program while it serves.
struct Served {
    child: Child,
    url: String,
}

impl Served {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_inflight"));
        command.args(["sim", "--listen", "127.0.0.1:0", "--seed", "7"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .strip_prefix("Stripe simulator at ")
            .unwrap_or_else(|| panic!("{line:?}"));
        Self {
            url: url.to_owned(),
            child,
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn smoke(name: &str, mut command: Command) {
    let served = Served::start();
    let Ok(output) = command.args([&served.url, KEY]).output() else {
        eprintln!("skipped: {name} is not installed");
        return;
    };
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{name}: {stderr}");
    if stdout.trim() == "absent" {
        eprintln!("skipped: Stripe's SDK for {name} is not installed");
        return;
    }
    let counts: Vec<u32> = stdout.split_whitespace().map(|word| word.parse().unwrap()).collect();
    let [calls, resources] = counts[..] else {
        panic!("{name}: {stdout}")
    };
    assert!(
        calls >= 60 && resources >= 25,
        "{name}: {calls} calls over {resources} resources"
    );
}

fn script(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(name)
}

#[test]
fn the_python_sdk_works_with_the_simulator() {
    let python = env::var("INFLIGHT_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.arg(script("smoke.py"));
    smoke("python", command);
}

#[test]
fn the_node_sdk_works_with_the_simulator() {
    let mut command = Command::new("node");
    command.arg(script("smoke.js"));
    if let Ok(folder) = env::var("INFLIGHT_TEST_NODE_MODULES") {
        command.env("NODE_PATH", folder);
    }
    smoke("node", command);
}
