//! What failed, grouped by what kind of failure it was.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use inflight::core::RequestId;
use serde::Serialize;

use super::requests::as_text;

/// How many groups there are. Failures beyond go to a last one: kinds and codes come from the other side.
const GROUPS_MAX: usize = 100;
/// How many requests each group names, the last ones.
const NAMED: usize = 20;

/// The failures of one kind, code and effect.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Group {
    pub(super) kind: Box<str>,
    pub(super) code: Option<Box<str>>,
    pub(super) effect: &'static str,
    pub(super) count: u64,
    /// Of the last one.
    pub(super) message: Box<str>,
    pub(super) last: VecDeque<Named>,
}

/// One request of a group.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Named {
    #[serde(serialize_with = "as_text")]
    pub(crate) id: RequestId,
    pub(crate) operation: Arc<str>,
    /// Stripe's own id for the attempt.
    pub(crate) request_id: Option<Box<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Box<str>,
    pub(crate) code: Option<Box<str>>,
    pub(crate) effect: &'static str,
}

#[derive(Debug, Default)]
pub(crate) struct Failures(BTreeMap<Key, Group>);

impl Failures {
    pub(crate) fn add(&mut self, key: Key, message: &str, named: Named) {
        let key = if self.0.len() < GROUPS_MAX || self.0.contains_key(&key) {
            key
        } else {
            Key {
                kind: "other".into(),
                code: None,
                effect: "any",
            }
        };
        let group = self.0.entry(key.clone()).or_insert_with(|| Group {
            kind: key.kind,
            code: key.code,
            effect: key.effect,
            count: 0,
            message: Box::default(),
            last: VecDeque::new(),
        });
        group.count += 1;
        group.message = message.into();
        if group.last.len() == NAMED {
            group.last.pop_back();
        }
        group.last.push_front(named);
    }

    /// The groups, the largest first.
    pub(crate) fn groups(&self) -> Vec<Group> {
        let mut groups: Vec<Group> = self.0.values().cloned().collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.count));
        groups
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named() -> Named {
        Named {
            id: RequestId::random(),
            operation: "charge.create".into(),
            request_id: Some("req_1".into()),
        }
    }

    #[test]
    fn groups_are_bounded_and_lose_no_count() {
        let mut failures = Failures::default();
        for number in 0..1_000 {
            let key = Key {
                kind: "card_error".into(),
                code: Some(format!("code_{number}").into()),
                effect: "none",
            };
            failures.add(key, "declined", named());
        }
        let groups = failures.groups();
        assert_eq!(groups.len(), GROUPS_MAX + 1);
        assert_eq!(groups.iter().map(|group| group.count).sum::<u64>(), 1_000);
        assert_eq!((&*groups[0].kind, groups[0].last.len()), ("other", NAMED));
    }
}
