//! `on_complete(id, |result| …)`: functions that run in the script's own fiber when a request has ended, at the script's next
//! suspension or at its end, in the order in which the requests ended.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use inflight_core::{JournalEntry, Outcome, Wait};
use rhai::{Dynamic, FnPtr, ImmutableString, Module, NativeCallContext};

use crate::answer::{Told, write_down};
use crate::coroutine::{self, running};
use crate::error::{failure_map, line_with_place, script_error};
use crate::heap::uncharged;
use crate::object::result_told;
use crate::outside::{OutsideCall, keep, read_back, waiting};
use crate::package::{Answer, function, known, look_again, unknown};
use crate::replay::{Asked, Replay, Ticket};
use crate::state::ScriptState;
use crate::stored_call::StoredCall;
use crate::unordered::Unordered;

/// What a script calls to register one; the name under which both that and its beginning are written down.
const OPERATION: &str = "on_complete";

/// The callbacks of one script that have not run yet.
#[derive(Default)]
pub(crate) struct Callbacks {
    /// By their numbers: those that are not here any more have run.
    calls: RefCell<HashMap<u32, Registered>>,
    /// The endings that they wait for.
    waiting: RefCell<Unordered<Ending>>,
    next: Cell<u32>,
    /// Whether one is running: others wait until it has returned, so that they run in order.
    running: Cell<bool>,
    /// Whether any was added since the main coroutine last looked.
    added: Cell<bool>,
}

struct Registered {
    id: String,
    call: StoredCall,
}

struct Ending {
    number: u32,
    wait: Wait,
}

/// A callback that has to run.
struct Due {
    number: u32,
    registered: Registered,
    ended: Ended,
}

/// How its request has ended.
enum Ended {
    Now(Arc<Outcome>),
    /// As the first run of the script was told.
    Before(JournalEntry),
}

impl Future for Ending {
    type Output = (u32, Arc<Outcome>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(Pin::new(&mut self.wait).poll(cx));
        Poll::Ready((self.number, outcome))
    }
}

impl Callbacks {
    /// Whether the main coroutine has to look again, so that it is woken by what was added.
    pub(crate) fn take_added(&self) -> bool {
        self.added.replace(false)
    }

    /// Runs the callbacks whose requests have ended, of those that there are now: each may register further ones. Gives whether there
    /// was one.
    #[inline(never)]
    pub(crate) fn run_ready(&self, cx: &mut Context<'_>, script: &ScriptState) -> bool {
        self.added.set(false);
        let waiting = self.calls.borrow().len();
        let ran = (0..waiting).take_while(|_| script.stopped().is_none() && self.run_one(cx));
        ran.count() > 0
    }

