//! A running script as a future.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rhai::Engine;
use tokio::time::Sleep;

use crate::admission::{Entrance, Place};
use crate::callbacks;
use crate::coroutine::{Ending, Fibre, Role};
use crate::engine::RunOptions;
use crate::error::{ScriptError, ScriptErrorKind};
use crate::heap;
use crate::locals::Locals;
use crate::replay::unwritten;
use crate::state::{ScriptState, Stop};
use crate::tasks::RunningTask;
use crate::unordered::Unordered;

/// The smallest stack that a script can run on.
const SMALLEST_STACK: usize = 64 * 1024;

/// How much memory a script may hold, unless its limits say otherwise: 64 MiB.
pub const DEFAULT_HEAP_BYTES: usize = 64 * 1024 * 1024;

/// How much address space a script's stack has for each byte of heap that it may hold.
///
/// Native code recurses over nested values: dropping or copying takes 209 bytes of stack a level (three times that in a debug
/// build), and a level costs at least 64 bytes of heap. Three quarters of the stack are for that.
pub const STACK_BYTES_PER_HEAP_BYTE: usize = if cfg!(debug_assertions) { 24 } else { 8 };

/// How much address space a script's stack has, unless its limits say otherwise. Memory is used only as far down as a script
/// goes, and is given back afterwards.
pub const DEFAULT_STACK_BYTES: usize = DEFAULT_HEAP_BYTES * STACK_BYTES_PER_HEAP_BYTE;

/// The limits of one run of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long the run may take, waiting included. By default there is no limit.
    pub wall_time: Option<Duration>,
    /// How many operations it may make. By default there is no limit.
    pub operations: Option<u64>,
    /// How much memory it may hold, where the program has installed [`ScriptAllocator`](crate::ScriptAllocator). By default
    /// 64 MiB.
    pub heap_bytes: Option<usize>,
    /// The address space of its stack, at least 64 KiB. By default [`DEFAULT_STACK_BYTES`]. With a larger heap limit give more:
    /// [`STACK_BYTES_PER_HEAP_BYTE`].
    pub stack_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall_time: None,
            operations: None,
            heap_bytes: Some(DEFAULT_HEAP_BYTES),
            stack_bytes: DEFAULT_STACK_BYTES,
        }
    }
}

/// A running script: a future that gives what the script gives.
///
/// While the script waits, the future is pending and holds no thread. Dropping it stops the script and its tasks, and cancels
/// nothing that was sent. It stays on the thread that made it:
///
/// ```compile_fail
/// fn send<T: Send>(_: T) {}
/// fn check(fiber: inflight_rhai::Fiber<()>) { send(fiber) }
/// ```
#[must_use = "a script does not start before its future is polled"]
pub struct Fiber<T: 'static> {
    state: FiberState<T>,
    limits: Limits,
    warnings: Vec<String>,
}

enum FiberState<T: 'static> {
    /// Not admitted yet: it has no stack.
    New(Box<New<T>>),
    Running(Box<Running<T>>),
    Ended,
}

struct New<T: 'static> {
    entrance: Entrance,
    engine: Rc<Engine>,
    locals: Locals,
    body: Body<T>,
}

type Body<T> = Box<dyn FnOnce() -> Result<T, ScriptError>>;

struct Running<T: 'static> {
    _place: Option<Place>,
    script: Rc<ScriptState>,
    main: Fibre<Result<T, ScriptError>>,
    /// What the main coroutine gave, while tasks go on.
    ending: Option<Ending<Result<T, ScriptError>>>,
    tasks: Unordered<RunningTask>,
    /// Whether the script's last turn was over before all had run that could.
    was_cut_off: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<T: 'static> Fiber<T> {
    /// A fiber that runs `body`, in which [`wait`](crate::wait) suspends.
    pub(crate) fn new(
        engine: &Rc<Engine>,
        options: RunOptions,
        body: impl FnOnce() -> Result<T, ScriptError> + 'static,
    ) -> Self {
        Self {
            limits: options.limits,
            state: FiberState::New(Box::new(New {
                entrance: Entrance::default(),
                engine: Rc::clone(engine),
                locals: options.locals,
                body: Box::new(body),
            })),
            warnings: Vec::new(),
        }
    }

    /// What the script's author should know and what did not fail it: failures of callbacks, and of tasks that nobody joined.
    /// Complete when the script has ended.
    pub fn take_warnings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.warnings)
    }
}

