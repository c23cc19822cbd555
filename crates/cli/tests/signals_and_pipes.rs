//! The program among other processes: signals, readers that stall or go away, terminals.

mod support;

use std::fs;

use serde_json::Value;
use support::*;

#[test]
fn a_signal_stops_the_scripts_and_lets_what_is_in_flight_finish() {
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let scripts = Scripts::new(&[
            (
                "wait.rhai",
                b"let id = new_product().name(`x`).create_async(); print(`started`); await_result(id, 60)",
            ),
            ("loop.rhai", b"loop { }"),
        ]);
        let json = scripts.path("out.json");
        let mut command = inflight();
        command.args(["run", "--sim-latency", "1s", "--json", &json]);
        command.args([scripts.path("wait.rhai"), scripts.path("loop.rhai")]);
        let running = Running::start(command);
        running.wait_for_line("started");
        running.signal(signal);
        assert_eq!(running.status(), Some(status));
        let json: Value = serde_json::from_str(&fs::read_to_string(&json).expect("the JSON is written")).expect("JSON");
        assert_eq!(json["requests"]["completed"], 1, "{json}");
        assert_eq!(json["scripts"]["failed"], 2, "{json}");
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let scripts = Scripts::new(&[(
        "wait.rhai",
        b"let id = new_product().name(`x`).create_async(); print(`started`); await_result(id, 60)",
    )]);
    let mut command = inflight();
    command.args([
        "run",
        "--sim-latency",
        "1h",
        "--timeout",
        "2h",
        &scripts.path("wait.rhai"),
    ]);
    let running = Running::start(command);
    running.wait_for_line("started");
    running.signal("-INT");
    running.wait_for_line("stopping");
    running.signal("-INT");
    assert_eq!(running.status(), Some(130));
}

#[test]
fn the_simulator_serves_other_runs_until_it_is_stopped() {
    let mut command = inflight();
    command.args(["sim", "--listen", "127.0.0.1:0", "--seed", "7"]);
    let simulator = Running::start(command);
    let line = simulator.wait_for_line("Stripe simulator at http://");
    let url = line.rsplit(' ').next().expect("a URL").to_owned();
    for protocol in [&["--quiet"][..], &["--quiet", "--http2"]] {
        let arguments = [&["run", "--base-url", &url], protocol].concat();
        let output = run(&[&arguments[..], &[&seed("4_concurrent.rhai")]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains("All 4 products created!"));
    }
    simulator.signal("-TERM");
    assert_eq!(simulator.status(), Some(0));
}
