//! What the tests of the program share: starting it, its scripts, and reading along while it runs.

// Each test file uses some of it.
#![allow(dead_code)]

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// No test waits longer than this for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether something has happened that nobody tells.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// A script that goes on until it is stopped, with requests that succeed and requests that are declined.
pub(crate) const BUSY: &[u8] = br#"
loop {
    new_customer().name("A customer").create();
    try {
        stripe::payment_intent::create(#{
            amount: 500, currency: "usd", payment_method: "pm_card_chargeDeclined", payment_method_types: ["card"], confirm: true,
        });
    } catch {}
}
"#;

pub(crate) fn inflight() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inflight"));
    command.env_remove("STRIPE_API_KEY").stdin(Stdio::null());
    command
}

pub(crate) fn run(arguments: &[&str]) -> Output {
    inflight().args(arguments).output().expect("the program starts")
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) fn seed(name: &str) -> String {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "seed", name].iter().collect();
    path.display().to_string()
}

/// A folder of scripts that is removed at the end.
pub(crate) struct Scripts(tempfile::TempDir);

impl Scripts {
    pub(crate) fn new(scripts: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in scripts {
            fs::write(folder.path().join(name), text).expect("the script is written");
        }
        Self(folder)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

/// Runs with `--json -` and gives the JSON and the whole output.
pub(crate) fn run_json(arguments: &[&str]) -> (Value, Output) {
    let output = run(&[&["run", "--json", "-"], arguments].concat());
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", stdout(&output), stderr(&output)));
    (json, output)
}

/// A program that is running.
pub(crate) struct Running {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stdout: Box<dyn Read + Send> = Box::new(child.stdout.take().expect("its standard output"));
        let stderr: Box<dyn Read + Send> = Box::new(child.stderr.take().expect("its standard error"));
        Self::reading(child, vec![stdout, stderr])
    }

    /// Its standard output is a pipe that nobody reads, until it is asked for.
    pub(crate) fn start_unread(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let stderr = Box::new(child.stderr.take().expect("its standard error"));
        Self::reading(child, vec![stderr])
    }

    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("its standard output, unread")
    }

    fn reading(child: Child, streams: Vec<Box<dyn Read + Send>>) -> Self {
        let (sender, lines) = mpsc::channel();
        for stream in streams {
            let sender = sender.clone();
            thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines }
    }

    pub(crate) fn wait_for_line(&self, part: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .lines
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("no line with `{part}`"));
            if line.contains(part) {
                return line;
            }
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill starts").success());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it is running");
        self.child.wait().expect("it ends");
    }

    /// Every further line until it has ended, and its exit status.
    pub(crate) fn rest(mut self) -> (Vec<String>, Option<i32>) {
        let status = ended(&mut self.child);
        (self.lines.iter().collect(), status)
    }

    pub(crate) fn status(mut self) -> Option<i32> {
        ended(&mut self.child)
    }
}

/// A simulator in a process of its own, and its URL.
pub(crate) fn simulator(flags: &[&str]) -> (Running, String) {
    let mut command = inflight();
    command.args(["sim", "--listen", "127.0.0.1:0"]).args(flags);
    let simulator = Running::start(command);
    let line = simulator.wait_for_line("Stripe simulator at http://");
    let url = line.rsplit(' ').next().expect("a URL").to_owned();
    (simulator, url)
}

/// The exit status, when it has ended. It is killed where it does not end.
pub(crate) fn ended(child: &mut Child) -> Option<i32> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("its status") {
            return status.code();
        }
        if Instant::now() > until {
            child.kill().expect("it is running");
            panic!("it has not ended");
        }
        thread::sleep(POLL);
    }
}

/// All packages of the workspace, as cargo describes them.
pub(crate) fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo metadata gives JSON");
    metadata["packages"].as_array().expect("packages").clone()
}
