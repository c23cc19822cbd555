//! What belongs to one running script, while engines are shared.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use inflight_core::Session;

/// Where a script's `print` goes, one call at a time.
pub type Output = Arc<dyn Fn(&str) + Send + Sync>;

/// The values of one running script: its session, where its output goes, and whatever else a package keeps for it, by type.
///
/// A cheap handle; clones share the values. A [`Fiber`](crate::Fiber) has one of its own. A plain engine on a plain thread
/// takes it from the engine's default tag ([`Locals::set_default`]).
#[derive(Clone, Default)]
pub struct Locals(Arc<Inner>);

#[derive(Default)]
struct Inner {
    session: Option<Session>,
    output: Option<Output>,
    values: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Locals {
    /// No session, and output to standard output.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Values for a script of this session.
    #[must_use]
    pub fn for_session(session: Session) -> Self {
        Self(Arc::new(Inner {
            session: Some(session),
            ..Inner::default()
        }))
    }

    /// A copy of the values, with `print` and `debug` going elsewhere: what is set in one of the two later, the other does not have.
    #[must_use]
    pub fn with_output(&self, output: Output) -> Self {
        let values = self.0.values.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Self(Arc::new(Inner {
            session: self.0.session.clone(),
            output: Some(output),
            values: Mutex::new(values),
        }))
    }

    /// The script's session.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.0.session.as_ref()
    }

    /// The value of this type.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let values = self.0.values.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(&TypeId::of::<T>())?.clone().downcast().ok()
    }

    /// Sets or replaces the value of this type.
    pub fn set<T: Any + Send + Sync>(&self, value: T) {
        let replaced = self
            .0
            .values
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(TypeId::of::<T>(), Arc::new(value));
        // Dropped without the lock: a value's destructor may ask for another value.
        drop(replaced);
    }

    /// Makes these the values of scripts that a plain engine evaluates, outside of fibers.
    pub fn set_default(&self, engine: &mut rhai::Engine) {
        engine.set_default_tag(rhai::Dynamic::from(self.clone()));
    }

    pub(crate) fn print(&self, text: &str) {
        match &self.0.output {
            Some(output) => output(text),
            None => println!("{text}"),
        }
    }
}

impl fmt::Debug for Locals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locals")
            .field("session", &self.0.session)
            .finish_non_exhaustive()
    }
}
