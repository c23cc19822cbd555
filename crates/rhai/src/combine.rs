//! Waiting for several requests at once: `await_all`, `await_settled`, `await_any`, `await_race`, for lists of ids and for named
//! ones; and `detach`.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use inflight_core::{Effect, Outcome, Wait};
use rhai::{Array, Dynamic, EvalAltResult, INT, ImmutableString, Map, Module, NativeCallContext};

use crate::answer::Told;
use crate::argument::{invalid_argument, text_argument, wrong_type};
use crate::bounded::reserve;
use crate::coroutine::breathe;
use crate::error::{error_map, error_text, failure_map, thrown};
use crate::heap::{Charge, uncharged};
use crate::object::result_value;
use crate::outside::OutsideCall;
use crate::package::{Answer, duration, function, known, locals_of, look_again, ran_out, unknown};
use crate::unordered::Unordered;
use crate::wait::{terminated, within};

/// How a script names the requests, and so gets the answers back.
pub(crate) enum Names {
    List(usize),
    Map(Vec<ImmutableString>),
}

impl Names {
    /// A request's place in words: `[2]` or `price`.
    fn name(&self, index: usize) -> String {
        match self {
            Self::List(_) => format!("[{index}]"),
            Self::Map(names) => names[index].to_string(),
        }
    }

    /// The answers of all requests, in the shape in which the ids came.
    pub(crate) fn all(self, values: Vec<Dynamic>) -> Dynamic {
        match self {
            Self::List(_) => values.into(),
            Self::Map(names) => {
                let named = names.into_iter().map(|name| name.as_str().into()).zip(values);
                Dynamic::from(named.collect::<Map>())
            }
        }
    }

    /// One request's answer: by itself, or under its name.
    fn one(self, index: usize, value: Dynamic) -> Dynamic {
        match self {
            Self::List(_) => value,
            Self::Map(names) => {
                let mut map = Map::new();
                map.insert(names[index].as_str().into(), value);
                Dynamic::from(map)
            }
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::List(length) => *length,
            Self::Map(names) => names.len(),
        }
    }
}

/// One request's ending with its place in the list.
struct Numbered(usize, Wait);

impl Future for Numbered {
    type Output = (usize, Arc<Outcome>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let outcome = ready!(Pin::new(&mut self.1).poll(cx));
        Poll::Ready((self.0, outcome))
    }
}

/// Requests that are waited for together; the endings come in their own order.
struct Together {
    names: Names,
    endings: Unordered<Numbered>,
    /// What that takes of the host.
    _charge: Charge,
}

/// What the wait for one ending takes.
const WAIT: usize = 256;

impl Together {
    fn of(ctx: &NativeCallContext, ids: &Dynamic) -> Answer<Self> {
        let id = |value: &Dynamic| text_argument("a request id", value);
        let (names, ids) = if let Some(list) = ids.read_lock::<Array>() {
            (
                Names::List(list.len()),
                list.iter().map(id).collect::<Answer<Vec<_>>>()?,
            )
        } else if let Some(map) = ids.read_lock::<Map>() {
            let names = map.keys().map(|name| name.as_str().into()).collect();
            (Names::Map(names), map.values().map(id).collect::<Answer<Vec<_>>>()?)
        } else {
            return Err(wrong_type("the argument", "a list or a map of request ids", ids));
        };
        let bytes = ids.len().saturating_mul(WAIT);
        reserve(bytes)?;
        let mut together = Self {
            names,
            endings: Unordered::default(),
            _charge: Charge::new(bytes),
        };
        for (index, id) in ids.iter().enumerate() {
            breathe().map_err(terminated)?;
            let (session, request) = known(ctx, id)?;
            let ending = session.wait_async(request).ok_or_else(unknown)?;
            // Freed by polls, which are the host's, and with this.
            uncharged(|| together.endings.push(Numbered(index, ending)));
        }
        Ok(together)
    }

