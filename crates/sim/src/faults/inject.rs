//! Which fault happens to which request.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use inflight_stripe::{Method, Operation};

use super::limits::{Limiters, is_of_files};
use super::{Fault, Faults, RateLimitReason, Rule};
use crate::api::ApiRequest;
use crate::auth::authenticate;
use crate::error::ApiError;
use crate::incoming::{account, contents_of};
use crate::random::Random;

/// What happens to one request.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// It is refused before it is carried out.
    pub(crate) refusal: Option<Refusal>,
    /// It fails after it was carried out.
    pub(crate) fails_after: bool,
    /// The answer takes so much longer.
    pub(crate) delay: Duration,
    /// What becomes of the answer.
    pub(crate) spoilt: Option<Fault>,
}

/// An answer in place of execution.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) error: ApiError,
    pub(crate) reason: Option<RateLimitReason>,
    pub(crate) should_retry: Option<bool>,
}

/// Draws faults, and remembers what the rules need.
#[derive(Debug)]
pub(crate) struct Injector {
    faults: Faults,
    random: Random,
    /// How many requests each rule has fitted, and how often its fault happened.
    seen: Vec<(u64, u64)>,
    limiters: Limiters,
    /// Objects that are being changed, and until when.
    locked: HashMap<Box<str>, Instant>,
    injected: BTreeMap<&'static str, u64>,
    told: HashSet<Box<str>>,
}

impl Injector {
    pub(crate) fn new(faults: Faults, seed: u64) -> Self {
        Self {
            seen: vec![(0, 0); faults.rules.len()],
            faults,
            // Another sequence than the ids have.
            random: Random::new(seed ^ 0x5DEE_CE66),
            limiters: Limiters::default(),
            locked: HashMap::new(),
            injected: BTreeMap::new(),
            told: HashSet::new(),
        }
    }

    /// How often each fault happened, by name.
    pub(crate) fn injected(&self) -> &BTreeMap<&'static str, u64> {
        &self.injected
    }

    /// Remembers that somebody was told what became of the request with this key.
    pub(crate) fn tell(&mut self, key: &str) {
        if !self.told.contains(key) {
            self.told.insert(key.into());
        }
    }

    pub(crate) fn was_told(&self, key: &str) -> bool {
        self.told.contains(key)
    }

    pub(crate) fn decide(&mut self, request: &ApiRequest<'_>, latency: Duration, now: Instant) -> Decision {
        let route = method_of(request.method).and_then(|method| Operation::by_route(method, request.path));
        let endpoint = route.as_ref().map_or("", |(operation, _)| operation.path);
        let (name, ids) = route.map_or(("", Vec::new()), |(operation, ids)| (operation.name, ids));
        let mut decision = Decision::default();
        let endpoint = if name.is_empty() { endpoint } else { name };
        let endpoint = files_endpoint(request, endpoint);
        if let Some(refusal) = self.limited(request, endpoint, (now, now + latency)) {
            self.count("rate_limited");
            decision.refusal = Some(refusal);
            return decision;
        }
        for index in 0..self.faults.rules.len() {
            let Some(fault) = self.happens(index, request, name) else {
                continue;
            };
            self.count(fault.name());
            if let Fault::Delay(latency) = fault {
                decision.delay += latency.draw(&mut self.random);
                continue;
            }
            decide_by(fault, &mut decision);
            break;
        }
        if decision.refusal.is_none() && self.faults.object_locks && request.method != "GET" {
            let lock = ids
                .first()
                .map(|id| format!("{} {id}", account(request).unwrap_or_default()));
            decision.refusal = lock.and_then(|lock| self.lock(lock, latency + decision.delay, now));
        }
        decision
    }

    /// All keys are one account's. Who has none, or asks for what there is not, uses up nobody's limit.
    fn limited(&mut self, request: &ApiRequest<'_>, endpoint: &str, time: (Instant, Instant)) -> Option<Refusal> {
        let limits = self.faults.rate_limits?;
        if endpoint.is_empty() || authenticate(request.authorization).is_err() {
            return None;
        }
        let account = account(request).ok()?;
        let reason = self.limiters.take(&limits, account, endpoint, request.path, time)?;
        Some(rate_limited(Some(reason)))
    }

    fn happens(&mut self, index: usize, request: &ApiRequest<'_>, operation: &str) -> Option<Fault> {
        let rule = &self.faults.rules[index];
        if !fits(rule, request, operation) {
            return None;
        }
        let (fitted, happened) = &mut self.seen[index];
        *fitted += 1;
        let is_due = rule.nth.is_none_or(|nth| nth == *fitted)
            && rule.every.is_none_or(|every| fitted.is_multiple_of(every))
            && rule.times.is_none_or(|times| *happened < times)
            && (rule.rate >= 1.0 || self.random.unit() < rule.rate);
        if !is_due {
            return None;
        }
        *happened += 1;
        Some(rule.fault)
    }

    /// Holds the object until the answer, or refuses while another request does.
    fn lock(&mut self, object: String, latency: Duration, now: Instant) -> Option<Refusal> {
        if self.locked.get(object.as_str()).is_some_and(|until| now < *until) {
            self.count("lock_timeout");
            return Some(lock_timeout());
        }
        if self.locked.len() >= 10_000 {
            self.locked.retain(|_, until| now < *until);
        }
        self.locked.insert(object.into(), now + latency);
        None
    }

    fn count(&mut self, name: &'static str) {
        *self.injected.entry(name).or_default() += 1;
    }
}