    fn run_one(&self, cx: &mut Context<'_>) -> bool {
        if self.running.get() {
            return false;
        }
        let Some(context) = running() else { return false };
        match self.poll_due(&context, cx) {
            Poll::Ready(Some(due)) => {
                run(&context, due);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.get()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.calls.borrow().is_empty()
    }

    pub(crate) fn clear(&self) {
        drop(self.waiting.take());
        drop(self.calls.take());
    }

    /// The next callback that is due; `None` where none is left.
    fn poll_due(&self, context: &Rc<coroutine::Context>, cx: &mut Context<'_>) -> Poll<Option<Due>> {
        match &context.script.replay {
            Some(replay) if !replay.is_over() => self.poll_due_again(context, replay),
            _ => self.poll_ended(cx),
        }
    }

    /// As the first run had it. Whoever waits for its turn is woken for a callback too.
    fn poll_due_again(&self, context: &coroutine::Context, replay: &Replay) -> Poll<Option<Due>> {
        if self.is_empty() {
            return Poll::Ready(None);
        }
        match uncharged(|| replay.take_due(context.id())) {
            Some(entry) => Poll::Ready(self.due(entry.task, Ended::Before(entry))),
            None => Poll::Pending,
        }
    }

    /// As the requests end.
    fn poll_ended(&self, cx: &mut Context<'_>) -> Poll<Option<Due>> {
        loop {
            let ended = uncharged(|| self.waiting.borrow_mut().poll_next(cx));
            let Some((number, outcome)) = std::task::ready!(ended) else {
                return Poll::Ready(None);
            };
            // One that is not there has run, in an earlier run of the script.
            if let Some(due) = self.due(number, Ended::Now(outcome)) {
                return Poll::Ready(Some(due));
            }
        }
    }

    fn due(&self, number: u32, ended: Ended) -> Option<Due> {
        let registered = uncharged(|| self.calls.borrow_mut().remove(&number))?;
        Some(Due {
            number,
            registered,
            ended,
        })
    }

    fn add(&self, number: Option<u32>, registered: Registered, ending: Option<Wait>) {
        let number = number.unwrap_or_else(|| {
            self.next.set(self.next.get() + 1);
            self.next.get()
        });
        // Its place in the line is freed by the poll, which is the host's.
        uncharged(|| {
            self.calls.borrow_mut().insert(number, registered);
            if let Some(wait) = ending {
                self.waiting.borrow_mut().push(Ending { number, wait });
            }
        });
        self.added.set(true);
    }
}

impl Due {
    /// A successful request's callback gets what `get_result` gives, a failed one's the map that `get_result` throws. In a run, that is
    /// written down: the callback begins.
    fn argument(&self, context: &Rc<coroutine::Context>) -> Answer<Dynamic> {
        let outcome = match &self.ended {
            Ended::Now(outcome) => outcome,
            Ended::Before(entry) => {
                look_again(&context.script.locals, [&*self.registered.id]);
                return read_back(context, entry)?;
            }
        };
        let argument = match &**outcome {
            Ok(success) => result_told(success),
            Err(failure) => Ok(Dynamic::from(failure_map(failure)).into()),
        };
        let Some(replay) = &context.script.replay else {
            return argument.map(Told::into_value);
        };
        uncharged(|| replay.begin_callback(self.number));
        let (bytes, argument) = write_down(&context.script.engine, OPERATION, argument);
        let asked = Asked {
            operation: OPERATION,
            arguments: 0,
            position: self.registered.call.position(),
            waits: true,
        };
        keep(context, replay, Ticket::beginning(self.number), &asked, bytes).and(argument)
    }
}

/// Runs the script's callbacks to the last, waiting for their requests: at the script's end.
pub(crate) fn finish(script: &Rc<ScriptState>) {
    let Some(context) = running() else { return };
    let next = |cx: &mut Context<'_>| {
        let due = script.callbacks.poll_due(&context, cx);
        if let (Poll::Pending, Some(replay)) = (&due, &script.replay) {
            replay.park_for_callbacks(waiting(&context), cx);
        }
        due
    };
    while let Ok(Some(due)) = context.run_to_end(pin!(poll_fn(next))) {
        run(&context, due);
    }
}

fn run(context: &Rc<coroutine::Context>, due: Due) {
    let script = &context.script;
    // One that waits holds the others back: they run in order.
    script.callbacks.running.set(true);
    let before = (context.task.replace(due.number), context.call.take());
    let argument = due.argument(context);
    let Due { registered, ended, .. } = due;
    uncharged(|| drop(ended));
    let Registered { id, call } = registered;
    let ended = argument.and_then(|argument| call.call(&script.engine, (argument,)));
    context.task.set(before.0);
    context.call.set(before.1);
    script.callbacks.running.set(false);
    let Err(error) = ended else { return };
    script.note_place(call.position());
    if script.stopped().is_none() {
        let line = line_with_place(&script.engine, &error);
        script.warn(format!("the callback of request {id} failed: {line}"));
    }
}

pub(crate) fn register(module: &mut Module) {
    function(
        module,
        OPERATION,
        |ctx: NativeCallContext, id: ImmutableString, callback: FnPtr| -> Answer<()> {
            let context = running().ok_or_else(|| {
                script_error(
                    "no_fiber",
                    "callbacks need a script that runs as a fiber: evaluate it with eval_async",
                )
            })?;
            let callbacks = &context.script.callbacks;
            let mut ending = None;
            let look = || {
                let (session, request) = known(&ctx, &id)?;
                session.wait_async(request).ok_or_else(unknown)
            };
            let answered = OutsideCall::new(&ctx, OPERATION).text(&id).answered(|| {
                ending = Some(look()?);
                Ok(Dynamic::UNIT.into())
            });
            answered.answer.map(|_| ())?;
            if answered.replayed.is_some() {
                ending = look().ok();
            }
            let registered = Registered {
                id: id.to_string(),
                call: StoredCall::new(&ctx, callback),
            };
            let number = context.script.replay.as_ref().map(Replay::number_callback);
            callbacks.add(number, registered, ending);
            Ok(())
        },
    );
}
