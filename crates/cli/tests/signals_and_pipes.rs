//! The program among other processes: signals, readers that stall or go away, terminals.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Instant;

use serde_json::Value;
use support::*;

#[test]
fn a_signal_stops_the_scripts_and_lets_what_is_in_flight_finish() {
    for (signal, status) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        if signal == "-HUP" && is_hang_up_ignored() {
            eprintln!("skipped: -HUP, which is ignored here, as by `nohup`");
            continue;
        }
        let scripts = Scripts::new(&[
            (
                "wait.rhai",
                b"let id = new_product().name(`x`).create_async(); print(`started`); await_result(id, 60)",
            ),
            ("loop.rhai", b"loop { }"),
        ]);
        let json = scripts.path("out.json");
        let mut command = inflight();
        // With two threads requests have one of their own, also on a machine with one processor: the loop does not hold them up.
        command.args(["run", "--sim-latency", "1s", "--threads", "2", "--json", &json]);
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

/// Whether this process, and so those that it starts, were told to ignore it.
fn is_hang_up_ignored() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask & 1 != 0)
}

#[test]
fn who_has_a_hang_up_ignored_is_not_stopped_by_it() {
    let (simulator, url) = simulator(&[]);
    let scripts = Scripts::new(&[(
        "wait.rhai",
        b"print(`started`); while stripe::product::list(#{}).data.is_empty() { sleep_ms(5) } print(`went on`)",
    )]);
    let mut command = Command::new("nohup");
    command.arg(inflight().get_program());
    command.args(["run", "--base-url", &url, &scripts.path("wait.rhai")]);
    let running = Running::start(command);
    running.wait_for_line("started");
    running.signal("-HUP");
    let make = Scripts::new(&[("make.rhai", b"new_product().name(`Mug`).create();")]);
    let output = run(&["run", "--quiet", "--base-url", &url, &make.path("make.rhai")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    running.wait_for_line("went on");
    assert_eq!(running.status(), Some(0));
    simulator.kill();
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
    let (simulator, url) = simulator(&["--seed", "7"]);
    for protocol in [&["--quiet"][..], &["--quiet", "--http2"]] {
        let arguments = [&["run", "--base-url", &url], protocol].concat();
        let output = run(&[&arguments[..], &[&seed("4_concurrent.rhai")]].concat());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert!(stdout(&output).contains("All 4 products created!"));
    }
    simulator.signal("-TERM");
    assert_eq!(simulator.status(), Some(0));
}

#[test]
fn the_simulators_state_outlives_it_and_its_requests_are_logged() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = folder.path().join("shop.json").display().to_string();
    let start = || simulator(&["--log", "--state", &state]);
    let scripts = Scripts::new(&[
        ("make.rhai", b"stripe::product::create(#{name: `Mug`, id: `mug`});"),
        ("read.rhai", b"print(stripe::product::retrieve(`mug`).name)"),
    ]);
    for script in ["make.rhai", "read.rhai"] {
        let (simulator, url) = start();
        let output = run(&["run", "--quiet", "--base-url", &url, &scripts.path(script)]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(stdout(&output).contains("Mug"), script == "read.rhai");
        simulator.wait_for_line("200 req_");
        simulator.signal("-TERM");
        assert_eq!(simulator.status(), Some(0));
    }
}

/// Prints for ever.
const FLOOD: &[u8] = b"let text = ``; text.pad(1000, `x`); loop { print(text) }";

/// A run whose standard output nobody reads, and that has stalled: its progress is still shown.
fn stalled(scripts: &Scripts, names: &[&str]) -> Running {
    let mut command = inflight();
    command.args(["run", "--threads", "2", "--sim-latency", "1h", "--timeout", "2h"]);
    command.args(names.iter().map(|name| scripts.path(name)));
    let running = Running::start_unread(command);
    running.wait_for_line("scripts ended; requests:");
    running
}

#[test]
fn a_signal_ends_a_run_whose_reader_has_stalled() {
    let scripts = Scripts::new(&[("flood.rhai", FLOOD)]);
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let running = stalled(&scripts, &["flood.rhai"]);
        running.signal(signal);
        running.wait_for_line("stopping");
        assert_eq!(running.status(), Some(status));
    }
}

#[test]
fn a_second_signal_ends_a_run_whose_reader_has_stalled_at_once() {
    let scripts = Scripts::new(&[
        ("flood.rhai", FLOOD),
        ("wait.rhai", b"new_product().name(`x`).create()"),
    ]);
    for (signal, status) in [("-INT", 130), ("-TERM", 143)] {
        let running = stalled(&scripts, &["flood.rhai", "wait.rhai"]);
        running.signal("-INT");
        running.wait_for_line("stopping");
        running.signal(signal);
        assert_eq!(running.status(), Some(status));
    }
}

#[test]
fn a_reader_that_comes_late_gets_whole_lines_in_order_and_the_table_last() {
    const LINES: usize = 3000;
    let text = format!("let x = ``; x.pad(1000, `x`); for i in 0..{LINES} {{ print(`${{i}} ${{x}}`) }}");
    let scripts = Scripts::new(&[("a.rhai", text.as_bytes()), ("b.rhai", text.as_bytes())]);
    let mut command = inflight();
    command.args([
        "run",
        "--threads",
        "2",
        &scripts.path("a.rhai"),
        &scripts.path("b.rhai"),
    ]);
    let mut running = Running::start_unread(command);
    running.wait_for_line("0/2 scripts ended");
    let stdout = running.stdout();
    let lines: Vec<String> = BufReader::new(stdout).lines().map_while(Result::ok).collect();
    assert_eq!(running.status(), Some(0));
    for name in ["a", "b"] {
        let prefix = format!("{name}.rhai | ");
        let printed: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix(&prefix)).collect();
        assert_eq!(printed.len(), LINES);
        for (i, line) in printed.iter().enumerate() {
            let number = line.strip_suffix(&"x".repeat(1000)).map(str::trim);
            assert_eq!(number, Some(i.to_string().as_str()));
        }
    }
    let last = lines.iter().rposition(|line| line.contains(" | ")).expect("lines");
    assert!(
        lines[last..].iter().any(|line| line.starts_with("all ")),
        "{:?}",
        &lines[last..]
    );
}

