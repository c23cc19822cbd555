//! Keeps to the other side's limits, and learns them.
//!
//! Each request passes two gates: one for all requests with its secret, one for its endpoint. Those that cannot pass wait here, by
//! priority, and hold no slot.
//!
//! Not done with `governor`: its limiters have one rate for life, where these follow what the server says; it knows neither
//! priorities nor a reserved share; and a request has to pass two gates at once or take from neither.

mod gate;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};

use inflight_core::{PaceClass, PaceLimit, Secret, Throttle};
use tokio::time::Instant;

use self::gate::Gate;
use crate::work::Work;

/// One in so many is the one that has waited longest, whatever its priority: so every one's turn comes.
const OLDEST_FIRST_EVERY: u32 = 16;

/// More endpoints than this are kept only while they are in use.
const ENDPOINTS_KEPT: usize = 1024;

/// What a request that has passed the gates holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PaceKey {
    account: u64,
    endpoint: Cow<'static, str>,
}

/// All accounts and their endpoints.
pub(crate) struct Pacer {
    /// A secret is kept as its hash only.
    hasher: RandomState,
    accounts: HashMap<u64, Account>,
    takes: u32,
    length: usize,
}

struct Account {
    gate: Gate,
    /// How many wait.
    length: usize,
    endpoints: HashMap<Cow<'static, str>, Endpoint>,
}

struct Endpoint {
    gate: Gate,
    /// Who waits, by priority, in the order of arrival at the worker.
    waiting: [BTreeMap<u64, Work>; 3],
}