    fn take_names(&mut self) -> Names {
        std::mem::replace(&mut self.names, Names::List(0))
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<(usize, Arc<Outcome>)>> {
        self.endings.poll_next(cx)
    }

    /// Endings until `decided` says that it has seen enough, or all have come. `false` where the time ran out before.
    fn gather(
        &mut self,
        limit: Option<Duration>,
        mut decided: impl FnMut(usize, &Arc<Outcome>) -> bool,
    ) -> Answer<bool> {
        let gathered = poll_fn(|cx| {
            while let Some((index, outcome)) = ready!(self.poll_next(cx)) {
                if decided(index, &outcome) {
                    break;
                }
            }
            Poll::Ready(())
        });
        Ok(within(limit, gathered)?.is_some())
    }
}

impl Drop for Together {
    fn drop(&mut self) {
        uncharged(|| self.endings.clear());
    }
}

/// The results in order. The first failure throws, with the field `which`; the others go on.
fn await_all(ctx: &NativeCallContext, ids: &Dynamic, limit: Option<Duration>) -> Answer<Dynamic> {
    let mut together = Together::of(ctx, ids)?;
    let mut outcomes: Vec<Option<Arc<Outcome>>> = vec![None; together.names.len()];
    let mut failed = None;
    let in_time = together.gather(limit, |index, outcome| {
        outcomes[index] = Some(Arc::clone(outcome));
        if outcome.is_err() {
            failed = Some(index);
        }
        outcome.is_err()
    })?;
    if let Some(index) = failed {
        return Err(failure_of(&together.names, index, outcomes[index].as_deref()));
    }
    if !in_time {
        return Err(out_of_time(limit));
    }
    let values = each(outcomes.iter().flatten(), |outcome| match &**outcome {
        Ok(success) => result_value(success),
        Err(failure) => Ok(Dynamic::from(failure_map(failure))),
    })?;
    Ok(together.take_names().all(values))
}

/// For each request a map: `#{ ok: true, value }` or `#{ ok: false, error }`. What has not ended in time has the error
/// `wait_timeout`.
fn await_settled(ctx: &NativeCallContext, ids: &Dynamic, limit: Option<Duration>) -> Answer<Dynamic> {
    let mut together = Together::of(ctx, ids)?;
    let mut outcomes: Vec<Option<Arc<Outcome>>> = vec![None; together.names.len()];
    together.gather(limit, |index, outcome| {
        outcomes[index] = Some(Arc::clone(outcome));
        false
    })?;
    let settled = each(&outcomes, |outcome| {
        Ok(match outcome.as_deref() {
            Some(outcome) => settled_map(outcome),
            None => ended_map(Err(out_of_time(limit))),
        })
    })?;
    Ok(together.take_names().all(settled))
}

/// What is made of each: others have their turn meanwhile, and a script that holds too much is stopped. One request may be among them many
/// times.
pub(crate) fn each<I: IntoIterator, T>(items: I, mut make: impl FnMut(I::Item) -> Answer<T>) -> Answer<Vec<T>> {
    let made = items.into_iter().map(|item| {
        reserve(0)?;
        breathe().map_err(terminated)?;
        make(item)
    });
    made.collect()
}

/// `#{ ok: true, value }` or `#{ ok: false, error }`.
pub(crate) fn settled_map(outcome: &Outcome) -> Dynamic {
    ended_map(match outcome {
        Ok(success) => result_value(success),
        Err(failure) => Err(thrown(failure_map(failure))),
    })
}

fn ended_map(ended: Answer<Dynamic>) -> Dynamic {
    let mut map = Map::new();
    map.insert("ok".into(), ended.is_ok().into());
    match ended {
        Ok(value) => map.insert("value".into(), value),
        Err(error) => map.insert("error".into(), value_of(*error)),
    };
    Dynamic::from(map)
}

/// The result of the first to succeed. Where all fail, that is an error with all of theirs in the field `errors`.
fn await_any(ctx: &NativeCallContext, ids: &Dynamic, limit: Option<Duration>) -> Answer<Dynamic> {
    let mut together = Together::of(ctx, ids)?;
    // Polls are the host's: the maps of the failures, which are the script's, are made after them.
    let mut outcomes: Vec<Option<Arc<Outcome>>> = vec![None; together.names.len()];
    let mut first = None;
    let in_time = together.gather(limit, |index, outcome| {
        outcomes[index] = Some(Arc::clone(outcome));
        if outcome.is_ok() {
            first = Some(index);
        }
        outcome.is_ok()
    })?;
    if let Some(index) = first
        && let Some(Ok(success)) = outcomes[index].as_deref()
    {
        return Ok(together.take_names().one(index, result_value(success)?));
    }
    if !in_time {
        return Err(out_of_time(limit));
    }
    let failures = outcomes
        .iter()
        .flatten()
        .filter_map(|outcome| (**outcome).as_ref().err());
    let errors = each(failures, |failure| Ok(failure_map(failure)))?;
    if errors.is_empty() {
        return Err(invalid_argument("there is no request to wait for"));
    }
    let texts: Vec<String> = errors.iter().filter_map(error_text).collect();
    let mut error = error_map(
        "all_failed",
        &format!("every request failed: {}", texts.join("; ")),
        Effect::None,
        false,
    );
    let values = errors.into_iter().map(Dynamic::from).collect();
    error.insert("errors".into(), together.take_names().all(values));
    Err(thrown(error))
}

/// The result of the first to end; its failure throws.
fn await_race(ctx: &NativeCallContext, ids: &Dynamic, limit: Option<Duration>) -> Answer<Dynamic> {
    let mut together = Together::of(ctx, ids)?;
    let mut first = None;
    let in_time = together.gather(limit, |index, outcome| {
        first = Some((index, Arc::clone(outcome)));
        true
    })?;
    match first {
        Some((index, outcome)) => match &*outcome {
            Ok(success) => Ok(together.take_names().one(index, result_value(success)?)),
            Err(_) => Err(failure_of(&together.names, index, Some(&outcome))),
        },
        None if in_time => Err(invalid_argument("there is no request to wait for")),
        None => Err(out_of_time(limit)),
    }
}

/// The failure that is thrown, with the name of its request in the field `which`.
pub(crate) fn failure_of(names: &Names, index: usize, outcome: Option<&Outcome>) -> Box<EvalAltResult> {
    let Some(Err(failure)) = outcome else {
        return invalid_argument("the request did not fail");
    };
    let mut map = failure_map(failure);
    let name = names.name(index);
    map.insert("message".into(), format!("{name}: {}", failure.message).into());
    map.insert("which".into(), name.into());
    thrown(map)
}

pub(crate) fn value_of(error: EvalAltResult) -> Dynamic {
    match error {
        EvalAltResult::ErrorRuntime(value, _) => value,
        other => other.to_string().into(),
    }
}

fn out_of_time(limit: Option<Duration>) -> Box<EvalAltResult> {
    ran_out(limit.unwrap_or_default())
}

/// The texts in a list or a map.
fn texts(ids: &Dynamic) -> Vec<ImmutableString> {
    let text = |value: &Dynamic| value.read_lock::<ImmutableString>().map(|text| text.clone());
    let list = ids.read_lock::<Array>();
    let map = ids.read_lock::<Map>();
    let of_list = list.iter().flat_map(|list| list.iter()).filter_map(text);
    let of_map = map.iter().flat_map(|map| map.values()).filter_map(text);
    of_list.chain(of_map).collect()
}

type Combinator = fn(&NativeCallContext, &Dynamic, Option<Duration>) -> Answer<Dynamic>;

pub(crate) fn register(module: &mut Module) {
    let all: [(&str, Combinator); 4] = [
        ("await_all", await_all),
        ("await_settled", await_settled),
        ("await_any", await_any),
        ("await_race", await_race),
    ];
    for (name, combinator) in all {
        let wait = move |ctx: &NativeCallContext, ids: &Dynamic, limit: Option<Duration>| {
            let call = OutsideCall::new(ctx, name).value(ids).limit(limit).waits();
            let answered = call.answered(|| combinator(ctx, ids, limit).map(Told::from));
            if answered.replayed.is_some() {
                look_again(&locals_of(ctx)?, texts(ids).iter().map(ImmutableString::as_str));
            }
            answered.answer
        };
        function(module, name, move |ctx: NativeCallContext, ids: Dynamic| {
            wait(&ctx, &ids, None)
        });
        function(
            module,
            name,
            move |ctx: NativeCallContext, ids: Dynamic, seconds: INT| {
                wait(&ctx, &ids, Some(duration(seconds as f64, "the timeout")?))
            },
        );
        function(
            module,
            name,
            move |ctx: NativeCallContext, ids: Dynamic, seconds: f64| {
                wait(&ctx, &ids, Some(duration(seconds, "the timeout")?))
            },
        );
    }
    function(
        module,
        "detach",
        |ctx: NativeCallContext, id: ImmutableString| -> Answer<()> {
            let detach = || {
                let (session, request) = known(&ctx, &id)?;
                session.detach(request).ok_or_else(unknown)
            };
            let call = OutsideCall::new(&ctx, "detach").text(&id);
            let answered = call.answered(|| detach().map(|()| Dynamic::UNIT.into()));
            if answered.replayed.is_some() {
                let _ = detach();
            }
            answered.answer.map(|_| ())
        },
    );
}
