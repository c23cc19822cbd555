//! Leaves a server that is down in peace, and finds out when it is back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{Effect, Failure, FailureKind};
use tokio::time::Instant;

use crate::work::{Work, take_out};

/// How many servers are watched at once. Only those that fail are.
const SERVERS_MAX: usize = 1024;

/// When a server counts as down, and what happens then.
///
/// Closed, requests pass. After so many failed attempts in a row, with no answer in between, it opens: nothing is sent to that server.
/// When the pause is over, one request is sent to find out. If it is answered, all others follow; if not, the next pause is twice as
/// long. An answer with a status of 500 or more counts as a failed attempt, every other answer as a sign of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// How many attempts must have failed in a row. By default 10; 0 turns the breaker off.
    pub failures: u32,
    /// The first pause. By default 1 s.
    pub first_pause: Duration,
    /// What the pause grows to. By default 30 s.
    pub longest_pause: Duration,
    /// What becomes of requests meanwhile. By default [`WhenOpen::Wait`].
    pub when_open: WhenOpen,
}

/// What becomes of requests to a server that is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenOpen {
    /// They wait until it is back, or until their deadline.
    Wait,
    /// They fail at once, as [`FailureKind::CircuitOpen`].
    Fail,
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self {
            failures: 10,
            first_pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
            when_open: WhenOpen::Wait,
        }
    }
}

/// What an attempt says of its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    Down,
}

impl Health {
    /// `None` where it says nothing.
    pub(crate) fn of(failure: Option<&Failure>) -> Option<Self> {
        let Some(failure) = failure else { return Some(Self::Up) };
        match (failure.status(), &failure.kind) {
            (Some(status), _) => Some(if status >= 500 { Self::Down } else { Self::Up }),
            (
                None,
                FailureKind::Connect
                | FailureKind::Tls
                | FailureKind::Connection
                | FailureKind::AttemptTimeout
                | FailureKind::InvalidResponse,
            ) => Some(Self::Down),
            (None, FailureKind::BodyTooLarge) => Some(Self::Up),
            (None, _) => None,
        }
    }
}

/// What the breaker says to a request.
#[allow(clippy::large_enum_variant, reason = "made once per request and taken apart at once")]
pub(crate) enum Gate {
    Pass(Work),
    /// It is kept here until the server is back.
    Held,
    Refused(Work, Failure),
}

/// The servers that have failed lately.
pub(crate) struct Breakers {
    settings: CircuitBreaker,
    servers: HashMap<Arc<str>, Server>,
    /// How many are not closed.
    open: usize,
}

struct Server {
    failures: u32,
    state: State,
    held: VecDeque<Work>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open {
        until: Instant,
        pause: Duration,
    },
    /// One request is under way to find out.
    Probing {
        pause: Duration,
    },
}

impl Breakers {
    pub(crate) fn new(settings: CircuitBreaker) -> Self {
        Self {
            settings,
            servers: HashMap::new(),
            open: 0,
        }
    }

    /// Whether every request passes.
    pub(crate) fn all_closed(&self) -> bool {
        self.open == 0
    }

    /// Whether a request may be sent to this server now.
    pub(crate) fn gate(&mut self, mut work: Work, server: &Arc<str>, now: Instant) -> Gate {
        let Some(known) = self.servers.get_mut(server) else {
            return Gate::Pass(work);
        };
        match known.state {
            State::Closed => Gate::Pass(work),
            State::Open { until, pause } if until <= now => {
                known.state = State::Probing { pause };
                work.permit.probe = Some(Arc::clone(server));
                Gate::Pass(work)
            }
            State::Open { .. } | State::Probing { .. } => match self.settings.when_open {
                WhenOpen::Wait => {
                    known.held.push_back(work);
                    Gate::Held
                }
                WhenOpen::Fail => Gate::Refused(work, refusal(server, known.failures)),
            },
        }
    }

    /// Takes in how an attempt fared; gives the requests that may go on now.
    pub(crate) fn record(&mut self, server: &Arc<str>, health: Health, now: Instant) -> VecDeque<Work> {
        match health {
            Health::Up => self.recovered(server),
            Health::Down => {
                self.failed(server, now);
                VecDeque::new()
            }
        }
    }

    fn recovered(&mut self, server: &Arc<str>) -> VecDeque<Work> {
        if self.servers.is_empty() {
            return VecDeque::new();
        }
        let Some(known) = self.servers.remove(server) else {
            return VecDeque::new();
        };
        self.open -= usize::from(!matches!(known.state, State::Closed));
        known.held
    }

    fn failed(&mut self, server: &Arc<str>, now: Instant) {
        let settings = self.settings;
        if settings.failures == 0 || (self.servers.len() >= SERVERS_MAX && !self.servers.contains_key(server)) {
            return;
        }
        let known = self.servers.entry(Arc::clone(server)).or_insert_with(|| Server {
            failures: 0,
            state: State::Closed,
            held: VecDeque::new(),
        });
        known.failures = known.failures.saturating_add(1);
        let pause = match known.state {
            State::Closed if known.failures >= settings.failures => {
                self.open += 1;
                settings.first_pause
            }
            State::Probing { pause } => pause.saturating_mul(2).min(settings.longest_pause),
            // Attempts that were under way when it opened say nothing new.
            State::Closed | State::Open { .. } => return,
        };
        let until = now.checked_add(pause).unwrap_or(now);
        known.state = State::Open { until, pause };
    }

    /// The request that was to find out has not been sent: the next one may.
    pub(crate) fn not_probed(&mut self, server: &Arc<str>, now: Instant) {
        if let Some(known) = self.servers.get_mut(server)
            && let State::Probing { pause } = known.state
        {
            known.state = State::Open { until: now, pause };
        }
    }

    /// Takes out one request for each server whose pause is over and that requests wait for.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Work> {
        let mut probes = Vec::new();
        if self.open == 0 {
            return probes;
        }
        for (server, known) in &mut self.servers {
            if let State::Open { until, pause } = known.state
                && until <= now
                && let Some(mut work) = known.held.pop_front()
            {
                known.state = State::Probing { pause };
                work.permit.probe = Some(Arc::clone(server));
                probes.push(work);
            }
        }
        probes
    }

    /// When the next pause is over that requests wait for.
    pub(crate) fn next_wake(&self) -> Option<Instant> {
        if self.open == 0 {
            return None;
        }
        let pauses = self.servers.values().filter_map(|known| match known.state {
            State::Open { until, .. } if !known.held.is_empty() => Some(until),
            _ => None,
        });
        pauses.min()
    }

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        if self.open == 0 {
            return 0;
        }
        self.servers.values().map(|known| known.held.len()).sum()
    }

    /// Takes out those that wait and of which `is_over` holds.
    pub(crate) fn sweep(&mut self, is_over: &mut dyn FnMut(&Work) -> bool, over: &mut Vec<Work>) {
        for known in self.servers.values_mut() {
            take_out(&mut known.held, is_over, over);
        }
    }
}

fn refusal(server: &str, failures: u32) -> Failure {
    Failure::new(
        FailureKind::CircuitOpen,
        Effect::None,
        format!("{server} has failed {failures} times in a row, and nothing is sent to it until it has recovered"),
    )
    .retryable()
}
