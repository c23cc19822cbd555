//! The program's flags for servers that fail: each is seen to do something.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use support::*;

/// A server that answers every request with 503. Gives its URL and the number of requests that came.
fn down() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.expect("a connection"));
            let mut head = String::new();
            while stream.read_line(&mut head).is_ok_and(|read| read > 2) {}
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = stream
                .get_mut()
                .write_all(b"HTTP/1.1 503 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    (url, count)
}

/// Runs a script that makes one read, so many times, and gives the JSON.
fn run_reads(url: &str, copies: u32, flags: &[&str]) -> Value {
    let scripts = Scripts::new(&[("read.rhai", b"new_product().retrieve(`prod_1`)")]);
    let (copies, script) = (copies.to_string(), scripts.path("read.rhai"));
    let arguments = [&["--base-url", url, "--copies", &copies, &script], flags].concat();
    run_json(&arguments).0
}

#[test]
fn retries_are_as_many_as_asked_for() {
    for (retries, requests) in [("0", 1), ("1", 2)] {
        let (url, count) = down();
        let json = run_reads(&url, 1, &["--retries", retries]);
        assert_eq!(count.load(Ordering::SeqCst), requests, "{json}");
        assert!(json.to_string().contains("503"), "{json}");
    }
}

#[test]
fn a_server_that_is_down_is_left_in_peace() {
    let (url, count) = down();
    let json = run_reads(
        &url,
        40,
        &["--retries", "0", "--concurrency", "1", "--when-down", "fail"],
    );
    assert_eq!(count.load(Ordering::SeqCst), 10, "{json}");
    assert!(json.to_string().contains("has failed 10 times in a row"), "{json}");
}

#[test]
fn a_request_has_a_deadline_and_an_attempt_a_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let json = run_reads(&url, 1, &["--deadline", "50ms"]);
    assert!(json.to_string().contains("deadline passed"), "{json}");
    let json = run_reads(&url, 1, &["--attempt-timeout", "50ms", "--retries", "0"]);
    assert!(json.to_string().contains("took longer than its timeout"), "{json}");
}

#[test]
fn limits_are_kept_where_asked() {
    // Three calls to one endpoint take no time; the limit is what is tested elsewhere, that it is on is seen in the scripts' end.
    for switch in ["on", "off"] {
        let script = seed("3_await.rhai");
        let (json, _) = run_json(&["--pace", switch, &script]);
        assert_eq!(json["requests"]["failed"], 0, "{json}");
    }
}

#[test]
fn what_the_flags_do_not_take() {
    let script = seed("3_await.rhai");
    for (flag, value) in [
        ("--retries", "-1"),
        ("--retries", "many"),
        ("--attempt-timeout", "0"),
        ("--deadline", "0s"),
        ("--pace", "maybe"),
        ("--when-down", "cry"),
    ] {
        let output = run(&["run", &format!("{flag}={value}"), &script]);
        assert_eq!(output.status.code(), Some(2), "{flag} {value}");
        assert!(stderr(&output).contains(flag), "{}", stderr(&output));
    }
}
