//! Where a run stands in its journal: what earlier runs of the script were answered, until that is used up.
//!
//! Each coroutine of a script counts its own calls. An answered call returns when its entry is the next of the whole journal: until
//! then its coroutine waits for its turn. So the coroutines go on in the order in which they went on the first time, and what they
//! share changes in that order. Between two calls that can wait nothing else of the script runs, not even where a time slice ends
//! (see `Context::preempt`), so that the order of the entries is the order of everything.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::task::{Context, Poll, Waker};

use inflight_core::{JournalEntry, StoreError};
use rhai::Position;

use crate::error::{ScriptError, ScriptErrorKind};
use crate::heap::uncharged;
use crate::run::Run;

/// The task that the script itself is.
pub(crate) const MAIN: u32 = 0;

/// A call in the order of its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket {
    pub(crate) task: u32,
    pub(crate) sequence: u64,
}

impl Ticket {
    /// A task's or a callback's first: it begins.
    pub(crate) fn beginning(task: u32) -> Self {
        Self { task, sequence: 0 }
    }
}

/// What is called, as it is compared with what was called the first time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) operation: &'a str,
    pub(crate) arguments: u64,
    pub(crate) position: Position,
    /// Whether others may run before it is answered.
    pub(crate) waits: bool,
}

/// The state of one run.
pub(crate) struct Replay {
    pub(crate) run: Run,
    state: RefCell<State>,
    /// Why the run cannot go on.
    failure: RefCell<Option<ScriptError>>,
    is_over: Cell<bool>,
}

#[derive(Default)]
struct State {
    entries: Vec<Option<JournalEntry>>,
    /// The next entry.
    at: usize,
    /// The places of each task's entries that are left.
    of_task: HashMap<u32, VecDeque<usize>>,
    /// How many calls each task has made.
    calls: HashMap<u32, u64>,
    /// How many tasks and callbacks have been numbered.
    numbered: u32,
    /// Callbacks that were registered and have not begun.
    callbacks: HashSet<u32>,
    parked: Vec<Parked>,
}

/// A coroutine that waits for its turn.
struct Parked {
    coroutine: usize,
    /// `None`: it waits for a callback to be due.
    task: Option<u32>,
    runs_callbacks: bool,
    waker: Waker,
}

/// Who waits for a turn.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    pub(crate) coroutine: usize,
    pub(crate) runs_callbacks: bool,
}

impl State {
    fn next(&self) -> Option<&JournalEntry> {
        self.entries.get(self.at)?.as_ref()
    }

    fn park(&mut self, who: Waiting, task: Option<u32>, waker: &Waker) {
        self.unpark(who.coroutine);
        self.parked.push(Parked {
            coroutine: who.coroutine,
            task,
            runs_callbacks: who.runs_callbacks,
            waker: waker.clone(),
        });
    }

    fn unpark(&mut self, coroutine: usize) {
        self.parked.retain(|parked| parked.coroutine != coroutine);
    }

    fn take(&mut self) -> Option<JournalEntry> {
        let entry = self.entries.get_mut(self.at)?.take()?;
        self.at += 1;
        if let Some(places) = self.of_task.get_mut(&entry.task) {
            places.pop_front();
        }
        Some(entry)
    }

    /// Whether somebody who waits can go on with the next entry.
    fn has_taker(&self) -> bool {
        let Some(next) = self.next() else { return true };
        let due = self.callbacks.contains(&next.task);
        let takes = |parked: &Parked| parked.task == Some(next.task) || (due && parked.runs_callbacks);
        self.parked.iter().any(takes)
    }
}

impl Replay {
    /// A run that begins with what its journal holds.
    ///
    /// # Errors
    /// Where the journal cannot be read.
    pub(crate) fn begin(run: Run) -> Result<Self, StoreError> {
        let entries = run.journal().entries()?;
        let mut state = State::default();
        for (place, entry) in entries.iter().enumerate() {
            state.of_task.entry(entry.task).or_default().push_back(place);
        }
        let is_over = Cell::new(entries.is_empty());
        state.entries = entries.into_iter().map(Some).collect();
        Ok(Self {
            run,
            state: RefCell::new(state),
            failure: RefCell::default(),
            is_over,
        })
    }

