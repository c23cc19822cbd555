//! Concurrency within one script: `start(|| …)` and `join(task, seconds)`.
//!
//! A task has a stack of its own and runs when the script's other coroutines wait. Tasks switch only where one waits; a time
//! slice preempts the script as a whole.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rhai::Shared;
use rhai::{
    Dynamic, EvalAltResult, FnPtr, FuncRegistration, INT, ImmutableString, Module, NativeCallContext, Position,
};

use crate::admission::{Place, try_enter_task};
use crate::coroutine::{Fibre, Role, running};
use crate::error::{describe, line_with_place, script_error};
use crate::fiber::{is_panic, panicked};
use crate::heap::uncharged;
use crate::outside::OutsideCall;
use crate::package::{Answer, duration, function};
use crate::replay::Replay;
use crate::state::ScriptState;
use crate::stored_call::StoredCall;
use crate::wait::within;
use crate::waits::Awaited;
use crate::wakers::Wakers;

/// How many tasks of one script may run at once: each has a stack.
const MAX_TASKS: usize = 1000;

/// A script's handle to one of its tasks.
#[derive(Clone, Debug)]
pub struct Task(Shared<Handle>);

/// When a script has no handle any more, it cannot ask for the task's value: that is forgotten.
#[derive(Debug)]
struct Handle(u64);

impl Drop for Handle {
    fn drop(&mut self) {
        // Elsewhere than in its script, the whole script is being forgotten.
        if let Some(context) = running() {
            context.script.tasks.forget(&context.script, self.0);
        }
    }
}

/// What a task gave or threw.
type Ended = Result<Dynamic, Dynamic>;

/// The tasks of one script.
#[derive(Default)]
pub(crate) struct Tasks {
    next: Cell<u64>,
    running: Cell<usize>,
    /// Tasks that were started and have not run yet.
    new: RefCell<Vec<RunningTask>>,
    results: RefCell<HashMap<u64, TaskResult>>,
}

#[derive(Default)]
struct TaskResult {
    ended: Option<Ended>,
    /// What it failed with as one line, for a warning where nobody joins it. Made on the task's own stack: a thrown value may nest
    /// more deeply than the host's stack can follow.
    failure: Option<String>,
    joined: bool,
    /// Whether the script has let go of its handle.
    forgotten: bool,
    waiting: Wakers,
}

/// A task as a future, for the script's fiber to drive.
pub(crate) struct RunningTask {
    fibre: Fibre<()>,
    _place: Option<Place>,
    script: Rc<ScriptState>,
}

impl Future for RunningTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // One that was preempted goes on also where its turn has gone by before it came to run: nothing else of the script does.
        let is_late = self.script.turn_is_over() && !self.script.is_preempted();
        if !self.fibre.may_run() || is_late {
            self.script.defer(cx.waker());
            return Poll::Pending;
        }
        self.script.count_task();
        let Some(ending) = self.fibre.resume(cx.waker()) else {
            return Poll::Pending;
        };
        if is_panic(&ending)
            && let Err(panic) = ending
        {
            // Whoever waits for it is stopped, and catches nothing.
            self.script.stop_for_panic(panicked(&*panic));
        }
        self.script
            .tasks
            .running
            .set(self.script.tasks.running.get().saturating_sub(1));
        Poll::Ready(())
    }
}

impl Unpin for RunningTask {}

impl RunningTask {
    /// A coroutine that runs callbacks which tasks registered after the main one had ended.
    pub(crate) fn for_callbacks(script: &Rc<ScriptState>) -> std::io::Result<Self> {
        let inner = Rc::clone(script);
        let fibre = Fibre::new(script, Role::Closing, move || crate::callbacks::finish(&inner))?;
        script.tasks.running.set(script.tasks.running.get() + 1);
        Ok(Self {
            fibre,
            _place: None,
            script: Rc::clone(script),
        })
    }
}

impl Tasks {
    pub(crate) fn take_new(&self) -> Vec<RunningTask> {
        self.new.take()
    }

    pub(crate) fn push_new(&self, task: RunningTask) {
        self.new.borrow_mut().push(task);
    }

    pub(crate) fn has_new(&self) -> bool {
        !self.new.borrow().is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.results.borrow().is_empty()
    }

    pub(crate) fn clear(&self) {
        self.results.take();
    }

