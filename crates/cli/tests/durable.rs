//! Runs and requests that survive the program, and those who look after them.
//!
//! The test of several processes on one store runs where `INFLIGHT_TEST_POSTGRES` has the address of a database that it may make a
//! schema in.

mod support;

#[path = "../../store/tests/it/schema.rs"]
mod schema;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Output;

use serde_json::Value;
use support::*;

/// Makes ten products, one after the other.
const TEN: &[u8] = br#"for i in 0..10 { new_product().name(`P${i}`).create(); print(`made ${i}`); } "all made""#;

/// Stops where it can be looked at.
const HOLD: &[u8] = b"new_product().name(`Mug`).create(); print(`made`); sleep(1000.0)";

const COUNT: &[u8] = b"let n = 0; for p in stripe::product::list_all(#{}) { n += 1; } n";

/// A folder of scripts, and a store in it.
struct Shop {
    scripts: Scripts,
    store: String,
}

impl Shop {
    fn new(scripts: &[(&str, &[u8])]) -> Self {
        let scripts = Scripts::new(scripts);
        let store = format!("sqlite:{}", scripts.path("store.db"));
        Self { scripts, store }
    }

    /// Calls the program with the store.
    fn call(&self, arguments: &[&str]) -> Output {
        inflight()
            .args(arguments)
            .env("INFLIGHT_STORE", &self.store)
            .output()
            .expect("the program starts")
    }

    /// What it prints where it gives this exit status.
    fn says(&self, status: i32, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        let text = format!("{}{}", stdout(&output), stderr(&output));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {text}");
        text
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.call(&[arguments, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stderr(&output)))
    }

    fn ids(&self, filter: &[&str]) -> Vec<String> {
        let rows = self.json(&[&["requests", "list"], filter].concat());
        let rows = rows.as_array().expect("an array");
        rows.iter()
            .map(|row| row["id"].as_str().expect("an id").to_owned())
            .collect()
    }

    /// Starts a script as the run `x`, and reads along.
    fn start(&self, script: &str, flags: &[&str]) -> Running {
        let mut command = inflight();
        command.args(["run", "--timeout", "1h", "--store", &self.store, "--run-id", "x"]);
        command.args(flags).arg(self.scripts.path(script));
        Running::start(command)
    }
}

/// What a script that counts the products of a simulator gives.
fn products(url: &str) -> Value {
    let scripts = Scripts::new(&[("count.rhai", COUNT)]);
    let (json, _) = run_json(&["--base-url", url, &scripts.path("count.rhai")]);
    json["results"][0]["value"].clone()
}

/// A server that reads a request and goes away without an answer.
fn silent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let mut line = String::new();
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {}
        }
    });
    url
}

