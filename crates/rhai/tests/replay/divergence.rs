//! A script that has changed since its first run is found out.

use inflight_rhai::{ScriptError, ScriptErrorKind};

use crate::log::Log;
use crate::support::{Server, first, run};

/// What the second script ends with on the journal of the first one, which it cannot catch.
#[track_caller]
fn diverged(before: &str, after: &str) -> ScriptError {
    let whole = first(before);
    whole.result.unwrap_or_else(|error| panic!("{before}: {error}"));
    let effects = whole.server.effects.clone();
    for after in [
        after.to_owned(),
        format!("try {{ {after} }} catch {{ thing(\"caught\").create() }}"),
    ] {
        let log = whole.log.cut(whole.log.events().len());
        let again = run(&after, &log, Server::after(&log));
        let error = again.result.expect_err(&after);
        assert_eq!(error.kind(), ScriptErrorKind::ReplayDiverged, "{after}: {error}");
        assert_eq!(again.server.effects, effects, "{after}");
        if after.starts_with("try") {
            continue;
        }
        return error;
    }
    unreachable!()
}

#[track_caller]
fn says(before: &str, after: &str, words: &[&str]) {
    let error = diverged(before, after).to_string();
    for word in words {
        assert!(error.contains(word), "{error}\nlacks {word}");
    }
}

#[test]
fn another_operation() {
    says(
        r#"let a = make_async("a"); await_result(a)"#,
        "\n  let a = drop_async(`a`); await_result(a)",
        &["`thing.create` (call 0)", "`thing.drop` (call 0)", "line 2, column 11"],
    );
}

#[test]
fn another_parameter() {
    says(
        r#"let a = make_async("a"); await_result(a)"#,
        r#"let a = make_async("b"); await_result(a)"#,
        &["`thing.create` (call 0) with other arguments", "line 1, column 9"],
    );
}

#[test]
fn a_call_less() {
    says(
        r#"let a = make_async("a"); let b = make_async("b"); await_all([a, b])"#,
        r#"let a = make_async("a"); await_all([a])"#,
        &[
            "first run asked `thing.create` (call 2)",
            "this one asks `await_all` (call 2)",
            "line 1, column 26",
        ],
    );
    // The last one.
    says(
        r#"let a = make_async("a"); await_result(a); print("x")"#,
        r#"let a = make_async("a"); await_result(a)"#,
        &["first run asked `print` (call 3)", "does not come to it"],
    );
}

#[test]
fn a_call_more() {
    says(
        r#"let a = make_async("a"); await_result(a)"#,
        r#"let a = make_async("a"); print(is_complete(a)); await_result(a)"#,
        &[
            "first run asked `await_result` (call 2)",
            "this one asks `is_complete` (call 2)",
            "line 1, column 32",
        ],
    );
}

#[test]
fn another_order() {
    says(
        r#"let a = make_async("a"); let b = make_async("b"); [await_result(a), await_result(b)]"#,
        r#"let a = make_async("a"); let b = make_async("b"); [await_result(b), await_result(a)]"#,
        &["`await_result` (call 4) with other arguments", "line 1, column 52"],
    );
}

#[test]
fn tasks_and_callbacks_that_are_not_there() {
    let with_task = r#"let t = start(|| thing("a").create()); join(t)"#;
    says(
        with_task,
        r#"thing("a").create()"#,
        &["`start` (call 0)", "`thing.create` (call 0)"],
    );
    says(
        r#"let a = make_async("a"); start(|| { sleep(5); print("x"); }); await_result(a); sleep(50);"#,
        r#"let a = make_async("a"); start(|| { sleep(5); }); await_result(a); sleep(50);"#,
        &["`print` (call 3 of task 1)", "does not come to it"],
    );
    says(
        r#"let a = make_async("a"); on_complete(a, |r| { print(r); print("more"); }); await_result(a)"#,
        r#"let a = make_async("a"); on_complete(a, |r| { print(r); }); await_result(a)"#,
        &["`print` (call 2 of task 1)"],
    );
}

#[test]
fn a_line_printed_more() {
    says(
        r#"let a = make_async("a"); await_result(a)"#,
        "let b = 1;\nprint(`more`);\nlet a = make_async(`a`); await_result(a)",
        // The next operation, or the one after it where a slice has just begun.
        &["`thing.create` (call 0)", "`print` (call 0)", "line 3, column "],
    );
}

#[test]
fn a_request_that_was_written_and_not_answered() {
    // The process died between the request's row and the entry that says that it was submitted.
    let whole = first(r#"let a = make_async("a"); await_result(a)"#);
    let log = whole.log.cut(1);
    let again = run(
        r#"print("x"); let a = make_async("b"); await_result(a)"#,
        &log,
        Server::default(),
    );
    // The print has moved the request to another place: it is a further one.
    again.result.unwrap();
    let log = whole.log.cut(1);
    let again = run(r#"let a = drop_async("b"); await_result(a)"#, &log, Server::default());
    let error = again.result.unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::ReplayDiverged);
    let text = error.to_string();
    for words in [
        "submitted `thing.create` (call 0)",
        "this one submits `thing.drop`",
        "line 1, column 9",
    ] {
        assert!(text.contains(words), "{text}");
    }
    // What was written is sent all the same; what the script asks for now is not.
    assert!(!again.server.effects.contains_key("b"));
}

#[test]
fn a_timestamp_cannot_be_replayed() {
    let error = first("timestamp()").result.unwrap_err().to_string();
    assert!(
        error.contains("not_replayable") && error.contains("now_ms()"),
        "{error}"
    );
}

#[test]
fn a_journal_that_is_damaged_ends_the_run() {
    let whole = first(r#"print("a"); now_ms()"#);
    let mut entries = whole.log.entries();
    entries[1].answer = b"=no".to_vec();
    let log = Log::default();
    for entry in entries {
        inflight_core::Journal::write(&log, entry).unwrap();
    }
    let error = run(r#"print("a"); try { now_ms() } catch { 1 }"#, &log, Server::default())
        .result
        .unwrap_err();
    assert_eq!(error.kind(), ScriptErrorKind::Store);
    assert!(error.message().contains("`now_ms` (call 1) cannot be read"), "{error}");
}
