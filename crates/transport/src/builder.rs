//! Configuring a worker.

use std::fmt;
use std::future::{Future, Ready};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{Credentials, PlainHttp, Policy, Queue};
use reqwest::header::HeaderValue;

use crate::breaker::{Breakers, CircuitBreaker};
use crate::budget::{Budget, RetryBudget};
use crate::client::{ClientConfiguration, Clients};
use crate::compose::{AttemptHeaders, Composer};
use crate::dispatch::Dispatch;
use crate::exchange::Exchange;
use crate::pace::Pacer;
use crate::schedule::Schedule;
use crate::target::BaseUrl;
use crate::worker::{Control, Worker};

/// How many requests are in flight at once, unless the builder says otherwise.
pub const DEFAULT_CONCURRENCY: usize = 64;

/// How long one attempt may take, unless the builder or the request says otherwise: 80 seconds, as in Stripe's own libraries.
pub const DEFAULT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(80);

/// How large an answer's body may be, unless the builder says otherwise: 16 MiB.
pub const DEFAULT_MAX_BODY: usize = 16 * 1024 * 1024;

/// How long a dropped worker lets requests finish, unless the builder says otherwise: 1 second.
pub const DEFAULT_DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// The `User-Agent` of every request, unless the builder says otherwise: the product's name and version.
pub const DEFAULT_USER_AGENT: &str = concat!("inflight/", env!("CARGO_PKG_VERSION"));

