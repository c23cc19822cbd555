//! The monitoring page and the report in a real browser.
//!
//! Where there is no Chromium, no Node or no playwright-core, the tests say that they were skipped, and pass. Node's modules are found
//! through `INFLIGHT_TEST_NODE_MODULES`, Chromium through `INFLIGHT_TEST_CHROMIUM`; screenshots go to the folder that
//! `INFLIGHT_TEST_SCREENSHOTS` names.

mod support;

use std::env;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use support::*;

const TOKEN: &str = "a-token-of-the-browser-test";

fn chromium() -> Option<String> {
    let named = env::var("INFLIGHT_TEST_CHROMIUM").ok();
    let usual = ["chromium", "chromium-browser", "google-chrome"].map(str::to_owned);
    let found = named.into_iter().chain(usual).find(|name| {
        let mut command = Command::new(name);
        let version = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
        version.status().is_ok_and(|status| status.success())
    })?;
    // Playwright wants a path.
    let found = if Path::new(&found).is_absolute() {
        found
    } else {
        let paths = env::var_os("PATH")?;
        let mut all = env::split_paths(&paths).map(|folder| folder.join(&found));
        all.find(|path| path.is_file())?.display().to_string()
    };
    Some(found)
}

/// Node with a script of ours, or nothing where one of the three is missing.
fn node(script: &str, argument: &str) -> Option<Command> {
    let Some(chromium) = chromium() else {
        eprintln!("skipped: there is no Chromium");
        return None;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser").join(script);
    let mut command = Command::new("node");
    command
        .arg(script)
        .args([argument, &chromium])
        .args(env::var("INFLIGHT_TEST_SCREENSHOTS").ok());
    Some(command)
}

fn serve(address: &str, script: &str) -> (Running, String) {
    let mut command = inflight();
    command.env("INFLIGHT_DASHBOARD_TOKEN", TOKEN);
    command.args([
        "run",
        "--copies",
        "1000",
        "--sim-latency",
        "100ms",
        "--timeout",
        "10m",
        "--dashboard",
        address,
        script,
    ]);
    let running = Running::start(command);
    let line = running.wait_for_line("dashboard: ");
    let url = line.strip_prefix("dashboard: ").expect("the address").to_owned();
    (running, url)
}

#[test]
fn the_page_is_used_while_a_thousand_scripts_run() {
    let scripts = Scripts::new(&[("busy.rhai", BUSY)]);
    let (running, url) = serve("127.0.0.1:0", &scripts.path("busy.rhai"));
    let Some(mut node) = node("page.mjs", &url) else {
        return running.kill();
    };
    let Ok(mut browser) = node.stdout(Stdio::piped()).spawn() else {
        eprintln!("skipped: Node is not installed");
        return running.kill();
    };
    let mut running = Some(running);
    let mut last = String::new();
    for line in BufReader::new(browser.stdout.take().expect("its output")).lines() {
        last = line.expect("a line");
        if let Some(lag) = last.strip_prefix("lag ") {
            // Measured and told, not asserted: what else this machine does is not the page's fault.
            eprintln!("the page's longest event loop lag in 5 s: {lag} ms");
        }
        match last.as_str() {
            "stop" => running.take().into_iter().for_each(Running::kill),
            "start" => {
                let address = url.strip_prefix("http://").and_then(|rest| rest.split('/').next());
                running = Some(serve(address.expect("its address"), &scripts.path("busy.rhai")).0);
            }
            _ => {}
        }
    }
    running.into_iter().for_each(Running::kill);
    let status = browser.wait().expect("it ends");
    if last == "absent" {
        eprintln!("skipped: playwright-core is not installed");
        return;
    }
    assert!(status.success() && last == "done", "{status}, after {last:?}");
}

#[test]
fn a_report_opens_without_a_server() {
    let scripts = Scripts::new(&[(
        "a.rhai",
        b"new_customer().name(`<img src=x onerror=alert(1)>`).create()",
    )]);
    let report = scripts.path("report.html");
    let output = run(&["run", "--copies", "5", "--report", &report, &scripts.path("a.rhai")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let Some(mut node) = node("report.mjs", &report) else {
        return;
    };
    let Ok(output) = node.output() else {
        eprintln!("skipped: Node is not installed");
        return;
    };
    match stdout(&output).trim() {
        "absent" => eprintln!("skipped: playwright-core is not installed"),
        said => assert_eq!(said, "done", "{}", stderr(&output)),
    }
}
