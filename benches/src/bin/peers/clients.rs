//! Which clients there are, how they are built or found, and how they are started.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use inflight_benches::page::said;
use serde_json::Value;

/// A client that can be started.
#[derive(Debug)]
pub(crate) struct Client {
    /// As `--only` names it.
    pub(crate) name: &'static str,
    /// What it is, and its version.
    pub(crate) what: String,
    program: PathBuf,
    /// What stands before the address on its command line, and after everything.
    around: [Vec<OsString>; 2],
    environment: Option<(&'static str, PathBuf)>,
}

impl Client {
    /// Whether it is one of those in `benches/peers`: a program of this processor's instructions, with nothing around it.
    pub(crate) fn is_native(&self) -> bool {
        self.around.iter().all(Vec::is_empty)
    }

    /// The command line of a run, without the program's environment.
    pub(crate) fn arguments(&self, url: &str, in_flight: u64, seconds: f64) -> Vec<OsString> {
        let load = [url.to_owned(), in_flight.to_string(), seconds.to_string()];
        let mut arguments = vec![self.program.clone().into_os_string()];
        arguments.extend(self.around[0].iter().cloned());
        arguments.extend(load.map(OsString::from));
        arguments.extend(self.around[1].iter().cloned());
        arguments
    }

    pub(crate) fn environment(&self) -> Option<(&str, &Path)> {
        self.environment.as_ref().map(|(name, value)| (*name, value.as_path()))
    }
}

/// A client in `benches/peers`: its name, its package, the crate whose version counts, what it is.
const RUST: [(&str, &str, &str, &str); 9] = [
    (
        "inflight",
        "peer-inflight",
        "inflight",
        "Inflight, a script for each place",
    ),
    (
        "inflight-runs",
        "peer-inflight",
        "inflight",
        "Inflight, a run of a script for each request",
    ),
    ("reqwest", "peer-reqwest", "reqwest", "reqwest, bare"),
    ("hyper", "peer-hyper", "hyper", "hyper, its pooled client"),
    ("async-stripe", "peer-async-stripe", "async-stripe", "async-stripe"),
    (
        "mlua",
        "peer-mlua",
        "mlua",
        "Lua 5.4 by mlua, a coroutine for each place, with reqwest",
    ),
    (
        "rune",
        "peer-rune",
        "rune",
        "rune, a virtual machine for each place, with reqwest",
    ),
    (
        "rhai-blocking",
        "peer-rhai",
        "rhai",
        "Rhai, a thread and a blocking call for each place, with reqwest",
    ),
    (
        "rhai-polling",
        "peer-rhai",
        "rhai",
        "Rhai, a thread for each place that polls every 50 ms, with reqwest",
    ),
];

pub(crate) type Skipped = Vec<(&'static str, String)>;

/// As they are named on the command line.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    RUST.iter()
        .map(|client| client.0)
        .chain(["node", "python", "python-threads"])
}

/// The clients of these names and Inflight, or all; and which are not there, with the reason.
pub(crate) fn find(only: &[String]) -> (Vec<Client>, Skipped) {
    let wanted = |name: &str| only.is_empty() || only.iter().any(|only| only == name) || name == "inflight";
    let mut clients = Vec::new();
    let mut skipped = Vec::new();
    let mut keep = |name: &'static str, client: Result<Client, String>| match client {
        Ok(client) => clients.push(client),
        Err(why) => skipped.push((name, why)),
    };
    for (name, package, library, what) in RUST {
        if wanted(name) {
            keep(name, build(name, package, library, what));
        }
    }
    if wanted("node") {
        keep("node", node());
    }
    for (name, way, what) in [
        ("python", "async", "Stripe's Python SDK, aiohttp"),
        (
            "python-threads",
            "threads",
            "Stripe's Python SDK, a thread for each place",
        ),
    ] {
        if wanted(name) {
            keep(name, python(name, way, what));
        }
    }
    (clients, skipped)
}

fn benches() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn build(name: &'static str, package: &str, library: &str, what: &str) -> Result<Client, String> {
    println!("building {name}");
    let workspace = benches().join("peers");
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace.join("target"), |folder| Path::new(&folder).join("peers"));
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--release",
            "--locked",
            "--quiet",
            "--package",
            package,
            "--bin",
        ])
        .arg(if name.contains('-') && name != "async-stripe" {
            name
        } else {
            package
        })
        .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(workspace.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", target)
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    let program = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .next_back();
    let program = program.filter(|_| output.status.success()).ok_or_else(|| {
        let text = String::from_utf8_lossy(&output.stderr);
        let reason = text.lines().find(|line| line.starts_with("error"));
        format!("it cannot be built: {}", reason.unwrap_or("no reason given"))
    })?;
    let lock = std::fs::read_to_string(workspace.join("Cargo.lock")).unwrap_or_default();
    Ok(Client {
        name,
        what: format!("{what} ({library} {})", locked_version(&lock, library)),
        program,
        around: [Vec::new(), Vec::new()],
        environment: None,
    })
}

/// The version of a crate in a `Cargo.lock`.
fn locked_version<'a>(lock: &'a str, library: &str) -> &'a str {
    let entry = lock.split_once(&format!("name = \"{library}\"\nversion = \""));
    entry
        .and_then(|(_, rest)| rest.split('"').next())
        .unwrap_or("of an unknown version")
}

/// The first of these below the repository's `target` that is there, or what the environment names.
fn installed(variable: &str, path: &str) -> Option<PathBuf> {
    let target = benches().parent()?.join("target");
    let named = env::var_os(variable).map(PathBuf::from);
    let found = ["sdks", "ci-tools"].map(|folder| target.join(folder).join(path));
    named.or_else(|| found.into_iter().find(|path| path.exists()))
}

fn node() -> Result<Client, String> {
    let modules =
        installed("INFLIGHT_TEST_NODE_MODULES", "node/node_modules").ok_or("no `node_modules` has been found")?;
    let package = std::fs::read(modules.join("stripe/package.json"))
        .map_err(|_| format!("there is no `stripe` in {}", modules.display()))?;
    let package: Value = serde_json::from_slice(&package).map_err(|error| error.to_string())?;
    let runtime = said(Command::new("node").arg("--version"))?;
    Ok(Client {
        name: "node",
        what: format!(
            "Stripe's Node SDK ({}, Node {runtime})",
            package["version"].as_str().unwrap_or("?")
        ),
        program: "node".into(),
        around: [vec![benches().join("sdk/peer.mjs").into_os_string()], Vec::new()],
        environment: Some(("NODE_MODULES", modules)),
    })
}

fn python(name: &'static str, way: &str, what: &str) -> Result<Client, String> {
    let program = installed("INFLIGHT_TEST_PYTHON", "python/bin/python").unwrap_or_else(|| "python3".into());
    let libraries = if way == "async" { "stripe, aiohttp" } else { "stripe" };
    let question =
        format!("import platform, {libraries}; print(f'{{stripe.VERSION}}, Python {{platform.python_version()}}')");
    let version = said(Command::new(&program).args(["-c", &question]))
        .map_err(|why| format!("this Python has no `{libraries}`: {why}"))?;
    Ok(Client {
        name,
        what: format!("{what} ({version})"),
        program,
        around: [vec![benches().join("sdk/peer.py").into_os_string()], vec![way.into()]],
        environment: None,
    })
}
