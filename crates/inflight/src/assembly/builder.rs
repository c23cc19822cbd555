//! What an assembly is made of.

use std::fmt;
use std::sync::Arc;
#[cfg(feature = "store")]
use std::sync::Mutex;
use std::time::Duration;

use inflight_core::{Observer, Registry};
use inflight_rhai::{FiberEngine, FiberPool};
#[cfg(feature = "store")]
use inflight_store::DurableStore;
use inflight_stripe::webhook::WebhookSecret;
use inflight_stripe::{RetrySettings, StripePolicy, reconcile};
#[cfg(feature = "sync")]
use inflight_stripe_rhai::StripePackage;
use inflight_stripe_rhai::{ApiKey, HostOptions, StripeHost};
use inflight_transport::{CircuitBreaker, RetryBudget, StartError, TokioClock, Worker, WorkerBuilder};

#[cfg(feature = "store")]
use super::Durable;
use super::{Engines, Inflight, Prepare};
#[cfg(feature = "metrics")]
use crate::metrics::Metrics;
use crate::telemetry::{AppInfo, Telemetry};

/// Where Stripe's API is. <https://docs.stripe.com/api>
const STRIPE_URL: &str = "https://api.stripe.com";

/// Why nothing could be assembled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The worker did not start.
    #[error(transparent)]
    Worker(#[from] StartError),
}

/// Configures an [`Inflight`].
pub struct InflightBuilder {
    worker: WorkerBuilder,
    host: HostOptions,
    is_real_stripe: bool,
    app_info: Option<AppInfo>,
    telemetry: bool,
    threads: usize,
    transport_thread: Option<bool>,
    queue_capacity: Option<usize>,
    deadline: Option<Duration>,
    retry: RetrySettings,
    pace: Option<bool>,
    tag_requests: bool,
    observers: Vec<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    metrics: Option<Arc<Metrics>>,
    prepare: Option<Arc<Prepare>>,
    #[cfg(feature = "store")]
    store: Option<DurableStore>,
}

impl Default for InflightBuilder {
    fn default() -> Self {
        Self {
            worker: Worker::builder().base_url(STRIPE_URL),
            host: HostOptions::default(),
            is_real_stripe: true,
            app_info: None,
            telemetry: false,
            threads: 1,
            transport_thread: None,
            queue_capacity: None,
            deadline: None,
            retry: RetrySettings::default(),
            pace: None,
            tag_requests: false,
            observers: Vec::new(),
            #[cfg(feature = "metrics")]
            metrics: None,
            prepare: None,
            #[cfg(feature = "store")]
            store: None,
        }
    }
}

