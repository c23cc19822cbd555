//! One limit: a bucket of tokens that fills at a rate, and a number of requests at once. Both adapt.

use std::time::Duration;

use inflight_core::PaceLimit;
use tokio::time::Instant;

/// We stay this much below the limit: the other side's clock is not ours.
const MARGIN: f64 = 0.98;

/// The bucket holds what comes in this time, in seconds...
const BURST_SECONDS: f64 = 0.1;
/// ...and at least so many tokens.
const SMALLEST_BURST: f64 = 3.0;

/// The share of the bucket that only urgent requests take from, and the least number of tokens that it is.
const RESERVED_SHARE: f64 = 0.2;
const RESERVED_LEAST: f64 = 1.0;

/// What is left of a rate or of a number at once after a refusal ("multiplicative decrease").
const DECREASE: f64 = 0.7;
/// How long it takes until that shows: the other side counts over a second.
const SETTLING: Duration = Duration::from_millis(500);
/// The part of the limit that comes back in a second ("additive increase").
const INCREASE: f64 = 0.1;
/// A number at once above this is none.
const UNBOUNDED: f64 = 100_000.0;
/// A rate falls no lower than this part of the limit.
const LOWEST_RATE: f64 = 0.05;

#[derive(Debug)]
pub(super) struct Gate {
    /// Tokens a second at full rate.
    full: f64,
    rate: f64,
    tokens: f64,
    /// How many at once at full width.
    wide: f64,
    width: f64,
    in_flight: u32,
    /// When `tokens`, `rate` and `width` were right.
    at: Instant,
    /// When it was last narrowed.
    narrowed: Option<Instant>,
}

impl Gate {
    pub(super) fn new(limit: PaceLimit, now: Instant) -> Self {
        let full = f64::from(limit.per_second.max(1)) * MARGIN;
        let wide = limit
            .concurrent
            .map_or(f64::INFINITY, |at_once| f64::from(at_once.max(1)));
        Self {
            full,
            rate: full,
            tokens: burst(full),
            wide,
            width: wide,
            in_flight: 0,
            at: now,
            narrowed: None,
        }
    }

    /// Brings everything up to date.
    fn tick(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        if since <= 0.0 {
            return;
        }
        self.at = now;
        self.tokens = (self.tokens + self.rate * since).min(burst(self.full));
        self.rate = (self.rate + self.full * INCREASE * since).min(self.full);
        if self.width < self.wide {
            self.width = (self.width + (self.width * INCREASE).max(1.0) * since).min(self.wide);
            if self.width > UNBOUNDED {
                self.width = self.wide;
            }
        }
    }

    /// Whether a request may pass now.
    pub(super) fn is_open(&mut self, urgent: bool, now: Instant) -> bool {
        self.tick(now);
        self.tokens >= self.needed(urgent) && !self.is_crowded()
    }

    /// When a request may pass, if time alone brings it about.
    pub(super) fn opens(&mut self, urgent: bool, now: Instant) -> Option<Instant> {
        self.tick(now);
        if self.is_crowded() {
            return None;
        }
        let missing = (self.needed(urgent) - self.tokens).max(0.0);
        // The rate may grow meanwhile: then this is a little late, never early.
        Some(now + Duration::from_secs_f64((missing / self.rate).min(3600.0)))
    }

    fn needed(&self, urgent: bool) -> f64 {
        if urgent {
            return 1.0;
        }
        1.0 + (burst(self.full) * RESERVED_SHARE).max(RESERVED_LEAST)
    }

    fn is_crowded(&self) -> bool {
        f64::from(self.in_flight) + 1.0 > self.width.max(1.0)
    }

    pub(super) fn pass(&mut self) {
        self.tokens -= 1.0;
        self.in_flight += 1;
    }