#[test]
fn a_run_that_has_ended_sends_nothing_again_and_gives_its_result() {
    let shop = Shop::new(&[("ten.rhai", TEN)]);
    let (simulator, url) = simulator(&[]);
    let script = shop.scripts.path("ten.rhai");
    for _ in 0..2 {
        let (json, output) = run_json(&["--base-url", &url, "--store", &shop.store, "--run-id", "x", &script]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        assert_eq!(json["results"][0]["value"], "all made", "{json}");
    }
    assert_eq!(products(&url), 10);
    simulator.kill();
}

#[test]
fn a_run_that_was_killed_goes_on_where_it_was() {
    for resumes in [false, true] {
        let shop = Shop::new(&[("ten.rhai", TEN)]);
        let (simulator, url) = simulator(&["--latency", "100ms"]);
        let killed = shop.start("ten.rhai", &["--base-url", &url]);
        killed.wait_for_line("made 3");
        killed.kill();
        let runs = shop.json(&["runs", "list"]);
        assert_eq!(runs[0]["state"], "interrupted", "{runs}");
        let (lines, status) = if resumes {
            let mut command = inflight();
            command.args(["runs", "resume", "x", "--store", &shop.store]);
            Running::start(command).rest()
        } else {
            shop.start("ten.rhai", &["--base-url", &url]).rest()
        };
        assert_eq!(status, Some(0), "{lines:?}");
        // `made 2` was written before what follows it was asked for; `made 3` may have been printed and not yet written.
        let made = |number: usize| {
            lines
                .iter()
                .filter(|line| line.ends_with(&format!("made {number}")))
                .count()
        };
        let counts: Vec<usize> = (0..10).map(made).collect();
        assert_eq!(counts[..3], [0, 0, 0], "{lines:?}");
        assert_eq!(counts[4..], [1; 6], "{lines:?}");
        assert_eq!(products(&url), 10);
        let runs = shop.json(&["runs", "list"]);
        assert_eq!(
            (&runs[0]["state"], &runs[0]["starts"]),
            (&"completed".into(), &2.into())
        );
        simulator.kill();
    }
}

#[test]
fn a_script_that_has_changed_is_told_where() {
    let shop = Shop::new(&[("hold.rhai", HOLD)]);
    let killed = shop.start("hold.rhai", &[]);
    killed.wait_for_line("made");
    killed.kill();
    let changed = "let n = 1;\nnew_customer().name(`Mug`).create();\nsleep(1000.0)";
    fs::write(shop.scripts.path("hold.rhai"), changed).expect("it is written");
    let (lines, status) = shop.start("hold.rhai", &[]).rest();
    assert_eq!(status, Some(1), "{lines:?}");
    let error = lines.iter().find(|line| line.contains("the script has changed"));
    let error = error.unwrap_or_else(|| panic!("{lines:?}"));
    assert!(error.contains("hold.rhai:2:"), "{error}");
    assert!(
        error.contains("`product.create`") && error.contains("`customer.create`"),
        "{error}"
    );
}

#[test]
fn another_script_is_not_given_the_result_of_a_run_that_has_ended() {
    let shop = Shop::new(&[
        ("ten.rhai", TEN),
        ("one.rhai", b"new_product().name(`Mug`).create(); 1"),
    ]);
    let (simulator, url) = simulator(&[]);
    let start = |script: &str| {
        let script = shop.scripts.path(script);
        run_json(&["--base-url", &url, "--store", &shop.store, "--run-id", "x", &script])
    };
    start("ten.rhai");
    let (json, output) = start("one.rhai");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(json["results"][0]["value"], Value::Null, "{json}");
    assert!(
        stderr(&output).contains("its script was another one"),
        "{}",
        stderr(&output)
    );
    // The run is as it was.
    let (json, _) = start("ten.rhai");
    assert_eq!(json["results"][0]["value"], "all made", "{json}");
    assert_eq!(products(&url), 10);
    simulator.kill();
}

#[test]
fn a_run_of_several_scripts_is_started_with_the_same_ones() {
    let make: &[u8] = b"new_product().name(`Mug`).create(); 1";
    let shop = Shop::new(&[("a.rhai", make), ("b.rhai", make), ("c.rhai", make)]);
    let (simulator, url) = simulator(&[]);
    let start = |status: i32, id: &str, more: &[&str]| {
        let mut line = ["run", "--quiet", "--base-url", &url, "--run-id", id]
            .map(String::from)
            .to_vec();
        line.extend(["--store".to_owned(), shop.store.clone()]);
        line.extend(more.iter().map(|word| match word.ends_with(".rhai") {
            true => shop.scripts.path(word),
            false => (*word).to_owned(),
        }));
        shop.says(status, &line.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let text = start(2, "two", &["a.rhai", "a.rhai"]);
    assert!(text.contains("--copies") && !text.contains("another process"), "{text}");
    start(0, "two", &["a.rhai", "b.rhai"]);
    // Once more, in another order, and with one more: what was carried out is not carried out again.
    start(0, "two", &["b.rhai", "a.rhai"]);
    start(0, "two", &["b.rhai", "a.rhai", "c.rhai"]);
    for others in [&["a.rhai"][..], &["a.rhai", "b.rhai"], &["--copies", "2", "a.rhai"]] {
        let text = start(2, "two", others);
        assert!(text.contains("begun with other scripts or copies"), "{text}");
    }
    start(0, "one", &["a.rhai"]);
    let text = start(2, "one", &["--copies", "2", "a.rhai"]);
    assert!(text.contains("begun with other scripts or copies"), "{text}");
    // Another id that only looks as if it were one of these.
    start(0, "one/more", &["a.rhai"]);
    start(0, "one", &["a.rhai"]);
    assert_eq!(products(&url), 5);
    simulator.kill();
}

#[test]
fn a_store_has_one_process_and_its_file_no_key() {
    const KEY: &str = "sk_test_LEAKMARK424242";
    let shop = Shop::new(&[("hold.rhai", HOLD)]);
    let (simulator, url) = simulator(&[]);
    let mut command = inflight();
    command
        .env("STRIPE_API_KEY", KEY)
        .args(["run", "--timeout", "1h", "--base-url", &url]);
    command.args(["--store", &shop.store, "--run-id", "x", &shop.scripts.path("hold.rhai")]);
    let running = Running::start(command);
    running.wait_for_line("made");

    for refused in [&["runs", "list"][..], &["store", "check"]] {
        let text = shop.says(2, refused);
        assert!(text.contains("in use by another process"), "{text}");
    }
    let (lines, status) = shop.start("hold.rhai", &[]).rest();
    assert_eq!(status, Some(2), "{lines:?}");

    let mut files = 0;
    for suffix in ["", "-wal", "-shm", "-owner"] {
        let bytes = fs::read(shop.scripts.path(&format!("store.db{suffix}"))).expect("a file of the store");
        assert!(
            !String::from_utf8_lossy(&bytes).contains("LEAKMARK"),
            "store.db{suffix}"
        );
        files += bytes.len();
    }
    assert!(files > 0);
    running.kill();
    let exported = shop.says(0, &["store", "export"]);
    assert!(exported.contains("/v1/products") && !exported.contains("LEAKMARK"));
    simulator.kill();
}

#[test]
fn what_is_no_store_is_refused() {
    let shop = Shop::new(&[("hold.rhai", HOLD)]);
    let script = shop.scripts.path("hold.rhai");
    for (store, part) in [
        ("mysql://shop:LEAKMARK@db/shop", "not a store"),
        ("postgres://shop:LEAKMARK@127.0.0.1:1/shop", "refused"),
    ] {
        for line in [
            &["run", &script, "--store", store][..],
            &["runs", "list", "--store", store],
        ] {
            let text = shop.says(2, line);
            assert!(text.contains(part) && !text.contains("LEAKMARK"), "{text}");
        }
    }
    let text = shop.says(2, &["runs", "list"]);
    assert!(text.contains("there is no such file"), "{text}");
    let output = run(&["store", "check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--store"), "{}", stderr(&output));
}

#[test]
fn requests_in_doubt_are_settled_by_hand() {
    let doubt: &[u8] =
        b"for i in 0..3 { try { new_product().name(`P${i}`).create() } catch (error) { print(error.effect) } }";
    let shop = Shop::new(&[("doubt.rhai", doubt)]);
    let script = shop.scripts.path("doubt.rhai");
    let line = [
        "run",
        "--quiet",
        "--retries",
        "0",
        "--base-url",
        &silent(),
        "--store",
        &shop.store,
        &script,
    ];
    assert_eq!(shop.says(0, &line).matches("unknown").count(), 3);

    let [sent_again, done, not_done] = &shop.ids(&["--effect", "unknown"])[..] else {
        panic!("three are in doubt")
    };
    let text = shop.says(0, &["requests", "list", "--operation", "product.create"]);
    assert!(
        text.contains(done) && text.lines().all(|line| line.chars().count() <= 80),
        "{text}"
    );
    shop.says(1, &["requests", "list", "--state", "queued"]);
    let text = shop.says(0, &["requests", "show", done]);
    assert!(text.contains("POST /v1/products") && text.contains("unknown"), "{text}");
    shop.says(1, &["requests", "show", "00000000-0000-4000-8000-000000000000"]);

    shop.says(0, &["requests", "reconcile", done, "--done", "prod_found"]);
    shop.says(0, &["requests", "reconcile", not_done, "--not-done"]);
    shop.says(1, &["requests", "reconcile", done, "--not-done"]);
    let shown = shop.json(&["requests", "show", done]);
    assert_eq!(
        (&shown["effect"], &shown["outcome"]["object"]),
        (&"done".into(), &"prod_found".into())
    );
    shop.says(1, &["requests", "retry", done]);
    shop.says(0, &["requests", "retry", sent_again, not_done]);

    // What is in a file is sent by a process that has it to itself.
    let (simulator, url) = simulator(&["--log"]);
    let mut command = inflight();
    command.args(["work", "--store", &shop.store, "--base-url", &url]);
    let working = Running::start(command);
    working.wait_for_line("sending from sqlite:");
    for _ in 0..2 {
        simulator.wait_for_line("POST /v1/products");
    }
    working.signal("-TERM");
    working.wait_for_line("2 requests: 2 completed, 0 failed");
    assert_eq!(working.status(), Some(143));
    assert_eq!(products(&url), 2);
    assert!(shop.ids(&["--effect", "unknown"]).is_empty());
    simulator.kill();
}

#[test]
fn what_is_not_sent_is_cancelled() {
    let many: &[u8] =
        b"for i in 0..3 { new_product().name(`P${i}`).create_async(); } print(`submitted`); sleep(1000.0)";
    let shop = Shop::new(&[("many.rhai", many)]);
    let killed = shop.start("many.rhai", &["--concurrency", "1", "--sim-latency", "1h"]);
    killed.wait_for_line("submitted");
    killed.kill();
    let queued = shop.ids(&["--state", "queued", "--run", "x"]);
    assert!(queued.len() >= 2, "{queued:?}");
    shop.says(0, &["requests", "cancel", &queued[0]]);
    shop.says(1, &["requests", "cancel", &queued[0]]);

    let text = shop.says(0, &["runs", "show", "x"]);
    assert!(text.contains("interrupted") && text.contains(&queued[0]), "{text}");
    shop.says(1, &["runs", "show", "y"]);
    shop.says(1, &["runs", "prune", "--older-than", "1ms"]);
    shop.says(0, &["runs", "cancel", "x"]);
    shop.says(1, &["runs", "cancel", "x"]);
    shop.says(1, &["runs", "resume", "x"]);
    shop.says(1, &["runs", "resume", "y"]);
    assert!(shop.ids(&["--state", "queued"]).is_empty());
    let (lines, status) = shop.start("many.rhai", &[]).rest();
    assert!(
        status == Some(1) && lines.iter().any(|line| line.contains("was cancelled")),
        "{lines:?}"
    );
    shop.says(0, &["runs", "prune", "--older-than", "1ms"]);
    shop.says(1, &["runs", "list"]);
}

#[test]
fn a_store_is_kept_in_order() {
    let shop = Shop::new(&[("ten.rhai", TEN)]);
    let script = shop.scripts.path("ten.rhai");
    shop.says(0, &["store", "migrate"]);
    shop.says(0, &["run", "--quiet", "--store", &shop.store, "--run-id", "x", &script]);
    let text = shop.says(0, &["store", "check"]);
    assert!(text.contains("completed         10"), "{text}");
    shop.says(0, &["store", "vacuum"]);

    let (copy, lines) = (shop.scripts.path("copy.db"), shop.scripts.path("rows.jsonl"));
    shop.says(0, &["store", "backup", &copy]);
    shop.says(2, &["store", "backup", &copy]);
    let copied = format!("sqlite:{copy}");
    shop.says(0, &["store", "check", "--store", &copied]);
    assert_eq!(
        shop.json(&["runs", "list", "--store", &copied])[0]["result"]["value"],
        "all made"
    );

    shop.says(0, &["store", "export", &lines]);
    shop.says(2, &["store", "export", &lines]);
    let rows = fs::read_to_string(&lines).expect("it is written");
    let rows: Vec<Value> = rows
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let of = |table: &str| rows.iter().filter(|row| row["table"] == table).count();
    assert_eq!((of("inflight_requests"), of("inflight_runs")), (10, 1));

    // A leaf of the table of requests.
    let mut bytes = fs::read(&copy).expect("it is there");
    let leaf = bytes
        .chunks_mut(4096)
        .find(|page| page[0] == 0x0d && String::from_utf8_lossy(page).contains("/v1/products"));
    leaf.expect("there are requests")[..64].fill(0xff);
    fs::write(&copy, bytes).expect("it is written");
    let text = shop.says(1, &["store", "check", "--store", &copied]);
    assert!(text.contains("damaged"), "{text}");
    let text = shop.says(1, &["store", "export", "--store", &copied]);
    let left_out = text
        .lines()
        .find(|line| line.contains("not exported: inflight_requests "));
    assert!(left_out.is_some_and(|line| line.contains("malformed")), "{text}");
    let requests = text.matches("\"table\":\"inflight_requests\"").count();
    assert!((1..10).contains(&requests) && text.contains("all made"), "{text}");

    fs::write(&copy, [7; 9000]).expect("it is written");
    let text = shop.says(1, &["store", "check", "--store", &copied]);
    assert!(text.contains("damaged"), "{text}");
    let text = shop.says(2, &["runs", "list", "--store", &copied]);
    assert!(text.contains("damaged"), "{text}");
}

#[test]
fn a_process_sends_what_another_has_submitted() {
    let Some(schema) = schema::Schema::new() else { return };
    let all: &[u8] = b"let ids = []; for i in 0..40 { ids.push(new_product().name(`P${i}`).create_async()); }
        print(`submitted`); await_all(ids, 600).len()";
    let shop = Shop::new(&[("all.rhai", all)]);
    let (simulator, url) = simulator(&["--latency", "50ms"]);
    let store = schema.url();
    let mut command = inflight();
    command.args(["work", "--store", &store, "--base-url", &url, "--concurrency", "4"]);
    let working = Running::start(command);
    working.wait_for_line("sending from postgres:");
    let script = shop.scripts.path("all.rhai");
    let line = [
        "--base-url",
        &url,
        "--store",
        &store,
        "--concurrency",
        "1",
        "--timeout",
        "1h",
        &script,
    ];
    let (json, output) = run_json(&line);
    assert_eq!(json["results"][0]["value"], 40, "{}", stderr(&output));
    working.signal("-INT");
    let text = working.wait_for_line(" completed, ");
    assert!(!text.starts_with("0 requests"), "{text}");
    assert_eq!(working.status(), Some(130));
    assert_eq!(products(&url), 40);
    simulator.kill();
}
