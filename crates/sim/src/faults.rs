//! Faults on demand: what goes wrong, with which requests, how often.

mod file;
mod inject;
mod limits;

use std::fmt;
use std::time::Duration;

use crate::latency::Latency;

pub use file::{FaultsError, PROFILES};
pub(crate) use inject::{Decision, Injector, server_error};
pub use limits::RateLimits;

/// Why Stripe says that it limited a rate (`Stripe-Rate-Limited-Reason`). <https://docs.stripe.com/rate-limits>
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RateLimitReason {
    /// `global-rate`: all requests of the account.
    GlobalRate,
    /// `global-concurrency`: all requests of the account at once.
    GlobalConcurrency,
    /// `endpoint-rate`: the requests of one endpoint.
    EndpointRate,
    /// `endpoint-concurrency`: the requests of one endpoint at once.
    EndpointConcurrency,
    /// `resource-specific`: the requests about one object.
    ResourceSpecific,
}

impl RateLimitReason {
    const ALL: [Self; 5] = [
        Self::GlobalRate,
        Self::GlobalConcurrency,
        Self::EndpointRate,
        Self::EndpointConcurrency,
        Self::ResourceSpecific,
    ];

    /// The header's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GlobalRate => "global-rate",
            Self::GlobalConcurrency => "global-concurrency",
            Self::EndpointRate => "endpoint-rate",
            Self::EndpointConcurrency => "endpoint-concurrency",
            Self::ResourceSpecific => "resource-specific",
        }
    }
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The answer takes so much longer.
    Delay(Latency),
    /// 429 before execution, with a reason or without.
    RateLimited(Option<RateLimitReason>),
    /// 429 with the code `lock_timeout` before execution, as if another request held the object.
    LockTimeout,
    /// 500 before execution: nothing was done and nothing is saved under the key.
    ErrorBefore,
    /// 500 after execution: the work is done, and the 500 is saved under the key and given again.
    ErrorAfter,
    /// The server goes away for so long: every connection is closed and new ones are refused.
    Down(Duration),
    /// The connection is reset before the request is carried out.
    ResetBefore,
    /// The request is carried out and the connection is reset in place of an answer.
    ResetAfter,
    /// Carried out; half of the answer's body arrives, then the connection ends.
    HalfBody,
    /// Carried out; the answer never comes.
    Hang,
    /// Carried out; the answer's body arrives in small pieces over so long a time.
    Slow(Duration),
    /// Carried out; `Content-Length` says less than there is.
    ShortLength,
    /// Carried out; `Content-Length` says more than there is.
    LongLength,
    /// Carried out; the answer is no JSON.
    InvalidJson,
    /// Carried out; the answer is packed, though nobody asked for that.
    Gzip,
}

impl Fault {
    /// Its name in files and counts.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::RateLimited(_) => "rate_limited",
            Self::LockTimeout => "lock_timeout",
            Self::ErrorBefore => "error_before",
            Self::ErrorAfter => "error_after",
            Self::Down(_) => "down",
            Self::ResetBefore => "reset_before",
            Self::ResetAfter => "reset_after",
            Self::HalfBody => "half_body",
            Self::Hang => "hang",
            Self::Slow(_) => "slow",
            Self::ShortLength => "short_length",
            Self::LongLength => "long_length",
            Self::InvalidJson => "invalid_json",
            Self::Gzip => "gzip",
        }
    }
}

/// A fault, and which requests it happens to.
///
/// ```
/// use inflight_sim::{Fault, Rule};
///
/// let third_product = Rule::new(Fault::ResetAfter).operation("product.create").nth(3);
/// let some_of_all = Rule::new(Fault::ErrorBefore).method("POST").rate(0.05);
/// assert_ne!(third_product, some_of_all);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    fault: Fault,
    operation: Option<String>,
    method: Option<String>,
    path: Option<String>,
    rate: f64,
    nth: Option<u64>,
    every: Option<u64>,
    times: Option<u64>,
}

