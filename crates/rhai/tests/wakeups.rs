//! How long a script takes to run on after what it waited for has come.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use inflight_core::testing::ManualTransport;
use inflight_core::{Method, Registry, Request};
use inflight_rhai::{FiberEngine, InflightPackage, Locals, RunOptions, WakeUps};
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

#[test]
fn the_time_from_an_ending_to_the_resumption_is_told_once() {
    let mut rig = Rig::new();
    let mut script = std::pin::pin!(rig.engine.eval_async_with::<i64>(
        rig.options.clone(),
        "await_result(request()); await_result(request()); 7"
    ));
    let mut cx = Context::from_waker(Waker::noop());
    for told in 0..2 {
        assert!(script.as_mut().poll(&mut cx).is_pending());
        assert_eq!(rig.told().len(), told);
        // Looked at before anything has come: no wake-up.
        assert!(script.as_mut().poll(&mut cx).is_pending());
        assert_eq!(rig.told().len(), told);
        rig.transport.next().succeed("x");
        let ended = Instant::now();
        while ended.elapsed() < Duration::from_millis(2) {
            std::thread::yield_now();
        }
    }
    assert!(matches!(script.as_mut().poll(&mut cx), Poll::Ready(Ok(7))));
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
    let mut script = std::pin::pin!(rig.engine.eval_async_with::<i64>(rig.options.clone(), text));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(script.as_mut().poll(&mut cx).is_pending());
    rig.transport.next().succeed("a");
    rig.transport.next().succeed("b");
    assert!(script.as_mut().poll(&mut cx).is_ready());
    assert_eq!(rig.told().len(), 1);
}

#[test]
fn tasks_are_told_of_and_a_listener_that_panics_stops_nothing() {
    let mut rig = Rig::new();
    let text = "let t = start(|| await_result(request())); await_result(request()); join(t); 7";
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let answering = async {
        for _ in 0..2 {
            while rig.transport.try_next().map(|sent| sent.succeed("x")).is_none() {
                tokio::task::yield_now().await;
            }
        }
    };
    let script = rig.engine.eval_async_with::<i64>(rig.options.clone(), text);
    let (given, ()) = runtime.block_on(async { tokio::join!(script, answering) });
    assert_eq!(given.unwrap(), 7);
    assert!((2..=3).contains(&rig.told.lock().unwrap().len()), "{:?}", rig.told);

    let locals = Locals::new();
    locals.set(WakeUps::new(|_| panic!("a listener's own")));
    let pausing = rig
        .engine
        .eval_async_with::<i64>(RunOptions::new(locals), "sleep(0.001); 7");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(pausing).unwrap(), 7);
}
