//! How long an answer takes.

use std::ops::Range;
use std::time::Duration;

use crate::random::Random;

/// How long the simulator takes to answer.
///
/// A request is carried out when it arrives; then the answer waits. A client that gives up in between has changed the
/// state all the same, as at Stripe.
///
/// ```
/// use std::time::Duration;
/// use inflight_sim::Latency;
///
/// let fixed = Latency::fixed(Duration::from_millis(100));
/// let varied = Latency::range(Duration::from_millis(50)..Duration::from_millis(150));
/// assert_ne!(fixed, varied);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Latency {
    shortest: Duration,
    spread: Duration,
    mean: Duration,
}

impl Latency {
    /// Always so long.
    #[must_use]
    pub fn fixed(latency: Duration) -> Self {
        Self {
            shortest: latency,
            ..Self::default()
        }
    }

    /// Evenly spread over this range. An empty range is its start.
    #[must_use]
    pub fn range(latency: Range<Duration>) -> Self {
        Self {
            shortest: latency.start,
            spread: latency.end.saturating_sub(latency.start),
            ..Self::default()
        }
    }

    /// Exponentially distributed: mostly shorter than this mean, one in a hundred more than 4.6 times as long. At most ten times
    /// as long.
    #[must_use]
    pub fn exponential(mean: Duration) -> Self {
        Self {
            mean,
            ..Self::default()
        }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> Duration {
        let spread = u64::try_from(self.spread.as_nanos()).unwrap_or(u64::MAX);
        let mut latency = self.shortest + Duration::from_nanos(random.below(spread));
        if !self.mean.is_zero() {
            latency += self.mean.mul_f64((-(1.0 - random.unit()).ln()).min(10.0));
        }
        latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_latencies_stay_in_their_range() {
        let ms = Duration::from_millis;
        let mut random = Random::new(7);
        assert_eq!(Latency::default().draw(&mut random), Duration::ZERO);
        assert_eq!(Latency::fixed(ms(5)).draw(&mut random), ms(5));
        #[allow(clippy::reversed_empty_ranges, reason = "what a careless caller gives")]
        let reversed = Latency::range(ms(9)..ms(2));
        assert_eq!(reversed.draw(&mut random), ms(9));
        let drawn: Vec<_> = (0..1000)
            .map(|_| Latency::exponential(ms(10)).draw(&mut random))
            .collect();
        let mean = drawn.iter().sum::<Duration>() / 1000;
        assert!((ms(9)..ms(11)).contains(&mean), "{mean:?}");
        for _ in 0..1000 {
            let drawn = Latency::range(ms(50)..ms(150)).draw(&mut random);
            assert!((ms(50)..ms(150)).contains(&drawn));
        }
    }
}