impl<T: 'static> New<T> {
    fn start(self, place: Option<Place>, limits: &Limits) -> Result<Running<T>, ScriptError> {
        let timer = match limits.wall_time {
            None => None,
            Some(_) if tokio::runtime::Handle::try_current().is_err() => {
                return Err(ScriptError::new(
                    ScriptErrorKind::Admission,
                    "a script with a time limit has to be polled on a tokio runtime",
                ));
            }
            Some(limit) => Some(Box::pin(tokio::time::sleep(limit))),
        };
        let deadline = timer.as_ref().map(|timer| timer.deadline().into_std());
        let script = ScriptState::new(
            self.engine,
            self.locals,
            deadline,
            limits.operations.unwrap_or(u64::MAX),
            limits.stack_bytes.max(SMALLEST_STACK),
            limits.heap_bytes,
        )
        .map_err(unwritten)?;
        let (body, inner) = (self.body, Rc::clone(&script));
        let main = Fibre::new(&script, Role::Main, move || {
            if inner.stopped().is_some() {
                return Err(ScriptError::cancelled());
            }
            let given = body();
            callbacks::finish(&inner);
            // The last operation is followed by no other that would look.
            if heap::is_exceeded() {
                inner.stop(Stop::Heap);
            }
            given
        })
        .map_err(|error| {
            ScriptError::new(
                ScriptErrorKind::Admission,
                format!(
                    "no stack can be had for the script, for which {} MiB of address space are needed: {error}; too many \
                     scripts live at once, or the process may not map that much (`ulimit -v`)",
                    script.stack_bytes / (1024 * 1024)
                ),
            )
            .with_source(error)
        })?;
        Ok(Running {
            _place: place,
            script,
            main,
            ending: None,
            tasks: Unordered::default(),
            was_cut_off: false,
            timer,
        })
    }
}

impl<T: 'static> Running<T> {
    /// Runs the script's coroutines until all of them wait, the script has ended, or its turn is over.
    fn run(&mut self, cx: &mut Context<'_>) -> Poll<Ending<Result<T, ScriptError>>> {
        self.script.begin_turn();
        if let Some(timer) = &mut self.timer
            && timer.as_mut().poll(cx).is_ready()
        {
            self.script.stop(Stop::TimeLimit);
            self.timer = None;
        }
        let mut tasks_first = std::mem::take(&mut self.was_cut_off) && !self.script.is_round_over();
        loop {
            // A task that was preempted runs on before anything else of the script.
            let held_back = self.ending.is_none() && (!self.main.may_run() || std::mem::take(&mut tasks_first));
            if self.ending.is_none() && !held_back {
                self.ending = self.main.resume(cx.waker());
                if self.ending.as_ref().is_some_and(is_panic) {
                    self.script.stop(Stop::Panic);
                }
                self.tasks.extend(self.script.tasks.take_new());
                self.script.begin_round(self.tasks.len());
            }
            self.end_tasks_where_stopped();
            self.run_tasks(cx);
            self.end_tasks_where_stopped();
            self.run_late_callbacks();
            // Who was preempted has seen to it that it is woken.
            if self.script.is_preempted() {
                break;
            }
            if self.script.turn_is_over() {
                self.was_cut_off = true;
                wake_behind_others(cx);
                break;
            }
            // A task may have registered a callback, which the main coroutine waits for, or have stopped the script.
            let is_stopped = self.script.stopped().is_some();
            let main_again = self.ending.is_none()
                && self.main.may_run()
                && (held_back || self.script.callbacks.take_added() || is_stopped);
            if !main_again && !self.script.tasks.has_new() && !self.end_stuck_replay() {
                break;
            }
        }
        match self.ending.take() {
            Some(ending) if self.tasks.is_empty() && !self.script.tasks.has_new() => Poll::Ready(ending),
            ending => {
                self.ending = ending;
                Poll::Pending
            }
        }
    }

    /// Whatever stops the script stops its tasks: dropped, each ends in order.
    fn end_tasks_where_stopped(&mut self) {
        if self.script.stopped().is_some() && self.ending.is_some() {
            self.tasks.clear();
            drop(self.script.tasks.take_new());
        }
    }

    /// Stops a run of which all coroutines wait for what does not come: the script has changed. Gives whether it did.
    fn end_stuck_replay(&self) -> bool {
        let Some(replay) = &self.script.replay else {
            return false;
        };
        let coroutines = usize::from(self.ending.is_none()) + self.tasks.len();
        let stuck = self.script.stopped().is_none() && replay.is_stuck(coroutines);
        if stuck {
            replay.fail(replay.missed());
            self.script.stop(Stop::Replay);
        }
        stuck
    }

    /// The main coroutine ran the callbacks that there were at its end; tasks may have registered further ones since.
    fn run_late_callbacks(&mut self) {
        let script = &self.script;
        let due = self.ending.is_some() && self.tasks.is_empty() && script.stopped().is_none();
        if !due || script.callbacks.is_empty() || script.tasks.has_new() {
            return;
        }
        match RunningTask::for_callbacks(script) {
            Ok(task) => script.tasks.push_new(task),
            Err(error) => script.warn(format!("callbacks did not run: no stack can be had for them: {error}")),
        }
    }

    fn run_tasks(&mut self, cx: &mut Context<'_>) {
        self.tasks.extend(self.script.tasks.take_new());
        while let Poll::Ready(Some(())) = self.tasks.poll_next(cx) {
            if self.script.turn_is_over() {
                break;
            }
        }
    }

    /// Why the run could not go on, if it is one.
    fn replay_failure(&self) -> Option<ScriptError> {
        let replay = self.script.replay.as_ref()?;
        let cut_short = self.script.stopped().is_none() && !replay.is_over();
        replay.take_failure().or_else(|| cut_short.then(|| replay.missed()))
    }

    /// What the script's author should know.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.script.take_warnings();
        warnings.extend(self.script.tasks.unjoined_failures());
        warnings
    }
}

