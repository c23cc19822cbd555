//! `on_complete(id, |result| …)`: functions that run in the script's own fiber when a request has ended, at the script's next
//! suspension or at its end, in the order in which the requests ended.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use inflight_core::{Outcome, Wait};
use rhai::{Dynamic, FnPtr, ImmutableString, Module, NativeCallContext};

use crate::coroutine::running;
use crate::error::{failure_map, line_with_place, script_error};
use crate::heap::uncharged;
use crate::object::result_value;
use crate::package::{Answer, function, known, unknown};
use crate::state::ScriptState;
use crate::stored_call::StoredCall;
use crate::unordered::Unordered;
use crate::wait::wait;

/// The callbacks of one script whose requests have not ended, or that have not run yet.
#[derive(Default)]
pub(crate) struct Callbacks {
    waiting: RefCell<Unordered<Callback>>,
    /// Whether one is running: others wait until it has returned, so that they run in order.
    running: Cell<bool>,
    /// Whether any was added since the main coroutine last looked.
    added: Cell<bool>,
}

struct Callback {
    id: String,
    ending: Wait,
    call: Option<StoredCall>,
}

struct Due {
    id: String,
    outcome: Arc<Outcome>,
    call: StoredCall,
}

impl Future for Callback {
    type Output = Option<Due>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = std::task::ready!(Pin::new(&mut self.ending).poll(cx));
        Poll::Ready(self.call.take().map(|call| Due {
            id: std::mem::take(&mut self.id),
            outcome,
            call,
        }))
    }
}

impl Unpin for Callback {}

impl Callbacks {
    /// Whether the main coroutine has to look again, so that it is woken by what was added.
    pub(crate) fn take_added(&self) -> bool {
        self.added.replace(false)
    }

    /// Runs the callbacks whose requests have ended, of those that there are now: each may register further ones. Gives whether there
    /// was one.
    pub(crate) fn run_ready(&self, cx: &mut Context<'_>, script: &ScriptState) -> bool {
        self.added.set(false);
        let waiting = self.waiting.borrow().len();
        let ran = (0..waiting).take_while(|_| script.stopped().is_none() && self.run_one(cx));
        ran.count() > 0
    }

    fn run_one(&self, cx: &mut Context<'_>) -> bool {
        if self.running.get() {
            return false;
        }
        let Poll::Ready(Some(due)) = self.poll_due(cx) else {
            return false;
        };
        if let (Some(due), Some(context)) = (due, running()) {
            run(&context.script, &due);
        }
        true
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    pub(crate) fn clear(&self) {
        drop(self.waiting.take());
    }

    fn poll_due(&self, cx: &mut Context<'_>) -> Poll<Option<Option<Due>>> {
        let mut waiting = self.waiting.borrow_mut();
        uncharged(|| waiting.poll_next(cx))
    }
}

/// Runs the script's callbacks to the last, waiting for their requests: at the script's end.
pub(crate) fn finish(script: &Rc<ScriptState>) {
    loop {
        let due = wait(poll_fn(|cx| script.callbacks.poll_due(cx)));
        match due {
            Ok(Some(Some(due))) => run(script, &due),
            Ok(Some(None)) => {}
            // None is left, or the script is to stop.
            Ok(None) | Err(_) => return,
        }
    }
}

/// A successful request's callback gets what `get_result` gives, a failed one's the map that `get_result` throws.
fn run(script: &Rc<ScriptState>, due: &Due) {
    // One that waits holds the others back: they run in order.
    script.callbacks.running.set(true);
    let argument = match &*due.outcome {
        Ok(success) => result_value(success),
        Err(failure) => Ok(Dynamic::from(failure_map(failure))),
    };
    let ended = argument.and_then(|argument| due.call.call(&script.engine, (argument,)));
    script.callbacks.running.set(false);
    let Err(error) = ended else { return };
    script.note_place(due.call.position());
    if script.stopped().is_none() {
        let line = line_with_place(&script.engine, &error);
        script.warn(format!("the callback of request {} failed: {line}", due.id));
    }
}

pub(crate) fn register(module: &mut Module) {
    function(
        module,
        "on_complete",
        |ctx: NativeCallContext, id: ImmutableString, callback: FnPtr| -> Answer<()> {
            let context = running().ok_or_else(|| {
                script_error(
                    "no_fiber",
                    "callbacks need a script that runs as a fiber: evaluate it with eval_async",
                )
            })?;
            let (session, request) = known(&ctx, &id)?;
            let ending = session.wait_async(request).ok_or_else(unknown)?;
            let callbacks = &context.script.callbacks;
            let callback = Callback {
                id: id.to_string(),
                ending,
                call: Some(StoredCall::new(&ctx, callback)),
            };
            // Its place in the line is freed by the poll, which is the host's.
            uncharged(|| callbacks.waiting.borrow_mut().push(callback));
            callbacks.added.set(true);
            Ok(())
        },
    );
}
