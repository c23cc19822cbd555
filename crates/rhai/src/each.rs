//! `each(source, |item| …, options)`: a request for each of any number of items, sent as room appears.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::task::Poll;
use std::vec;

use inflight_core::{DEFAULT_KEPT_FAILURES, Effect, Feeder, OnFailure, Outcome, Progress, RequestId, SubmitErrorKind};
use rhai::{Array, Dynamic, EvalAltResult, FnPtr, INT, Map, Module, NativeCallContext};

use crate::batch::progress_map;
use crate::collect::{collect, is_collecting, refused};
use crate::combine::{invalid, settled_map};
use crate::error::{describe, error_map, failure_map, submit_error, thrown};
use crate::heap::{Hosted, uncharged};
use crate::package::{Answer, function, session_of};
use crate::settings::{EACH_OPTIONS, Settings};
use crate::wait::wait;

/// Where the items come from.
enum Source {
    List(vec::IntoIter<Dynamic>),
    Range(Range<INT>),
    Inclusive(RangeInclusive<INT>),
    /// A function that gives `()` when there is nothing more.
    Function(FnPtr),
}

impl Source {
    fn of(value: Dynamic) -> Answer<Self> {
        if let Some(range) = value.read_lock::<Range<INT>>() {
            return Ok(Self::Range(range.clone()));
        }
        if let Some(range) = value.read_lock::<RangeInclusive<INT>>() {
            return Ok(Self::Inclusive(range.clone()));
        }
        let kind = value.type_name();
        match value.flatten().try_cast_result::<Array>() {
            Ok(array) => Ok(Self::List(array.into_iter())),
            Err(value) => match value.try_cast::<FnPtr>() {
                Some(function) => Ok(Self::Function(function)),
                None => Err(invalid(&format!(
                    "each goes through an array, a range, or a function that gives () at the end, not {kind}"
                ))),
            },
        }
    }

    /// How many items there are, where that is known.
    fn len(&self) -> Option<u64> {
        let between = |start: INT, end: INT| u64::try_from(i128::from(end) - i128::from(start)).unwrap_or(0);
        match self {
            Self::List(items) => Some(items.len() as u64),
            Self::Range(range) => Some(between(range.start, range.end)),
            Self::Inclusive(range) if range.is_empty() => Some(0),
            Self::Inclusive(range) => Some(between(*range.start(), *range.end()).saturating_add(1)),
            Self::Function(_) => None,
        }
    }

    fn next(&mut self, ctx: &NativeCallContext) -> Answer<Option<Dynamic>> {
        Ok(match self {
            Self::List(items) => items.next(),
            Self::Range(range) => range.next().map(Dynamic::from),
            Self::Inclusive(range) => range.next().map(Dynamic::from),
            Self::Function(function) => {
                let item: Dynamic = function.call_within_context(ctx, ())?;
                (!item.is_unit()).then_some(item)
            }
        })
    }
}

/// An item whose request is on its way.
struct OnItsWay {
    item: Dynamic,
    operation: Cow<'static, str>,
}

/// One item that failed.
struct Failed {
    index: u64,
    item: Dynamic,
    operation: Option<Cow<'static, str>>,
    id: Option<RequestId>,
    error: Map,
}

/// One run of `each`.
struct Run<'a, 'c> {
    ctx: &'a NativeCallContext<'c>,
    settings: Settings,
    feeder: Hosted<Feeder<u64>>,
    /// By their place in the source.
    on_their_way: HashMap<u64, OnItsWay>,
    /// How many items the source has, where that is known.
    expected: Option<u64>,
    taken: u64,
    /// Items of which no request was submitted.
    unsent: u64,
    failures: Array,
    to_resubmit: Array,
    further: u64,
    exhausted: bool,
    /// What is thrown at the end, where a failure stops the rest.
    cause: Option<Box<EvalAltResult>>,
}

