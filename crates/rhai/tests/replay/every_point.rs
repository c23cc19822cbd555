//! Wherever the process dies, the next one ends the script as if nothing had happened.

use inflight_rhai::ScriptErrorKind;

use crate::log::Log;
use crate::support::{Place, Server, first, run_until, stays_consistent, survives, survives_in};

#[test]
fn one_request_after_another() {
    survives(
        r#"
        let a = thing("a").create_async();
        print("started");
        let got = await_result(a, 30);
        print(`got ${got}`);
        let b = thing(got + "-b").create();
        print(b);
        [got, b, status(a), is_complete(a), get_object(a).id]
        "#,
    );
}

#[test]
fn polling() {
    survives(
        r#"
        let id = thing("a").create_async();
        let attempt = 0;
        while attempt < 100 {
            if is_complete(id) { print(`Success: ${get_result(id)}`); break; }
            attempt += 1;
            sleep(1);
        }
        status(id)
        "#,
    );
}

#[test]
fn errors_are_answers_too() {
    survives(
        r#"
        let caught = [];
        let ids = [thing("bad-1").create_async(), thing("slow").create_async()];
        try { get_result(ids[1]) } catch (e) { caught.push(e.kind); }
        try { await_result(ids[0], 5) } catch (e) { caught.push(e.message); print(e.kind); }
        try { thing("bad-2").create() } catch (e) { caught.push(e.message); }
        try { await_result("no such id") } catch (e) { caught.push(e.kind); }
        try { await_result(ids[1], 0) } catch (e) { caught.push(e.kind); }
        caught.push(await_result(ids[1]));
        print(metrics().failed);
        caught
        "#,
    );
}

#[test]
fn tasks_that_share_what_they_change() {
    stays_consistent(
        r#"
        let lines = [];
        let counter = 0;
        let tasks = [];
        for number in 0..3 {
            let i = number;
            tasks.push(start(|| {
                counter += 1;
                let mine = counter;
                let id = thing(if i == 0 { "slow-0" } else { `t-${i}` }).create_async();
                await_result(id);
                counter += 10;
                let line = `${i}: ${mine} ${counter}`;
                print(line);
                lines.push(line);
                thing(`after-${i}-${counter}`).create();
                counter += 100;
                counter
            }));
        }
        counter += 1000;
        let values = [];
        for task in tasks { values.push(join(task)); }
        let line = `${values}`;
        print(line);
        lines.push(line);
        lines
        "#,
    );
}

#[test]
fn tasks_that_are_preempted() {
    stays_consistent(
        r#"
        let lines = [];
        let n = 0;
        let tasks = [];
        for given in ["a", "b", "c"] {
            let name = given;
            tasks.push(start(|| {
                for i in 0..3000 { n += 1; n -= 1; }
                n += 1;
                thing(`${name}-${n}`).create();
                let line = `${name} ${n}`;
                print(line);
                lines.push(line);
            }));
        }
        for task in tasks { join(task); }
        lines
        "#,
    );
}

#[test]
fn a_task_that_begins_before_the_script_goes_on() {
    survives(
        r#"
        let seen = 0;
        let id = thing("a").create_async();
        let task = start(|| { seen = 1; sleep(60000); seen = 2; thing("b").create() });
        await_result(id);
        let first = seen;
        try { join(task, 0.001); } catch (e) { print(e.kind); }
        [first, join(task), seen]
        "#,
    );
}

#[test]
fn callbacks() {
    survives(
        r#"
        let order = [];
        for given in ["slow-a", "b", "bad-c"] {
            let name = given;
            on_complete(thing(name).create_async(), |result| {
                order.push(if type_of(result) == "string" { result } else { result.message });
                print(`called ${order}`);
                thing(`for-${name}`).create();
                print(`done ${name}`);
            });
        }
        let d = thing("d").create();
        order.push(d);
        print(order);
        let late = thing("slow-late").create_async();
        on_complete(late, |result| { print(`late ${result}`); on_complete(late, |again| print(`again ${again}`)); });
        order
        "#,
    );
}

#[test]
fn callbacks_that_tasks_register() {
    survives(
        r#"
        start(|| {
            sleep(20);
            let id = thing("a").create_async();
            on_complete(id, |result| { print(`called ${result}`); thing("b").create(); });
            on_complete(thing("c").create_async(), |result| throw "no");
            print("task ends");
        });
        print("script ends");
        "ended"
        "#,
    );
}

