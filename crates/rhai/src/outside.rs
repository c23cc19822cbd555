//! Calls of a script that learn something from outside: what a run writes down, and answers from its journal the next time.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;

use inflight_core::{JournalEntry, Request, RequestId, Session, SubmitErrorKind};
use rhai::{Dynamic, EvalAltResult, NativeCallContext, Position};

use crate::answer::{Fingerprint, Told, decode, write_down};
use crate::bounded::reserve_copy;
use crate::coroutine::{Context, Role, running};
use crate::error::{ScriptError, ScriptErrorKind, not_submitted};
use crate::heap::uncharged;
use crate::package::Answer;
use crate::replay::{Asked, Replay, Ticket, Waiting, other_request, unreadable};
use crate::state::Stop;
use crate::wait::{terminated, wait};

/// A call that learns something from outside. Where the script is no run of which a journal is kept, making one costs nothing and
/// the call is simply made.
pub(crate) struct OutsideCall<'a> {
    context: Option<Rc<Context>>,
    operation: &'a str,
    arguments: Fingerprint,
    position: Position,
    waits: bool,
    requests: Requests,
}

/// How many requests a call submits where it ends well.
#[derive(Clone, Copy)]
enum Requests {
    Exactly(u64),
    /// As many as its answer has items.
    Listed,
}

/// What a call was answered.
pub(crate) struct Answered {
    pub(crate) answer: Answer<Dynamic>,
    /// Where it stands in a journal that the answer was taken from.
    pub(crate) replayed: Option<Replayed>,
}

/// A call that was not made, since an earlier run had made it.
pub(crate) struct Replayed {
    context: Rc<Context>,
    ticket: Ticket,
}

impl Replayed {
    /// The ids of so many requests that the call submitted.
    pub(crate) fn request_ids(&self, count: usize) -> Vec<RequestId> {
        let numbers = (self.ticket.sequence + 1..).take(count);
        let id = |number| Some(replay_of(&self.context)?.run.request_id(self.ticket.task, number));
        numbers.filter_map(id).collect()
    }
}

impl<'a> OutsideCall<'a> {
    /// A call of a script function.
    pub(crate) fn new(ctx: &NativeCallContext, operation: &'a str) -> Self {
        Self::at(ctx.call_position(), operation)
    }

    /// A call at this place.
    pub(crate) fn at(position: Position, operation: &'a str) -> Self {
        Self {
            context: running().filter(|context| context.script.replay.is_some()),
            operation,
            arguments: Fingerprint::new(),
            position,
            waits: false,
            requests: Requests::Exactly(0),
        }
    }

    /// The submission of this request.
    pub(crate) fn submitting(ctx: &NativeCallContext, operation: &'a str, request: &Request) -> Self {
        let mut call = Self::new(ctx, operation).waits().requests(1);
        call.arguments_of_request(request);
        call
    }

    fn arguments_of_request(&mut self, request: &Request) {
        if self.context.is_some() {
            self.arguments.number(request_fingerprint(request));
        }
    }

