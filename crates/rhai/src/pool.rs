//! Threads that run scripts: one engine each, a script never moves between them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rhai::{Dynamic, Engine, Scope};
use tokio::task::JoinHandle;
use tokio_util::task::LocalPoolHandle;

use crate::engine::{FiberEngine, RunOptions};
use crate::error::{ScriptError, ScriptErrorKind};

type MakeEngine = dyn Fn() -> FiberEngine + Send + Sync;

/// A fixed number of threads, each with an engine of its own, on which scripts are started from anywhere.
#[derive(Clone)]
pub struct FiberPool {
    threads: LocalPoolHandle,
    make_engine: Arc<MakeEngine>,
}

thread_local! {
    static ENGINES: std::cell::RefCell<Vec<(usize, FiberEngine)>> = const { std::cell::RefCell::new(Vec::new()) };
}

impl FiberPool {
    /// Starts this many threads, at least one. `make_engine` runs once on each that is used.
    ///
    /// # Panics
    /// Where the operating system gives no thread.
    #[must_use]
    pub fn new(threads: usize, make_engine: impl Fn() -> FiberEngine + Send + Sync + 'static) -> Self {
        Self {
            threads: LocalPoolHandle::new(threads.max(1)),
            make_engine: Arc::new(make_engine),
        }
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads.num_threads()
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
    pub fn spawn<Fut>(&self, task: impl FnOnce(FiberEngine) -> Fut + Send + 'static) -> JoinHandle<Fut::Output>
    where
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let make_engine = Arc::clone(&self.make_engine);
        self.threads
            .spawn_pinned(move || task(this_threads_engine(&make_engine)))
    }

    /// Runs a task on this thread of the pool, counted from 0, with that thread's engine.
    ///
    /// # Panics
    /// Where there is no such thread.
    pub fn spawn_on<Fut>(
        &self,
        thread: usize,
        task: impl FnOnce(FiberEngine) -> Fut + Send + 'static,
    ) -> JoinHandle<Fut::Output>
    where
        Fut: Future + 'static,
        Fut::Output: Send + 'static,
    {
        let make_engine = Arc::clone(&self.make_engine);
        self.threads
            .spawn_pinned_by_idx(move || task(this_threads_engine(&make_engine)), thread)
    }
}

/// A script that runs on a pool. Dropping it lets the script go on.
#[derive(Debug)]
#[must_use = "the script's result is here"]
pub struct ScriptHandle<T>(JoinHandle<Result<T, ScriptError>>);

impl<T> ScriptHandle<T> {
    /// Stops the script promptly, waiting or computing, and releases its stack.
    pub fn cancel(&self) {
        self.0.abort();
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
        Pin::new(&mut self.0).poll(cx).map(|joined| {
            joined.unwrap_or_else(|error| {
                Err(if error.is_cancelled() {
                    ScriptError::cancelled()
                } else {
                    ScriptError::of_kind(ScriptErrorKind::Panic, &error.to_string())
                })
            })
        })
    }
}

/// One engine for each pool that runs on this thread: a pool's threads are its own, so that is one.
fn this_threads_engine(make_engine: &Arc<MakeEngine>) -> FiberEngine {
    let pool = Arc::as_ptr(make_engine).cast::<()>().addr();
    let known = ENGINES.with_borrow(|engines| {
        let found = engines.iter().find(|(of, _)| *of == pool);
        found.map(|(_, engine)| engine.clone())
    });
    known.unwrap_or_else(|| {
        let engine = make_engine();
        ENGINES.with_borrow_mut(|engines| engines.push((pool, engine.clone())));
        engine
    })
}

impl fmt::Debug for FiberPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FiberPool").field("threads", &self.threads()).finish()
    }
}
