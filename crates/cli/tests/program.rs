//! The program from outside: what a user types, what comes out, and the exit status.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::*;

#[test]
fn the_designs_four_scripts_run_unchanged() {
    let scripts = [
        seed("1_fire_and_forget.rhai"),
        seed("2_polling.rhai"),
        seed("3_await.rhai"),
        seed("4_concurrent.rhai"),
    ];
    let scripts: Vec<&str> = scripts.iter().map(String::as_str).collect();
    let output = run(&[&["run"], &scripts[..]].concat());
    let (text, messages) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{text}\n{messages}");
    for line in [
        "1_fire_and_forget.rhai | All requests started, continuing with other work...",
        "1_fire_and_forget.rhai | Doing work: 99",
        "2_polling.rhai | Request started, polling for completion...",
        "2_polling.rhai | Success: prod_",
        "3_await.rhai | Request started, waiting for result...",
        "3_await.rhai | Product created: prod_",
        "4_concurrent.rhai | Started 5 concurrent product creations",
        "4_concurrent.rhai | All 4 products created!",
    ] {
        assert!(text.lines().any(|l| l.starts_with(line)), "{line} is missing in {text}");
    }
    assert_eq!(text.matches("4_concurrent.rhai | Product created: prod_").count(), 4);
    // The price names no product: that fails, and nobody looks.
    let warning = text
        .lines()
        .find(|l| l.starts_with("warning: 1_fire_and_forget.rhai: price.create failed"));
    assert!(warning.is_some_and(|line| line.contains("product")), "{text}");
    assert!(messages.contains("running 4 scripts"), "{messages}");
}

#[test]
fn the_json_counts_everything() {
    let scripts = Scripts::new(&[
        (
            "good.rhai",
            b"let id = new_product().name(`Mug`).create(); #{ id: id.len() > 5, list: [1, 2.5] }",
        ),
        ("bad.rhai", b"let x = 1;\nthrow `on purpose`"),
    ]);
    let (json, output) = run_json(&["--copies", "3", &scripts.path("good.rhai"), &scripts.path("bad.rhai")]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json["scripts"], serde_json::json!({ "total": 6, "ok": 3, "failed": 3 }));
    assert_eq!(
        json["requests"],
        serde_json::json!({ "submitted": 3, "completed": 3, "failed": 0, "timeout": 0, "cancelled": 0, "retries": 0 })
    );
    let results = json["results"].as_array().expect("a list of results");
    assert_eq!(results.len(), 6);
    let good = &results[0];
    assert_eq!(good["value"], serde_json::json!({ "id": true, "list": [1, 2.5] }));
    assert_eq!((good["copy"].as_u64(), good["ok"].as_bool()), (Some(1), Some(true)));
    let bad = &results[5];
    assert_eq!(bad["error"], "on purpose (line 2, column 1)");
    assert_eq!((bad["copy"].as_u64(), &bad["value"]), (Some(3), &Value::Null));
    for field in ["p50", "p95", "p99", "max"] {
        assert!(
            json["latency_ms"][field].as_f64().is_some_and(|ms| ms > 0.0),
            "{field}: {json}"
        );
    }
    assert!(json["wall_ms"].as_f64() >= good["wall_ms"].as_f64());
}

#[test]
fn the_scripts_output_goes_to_standard_error_beside_json_on_standard_output() {
    let scripts = Scripts::new(&[("say.rhai", b"print(`one\ntwo`)")]);
    let (_, output) = run_json(&["--quiet", &scripts.path("say.rhai")]);
    assert_eq!(stderr(&output), "say.rhai | one\nsay.rhai | two\n");
}

#[test]
fn quiet_shows_the_scripts_own_output_only() {
    let scripts = Scripts::new(&[("say.rhai", b"print(`hello`)")]);
    let output = run(&["run", "--quiet", &scripts.path("say.rhai")]);
    assert_eq!(
        (stdout(&output).as_str(), stderr(&output).as_str()),
        ("say.rhai | hello\n", "")
    );
}