#[test]
fn readers_that_go_away_cost_the_output_and_not_the_run() {
    let scripts = Scripts::new(&[
        (
            "good.rhai",
            b"for i in 0..5000 { print(`line ${i}`) } let id = new_product().name(`x`).create_async(); await_result(id, 60)",
        ),
        ("bad.rhai", b"throw `on purpose`"),
    ]);
    let json = scripts.path("out.json");
    let mut command = inflight();
    command.args(["run", "--json", &json, "--sim-latency", "1500ms"]);
    command.args([scripts.path("good.rhai"), scripts.path("bad.rhai")]);
    assert_eq!(unheard(command), Some(1));
    let json: Value = serde_json::from_str(&fs::read_to_string(&json).expect("the JSON is written")).expect("JSON");
    assert_eq!(json["scripts"]["ok"], 1, "{json}");
    assert_eq!(json["requests"]["completed"], 1, "{json}");

    let misspelt = Scripts::new(&[("bad.rhai", b"new_prodct()")]);
    for (arguments, status) in [
        (&["run", "--json", "-", &scripts.path("good.rhai")][..], 0),
        (&["check", &misspelt.path("bad.rhai")], 1),
        (&["api"], 0),
        (&["api", "zebra"], 2),
    ] {
        let mut command = inflight();
        command.args(arguments);
        assert_eq!(unheard(command), Some(status), "{arguments:?}");
    }
}

/// A reader may go away; a disk that is full loses what was asked for.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let scripts = Scripts::new(&[("a.rhai", b"print(`heard`)")]);
    let script = scripts.path("a.rhai");
    for arguments in [vec!["run", &script], vec!["check", &script], vec!["functions"]] {
        let full = fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("a full device");
        let output = inflight()
            .args(&arguments)
            .stdout(full)
            .output()
            .expect("the program starts");
        let expected = if arguments[0] == "check" { 0 } else { 2 };
        assert_eq!(
            output.status.code(),
            Some(expected),
            "{arguments:?}: {}",
            stderr(&output)
        );
        assert_eq!(
            stderr(&output).contains("standard output"),
            expected == 2,
            "{arguments:?}"
        );
    }
}

