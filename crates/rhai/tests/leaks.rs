//! Nothing leaks: fibers that are started and dropped, at every stage of their lives, leave no memory behind.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::Duration;

use inflight_rhai::{Fiber, FiberEngine, InflightPackage};
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

/// Pages that this process has in memory; 0 where the operating system does not say.
fn resident_pages() -> usize {
    std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|text| text.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

#[test]
fn a_hundred_thousand_fibers_leave_nothing_behind() {
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