    /// Whether the journal is used up: from now on everything is asked and done in fact.
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// The number of a further task.
    pub(crate) fn number_task(&self) -> u32 {
        let mut state = self.state.borrow_mut();
        state.numbered += 1;
        state.numbered
    }

    /// The number of a further callback.
    pub(crate) fn number_callback(&self) -> u32 {
        let number = self.number_task();
        uncharged(|| self.state.borrow_mut().callbacks.insert(number));
        number
    }

    /// The task makes a further call.
    pub(crate) fn call(&self, task: u32) -> Ticket {
        let mut state = self.state.borrow_mut();
        let calls = uncharged(|| state.calls.entry(task).or_default());
        let sequence = *calls;
        *calls += 1;
        Ticket { task, sequence }
    }

    /// The call has used so many further numbers, for its requests.
    pub(crate) fn used(&self, ticket: Ticket, requests: u64) {
        let mut state = self.state.borrow_mut();
        uncharged(|| state.calls.insert(ticket.task, ticket.sequence + 1 + requests));
    }

    /// The answer that was written for this call, when it is its turn; `None` where the journal is used up and there is none.
    ///
    /// # Errors
    /// Where the first run asked something else.
    pub(crate) fn poll_turn(
        &self,
        who: Waiting,
        ticket: Ticket,
        asked: &Asked,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<JournalEntry>, ScriptError>> {
        if self.is_over() {
            return Poll::Ready(Ok(None));
        }
        let mut state = self.state.borrow_mut();
        state.unpark(who.coroutine);
        let place = state
            .of_task
            .get(&ticket.task)
            .and_then(|places| places.front().copied());
        if let Some(entry) = place.and_then(|place| state.entries[place].as_ref()) {
            let same = entry.sequence == ticket.sequence
                && entry.operation == asked.operation
                && entry.arguments == asked.arguments;
            if !same {
                return Poll::Ready(Err(diverged(ticket, asked, Some(entry))));
            }
        }
        if place == Some(state.at) {
            let entry = state.take();
            self.advanced(&mut state);
            return Poll::Ready(Ok(entry));
        }
        // What cannot wait comes right after what came before it, or is new.
        if !asked.waits {
            return Poll::Ready(Err(diverged(ticket, asked, state.next())));
        }
        uncharged(|| state.park(who, Some(ticket.task), cx.waker()));
        Poll::Pending
    }

    /// The entry of the callback that is due next, for this coroutine to run. `None` where the next entry is another's.
    pub(crate) fn take_due(&self, coroutine: usize) -> Option<JournalEntry> {
        let mut state = self.state.borrow_mut();
        let next = state.next()?.task;
        if !state.callbacks.remove(&next) {
            return None;
        }
        // It waits no longer, until the callback has returned.
        state.unpark(coroutine);
        let entry = state.take();
        state.calls.insert(next, 1);
        self.advanced(&mut state);
        entry
    }

    /// A callback begins that no entry says is due.
    pub(crate) fn begin_callback(&self, callback: u32) {
        let mut state = self.state.borrow_mut();
        state.callbacks.remove(&callback);
        state.calls.insert(callback, 1);
    }

    /// Waits for a callback to be due, as long as the journal says which is.
    pub(crate) fn park_for_callbacks(&self, who: Waiting, cx: &Context<'_>) {
        if !self.is_over() {
            uncharged(|| self.state.borrow_mut().park(who, None, cx.waker()));
        }
    }

    /// An entry was taken: whoever is next goes on.
    fn advanced(&self, state: &mut State) {
        let Some(next) = state.next().map(|entry| entry.task) else {
            self.is_over.set(true);
            state.entries = Vec::new();
            state.of_task = HashMap::new();
            for parked in state.parked.drain(..) {
                parked.waker.wake();
            }
            return;
        };
        let due = state.callbacks.contains(&next);
        for parked in &state.parked {
            if parked.task == Some(next) || (due && parked.runs_callbacks) {
                parked.waker.wake_by_ref();
            }
        }
    }

    /// Whether the first run has gone on in a way that this one cannot: all of so many coroutines wait for their turn, and it is
    /// nobody's.
    pub(crate) fn is_stuck(&self, coroutines: usize) -> bool {
        let state = self.state.borrow();
        !self.is_over() && state.parked.len() >= coroutines && !state.has_taker()
    }

    /// The error of a run that does not come to what the first one asked next.
    pub(crate) fn missed(&self) -> ScriptError {
        let state = self.state.borrow();
        let next = state.next().map_or_else(String::new, first_asked);
        ScriptError::new(
            ScriptErrorKind::ReplayDiverged,
            format!("the script has changed since its first run: {next}, and this one does not come to it"),
        )
    }

    /// Writes an answer down.
    pub(crate) fn write(&self, ticket: Ticket, asked: &Asked, answer: Vec<u8>) -> Result<(), ScriptError> {
        let written = uncharged(|| {
            self.run.journal().write(JournalEntry {
                task: ticket.task,
                sequence: ticket.sequence,
                operation: asked.operation.to_owned(),
                arguments: asked.arguments,
                answer,
            })
        });
        written.map_err(|error| unwritten(error).at(asked.position))
    }

    /// Notes why the run cannot go on. The first reason stays.
    pub(crate) fn fail(&self, error: ScriptError) {
        self.failure.borrow_mut().get_or_insert(error);
    }

    pub(crate) fn take_failure(&self) -> Option<ScriptError> {
        self.failure.take()
    }
}

/// The error of a journal that cannot be read or written.
pub(crate) fn unwritten(error: StoreError) -> ScriptError {
    let message = format!("the run's journal cannot be kept: {error}");
    ScriptError::new(ScriptErrorKind::Store, message).with_source(error)
}

/// The error of an entry whose answer makes no sense.
pub(crate) fn unreadable(ticket: Ticket, operation: &str, why: &str) -> ScriptError {
    let what = name(ticket.task, ticket.sequence);
    ScriptError::new(
        ScriptErrorKind::Store,
        format!("the run's journal is damaged: the answer to `{operation}` ({what}) cannot be read: {why}"),
    )
}

/// The error of a script that asks something else than it did the first time.
fn diverged(ticket: Ticket, asked: &Asked, first: Option<&JournalEntry>) -> ScriptError {
    let now = asked.operation;
    let what = name(ticket.task, ticket.sequence);
    let sides = match first {
        Some(entry) if entry.task == ticket.task && entry.sequence == ticket.sequence && entry.operation == now => {
            format!(
                "the first run asked `{now}` ({what}) with other arguments: fingerprint {:016x}, and this one has {:016x}",
                entry.arguments, asked.arguments
            )
        }
        Some(entry) => format!("{}, and this one asks `{now}` ({what})", first_asked(entry)),
        None => format!("this one asks `{now}` ({what}), and the first one did not"),
    };
    ScriptError::new(
        ScriptErrorKind::ReplayDiverged,
        format!("the script has changed since its first run: {sides}"),
    )
    .at(asked.position)
}

/// The error of a request that is not what the first run submitted in its place.
pub(crate) fn other_request(ticket: Ticket, asked: &Asked, first: Option<&str>) -> ScriptError {
    let what = name(ticket.task, ticket.sequence);
    let now = asked.operation;
    let sides = match first {
        Some(first) if first == now => {
            format!("the first run submitted `{first}` ({what}) and this one submits it with other parameters")
        }
        Some(first) => format!("the first run submitted `{first}` ({what}), and this one submits `{now}`"),
        None => format!("this one submits `{now}` ({what}) in place of another request"),
    };
    ScriptError::new(
        ScriptErrorKind::ReplayDiverged,
        format!("the script has changed since its first run: {sides}"),
    )
    .at(asked.position)
}

fn first_asked(entry: &JournalEntry) -> String {
    let what = name(entry.task, entry.sequence);
    format!("the first run asked `{}` ({what}) next", entry.operation)
}

/// `call 3`, or `call 3 of task 2`.
fn name(task: u32, sequence: u64) -> String {
    match task {
        MAIN => format!("call {sequence}"),
        task => format!("call {sequence} of task {task}"),
    }
}