impl Run<'_, '_> {
    fn go(&mut self, source: &mut Source, make: &FnPtr) -> Answer<()> {
        loop {
            while let Poll::Ready(Some(ended)) = self.poll_ended()? {
                self.settle(ended)?;
            }
            let over = self.exhausted || self.feeder.is_stopped();
            if over && self.feeder.is_idle() {
                return Ok(());
            }
            if over || !self.feeder.has_place() {
                let feeder = &mut self.feeder;
                if let Some(ended) = wait(poll_fn(|cx| feeder.poll_ended(cx)))? {
                    self.settle(ended)?;
                }
                continue;
            }
            match source.next(self.ctx)? {
                None => self.exhausted = true,
                Some(item) => self.feed(item, make)?,
            }
            if let Some(expected) = self.expected {
                self.feeder.expect(expected.saturating_sub(self.taken));
            }
        }
    }

    /// Looks for an ending, without waiting.
    fn poll_ended(&mut self) -> Answer<Poll<Option<Ended>>> {
        let feeder = &mut self.feeder;
        wait(poll_fn(|cx| Poll::Ready(feeder.poll_ended(cx))))
    }

    /// Makes the request for this item and submits it as soon as there is room.
    fn feed(&mut self, item: Dynamic, make: &FnPtr) -> Answer<()> {
        let index = self.taken;
        self.taken += 1;
        let (ctx, argument) = (self.ctx, item.clone());
        let made = collect(ctx, self.settings.priority, || {
            make.call_within_context(ctx, (argument,))
        });
        let request = match made {
            Ok(request) => request,
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => {
                let error_map = caught(ctx, &error);
                return self.not_sent(index, item, None, error_map, error);
            }
        };
        let operation = request.operation.clone();
        let submission = self.feeder.submit(request.into_inner());
        let submitted = Hosted::new(wait(submission)?);
        match &*submitted {
            Ok(id) => {
                uncharged(|| self.feeder.note(*id, index));
                self.on_their_way.insert(index, OnItsWay { item, operation });
                Ok(())
            }
            Err(error) => {
                if error.kind() == SubmitErrorKind::Closed {
                    uncharged(|| self.feeder.stop());
                }
                let error = submit_error(error);
                let error_map = caught(ctx, &error);
                self.not_sent(index, item, Some(operation), error_map, error)
            }
        }
    }

    /// No request of this item was submitted.
    fn not_sent(
        &mut self,
        index: u64,
        item: Dynamic,
        operation: Option<Cow<'static, str>>,
        error: Map,
        cause: Box<EvalAltResult>,
    ) -> Answer<()> {
        self.unsent += 1;
        if self.settings.batch.on_failure == OnFailure::Stop {
            uncharged(|| self.feeder.stop());
            self.cause.get_or_insert(cause);
        }
        let result = Map::from([("ok".into(), false.into()), ("error".into(), error.clone().into())]);
        let shown = item.clone();
        self.failed(Failed {
            index,
            item,
            operation,
            id: None,
            error,
        });
        self.tell(shown, result.into())
    }

    /// A request has ended.
    fn settle(&mut self, (id, index, outcome): Ended) -> Answer<()> {
        let outcome = Hosted::new(outcome);
        let Some(OnItsWay { item, operation }) = self.on_their_way.remove(&index) else {
            return Ok(());
        };
        let shown = item.clone();
        if let Err(failure) = &**outcome {
            let error = failure_map(failure);
            let is_cancelled = failure.kind == inflight_core::FailureKind::Cancelled;
            if self.settings.batch.on_failure == OnFailure::Stop && !is_cancelled && self.cause.is_none() {
                let mut cause = error.clone();
                cause.insert("index".into(), number(index));
                cause.insert("item".into(), item.clone());
                cause.insert("message".into(), format!("[{index}]: {}", failure.message).into());
                self.cause = Some(thrown(cause));
            }
            self.failed(Failed {
                index,
                item,
                operation: Some(operation),
                id: Some(id),
                error,
            });
        }
        let result = match &self.settings.on_result {
            Some(_) => settled_map(&outcome),
            None => Dynamic::UNIT,
        };
        self.tell(shown, result)
    }

    /// Calls what the script wants to be called with.
    fn tell(&self, item: Dynamic, result: Dynamic) -> Answer<()> {
        if let Some(on_result) = &self.settings.on_result {
            let _: Dynamic = on_result.call_within_context(self.ctx, (item, result))?;
        }
        if let Some(on_progress) = &self.settings.on_progress {
            let _: Dynamic = on_progress.call_within_context(self.ctx, (progress_map(self.progress()),))?;
        }
        Ok(())
    }