impl<T: 'static> Drop for Running<T> {
    fn drop(&mut self) {
        if self.ending.is_none() {
            self.script.stop(Stop::Cancelled);
        }
        self.tasks.clear();
        // Tasks that never ran hold the script, and it holds them.
        drop(self.script.tasks.take_new());
        self.main.unwind();
        // Values of the script may nest as deeply as its memory allowed: they are taken apart on a stack that is large enough.
        if self.script.holds_values() {
            let script = Rc::clone(&self.script);
            match Fibre::new(&self.script, Role::Closing, move || script.clear()) {
                // Dropped, it runs to its end.
                Ok(last) => drop(last),
                // Without a stack they stay in memory: a leak, where the alternative is a crash.
                Err(_) => std::mem::forget(Rc::clone(&self.script)),
            }
        }
    }
}

impl<T: 'static> Future for Fiber<T> {
    type Output = Result<T, ScriptError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let FiberState::New(new) = &mut this.state {
            let place = std::task::ready!(new.entrance.poll_enter(cx));
            if let FiberState::New(new) = std::mem::replace(&mut this.state, FiberState::Ended) {
                this.state = FiberState::Running(Box::new(new.start(place, &this.limits)?));
            }
        }
        let FiberState::Running(running) = &mut this.state else {
            return Poll::Pending;
        };
        let ending = std::task::ready!(running.run(cx));
        let stopped = running.script.stopped();
        let stopped_at = running.script.stopped_at();
        let failure = running.script.take_panic().or_else(|| running.replay_failure());
        this.warnings = running.warnings();
        this.state = FiberState::Ended;
        Poll::Ready(match ending {
            // It was left by unwinding: nobody knows where it stood.
            Err(unwound) if unwound.is::<Stop>() => Err(match failure {
                Some(failure) => failure.or_at(stopped_at),
                None => stop_error(stopped.unwrap_or(Stop::Cancelled), &this.limits, stopped_at),
            }),
            Err(panic) => Err(panicked(&*panic)),
            Ok(ended) => match (ended, stopped, failure) {
                // Rhai does not say where a `print` stands; the script has stopped right after it.
                (ended, _, Some(failure)) => {
                    Err(failure.or_at(ended.err().map_or(stopped_at, |error| error.raw_position())))
                }
                (Err(error), Some(stop), None) => Err(stop_error(stop, &this.limits, error.raw_position())),
                // A limit counts also where it cut off only tasks or callbacks, or a callback's error was swallowed.
                (Ok(_), Some(stop), None) => Err(stop_error(stop, &this.limits, stopped_at)),
                (ended, None, None) => ended,
            },
        })
    }
}

