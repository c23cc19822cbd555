//! Threads that run scripts: one engine each, a script never moves between them.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use futures_util::FutureExt;
use futures_util::future::{AbortHandle, Abortable, Aborted};
use rhai::{Dynamic, Engine, Scope};
use tokio::runtime::LocalOptions;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::engine::{FiberEngine, RunOptions};
use crate::error::ScriptError;
use crate::fiber::panicked;

/// Starts a task on the thread that it was given to.
type Start = dyn FnOnce(&Tasks) + Send;

type MakeEngine = dyn Fn() -> FiberEngine + Send + Sync;

/// A fixed number of threads, each with an engine of its own, on which scripts are started from anywhere. With the last clone its
/// threads end, and what still runs on them is stopped.
#[derive(Clone)]
pub struct FiberPool {
    threads: Arc<[Thread]>,
    make_engine: Arc<MakeEngine>,
}

/// Many tasks that are started in a row cost one wake-up of the thread: the channel wakes only who waits for it.
struct Thread {
    start: mpsc::UnboundedSender<Box<Start>>,
    /// How many tasks have been given to it and have not ended.
    load: Arc<AtomicUsize>,
}

impl FiberPool {
    /// Starts this many threads, at least one. `make_engine` runs once on each that is used.
    ///
    /// # Panics
    /// Where the operating system gives no thread.
    #[must_use]
    pub fn new(threads: usize, make_engine: impl Fn() -> FiberEngine + Send + Sync + 'static) -> Self {
        Self {
            threads: (0..threads.max(1)).map(|_| Thread::spawn()).collect(),
            make_engine: Arc::new(make_engine),
        }
    }

    /// As [`new`](Self::new), where the first of the threads is the caller's: the second value gives what has to run there, on a
    /// runtime that lets it use `tokio::task::spawn_local`. It ends after the last clone of the pool, when what still ran has been
    /// stopped.
    ///
    /// ```
    /// use inflight_rhai::{FiberEngine, FiberPool, RunOptions};
    ///
    /// let (pool, main) = FiberPool::with_host_thread(1, || FiberEngine::new(rhai::Engine::new()));
    /// let script = pool.start("21 * 2", RunOptions::default(), |_, value| value.as_int().unwrap_or(0));
    /// drop(pool);
    /// let runtime = tokio::runtime::LocalRuntime::new()?;
    /// let answer = runtime.block_on(async {
    ///     let main = tokio::task::spawn_local(main());
    ///     let answer = script.await;
    ///     main.await.expect("it does not panic");
    ///     answer
    /// });
    /// # let _ = answer;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// Where the operating system gives no thread.
    pub fn with_host_thread(
        threads: usize,
        make_engine: impl Fn() -> FiberEngine + Send + Sync + 'static,
    ) -> (Self, impl FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send) {
        let (thread, started) = Thread::new();
        let further = (1..threads).map(|_| Thread::spawn());
        let pool = Self {
            threads: std::iter::once(thread).chain(further).collect(),
            make_engine: Arc::new(make_engine),
        };
        (pool, move || Box::pin(run(started)) as _)
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Starts a script on the thread that has the fewest, from anywhere. `then` turns its value into something that can leave the
    /// thread, on the script's own stack.
    ///
    /// ```
    /// use inflight_rhai::{FiberEngine, FiberPool, RunOptions};
    ///
    /// let pool = FiberPool::new(2, || FiberEngine::new(rhai::Engine::new()));
    /// let script = pool.start("21 * 2", RunOptions::default(), |_, value| value.as_int().unwrap_or(0));
    /// let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// assert_eq!(runtime.block_on(script)?, 42);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn start<T: Send + 'static>(
        &self,
        text: &str,
        options: RunOptions,
        then: impl FnOnce(&Engine, Dynamic) -> T + Send + 'static,
    ) -> ScriptHandle<T> {
        let text = text.to_owned();
        ScriptHandle(self.spawn(move |engine| async move {
            let script = engine.compile(&text)?;
            script
                .run_then(options, Scope::new(), |engine, value| Ok(then(engine, value)))
                .await
        }))
    }

    /// Runs a task on the thread that has the fewest, with that thread's engine.
    pub fn spawn<Fut>(&self, task: impl FnOnce(FiberEngine) -> Fut + Send + 'static) -> PoolTask<Fut::Output>
    where
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let load = |thread: &usize| self.threads[*thread].load.load(Ordering::Relaxed);
        let idlest = (0..self.threads.len()).min_by_key(load).unwrap_or(0);
        self.spawn_on(idlest, task)
    }

