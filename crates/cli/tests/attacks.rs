//! What a script may try with Stripe's functions: the same text named very often, answers read again and again, requests that hold more
//! than the script may. The program ends with the script's error, within little memory.

mod support;

use std::process::{Command, Output};

use support::*;

/// Kilobytes of address space, of which the stacks of scripts take the most. What an attack would take is far more.
const ADDRESS_SPACE: u64 = 6_000_000;

/// A text of two megabytes, named a hundred thousand times.
const SHARED: &str = "let s = ``; s.pad(2000000, 'x'); let a = []; a.pad(100000, s);\n";

fn attack(script: &str, arguments: &[&str]) -> Output {
    let scripts = Scripts::new(&[("attack.rhai", script.as_bytes())]);
    let limited = format!("ulimit -v {ADDRESS_SPACE}; exec \"$0\" run \"$@\"");
    Command::new("sh")
        .args(["-c", &limited, env!("CARGO_BIN_EXE_inflight")])
        .args(arguments)
        .arg(scripts.path("attack.rhai"))
        .output()
        .unwrap()
}

fn fails(script: &str, arguments: &[&str], says: &str) {
    let output = attack(script, arguments);
    let text = format!("{}{}", stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(1), "{script}: {text}");
    assert!(text.contains(says), "{script}: {text}");
}

#[test]
fn parameters_are_copied_as_far_as_a_request_may_be_long() {
    for call in [
        "stripe::product::create_async(#{ images: a })",
        "stripe::raw_async(`POST`, `/v1/products`, #{ images: a })",
        "stripe::raw_async(`POST`, `/v2/core/accounts`, #{ images: a })",
        "new_product().images(a).create_async()",
        "new_product().params(#{ images: a })",
    ] {
        fails(&format!("{SHARED}{call}"), &[], "longer than the");
    }
}

#[test]
fn an_answer_that_is_asked_for_often_counts_each_time() {
    let listed = "for i in 0..20 { new_product().name(`p${i}`).create(); }\n\
                  let id = stripe::product::list_async(#{ limit: 20 });\nawait_result(id);\nlet a = [];\n";
    for (times, call) in [
        (20_000, "await_all(a)"),
        (20_000, "await_settled(a)"),
        (1_000_000, "await_any(a)"),
    ] {
        fails(&format!("{listed}a.pad({times}, id);\n{call}"), &[], "heap limit");
    }
}

#[test]
fn what_requests_hold_counts_as_the_scripts() {
    let pending = "let s = ``; s.pad(1000000, 'x');\n\
                   for i in 0..900 { stripe::raw_async(`POST`, `/v1/products`, #{ description: s }); }";
    fails(pending, &["--sim-latency", "20s"], "heap limit");
}

#[test]
fn what_a_run_is_asked_is_told_apart_without_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let arguments = ["--store", &store, "--run-id", "attack"];
    fails(&format!("{SHARED}await_all(a)"), &arguments, "heap limit");
}