    pub(super) fn passed(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// One that had passed was not sent: the next one has its token.
    pub(super) fn give_back(&mut self) {
        self.passed();
        self.tokens = (self.tokens + 1.0).min(burst(self.full));
    }

    /// An attempt that began then was refused for the rate. Those that began before the last narrowing had shown say nothing new.
    pub(super) fn slow_down(&mut self, began: Instant, now: Instant) {
        self.tick(now);
        if self.narrow(began, now) {
            self.rate = (self.rate * DECREASE).max(self.full * LOWEST_RATE);
            self.tokens = self.tokens.min(0.0);
        }
    }

    /// The same for the number at once.
    pub(super) fn narrow_down(&mut self, began: Instant, now: Instant) {
        self.tick(now);
        if self.narrow(began, now) {
            // Before the first refusal nobody knows how wide it is.
            let at_once = self.width.min(f64::from(self.in_flight) + 1.0);
            self.width = (at_once * DECREASE).max(1.0);
        }
    }

    fn narrow(&mut self, began: Instant, now: Instant) -> bool {
        let news = self.narrowed.is_none_or(|narrowed| began > narrowed + SETTLING);
        if news {
            self.narrowed = Some(now);
        }
        news
    }

    /// Whether it is as it was made, so that it can be forgotten.
    pub(super) fn is_fresh(&mut self, now: Instant) -> bool {
        self.tick(now);
        self.in_flight == 0 && self.rate >= self.full && self.tokens >= burst(self.full) && self.width >= self.wide
    }
}

fn burst(full: f64) -> f64 {
    (full * BURST_SECONDS).max(SMALLEST_BURST)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many pass in this many seconds, if as many come as may pass.
    fn passing(gate: &mut Gate, start: Instant, seconds: u32, urgent: bool) -> u32 {
        let mut passed = 0;
        for millisecond in 0..u64::from(seconds) * 1000 {
            let now = start + Duration::from_millis(millisecond);
            while gate.is_open(urgent, now) {
                gate.pass();
                gate.passed();
                passed += 1;
            }
        }
        passed
    }

    #[test]
    fn the_rate_is_kept_and_used() {
        for limit in [15, 25, 100] {
            let now = Instant::now();
            let mut gate = Gate::new(PaceLimit::per_second(limit), now);
            let passed = passing(&mut gate, now, 10, false);
            let most = limit * 10;
            assert!(
                passed > most * 95 / 100 && passed <= most + limit / 10,
                "{passed} of {most}"
            );
        }
    }

    #[test]
    fn a_part_is_kept_for_what_is_urgent() {
        let now = Instant::now();
        let mut gate = Gate::new(PaceLimit::per_second(25), now);
        while gate.is_open(false, now) {
            gate.pass();
        }
        assert!(gate.is_open(true, now), "an urgent one does not wait");
        gate.pass();
        assert!(!gate.is_open(true, now), "but there is no end to it");
    }

    #[test]
    fn it_slows_down_once_per_burst_of_refusals_and_recovers() {
        let now = Instant::now();
        let mut gate = Gate::new(PaceLimit::per_second(100), now);
        for _ in 0..20 {
            gate.slow_down(now, now);
        }
        assert!((gate.rate / gate.full - DECREASE).abs() < 1e-9);
        let later = now + Duration::from_secs(1);
        gate.slow_down(later, later);
        assert!((gate.rate / gate.full - (DECREASE + INCREASE) * DECREASE).abs() < 1e-6);
        assert!(!gate.is_fresh(later));
        assert!(gate.is_fresh(later + Duration::from_secs(60)));
        for second in 0..100 {
            let now = later + Duration::from_secs(100) + Duration::from_millis(second);
            gate.slow_down(now, now);
        }
        assert!(gate.rate >= gate.full * LOWEST_RATE, "it never stops");
    }

    #[test]
    fn the_number_at_once_is_kept_and_learned() {
        let now = Instant::now();
        let mut gate = Gate::new(PaceLimit::per_second(100_000).concurrent(30), now);
        let mut inside = 0;
        while gate.is_open(true, now) {
            gate.pass();
            inside += 1;
        }
        assert_eq!(inside, 30);
        assert_eq!(gate.opens(true, now), None, "time alone does not help");
        gate.passed();
        assert!(gate.is_open(true, now));

        let mut unknown = Gate::new(PaceLimit::per_second(100_000), now);
        for _ in 0..10 {
            unknown.pass();
        }
        unknown.narrow_down(now, now);
        assert!(unknown.width < 10.0 && !unknown.is_open(true, now));
        for _ in 0..10 {
            unknown.passed();
        }
        assert!(unknown.is_open(true, now));
    }
}
