//! What is known of requests: all that have not ended, and the last ones that have.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use inflight::core::{Method, Priority, RequestId};
use serde::{Serialize, Serializer};

use crate::duration::milliseconds;

/// How many pending requests are followed. Further ones are only counted.
const PENDING_MAX: usize = 20_000;
/// How many requests that ended well are kept, and how many that did not.
const KEPT: usize = 500;
/// How many attempts of one request are kept, the last ones.
const ATTEMPTS_KEPT: usize = 50;
/// How many pending requests are shown at once, the oldest ones.
const PENDING_SHOWN: usize = 100;
/// How many ended requests are shown at once, the latest ones.
const ENDED_SHOWN: usize = 50;
/// How many different names are kept once for all. Names come from the catalogue and, with `stripe::raw`, from scripts.
const NAMES_MAX: usize = 2_000;

/// One request.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Request {
    #[serde(serialize_with = "as_text")]
    pub(crate) id: RequestId,
    pub(crate) operation: Arc<str>,
    pub(crate) method: &'static str,
    pub(crate) priority: &'static str,
    pub(crate) script: Arc<str>,
    /// Milliseconds since the run's start, as all moments here.
    pub(crate) submitted_ms: f64,
    pub(crate) state: State,
    pub(crate) attempts_made: u32,
    pub(crate) attempts: VecDeque<Attempt>,
    pub(crate) ending: Option<Ending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// Nothing of it has been sent.
    Queued,
    /// An attempt is under way.
    Sent,
    /// It waits for a further attempt.
    Waiting,
    /// It has ended.
    Ended,
}

/// One HTTP exchange.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Attempt {
    pub(crate) number: u32,
    pub(crate) began_ms: f64,
    /// `None` while it is under way.
    pub(crate) duration_ms: Option<f64>,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<Box<str>>,
    /// Stripe's own id for it.
    pub(crate) request_id: Option<Box<str>>,
    pub(crate) replayed: bool,
    /// Why there is to be a further one, and after which pause.
    pub(crate) retry: Option<&'static str>,
    pub(crate) pause_ms: Option<f64>,
}

/// How a request ended.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ending {
    /// `completed`, `failed`, `timeout` or `cancelled`.
    pub(crate) status: &'static str,
    pub(crate) latency_ms: f64,
    pub(crate) object: Option<Box<str>>,
    pub(crate) failure: Option<Failure>,
}

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Failure {
    pub(crate) kind: Box<str>,
    pub(crate) code: Option<Box<str>>,
    pub(crate) effect: &'static str,
    pub(crate) needs_reconcile: bool,
    pub(crate) message: Box<str>,
    pub(crate) request_id: Option<Box<str>>,
}

/// A line in a list of requests.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    #[serde(serialize_with = "as_text")]
    id: RequestId,
    operation: Arc<str>,
    script: Arc<str>,
    priority: &'static str,
    state: State,
    attempt: u32,
    submitted_ms: f64,
    /// How it ended, and why.
    status: Option<&'static str>,
    kind: Option<Box<str>>,
    latency_ms: Option<f64>,
    request_id: Option<Box<str>>,
}

impl Line {
    pub(super) fn of(request: &Request) -> Self {
        let failure = request.ending.as_ref().and_then(|ending| ending.failure.as_ref());
        Self {
            id: request.id,
            operation: Arc::clone(&request.operation),
            script: Arc::clone(&request.script),
            priority: request.priority,
            state: request.state,
            attempt: request.attempts_made,
            submitted_ms: request.submitted_ms,
            status: request.ending.as_ref().map(|ending| ending.status),
            kind: failure.map(|failure| failure.kind.clone()),
            latency_ms: request.ending.as_ref().map(|ending| ending.latency_ms),
            request_id: failure.and_then(|failure| failure.request_id.clone()),
        }
    }
}

/// An id as a script sees it.
pub(super) fn as_text<S: Serializer>(id: &RequestId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// A request that has just been accepted.
pub(crate) struct New<'a> {
    pub(crate) id: RequestId,
    pub(crate) operation: &'a str,
    pub(crate) method: Method,
    pub(crate) priority: Priority,
    pub(crate) script: Arc<str>,
}

#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// By their order of submission.
    pending: BTreeMap<u64, Request>,
    numbers: HashMap<RequestId, u64>,
    submitted: u64,
    names: HashSet<Arc<str>>,
    ended: VecDeque<Request>,
    failed: VecDeque<Request>,
}

impl Requests {
    pub(crate) fn submitted(&mut self, new: New<'_>, now: Duration) {
        self.submitted += 1;
        if self.pending.len() >= PENDING_MAX {
            return;
        }
        let request = Request {
            id: new.id,
            operation: self.name(new.operation),
            method: new.method.as_str(),
            priority: new.priority.as_str(),
            script: new.script,
            submitted_ms: milliseconds(now),
            state: State::Queued,
            attempts_made: 0,
            attempts: VecDeque::new(),
            ending: None,
        };
        self.numbers.insert(new.id, self.submitted);
        self.pending.insert(self.submitted, request);
    }