/// Reading files has one limit, also reading what they hold, and writing them has another. <https://docs.stripe.com/rate-limits>
fn files_endpoint<'e>(request: &ApiRequest<'_>, endpoint: &'e str) -> &'e str {
    let is_known = !endpoint.is_empty() || contents_of(request).is_some();
    match request.method {
        _ if !is_known || !is_of_files(request.path) => endpoint,
        "GET" => "files.read",
        _ => "files.write",
    }
}

fn method_of(name: &str) -> Option<Method> {
    let known = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];
    known.into_iter().find(|method| method.as_str() == name)
}

fn fits(rule: &Rule, request: &ApiRequest<'_>, operation: &str) -> bool {
    rule.operation.as_deref().is_none_or(|name| name == operation)
        && rule
            .method
            .as_deref()
            .is_none_or(|method| method.eq_ignore_ascii_case(request.method))
        && rule.path.as_deref().is_none_or(|start| request.path.starts_with(start))
}

fn decide_by(fault: Fault, decision: &mut Decision) {
    match fault {
        Fault::RateLimited(reason) => decision.refusal = Some(rate_limited(reason)),
        Fault::LockTimeout => decision.refusal = Some(lock_timeout()),
        Fault::ErrorBefore => decision.refusal = Some(internal()),
        Fault::ErrorAfter => decision.fails_after = true,
        other => decision.spoilt = Some(other),
    }
}

/// <https://docs.stripe.com/rate-limits>
fn rate_limited(reason: Option<RateLimitReason>) -> Refusal {
    let mut error = ApiError::invalid(
        "Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits.",
    )
    .status(429);
    error.code = Some("rate_limit");
    Refusal {
        error,
        reason,
        should_retry: None,
    }
}

/// <https://docs.stripe.com/rate-limits#object-lock-timeouts>
fn lock_timeout() -> Refusal {
    let error = ApiError::invalid(
        "This object cannot be accessed right now because another API request or Stripe process is currently accessing it.",
    );
    Refusal {
        error: error.status(429).code("lock_timeout"),
        reason: None,
        should_retry: Some(true),
    }
}

/// The 500 of a fault.
pub(crate) fn server_error() -> ApiError {
    let mut error = ApiError::invalid("An unknown error occurred");
    error.status = 500;
    error.kind = "api_error";
    error
}

fn internal() -> Refusal {
    Refusal {
        error: server_error(),
        reason: None,
        should_retry: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::RateLimits;

    #[test]
    fn reading_files_has_one_limit_also_for_what_they_hold() {
        let mut injector = Injector::new(Faults::new().rate_limits(RateLimits::documented()), 1);
        let now = Instant::now();
        let mut refused = |method, path| {
            let request = ApiRequest {
                method,
                path,
                authorization: Some("Bearer sk_test_1"),
                ..ApiRequest::default()
            };
            injector.decide(&request, Duration::ZERO, now).refusal.is_some()
        };
        for path in ["/v1/files/file_1/contents", "/v1/files/file_1", "/v1/files"]
            .repeat(7)
            .split_last()
            .unwrap()
            .1
        {
            assert!(!refused("GET", *path), "{path}");
        }
        for path in ["/v1/files/file_1/contents", "/v1/files"] {
            assert!(refused("GET", path), "{path}");
        }
        assert!(!refused("POST", "/v1/files") && !refused("GET", "/v1/file_links"));
        assert!(!refused("GET", "/v1/files/file_1/zebra"), "there is no such thing");
    }
}
