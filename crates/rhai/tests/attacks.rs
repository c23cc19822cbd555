//! What a script may try: each attack runs in a process of its own, ends as a script error that names the limit, and leaves the
//! process well enough to run another script.

use std::process::{Command, Stdio};
use std::time::Duration;

use inflight_rhai::{FiberEngine, InflightPackage, Limits, RunOptions, STACK_BYTES_PER_HEAP_BYTE, ScriptAllocator};
use rhai::packages::Package;
use rhai::{Dynamic, Engine};

#[global_allocator]
static ALLOCATOR: ScriptAllocator = ScriptAllocator::system();

/// Smaller than the default, so that attacks reach it soon; the stack is smaller in proportion.
const HEAP: usize = 16 * 1024 * 1024;

/// Levels that are enough to overflow a stack of 2 MiB, which is what a host's thread has.
const MOVED: &str = if cfg!(debug_assertions) { "5000" } else { "14000" };

const ATTACK: &str = "INFLIGHT_ATTACK";

/// A deep array, map or closure in `v`, as deep as the heap lets it be; then `use_it`, and its end.
/// (The operations are limited too: `[v]` copies `v`, so that arrays and maps take time in the square of their depth; closures share what they capture.)
const DEEP_ARRAY: &str = "let v = []; for i in 0..1500 { v = [v]; }";
const DEEP_MAP: &str = "let v = #{}; for i in 0..1000 { v = #{ a: v }; }";
const DEEP_CLOSURE: &str = "let v = || 1; for i in 0..30000 { let g = v; v = || g; }";

