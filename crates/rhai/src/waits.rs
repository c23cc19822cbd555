//! Which of a script's coroutines waits for which other one without a limit of time: those that would wait for one another for ever
//! are told so.

use std::cell::RefCell;
use std::collections::HashMap;
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
        let next = |at: &Role| match waits.get(at)? {
            Awaited::Task(id) => Some(Role::Task(*id)),
            Awaited::Module(file) => modules.loader(file),
        };
        // A circle that is being found out is closed for a moment: the walk ends there too.
        let mut walk = std::iter::successors(Some(from), next).take(waits.len() + 1);
        walk.any(|at| at == to)
    }
}