#[test]
fn what_is_wrong_with_a_script_is_told_and_stops_no_other() {
    let scripts = Scripts::new(&[
        ("syntax.rhai", b"let x = ;"),
        ("setter.rhai", b"let a = 1;\nnew_product().nmae(`x`)"),
        ("type.rhai", b"new_price().amount(`ten`)"),
        ("huge.rhai", b"new_price().amount(1e300)"),
        ("unknown.rhai", b"await_result(`no such id`, 1)"),
        (
            "negative.rhai",
            b"await_result(new_product().name(`x`).create_async(), -1)",
        ),
        ("zero.rhai", b"await_result(new_product().name(`x`).create_async(), 0)"),
        ("missing_id.rhai", b"new_product().retrieve(`prod_none`)"),
        ("recursion.rhai", b"fn f(x) { f(x + 1) } f(0)"),
        ("bytes.rhai", b"\xff\xfe"),
        ("empty.rhai", b""),
        ("comment.rhai", b"// nothing"),
        ("good.rhai", b"print(`good`)"),
    ]);
    let names = [
        "syntax",
        "setter",
        "type",
        "huge",
        "unknown",
        "negative",
        "zero",
        "missing_id",
        "recursion",
        "bytes",
        "absent",
        "empty",
        "comment",
        "good",
    ];
    let paths: Vec<String> = names.iter().map(|name| scripts.path(&format!("{name}.rhai"))).collect();
    let arguments: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (json, output) = run_json(&arguments);
    assert_eq!(output.status.code(), Some(1));
    let result = |name: &str| {
        let at = names.iter().position(|n| *n == name).expect("a known name");
        json["results"][at].clone()
    };
    for (name, part) in [
        ("syntax", "(line 1, column 9)"),
        ("setter", "did you mean `name`? (line 2, column 15)"),
        ("type", "unit_amount"),
        ("huge", "unit_amount"),
        ("unknown", "no request of this script has that id"),
        ("negative", "zero or more"),
        ("zero", "wait_timeout"),
        ("missing_id", "No such product: 'prod_none'"),
        ("recursion", "which is the limit"),
        ("bytes", "not text in UTF-8"),
        ("absent", "cannot be read"),
    ] {
        let error = result(name)["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(part), "{name}: {error}");
    }
    for name in ["empty", "comment", "good"] {
        assert_eq!(result(name)["ok"], true, "{name}");
    }
    assert!(stderr(&output).contains("good.rhai | good"));
}

#[test]
fn a_time_limit_ends_scripts_that_compute_and_scripts_that_wait() {
    let scripts = Scripts::new(&[
        ("loop.rhai", b"loop { }"),
        ("wait.rhai", b"try { sleep(100.0) } catch { print(`caught`) }"),
    ]);
    let (json, output) = run_json(&[
        "--timeout",
        "300ms",
        &scripts.path("loop.rhai"),
        &scripts.path("wait.rhai"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    for result in json["results"].as_array().expect("results") {
        let error = result["error"].as_str().unwrap_or_default();
        assert!(error.contains("time limit of 300ms"), "{error}");
    }
    assert!(!stderr(&output).contains("caught"));
}

#[test]
fn pending_requests_are_finished_after_a_script_has_thrown() {
    let scripts = Scripts::new(&[(
        "throws.rhai",
        b"for i in 0..5 { new_product().name(`P${i}`).create_async(); } throw `early`",
    )]);
    let (json, _) = run_json(&["--sim-latency", "50ms", &scripts.path("throws.rhai")]);
    assert_eq!(json["requests"]["completed"], 5);
    assert_eq!(
        json["results"][0]["error"].as_str().map(|e| e.starts_with("early")),
        Some(true)
    );
}

#[test]
fn what_the_end_of_a_run_abandoned_is_failed_in_the_table_and_in_the_json() {
    let scripts = Scripts::new(&[("leaves.rhai", b"new_product().name(`x`).create_async()")]);
    let json = scripts.path("out.json");
    let output = run(&[
        "run",
        "--sim-latency",
        "1h",
        "--timeout",
        "500ms",
        "--json",
        &json,
        &scripts.path("leaves.rhai"),
    ]);
    let text = stdout(&output);
    let row = text.lines().find(|line| line.starts_with("leaves ")).expect("its row");
    let cells: Vec<&str> = row.split_whitespace().rev().take(5).collect();
    assert_eq!(cells, ["1", "0", "1", "0", "1"], "{text}");
    let json: Value = serde_json::from_str(&fs::read_to_string(&json).expect("the JSON is written")).expect("JSON");
    assert_eq!(json["requests"]["failed"], 1, "{json}");
    // It was not answered: there is no time that it took.
    assert_eq!(json["latency_ms"]["max"], 0.0, "{json}");
}

#[test]
fn one_cancelled_request_is_told_in_the_singular() {
    let scripts = Scripts::new(&[(
        "cancels.rhai",
        b"let a = new_product().name(`a`).create_async(); let b = new_product().name(`b`).create_async(); cancel(b)",
    )]);
    let output = run(&[
        "run",
        "--concurrency",
        "1",
        "--sim-latency",
        "500ms",
        &scripts.path("cancels.rhai"),
    ]);
    let text = stdout(&output);
    assert!(
        text.lines()
            .any(|line| line == "1 request was cancelled before it was sent"),
        "{text}"
    );
}

#[test]
fn a_thousand_copies_wait_together() {
    let (json, output) = run_json(&[
        "--copies",
        "1000",
        "--sim-latency",
        "100ms",
        "--threads",
        "1",
        "--concurrency",
        "1000",
        &seed("3_await.rhai"),
    ]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json["requests"]["completed"], 1000);
    // One after the other they would take 100 s; how much better it is, benchmarks say.
    assert!(
        json["wall_ms"].as_f64().is_some_and(|ms| ms < 50_000.0),
        "{}",
        json["wall_ms"]
    );
}

#[test]
fn more_copies_than_the_queue_holds_all_end_well() {
    let (json, output) = run_json(&[
        "--copies",
        "4000",
        "--threads",
        "2",
        "--http2",
        &seed("4_concurrent.rhai"),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(json["scripts"]["ok"], 4000);
    assert_eq!(json["requests"]["completed"], 16_000);
}

#[test]
fn a_server_that_is_down_is_told_to_the_script() {
    // Bound and not listened to again after this: nobody answers there.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port();
    let scripts = Scripts::new(&[("down.rhai", b"new_product().name(`x`).create()")]);
    let (json, output) = run_json(&[
        "--base-url",
        &format!("http://127.0.0.1:{port}"),
        &scripts.path("down.rhai"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let error = json["results"][0]["error"].as_str().unwrap_or_default();
    assert!(error.starts_with("connect_error: "), "{error}");
    assert_eq!(json["requests"]["failed"], 1);
}

#[test]
fn the_simulator_run_needs_no_certificates() {
    let mut command = inflight();
    command
        .env("SSL_CERT_FILE", "/nowhere/at/all")
        .env("SSL_CERT_DIR", "/nowhere");
    let output = command
        .args(["run", "--quiet", &seed("3_await.rhai")])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).contains("Product created: prod_"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn a_byte_order_mark_and_an_interpreter_line_are_no_part_of_a_script() {
    let scripts = Scripts::new(&[
        ("mark.rhai", b"\xef\xbb\xbfprint(`marked`)"),
        (
            "line.rhai",
            b"#!/usr/bin/env inflight\nprint(`second`);\nthrow `third`;",
        ),
    ]);
    let output = run(&["run", "--quiet", &scripts.path("mark.rhai"), &scripts.path("line.rhai")]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.contains("mark.rhai | marked") && text.contains("line.rhai | second"),
        "{text}"
    );
    assert!(
        stderr(&output).starts_with("error: line.rhai:3:1: third"),
        "{}",
        stderr(&output)
    );
    let broken = Scripts::new(&[
        ("mark.rhai", b"\xef\xbb\xbfprint(`marked`)"),
        ("line.rhai", b"#!/usr/bin/env inflight\n\nnew_prodct();"),
    ]);
    let output = run(&["check", &broken.path("mark.rhai"), &broken.path("line.rhai")]);
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("line.rhai:3:1: there is no `new_prodct`"), "{text}");
}

#[test]
fn errors_are_shown_without_control_characters_and_cut() {
    let scripts = Scripts::new(&[
        ("escape.rhai", br#"throw "\x1b[2Jcleared\nnext""#),
        ("long.rhai", br#"let text = ""; text.pad(100_000, "y"); throw text"#),
    ]);
    let output = run(&[
        "run",
        "--quiet",
        &scripts.path("escape.rhai"),
        &scripts.path("long.rhai"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("\u{fffd}[2Jcleared next\n"), "{text}");
    assert!(text.contains(&format!("{}…\n", "y".repeat(2000))), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn every_example_script_is_checked_and_ends_well() {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "..", "examples", "scripts"]
        .iter()
        .collect();
    if !folder.is_dir() {
        return;
    }
    let mut scripts: Vec<String> = fs::read_dir(&folder)
        .expect("the folder of examples")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension() == Some("rhai".as_ref()))
        .map(|path: PathBuf| Path::display(&path).to_string())
        .collect();
    scripts.sort();
    let scripts: Vec<&str> = scripts.iter().map(String::as_str).collect();
    let check = run(&[&["check"], &scripts[..]].concat());
    assert_eq!(check.status.code(), Some(0), "{}", stdout(&check));
    let (json, output) = run_json(&[&["--copies", "3"], &scripts[..]].concat());
    assert_eq!(output.status.code(), Some(0), "{json}\n{}", stderr(&output));
}