impl Rule {
    /// This fault, for every request.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            operation: None,
            method: None,
            path: None,
            rate: 1.0,
            nth: None,
            every: None,
            times: None,
        }
    }

    /// Only requests of this operation (`product.create`). By default all.
    #[must_use]
    pub fn operation(mut self, name: impl Into<String>) -> Self {
        self.operation = Some(name.into());
        self
    }

    /// Only requests with this HTTP method. By default all.
    #[must_use]
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Only requests whose path begins with this. By default all.
    #[must_use]
    pub fn path(mut self, start: impl Into<String>) -> Self {
        self.path = Some(start.into());
        self
    }

    /// Only this share of them, by chance: between 0 and 1. By default 1.
    #[must_use]
    pub fn rate(mut self, share: f64) -> Self {
        self.rate = share;
        self
    }

    /// Only the n-th of them, counted from 1. By default all.
    #[must_use]
    pub fn nth(mut self, n: u64) -> Self {
        self.nth = Some(n);
        self
    }

    /// Only every n-th of them. By default all.
    #[must_use]
    pub fn every(mut self, n: u64) -> Self {
        self.every = Some(n);
        self
    }

    /// At most so often in all. By default without end.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }
}

/// Everything that goes wrong in a simulator. By default nothing.
///
/// The rules are asked in order, and the first that fits decides; a delay decides nothing and lets the next ones be asked.
///
/// ```
/// use inflight_sim::{Fault, Faults, Rule, Simulator};
///
/// let faults = Faults::new().rule(Rule::new(Fault::ErrorBefore).nth(1));
/// let simulator = Simulator::builder().faults(faults).start()?;
/// # Ok::<_, inflight_sim::StartError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Faults {
    rules: Vec<Rule>,
    object_locks: bool,
    rate_limits: Option<RateLimits>,
}

impl Faults {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a rule, to be asked after those that were added before.
    #[must_use]
    pub fn rule(mut self, rule: Rule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Sets whether a mutation of an object fails with `lock_timeout` while another one of the same object is being carried out.
    /// By default not.
    #[must_use]
    pub fn object_locks(mut self, on: bool) -> Self {
        self.object_locks = on;
        self
    }

    /// Sets how many requests are taken in a second. By default any number.
    #[must_use]
    pub fn rate_limits(mut self, limits: RateLimits) -> Self {
        self.rate_limits = Some(limits);
        self
    }

    /// Every kind of fault, together in this share of all requests, and locks of objects.
    #[must_use]
    pub fn chaos(share: f64) -> Self {
        let kinds = [
            Fault::RateLimited(None),
            Fault::RateLimited(Some(RateLimitReason::EndpointRate)),
            Fault::RateLimited(Some(RateLimitReason::GlobalConcurrency)),
            Fault::LockTimeout,
            Fault::ErrorBefore,
            Fault::ErrorAfter,
            Fault::ResetBefore,
            Fault::ResetAfter,
            Fault::HalfBody,
            Fault::Hang,
            Fault::Slow(Duration::from_millis(100)),
            Fault::ShortLength,
            Fault::LongLength,
            Fault::InvalidJson,
            Fault::Gzip,
            Fault::Delay(Latency::exponential(Duration::from_millis(20))),
        ];
        let mut faults = Self::new().object_locks(true);
        // One draw after the other: each takes its part of what the ones before it have left.
        let part = share.clamp(0.0, 1.0) / kinds.len() as f64;
        let mut left = 1.0;
        for fault in kinds {
            faults = faults.rule(Rule::new(fault).rate((part / left).min(1.0)));
            left -= part;
        }
        // So rarely that a run of some ten thousand requests sees a few.
        faults.rule(Rule::new(Fault::Down(Duration::from_millis(200))).every(7_001))
    }
}

/// A profile's name, or the text of a file.
impl std::str::FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, FaultsError> {
        file::parse(text)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
