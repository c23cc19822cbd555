//! All layers in one value.

mod builder;

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "store")]
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inflight_core::{Registry, Session};
use inflight_rhai::{FiberPool, ScriptError, ScriptErrorKind};
#[cfg(feature = "store")]
use inflight_store::{DurableStore, Working};
use inflight_stripe_rhai::{StripeHost, StripePackage};
use inflight_transport::{ShutdownReport, Worker};

pub use self::builder::{BuildError, InflightBuilder};
#[cfg(feature = "metrics")]
use crate::metrics::Metrics;
use crate::run::{Ending, ScriptOptions, ScriptReport, run_script};

/// A registry, a worker that sends its requests to Stripe, and threads for scripts.
pub struct Inflight {
    registry: Registry,
    worker: Worker,
    engines: Engines,
    pool: FiberPool,
    #[cfg(feature = "metrics")]
    metrics: Option<Arc<Metrics>>,
    #[cfg(feature = "store")]
    durable: Option<Durable>,
}

/// A store, and what supplies the registry from it until the shutdown.
#[cfg(feature = "store")]
struct Durable {
    store: DurableStore,
    working: Mutex<Option<Working>>,
}

/// What a host adds to every engine.
type Prepare = dyn Fn(&mut rhai::Engine) + Send + Sync;

/// How engines are made.
#[derive(Clone)]
struct Engines {
    host: Arc<StripeHost>,
    prepare: Option<Arc<Prepare>>,
    /// Without `sync` each thread has its own.
    #[cfg(feature = "sync")]
    package: StripePackage,
}

impl Engines {
    fn make(&self) -> rhai::Engine {
        let mut engine = rhai::Engine::new();
        #[cfg(feature = "sync")]
        self.package.install_in(&mut engine);
        #[cfg(not(feature = "sync"))]
        StripePackage::install(&self.host, &mut engine);
        if let Some(prepare) = &self.prepare {
            prepare(&mut engine);
        }
        engine
    }
}

impl Inflight {
    /// Starts to configure one.
    #[must_use]
    pub fn builder() -> InflightBuilder {
        InflightBuilder::default()
    }

    /// The registry.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The Stripe bindings' host.
    #[must_use]
    pub fn host(&self) -> &Arc<StripeHost> {
        &self.engines.host
    }

    /// The durable store, if there is one.
    #[cfg(feature = "store")]
    #[must_use]
    pub fn store(&self) -> Option<&DurableStore> {
        self.durable.as_ref().map(|durable| &durable.store)
    }

    /// A new session: what one script makes its requests in.
    #[must_use]
    pub fn session(&self) -> Session {
        self.registry.session()
    }

    /// A new engine with all bindings, for a thread of the caller's own.
    #[must_use]
    pub fn engine(&self) -> rhai::Engine {
        self.engines.make()
    }

    /// The threads that scripts run on.
    #[must_use]
    pub fn pool(&self) -> &FiberPool {
        &self.pool
    }

    /// Where scripts and requests are counted, if they are.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(&self) -> Option<&Arc<Metrics>> {
        self.metrics.as_ref()
    }

    /// Runs a script on one of the threads, in a session of its own, or in that of its [run](crate::ScriptRun). It may be awaited on any
    /// executor; dropped, it stops the script.
    pub fn run(&self, text: &str, options: ScriptOptions) -> impl Future<Output = ScriptReport> + Send + use<> {
        let session = match &options.run {
            Some(run) => run.session(&self.registry),
            None => self.session(),
        };
        let (text, is_run) = (text.to_owned(), options.run.is_some());
        let ending = Ending::of(session.clone());
        #[cfg(feature = "metrics")]
        let options = ScriptOptions {
            metrics: options.metrics.or_else(|| self.metrics.clone()),
            ..options
        };
        let task = self.pool.spawn(move |engine| async move {
            match engine.compile_cached(&text) {
                Ok(script) => run_script(&script, session, options).await,
                Err(error) => {
                    #[cfg(feature = "metrics")]
                    if let Some(metrics) = options.metrics {
                        metrics.script_ended(Some(error.kind()));
                    }
                    ScriptReport::failed(error)
                }
            }
        });
        let task = task.stops_when_dropped();
        async move {
            // Its thread has stopped it, or it panicked there.
            let report = task.await.unwrap_or_else(|error| ending.stopped(error, is_run));
            // A run whose text does not parse has not begun.
            let is_syntax = |error: &ScriptError| error.kind() == ScriptErrorKind::Syntax;
            let not_begun = is_run && report.result.as_ref().is_err_and(is_syntax);
            ScriptReport {
                resumable: report.resumable || not_begun,
                ..report
            }
        }
    }

    /// Sends nothing new until [`resume`](Self::resume). What is under way finishes, scripts go on and submit, and deadlines pass.
    pub fn pause(&self) {
        self.worker.pause();
    }

    /// Sends again.
    pub fn resume(&self) {
        self.worker.resume();
    }

    /// Whether sending pauses.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.worker.is_paused()
    }

    /// Accepts no more requests, lets what is in flight finish within `limit`, and ends everything else. Not for a thread that
    /// drives an async runtime: it waits.
    pub fn shutdown(&self, limit: Duration) -> ShutdownReport {
        self.close();
        let report = self.worker.shutdown(limit);
        self.leave_store();
        report
    }

    /// Accepts no more requests and claims none. First of all that, so that no run writes down what its script is told from now on.
    fn close(&self) {
        self.registry.close();
        #[cfg(feature = "store")]
        if let Some(working) = self.working()
            && let Some(working) = &*working
        {
            working.stop_claiming();
        }
    }

    /// Until the worker has stopped, what it sends is this process's: its leases are renewed.
    fn leave_store(&self) {
        #[cfg(feature = "store")]
        {
            let working = self.working().and_then(|mut working| working.take());
            drop(working);
        }
    }

    #[cfg(feature = "store")]
    fn working(&self) -> Option<MutexGuard<'_, Option<Working>>> {
        let durable = self.durable.as_ref()?;
        Some(durable.working.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// As [`shutdown`](Inflight::shutdown) with the worker's own limit. Scripts that still run are stopped; [runs](crate::ScriptRun) among
/// them can be resumed.
impl Drop for Inflight {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for Inflight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflight")
            .field("registry", &self.registry)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
