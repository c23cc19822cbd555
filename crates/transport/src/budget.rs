//! How many further attempts there may be, so that an outage is not multiplied by them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many further attempts a worker makes, as a share of what it sends. Each request pays a share of a token in with its first
/// attempt, time pays in too, and each further attempt takes a whole one out. Where there is none, a further attempt waits until time has
/// paid it in, for at most 30 s and not beyond its request's deadline; else the failure stands.
///
/// Attempts that were turned away for the rate limit are repeated outside this budget: pacing bounds those.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryBudget {
    /// What each request pays in. By default 0.2: one further attempt for five requests.
    pub share: f64,
    /// What each second pays in, for those that send little. By default 10.
    pub per_second: f64,
    /// How many tokens are kept at most, and how many there are at first. By default 100.
    pub reserve: f64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            share: 0.2,
            per_second: 10.0,
            reserve: 100.0,
        }
    }
}

impl RetryBudget {
    /// As many further attempts as the policy wants.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            share: 0.0,
            per_second: 0.0,
            reserve: f64::INFINITY,
        }
    }
}

/// How long a further attempt waits for its token at most: about as long as a server that is down is left in peace.
const LONGEST_WAIT: f64 = 30.0;

/// The tokens of one worker.
#[derive(Debug)]
pub(crate) struct Budget {
    settings: RetryBudget,
    tokens: Mutex<Tokens>,
}

#[derive(Debug)]
struct Tokens {
    /// Less than nothing where attempts wait for theirs.
    left: f64,
    /// When time last paid in.
    paid: Option<Instant>,
}

impl Budget {
    pub(crate) fn new(settings: RetryBudget) -> Self {
        let tokens = Tokens {
            left: settings.reserve,
            paid: None,
        };
        Self {
            settings,
            tokens: Mutex::new(tokens),
        }
    }

    /// A request is sent for the first time.
    pub(crate) fn deposit(&self) {
        let mut tokens = self.tokens();
        tokens.left = (tokens.left + self.settings.share).min(self.settings.reserve);
    }

    /// When there may be a further attempt: after this time, if that is no longer than `most`.
    pub(crate) fn withdraw(&self, now: Instant, most: Duration) -> Option<Duration> {
        let mut tokens = self.tokens();
        let since = tokens
            .paid
            .map_or(0.0, |paid| now.saturating_duration_since(paid).as_secs_f64());
        tokens.paid = Some(now);
        tokens.left = (tokens.left + since * self.settings.per_second).min(self.settings.reserve);
        let missing = (1.0 - tokens.left).max(0.0);
        let wait = if missing > 0.0 {
            missing / self.settings.per_second
        } else {
            0.0
        };
        let granted = wait <= LONGEST_WAIT.min(most.as_secs_f64());
        if granted {
            tokens.left -= 1.0;
        }
        granted.then(|| Duration::from_secs_f64(wait))
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many may be made within this time.
    fn withdrawn_within(budget: &Budget, now: Instant, most: Duration) -> usize {
        std::iter::repeat_with(|| budget.withdraw(now, most))
            .take(10_000)
            .take_while(Option::is_some)
            .count()
    }

    fn withdrawn(budget: &Budget, now: Instant) -> usize {
        withdrawn_within(budget, now, Duration::ZERO)
    }

    #[test]
    fn a_fifth_of_the_requests_and_ten_a_second() {
        let budget = Budget::new(RetryBudget::default());
        let now = Instant::now();
        assert_eq!(withdrawn(&budget, now), 100, "the reserve");
        for _ in 0..50 {
            budget.deposit();
        }
        // Fifths do not add up exactly.
        assert!((9..=10).contains(&withdrawn(&budget, now)));
        assert!((20..=21).contains(&withdrawn(&budget, now + Duration::from_secs(2))));
        assert_eq!(
            withdrawn(&budget, now + Duration::from_secs(3600)),
            100,
            "never more than the reserve"
        );
    }

    #[test]
    fn what_finds_no_token_waits_for_one_as_long_as_it_may() {
        let budget = Budget::new(RetryBudget::default());
        let now = Instant::now();
        assert_eq!(withdrawn(&budget, now), 100, "the reserve");
        let wait = |most: u64| budget.withdraw(now, Duration::from_secs(most));
        assert_eq!(wait(1), Some(Duration::from_millis(100)));
        assert_eq!(wait(1), Some(Duration::from_millis(200)), "one after the other");
        assert_eq!(withdrawn_within(&budget, now, Duration::from_secs(1)), 8);
        assert_eq!(
            withdrawn_within(&budget, now, Duration::from_secs(600)),
            290,
            "30 s at most"
        );
        // What has waited is paid for.
        let later = now + Duration::from_secs(31);
        assert_eq!(withdrawn(&budget, later), 10);
    }

    #[test]
    fn no_budget_bounds_nothing() {
        let budget = Budget::new(RetryBudget::unlimited());
        assert_eq!(withdrawn(&budget, Instant::now()), 10_000);
    }
}