/// A script, and a part of the error that it ends with; none where it ends well.
const ATTACKS: &[(&str, &str, &str)] = &[
    (
        "task_throws",
        "start(|| { let s = [[]]; for i in 0..MOVED { s.push([s.pop()]); } throw s.pop(); }); 1",
        "",
    ),
    (
        "task_throws_map",
        "start(|| { let s = [[]]; for i in 0..MOVED { s.push(#{ a: s.pop() }); } throw s.pop(); }); 1",
        "",
    ),
    (
        "task_gives",
        "let t = start(|| { let s = [[]]; for i in 0..MOVED { s.push([s.pop()]); } s.pop() }); join(t); 1",
        "",
    ),
    (
        "task_gives_unjoined",
        "start(|| { let s = [[]]; for i in 0..MOVED { s.push([s.pop()]); } s.pop() }); 1",
        "",
    ),
    (
        "task_throws_joined",
        "let t = start(|| { let s = [[]]; for i in 0..MOVED { s.push([s.pop()]); } throw s.pop() }); join(t)",
        "…",
    ),
    (
        "task_never_runs",
        "DEEP_CLOSURE start(v); v = (); let s = []; s.pad(100000000000, 1);",
        "heap limit",
    ),
    (
        "task_is_cut_off",
        "DEEP_CLOSURE start(|| { v.call(); sleep(100000) }); sleep(1); let s = []; s.pad(100000000000, 1);",
        "heap limit",
    ),
    (
        "deep_by_moving",
        "/* operations */ let s = [[]]; loop { s.push([s.pop()]); }",
        "operations",
    ),
    (
        "deep_by_moving_returned",
        "let s = [[]]; for i in 0..MOVED { s.push([s.pop()]); } s.pop()",
        "",
    ),
    (
        "deep_by_moving_thrown",
        "let s = [[]]; for i in 0..MOVED { s.push([s.pop()]); } throw s.pop()",
        "…",
    ),
    (
        "pad_with_nested",
        "let b = []; b.pad(100000, 1); let a = []; a.pad(100000, #{ x: [b] });",
        "heap limit",
    ),
    (
        "split_limited",
        "let s = `x`; s.pad(2000000, ','); s.split(`,`, 1000000);",
        "heap limit",
    ),
    (
        "split_reversed",
        "let s = `x`; s.pad(2000000, ','); s.split_rev(`,`);",
        "heap limit",
    ),
    ("blob_to_array", "blob(10000000).to_array()", "heap limit"),
    ("double_string", "let a = `x`; loop { a += a; }", "heap limit"),
    ("double_array", "let a = [1]; loop { a += a; }", "heap limit"),
    ("double_nested", "let a = [1]; loop { a = [a, a]; }", "heap limit"),
    (
        "double_map",
        "let m = #{}; loop { m[`k${m.len()}`] = m; }",
        "heap limit",
    ),
    ("push_forever", "let a = []; loop { a.push(blob(1000)); }", "heap limit"),
    ("blob", "let b = blob(100000000000000);", "heap limit"),
    ("blob_value", "let b = blob(100000000000000, 7);", "heap limit"),
    ("pad_array", "let a = []; a.pad(1000000000000, 1);", "heap limit"),
    (
        "pad_array_of_arrays",
        "let b = []; b.pad(100000, 1); let a = []; a.pad(100000, b);",
        "heap limit",
    ),
    ("pad_string", "let s = ``; s.pad(1000000000000, 'x');", "heap limit"),
    ("pad_text", "let s = ``; s.pad(1000000000000, `xyz`);", "heap limit"),
    ("pad_blob", "let b = blob(); b.pad(1000000000000, 1);", "heap limit"),
    (
        "replace",
        "let s = `x`; s.pad(2000000, 'x'); s.replace(`x`, s);",
        "heap limit",
    ),
    (
        "replace_char",
        "let s = `x`; s.pad(2000000, 'x'); s.replace('x', s);",
        "heap limit",
    ),
    ("split", "let s = `x`; s.pad(2000000, 'x'); s.split(`x`);", "heap limit"),
    ("chars", "let s = `x`; s.pad(2000000, 'x'); s.to_chars();", "heap limit"),
    (
        "print_shared_text",
        "let s = `x`; s.pad(2000000, 'x'); let a = []; a.pad(1000, s); print(a);",
        "heap limit",
    ),
    (
        "interpolate_shared_text",
        "let s = `x`; s.pad(2000000, 'x'); let a = []; a.pad(1000, s); `${a}`; 1",
        "heap limit",
    ),
    // The variable's copy is what goes beyond the limit: the script is stopped in the call that turns it into text.
    (
        "interpolate_at_the_limit",
        "let s = `x`; s.pad(1000000, 'x'); let a = []; a.pad(200000, s); let b = blob(HEAP - 5500000); `${a}`; 1",
        "heap limit",
    ),
    (
        "add_to_text_at_the_limit",
        "let s = `x`; s.pad(1000000, 'x'); let a = []; a.pad(200000, s); let b = blob(HEAP - 5500000); `x` + a; 1",
        "heap limit",
    ),
    (
        "parse_json_of_many",
        "let s = `[`; s.pad(4000000, `{\"a\":0},`); s += `0]`; parse_json(s); 1",
        "heap limit",
    ),
    (
        "parse_json_evaluates_nothing",
        "parse_json(`{\"a\": loop {}}`)",
        "not JSON",
    ),
    (
        "json_shared_text",
        "let s = `x`; s.pad(2000000, 'x'); let m = #{ a: [] }; m.a.pad(1000, s); m.to_json();",
        "heap limit",
    ),
    (
        "deep_array_until_full",
        "/* operations */ let v = []; loop { v = [v]; }",
        "operations",
    ),
    (
        "deep_map_until_full",
        "/* operations */ let v = #{}; loop { v = #{ a: v }; }",
        "operations",
    ),
    (
        "deep_closure_until_full",
        "let v = || 1; loop { let g = v; v = || g; }",
        "heap limit",
    ),
    ("drop_array", "DEEP_ARRAY 1", ""),
    ("clone_array", "DEEP_ARRAY { let w = v; } 1", ""),
    ("print_array", "DEEP_ARRAY print(v); 1", ""),
    ("interpolate_array", "DEEP_ARRAY `${v}`.len()", ""),
    ("debug_array", "DEEP_ARRAY debug(v); 1", ""),
    (
        "compare_array",
        "let v = []; for i in 0..1500 { v = [v]; } let w = v; v == w",
        "deeper than 128",
    ),
    (
        "contains_array",
        "let v = []; for i in 0..1500 { v = [v]; } let w = v; w in [v]",
        "deeper than 128",
    ),
    ("return_array", "DEEP_ARRAY v", ""),
    ("throw_array", "DEEP_ARRAY throw v", "…"),
    (
        "throw_and_catch_array",
        "DEEP_ARRAY try { throw v } catch (e) { 1 }",
        "",
    ),
    (
        "switch_array",
        "let v = []; for i in 0..1500 { v = [v]; } switch v { 1 => 2, _ => 3 }",
        "",
    ),
    ("json_map", "DEEP_MAP v.to_json()", "deeper than 128"),
    ("print_map", "DEEP_MAP print(v); 1", ""),
    ("throw_map", "DEEP_MAP throw v", "…"),
    ("return_map", "DEEP_MAP v", ""),
    ("switch_map", "DEEP_MAP switch v { 1 => 2, _ => 3 }", ""),
    ("drop_closure", "DEEP_CLOSURE 1", ""),
    ("return_closure", "DEEP_CLOSURE v", ""),
    ("throw_closure", "DEEP_CLOSURE throw v", "Fn"),
    ("recursion", "fn f(x) { f(x + 1) + 1 } f(0)", "which is the limit"),
    (
        "recursion_caught",
        "fn f(x) { f(x + 1) + 1 } try { f(0) } catch { 1 }",
        "which is the limit",
    ),
    ("recursion_in_map", "fn f(x) { [x].map(|y| f(y + 1)) } f(0)", "limit"),
    (
        "recursion_in_sort",
        "fn f(x) { let a = [2, 1]; a.sort(|p, q| { f(x); 0 }); } f(0)",
        "limit",
    ),
    ("recursion_by_eval", "fn f() { eval(`f()`) } f()", "limit"),
    (
        "self_containing",
        "let a = []; let f = || a; a.push(f); print(a); a == a; 1",
        "in use",
    ),
];