#[test]
fn waits_for_several() {
    survives(
        r#"
        let make = |names| names.map(|name| thing(name).create_async());
        let all = await_all(make.call(["a", "slow-b", "c"]), 10);
        print(all);
        let settled = await_settled(make.call(["d", "bad-e"]));
        let race = await_race(#{ one: thing("slow-f").create_async(), two: thing("g").create_async() });
        print(race);
        let any = await_any(make.call(["bad-h", "slow-i", "j"]));
        let caught = ();
        try { await_all(make.call(["k", "bad-l"])); } catch (e) { caught = e.which; }
        detach(thing("bad-m").create_async());
        [all, settled[0].value, settled[1].error.kind, race, any, caught]
        "#,
    );
}

#[test]
fn batches() {
    survives(
        r#"
        let b = batch(#{ on_failure: "carry_on", concurrency: 2 });
        for name in ["a", "bad-b", "c", "d"] { b.add(name, thing(name)); }
        b.submit_async();
        let results = b.await_batch(20);
        print(b);
        print(b.progress());
        let report = b.report();
        let kinds = report.failures.map(|f| `${f.name} ${f.kind}`);
        let other = batch();
        other.add(thing("e")); other.add(|| make_async("f"));
        other.submit_async();
        [results.a.value, results["bad-b"].ok, kinds, other.await_batch(), b.progress().done]
        "#,
    );
}

#[test]
fn each_item_once() {
    survives(
        r#"
        let told = [];
        let report = each(0..7, |i| thing(if i == 3 { `bad-${i}` } else { `item-${i}` }), #{
            concurrency: 2, on_failure: "carry_on",
            on_result: |item, result| { told.push(`${item} ${result.ok}`); print(told.len()); if item == 1 { thing("x").create(); } },
            on_progress: |p| print(p.done),
        });
        let n = 0;
        let more = each(|| { n += 1; if n < 4 { sleep(1); n } }, |i| make_async(`more-${i}`));
        told.sort();
        [told, report.failures.map(|f| f.item), report.completed, more.completed]
        "#,
    );
}

#[test]
fn each_that_stops() {
    survives(
        r#"
        let caught = ();
        try { each(["a", "b", "bad-c", "d"], |name| thing(name), #{ concurrency: 1 }); } catch (e) { caught = e; }
        print(caught.report.completed);
        [caught.index, caught.item, caught.report.not_started]
        "#,
    );
}

#[test]
fn what_the_host_says() {
    survives(r#"let a = ask_host("x"); print(a); thing("a").create(); let b = ask_host(a); [a, b]"#);
    survives(r#"let a = look_up("a"); print(a); let b = look_up("b"); thing("c").create(); [a, b]"#);
    // What the journal would not know of.
    let error = first("host_waits()").result.unwrap_err().to_string();
    assert!(
        error.contains("not_replayable") && error.contains("journalled"),
        "{error}"
    );
}

#[test]
fn modules_that_make_requests() {
    let folder = tempfile::tempdir().unwrap();
    let module = r#"let made = thing("of-the-module").create(); export made; fn more() { thing("more").create() }"#;
    std::fs::write(folder.path().join("shop.rhai"), module).unwrap();
    let place = Place {
        folder: Some(folder.path().to_owned()),
        ..Place::default()
    };
    // The second task waits for the module that the first one loads.
    let script = r#"
        let first = start(|| { import "shop" as shop; print("first"); shop::made });
        let second = start(|| { import "shop" as shop; print("second"); shop::more() });
        let both = [join(first), join(second)];
        import "shop" as shop;
        both.push(shop::made);
        both
    "#;
    survives_in(&place, script);
}

#[test]
fn a_batch_as_large_as_there_is_room() {
    let place = Place {
        limit: 4,
        ..Place::default()
    };
    let script = r#"
        let b = batch();
        for name in ["a", "b", "c", "d"] { b.add(thing(name)); }
        b.submit_async();
        let first = b.await_batch();
        let more = batch();
        for name in ["e", "f", "g"] { more.add(thing(name)); }
        more.submit_async();
        [first, more.await_batch()]
    "#;
    survives_in(&place, script);
}

#[test]
fn a_process_that_dies_again_and_again() {
    let script = r#"
        let made = [];
        let task = start(|| { let a = thing("a").create(); sleep(1); thing(a + "-b").create() });
        on_complete(thing("c").create_async(), |id| { made.push(id); thing(id + "-d").create(); });
        each(0..5, |i| thing(`item-${i}`), #{ concurrency: 2 });
        made.push(join(task));
        let b = batch(); b.add(thing("e")); b.add(thing("f")); b.submit_async();
        made += b.await_batch();
        while made.len() < 4 { sleep(1); }
        made.sort();
        made
    "#;
    let whole = first(script);
    let value = whole.result.unwrap();
    for further in [3, 4, 7] {
        let mut log = Log::default();
        let mut deaths = 0;
        let ended = loop {
            log = log.and(further);
            let ended = run_until(script, &log, Server::after(&log), 5000);
            match ended.result {
                Ok(ended) => break ended,
                Err(error) => assert_eq!(error.kind(), ScriptErrorKind::Store, "{error}"),
            }
            deaths += 1;
            assert!(deaths < 200, "it gets nowhere");
        };
        assert_eq!(ended, value);
        assert!(deaths > 5, "{deaths}");
        assert_eq!(Server::after(&log).effects, whole.server.effects);
    }
}

#[test]
fn values_are_of_the_same_types() {
    survives(
        r#"
        let id = make_async("list");
        let object = await_object(id);
        let whole = await_result(id);
        let response = get_response(id);
        [type_of(object.n), object, whole == object, response, type_of(deadline()), type_of(now_ms())].map(|x| if type_of(x) == "i64" { 0 } else { x })
        "#,
    );
}