// No part of a fiber is pinned in place: the coroutine's stack does not move with it.
impl<T: 'static> Unpin for Fiber<T> {}

impl<T: 'static> std::fmt::Debug for Fiber<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = match &self.state {
            FiberState::New(..) => "new",
            FiberState::Running(_) => "running",
            FiberState::Ended => "ended",
        };
        f.debug_struct("Fiber").field("state", &state).finish()
    }
}

/// Whether the coroutine ended by a panic, which a script that was left by unwinding did not.
pub(crate) fn is_panic<T>(ending: &Ending<T>) -> bool {
    ending.as_ref().is_err_and(|unwound| !unwound.is::<Stop>())
}

/// Has this context woken when the thread's timers, its I/O and its other scripts have had their turn.
fn wake_behind_others(cx: &mut Context<'_>) {
    // tokio puts a task that yields this way behind them, and keeps the waker when the future is dropped.
    let _ = std::pin::pin!(tokio::task::yield_now()).poll(cx);
}

fn stop_error(stop: Stop, limits: &Limits, position: rhai::Position) -> ScriptError {
    let (kind, message) = match stop {
        Stop::Cancelled => (ScriptErrorKind::Cancelled, "the script was cancelled".to_owned()),
        Stop::TimeLimit => (
            ScriptErrorKind::TimeLimit,
            format!(
                "the script's time limit of {:?} has passed",
                limits.wall_time.unwrap_or_default()
            ),
        ),
        Stop::Operations => (
            ScriptErrorKind::OperationLimit,
            format!(
                "the script's limit of {} operations is used up",
                limits.operations.unwrap_or(u64::MAX)
            ),
        ),
        Stop::Stack => (
            ScriptErrorKind::StackLimit,
            format!("the script's stack of {} bytes is used up", limits.stack_bytes),
        ),
        Stop::Heap => (
            ScriptErrorKind::HeapLimit,
            format!(
                "the script's heap limit of {} bytes is used up",
                limits.heap_bytes.unwrap_or(usize::MAX)
            ),
        ),
        Stop::Replay => (ScriptErrorKind::ReplayDiverged, "the run cannot go on".to_owned()),
        Stop::Panic => (ScriptErrorKind::Panic, "a host function panicked".to_owned()),
    };
    ScriptError::new(kind, message).at(position)
}

pub(crate) fn panicked(payload: &(dyn std::any::Any + Send)) -> ScriptError {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    let line: String = text.chars().take(500).collect();
    ScriptError::new(
        ScriptErrorKind::Panic,
        format!("a host function panicked: {}", line.replace(['\n', '\r'], " ")),
    )
}

/// When the running script has to be done, if it has a time limit.
#[must_use]
pub fn current_deadline() -> Option<Instant> {
    crate::coroutine::running().and_then(|context| context.script.deadline)
}

/// The values of the running script, if one runs on this thread as a fiber.
#[must_use]
pub fn current_locals() -> Option<Locals> {
    crate::coroutine::running().map(|context| context.script.locals.clone())
}

#[cfg(test)]
mod tests {
    use rhai::packages::Package;
    use rhai::{Engine, Scope};

    use super::*;
    use crate::{FiberEngine, InflightPackage, RunOptions};

    #[test]
    fn a_preempted_task_whose_turn_has_gone_by_goes_on_in_the_next() {
        let mut engine = Engine::new();
        InflightPackage::new().register_into_engine(&mut engine);
        let engine = FiberEngine::new(engine);
        let script = engine
            .compile("let n = 0; join(start(|| for i in 0..500000 { n += 1; }))")
            .unwrap();
        let mut fiber = script.run_then(RunOptions::default(), Scope::new(), |_, _| Ok(()));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        loop {
            let polled = Pin::new(&mut fiber).poll(&mut cx);
            assert!(polled.is_pending(), "it computes for longer than a slice: {polled:?}");
            let FiberState::Running(running) = &mut fiber.state else {
                continue;
            };
            if running.script.is_preempted() {
                // The thread is held up between the beginning of the script's turn and the task's.
                running.script.miss_turn();
                running.run_tasks(&mut cx);
                break;
            }
        }
        let begun = std::time::Instant::now();
        while Pin::new(&mut fiber).poll(&mut cx).is_pending() {
            assert!(begun.elapsed().as_secs() < 60, "it hangs");
        }
    }
}
