//! The program's arguments: what is refused, which key goes where, and the commands that run nothing.

mod support;

use std::fs;

use support::*;

#[test]
fn the_real_stripe_needs_a_real_key() {
    let script = seed("3_await.rhai");
    for (key, part) in [
        (None, "there is none"),
        (Some(""), "there is none"),
        (Some("pk_test_abc"), "publishable"),
        (Some("nonsense"), "no Stripe API key"),
        (Some("sk_live_a b"), "no Stripe API key"),
    ] {
        let mut command = inflight();
        if let Some(key) = key {
            command.env("STRIPE_API_KEY", key);
        }
        let output = command
            .args(["run", "--live", &script])
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{key:?}");
        assert!(stderr(&output).contains(part), "{key:?}: {}", stderr(&output));
        assert!(!stderr(&output).contains("nonsense"), "{}", stderr(&output));
    }
}

#[test]
fn keys_go_only_where_they_belong() {
    let script = seed("3_await.rhai");
    let output = inflight()
        .env("STRIPE_API_KEY", "sk_live_marked424242")
        .args(["run", "--base-url", "http://127.0.0.1:9", &script])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("live key"), "{}", stderr(&output));
    assert!(!stderr(&output).contains("marked"), "{}", stderr(&output));

    let output = run(&["run", "--base-url", "https://api.stripe.com", &script]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("use --live"), "{}", stderr(&output));

    // The simulator never reads the environment's key.
    let scripts = Scripts::new(&[("key.rhai", b"print(STRIPE_API_KEY); configure_stripe(STRIPE_API_KEY)")]);
    let output = inflight()
        .env("STRIPE_API_KEY", "sk_live_marked424242")
        .args(["run", "--quiet", &scripts.path("key.rhai")])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(0));
    assert!(
        stdout(&output).starts_with("key.rhai | sk_test_…"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn ten_million_copies_can_be_wanted() {
    let scripts = Scripts::new(&[("wait.rhai", b"print(`started`); sleep(100.0)")]);
    let mut command = inflight();
    command.args(["run", "--copies", "10000000", &scripts.path("wait.rhai")]);
    let running = Running::start(command);
    running.wait_for_line("started");
    running.kill();
}

#[test]
fn a_wrong_key_costs_no_earlier_results() {
    let scripts = Scripts::new(&[("say.rhai", b"print(1)"), ("out.json", b"earlier results")]);
    for wrong in [&["--live"][..], &["--base-url", "https://api.stripe.com"]] {
        let json = scripts.path("out.json");
        let output = run(&[&["run", "--json", &json, &scripts.path("say.rhai")], wrong].concat());
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        let kept = fs::read_to_string(&json).expect("the file is there");
        assert_eq!(kept, "earlier results", "{wrong:?}");
    }
}

#[test]
fn a_json_file_that_cannot_be_written_is_named() {
    let scripts = Scripts::new(&[("say.rhai", b"print(1)")]);
    let output = run(&["run", "--json", "/dev/full", &scripts.path("say.rhai")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("inflight: /dev/full cannot be written"),
        "{}",
        stderr(&output)
    );
    assert!(stdout(&output).contains("say.rhai | 1"), "{}", stdout(&output));
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [
        &["run"][..],
        &["run", "--live", "--base-url", "http://127.0.0.1:1", "x.rhai"],
        &["run", "--copies", "0", "x.rhai"],
        &["run", "--copies", "4294967295", "x.rhai"],
        &["run", "--concurrency", "4294967295", "x.rhai"],
        &["run", "--threads", "0", "x.rhai"],
        &["run", "--timeout", "0", "x.rhai"],
        &["run", "--timeout", "soon", "x.rhai"],
        &["run", "--sim-latency", "9s..1s", "x.rhai"],
        &["run", "--base-url", "not a url", "x.rhai"],
        &["run", "--json", "/no/such/folder/x.json", "x.rhai"],
        &["check"],
        &["api", "zebra"],
        &["sim", "--listen", "nowhere"],
        &["sim", "--seed", "x"],
        &["nonsense"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(!stderr(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn check_names_what_does_not_exist_without_running() {
    let scripts = Scripts::new(&[
        (
            "bad.rhai",
            b"print(`never`);\nnew_product().nmae(`x`).create_async();\nnew_prodct();",
        ),
        ("good.rhai", b"new_product().name(`x`).create_async();"),
    ]);
    let output = run(&[
        "check",
        &scripts.path("bad.rhai"),
        &scripts.path("good.rhai"),
        &scripts.path("absent.rhai"),
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].contains("bad.rhai:2:15: `nmae`"), "{text}");
    assert!(lines[1].contains("bad.rhai:3:1: there is no `new_prodct`"), "{text}");
    assert!(lines[2].contains("absent.rhai: cannot be read"), "{text}");
    assert_eq!(run(&["check", &scripts.path("good.rhai")]).status.code(), Some(0));
    let seeds = ["1_fire_and_forget", "2_polling", "3_await", "4_concurrent"].map(|name| seed(&format!("{name}.rhai")));
    let output = run(&["check", &seeds[0], &seeds[1], &seeds[2], &seeds[3]]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(0), ""));
}

#[test]
fn api_lists_one_operation_a_line() {
    let text = stdout(&run(&["api"]));
    assert!(
        text.lines()
            .any(|l| l.starts_with("product.create ") && l.contains("stripe::product::create(#{…})")),
        "{text}"
    );
    let (operations, others): (Vec<_>, Vec<_>) = text
        .lines()
        .partition(|line| line.contains("/v1/") || line.contains("/v2/"));
    assert_eq!(operations.len(), 587 + 32);
    assert!(others.iter().all(|line| line.starts_with("stripe::")), "{others:?}");
    assert!(others.iter().any(|line| line.starts_with("stripe::raw ")), "{others:?}");
    let alias = text.lines().find(|line| line.contains("/v1/linked_accounts ")).unwrap();
    assert!(alias.contains("raw only"), "{alias}");
    let text = stdout(&run(&["api", "price"]));
    assert!(text.contains(".unit_amount") && text.contains("integer"), "{text}");
    assert!(
        text.contains(".amount ") && text.contains("the same as .unit_amount"),
        "{text}"
    );
    for (word, part) in [
        ("checkout::session", ".line_items"),
        ("new_checkout_session", ".line_items"),
        ("stripe::refund::create", ".payment_intent"),
        ("trial_period_days", "checkout.session.create"),
        ("Portal", "stripe::billing_portal::session::create"),
        ("linked_accounts", "raw only"),
        ("POST /v1/products", "product.create"),
        ("items[0].price_data", "subscription.create"),
        ("checkout.session.create", "      enabled: boolean  (required)"),
        ("product.list_all", "every object of all its pages"),
        ("construct_event", "stripe::webhook::construct_event"),
    ] {
        let text = stdout(&run(&["api", word]));
        assert!(text.contains(part), "{word}: {text}");
    }
    for (word, hint) in [
        ("currency_optoins", "did you mean `currency_options`?"),
        ("stripe::product::creat", "did you mean `product.create`?"),
        ("a\u{1b}[31m", "a\u{fffd}[31m"),
    ] {
        let nothing = stderr(&run(&["api", word]));
        assert!(nothing.contains(hint), "{nothing}");
    }
}

#[test]
fn results_overwrite_nothing_that_is_read() {
    let scripts = Scripts::new(&[("a.rhai", b"1")]);
    let (script, store) = (scripts.path("a.rhai"), scripts.path("store.db"));
    let stored = format!("sqlite:{store}");
    assert_eq!(run(&["run", "--store", &stored, &script]).status.code(), Some(0));
    let wal = format!("{store}-wal");
    for (flag, path, says) in [
        ("--json", &script, "a script"),
        ("--report", &script, "a script"),
        ("--json", &store, "the store"),
        ("--report", &wal, "the store"),
    ] {
        let output = run(&["run", "--store", &stored, flag, path, &script]);
        assert_eq!(output.status.code(), Some(2), "{flag} {path}");
        assert!(
            stderr(&output).contains(&format!("{flag} would overwrite {says}")),
            "{}",
            stderr(&output)
        );
    }
    let (both, same) = (scripts.path("results"), scripts.path("./results"));
    let output = run(&["run", "--json", &both, "--report", &same, &script]);
    assert!(stderr(&output).contains("the same file"), "{}", stderr(&output));
    assert_eq!(run(&["run", &script]).status.code(), Some(0), "it is as it was");
}