    /// Several requests, as one argument.
    pub(crate) fn all<'r>(mut self, requests: impl Iterator<Item = &'r Request>) -> Self {
        requests.for_each(|request| self.arguments_of_request(request));
        self
    }

    /// An argument that is a text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        if self.context.is_some() {
            self.arguments.text(text);
        }
        self
    }

    /// An argument that is a number.
    pub(crate) fn number(mut self, number: u64) -> Self {
        if self.context.is_some() {
            self.arguments.number(number);
        }
        self
    }

    /// An argument that is a limit of time.
    pub(crate) fn limit(self, limit: Option<std::time::Duration>) -> Self {
        self.number(limit.map_or(u64::MAX, |limit| limit.as_secs_f64().to_bits()))
    }

    /// Any argument.
    pub(crate) fn value(mut self, value: &Dynamic) -> Self {
        // A script that gives more than it may hold is stopped, and the call is not made.
        if self.context.is_some() && reserve_copy(value).is_ok() {
            self.arguments.value(value);
        }
        self
    }

    /// Any argument, not yet as a script's value.
    pub(crate) fn value_of<T: rhai::Variant + Clone>(self, value: &T) -> Self {
        if self.context.is_none() {
            return self;
        }
        self.value(&Dynamic::from(value.clone()))
    }

    /// It may wait, and others of the script's coroutines run meanwhile.
    pub(crate) fn waits(mut self) -> Self {
        self.waits = true;
        self
    }

    /// It submits so many requests where it ends well.
    pub(crate) fn requests(mut self, count: usize) -> Self {
        self.requests = Requests::Exactly(count as u64);
        self
    }

    /// It submits as many requests as its answer lists.
    pub(crate) fn lists_requests(mut self) -> Self {
        self.requests = Requests::Listed;
        self
    }

    /// Makes the call, or answers what an earlier run of the script was answered.
    pub(crate) fn answer(self, make: impl FnOnce() -> Answer<Told>) -> Answer<Dynamic> {
        self.answered(make).answer
    }

    /// As [`answer`](Self::answer), and says which.
    pub(crate) fn answered(self, make: impl FnOnce() -> Answer<Told>) -> Answered {
        match self.context.as_ref().filter(|context| context.call.get().is_none()) {
            // Also within a call of the host's: what that is answered is what is written down.
            None => Answered {
                answer: make().map(Told::into_value),
                replayed: None,
            },
            Some(context) => {
                let answered = self.in_run(context, make);
                let (answer, replayed) = answered.unwrap_or_else(|error| (Err(error), None));
                Answered { answer, replayed }
            }
        }
    }

    // Apart: what it needs of the stack, a script that is no run would hold too while it waits.
    #[inline(never)]
    fn in_run(
        &self,
        context: &Rc<Context>,
        make: impl FnOnce() -> Answer<Told>,
    ) -> Answer<(Answer<Dynamic>, Option<Replayed>)> {
        let script = &context.script;
        let (Some(replay), None) = (&script.replay, script.stopped()) else {
            return Err(terminated(script.stopped().unwrap_or(Stop::Cancelled)));
        };
        let ticket = replay.call(context.task.get());
        let asked = Asked {
            operation: self.operation,
            arguments: self.arguments.get(),
            position: self.position,
            waits: self.waits,
        };
        if let Some(entry) = turn(context, replay, ticket, &asked)? {
            let answer = read_back(context, &entry);
            uncharged(|| drop(entry));
            let answer = answer?;
            replay.used(ticket, self.requests.of(&answer));
            let context = Rc::clone(context);
            return Ok((answer, Some(Replayed { context, ticket })));
        }
        let made = announced(context, replay, ticket, make);
        if made.as_ref().is_err_and(|error| !error.unwrap_inner().is_catchable()) {
            return Err(made.err().unwrap_or_else(|| terminated(Stop::Cancelled)));
        }
        let (bytes, answer) = {
            let (engine, operation) = (&script.engine, self.operation);
            write_down(engine, operation, made)
        };
        replay.used(ticket, self.requests.of(&answer));
        keep(context, replay, ticket, &asked, bytes)?;
        Ok((answer, None))
    }
}

impl Requests {
    fn of(self, answer: &Answer<Dynamic>) -> u64 {
        match (self, answer) {
            (_, Err(_)) => 0,
            (Self::Exactly(count), Ok(_)) => count,
            (Self::Listed, Ok(list)) => list.as_array_ref().map_or(0, |list| list.len() as u64),
        }
    }
}

/// Waits for the call's turn. Gives its entry; `None` where it is to be made.
fn turn(context: &Rc<Context>, replay: &Replay, ticket: Ticket, asked: &Asked) -> Answer<Option<JournalEntry>> {
    if replay.is_over() {
        return Ok(None);
    }
    let who = waiting(context);
    let taken = context.run_to_end(pin!(poll_fn(|cx| replay.poll_turn(who, ticket, asked, cx))));
    match taken {
        Ok(Ok(entry)) => Ok(entry),
        Ok(Err(diverged)) => Err(give_up(context, diverged)),
        Err(stop) => Err(terminated(stop)),
    }
}

/// How this coroutine waits.
pub(crate) fn waiting(context: &Context) -> Waiting {
    Waiting {
        coroutine: context.id(),
        runs_callbacks: !matches!(context.role, Role::Task(_)) && !context.script.callbacks.is_running(),
    }
}

/// Makes the call in fact. Its requests are numbered after it.
fn announced<R>(context: &Rc<Context>, replay: &Replay, ticket: Ticket, make: impl FnOnce() -> R) -> R {
    let before = context.call.replace(Some(ticket));
    replay.run.announce(ticket.task, ticket.sequence + 1);
    let made = make();
    replay.run.withdraw();
    context.call.set(before);
    made
}

/// Writes the answer down, unless the program shuts down: what a script is told then says nothing about its requests, which stay in
/// the store.
pub(crate) fn keep(
    context: &Rc<Context>,
    replay: &Replay,
    ticket: Ticket,
    asked: &Asked,
    answer: Vec<u8>,
) -> Answer<()> {
    let script = &context.script;
    if script.locals.session().is_some_and(Session::is_shut_down) {
        script.stop(Stop::Cancelled);
    }
    if let Some(stop) = script.stopped() {
        return Err(terminated(stop));
    }
    replay
        .write(ticket, asked, answer)
        .map_err(|unwritten| give_up(context, unwritten))
}

