//! Figures over time. However long a run takes, they are a bounded number of points: when there are too many, two become one.

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The time of one point, at first.
const FIRST_STEP: Duration = Duration::from_millis(250);
/// How many points there are at most: five minutes of the first step.
const POINTS_MAX: usize = 1_200;
/// Latencies of an hour and more count as an hour.
const LATENCY_MAX_MICROS: u64 = 3_600_000_000;

/// What happened in one step, and how things stood at its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Point {
    /// The end of the step, in milliseconds since the run's start.
    pub(crate) at_ms: u64,
    /// How long the step took: a little more than it should.
    pub(crate) took_ms: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) retries: u64,
    pub(crate) rate_limited: u64,
    /// Milliseconds, of the requests that ended in this step; of the worst part, where steps were put together.
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) in_flight: usize,
    /// By priority, the most urgent first.
    pub(crate) queued: [usize; 3],
    pub(crate) waiting: usize,
    pub(crate) scripts: usize,
}

impl Point {
    /// Two steps as one.
    fn and(self, later: Self) -> Self {
        Self {
            took_ms: self.took_ms + later.took_ms,
            completed: self.completed + later.completed,
            failed: self.failed + later.failed,
            retries: self.retries + later.retries,
            rate_limited: self.rate_limited + later.rate_limited,
            p50_ms: self.p50_ms.max(later.p50_ms),
            p95_ms: self.p95_ms.max(later.p95_ms),
            p99_ms: self.p99_ms.max(later.p99_ms),
            ..later
        }
    }
}

/// How things stand now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gauges {
    pub(crate) in_flight: usize,
    pub(crate) queued: [usize; 3],
    pub(crate) waiting: usize,
    pub(crate) scripts: usize,
}

#[derive(Debug)]
pub(crate) struct Series {
    step: Duration,
    points: VecDeque<Point>,
    current: Point,
    step_latencies: Histogram<u64>,
    latencies: Histogram<u64>,
    /// The beginning of the step under way.
    since: Duration,
}

impl Series {
    pub(crate) fn new() -> Self {
        let histogram = |digits| {
            Histogram::new_with_bounds(1, LATENCY_MAX_MICROS, digits)
                .unwrap_or_else(|_| unreachable!("an hour in microseconds to so many digits is possible"))
        };
        Self {
            step: FIRST_STEP,
            points: VecDeque::new(),
            current: Point::default(),
            step_latencies: histogram(2),
            latencies: histogram(3),
            since: Duration::ZERO,
        }
    }

    pub(crate) fn ended(&mut self, well: bool, latency: Option<Duration>) {
        if well {
            self.current.completed += 1;
        } else {
            self.current.failed += 1;
        }
        if let Some(latency) = latency {
            let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
            self.step_latencies.saturating_record(micros);
            self.latencies.saturating_record(micros);
        }
    }

    pub(crate) fn retried(&mut self) {
        self.current.retries += 1;
    }

    pub(crate) fn rate_limited(&mut self) {
        self.current.rate_limited += 1;
    }

    /// Ends the step under way if its time has come, or if `close` says so. The points' rates are by the time that each took, since
    /// nobody comes exactly in time.
    pub(crate) fn sample(&mut self, gauges: Gauges, now: Duration, close: bool) {
        let took = now.saturating_sub(self.since);
        if took < self.step && !close {
            return;
        }
        let quantile = |q| self.step_latencies.value_at_quantile(q) as f64 / 1e3;
        let point = Point {
            at_ms: whole_ms(now),
            // Up to the same rounded moment as the point before.
            took_ms: whole_ms(now).saturating_sub(whole_ms(self.since)),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            in_flight: gauges.in_flight,
            queued: gauges.queued,
            waiting: gauges.waiting,
            scripts: gauges.scripts,
            ..std::mem::take(&mut self.current)
        };
        self.step_latencies.reset();
        // Of a moment no rate can be told: the last one belongs to the step before.
        let before = if took * 2 < self.step {
            self.points.pop_back()
        } else {
            None
        };
        self.points.push_back(before.map_or(point, |before| before.and(point)));
        if self.points.len() > POINTS_MAX {
            self.halve();
        }
        self.since = now;
    }

    fn halve(&mut self) {
        let mut points = std::mem::take(&mut self.points).into_iter();
        while let Some(first) = points.next() {
            self.points.push_back(match points.next() {
                Some(second) => first.and(second),
                None => first,
            });
        }
        self.step *= 2;
    }

    /// The time of one point, in milliseconds.
    pub(crate) fn step_ms(&self) -> u64 {
        whole_ms(self.step)
    }

    /// The last points, or all.
    pub(crate) fn last(&self, count: usize) -> Vec<Point> {
        let skipped = self.points.len().saturating_sub(count);
        self.points.iter().skip(skipped).copied().collect()
    }

    /// In microseconds, of all requests so far.
    pub(crate) fn latencies(&self) -> &Histogram<u64> {
        &self.latencies
    }
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_its_sums_in_bounded_points() {
        let mut series = Series::new();
        let mut now = Duration::ZERO;
        for _ in 0..POINTS_MAX * 5 {
            series.ended(true, Some(Duration::from_millis(2)));
            series.ended(false, None);
            now += FIRST_STEP * 8;
            series.sample(Gauges::default(), now, false);
        }
        series.sample(Gauges::default(), now, true);
        let points = series.last(usize::MAX);
        assert!(points.len() <= POINTS_MAX, "{}", points.len());
        let sum: (u64, u64) = points
            .iter()
            .fold((0, 0), |sum, point| (sum.0 + point.completed, sum.1 + point.failed));
        assert_eq!(sum, (POINTS_MAX as u64 * 5, POINTS_MAX as u64 * 5));
        let took: u64 = points.iter().map(|point| point.took_ms).sum();
        assert_eq!(u128::from(took), now.as_millis());
        assert!(series.step_ms() > whole_ms(FIRST_STEP));
        assert!((points[0].p50_ms - 2.0).abs() < 0.1, "{:?}", points[0]);
    }

    #[test]
    fn a_step_ends_when_its_time_has_come() {
        let mut series = Series::new();
        series.ended(true, None);
        series.sample(Gauges::default(), FIRST_STEP / 2, false);
        assert!(series.last(usize::MAX).is_empty());
        series.sample(Gauges::default(), FIRST_STEP, false);
        assert_eq!(series.last(usize::MAX).len(), 1);
        series.ended(false, None);
        series.sample(Gauges::default(), FIRST_STEP * 3, false);
        assert_eq!(series.last(1)[0].failed, 1);
        assert_eq!(u128::from(series.last(1)[0].took_ms), (FIRST_STEP * 2).as_millis());
        // The end of the run a moment later makes no point of its own.
        series.ended(true, None);
        series.sample(Gauges::default(), FIRST_STEP * 3 + FIRST_STEP / 10, true);
        let last = series.last(usize::MAX);
        assert_eq!((last.len(), last[1].completed, last[1].failed), (2, 1, 1));
    }
}