#[test]
fn the_simulator_serves_though_nobody_hears_it() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let address = free.expect("a free port");
    let mut command = inflight();
    command.args(["sim", "--listen", &address.to_string()]);
    let mut simulator = with_readers_gone(command);
    let until = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < until, "it does not listen");
        thread::sleep(POLL);
    }
    let sent = Command::new("kill")
        .args(["-TERM", &simulator.id().to_string()])
        .status();
    assert!(sent.expect("kill starts").success());
    assert_eq!(ended(&mut simulator), Some(0));
}

/// Starts with both streams leading to readers that have gone away already.
fn with_readers_gone(mut command: Command) -> Child {
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        Stdio::from(writer)
    };
    command.stdout(closed()).stderr(closed());
    command.spawn().expect("the program starts")
}

/// The exit status of a program that nobody hears.
fn unheard(command: Command) -> Option<i32> {
    ended(&mut with_readers_gone(command))
}

#[test]
fn both_streams_in_one_pipe_keep_their_order() {
    let scripts = Scripts::new(&[("says.rhai", b"print(`said`); throw `thrown`")]);
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = inflight();
    command.args(["run", "--json", "-", &scripts.path("says.rhai")]);
    command
        .stdout(writer.try_clone().expect("the pipe again"))
        .stderr(writer);
    let mut child = command.spawn().expect("the program starts");
    // It holds the pipe's writing ends.
    drop(command);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("its output");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    let place = |part: &str| text.find(part).unwrap_or_else(|| panic!("no `{part}` in {text}"));
    assert!(place("running 1 script") < place("| said"), "{text}");
    assert!(place("| said") < place("error: says.rhai:1:16: thrown"), "{text}");
    assert!(place("error: ") < place("retries"), "{text}");
    assert!(text.lines().last().is_some_and(|line| line.starts_with('{')), "{text}");
}

/// Runs on a terminal, of util-linux's `script`, and gives what is shown. `None` where that is not installed.
fn on_terminal(term: &str, no_color: &str, path: &str) -> Option<String> {
    let version = Command::new("script").arg("--version").output();
    if !version.is_ok_and(|version| String::from_utf8_lossy(&version.stdout).contains("util-linux")) {
        eprintln!("skipped: util-linux's script is not installed");
        return None;
    }
    let command = format!("'{}' run --sim-latency 1500ms '{path}'", env!("CARGO_BIN_EXE_inflight"));
    let output = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("TERM", term)
        .env("NO_COLOR", no_color)
        .env_remove("STRIPE_API_KEY")
        .stdin(Stdio::null())
        .output()
        .expect("script starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    Some(stdout(&output))
}

#[test]
fn a_terminal_shows_bars_and_a_dumb_one_plain_lines_and_neither_obeys_scripts() {
    let scripts = Scripts::new(&[(
        "escape.rhai",
        br#"print("\x1b[2Jcleared\tit"); new_product().name("x").create()"#,
    )]);
    for term in ["xterm", "dumb"] {
        let Some(text) = on_terminal(term, "", &scripts.path("escape.rhai")) else {
            return;
        };
        assert!(text.contains("escape.rhai | \u{fffd}[2Jcleared\tit"), "{text}");
        assert!(text.contains("retries"), "{text}");
        let plain = text.contains("running 1 script on") && text.contains("0/1 scripts ended");
        assert_eq!(plain, term == "dumb", "{text}");
        assert_eq!(text.contains('░'), term == "xterm", "{text}");
    }
}

#[test]
fn colour_is_for_terminals_and_not_for_who_wants_none() {
    let scripts = Scripts::new(&[("a.rhai", b"1")]);
    let path = scripts.path("a.rhai");
    let coloured = |text: &str| text.contains("\x1b[3");
    for (term, no_color, colour) in [("xterm", "", true), ("xterm", "1", false), ("dumb", "", false)] {
        let Some(text) = on_terminal(term, no_color, &path) else {
            return;
        };
        assert_eq!(coloured(&text), colour, "{term} {no_color}: {text:?}");
    }
    assert!(!coloured(&stdout(&run(&["run", &path]))), "a pipe is no terminal");
}