    pub(crate) fn attempt_began(&mut self, id: RequestId, number: u32, now: Duration) {
        let Some(request) = self.pending_mut(id) else { return };
        request.state = State::Sent;
        request.attempts_made = number;
        if request.attempts.len() == ATTEMPTS_KEPT {
            request.attempts.pop_front();
        }
        request.attempts.push_back(Attempt {
            number,
            began_ms: milliseconds(now),
            duration_ms: None,
            status: None,
            error: None,
            request_id: None,
            replayed: false,
            retry: None,
            pause_ms: None,
        });
    }

    /// The attempt that has just ended, to be filled in.
    pub(crate) fn attempt_ended(&mut self, id: RequestId, goes_on: bool) -> Option<&mut Attempt> {
        let request = self.pending_mut(id)?;
        if goes_on {
            request.state = State::Waiting;
        }
        request.attempts.back_mut()
    }

    pub(crate) fn ended(&mut self, id: RequestId, ending: Ending) {
        let Some(number) = self.numbers.remove(&id) else { return };
        let Some(mut request) = self.pending.remove(&number) else {
            return;
        };
        request.state = State::Ended;
        let ended = if ending.failure.is_some() {
            &mut self.failed
        } else {
            &mut self.ended
        };
        request.ending = Some(ending);
        if ended.len() == KEPT {
            ended.pop_front();
        }
        ended.push_back(request);
    }

    /// One request with its attempts, if it is still known.
    pub(crate) fn find(&self, id: RequestId) -> Option<Request> {
        let pending = self.numbers.get(&id).and_then(|number| self.pending.get(number));
        let mut ended = self.failed.iter().chain(&self.ended);
        pending.or_else(|| ended.find(|request| request.id == id)).cloned()
    }

    /// The oldest requests that have not ended.
    pub(crate) fn pending_lines(&self) -> Vec<Line> {
        self.pending.values().take(PENDING_SHOWN).map(Line::of).collect()
    }

    /// The latest requests that have, the latest first: those that ended well, and those that did not.
    pub(crate) fn ended_lines(&self) -> (Vec<Line>, Vec<Line>) {
        let lines = |requests: &VecDeque<Request>| requests.iter().rev().take(ENDED_SHOWN).map(Line::of).collect();
        (lines(&self.ended), lines(&self.failed))
    }

    /// The requests that the lists name.
    pub(crate) fn listed(&self) -> Vec<Request> {
        let pending = self.pending.values().take(PENDING_SHOWN);
        let last = |requests: &VecDeque<Request>| -> Vec<Request> {
            requests.iter().rev().take(ENDED_SHOWN).cloned().collect()
        };
        let ended = [last(&self.ended), last(&self.failed)].concat();
        pending.cloned().chain(ended).collect()
    }

    fn pending_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.pending.get_mut(self.numbers.get(&id)?)
    }

    /// The one copy of this name.
    pub(crate) fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        if self.names.len() < NAMES_MAX {
            self.names.insert(Arc::clone(&name));
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submit(requests: &mut Requests) -> RequestId {
        let id = RequestId::random();
        let new = New {
            id,
            operation: "product.create",
            method: Method::Post,
            priority: Priority::Normal,
            script: "a.rhai".into(),
        };
        requests.submitted(new, Duration::from_millis(5));
        id
    }

    fn completed() -> Ending {
        Ending {
            status: "completed",
            latency_ms: 1.0,
            object: None,
            failure: None,
        }
    }

    #[test]
    fn a_request_is_followed_to_its_end() {
        let mut requests = Requests::default();
        let id = submit(&mut requests);
        requests.attempt_began(id, 1, Duration::from_millis(6));
        let attempt = requests.attempt_ended(id, true).expect("it is followed");
        attempt.status = Some(500);
        assert_eq!(requests.find(id).map(|request| request.state), Some(State::Waiting));
        requests.attempt_began(id, 2, Duration::from_millis(7));
        requests.ended(id, completed());
        let request = requests.find(id).expect("it is kept");
        assert_eq!((request.state, request.attempts_made), (State::Ended, 2));
        let statuses: Vec<_> = request.attempts.iter().map(|attempt| attempt.status).collect();
        assert_eq!(statuses, [Some(500), None]);
        assert!(requests.pending_lines().is_empty());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut requests = Requests::default();
        let first = submit(&mut requests);
        for number in 1..=200 {
            requests.attempt_began(first, number, Duration::ZERO);
        }
        assert_eq!(
            requests.find(first).map(|request| request.attempts.len()),
            Some(ATTEMPTS_KEPT)
        );
        let mut last = first;
        for _ in 0..PENDING_MAX + 10 {
            last = submit(&mut requests);
        }
        assert_eq!(requests.pending.len(), PENDING_MAX);
        assert!(requests.find(last).is_none(), "only counted");
        assert_eq!(requests.pending_lines().len(), PENDING_SHOWN);
        let ids: Vec<_> = requests.numbers.keys().copied().collect();
        for id in ids {
            requests.ended(id, completed());
        }
        assert_eq!(
            (requests.pending.len(), requests.numbers.len(), requests.ended.len()),
            (0, 0, KEPT)
        );
    }
}
