//! What all coroutines of one running script share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Waker;
use std::time::Instant;

use inflight_core::StoreError;
use rhai::{Engine, Position};

use crate::callbacks::Callbacks;
use crate::collect::Collection;
use crate::error::ScriptError;
use crate::heap::{HeapState, uncharged};
use crate::locals::Locals;
use crate::modules::Loaded;
use crate::replay::Replay;
use crate::run::Run;
use crate::tasks::Tasks;
use crate::ticker;
use crate::waits::Waits;

/// Further warnings of one script are not kept: it could make them without end.
const MOST_WARNINGS: usize = 100;

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
    /// The run cannot go on, for the reason that its replay has noted.
    Replay,
    /// A host function panicked in a task; what it said is noted.
    Panic,
}

/// One running script.
pub(crate) struct ScriptState {
    pub(crate) engine: Rc<Engine>,
    pub(crate) locals: Locals,
    /// When the script has to be done.
    pub(crate) deadline: Option<Instant>,
    pub(crate) operations_left: Cell<u64>,
    pub(crate) stack_bytes: usize,
    pub(crate) heap: Cell<HeapState>,
    pub(crate) tasks: Tasks,
    pub(crate) callbacks: Callbacks,
    pub(crate) modules: Loaded,
    pub(crate) waits: Waits,
    /// Where the script stands in its journal, if it is a run that has one.
    pub(crate) replay: Option<Replay>,
    /// What takes the next request instead of the queue.
    pub(crate) collection: RefCell<Option<Collection>>,
    stop: Cell<Option<Stop>>,
    /// Where the task or callback that was stopped first had been begun.
    stopped_at: Cell<Position>,
    /// The panic that stopped the script.
    panic: RefCell<Option<ScriptError>>,
    /// The coroutine that was preempted and has to run on before any other of the script.
    preempted: Cell<Option<usize>>,
    /// Those that were woken meanwhile, or after the script's turn was over.
    deferred: RefCell<Vec<Waker>>,
    /// In which slice the script's turn began.
    turn: Cell<u64>,
    /// How many tasks have their turn before the main coroutine has its next.
    round: Cell<usize>,
    warnings: RefCell<Vec<String>>,
}

impl ScriptState {
    pub(crate) fn new(
        engine: Rc<Engine>,
        locals: Locals,
        deadline: Option<Instant>,
        operations: u64,
        stack_bytes: usize,
        heap_bytes: Option<usize>,
    ) -> Result<Rc<Self>, StoreError> {
        let run = locals.get::<Run>();
        let replay = run.map(|run| Replay::begin(Run::clone(&run))).transpose()?;
        Ok(Rc::new(Self {
            engine,
            locals,
            deadline,
            operations_left: Cell::new(operations),
            stack_bytes,
            heap: Cell::new(HeapState::with_limit(heap_bytes)),
            tasks: Tasks::default(),
            callbacks: Callbacks::default(),
            modules: Loaded::default(),
            waits: Waits::default(),
            replay,
            collection: RefCell::default(),
            stop: Cell::new(None),
            stopped_at: Cell::new(Position::NONE),
            panic: RefCell::default(),
            preempted: Cell::new(None),
            deferred: RefCell::default(),
            turn: Cell::new(0),
            round: Cell::new(0),
            warnings: RefCell::default(),
        }))
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

    /// A host function panicked in a task of the script, which ends the script as a panic in its main part does.
    pub(crate) fn stop_for_panic(&self, error: ScriptError) {
        if self.stop.get().is_none() {
            self.panic.replace(Some(error));
            self.stop.set(Some(Stop::Panic));
        }
    }

    /// The panic of a task that has stopped the script.
    pub(crate) fn take_panic(&self) -> Option<ScriptError> {
        self.panic.take()
    }

    /// A task or a callback that was begun at this place has ended: the script's stop may have been its doing. (Where within it,
    /// Rhai does not say.)
    pub(crate) fn note_place(&self, begun: Position) {
        if self.stop.get().is_some() && self.stopped_at.get().is_none() {
            self.stopped_at.set(begun);
        }
    }

    /// Where the script began the task or callback that was stopped, if it was one.
    pub(crate) fn stopped_at(&self) -> Position {
        self.stopped_at.get()
    }

    pub(crate) fn begin_preemption(&self, coroutine: usize) {
        self.preempted.set(Some(coroutine));
    }

    /// The preempted coroutine runs on; those that were held back have their turn.
    pub(crate) fn end_preemption(&self) {
        self.preempted.set(None);
        self.wake_deferred();
    }

    /// Whether a coroutine was preempted and has not run on.
    pub(crate) fn is_preempted(&self) -> bool {
        self.preempted.get().is_some()
    }

    /// It is the script's turn: its coroutines run until all wait, or the turn is over.
    pub(crate) fn begin_turn(&self) {
        self.turn.set(ticker::slice());
        if !self.is_preempted() {
            self.wake_deferred();
        }
    }

    /// The script's turn is over before any of its coroutines has run.
    #[cfg(test)]
    pub(crate) fn miss_turn(&self) {
        self.turn.set(ticker::slice().wrapping_sub(10));
    }

    /// Whether the script's coroutines have together had what one may have: however short each of them runs, there may always be
    /// another one.
    pub(crate) fn turn_is_over(&self) -> bool {
        ticker::slice().wrapping_sub(self.turn.get()) > 1
    }

    /// The main coroutine has had its turn, and so many tasks have theirs before it has its next: also where that takes longer than a
    /// turn of the script.
    pub(crate) fn begin_round(&self, tasks: usize) {
        self.round.set(tasks);
    }

    /// A task has had its turn.
    pub(crate) fn count_task(&self) {
        self.round.set(self.round.get().saturating_sub(1));
    }

    pub(crate) fn is_round_over(&self) -> bool {
        self.round.get() == 0
    }

    fn wake_deferred(&self) {
        // The host has put them there, also where the script's own coroutine takes them.
        uncharged(|| self.deferred.take().into_iter().for_each(Waker::wake));
    }

    /// Whether this coroutine may run. All may where the script is to stop.
    pub(crate) fn may_run(&self, coroutine: usize) -> bool {
        self.stop.get().is_some() || self.preempted.get().is_none_or(|preempted| preempted == coroutine)
    }

    /// Wakes this coroutine when the preempted one has run on, or with the script's next turn.
    pub(crate) fn defer(&self, waker: &Waker) {
        self.deferred.borrow_mut().push(waker.clone());
    }

    /// Something that the script's author should know and that does not fail it.
    pub(crate) fn warn(&self, warning: String) {
        let mut warnings = self.warnings.borrow_mut();
        match warnings.len() {
            known if known < MOST_WARNINGS => warnings.push(warning),
            MOST_WARNINGS => warnings.push("there are further warnings".into()),
            _ => {}
        }
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
