//! `batch()`: requests that a script collects, submits together and waits for together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inflight_core::{Failure, OnFailure, Outcome, Progress, RequestId, Session};
use rhai::{Dynamic, FnPtr, FuncRegistration, INT, ImmutableString, Map, Module, NativeCallContext, Position, Shared};

use crate::answer::Told;
use crate::argument::invalid_argument;
use crate::collect::{collect, is_collecting, refused};
use crate::combine::{Names, each, failure_of, settled_map};
use crate::error::{failure_map, script_error};
use crate::heap::{Hosted, uncharged};
use crate::outside::{OutsideCall, announce_again, end_run, recorded, refusal, was_submitted};
use crate::package::{Answer, duration, function, session_of};
use crate::sent::{Kept, Sent};
use crate::settings::{BATCH_OPTIONS, Settings};
use crate::submit::reserve_for;
use crate::wait::{wait, within};

/// A script's handle to a batch. Copies are handles to the same one.
#[derive(Clone)]
pub struct Batch(Shared<Mutex<Inner>>);

struct Inner {
    settings: Settings,
    /// Empty where the requests are listed.
    names: Vec<ImmutableString>,
    requests: Vec<Kept>,
    /// Whether it is on its way to being sent, or is.
    submitted: bool,
    sent: Option<Sent>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch").finish_non_exhaustive()
    }
}

impl Batch {
    fn new(options: &Map) -> Answer<Self> {
        Ok(Self(Shared::new(Mutex::new(Inner {
            settings: Settings::of(options, &BATCH_OPTIONS)?,
            names: Vec::new(),
            requests: Vec::new(),
            submitted: false,
            sent: None,
        }))))
    }