    /// The task has ended. A failure is also given as one line.
    fn end(&self, script: &ScriptState, id: u64, ended: Ended, failure: Option<String>) {
        let (woken, unwanted) = {
            let mut results = self.results.borrow_mut();
            let Some(result) = results.get_mut(&id) else { return };
            let woken = std::mem::take(&mut result.waiting);
            if result.forgotten {
                uncharged(|| results.remove(&id));
                (woken, Some((ended, failure)))
            } else {
                result.ended = Some(ended);
                result.failure = failure;
                (woken, None)
            }
        };
        if let Some((_value, Some(failure))) = unwanted {
            script.warn(unjoined(id, &failure));
        }
        woken.wake();
    }

    /// The script has no handle to the task any more.
    fn forget(&self, script: &ScriptState, id: u64) {
        let forgotten = {
            let mut results = self.results.borrow_mut();
            match results.get_mut(&id) {
                Some(result) if result.ended.is_some() => uncharged(|| results.remove(&id)),
                Some(result) => {
                    result.forgotten = true;
                    None
                }
                None => None,
            }
        };
        // Its value is dropped without the borrow: it may hold other handles.
        if let Some(result) = forgotten
            && let Some(failure) = &result.failure
            && !result.joined
        {
            script.warn(unjoined(id, failure));
        }
    }

    /// Ready when the task has ended; `false` where there is no such task.
    fn poll_ended(&self, id: u64, cx: &mut Context<'_>) -> Poll<bool> {
        let mut results = self.results.borrow_mut();
        match results.get_mut(&id) {
            None => Poll::Ready(false),
            Some(result) if result.ended.is_some() => {
                result.joined = true;
                Poll::Ready(true)
            }
            Some(result) => {
                result.waiting.add(cx.waker());
                Poll::Pending
            }
        }
    }

    /// The first run has joined it.
    fn note_joined(&self, id: u64) {
        if let Some(result) = self.results.borrow_mut().get_mut(&id) {
            result.joined = true;
        }
    }

    /// What the task gave, when it has ended.
    fn ended(&self, id: u64) -> Option<Ended> {
        self.results.borrow().get(&id)?.ended.clone()
    }

    /// The texts of the failures that nobody has joined, of tasks that the script still had handles to.
    pub(crate) fn unjoined_failures(&self) -> Vec<String> {
        let results = self.results.borrow();
        let mut failures: Vec<(u64, &String)> = results
            .iter()
            .filter(|(_, result)| !result.joined)
            .filter_map(|(id, result)| Some((*id, result.failure.as_ref()?)))
            .collect();
        failures.sort_unstable();
        failures.into_iter().map(|(id, text)| unjoined(id, text)).collect()
    }
}

fn unjoined(id: u64, failure: &str) -> String {
    format!("task {id} failed and nobody joined it: {failure}")
}

pub(crate) fn register(module: &mut Module) {
    module.set_custom_type::<Task>("Task");
    function(module, "start", |ctx: NativeCallContext, body: FnPtr| start(&ctx, body));
    function(module, "join", |ctx: NativeCallContext, task: Task| {
        join(&ctx, &task, None)
    });
    function(module, "join", |ctx: NativeCallContext, task: Task, seconds: INT| {
        join(&ctx, &task, Some(seconds as f64))
    });
    function(module, "join", |ctx: NativeCallContext, task: Task, seconds: f64| {
        join(&ctx, &task, Some(seconds))
    });
    for name in ["to_string", "print", "to_debug", "debug"] {
        FuncRegistration::new(name)
            .in_global_namespace()
            .with_purity(true)
            .set_into_module(module, |task: &mut Task| {
                ImmutableString::from(format!("task {}", task.0.0))
            });
    }
}