/// Why a worker did not start. The queue is dropped with it, so that what was submitted ends as `Cancelled`, or stays
/// in the durable store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The base URL cannot be used.
    #[error("the base URL cannot be used: {reason}")]
    BaseUrl {
        /// Why, in a few words. The URL itself is not repeated: it may hold a password.
        reason: String,
    },
    /// The user agent cannot be sent in a header.
    #[error("the user agent holds what a header cannot")]
    UserAgent(#[source] reqwest::header::InvalidHeaderValue),
    /// The operating system gave no event queue.
    #[error("the worker's runtime did not start")]
    Runtime(#[source] io::Error),
    /// The operating system gave no thread.
    #[error("the worker's thread did not start")]
    Thread(#[source] io::Error),
}

/// Configures a [`Worker`].
#[derive(Clone)]
pub struct WorkerBuilder {
    base_url: Option<String>,
    policy: Arc<dyn Policy>,
    credentials: Option<Arc<dyn Credentials>>,
    concurrency: usize,
    attempt_timeout: Duration,
    max_body: usize,
    http2_prior_knowledge: bool,
    system_proxy: bool,
    user_agent: String,
    attempt_headers: Option<Arc<AttemptHeaders>>,
    drain_limit: Duration,
    retry_budget: RetryBudget,
    circuit_breaker: CircuitBreaker,
    pace: bool,
}

impl Default for WorkerBuilder {
    fn default() -> Self {
        Self {
            base_url: None,
            policy: Arc::new(PlainHttp),
            credentials: None,
            concurrency: DEFAULT_CONCURRENCY,
            attempt_timeout: DEFAULT_ATTEMPT_TIMEOUT,
            max_body: DEFAULT_MAX_BODY,
            http2_prior_knowledge: false,
            system_proxy: false,
            user_agent: DEFAULT_USER_AGENT.to_owned(),
            attempt_headers: None,
            drain_limit: DEFAULT_DRAIN_LIMIT,
            retry_budget: RetryBudget::default(),
            circuit_breaker: CircuitBreaker::default(),
            pace: false,
        }
    }
}

impl WorkerBuilder {
    /// Where requests go whose credential names no endpoint, such as `http://127.0.0.1:12111`. A path in it is kept in front of
    /// each target. Without one the worker does not start.
    #[must_use]
    pub fn base_url(mut self, url: impl Into<String>) -> Self {
        self.base_url = Some(url.into());
        self
    }

    /// What answers mean and what is tried again. By default [`PlainHttp`]: 2xx is success, and nothing is tried again.
    #[must_use]
    pub fn policy(mut self, policy: Arc<dyn Policy>) -> Self {
        self.policy = policy;
        self
    }

    /// What the names of credentials stand for. By default no name is known.
    #[must_use]
    pub fn credentials(mut self, credentials: Arc<dyn Credentials>) -> Self {
        self.credentials = Some(credentials);
        self
    }

    /// How many requests are in flight at most at once. By default 64; at least 1.
    ///
    /// Where many more are submitted at once, they are not all started at once: further ones are when those before have found their
    /// connections, or wait for the network.
    #[must_use]
    pub fn concurrency(mut self, requests: usize) -> Self {
        self.concurrency = requests.max(1);
        self
    }

    /// How long one attempt may take, from connecting to the last byte of the body. By default 80 seconds.
    #[must_use]
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// How many bytes the body of an answer may have. By default 16 MiB.
    #[must_use]
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// Whether `http` hosts are spoken to in HTTP/2 from the first byte on. `https` hosts choose for themselves either way. By
    /// default not.
    #[must_use]
    pub fn http2_prior_knowledge(mut self, on: bool) -> Self {
        self.http2_prior_knowledge = on;
        self
    }

    /// Whether the proxy that the environment names (`HTTPS_PROXY` and its kin) is used. By default not.
    #[must_use]
    pub fn system_proxy(mut self, on: bool) -> Self {
        self.system_proxy = on;
        self
    }

    /// The value of `User-Agent`. By default `inflight/` and the version.
    #[must_use]
    pub fn user_agent(mut self, text: impl Into<String>) -> Self {
        self.user_agent = text.into();
        self
    }

    /// What gives each attempt headers beside its request's own. It runs on the worker's thread: be quick. By default there are none.
    #[must_use]
    pub fn attempt_headers(mut self, give: Arc<AttemptHeaders>) -> Self {
        self.attempt_headers = Some(give);
        self
    }

    /// How long what is in flight may go on when the worker is dropped without [`Worker::shutdown`]. By default 1 second.
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.drain_limit = limit;
        self
    }

    /// How many further attempts there are in all, whatever the policy says of each. By default [`RetryBudget::default`]: one for
    /// five requests, and ten a second.
    #[must_use]
    pub fn retry_budget(mut self, budget: RetryBudget) -> Self {
        self.retry_budget = budget;
        self
    }

    /// When a server counts as down, and what happens then. By default [`CircuitBreaker::default`]: after 10 failed attempts in a
    /// row requests wait until it is back.
    #[must_use]
    pub fn circuit_breaker(mut self, breaker: CircuitBreaker) -> Self {
        self.circuit_breaker = breaker;
        self
    }

    /// Whether the limits are kept that the policy names ([`Policy::pace_class`]). By default not.
    #[must_use]
    pub fn pace(mut self, on: bool) -> Self {
        self.pace = on;
        self
    }

    /// Starts the worker's thread, which takes over the registry's queue.
    ///
    /// No connection is made and no CA certificate is looked for: that waits for the first request to an `https` host, which
    /// fails as [`FailureKind::Tls`](inflight_core::FailureKind::Tls) where there are none.
    ///
    /// # Errors
    /// [`StartError`] where the configuration cannot be used or the operating system refuses.
    pub fn start(self, queue: Queue) -> Result<Worker, StartError> {
        let drain_limit = self.drain_limit;
        Worker::start(queue, drain_limit, self.dispatch()?, None::<fn() -> Ready<()>>)
    }

    /// As [`start`](Self::start), and runs a guest on the worker's thread: a future that submits requests and waits for them, such as
    /// one that runs scripts. Between the two nothing crosses threads then, which saves wake-ups. What the guest computes without
    /// waiting delays what the worker sends and hears, so that a guest should yield every few milliseconds.
    ///
    /// The guest runs on a [`LocalRuntime`](tokio::runtime::LocalRuntime): it may use `tokio::task::spawn_local`. The thread
    /// ends when the worker has been shut down and the guest has ended, whichever is later.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with<Fut>(
        self,
        queue: Queue,
        guest: impl FnOnce() -> Fut + Send + 'static,
    ) -> Result<Worker, StartError>
    where
        Fut: Future<Output = ()> + 'static,
    {
        let drain_limit = self.drain_limit;
        Worker::start(queue, drain_limit, self.dispatch()?, Some(guest))
    }

    pub(crate) fn dispatch(self) -> Result<impl FnOnce(Queue, Arc<Control>) -> Arc<Dispatch>, StartError> {
        let concurrency = self.concurrency;
        let (breakers, pace) = (Breakers::new(self.circuit_breaker), self.pace);
        let exchange = Arc::new(self.exchange()?);
        Ok(move |queue, control| {
            let pacer = pace.then(Pacer::new);
            let schedule = Schedule::new(queue, Arc::clone(&exchange), breakers, pacer);
            Dispatch::new(schedule, exchange, concurrency, control)
        })
    }

    pub(crate) fn exchange(self) -> Result<Exchange, StartError> {
        let base_url = self.base_url.as_deref().ok_or_else(|| StartError::BaseUrl {
            reason: "none was given".to_owned(),
        })?;
        let base = BaseUrl::parse(base_url).map_err(|error| StartError::BaseUrl {
            reason: error.to_string(),
        })?;
        Ok(Exchange {
            policy: self.policy,
            composer: Composer::new(base, self.credentials, self.attempt_headers),
            clients: Clients::new(ClientConfiguration {
                user_agent: HeaderValue::from_str(&self.user_agent).map_err(StartError::UserAgent)?,
                http2_prior_knowledge: self.http2_prior_knowledge,
                system_proxy: self.system_proxy,
                connections: self.concurrency,
            }),
            budget: Budget::new(self.retry_budget),
            attempt_timeout: self.attempt_timeout,
            max_body: self.max_body,
        })
    }
}

impl fmt::Debug for WorkerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkerBuilder")
            .field("concurrency", &self.concurrency)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("max_body", &self.max_body)
            .field("drain_limit", &self.drain_limit)
            .finish_non_exhaustive()
    }
}
