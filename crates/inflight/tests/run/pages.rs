//! Lists page by page, over HTTP, with hundreds of objects.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight::ScriptOptions;
use inflight::rhai::{Locals, describe};
use inflight::sim::{Latency, Simulator};
use rhai::Dynamic;

use super::assemble;

const PRODUCTS: usize = 330;

struct Shop {
    simulator: Simulator,
    inflight: inflight::Inflight,
    listed: Arc<Mutex<usize>>,
}

impl Shop {
    /// Products named `0` to `329`, made one after another.
    fn new() -> Self {
        Self::with(Latency::default())
    }

    fn with(latency: Latency) -> Self {
        let listed = Arc::new(Mutex::new(0));
        let count = Arc::clone(&listed);
        let simulator = Simulator::builder()
            .latency(latency)
            .on_request(move |record| {
                if record.method == "GET" {
                    *count.lock().unwrap() += 1;
                }
            })
            .start()
            .unwrap();
        let inflight = assemble(&simulator);
        let shop = Self {
            simulator,
            inflight,
            listed,
        };
        let made = shop.run(&format!(
            "for n in 0..{PRODUCTS} {{ new_product().name(`${{n}}`).active(n % 3 != 0).create(); }}"
        ));
        made.result.unwrap();
        assert_eq!(shop.simulator.count("product"), PRODUCTS);
        shop
    }

    fn run(&self, script: &str) -> inflight::ScriptReport {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(self.inflight.run(script, ScriptOptions::default()))
    }

    /// What the script gives, and how many pages it asked for.
    fn ask(&self, script: &str) -> (serde_json::Value, usize) {
        *self.listed.lock().unwrap() = 0;
        let report = self.run(script);
        assert!(report.warnings.is_empty(), "{script}: {:?}", report.warnings);
        assert_eq!(report.unfinished, 0, "{script}");
        let value = report.result.unwrap_or_else(|error| panic!("{script}: {error}"));
        (value, *self.listed.lock().unwrap())
    }
}

/// The numbers that the script's products are named after.
fn numbers(value: &serde_json::Value) -> Vec<usize> {
    let names = value.as_array().unwrap().iter();
    names.map(|name| name.as_str().unwrap().parse().unwrap()).collect()
}

#[test]
fn every_object_comes_once_and_in_order() {
    let shop = Shop::new();
    let newest_first: Vec<usize> = (0..PRODUCTS).rev().collect();
    let (names, pages) = shop.ask("let names = []; for p in new_product().list_all() { names.push(p.name); } names");
    assert_eq!(numbers(&names), newest_first);
    assert_eq!(pages, 4);
    // Filters stay from page to page.
    let script =
        "let names = []; for p in new_product().active(true).limit(7).list_all() { names.push(p.name); } names";
    let (names, _) = shop.ask(script);
    let active: Vec<usize> = newest_first.iter().copied().filter(|n| n % 3 != 0).collect();
    assert_eq!(numbers(&names), active);
    // Backwards, from an object to the newest.
    let script = "
        let oldest = (); for p in new_product().list_all() { oldest = p.id; }
        let names = []; for p in new_product().ending_before(oldest).limit(50).list_all() { names.push(p.name); } names";
    let (names, _) = shop.ask(script);
    assert_eq!(numbers(&names), (1..PRODUCTS).collect::<Vec<_>>());
    // An empty list.
    let (names, pages) = shop.ask("let names = []; for p in new_customer().list_all() { names.push(p.name); } names");
    assert_eq!((numbers(&names).len(), pages), (0, 1));
}

#[test]
fn pages_are_asked_for_as_they_are_needed() {
    let shop = Shop::new();
    for (script, objects, pages) in [
        ("new_product().list_all(#{ max: 120 })", 120, 2),
        ("new_product().list_all(#{ max: 5 })", 5, 1),
        ("new_product().list_all(#{ max: 0 })", 0, 0),
        ("new_product().limit(10).list_all(#{ max: 10 })", 10, 1),
        ("new_product().list_all(#{ max: 1000, prefetch: false })", 330, 4),
    ] {
        let (count, asked) = shop.ask(&format!("let n = 0; for p in {script} {{ n += 1; }} n"));
        assert_eq!((count, asked), (objects.into(), pages), "{script}");
    }
    // Opening asks for nothing; leaving early asks for no more than the page ahead.
    assert_eq!(shop.ask("new_product().list_all(); 1").1, 0);
    let (count, pages) =
        shop.ask("let n = 0; for p in new_product().limit(20).list_all() { n += 1; if n == 3 { break; } } n");
    assert_eq!((count, pages), (3.into(), 1));
    let early = "let n = 0; for p in new_product().limit(20).list_all() { n += 1; if n == 12 { break; } } n";
    let (count, pages) = shop.ask(early);
    assert_eq!(count, 12);
    assert!((1..=2).contains(&pages), "{pages}");
}

