//! Threads that run scripts: one engine each, a script never moves between them.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::task::JoinHandle;
use tokio_util::task::LocalPoolHandle;

use crate::engine::FiberEngine;

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