    /// Runs a task on this thread of the pool, counted from 0, with that thread's engine.
    ///
    /// # Panics
    /// Where there is no such thread.
    pub fn spawn_on<Fut>(
        &self,
        thread: usize,
        task: impl FnOnce(FiberEngine) -> Fut + Send + 'static,
    ) -> PoolTask<Fut::Output>
    where
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let thread = &self.threads[thread];
        let make_engine = Arc::clone(&self.make_engine);
        let running = Running::on(thread);
        let (end, result) = oneshot::channel();
        let (abort, stop) = AbortHandle::new_pair();
        let handle = PoolTask {
            result,
            abort,
            running: Arc::downgrade(&running),
            stops_when_dropped: false,
        };
        let start = move |tasks: &Tasks| {
            let engine = Rc::clone(&tasks.engine);
            let task = async move { task(the_engine(&engine, &*make_engine)).await };
            let running_here = tasks.enter(stop.handle());
            tokio::task::spawn_local(async move {
                let ended = AssertUnwindSafe(Abortable::new(task, stop)).catch_unwind().await;
                // Nobody may want it any more.
                let _ = end.send(match ended {
                    Ok(Ok(value)) => Ok(value),
                    Ok(Err(Aborted)) => Err(ScriptError::cancelled()),
                    Err(panic) => Err(panicked(&*panic)),
                });
                drop(running);
                drop(running_here);
            });
        };
        // A thread that has ended, which only a panic of tokio's own would explain, drops the task: its handle says so.
        let _ = thread.start.send(Box::new(start));
        handle
    }
}

impl Thread {
    fn new() -> (Self, mpsc::UnboundedReceiver<Box<Start>>) {
        let (start, started) = mpsc::unbounded_channel();
        let thread = Self {
            start,
            load: Arc::default(),
        };
        (thread, started)
    }

    fn spawn() -> Self {
        let (thread, started) = Self::new();
        std::thread::Builder::new()
            .name("inflight-scripts".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(LocalOptions::default())
                    .expect("what a runtime needs of the operating system");
                runtime.block_on(run(started));
            })
            .expect("a thread of the operating system");
        thread
    }
}

/// A pool's thread, until the pool is dropped. What still runs then is stopped.
async fn run(mut started: mpsc::UnboundedReceiver<Box<Start>>) {
    let tasks = Tasks::default();
    while let Some(start) = started.recv().await {
        start(&tasks);
    }
    tasks.stop().await;
}

/// What runs on a thread, and goes with it.
#[derive(Default)]
struct Tasks {
    /// The thread's engine, as soon as a task has needed it.
    engine: Rc<OnceCell<FiberEngine>>,
    known: Rc<RefCell<HashMap<u64, AbortHandle>>>,
    last: Cell<u64>,
    all_ended: Rc<Notify>,
}

impl Tasks {
    fn enter(&self, stop: AbortHandle) -> Entered {
        let number = self.last.get() + 1;
        self.last.set(number);
        self.known.borrow_mut().insert(number, stop);
        Entered {
            number,
            known: Rc::clone(&self.known),
            all_ended: Rc::clone(&self.all_ended),
        }
    }

    async fn stop(&self) {
        let all: Vec<_> = self.known.borrow().values().cloned().collect();
        all.iter().for_each(AbortHandle::abort);
        while !self.known.borrow().is_empty() {
            self.all_ended.notified().await;
        }
    }
}

/// The engine of this thread of the pool.
fn the_engine(known: &OnceCell<FiberEngine>, make: &MakeEngine) -> FiberEngine {
    known.get_or_init(make).clone()
}

/// Knows a task until it has ended.
struct Entered {
    number: u64,
    known: Rc<RefCell<HashMap<u64, AbortHandle>>>,
    all_ended: Rc<Notify>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut known = self.known.borrow_mut();
        known.remove(&self.number);
        if known.is_empty() {
            self.all_ended.notify_one();
        }
    }
}

/// Counts a task of a thread.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn on(thread: &Thread) -> Arc<Self> {
        thread.load.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self(Arc::clone(&thread.load)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A task that runs on a pool: a future of its result, or of the error of one that panicked or was cancelled, by its handle or
/// with its pool. Dropping it lets the task go on.
#[must_use = "the task's result is here"]
pub struct PoolTask<T> {
    result: oneshot::Receiver<Result<T, ScriptError>>,
    abort: AbortHandle,
    running: Weak<Running>,
    stops_when_dropped: bool,
}

impl<T> PoolTask<T> {
    /// Stops the task promptly, waiting or computing. One that was never waited for is dropped on its thread too.
    pub fn cancel(&self) {
        self.abort.abort();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.running.strong_count() == 0
    }

    /// Dropping the handle stops the task from now on.
    pub fn stops_when_dropped(mut self) -> Self {
        self.stops_when_dropped = true;
        self
    }
}

impl<T> Future for PoolTask<T> {
    type Output = Result<T, ScriptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = Pin::new(&mut self.result).poll(cx);
        result.map(|result| result.unwrap_or_else(|_| Err(ScriptError::cancelled())))
    }
}

impl<T> Drop for PoolTask<T> {
    fn drop(&mut self) {
        if self.stops_when_dropped {
            self.abort.abort();
        }
    }
}

impl<T> fmt::Debug for PoolTask<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolTask")
            .field("is_finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

/// A script that runs on a pool. Dropping it lets the script go on.
#[derive(Debug)]
#[must_use = "the script's result is here"]
pub struct ScriptHandle<T>(PoolTask<Result<T, ScriptError>>);

impl<T> ScriptHandle<T> {
    /// Stops the script promptly, waiting or computing, and releases its stack. What it has submitted is sent all the same:
    /// [`Session::cancel_unsent`](inflight_core::Session::cancel_unsent) of its session cancels that.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T> Future for ScriptHandle<T> {
    type Output = Result<T, ScriptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|ended| ended?)
    }
}

impl fmt::Debug for FiberPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiberPool").field("threads", &self.threads()).finish()
    }
}
