//! How long a script takes to run on after what it waited for has come.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use inflight_core::testing::ManualTransport;
use inflight_core::{Method, Registry, Request};
use inflight_rhai::{Fiber, FiberEngine, InflightPackage, Locals, RunOptions, WakeUps};
use rhai::packages::Package;
use rhai::{EvalAltResult, ImmutableString, NativeCallContext};

struct Rig {
    engine: FiberEngine,
    options: RunOptions,
    transport: ManualTransport,
    told: Arc<Mutex<Vec<Duration>>>,
}

impl Rig {
    fn new() -> Self {
        let mut engine = rhai::Engine::new();
        InflightPackage::new().register_into_engine(&mut engine);
        engine.register_fn(
            "request",
            |ctx: NativeCallContext| -> Result<ImmutableString, Box<EvalAltResult>> {
                inflight_rhai::submit_request(&ctx, Request::new(Method::Post, "/v1/things"))
            },
        );
        let (registry, queue) = Registry::new();
        let told = Arc::new(Mutex::new(Vec::new()));
        let locals = Locals::for_session(registry.session());
        let latencies = Arc::clone(&told);
        locals.set(WakeUps::new(move |latency| latencies.lock().unwrap().push(latency)));
        Self {
            engine: FiberEngine::new(engine),
            options: RunOptions::new(locals),
            transport: ManualTransport::new(queue),
            told,
        }
    }

    fn told(&self) -> Vec<Duration> {
        self.told.lock().unwrap().clone()
    }
}

/// Notes that it was used.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs the script until it has ended or waits for somebody else: one that is only preempted wakes itself.
fn run<T>(script: &mut Fiber<T>) -> Option<T> {
    loop {
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        match Pin::new(&mut *script).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(given) => return Some(given.unwrap()),
            Poll::Pending if bell.0.load(Ordering::SeqCst) => {}
            Poll::Pending => return None,
        }
    }
}

#[test]
fn the_time_from_an_ending_to_the_resumption_is_told_once() {
    let mut rig = Rig::new();
    let text = "await_result(request()); await_result(request()); 7";
    let mut script = rig.engine.eval_async_with::<i64>(rig.options.clone(), text);
    for told in 0..2 {
        assert_eq!(run(&mut script), None);
        assert_eq!(rig.told().len(), told);
        // Looked at before anything has come: no wake-up.
        assert_eq!(run(&mut script), None);
        assert_eq!(rig.told().len(), told);
        rig.transport.next().succeed("x");
        let ended = Instant::now();
        while ended.elapsed() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
    }
    assert_eq!(run(&mut script), Some(7));
    let told = rig.told();
    assert_eq!(told.len(), 2);
    assert!(
        told.iter().all(|latency| *latency >= Duration::from_millis(2)),
        "{told:?}"
    );
}

#[test]
fn what_ended_before_it_was_waited_for_is_no_wake_up() {
    let mut rig = Rig::new();
    let text = "let a = request(); let b = request(); await_result(b); await_result(a); 7";
    let mut script = rig.engine.eval_async_with::<i64>(rig.options.clone(), text);
    assert_eq!(run(&mut script), None);
    rig.transport.next().succeed("a");
    rig.transport.next().succeed("b");
    assert_eq!(run(&mut script), Some(7));
    assert_eq!(rig.told().len(), 1);
}

#[test]
fn tasks_are_told_of_and_a_listener_that_panics_stops_nothing() {
    let rig = Rig::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let text = "let t = start(|| sleep(0.001)); sleep(0.001); join(t); 7";
    let script = rig.engine.eval_async_with::<i64>(rig.options.clone(), text);
    assert_eq!(runtime.block_on(script).unwrap(), 7);
    let told = rig.told();
    assert!((2..=3).contains(&told.len()), "{told:?}");

    let locals = Locals::new();
    locals.set(WakeUps::new(|_| panic!("a listener's own")));
    let pausing = rig
        .engine
        .eval_async_with::<i64>(RunOptions::new(locals), "sleep(0.001); 7");
    assert_eq!(runtime.block_on(pausing).unwrap(), 7);
}