    /// Never over a call of a script's function, nor over a wait.
    fn with<R>(&self, body: impl FnOnce(&mut Inner) -> R) -> R {
        body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a further request: of a builder, or of a function that gives one or starts a request.
    fn add(&self, ctx: &NativeCallContext, name: Option<ImmutableString>, value: Dynamic) -> Answer<()> {
        let limits = session_of(ctx)?.limits();
        let most = limits.pending.min(limits.unsent);
        self.with(|inner| inner.check_addition(name.as_ref(), most))?;
        let priority = self.with(|inner| inner.settings.priority);
        let given = value.read_lock::<FnPtr>().map(|function| function.clone());
        let request = collect(ctx, priority, || match given {
            Some(function) => function.call_within_context(ctx, ()),
            None => Ok(value),
        })?;
        self.with(|inner| {
            // The function may have added to the same batch.
            inner.check_addition(name.as_ref(), most)?;
            inner.names.extend(name);
            inner.requests.push(Kept::new(request));
            Ok(())
        })
    }

    /// Submits all requests, or none.
    fn submit(&self, ctx: &NativeCallContext) -> Answer<()> {
        if is_collecting() {
            return Err(refused("a batch cannot be submitted"));
        }
        let session = session_of(ctx)?;
        let call = self.with(|inner| {
            if std::mem::replace(&mut inner.submitted, true) {
                return Err(script_error(
                    "already_submitted",
                    "the batch was submitted: resubmit_failed() sends again what failed, and batch() makes a new one",
                ));
            }
            let requests = inner.requests.iter().map(|kept| &*kept.request);
            let call = OutsideCall::new(ctx, "submit_async").requests(inner.requests.len());
            Ok(call.all(requests).waits())
        })?;
        let all: Vec<usize> = (0..self.with(|inner| inner.requests.len())).collect();
        let answered = call.answered(|| {
            let batch = self.send(&session, &all, ctx.call_position())?;
            let ids = batch.ids().to_vec();
            self.with(|inner| inner.sent(&session, &all, batch));
            recorded_all(&session, &ids)?;
            Ok(Dynamic::UNIT.into())
        });
        if answered.answer.is_err() {
            self.with(|inner| inner.submitted = inner.sent.is_some());
        } else if let Some(replayed) = answered.replayed {
            let batch = self.restored(&session, replayed.request_ids(all.len()));
            self.with(|inner| inner.sent(&session, &all, batch));
        }
        answered.answer.map(|_| ())
    }

    /// Submits again, all or none, what has failed or was cancelled without an effect. Gives how many.
    fn resubmit(&self, ctx: &NativeCallContext) -> Answer<INT> {
        if is_collecting() {
            return Err(refused("a batch cannot be submitted"));
        }
        let session = session_of(ctx)?;
        let call = OutsideCall::new(ctx, "resubmit_failed").waits().lists_requests();
        let answered = call.answered(|| {
            let again = self.with(|inner| inner.sent_ones()?.to_resubmit())?;
            if !again.is_empty() {
                let batch = self.send(&session, &again, ctx.call_position())?;
                let ids = batch.ids().to_vec();
                self.with(|inner| inner.sent(&session, &again, batch));
                recorded_all(&session, &ids)?;
            }
            let again = again
                .into_iter()
                .map(|index| INT::try_from(index).unwrap_or(INT::MAX).into());
            Ok(again.collect::<Vec<Dynamic>>().into())
        });
        if answered.replayed.is_some() {
            self.look_again();
        }
        let again = answered.answer?.into_array().unwrap_or_default();
        if let Some(replayed) = answered.replayed
            && !again.is_empty()
        {
            let places = again
                .iter()
                .filter_map(|index| usize::try_from(index.as_int().ok()?).ok());
            let batch = self.restored(&session, replayed.request_ids(again.len()));
            self.with(|inner| inner.sent(&session, &places.collect::<Vec<_>>(), batch));
        }
        Ok(INT::try_from(again.len()).unwrap_or(INT::MAX))
    }

    /// Submits the requests in these places, all or none.
    fn send(&self, session: &Session, which: &[usize], position: Position) -> Answer<Hosted<inflight_core::Batch>> {
        self.with(|inner| reserve_for(session, which.iter().map(|index| &*inner.requests[*index].request)))?;
        let submit = || {
            self.with(|inner| {
                uncharged(|| {
                    let requests = which.iter().map(|index| (*inner.requests[*index].request).clone());
                    session
                        .submit_batch(requests.collect(), inner.settings.batch)
                        .map(Hosted::new)
                        .map_err(|error| error.kind())
                })
            })
        };
        let mut submitted = submit();
        if submitted.as_ref().is_err_and(|kind| kind.is_temporary()) && was_submitted(session) {
            // They have their places already, until they have ended.
            wait(session.drained())?;
            announce_again();
            submitted = submit();
            if submitted.as_ref().is_err_and(|kind| kind.is_temporary()) {
                return Err(end_run(
                    "there is no room to take up a batch again that was submitted before: start the run again later",
                    position,
                ));
            }
        }
        submitted.map_err(|kind| refusal(session, kind, "submit_async", position))
    }

    /// What an earlier run has submitted.
    fn restored(&self, session: &Session, ids: Vec<RequestId>) -> Hosted<inflight_core::Batch> {
        let options = self.with(|inner| inner.settings.batch);
        Hosted::new(uncharged(|| session.restore_batch(ids.clone(), options)))
    }

    fn await_results(&self, ctx: &NativeCallContext, limit: Option<Duration>) -> Answer<Dynamic> {
        let call = OutsideCall::new(ctx, "await_batch").limit(limit).waits();
        let answered = call.answered(|| self.results(limit).map(Told::from));
        if answered.replayed.is_some() {
            self.look_again();
        }
        answered.answer
    }

    /// What was looked at the first time counts as looked at in the run that replays it.
    fn look_again(&self) {
        self.with(|inner| inner.sent.as_ref().map(|sent| drop(sent.outcomes())));
    }

    /// The results, in the shape in which the requests were given. The first failure throws, where one stops the others; with
    /// `carry_on` there is a map for each, as `await_settled` gives them.
    fn results(&self, limit: Option<Duration>) -> Answer<Dynamic> {
        let waiting = self.with(|inner| inner.sent_ones().map(|sent| sent.batch.wait()))?;
        if within(limit, waiting)?.is_none() {
            let seconds = limit.unwrap_or_default().as_secs_f64();
            return Err(script_error(
                "wait_timeout",
                &format!("the batch has not ended within {seconds} s; it goes on, and can be awaited again"),
            ));
        }
        let (outcomes, names, on_failure) = self.with(|inner| {
            let outcomes = inner.sent_ones()?.outcomes();
            Answer::Ok((outcomes, inner.shape(), inner.settings.batch.on_failure))
        })?;
        // Without the batch: others have their turn meanwhile.
        if on_failure == OnFailure::CarryOn {
            let settled = each(&outcomes, |outcome| Ok(settled_map(outcome)))?;
            return Ok(names.all(settled));
        }
        let is_cause = |outcome: &Outcome| outcome.as_ref().is_err_and(|failure| !is_cancelled(failure));
        let first = outcomes.iter().position(|outcome| is_cause(outcome));
        // Cancelled by the script itself, where nothing else has failed.
        if let Some(index) = first.or_else(|| outcomes.iter().position(|outcome| outcome.is_err())) {
            return Err(failure_of(&names, index, Some(&*outcomes[index])));
        }
        let values = outcomes.iter().flat_map(|outcome| outcome.as_ref().as_ref().ok());
        Ok(names.all(each(values, crate::object::result_value)?))
    }

    fn cancel(&self) -> Answer<INT> {
        let cancelled = self.with(|inner| {
            let sent = inner.sent_ones()?;
            Answer::Ok(uncharged(|| sent.batch.cancel()))
        })?;
        Ok(INT::try_from(cancelled).unwrap_or(INT::MAX))
    }

    fn report(&self) -> Answer<Map> {
        self.with(|inner| {
            let sent = inner.sent_ones()?;
            let mut report = progress_map(sent.progress());
            let failures = sent.failures().into_iter().map(|(index, failure)| {
                let request = &inner.requests[index].request;
                let mut entry = failure_map(&failure);
                entry.insert("index".into(), INT::try_from(index).unwrap_or(INT::MAX).into());
                if let Some(name) = inner.names.get(index) {
                    entry.insert("name".into(), name.clone().into());
                }
                entry.insert("operation".into(), (&*request.operation).into());
                entry.insert("id".into(), sent.ids[index].to_string().into());
                Dynamic::from(entry)
            });
            report.insert("failures".into(), failures.collect::<Vec<_>>().into());
            Ok(report)
        })
    }

    /// The requests' ids, in the shape in which they were given.
    fn ids(&self) -> Answer<Dynamic> {
        self.with(|inner| {
            let ids = inner.sent_ones()?.ids.iter().map(|id| id.to_string().into());
            Ok(inner.shape().all(ids.collect()))
        })
    }

    /// Also of a batch that was not submitted: none is done then.
    fn progress(&self) -> Progress {
        self.with(|inner| match &inner.sent {
            Some(sent) => sent.progress(),
            None => {
                let mut progress = Progress::default();
                progress.total = inner.requests.len() as u64;
                progress
            }
        })
    }
}

impl Inner {
    fn check_addition(&self, name: Option<&ImmutableString>, most: usize) -> Answer<()> {
        if self.submitted {
            return Err(script_error(
                "already_submitted",
                "the batch was submitted and takes no more requests: batch() makes a new one",
            ));
        }
        if self.requests.len() >= most {
            return Err(script_error(
                "queue_full",
                &format!(
                    "a batch has at most {most} requests, as many as are accepted at once; `each` takes any number and sends as \
                     room appears"
                ),
            ));
        }
        if !self.requests.is_empty() && self.names.is_empty() == name.is_some() {
            return Err(invalid_argument(
                "a batch has either names for all its requests or for none",
            ));
        }
        match name {
            Some(name) if self.names.contains(name) => {
                let name: String = name.chars().take(80).collect();
                Err(invalid_argument(&format!(
                    "the batch has a request named `{name}` already"
                )))
            }
            _ => Ok(()),
        }
    }

