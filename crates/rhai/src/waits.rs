//! Which of a script's coroutines waits for which other one without a limit of time: those that would wait for one another for ever
//! are told so.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::coroutine::Role;
use crate::heap::uncharged;
use crate::modules::Loaded;

/// What a coroutine waits for.
pub(crate) enum Awaited {
    /// The end of this task.
    Task(u64),
    /// Whoever loads the module in this file.
    Module(PathBuf),
}

#[derive(Default)]
pub(crate) struct Waits(RefCell<HashMap<Role, Awaited>>);

impl Waits {
    /// Runs what may wait for this. A callback that runs meanwhile may wait for something else.
    pub(crate) fn during<R>(&self, who: Role, awaited: Awaited, body: impl FnOnce() -> R) -> R {
        let before = self.set(who, Some(awaited));
        let given = body();
        drop(self.set(who, before));
        given
    }

    fn set(&self, who: Role, awaited: Option<Awaited>) -> Option<Awaited> {
        let mut waits = self.0.borrow_mut();
        match awaited {
            Some(awaited) => uncharged(|| waits.insert(who, awaited)),
            None => waits.remove(&who),
        }
    }

    /// Whether `from` waits, itself or through those it waits for, for `to`: then neither would go on where `to` waited for `from`.
    pub(crate) fn lead(&self, from: Role, to: Role, modules: &Loaded) -> bool {
        let waits = self.0.borrow();
        let mut seen = HashSet::new();
        let mut open = vec![from];
        while let Some(at) = open.pop() {
            if at == to {
                return true;
            }
            if !seen.insert(at) {
                continue;
            }
            open.extend(match waits.get(&at) {
                Some(Awaited::Task(id)) => Some(Role::Task(*id)),
                Some(Awaited::Module(file)) => modules.loader(file),
                None => None,
            });
            // A callback ends before the script goes on.
            open.extend((at == Role::Main).then_some(Role::Callback));
        }
        false
    }
}
