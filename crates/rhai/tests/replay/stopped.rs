//! Runs that are stopped, and journals that cannot be written.

use inflight_rhai::ScriptErrorKind;

use crate::log::Log;
use crate::support::{Place, Server, first, run, run_in};

const SCRIPTS: [&str; 5] = [
    r#"let caught = 0; try { each(0..20, |i| make_async(`item-${i}`), #{ concurrency: 5 }); } catch { caught = 1; } caught"#,
    r#"let b = batch(#{ concurrency: 2 }); for i in 0..9 { b.add(thing(`item-${i}`)); } b.submit_async(); b.await_batch().len()"#,
    r#"let ids = []; for i in 0..9 { ids.push(make_async(`item-${i}`)); } sleep(20); await_all(ids).len()"#,
    r#"each(0..20, |i| make_async(`item-${i}`), #{ concurrency: 5, on_failure: "carry_on" }).completed"#,
    // It is stopped while it computes, and holds enough to be left by unwinding.
    r#"let held = blob(200000); let compute = |i, ended| { let n = 0; while n < 3000 { n += 1; } };
       each(0..20, |i| make_async(`item-${i}`), #{ on_failure: "carry_on", on_result: compute }).completed"#,
];

/// Interrupts each script after some turns in this place: started again, it ends as if nothing had happened.
#[track_caller]
fn goes_on_after(interrupted: impl Fn(usize) -> Place) {
    for script in SCRIPTS {
        let whole = first(script);
        let value = whole.result.unwrap_or_else(|error| panic!("{script}: {error}"));
        for turns in 0..12 {
            let log = Log::default();
            let stopped = run_in(&interrupted(turns), script, &log, Server::default());
            if let Err(error) = &stopped.result {
                assert_eq!(error.kind(), ScriptErrorKind::Cancelled, "{script}");
            }
            let again = run(script, &log, stopped.server);
            assert_eq!(again.result.unwrap(), value, "{script}, {turns} turns");
            assert_eq!(again.server.effects, whole.server.effects, "{script}, {turns} turns");
        }
    }
}

#[test]
fn what_is_stopped_goes_on() {
    // Stopped, not killed: the script is unwound in order, and what it has not sent must stay.
    goes_on_after(|turns| Place {
        turns,
        ..Place::default()
    });
}

#[test]
fn what_a_shutdown_interrupts_goes_on() {
    goes_on_after(|turns| Place {
        shuts_down_after: turns,
        ..Place::default()
    });
}

#[test]
fn each_calls_nothing_back_where_the_program_shuts_down_before_an_item_is_submitted() {
    for at in [2, 7, 19] {
        let script = format!(
            "each(0..20, |i| {{ if i == {at} {{ shut_down(); }} make_async(`item-${{i}}`) }}, \
             #{{ concurrency: 5, on_failure: \"carry_on\" }}).completed"
        );
        let log = Log::default();
        let place = Place {
            shuts_down_on_call: true,
            ..Place::default()
        };
        let stopped = run_in(&place, &script, &log, Server::default());
        assert_eq!(stopped.result.unwrap_err().kind(), ScriptErrorKind::Cancelled, "{at}");
        let again = run(&script, &log, stopped.server);
        assert_eq!(again.result.unwrap(), "20", "{at}");
        assert_eq!(again.server.effects.len(), 20, "{at}");
        assert!(again.server.effects.values().all(|times| *times == 1), "{at}");
    }
}

#[test]
fn nothing_is_sent_after_a_write_that_failed() {
    let script = r#"
        let made = [];
        try { made.push(thing("a").create()); print("one"); made.push(thing("b").create()); print("two"); }
        catch { thing("caught").create(); }
        thing("c").create();
        made
    "#;
    let whole = first(script);
    for writes in 0..whole.log.events().len() {
        let log = Log::default().and(writes);
        let ended = run(script, &log, Server::default());
        let error = ended.result.unwrap_err();
        // A request that cannot be written is a failure; what the script does about it cannot be written either.
        assert_eq!(error.kind(), ScriptErrorKind::Store, "after {writes} writes: {error}");
        assert!(error.message().contains("the process is dead"), "{error}");
        assert!(!ended.server.effects.contains_key("caught"), "after {writes} writes");
    }
}

#[test]
fn a_sleep_that_had_begun_is_slept_to_its_end_only() {
    let script = "let begun = now_ms(); print(begun); sleep(100000); begun";
    let whole = first(script);
    let value = whole.result.unwrap();
    assert_eq!(whole.lines.join("\n"), value, "what was printed is what is given");
    for writes in 2..=whole.log.events().len() {
        let again = run(script, &whole.log.cut(writes), Server::default());
        assert_eq!(again.result.unwrap(), value, "after {writes} writes");
        assert!(again.lines.is_empty());
    }
}
