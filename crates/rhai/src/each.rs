//! `each(source, |item| …, options)`: a request for each of any number of items, sent as room appears.

use std::borrow::Cow;
use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use inflight_core::{
    DEFAULT_KEPT_FAILURES, Effect, FailureKind, Feeder, OnFailure, Outcome, Progress, Request, RequestId,
    SubmitErrorKind,
};
use rhai::{Array, Dynamic, EvalAltResult, FnPtr, INT, ImmutableString, Map, Module, NativeCallContext};

use crate::batch::progress_map;
use crate::collect::{collect, is_collecting, refused};
use crate::combine::settled_map;
use crate::coroutine::running;
use crate::error::{describe, error_map, failure_map, thrown};
use crate::heap::{Hosted, uncharged};
use crate::outside::{OutsideCall, end_run, is_run, numbered, refusal};
use crate::package::{Answer, function, session_of};
use crate::settings::{EACH_OPTIONS, Settings};
use crate::source::Source;
use crate::submit::reserve_for;
use crate::wait::wait;

/// An item whose request is on its way.
struct OnItsWay {
    item: Dynamic,
    operation: Cow<'static, str>,
    id: RequestId,
}

/// What comes next: an outside decision, since it depends on what has ended by now.
enum Step {
    /// The next item is taken.
    Take,
    /// Nothing comes any more.
    Over,
    Ended(Ended),
}

/// A request that has ended.
struct Ended {
    index: u64,
    /// The map of its failure.
    failure: Option<Map>,
    /// What the script's `on_result` is given, if there is one.
    result: Dynamic,
}

impl Step {
    fn into_value(self) -> Dynamic {
        match self {
            Self::Take => Dynamic::TRUE,
            Self::Over => Dynamic::FALSE,
            Self::Ended(Ended { index, failure, result }) => {
                let failure = failure.map_or(Dynamic::UNIT, Dynamic::from);
                vec![number(index), failure, result].into()
            }
        }
    }

    fn of(value: Dynamic) -> Option<Self> {
        if let Ok(takes) = value.as_bool() {
            return Some(if takes { Self::Take } else { Self::Over });
        }
        let [index, failure, result] = <[Dynamic; 3]>::try_from(value.into_array().ok()?).ok()?;
        Some(Self::Ended(Ended {
            index: u64::try_from(index.as_int().ok()?).ok()?,
            failure: failure.try_cast::<Map>(),
            result,
        }))
    }
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
struct Each<'a, 'c> {
    ctx: &'a NativeCallContext<'c>,
    settings: Settings,
    feeder: Hosted<Feeder<u64>>,
    /// By their place in the source.
    on_their_way: HashMap<u64, OnItsWay>,
    /// The places of those that an earlier run of the script has submitted and that the feeder does not know yet.
    restored: Vec<u64>,
    /// How the requests ended that the script was told of.
    ended: Progress,
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

impl Each<'_, '_> {
    fn go(&mut self, source: &mut Source, make: &FnPtr) -> Answer<()> {
        loop {
            let step = OutsideCall::new(self.ctx, "each").number(self.taken).waits();
            let step = step.answered(|| Ok(self.step()?.into_value().into()));
            let is_replayed = step.replayed.is_some();
            match Step::of(step.answer?) {
                Some(Step::Ended(ended)) => {
                    if is_replayed {
                        self.forget_again(&ended)?;
                    }
                    self.settle(ended)?;
                }
                Some(Step::Take) => match source.next(self.ctx)? {
                    None => self.exhausted = true,
                    Some(item) => self.feed(item, make)?,
                },
                Some(Step::Over) => return Ok(()),
                None => return Err(end_run("the run's journal is damaged", self.ctx.call_position())),
            }
            if let Some(expected) = self.expected {
                self.feeder.expect(expected.saturating_sub(self.taken));
            }
        }
    }

    fn step(&mut self) -> Answer<Step> {
        self.take_up_restored();
        let feeder = &mut self.feeder;
        if let Poll::Ready(Some(ended)) = wait(poll_fn(|cx| Poll::Ready(feeder.poll_ended(cx))))? {
            return Ok(self.ended(ended));
        }
        let over = self.exhausted || self.feeder.is_stopped();
        if over && self.on_their_way.is_empty() {
            return Ok(Step::Over);
        }
        if !over && self.feeder.has_place() {
            return Ok(Step::Take);
        }
        let feeder = &mut self.feeder;
        match wait(poll_fn(|cx| feeder.poll_ended(cx)))? {
            Some(ended) => Ok(self.ended(ended)),
            None => Err(end_run(
                "requests that an earlier run of the script has submitted are not known any more",
                self.ctx.call_position(),
            )),
        }
    }

    /// What the session has forgotten the first time, which is all but what is in doubt.
    fn forget_again(&self, ended: &Ended) -> Answer<()> {
        let Some(OnItsWay { id, .. }) = self.on_their_way.get(&ended.index) else {
            return Ok(());
        };
        let session = session_of(self.ctx)?;
        let effect = ended.failure.as_ref().and_then(|failure| text_of(failure, "effect"));
        if effect.as_deref() == Some(Effect::Unknown.as_str()) {
            let _ = session.detach(*id);
        } else {
            uncharged(|| drop(session.take_result(*id)));
        }
        Ok(())
    }

    /// The journal is used up: what it does not say the end of is waited for.
    fn take_up_restored(&mut self) {
        for index in std::mem::take(&mut self.restored) {
            if let Some(waiting) = self.on_their_way.get(&index) {
                uncharged(|| self.feeder.restore(waiting.id, index));
            }
        }
    }

