//! What all coroutines of one running script share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use rhai::Engine;

use crate::callbacks::Callbacks;
use crate::heap::HeapState;
use crate::locals::Locals;
use crate::modules::Loaded;
use crate::tasks::Tasks;

/// Why a script is to stop. It cannot catch this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The future was dropped, or its handle said so.
    Cancelled,
    /// The wall time ran out.
    TimeLimit,
    /// The count of operations ran out.
    Operations,
    /// The stack is nearly used up.
    Stack,
    /// The script holds more memory than it may.
    Heap,
}

/// One running script.
pub(crate) struct ScriptState {
    pub(crate) engine: Rc<Engine>,
    pub(crate) locals: Locals,
    /// When the script has to be done.
    pub(crate) deadline: Option<Instant>,
    pub(crate) max_operations: u64,
    pub(crate) stack_bytes: usize,
    pub(crate) heap: Cell<HeapState>,
    pub(crate) tasks: Tasks,
    pub(crate) callbacks: Callbacks,
    pub(crate) modules: Loaded,
    stop: Cell<Option<Stop>>,
    warnings: RefCell<Vec<String>>,
}

impl ScriptState {
    pub(crate) fn new(
        engine: Rc<Engine>,
        locals: Locals,
        deadline: Option<Instant>,
        max_operations: u64,
        stack_bytes: usize,
        heap_bytes: Option<usize>,
    ) -> Rc<Self> {
        Rc::new(Self {
            engine,
            locals,
            deadline,
            max_operations,
            stack_bytes,
            heap: Cell::new(HeapState::with_limit(heap_bytes)),
            tasks: Tasks::default(),
            callbacks: Callbacks::default(),
            modules: Loaded::default(),
            stop: Cell::new(None),
            warnings: RefCell::default(),
        })
    }

    /// Says that the script is to stop, at its next operation or in the wait that it is in.
    pub(crate) fn stop(&self, why: Stop) {
        if self.stop.get().is_none() {
            self.stop.set(Some(why));
        }
    }

    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stop.get()
    }

    /// Something that the script's author should know and that does not fail it.
    pub(crate) fn warn(&self, warning: String) {
        self.warnings.borrow_mut().push(warning);
    }

    pub(crate) fn take_warnings(&self) -> Vec<String> {
        self.warnings.take()
    }

    /// Whether anything is left that holds script values.
    pub(crate) fn holds_values(&self) -> bool {
        !(self.tasks.is_empty() && self.callbacks.is_empty() && self.modules.is_empty())
    }

    /// The last act on the script's own stack: what still holds script values lets go of them here, where there is room to take
    /// them apart.
    pub(crate) fn clear(&self) {
        self.tasks.clear();
        self.callbacks.clear();
        self.modules.clear();
    }
}
