//! Rate limiters as Stripe documents its own.

use std::collections::HashMap;
use std::time::Instant;

use serde::Deserialize;

use super::RateLimitReason;

/// How many requests are taken in a second: by one account in all, and by each endpoint of it. Each may come at once as
/// well as spread over the second.
///
/// ```
/// use inflight_sim::RateLimits;
///
/// assert_ne!(RateLimits::documented(), RateLimits::new().account(5.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    account: Option<f64>,
    endpoint: Option<f64>,
    search: Option<f64>,
    files: Option<f64>,
    payouts: Option<f64>,
    payouts_at_once: Option<usize>,
}

impl RateLimits {
    /// No limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Stripe's, of an account in live mode: 100 requests a second, 25 for each endpoint, 20 for searching and for files, 15 for
    /// creating payouts and 30 of those at once. <https://docs.stripe.com/rate-limits>
    #[must_use]
    pub fn documented() -> Self {
        Self {
            account: Some(100.0),
            endpoint: Some(25.0),
            search: Some(20.0),
            files: Some(20.0),
            payouts: Some(15.0),
            payouts_at_once: Some(30),
        }
    }

    /// Sets the requests a second of an account. By default any number.
    #[must_use]
    pub fn account(mut self, a_second: f64) -> Self {
        self.account = Some(a_second);
        self
    }

    /// Sets the requests a second of each endpoint that has no limit of its own. By default any number.
    #[must_use]
    pub fn endpoint(mut self, a_second: f64) -> Self {
        self.endpoint = Some(a_second);
        self
    }

    /// Sets how many payouts may be being created at once. By default any number.
    #[must_use]
    pub fn payouts_at_once(mut self, requests: usize) -> Self {
        self.payouts_at_once = Some(requests);
        self
    }

    fn at_once(&self, operation: &str) -> Option<usize> {
        self.payouts_at_once.filter(|_| operation == "payout.create")
    }

    fn of_endpoint(&self, operation: &str, path: &str) -> Option<f64> {
        let own = if path.ends_with("/search") {
            self.search
        } else if is_of_files(path) {
            self.files
        } else if operation == "payout.create" {
            self.payouts
        } else {
            None
        };
        own.or(self.endpoint)
    }
}

/// Files themselves, and not the links to them (`/v1/file_links`).
pub(super) fn is_of_files(path: &str) -> bool {
    path.starts_with("/v1/files")
}

/// More buckets are kept only while they are in use.
const BUCKETS_MAX: usize = 10_000;

/// The limits of all accounts at work.
#[derive(Debug, Default)]
pub(super) struct Limiters {
    buckets: HashMap<Box<str>, Bucket>,
    /// When the requests that are being carried out will be answered, where their number is limited.
    running: HashMap<Box<str>, Vec<Instant>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
    a_second: f64,
}

impl Bucket {
    /// What is in it by now; it does not overflow.
    fn tokens(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + passed * self.a_second).min(self.full())
    }

    fn full(&self) -> f64 {
        self.a_second.max(1.0)
    }
}

impl Limiters {
    /// Takes a request, or says why not. What one limit refuses, the other does not count.
    pub(super) fn take(
        &mut self,
        limits: &RateLimits,
        account: &str,
        endpoint: &str,
        path: &str,
        (now, until): (Instant, Instant),
    ) -> Option<RateLimitReason> {
        let of_endpoint = format!("{account} {endpoint}");
        let wanted = [
            (account, limits.account, RateLimitReason::GlobalRate),
            (
                &of_endpoint,
                limits.of_endpoint(endpoint, path),
                RateLimitReason::EndpointRate,
            ),
        ];
        for (name, limit, reason) in wanted {
            if limit.is_some_and(|a_second| self.tokens(name, a_second, now) < 1.0) {
                return Some(reason);
            }
        }
        if let Some(at_once) = limits.at_once(endpoint) {
            if self.running.len() >= BUCKETS_MAX {
                self.running.retain(|_, ends| ends.iter().any(|end| now < *end));
            }
            let running = self.running.entry(of_endpoint.as_str().into()).or_default();
            running.retain(|end| now < *end);
            if running.len() >= at_once {
                return Some(RateLimitReason::EndpointConcurrency);
            }
            running.push(until);
        }
        for (name, limit, _) in wanted {
            if let (Some(_), Some(bucket)) = (limit, self.buckets.get_mut(name)) {
                bucket.tokens -= 1.0;
            }
        }
        None
    }

    fn tokens(&mut self, name: &str, a_second: f64, now: Instant) -> f64 {
        if self.buckets.len() >= BUCKETS_MAX {
            // A full bucket is as good as none.
            self.buckets.retain(|_, bucket| bucket.tokens(now) < bucket.full());
        }
        let bucket = self.buckets.entry(name.into()).or_insert(Bucket {
            tokens: a_second.max(1.0),
            at: now,
            a_second,
        });
        bucket.tokens = bucket.tokens(now);
        bucket.at = now;
        bucket.tokens
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_endpoint_and_an_account_take_so_many_a_second() {
        let limits = RateLimits::new().account(5.0).endpoint(3.0);
        let mut limiters = Limiters::default();
        let start = Instant::now();
        let mut take = |endpoint: &str, at: f64| {
            let now = start + Duration::from_secs_f64(at);
            limiters.take(&limits, "acct", endpoint, "/v1/x", (now, now))
        };
        for _ in 0..3 {
            assert_eq!(take("a", 0.0), None);
        }
        assert_eq!(take("a", 0.0), Some(RateLimitReason::EndpointRate));
        assert_eq!((take("b", 0.0), take("b", 0.0)), (None, None));
        assert_eq!(take("b", 0.0), Some(RateLimitReason::GlobalRate));
        assert_eq!(take("a", 0.5), None);
    }

    #[test]
    fn what_is_not_in_use_is_forgotten() {
        let limits = RateLimits::new().account(2.0);
        let mut limiters = Limiters::default();
        let start = Instant::now();
        for account in 0..3 * BUCKETS_MAX as u64 {
            let now = start + Duration::from_millis(account);
            limiters.take(&limits, &account.to_string(), "a", "/v1/x", (now, now));
        }
        assert!(limiters.buckets.len() <= BUCKETS_MAX, "{}", limiters.buckets.len());
    }

    #[test]
    fn so_many_payouts_are_created_at_once() {
        let limits = RateLimits::new().payouts_at_once(2);
        let mut limiters = Limiters::default();
        let start = Instant::now();
        let mut take = |at: u64| {
            let now = start + Duration::from_secs(at);
            limiters.take(
                &limits,
                "acct",
                "payout.create",
                "/v1/payouts",
                (now, now + Duration::from_secs(1)),
            )
        };
        assert_eq!((take(0), take(0)), (None, None));
        assert_eq!(take(0), Some(RateLimitReason::EndpointConcurrency));
        assert_eq!(take(1), None);
    }
}