    fn ended(&self, (_, index, outcome): (RequestId, u64, Arc<Outcome>)) -> Step {
        let outcome = Hosted::new(outcome);
        Step::Ended(Ended {
            index,
            failure: (**outcome).as_ref().err().map(failure_map),
            result: match &self.settings.on_result {
                Some(_) => settled_map(&outcome),
                None => Dynamic::UNIT,
            },
        })
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
        match self.submit(request, &operation, index) {
            Ok(id) => {
                self.on_their_way.insert(index, OnItsWay { item, operation, id });
                Ok(())
            }
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                let error_map = caught(ctx, &error);
                self.not_sent(index, item, Some(operation), error_map, error)
            }
        }
    }

    fn submit(&mut self, request: Hosted<Request>, operation: &str, index: u64) -> Answer<RequestId> {
        let (ctx, feeder) = (self.ctx, &mut self.feeder);
        reserve_for(&session_of(ctx)?, [&*request])?;
        let mut id = None;
        let answered = OutsideCall::submitting(ctx, operation, &request).answered(|| {
            let submission = feeder.submit(request.into_inner());
            let submitted = Hosted::new(wait(numbered(submission))?);
            match &*submitted {
                Ok(accepted) => {
                    uncharged(|| feeder.note(*accepted, index));
                    id = Some(*accepted);
                    Ok(Dynamic::UNIT.into())
                }
                Err(error) => {
                    // What a run has not sent stays in the store for when it is started again.
                    if error.kind() == SubmitErrorKind::Closed && !is_run() {
                        uncharged(|| feeder.stop());
                    }
                    let session = session_of(ctx)?;
                    Err(refusal(&session, error.kind(), operation, ctx.call_position()))
                }
            }
        });
        answered.answer.map(|_| ())?;
        if let Some(replayed) = answered.replayed {
            self.restored.push(index);
            id = replayed.request_ids(1).pop();
        }
        id.ok_or_else(|| end_run("the request has no id", ctx.call_position()))
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
    fn settle(&mut self, ended: Ended) -> Answer<()> {
        let index = ended.index;
        let Some(OnItsWay { item, operation, id }) = self.on_their_way.remove(&index) else {
            return Ok(());
        };
        let shown = item.clone();
        self.ended.done += 1;
        match ended.failure {
            None => self.ended.completed += 1,
            Some(error) => {
                let is_cancelled = text_of(&error, "kind").as_deref() == Some(FailureKind::Cancelled.as_str());
                let count = if is_cancelled {
                    &mut self.ended.cancelled
                } else {
                    &mut self.ended.failed
                };
                *count += 1;
                if self.settings.batch.on_failure == OnFailure::Stop && !is_cancelled {
                    self.stop_at(index, &item, &error);
                }
                self.failed(Failed {
                    index,
                    item,
                    operation: Some(operation),
                    id: Some(id),
                    error,
                });
            }
        }
        self.tell(shown, ended.result)
    }

    /// A failure stops the rest, and is thrown at the end.
    fn stop_at(&mut self, index: u64, item: &Dynamic, error: &Map) {
        uncharged(|| self.feeder.stop());
        if self.cause.is_some() {
            return;
        }
        let mut cause = error.clone();
        let message = text_of(error, "message").unwrap_or_default();
        cause.insert("index".into(), number(index));
        cause.insert("item".into(), item.clone());
        cause.insert("message".into(), format!("[{index}]: {message}").into());
        self.cause = Some(thrown(cause));
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
        // All of them, however many failures are told of: what is not here is not sent again.
        let effect = error.get("effect").map(ToString::to_string);
        if effect.as_deref() == Some(Effect::None.as_str()) {
            self.to_resubmit.push(item.clone());
        }
        if self.failures.len() >= DEFAULT_KEPT_FAILURES {
            self.further += 1;
            return;
        }
        error.insert("index".into(), number(index));
        error.insert("item".into(), item);
        error.insert("operation".into(), operation.as_deref().into_dynamic());
        error.insert("id".into(), id.map(|id| id.to_string()).as_deref().into_dynamic());
        self.failures.push(error.into());
    }

    fn progress(&self) -> Progress {
        let mut progress = self.ended;
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

trait IntoDynamic {
    fn into_dynamic(self) -> Dynamic;
}

impl IntoDynamic for Option<&str> {
    fn into_dynamic(self) -> Dynamic {
        self.map_or(Dynamic::UNIT, Into::into)
    }
}

fn text_of(map: &Map, name: &str) -> Option<ImmutableString> {
    map.get(name)?.read_lock::<ImmutableString>().map(|text| text.clone())
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

/// A script that is stopped may leave `each` without an error. What a run has not sent stays for when it is started again.
impl Drop for Each<'_, '_> {
    fn drop(&mut self) {
        if is_run() && running().is_some_and(|context| context.script.stopped().is_some()) {
            self.feeder.leave_unsent();
        }
    }
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
    let mut run = Each {
        ctx,
        settings,
        feeder: Hosted::new(feeder),
        on_their_way: HashMap::new(),
        restored: Vec::new(),
        ended: Progress::default(),
        expected: source.len(),
        taken: 0,
        unsent: 0,
        failures: Array::new(),
        to_resubmit: Array::new(),
        further: 0,
        exhausted: false,
        cause: None,
    };
    if let Err(error) = run.go(&mut source, make) {
        if is_run() && is_final(&error) {
            run.feeder.leave_unsent();
        }
        return Err(error);
    }
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
