//! Nothing leaks: fibers that are started and dropped, at every stage of their lives, leave no memory behind, and those that live for
//! long do not grow.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inflight_rhai::{Fiber, FiberEngine, InflightPackage, Locals, ModuleFolder, RunOptions};
use rhai::Engine;
use rhai::packages::Package;

/// Counts what the whole process holds.
struct Counting;

static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: passes everything on to the system's allocator unchanged, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the same contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one test holds, another one would see.
static ALONE: Mutex<()> = Mutex::new(());

/// Pages that this process has in memory; 0 where the operating system does not say.
fn resident_pages() -> usize {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

#[test]
fn a_hundred_thousand_fibers_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    let engine = FiberEngine::new(engine);
    let waits = engine
        .compile("let a = [1, 2, 3]; a.map(|x| { sleep(100000); x })")
        .unwrap();
    let tasks = engine
        .compile("let t = start(|| sleep(100000)); start(|| 1); join(t)")
        .unwrap();
    let ends = engine.compile("let m = #{ a: [1, 2, 3] }; m.a.len()").unwrap();
    let throws = engine.compile("throw #{ why: [1, 2] }").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let round = |fibers: usize| {
        runtime.block_on(async {
            for i in 0..fibers {
                let script = [&waits, &tasks, &ends, &throws][i % 4];
                let fiber: Fiber<rhai::Dynamic> = script.run(Default::default());
                if i % 5 == 0 {
                    // Never polled.
                    continue;
                }
                let _ = tokio::time::timeout(Duration::ZERO, fiber).await;
            }
        });
    };
    round(10_000);
    let (held, resident) = (HELD.load(Ordering::Relaxed), resident_pages());
    round(90_000);
    let (held_after, resident_after) = (HELD.load(Ordering::Relaxed), resident_pages());
    // A leak of one byte for each fiber would show.
    assert!(held_after - held < 90_000, "{} bytes more are held", held_after - held);
    assert!(
        resident_after < resident + 2_000,
        "{resident} pages grew to {resident_after}"
    );
}

/// A main coroutine that waits for a task or for a module is polled whenever any other of the script's coroutines is woken.
#[test]
fn who_waits_for_long_is_noted_once() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut engine = Engine::new();
    InflightPackage::new().register_into_engine(&mut engine);
    engine.register_fn("held", || HELD.load(Ordering::Relaxed) as i64);
    let engine = FiberEngine::new(engine);
    let folder = tempfile::tempdir().unwrap();
    // Once around before, so that all tables have grown.
    let busy = "for i in 0..100 { join(start(|| 0)); } let before = held(); for i in 0..20000 { join(start(|| 0)); }";
    let module = format!("{busy} export const GREW = held() - before;");
    std::fs::write(folder.path().join("busy.rhai"), module).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    for script in [
        format!("join(start(|| {{ {busy} held() - before }}))"),
        "let t = start(|| { import `busy` as b; b::GREW }); sleep(1); import `busy` as b; b::GREW".to_owned(),
    ] {
        let locals = Locals::new();
        locals.set(ModuleFolder::new(folder.path()));
        let script = engine.compile(&script).unwrap();
        let grew: i64 = runtime.block_on(script.run(RunOptions::new(locals))).unwrap();
        // A waker takes 16 bytes.
        assert!(grew < 100_000, "{grew} bytes");
    }
}