    fn failed(&mut self, failed: Failed) {
        let Failed {
            index,
            item,
            operation,
            id,
            mut error,
        } = failed;
        if self.failures.len() >= DEFAULT_KEPT_FAILURES {
            self.further += 1;
            return;
        }
        let effect = error.get("effect").map(ToString::to_string);
        if effect.as_deref() == Some(Effect::None.as_str()) {
            self.to_resubmit.push(item.clone());
        }
        error.insert("index".into(), number(index));
        error.insert("item".into(), item);
        error.insert("operation".into(), operation.as_deref().into_dynamic());
        error.insert("id".into(), id.map(|id| id.to_string()).as_deref().into_dynamic());
        self.failures.push(error.into());
    }

    fn progress(&self) -> Progress {
        let mut progress = self.feeder.progress();
        progress.total = self.expected.unwrap_or(self.taken);
        progress.done += self.unsent;
        progress.failed += self.unsent;
        progress
    }

    /// What became of all items.
    fn report(&mut self) -> Map {
        let mut report = progress_map(self.progress());
        let mut set = |name: &str, value: Dynamic| report.insert(name.into(), value);
        set("failures", std::mem::take(&mut self.failures).into());
        set("further_failures", number(self.further));
        set("to_resubmit", std::mem::take(&mut self.to_resubmit).into());
        set(
            "not_started",
            number(self.expected.unwrap_or(self.taken).saturating_sub(self.taken)),
        );
        report
    }
}

type Ended = (RequestId, u64, Arc<Outcome>);

trait IntoDynamic {
    fn into_dynamic(self) -> Dynamic;
}

impl IntoDynamic for Option<&str> {
    fn into_dynamic(self) -> Dynamic {
        self.map_or(Dynamic::UNIT, Into::into)
    }
}

fn number(count: u64) -> Dynamic {
    INT::try_from(count).unwrap_or(INT::MAX).into()
}

/// Whether the script is to stop, which no failure policy changes.
fn is_final(error: &EvalAltResult) -> bool {
    !error.unwrap_inner().is_catchable()
}

/// What a script would catch, as the map of a failure.
fn caught(ctx: &NativeCallContext, error: &EvalAltResult) -> Map {
    if let EvalAltResult::ErrorRuntime(value, _) = error.unwrap_inner()
        && let Some(map) = value.read_lock::<Map>()
        && ["kind", "message", "effect"].iter().all(|name| map.contains_key(*name))
    {
        return map.clone();
    }
    error_map("script_error", &describe(ctx.engine(), error).0, Effect::None, false)
}

/// Gives the report; throws the first failure, with the report in the field `report`, where one stops the rest.
fn each(ctx: &NativeCallContext, source: Dynamic, make: &FnPtr, options: &Map) -> Answer<Map> {
    if is_collecting() {
        return Err(refused("each cannot run"));
    }
    let settings = Settings::of(options, &EACH_OPTIONS)?;
    let mut source = Source::of(source)?;
    let session = session_of(ctx)?;
    let feeder = uncharged(|| Feeder::new(&session, settings.batch));
    let mut run = Run {
        ctx,
        settings,
        feeder: Hosted::new(feeder),
        on_their_way: HashMap::new(),
        expected: source.len(),
        taken: 0,
        unsent: 0,
        failures: Array::new(),
        to_resubmit: Array::new(),
        further: 0,
        exhausted: false,
        cause: None,
    };
    run.go(&mut source, make)?;
    let report = run.report();
    let Some(mut cause) = run.cause.take() else {
        return Ok(report);
    };
    if let EvalAltResult::ErrorRuntime(value, _) = &mut *cause
        && let Some(mut map) = value.write_lock::<Map>()
    {
        map.insert("report".into(), report.into());
    }
    Err(cause)
}

pub(crate) fn register(module: &mut Module) {
    function(
        module,
        "each",
        |ctx: NativeCallContext, source: Dynamic, make: FnPtr| each(&ctx, source, &make, &Map::new()),
    );
    function(
        module,
        "each",
        |ctx: NativeCallContext, source: Dynamic, make: FnPtr, options: Map| each(&ctx, source, &make, &options),
    );
}
