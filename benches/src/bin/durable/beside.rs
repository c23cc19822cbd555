//! Inflight beside apalis: the same requests, the same server, the same databases, in turns.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};

use inflight_benches::{loopback, median};
use serde_json::{Value, json};

/// What is measured, each in a process of its own.
struct Entry {
    name: &'static str,
    store: Store,
    program: Program,
}

#[derive(Clone, Copy)]
enum Store {
    Memory,
    Sqlite,
    Postgres,
}

enum Program {
    Inflight,
    /// How jobs are submitted, and how far a commit to SQLite goes.
    Apalis([&'static str; 2]),
}

const ENTRIES: [Entry; 8] = [
    entry("Inflight, memory", Store::Memory, Program::Inflight),
    entry("Inflight, SQLite", Store::Sqlite, Program::Inflight),
    entry(
        "apalis-sqlite, pushed one by one",
        Store::Sqlite,
        Program::Apalis(["one", "full"]),
    ),
    entry(
        "apalis-sqlite, pushed by the hundred",
        Store::Sqlite,
        Program::Apalis(["bulk", "full"]),
    ),
    entry(
        "apalis-sqlite, by the hundred, `synchronous = OFF`",
        Store::Sqlite,
        Program::Apalis(["bulk", "off"]),
    ),
    entry("Inflight, PostgreSQL", Store::Postgres, Program::Inflight),
    entry(
        "apalis-postgres, pushed one by one",
        Store::Postgres,
        Program::Apalis(["one", "full"]),
    ),
    entry(
        "apalis-postgres, pushed by the hundred",
        Store::Postgres,
        Program::Apalis(["bulk", "full"]),
    ),
];

const fn entry(name: &'static str, store: Store, program: Program) -> Entry {
    Entry { name, store, program }
}

/// Measures all, so many rounds, and prints the medians.
pub(crate) fn compare(rounds: usize, requests: usize, concurrency: usize, postgres: &str) {
    let peers = Peers::build();
    let server = loopback::Server::start(&mut loopback::itself("serve"));
    let folder = std::env::temp_dir().join(format!("inflight-beside-{}", std::process::id()));
    let mut seen = vec![Vec::new(); ENTRIES.len()];
    for round in 1..=rounds {
        for (entry, seen) in ENTRIES.iter().zip(&mut seen) {
            std::fs::create_dir_all(&folder).expect("a folder for the files");
            let store = match entry.store {
                Store::Memory => "memory".to_owned(),
                Store::Sqlite => format!("sqlite:{}", folder.join("jobs.db").display()),
                Store::Postgres => postgres.to_owned(),
            };
            let mut command = match &entry.program {
                Program::Inflight => inflight(&store, &server.url, requests, concurrency),
                Program::Apalis(how) => peers.apalis(&store, &server.url, requests, concurrency, how),
            };
            let rate = rate(&mut command).unwrap_or_else(|| {
                eprintln!("{} gave no figure", entry.name);
                exit(1);
            });
            println!("round {round} of {rounds}: {:<52} {rate:>7.0} a second", entry.name);
            seen.push(rate);
            let _ = std::fs::remove_dir_all(&folder);
        }
    }
    println!("\n| | jobs a second | slowest and fastest round |\n|---|---:|---:|");
    for (entry, rates) in ENTRIES.iter().zip(&seen) {
        let least = rates.iter().copied().fold(f64::INFINITY, f64::min);
        let most = rates.iter().copied().fold(0.0, f64::max);
        println!("| {} | {:.0} | {least:.0} to {most:.0} |", entry.name, median(rates));
    }
    let results: serde_json::Map<String, Value> = ENTRIES
        .iter()
        .zip(&seen)
        .map(|(entry, rates)| (entry.name.to_owned(), json!(rates)))
        .collect();
    println!(
        "\n{}",
        json!({"requests": requests, "concurrency": concurrency, "apalis": peers.versions(), "per_second": results})
    );
}

fn inflight(store: &str, url: &str, requests: usize, concurrency: usize) -> Command {
    let mut command = loopback::itself("--store");
    command.args([store, "--url", url]);
    command.args([
        "--requests",
        &requests.to_string(),
        "--concurrency",
        &concurrency.to_string(),
    ]);
    command
}

/// What the last line of the program's output says.
fn rate(command: &mut Command) -> Option<f64> {
    let output = command.stderr(Stdio::inherit()).output().expect("a process");
    let text = String::from_utf8_lossy(&output.stdout);
    let last: Value = serde_json::from_str(text.lines().last()?).ok()?;
    last["per_second"].as_f64().filter(|_| output.status.success())
}

/// The workspace of the programs that need what Inflight does not.
struct Peers(PathBuf);

impl Peers {
    fn build() -> Self {
        let peers = Self(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers"));
        println!("building apalis");
        if !peers.cargo("build").status().is_ok_and(|status| status.success()) {
            eprintln!("benches/peers/apalis cannot be built");
            exit(1);
        }
        peers
    }

    fn cargo(&self, what: &str) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command
            .args([
                what,
                "--release",
                "--locked",
                "--quiet",
                "--package",
                "peer-apalis",
                "--manifest-path",
            ])
            .arg(self.0.join("Cargo.toml"));
        if let Some(folder) = std::env::var_os("CARGO_TARGET_DIR") {
            command.env("CARGO_TARGET_DIR", Path::new(&folder).join("peers"));
        }
        command
    }

    fn apalis(&self, store: &str, url: &str, requests: usize, concurrency: usize, how: &[&str]) -> Command {
        let mut command = self.cargo("run");
        command.args(["--", url, store, &requests.to_string(), &concurrency.to_string()]);
        command.args(how);
        command
    }

    fn versions(&self) -> Vec<String> {
        let lock = std::fs::read_to_string(self.0.join("Cargo.lock")).unwrap_or_default();
        let version = |name: &str| {
            let after = lock.split(&format!("name = \"{name}\"\nversion = \"")).nth(1)?;
            Some(format!("{name} {}", after.split('"').next()?))
        };
        ["apalis-sqlite", "apalis-postgres", "sqlx"]
            .iter()
            .filter_map(|name| version(name))
            .collect()
    }
}