fn start(ctx: &NativeCallContext, body: FnPtr) -> Answer<Task> {
    let context = running().ok_or_else(|| {
        script_error(
            "no_fiber",
            "tasks need a script that runs as a fiber: evaluate it with eval_async",
        )
    })?;
    let script = Rc::clone(&context.script);
    let tasks = &script.tasks;
    if tasks.running.get() >= MAX_TASKS {
        return Err(script_error(
            "too_many_tasks",
            &format!("{MAX_TASKS} tasks of this script are running, which is all that one script may have"),
        ));
    }
    // Waiting for a place would hold the script's own: an error says it.
    let mut place = None;
    let entered = OutsideCall::new(ctx, "start").answer(|| {
        place = try_enter_task();
        match &place {
            Some(_) => Ok(Dynamic::UNIT.into()),
            None => Err(script_error(
                "too_many_tasks",
                "there is no room for the task: too many scripts and tasks live at once",
            )),
        }
    });
    entered.map(|_| ())?;
    let number = script.replay.as_ref().map(Replay::number_task);
    let begun = ctx.call_position();
    let id = tasks.next.get() + 1;
    let call = StoredCall::new(ctx, body);
    let inner = Rc::clone(&script);
    let body = move || {
        // Stopped before it ran: what it captured is dropped here, where there is room to take it apart.
        if inner.stopped().is_some() {
            return;
        }
        let ended = begin(number, begun).and_then(|()| call.call(&inner.engine, ()));
        if ended.is_err() {
            inner.note_place(call.position());
        }
        // What a limit or a cancellation cuts off has not failed by itself.
        let failure = match &ended {
            Err(error) if inner.stopped().is_none() => Some(line_with_place(&inner.engine, error)),
            _ => None,
        };
        let ended = ended.map_err(|error| thrown_value(&inner, &error));
        inner.tasks.end(&inner, id, ended, failure);
    };
    // What keeps the task is the host's, and the host frees it.
    let started = uncharged(|| -> std::io::Result<()> {
        let fibre = Fibre::new(&script, Role::Task(id), body)?;
        tasks.results.borrow_mut().insert(id, TaskResult::default());
        tasks.new.borrow_mut().push(RunningTask {
            fibre,
            _place: place.take(),
            script: Rc::clone(&script),
        });
        Ok(())
    });
    started.map_err(|error| {
        script_error(
            "no_stack",
            &format!(
                "no stack can be had for the task, for which {} MiB of address space are needed: {error}",
                script.stack_bytes / (1024 * 1024)
            ),
        )
    })?;
    tasks.next.set(id);
    tasks.running.set(tasks.running.get() + 1);
    Ok(Task(Shared::new(Handle(id))))
}

/// A task of a run begins when it is its turn, and makes its calls in its own name.
fn begin(number: Option<u32>, position: Position) -> Answer<()> {
    let (Some(number), Some(context)) = (number, running()) else {
        return Ok(());
    };
    context.task.set(number);
    let begun = OutsideCall::at(position, "begin").waits();
    begun.answer(|| Ok(Dynamic::UNIT.into())).map(|_| ())
}

/// What a script catches: the value that was thrown, or an error of Rhai's own as text.
fn thrown_value(script: &ScriptState, error: &EvalAltResult) -> Dynamic {
    let mut inner = error;
    while let EvalAltResult::ErrorInFunctionCall(_, _, next, _) | EvalAltResult::ErrorInModule(_, next, _) = inner {
        inner = next;
    }
    match inner {
        EvalAltResult::ErrorRuntime(value, _) => value.clone(),
        _ => describe(&script.engine, error).0.into(),
    }
}

fn join(ctx: &NativeCallContext, task: &Task, seconds: Option<f64>) -> Answer<Dynamic> {
    let id = task.0.0;
    let limit = seconds.map(|seconds| duration(seconds, "the timeout")).transpose()?;
    let context = running().ok_or_else(|| script_error("no_fiber", "this task belongs to no script that runs here"))?;
    let script = &context.script;
    if script.waits.lead(Role::Task(id), context.waiter(), &script.modules) {
        return Err(script_error(
            "deadlock",
            "the task that is to be joined waits for the one that joins it: neither would ever end",
        ));
    }
    let call = OutsideCall::new(ctx, "join").number(id).limit(limit).waits();
    let wait = || {
        call.answered(|| match within(limit, poll_fn(|cx| script.tasks.poll_ended(id, cx)))? {
            Some(_) => Ok(Dynamic::UNIT.into()),
            None => Err(script_error(
                "wait_timeout",
                "the task has not ended in that time; it goes on, and can be joined again",
            )),
        })
    };
    let joined = match limit {
        None => script.waits.during(context.waiter(), Awaited::Task(id), wait),
        Some(_) => wait(),
    };
    joined.answer.map(|_| ())?;
    if joined.replayed.is_some() {
        script.tasks.note_joined(id);
    }
    match script.tasks.ended(id) {
        Some(Ok(value)) => Ok(value),
        Some(Err(thrown)) => Err(Box::new(EvalAltResult::ErrorRuntime(thrown, Position::NONE))),
        None => Err(script_error("unknown_task", "no task of this script is that one")),
    }
}