    fn shape(&self) -> Names {
        match self.names.is_empty() {
            true => Names::List(self.requests.len()),
            false => Names::Map(self.names.clone()),
        }
    }

    fn sent_ones(&self) -> Answer<&Sent> {
        self.sent
            .as_ref()
            .ok_or_else(|| script_error("not_submitted", "the batch was not submitted: call submit_async first"))
    }

    /// The requests in these places are sent.
    fn sent(&mut self, session: &Session, which: &[usize], batch: Hosted<inflight_core::Batch>) {
        let ids = batch.ids().to_vec();
        match &mut self.sent {
            Some(sent) => {
                for (index, id) in which.iter().zip(ids) {
                    sent.ids[*index] = id;
                }
                sent.batch = batch;
            }
            None => {
                self.sent = Some(Sent {
                    session: session.clone(),
                    batch,
                    ids,
                });
            }
        }
    }
}

fn is_cancelled(failure: &Failure) -> bool {
    failure.kind == inflight_core::FailureKind::Cancelled
}

/// With a durable store, a request counts as submitted when it is written down.
fn recorded_all(session: &Session, ids: &[RequestId]) -> Answer<()> {
    ids.iter().try_for_each(|id| recorded(session, *id))
}

/// Progress as a script sees it.
pub(crate) fn progress_map(progress: Progress) -> Map {
    let counts = [
        ("total", progress.total),
        ("done", progress.done),
        ("completed", progress.completed),
        ("failed", progress.failed),
        ("cancelled", progress.cancelled),
    ];
    let number = |count: u64| Dynamic::from(INT::try_from(count).unwrap_or(INT::MAX));
    counts.map(|(name, count)| (name.into(), number(count))).into()
}

type Question = fn(&Batch) -> Answer<Dynamic>;

// The batch is taken by value: `await_batch(batch)` then locks no captured variable while a task waits.
pub(crate) fn register(module: &mut Module) {
    module.set_custom_type::<Batch>("Batch");
    function(module, "batch", |_: NativeCallContext| Batch::new(&Map::new()));
    function(module, "batch", |_: NativeCallContext, options: Map| {
        Batch::new(&options)
    });
    register_additions(module);
    function(module, "submit_async", |ctx: NativeCallContext, batch: Batch| {
        batch.submit(&ctx)
    });
    function(module, "resubmit_failed", |ctx: NativeCallContext, batch: Batch| {
        batch.resubmit(&ctx)
    });
    function(module, "await_batch", |ctx: NativeCallContext, batch: Batch| {
        batch.await_results(&ctx, None)
    });
    function(
        module,
        "await_batch",
        |ctx: NativeCallContext, batch: Batch, seconds: INT| {
            batch.await_results(&ctx, Some(duration(seconds as f64, "the timeout")?))
        },
    );
    function(
        module,
        "await_batch",
        |ctx: NativeCallContext, batch: Batch, seconds: f64| {
            batch.await_results(&ctx, Some(duration(seconds, "the timeout")?))
        },
    );
    let questions: [(&str, Question); 4] = [
        ("cancel", |batch| batch.cancel().map(Dynamic::from)),
        ("report", |batch| batch.report().map(Dynamic::from)),
        ("ids", Batch::ids),
        ("progress", |batch| Ok(progress_map(batch.progress()).into())),
    ];
    for (name, ask) in questions {
        function(
            module,
            name,
            move |ctx: NativeCallContext, batch: Batch| -> Answer<Dynamic> {
                let answered = OutsideCall::new(&ctx, name).answered(|| ask(&batch).map(Told::from));
                if answered.replayed.is_some() && name == "report" {
                    batch.look_again();
                }
                answered.answer
            },
        );
    }
    for name in ["to_string", "print", "to_debug", "debug"] {
        FuncRegistration::new(name)
            .in_global_namespace()
            .with_purity(true)
            .set_into_module(module, |batch: &mut Batch| -> Answer<Dynamic> {
                OutsideCall::at(Position::NONE, "to_string").answer(|| {
                    let progress = batch.progress();
                    let text = format!("batch: {} of {} requests done", progress.done, progress.total);
                    Ok(Dynamic::from(ImmutableString::from(text)).into())
                })
            });
    }
}

/// `add(request)` and `add(name, request)`. They give the batch back, so that calls can be chained.
fn register_additions(module: &mut Module) {
    function(
        module,
        "add",
        |ctx: NativeCallContext, batch: Batch, value: Dynamic| -> Answer<Batch> {
            batch.add(&ctx, None, value)?;
            Ok(batch)
        },
    );
    function(
        module,
        "add",
        |ctx: NativeCallContext, batch: Batch, name: ImmutableString, value: Dynamic| -> Answer<Batch> {
            batch.add(&ctx, Some(name), value)?;
            Ok(batch)
        },
    );
}
