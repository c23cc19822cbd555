//! What is known of scripts: all that run, and the last ones that have ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use inflight::core::Session;
use serde::Serialize;

use crate::duration::milliseconds;

/// How many scripts are shown of each kind: those that run, the oldest; those that have ended, the last.
const SHOWN: usize = 50;

/// How many scripts there are.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) total: usize,
    pub(crate) live: usize,
    pub(crate) ok: usize,
    pub(crate) failed: usize,
}

/// One script.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Line {
    pub(super) name: Arc<str>,
    pub(super) state: &'static str,
    pub(super) began_ms: f64,
    pub(super) wall_ms: Option<f64>,
    /// Requests that have not ended.
    pub(super) pending: usize,
    pub(super) submitted: u64,
    pub(super) error: Option<Box<str>>,
}

#[derive(Debug)]
struct Live {
    name: Arc<str>,
    session: Session,
    began: Duration,
}

#[derive(Debug)]
pub(crate) struct Scripts {
    total: usize,
    /// By session.
    live: BTreeMap<u64, Live>,
    ok: usize,
    failed: usize,
    ended_well: VecDeque<Line>,
    ended_badly: VecDeque<Line>,
}

impl Scripts {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            live: BTreeMap::new(),
            ok: 0,
            failed: 0,
            ended_well: VecDeque::new(),
            ended_badly: VecDeque::new(),
        }
    }

    pub(crate) fn began(&mut self, name: Arc<str>, session: Session, now: Duration) {
        let live = Live {
            name,
            session,
            began: now,
        };
        self.live.insert(live.session.id(), live);
    }

    /// The script of this session ended, or, without a session, one that could not be started.
    pub(crate) fn ended(&mut self, name: &str, session: Option<u64>, error: Option<Box<str>>, now: Duration) {
        let live = session.and_then(|session| self.live.remove(&session));
        let began = live.as_ref().map_or(now, |live| live.began);
        let (lines, count, state) = match &error {
            None => (&mut self.ended_well, &mut self.ok, "ok"),
            Some(_) => (&mut self.ended_badly, &mut self.failed, "failed"),
        };
        *count += 1;
        if lines.len() == SHOWN {
            lines.pop_back();
        }
        lines.push_front(Line {
            name: name.into(),
            state,
            began_ms: milliseconds(began),
            wall_ms: Some(milliseconds(now.saturating_sub(began))),
            pending: 0,
            submitted: live.map_or(0, |live| live.session.counts().submitted),
            error,
        });
    }

    /// The name of the script whose session this is.
    pub(crate) fn name(&self, session: u64) -> Option<Arc<str>> {
        self.live.get(&session).map(|live| Arc::clone(&live.name))
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            total: self.total,
            live: self.live.len(),
            ok: self.ok,
            failed: self.failed,
        }
    }

    /// The failed ones, then those that run, then those that ended well.
    pub(crate) fn lines(&self) -> Vec<Line> {
        let live = self.live.values().take(SHOWN).map(|live| {
            let pending = live.session.pending();
            Line {
                name: Arc::clone(&live.name),
                state: if pending > 0 { "waiting" } else { "running" },
                began_ms: milliseconds(live.began),
                wall_ms: None,
                pending,
                submitted: live.session.counts().submitted,
                error: None,
            }
        });
        let ended = self.ended_well.iter().cloned();
        self.ended_badly.iter().cloned().chain(live).chain(ended).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inflight::core::{Method, Registry, Request};

    #[test]
    fn a_script_waits_while_it_has_pending_requests() {
        let (registry, _queue) = Registry::new();
        let mut scripts = Scripts::new(3);
        let session = registry.session();
        scripts.began("a.rhai".into(), session.clone(), Duration::ZERO);
        assert_eq!(scripts.lines()[0].state, "running");
        session.submit(Request::new(Method::Get, "/")).expect("there is room");
        assert_eq!((scripts.lines()[0].state, scripts.lines()[0].pending), ("waiting", 1));
        scripts.ended("a.rhai", Some(session.id()), None, Duration::from_millis(5));
        scripts.ended("b.rhai", None, Some("line 1".into()), Duration::from_millis(5));
        let counts = scripts.counts();
        assert_eq!((counts.total, counts.live, counts.ok, counts.failed), (3, 0, 1, 1));
        assert_eq!(
            (scripts.lines()[0].state, scripts.lines()[1].wall_ms),
            ("failed", Some(5.0))
        );
    }
}