#[test]
fn a_loop_goes_on_where_another_has_stopped() {
    let shop = Shop::new();
    // In the same script, with the same pages.
    let script = "
        let pages = new_product().list_all();
        let names = [];
        for p in pages { names.push(p.name); if names.len() == 150 { break; } }
        for p in pages { names.push(p.name); }
        if pages.given() != 330 { throw pages.given(); }
        if pages.next() != () { throw `more`; }
        names";
    let newest_first: Vec<usize> = (0..PRODUCTS).rev().collect();
    assert_eq!(numbers(&shop.ask(script).0), newest_first);
    // In another script, from a text.
    let (cursor, _) = shop.ask(
        "let pages = new_product().limit(40).list_all();
         for p in pages { if pages.given() == 150 { break; } }
         pages.cursor()",
    );
    let cursor = cursor.as_str().unwrap();
    let (names, _) = shop.ask(&format!(
        "let names = []; for p in new_product().limit(40).list_all(#{{ cursor: `{cursor}` }}) {{ names.push(p.name); }} names"
    ));
    assert_eq!(numbers(&names), newest_first[150..]);
    // The limit counts from the beginning.
    let (count, _) = shop.ask(&format!(
        "let n = 0; for p in new_product().list_all(#{{ max: 160, cursor: `{cursor}` }}) {{ n += 1; }} n"
    ));
    assert_eq!(count, 10);
}

#[test]
fn a_failure_in_the_middle_is_caught_with_a_cursor() {
    let shop = Shop::new();
    // The object that the next page would begin after is deleted meanwhile.
    let script = "
        let pages = new_product().limit(10).list_all(#{ prefetch: false });
        let told = ();
        try {
            for p in pages { if pages.given() == 10 { new_product().delete(p.id); } }
        } catch (error) { told = error; }
        [told.kind, told.code, told.cursor == pages.cursor(), pages.given()]";
    let (told, _) = shop.ask(script);
    assert_eq!(
        told,
        serde_json::json!(["invalid_request_error", "resource_missing", true, 10])
    );
}

#[test]
fn what_is_wrong_is_told_when_the_pages_are_opened() {
    let shop = Shop::new();
    for (script, part) in [
        ("new_product().list_all(#{ maxx: 5 })", "did you mean `max`?"),
        ("new_product().list_all(#{ max: -1 })", "`max` must be"),
        ("new_product().list_all(#{ max: 1.5 })", "`max` must be"),
        ("new_product().list_all(#{ cursor: 5 })", "`cursor` must be"),
        ("new_product().list_all(#{ cursor: `x` })", "no cursor of this list"),
        ("new_product().list_all(#{ prefetch: 1 })", "`prefetch` must be"),
        ("new_product().name(`x`).list_all()", "unknown parameter `name`"),
        ("new_product().lst_all()", "did you mean `list_all`?"),
        (
            "new_payment_intent().create_all()",
            "neither a parameter nor an operation",
        ),
    ] {
        let error = shop.run(script).result.unwrap_err().to_string();
        assert!(error.contains(part), "{script}: {error}");
    }
}

#[test]
fn tasks_walk_side_by_side_and_share_no_walk() {
    let shop = Shop::with(Latency::fixed(Duration::from_millis(5)));
    let script = "
        let tasks = [];
        for size in [10, 25, 100] {
            tasks.push(start(|| { let n = 0; for p in new_product().limit(size).list_all() { n += 1; } n }));
        }
        let counts = [];
        for task in tasks { counts.push(join(task)); }
        counts";
    assert_eq!(shop.ask(script).0, serde_json::json!([330, 330, 330]));
    // One walk is one's who waits in it.
    let script = "
        let pages = new_product().list_all();
        let tasks = [];
        for n in 0..2 {
            let mine = pages;
            tasks.push(start(|| { let told = `none`; try { mine.next(); } catch (e) { told = e.kind; } told }));
        }
        let told = []; for task in tasks { told.push(join(task)); } told";
    assert_eq!(shop.ask(script).0, serde_json::json!(["none", "in_use"]));
}

#[test]
fn a_plain_engine_on_a_plain_thread_walks_as_well() {
    let shop = Shop::new();
    let mut engine = shop.inflight.engine();
    Locals::for_session(shop.inflight.session()).set_default(&mut engine);
    let count = engine.eval::<i64>("let n = 0; for p in new_product().list_all() { n += 1; } n");
    assert_eq!(count.unwrap(), 330);
    let error = engine
        .eval::<Dynamic>("new_product().list_all(#{ max: `x` })")
        .unwrap_err();
    assert!(describe(&engine, &error).0.contains("`max`"));
}

#[test]
fn the_functions_by_their_full_names_walk_too() {
    let simulator = Simulator::builder().start().unwrap();
    let inflight = assemble(&simulator);
    let script = "for i in 0..25 { stripe::product::create(#{ name: `Mug ${i}` }); }
        let seen = #{};
        for product in stripe::product::list_all(#{ limit: 10 }) { seen[product.id] = 1; }
        let pages = stripe::product::list_all(#{ limit: 3 }, #{ max: 7, priority: \"high\" });
        let first = 0;
        for product in pages { first += 1; if first == 4 { break; } }
        let rest = 0;
        for product in pages { rest += 1; }
        let wrong = [];
        try { stripe::product::list_all(#{ limti: 3 }) } catch (error) { wrong.push(error.message) }
        try { stripe::product::list_all(#{}, #{ maxx: 3 }) } catch (error) { wrong.push(error.message) }
        [seen.len(), first, rest, wrong]";
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(inflight.run(script, ScriptOptions::default()));
    let value = report.result.unwrap();
    assert_eq!(value[0], 25, "{value}");
    assert_eq!((&value[1], &value[2]), (&4.into(), &3.into()), "{value}");
    assert!(
        value[3][0].as_str().unwrap().contains("did you mean `limit`?"),
        "{value}"
    );
    assert!(value[3][1].as_str().unwrap().contains("`maxx`"), "{value}");
}
