//! How many scripts live at once, in a process of its own: the limit is one for all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use inflight_rhai::{
    FiberEngine, FiberPool, InflightPackage, RunOptions, fiber_counts, max_live_fibers, register_async_fn,
    set_max_live_fibers,
};
use rhai::packages::Package;
use rhai::{Engine, EvalAltResult, INT};
use tokio::sync::Semaphore;
use tokio::task::LocalSet;

const LIVE: usize = 3;

/// Scripts that call `work(n)` are held until the test lets one go on.
struct Gate {
    begun: Arc<Mutex<Vec<INT>>>,
    go_on: Arc<Semaphore>,
}

fn engine() -> (FiberEngine, Gate) {
    let gate = Gate {
        begun: Arc::default(),
        go_on: Arc::new(Semaphore::new(0)),
    };
    let (begun, go_on) = (Arc::clone(&gate.begun), Arc::clone(&gate.go_on));
    let mut engine = Engine::new();
    register_async_fn(&mut engine, "work", move |number: INT| {
        begun.lock().unwrap().push(number);
        let go_on = Arc::clone(&go_on);
        async move {
            go_on.acquire().await.map_err(|error| error.to_string())?.forget();
            Ok::<_, Box<EvalAltResult>>(number)
        }
    });
    InflightPackage::new().register_into_engine(&mut engine);
    (FiberEngine::new(engine), gate)
}

async fn turns() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// The one test of this process that uses a tight limit; what needs many fibers has a process of its own.
#[test]
fn scripts_beyond_the_limit_wait_in_order() {
    assert!(set_max_live_fibers(LIVE));
    assert_eq!(max_live_fibers(), LIVE);
    assert!(!set_max_live_fibers(LIVE + 1), "the first setting counts");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (engine, gate) = engine();
    LocalSet::new().block_on(&runtime, async {
        let scripts: Vec<_> = (0..8)
            .map(|n| tokio::task::spawn_local(engine.eval_async::<INT>(&format!("work({n})"))))
            .collect();
        turns().await;
        assert_eq!(*gate.begun.lock().unwrap(), [0, 1, 2]);
        let counts = fiber_counts();
        assert_eq!((counts.live, counts.queued), (LIVE, 5));
        gate.go_on.add_permits(2);
        turns().await;
        assert_eq!(*gate.begun.lock().unwrap(), [0, 1, 2, 3, 4]);
        // One that waits for its place and one that has a place are stopped; the line moves up.
        scripts[5].abort();
        scripts[2].abort();
        turns().await;
        assert_eq!((fiber_counts().live, fiber_counts().queued), (LIVE, 1));
        assert_eq!(*gate.begun.lock().unwrap(), [0, 1, 2, 3, 4, 6]);
        gate.go_on.add_permits(8);
        for (n, script) in scripts.into_iter().enumerate() {
            if n != 2 && n != 5 {
                assert_eq!(script.await.unwrap().unwrap(), n as INT);
            }
        }
        assert_eq!((fiber_counts().live, fiber_counts().queued), (0, 0));
    });

    // A script that lives starts tasks also while others wait for a place.
    LocalSet::new().block_on(&runtime, async {
        let text = "let tasks = []; work(1); for i in 0..5 { tasks.push(start(|| work(2))); } let sum = 0; \
                    for task in tasks { sum += join(task); } sum";
        let scripts: Vec<_> = (0..LIVE + 2)
            .map(|_| tokio::task::spawn_local(engine.eval_async::<INT>(text)))
            .collect();
        turns().await;
        gate.go_on.add_permits(6 * (LIVE + 2));
        for script in scripts {
            assert_eq!(script.await.unwrap().unwrap(), 10);
        }
    });

    // From anywhere, on a pool: each is stopped by its handle, waiting or computing.
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ran);
    let pool = FiberPool::new(2, move || {
        let mut engine = Engine::new();
        let ran = Arc::clone(&counted);
        engine.register_fn("ran", move || {
            ran.fetch_add(1, Ordering::SeqCst);
        });
        register_async_fn(&mut engine, "forever", || {
            std::future::pending::<Result<(), Box<EvalAltResult>>>()
        });
        FiberEngine::new(engine)
    });
    let computing = pool.start("ran(); loop { }", RunOptions::default(), |_, _| ());
    let waiting = pool.start("ran(); forever()", RunOptions::default(), |_, _| ());
    while ran.load(Ordering::SeqCst) < 2 {
        std::thread::yield_now();
    }
    let before = fiber_counts().preemptions;
    while fiber_counts().preemptions == before {
        std::thread::yield_now();
    }
    for script in [computing, waiting] {
        script.cancel();
        let error = runtime.block_on(script).unwrap_err();
        assert_eq!(error.kind(), inflight_rhai::ScriptErrorKind::Cancelled);
    }
    let after = pool.start("40 + 2", RunOptions::default(), |_, value| value.as_int().unwrap());
    assert_eq!(runtime.block_on(after).unwrap(), 42);
}