fn engine() -> FiberEngine {
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    FiberEngine::new(engine)
}

/// Runs one attack and then a harmless script on the same thread, and prints how the attack ended.
fn attack(script: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let engine = engine();
    let limits = Limits {
        wall_time: Some(Duration::from_secs(600)),
        operations: script.contains("operations").then_some(3_000),
        heap_bytes: Some(HEAP),
        stack_bytes: HEAP * STACK_BYTES_PER_HEAP_BYTE,
    };
    let options = RunOptions::default().limits(limits);
    let compiled = engine.compile(script).expect("attacks parse");
    let fiber = compiled.run_then(options, rhai::Scope::new(), |engine, value: Dynamic| {
        // Made into text where the script's own stack has room to take it apart.
        Ok(inflight_rhai::value_text(engine, &value)
            .chars()
            .take(20)
            .collect::<String>())
    });
    match runtime.block_on(fiber) {
        Ok(value) => println!("ended well: {value}"),
        Err(error) => println!("ended with: {}", error.message().chars().take(1000).collect::<String>()),
    }
    let after = runtime.block_on(engine.eval_async::<i64>("let a = [1, 2, 3]; a.len() + 39"));
    assert_eq!(after.unwrap(), 42);
}

#[test]
fn every_attack_ends_as_a_script_error() {
    if let Ok(name) = std::env::var(ATTACK) {
        let (_, script, _) = ATTACKS.iter().find(|(n, ..)| *n == name).expect("a known attack");
        let script = script
            .replace("MOVED", MOVED)
            .replace("HEAP", &HEAP.to_string())
            .replace("DEEP_ARRAY", DEEP_ARRAY)
            .replace("DEEP_MAP", DEEP_MAP)
            .replace("DEEP_CLOSURE", DEEP_CLOSURE);
        return attack(&script);
    }
    let mut failures = Vec::new();
    for &(name, _, expected) in ATTACKS {
        let begun = std::time::Instant::now();
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "every_attack_ends_as_a_script_error", "--nocapture"])
            .env(ATTACK, name)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        println!("{name}: {:?}", begun.elapsed());
        let text = String::from_utf8_lossy(&output.stdout);
        // On a machine with one processor the test's name is on the same line.
        let ending = text.lines().find_map(|line| line.find("ended w").map(|at| &line[at..]));
        let ending = ending.unwrap_or("did not end");
        let right = if expected.is_empty() {
            ending.starts_with("ended well")
        } else {
            ending.starts_with("ended with") && ending.contains(expected)
        };
        if !output.status.success() || !right {
            let ending: String = ending.chars().take(200).collect();
            failures.push(format!("{name}: {}, {ending}, expected {expected:?}", output.status));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