/// The answer that an entry holds.
pub(crate) fn read_back(context: &Rc<Context>, entry: &JournalEntry) -> Answer<Answer<Dynamic>> {
    let ticket = Ticket {
        task: entry.task,
        sequence: entry.sequence,
    };
    decode(&entry.answer).map_err(|why| give_up(context, unreadable(ticket, &entry.operation, &why)))
}

/// Ends the script with this error, which it cannot catch.
pub(crate) fn give_up(context: &Rc<Context>, error: ScriptError) -> Box<EvalAltResult> {
    if let Some(replay) = &context.script.replay {
        replay.fail(error);
    }
    context.script.stop(Stop::Replay);
    terminated(Stop::Replay)
}

/// Whether the running script is a run of which a journal is kept.
pub(crate) fn is_run() -> bool {
    running().is_some_and(|context| context.script.replay.is_some())
}

fn replay_of(context: &Context) -> Option<&Replay> {
    context.script.replay.as_ref()
}

/// A future that submits requests for the call that is being made, however often others of the script run meanwhile.
pub(crate) fn numbered<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let call = running().and_then(|context| Some((context.call.get()?, context)));
    async move {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Some((ticket, context)) = &call
                && let Some(replay) = replay_of(context)
            {
                replay.run.announce(ticket.task, ticket.sequence + 1);
            }
            future.as_mut().poll(cx)
        })
        .await
    }
}

/// Numbers the requests of the call that is being made anew: others may have been numbered while it waited.
pub(crate) fn announce_again() {
    if let Some(context) = running()
        && let (Some(replay), Some(ticket)) = (replay_of(&context), context.call.get())
    {
        replay.run.announce(ticket.task, ticket.sequence + 1);
    }
}

/// Ends the run that is running: it can be taken up again later.
pub(crate) fn end_run(message: &str, position: Position) -> Box<EvalAltResult> {
    let error = ScriptError::new(ScriptErrorKind::Store, message).at(position);
    match running() {
        Some(context) => give_up(&context, error),
        None => terminated(Stop::Replay),
    }
}

/// Whether an earlier run has submitted the request that the call is to submit, and was cut off before that was written down.
pub(crate) fn was_submitted(session: &Session) -> bool {
    let Some(context) = running() else { return false };
    let (Some(replay), Some(ticket)) = (replay_of(&context), context.call.get()) else {
        return false;
    };
    let id = replay.run.request_id(ticket.task, ticket.sequence + 1);
    session.restored(id).is_some()
}

/// Why a request is not accepted, as a script catches it. Where it is not what the first run submitted, the script ends.
pub(crate) fn refusal(
    session: &Session,
    kind: SubmitErrorKind,
    operation: &str,
    position: Position,
) -> Box<EvalAltResult> {
    let SubmitErrorKind::Diverged { id } = kind else {
        return not_submitted(kind);
    };
    let Some(context) = running() else {
        return not_submitted(kind);
    };
    let ticket = context.call.get().unwrap_or(Ticket::beginning(context.task.get()));
    let first = session.restored(id).map(|restored| restored.operation);
    let asked = Asked {
        operation,
        arguments: 0,
        position,
        waits: true,
    };
    give_up(&context, other_request(ticket, &asked, first.as_deref()))
}

/// A fingerprint of what the request says, whatever name its credential has in this process.
fn request_fingerprint(request: &Request) -> u64 {
    uncharged(|| {
        let mut request = request.clone();
        request.credential = None;
        let both = request.fingerprint().to_le_bytes();
        let (low, _) = both.split_at(8);
        u64::from_le_bytes(low.try_into().unwrap_or_default())
    })
}

/// For functions of a host's own that tell a script something from outside, such as what a database says. In a run of which a
/// journal is kept the answer is written down, and given again when the script is replayed; elsewhere `make` is simply called.
///
/// `operation` is the function's name and `arguments` what it was called with: a script that is replayed and calls something else has
/// changed, and ends. The answer may be made of units, booleans, numbers, texts, blobs, arrays and maps. `make` may
/// [`wait`](crate::wait()) and submit one request; it must not call functions of the script.
///
/// # Errors
/// What `make` gives. In a run also errors that a script cannot catch: give them on.
pub fn journalled(
    ctx: &NativeCallContext,
    operation: &str,
    arguments: &[Dynamic],
    make: impl FnOnce() -> Answer<Dynamic>,
) -> Answer<Dynamic> {
    let call = OutsideCall::new(ctx, operation).waits();
    let call = arguments.iter().fold(call, OutsideCall::value);
    call.answer(|| make().map(Told::from))
}

/// Waits until the durable store, if there is one, has the request.
pub(crate) fn recorded(session: &Session, id: RequestId) -> Answer<()> {
    match session.recorded(id) {
        Some(recorded) => wait(recorded),
        None => Ok(()),
    }
}