impl InflightBuilder {
    /// Where requests go. By default `https://api.stripe.com`.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        let url = url.into();
        self.is_real_stripe = url.trim_end_matches('/') == STRIPE_URL;
        self.worker = self.worker.base_url(url);
        self
    }

    /// The program that Inflight is part of: its name, its version and where to read about it. It is told in `User-Agent`, so that
    /// Stripe can tell whom to write to. By default nothing is told.
    #[must_use]
    pub fn set_app_info(mut self, name: &str, version: Option<&str>, url: Option<&str>) -> Self {
        let info = AppInfo::new(name, version, url);
        self.worker = self.worker.user_agent(info.user_agent());
        self.app_info = Some(info);
        self
    }

    /// Whether Stripe is told about this program beyond `User-Agent`: language and platform, and with each request how long an
    /// earlier one took, as the official libraries do. By default not.
    #[must_use]
    pub fn telemetry(mut self, on: bool) -> Self {
        self.telemetry = on;
        self
    }

    /// The key that scripts use and cannot read, as `STRIPE_API_KEY`. By default there is none, and scripts bring their own.
    #[must_use]
    pub fn api_key(mut self, key: ApiKey) -> Self {
        self.host.api_key = Some(key);
        self
    }

    /// The secret of the webhook endpoint, which scripts verify with and cannot read, as `STRIPE_WEBHOOK_SECRET`. By default there
    /// is none.
    #[must_use]
    pub fn webhook_secret(mut self, secret: WebhookSecret) -> Self {
        self.host.webhook_secret = Some(secret);
        self
    }

    /// Whether scripts may configure keys that move real money, `STRIPE_API_KEY` among them. By default not. The host's own
    /// [key](Self::api_key) is used as it is given.
    #[must_use]
    pub fn allow_live_keys(mut self, allow: bool) -> Self {
        self.host.allow_live_keys = allow;
        self
    }

    /// All options of the Stripe bindings at once, the key included. A key and a secret that were set before stay where these have
    /// none; everything else is as these say.
    #[must_use]
    pub fn host_options(mut self, options: HostOptions) -> Self {
        self.host = HostOptions {
            api_key: options.api_key.or(self.host.api_key),
            webhook_secret: options.webhook_secret.or(self.host.webhook_secret),
            ..options
        };
        self
    }

    /// How many requests are in flight at once. By default 64.
    #[must_use]
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.worker = self.worker.concurrency(requests);
        self
    }

    /// Whether to speak HTTP/2 at once, without asking the server. By default what the server offers over TLS.
    #[must_use]
    pub fn http2_prior_knowledge(mut self, on: bool) -> Self {
        self.worker = self.worker.http2_prior_knowledge(on);
        self
    }

    /// How long one attempt may take. By default 80 seconds, as in Stripe's own SDKs.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.worker = self.worker.attempt_timeout(timeout);
        self
    }

    /// How long a request may take in all, from its submission on. By default 10 minutes.
    #[must_use]
    pub fn request_deadline(mut self, after: Duration) -> Self {
        self.deadline = Some(after);
        self
    }

    /// How failed attempts are repeated. By default [`RetrySettings::default`]: up to twice.
    #[must_use]
    pub fn retry(mut self, settings: RetrySettings) -> Self {
        self.retry = settings;
        self
    }

    /// How many further attempts there are in all. By default [`RetryBudget::default`]: one for five requests, and ten a second.
    #[must_use]
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.worker = self.worker.retry_budget(budget);
        self
    }

    /// When a server counts as down, and what happens then. By default [`CircuitBreaker::default`]: after 10 failed attempts in a row
    /// requests wait until it is back.
    #[must_use]
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.worker = self.worker.circuit_breaker(breaker);
        self
    }

    /// Whether Stripe's rate limits are kept. By default with the real Stripe, and not with another server.
    #[must_use]
    pub fn pace(mut self, on: bool) -> Self {
        self.pace = Some(on);
        self
    }

    /// Whether each request's id is written into the metadata of what it creates, as `inflight_request_id`, or changes, as
    /// `inflight_change_id`, so that [`reconcile`](inflight_stripe::reconcile) finds it again. By default not.
    #[must_use]
    pub fn tag_requests(mut self, on: bool) -> Self {
        self.tag_requests = on;
        self
    }

    /// How many threads run scripts. By default 1.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Whether requests are sent by a thread of their own, or by the first one that runs scripts. On one thread nothing crosses
    /// threads, and less memory is needed; but two cores cannot share the work, and scripts that compute delay what is sent and
    /// heard, by a time slice of a millisecond each. By default they share where scripts have one thread and the process one
    /// processor.
    #[must_use]
    pub fn transport_thread(mut self, own: bool) -> Self {
        self.transport_thread = Some(own);
        self
    }

    /// How many unsent requests the queue holds. By default 10,000.
    #[must_use]
    pub fn queue_capacity(mut self, requests: usize) -> Self {
        self.queue_capacity = Some(requests);
        self
    }

    /// Who is told of what happens to requests. Each call adds one. By default nobody.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Where scripts and their requests are counted and measured. By default nowhere.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// What to register in every engine beside the bindings, such as functions of the host's own. It runs once on each thread.
    #[must_use]
    pub fn engine(mut self, prepare: impl Fn(&mut rhai::Engine) + Send + Sync + 'static) -> Self {
        self.prepare = Some(Arc::new(prepare));
        self
    }

    /// Where requests are written before they are sent, so that they survive this process: see [`store_options`](crate::store_options) for
    /// the options to open it with. What an earlier process has left there is sent as soon as the key that it needs is known here. By
    /// default requests end with the process.
    ///
    /// A store that is open serves one [`Inflight`] at a time: a further one is handed what the one before has left when that one has been
    /// [shut down](Inflight::shutdown) or dropped.
    #[cfg(feature = "store")]
    #[must_use]
    pub fn store(mut self, store: DurableStore) -> Self {
        self.store = Some(store);
        self
    }

    /// Starts the worker and the threads.
    ///
    /// # Errors
    /// [`BuildError`] where the base URL cannot be used or the operating system gives no thread.
    pub fn build(self) -> Result<Inflight, BuildError> {
        let mut registry = Registry::builder().clock(Arc::new(TokioClock));
        if let Some(requests) = self.queue_capacity {
            registry = registry.queue_capacity(requests);
        }
        if let Some(after) = self.deadline {
            registry = registry.deadline(after);
        }
        if self.tag_requests {
            registry = registry.on_submit(reconcile::tagging());
        }
        let mut worker = self.worker;
        if self.telemetry {
            let telemetry = Telemetry::new(self.app_info.as_ref());
            registry = registry.observer(Arc::clone(&telemetry) as Arc<dyn Observer>);
            worker = worker.attempt_headers(Arc::new(move || telemetry.headers()));
        }
        #[cfg(feature = "store")]
        if let Some(store) = &self.store {
            registry = registry.store(store.handle());
        }
        for observer in self.observers {
            registry = registry.observer(observer);
        }
        #[cfg(feature = "metrics")]
        if let Some(metrics) = &self.metrics {
            registry = registry.observer(Arc::clone(metrics) as Arc<dyn Observer>);
        }
        let (registry, queue) = registry.build();
        let mut host = self.host;
        // What the real Stripe serves elsewhere, another server serves itself.
        host.separate_hosts |= self.is_real_stripe;
        let host = StripeHost::new(host);
        #[cfg(feature = "store")]
        let durable = self.store.map(|store| {
            // Scripts name their keys as they go, so that it is asked each time.
            let credentials = host.credentials();
            let working = store.start(&registry, Some(Arc::new(move || credentials.names())));
            Durable {
                store,
                working: Mutex::new(Some(working)),
            }
        });
        let engines = Engines {
            #[cfg(feature = "sync")]
            package: StripePackage::new(&host),
            host,
            prepare: self.prepare,
        };
        let maker = engines.clone();
        let make_engine = move || FiberEngine::new(maker.make());
        let worker = worker
            .policy(Arc::new(StripePolicy::new().retry(self.retry)))
            .pace(self.pace.unwrap_or(self.is_real_stripe))
            .credentials(engines.host.credentials());
        let own_thread = self
            .transport_thread
            .unwrap_or_else(|| self.threads > 1 || has_processors());
        let (worker, pool) = if own_thread {
            (worker.start(queue)?, FiberPool::new(self.threads, make_engine))
        } else {
            let (pool, main) = FiberPool::with_host_thread(self.threads, make_engine);
            (worker.start_with(queue, main)?, pool)
        };
        Ok(Inflight {
            registry,
            worker,
            engines,
            pool,
            #[cfg(feature = "store")]
            durable,
            #[cfg(feature = "metrics")]
            metrics: self.metrics,
        })
    }
}

/// Whether the process may use more than one processor at a time. Where nobody knows, it may.
fn has_processors() -> bool {
    std::thread::available_parallelism().map_or(true, |processors| processors.get() > 1)
}

impl fmt::Debug for InflightBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InflightBuilder")
            .field("host", &self.host)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}