impl Pacer {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            accounts: HashMap::new(),
            takes: 0,
            length: 0,
        }
    }

    /// Takes in a request of this class.
    pub(crate) fn push(&mut self, class: PaceClass, secret: Option<&Secret>, work: Work, now: Instant) {
        let secret = secret.map(Secret::expose);
        let account = self.hasher.hash_one((secret, class.account.is_some()));
        let limit = class.account.unwrap_or(PaceLimit::per_second(u32::MAX));
        self.forget_unused(now);
        let account = self.accounts.entry(account).or_insert_with(|| Account {
            gate: Gate::new(limit, now),
            length: 0,
            endpoints: HashMap::new(),
        });
        let endpoint = account.endpoints.entry(class.endpoint).or_insert_with(|| Endpoint {
            gate: Gate::new(class.limit, now),
            waiting: Default::default(),
        });
        if endpoint.waiting[work.level()]
            .insert(work.permit.arrival, work)
            .is_none()
        {
            account.length += 1;
            self.length += 1;
        }
    }

    /// Takes out the next request that may be sent: the oldest of the highest priority, now and then the oldest of all.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Work> {
        if self.length == 0 {
            return None;
        }
        let oldest_first = self.takes.wrapping_add(1).is_multiple_of(OLDEST_FIRST_EVERY);
        let mut best: Option<((usize, u64), PaceKey)> = None;
        for (id, account) in &mut self.accounts {
            // What the account refuses to an urgent request, it refuses to all.
            if account.length == 0 || !account.gate.is_open(true, now) {
                continue;
            }
            for (name, endpoint) in &mut account.endpoints {
                for level in 0..3 {
                    let Some((arrival, _)) = endpoint.waiting[level].first_key_value() else {
                        continue;
                    };
                    let rank = (if oldest_first { 0 } else { level }, *arrival);
                    let urgent = level == 0 || oldest_first;
                    if best.as_ref().is_none_or(|(best, _)| rank < *best)
                        && account.gate.is_open(urgent, now)
                        && endpoint.gate.is_open(urgent, now)
                    {
                        let key = PaceKey {
                            account: *id,
                            endpoint: name.clone(),
                        };
                        best = Some((rank, key));
                    }
                }
            }
        }
        let ((_, arrival), key) = best?;
        self.take(arrival, key)
    }

    fn take(&mut self, arrival: u64, key: PaceKey) -> Option<Work> {
        let account = self.accounts.get_mut(&key.account)?;
        let endpoint = account.endpoints.get_mut(&key.endpoint)?;
        let mut work = endpoint
            .waiting
            .iter_mut()
            .find_map(|waiting| waiting.remove(&arrival))?;
        account.gate.pass();
        endpoint.gate.pass();
        self.takes = self.takes.wrapping_add(1);
        account.length -= 1;
        self.length -= 1;
        work.permit.pace = Some(key);
        Some(work)
    }

    /// A request that had passed was not sent after all.
    pub(crate) fn give_back(&mut self, key: &PaceKey) {
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return;
        };
        account.gate.give_back();
        if let Some(endpoint) = account.endpoints.get_mut(&key.endpoint) {
            endpoint.gate.give_back();
        }
    }

    /// A request that had passed has been answered.
    pub(crate) fn passed(&mut self, key: &PaceKey, throttle: Option<Throttle>, began: Instant, now: Instant) {
        let Some(account) = self.accounts.get_mut(&key.account) else {
            return;
        };
        account.gate.passed();
        let Some(endpoint) = account.endpoints.get_mut(&key.endpoint) else {
            return;
        };
        endpoint.gate.passed();
        match throttle {
            None => {}
            Some(Throttle::AccountRate) => account.gate.slow_down(began, now),
            Some(Throttle::AccountConcurrency) => account.gate.narrow_down(began, now),
            Some(Throttle::EndpointRate) => endpoint.gate.slow_down(began, now),
            Some(Throttle::EndpointConcurrency) => endpoint.gate.narrow_down(began, now),
        }
    }

    /// When time alone lets the next request pass.
    pub(crate) fn next_wake(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        if self.length == 0 {
            return None;
        }
        for account in self.accounts.values_mut().filter(|account| account.length > 0) {
            for endpoint in account.endpoints.values_mut() {
                let Some(level) = endpoint.waiting.iter().position(|waiting| !waiting.is_empty()) else {
                    continue;
                };
                let urgent = level == 0;
                if let (Some(account), Some(endpoint)) =
                    (account.gate.opens(urgent, now), endpoint.gate.opens(urgent, now))
                {
                    let at = account.max(endpoint);
                    next = Some(next.map_or(at, |next| next.min(at)));
                }
            }
        }
        next
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Takes out those that wait and of which `is_over` holds.
    pub(crate) fn sweep(&mut self, is_over: &mut dyn FnMut(&Work) -> bool, over: &mut Vec<Work>) {
        for account in self.accounts.values_mut().filter(|account| account.length > 0) {
            account.length = 0;
            for endpoint in account.endpoints.values_mut() {
                endpoint.sweep(is_over, over);
                account.length += endpoint.waiting.iter().map(BTreeMap::len).sum::<usize>();
            }
        }
        self.length = self.accounts.values().map(|account| account.length).sum();
    }

    fn forget_unused(&mut self, now: Instant) {
        let endpoints: usize = self.accounts.values().map(|account| account.endpoints.len()).sum();
        if endpoints < ENDPOINTS_KEPT {
            return;
        }
        self.accounts.retain(|_, account| {
            account
                .endpoints
                .retain(|_, endpoint| endpoint.waiting.iter().any(|w| !w.is_empty()) || !endpoint.gate.is_fresh(now));
            !account.endpoints.is_empty() || !account.gate.is_fresh(now)
        });
    }
}

impl Endpoint {
    fn sweep(&mut self, is_over: &mut dyn FnMut(&Work) -> bool, over: &mut Vec<Work>) {
        for waiting in &mut self.waiting {
            let gone = waiting
                .iter()
                .filter(|(_, work)| is_over(work))
                .map(|(arrival, _)| *arrival);
            let gone: Vec<_> = gone.collect();
            over.extend(gone.into_iter().filter_map(|arrival| waiting.remove(&arrival)));
        }
    }
}

#[cfg(test)]
mod tests;
