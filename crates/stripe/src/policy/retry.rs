//! Whether a failed attempt is repeated: a pure function, with a table of tests.

use std::time::Duration;

use inflight_core::{Effect, FailedAttempt, Failure, FailureKind, IdempotencyKey, Method, Request, RetryDecision};

use super::is_replayed;
use crate::catalogue::is_v2;

/// How failed attempts are repeated.
///
/// ```
/// use inflight_stripe::{RetrySettings, StripePolicy};
///
/// let policy = StripePolicy::new().retry(RetrySettings { max_retries: 5, ..RetrySettings::default() });
/// # drop(policy);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySettings {
    /// How many further attempts there may be after the first. By default 2, as in Stripe's own libraries; 0 repeats nothing but
    /// what was turned away for the rate limit. A request may say otherwise.
    pub max_retries: u32,
    /// The longest pause before the first further attempt; it doubles with each one. By default 0.5 s. The pause itself is anything
    /// from nothing up to that, evenly spread, so that those who failed together do not come back together.
    pub first_pause: Duration,
    /// What the longest pause grows to. By default 5 s.
    pub longest_pause: Duration,
    /// How much of a `Retry-After` is waited for. By default 60 s.
    pub longest_retry_after: Duration,
    /// How long after its submission a mutation of API v1 is repeated. By default 23 h: Stripe may forget a key after 24 h, and
    /// would then carry the request out anew. <https://docs.stripe.com/api/idempotent_requests>
    pub key_lifetime: Duration,
    /// The same in API v2. By default 29 days: Stripe keeps those keys for 30. <https://docs.stripe.com/api-v2-overview>
    pub key_lifetime_v2: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_retries: 2,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(5),
            longest_retry_after: Duration::from_secs(60),
            key_lifetime: Duration::from_secs(23 * 3600),
            key_lifetime_v2: Duration::from_secs(29 * 24 * 3600),
        }
    }
}

impl RetrySettings {
    /// Whether this attempt is repeated, and when.
    ///
    /// The first line that holds decides:
    ///
    /// | what | decision |
    /// |---|---|
    /// | the mutation may have been carried out and has no key, and is no DELETE | stop |
    /// | the key would be too old by then | stop |
    /// | `Stripe-Should-Retry: false` | stop |
    /// | 429 or code `rate_limit`, but for `lock_timeout` and the limit of a single object | requeue |
    /// | no further attempt is allowed | stop |
    /// | the connection ended before a byte of the answer, for the first time | at once |
    /// | `Stripe-Should-Retry: true` | after a pause |
    /// | a 2xx that is no JSON, an answer that is no HTTP | after a pause |
    /// | the answer was given before (`Idempotent-Replayed`) | stop |
    /// | 409, any other 429, 5xx | after a pause |
    /// | no connection, a broken one, a timeout of the attempt | after a pause |
    /// | anything else | stop |
    ///
    /// <https://docs.stripe.com/error-low-level>
    #[must_use]
    pub fn decide(&self, attempt: &FailedAttempt<'_>) -> RetryDecision {
        let failure = attempt.failure;
        let word = header(failure, "stripe-should-retry");
        if !is_safe_to_repeat(attempt.request, failure) || word == Some("false") {
            return RetryDecision::Stop;
        }
        let decision = if is_rate_limit(failure) && !is_of_one_object(failure) {
            RetryDecision::Requeue(self.pause(attempt, attempt.requeued))
        } else if attempt.attempts > attempt.request.max_retries.unwrap_or(self.max_retries) {
            RetryDecision::Stop
        } else if attempt.unanswered && !attempt.repeated_at_once {
            RetryDecision::AtOnce
        } else if word == Some("true") || may_pass(failure) {
            RetryDecision::After(self.pause(attempt, attempt.attempts.saturating_sub(1)))
        } else {
            RetryDecision::Stop
        };
        match (decision, self.repeatable_for(attempt.request)) {
            (RetryDecision::After(pause) | RetryDecision::Requeue(pause), Some(lifetime))
                if attempt.elapsed.saturating_add(pause) >= lifetime =>
            {
                RetryDecision::Stop
            }
            (RetryDecision::AtOnce, Some(lifetime)) if attempt.elapsed >= lifetime => RetryDecision::Stop,
            (decision, _) => decision,
        }
    }

    /// How long after its submission the request may be repeated.
    pub(super) fn repeatable_for(&self, request: &Request) -> Option<Duration> {
        if request.method.is_safe() || request.idempotency_key == IdempotencyKey::None {
            return None;
        }
        Some(if is_v2(&request.target) {
            self.key_lifetime_v2
        } else {
            self.key_lifetime
        })
    }

    /// Evenly spread from nothing to a bound that doubles ("full jitter"), on top of what the server asks for.
    fn pause(&self, attempt: &FailedAttempt<'_>, earlier: u32) -> Duration {
        let factor = 1_u32.checked_shl(earlier).unwrap_or(u32::MAX);
        let bound = self.first_pause.saturating_mul(factor).min(self.longest_pause);
        let asked = header(attempt.failure, "retry-after").and_then(|text| text.trim().parse().ok());
        let asked = asked.map_or(Duration::ZERO, Duration::from_secs);
        let random = if attempt.random.is_nan() {
            0.0
        } else {
            attempt.random.clamp(0.0, 1.0)
        };
        asked
            .min(self.longest_retry_after)
            .saturating_add(bound.mul_f64(random))
    }
}

/// Whether a repetition can do no harm: nothing was done, the key makes it the same request, or it only reads. Deleting twice
/// deletes once. <https://docs.stripe.com/api/idempotent_requests>
fn is_safe_to_repeat(request: &Request, failure: &Failure) -> bool {
    failure.effect == Effect::None
        || request.idempotency_key != IdempotencyKey::None
        || matches!(request.method, Method::Get | Method::Delete)
}

/// Turned away before anything was looked at. A lock's timeout has the same status and is another matter.
/// <https://docs.stripe.com/rate-limits>
pub(super) fn is_rate_limit(failure: &Failure) -> bool {
    failure.kind.as_str() == "rate_limit_error" && failure.code.as_deref() != Some("lock_timeout")
}

/// Turned away for the sake of one object, such as a payment intent that was changed a thousand times within an hour: no pace of ours
/// would help, and it may take long to pass. <https://docs.stripe.com/rate-limits>
fn is_of_one_object(failure: &Failure) -> bool {
    header(failure, "stripe-rate-limited-reason") == Some("resource-specific")
}

/// Whether the same request may fare better later.
fn may_pass(failure: &Failure) -> bool {
    let Some(response) = &failure.response else {
        return matches!(
            failure.kind,
            FailureKind::Connect | FailureKind::Connection | FailureKind::AttemptTimeout | FailureKind::InvalidResponse
        );
    };
    // It was carried out, and what garbled the answer on its way need not do so again.
    if failure.kind == FailureKind::InvalidResponse && response.is_success() {
        return true;
    }
    // Stripe repeats what it once answered, a 500 too.
    !is_replayed(failure) && (matches!(response.status, 409 | 429) || response.status >= 500)
}

fn header<'a>(failure: &'a Failure, name: &str) -> Option<&'a str> {
    failure.response.as_ref()?.header(name)
}

#[cfg(test)]
mod tests;
