//! `migrations`: what is found, what is rewritten, and the traps in which nothing is.

use inflight_stripe_rhai::{HostOptions, Migration, StripeHost, StripePackage, migrations};
use rhai::Engine;

thread_local! {
    static ENGINE: Engine = StripePackage::new_engine(&StripeHost::new(HostOptions::default()));
}

fn found(text: &str) -> Vec<Migration> {
    ENGINE.with(|engine| found_by(engine, text))
}

fn found_by(engine: &Engine, text: &str) -> Vec<Migration> {
    engine.compile(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    migrations(engine, text)
}

/// The one migration of a script, which is rewritten like this.
fn becomes(before: &str, after: &str) {
    let found = found(before);
    let [migration] = &found[..] else {
        panic!("one is found in\n{before}\n{found:#?}")
    };
    let script = migration.rewritten.as_ref().map(|rewritten| rewritten.script.as_str());
    assert_eq!(script.unwrap_or(&migration.message), after);
}

/// The one migration of a script, which is left as it is, and why.
fn stays(script: &str, why: &str) {
    let found = found(script);
    let [migration] = &found[..] else {
        panic!("one is found in\n{script}\n{found:#?}")
    };
    assert_eq!(migration.rewritten, None, "{script}");
    assert!(
        migration.message.contains(why),
        "{}: {why}\n{script}",
        migration.message
    );
    assert!(migration.message.ends_with("left as it is"), "{}", migration.message);
}

#[test]
fn a_loop_that_fills_a_list_is_rewritten() {
    becomes(
        "let ids = [];\nfor name in [\"a\", \"b\"] {\n    let id = new_product().name(name).create();\n    ids.push(id);\n}\n",
        "let ids = [];\nfor name in [\"a\", \"b\"] {\n    let id = new_product().name(name).create_async();\n    ids.push(id);\n}\n\
         ids = await_all(ids);\n",
    );
    becomes(
        "let all = [];\nlet i = 0;\nwhile i < 3 {\n    i += 1;\n    all.push(new_product().retrieve(`prod_${i}`));\n}\n",
        "let all = [];\nlet i = 0;\nwhile i < 3 {\n    i += 1;\n    all.push(new_product().retrieve_async(`prod_${i}`));\n}\n\
         all = all.map(|id| await_object(id));\n",
    );
}

#[test]
fn a_loop_that_uses_no_result_gets_a_list() {
    becomes(
        "fn fill() {\n    for i in 0..3 {\n        new_customer()\n            .name(`no. ${i} )`) // )\n            .create();\n    }\n}\nfill();\n",
        "fn fill() {\n    let pending = [];\n    for i in 0..3 {\n        pending.push(new_customer()\n            .name(`no. ${i} )`) // )\n            \
         .create_async());\n    }\n    await_all(pending);\n}\nfill();\n",
    );
    becomes(
        "let pending = 1;\nfor i in 0..3 {\n    stripe::product::create(#{ name: \"a\" });\n}\nprint(pending);\n",
        "let pending = 1;\nlet pending_2 = [];\nfor i in 0..3 {\n    pending_2.push(stripe::product::create_async(#{ name: \"a\" }));\n}\n\
         await_all(pending_2);\nprint(pending);\n",
    );
    becomes(
        "for i in 0..3 {\n    let unused = new_product().name(\"a\").create();\n}\n",
        "let pending = [];\nfor i in 0..3 {\n    let unused = new_product().name(\"a\").create_async();\n    pending.push(unused);\n}\n\
         await_all(pending);\n",
    );
}

#[test]
fn a_result_that_is_used_before_the_loop_ends_is_named() {
    let used = |line: &str| {
        let script = format!(
            "let last = \"\";\nfor i in 0..3 {{\n    let id = new_product().name(last).create();\n    {line}\n}}\n"
        );
        stays(&script, "its result `id` is used in line 4 before the loop ends");
    };
    for line in [
        "last = id;",
        "print(id);",
        "print(`${id}`);",
        "if i > 1 { print(id); }",
        "last += || id;",
    ] {
        used(line);
    }
    let chain = "for i in 0..3 { let n = new_product().retrieve(\"prod_1\").name; }";
    stays(chain, "used at once");
    stays(
        "for i in 0..3 { print(new_product().name(\"a\").create()); }",
        "used at once",
    );
    stays(
        "for i in 0..3 {\n    if i > 1 {\n        new_product().name(\"a\").create();\n    }\n}",
        "only in some turns",
    );
    stays(
        "for i in 0..3 {\n    try { new_product().name(\"a\").create(); } catch { }\n}",
        "used at once",
    );
    stays(
        "while new_product().list().data.len() > 0 {\n    print(1);\n}",
        "used at once",
    );
}

#[test]
fn a_list_that_is_looked_into_or_not_empty_is_left_alone() {
    let with = |before: &str, within: &str| {
        format!(
            "{before}\nfor i in 0..3 {{\n    {within}\n    let id = new_product().name(\"a\").create();\n    ids.push(id);\n}}\n"
        )
    };
    stays(&with("let ids = [];", "print(ids.len());"), "looks into `ids`");
    stays(
        &with("let ids = [\"prod_1\"];", ""),
        "it is not `[]` just before the loop",
    );
    stays(
        &with("let ids = [];\nids.push(\"prod_1\");", ""),
        "it is not `[]` just before the loop",
    );
    stays(
        &with("let ids = [];\nfor j in 0..2 {", "").replacen("ids.push(id);\n}", "ids.push(id);\n}\n}", 1),
        "it is not `[]`",
    );
}

#[test]
fn a_result_that_may_be_left_out_of_its_list_is_left_alone() {
    for ends in ["continue", "break"] {
        stays(
            &format!(
                "let ids = [];\nfor n in 0..3 {{\n    let id = new_product().name(\"a\").create();\n    if n == 1 {{ {ends}; }}\n    \
                 ids.push(id);\n}}\n"
            ),
            "which may go on before `id` is in `ids`",
        );
    }
}

#[test]
fn a_loop_that_does_more_is_left_alone() {
    stays(
        "for i in 0..3 {\n    let a = new_product().name(\"a\").create();\n    new_product().name(\"b\").update(a);\n}",
        "so does `update` in line 3",
    );
    stays(
        "for i in 0..3 {\n    new_product().name(\"a\").create();\n    sleep(100);\n}",
        "also calls `sleep`",
    );
    stays(
        "fn f() { 1 }\nfor i in 0..3 {\n    new_product().name(\"a\").create();\n    f();\n}",
        "also calls `f`",
    );
    for call in ["g(i);", "g.call(i);"] {
        let script =
            format!("let g = |x| x;\nfor i in 0..3 {{\n    new_product().name(\"a\").create();\n    {call}\n}}");
        stays(&script, "also calls `");
    }
    stays(
        "fn f() {\n    for i in 0..3 {\n        new_product().name(\"a\").create();\n        return;\n    }\n}",
        "left in line 4 for good",
    );
    stays(
        "do {\n    new_product().name(\"a\").create();\n} while false;",
        "cannot be rewritten",
    );
    stays(
        "for i in 0..3 { new_product().name(\"a\").create(); }",
        "cannot be rewritten",
    );
}

#[test]
fn calls_in_a_row_are_started_together() {
    becomes(
        "let a = new_product().name(\"a\").create();\nlet b = new_customer()\n    .name(\"b\")\n    .create();    // ten\nprint(a + b);\n",
        "let a = new_product().name(\"a\").create_async();\nlet b = new_customer()\n    .name(\"b\")\n    .create_async();    // ten\n\
         let a = await_result(a);\nlet b = await_result(b);\nprint(a + b);\n",
    );
    becomes(
        "if true {\n    let a = stripe::product::retrieve(\"prod_1\");\n    let b = new_product().list();\n    print(a.name);\n}\n",
        "if true {\n    let a = stripe::product::retrieve_async(\"prod_1\");\n    let b = new_product().list_async();\n    \
         let a = await_object(a);\n    let b = await_object(b);\n    print(a.name);\n}\n",
    );
}

#[test]
fn calls_that_may_need_one_another_are_left_alone() {
    for second in [
        // Its result, its effect, what it is about.
        "let b = new_price().product(a).create();",
        "let b = new_product().list();",
        "let b = new_product().name(\"b\").update(\"prod_2\");",
        "let b = new_invoice_item().customer(customer).create();",
        "print(1);\nlet b = new_customer().create();",
    ] {
        let script =
            format!("let customer = \"cus_1\";\nlet a = new_invoice().customer(customer).create();\n{second}\n");
        assert_eq!(found(&script), [], "{script}");
    }
    let same_id = "let a = new_invoice_item().customer(\"cus_1\").create();\nlet b = new_invoice().customer(\"cus_1\").create();\n";
    assert_eq!(found(same_id), []);
    // What one calls itself, the other may mean.
    for pair in [
        "let p = new_product().id(\"mug\").name(\"Mug\").create();\nlet q = new_price().product(\"mug\").create();\n",
        "let q = new_price().product(\"mug\").create();\nlet p = stripe::product::create(#{ id: \"mug\", name: \"Mug\" });\n",
    ] {
        assert_eq!(found(pair), [], "{pair}");
    }
    // A function of the script may look for what was created just before.
    let calls = "fn newest() { new_product().list().data[0].id }\n\
                 let a = new_product().name(\"a\").create();\nlet b = new_price().product(newest()).create();\n";
    assert_eq!(found(calls), []);
    let same_name = "let a = new_product().name(\"a\").create();\nlet a = new_customer().create();\n";
    assert_eq!(found(same_name), []);
    assert_eq!(
        found("let a = new_product().name(\"a\").create(); let b = new_customer().create(); print(a);\n"),
        []
    );
}

#[test]
fn more_calls_in_a_row_than_may_be_pending_are_left_as_they_are() {
    let calls = |count: usize| {
        let call = |i| format!("let p{i} = new_product().name(\"a\").create();\n");
        (0..count).map(call).collect::<String>()
    };
    let most = found(&calls(1000));
    assert!(most[0].rewritten.is_some(), "{}", most[0].message);
    stays(&calls(1001), "1000 requests pending: send them with `each`");
}

#[test]
fn what_does_not_wait_is_not_found() {
    for script in [
        "for i in 0..3 { new_product().name(\"a\").create_async(); }",
        "for i in 0..3 { new_payment_intent().confirm(true).create_async(); }",
        "for p in stripe::product::list_all() { print(p.name); }",
        "let a = new_product(); let b = new_customer(); a.name(\"x\");",
    ] {
        assert_eq!(found(script), [], "{script}");
    }
    assert_eq!(ENGINE.with(|engine| migrations(engine, "for (")), []);
}

/// Lines of which scripts are put together.
const LINES: [&str; 14] = [
    "for i in 0..3 {",
    "while true {",
    "if x > 1 {",
    "}",
    "}",
    "let ids = [];",
    "let a = new_product().name(`é ${x} \"`).create();",
    "\tlet ü = stripe::product::retrieve(\"prod_1\"); // \"(",
    "ids.push(new_customer().create());",
    "new_product()\n  .name('x')\n  .create();",
    "ids.push(a);",
    "/* ) */ stripe::raw(\"GET\", `/v1/products`);",
    "print(a); let b = new_price().create();",
    "return a;",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_is_found_is_within_the_script_and_what_is_rewritten_parses(
        lines in proptest::collection::vec(0..LINES.len(), 1..12),
        end in proptest::sample::select(vec!["\n", "\r\n", " "]),
    ) {
        let mut script: Vec<&str> = lines.iter().map(|line| LINES[*line]).collect();
        let opened = script.iter().filter(|line| line.ends_with('{')).count();
        let closed = script.iter().filter(|line| **line == "}").count();
        script.extend(std::iter::repeat_n("}", opened.saturating_sub(closed)));
        let script = script.join(end);
        for migration in ENGINE.with(|engine| migrations(engine, &script)) {
            let line = script.lines().nth(migration.line - 1).unwrap_or_default();
            proptest::prop_assert!(migration.column <= line.chars().count(), "{migration:?}");
            if let Some(rewritten) = migration.rewritten {
                let parses = ENGINE.with(|engine| engine.compile(&rewritten.script).is_ok());
                proptest::prop_assert!(parses, "{}", rewritten.script);
                proptest::prop_assert!(rewritten.script.contains("_async("), "{}", rewritten.script);
            }
        }
    }
}
