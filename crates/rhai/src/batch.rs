//! `batch()`: requests that a script collects, submits together and waits for together.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use inflight_core::{
    Effect, Failure, IdempotencyKey, OnFailure, Outcome, Progress, Request, RequestId, Session, State,
};
use rhai::{Dynamic, FnPtr, FuncRegistration, INT, ImmutableString, Map, Module, NativeCallContext, Shared};

use crate::collect::{collect, is_collecting, refused};
use crate::combine::{Names, failure_of, invalid, settled_map};
use crate::error::{failure_map, not_submitted, script_error};
use crate::heap::{Charge, Hosted, uncharged};
use crate::package::{Answer, duration, function, session_of};
use crate::settings::{BATCH_OPTIONS, Settings};
use crate::wait::{wait, within};

/// A script's handle to a batch. Copies are handles to the same one.
#[derive(Clone)]
pub struct Batch(Shared<Mutex<Inner>>);

struct Inner {
    settings: Settings,
    /// Empty where the requests are listed.
    names: Vec<ImmutableString>,
    requests: Vec<Kept>,
    sent: Option<Sent>,
}

/// A request, to be sent and perhaps sent again.
struct Kept {
    request: Hosted<Request>,
    _charge: Charge,
}

/// What was submitted.
struct Sent {
    session: Session,
    /// The latest round; those before it have ended.
    batch: Hosted<inflight_core::Batch>,
    /// Each request's latest id.
    ids: Vec<RequestId>,
}

impl Kept {
    fn new(request: Hosted<Request>) -> Self {
        let charge = Charge::new(size_of(&request));
        Self {
            request,
            _charge: charge,
        }
    }
}

/// About what a request takes in memory.
fn size_of(request: &Request) -> usize {
    let headers = request.headers.iter().map(|(name, value)| name.len() + value.len());
    let key = match &request.idempotency_key {
        IdempotencyKey::Given(key) => key.len(),
        _ => 0,
    };
    let body = request.body.as_ref().map_or(0, |body| body.bytes.len());
    size_of_val(request) + request.target.len() + body + headers.sum::<usize>() + key
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
        let ids = self.with(|inner| {
            if inner.sent.is_some() {
                return Err(script_error(
                    "already_submitted",
                    "the batch was submitted: resubmit_failed() sends again what failed, and batch() makes a new one",
                ));
            }
            let batch = inner.send(&session, 0..inner.requests.len())?;
            let ids = batch.ids().to_vec();
            inner.sent = Some(Sent {
                session: session.clone(),
                batch,
                ids: ids.clone(),
            });
            Ok(ids)
        })?;
        recorded(&session, &ids)
    }

    /// Submits again, all or none, what has failed or was called back without an effect. Gives how many.
    fn resubmit(&self) -> Answer<INT> {
        if is_collecting() {
            return Err(refused("a batch cannot be submitted"));
        }
        let (session, ids) = self.with(|inner| {
            let sent = inner.sent()?;
            let progress = sent.progress();
            if progress.done < progress.total {
                return Err(script_error(
                    "not_completed",
                    "the batch has not ended: use await_batch before resubmit_failed",
                ));
            }
            let session = sent.session.clone();
            let again = sent.failures().into_iter();
            let again: Vec<usize> = again
                .filter(|(_, failure)| failure.effect == Effect::None)
                .map(|(index, _)| index)
                .collect();
            if again.is_empty() {
                return Ok((session, Vec::new()));
            }
            let batch = inner.send(&session, again.iter().copied())?;
            let ids = batch.ids().to_vec();
            if let Some(sent) = &mut inner.sent {
                for (index, id) in again.iter().zip(&ids) {
                    sent.ids[*index] = *id;
                }
                sent.batch = batch;
            }
            Ok((session, ids))
        })?;
        recorded(&session, &ids)?;
        Ok(INT::try_from(ids.len()).unwrap_or(INT::MAX))
    }

    /// The results, in the shape in which the requests were given. The first failure throws, where one stops the others; with
    /// `carry_on` there is a map for each, as `await_settled` gives them.
    fn results(&self, limit: Option<Duration>) -> Answer<Dynamic> {
        let waiting = self.with(|inner| inner.sent().map(|sent| sent.batch.wait()))?;
        if within(limit, waiting)?.is_none() {
            let seconds = limit.unwrap_or_default().as_secs_f64();
            return Err(script_error(
                "wait_timeout",
                &format!("the batch has not ended within {seconds} s; it goes on, and can be awaited again"),
            ));
        }
        self.with(|inner| {
            let outcomes = inner.sent()?.outcomes();
            let names = inner.shape();
            if inner.settings.batch.on_failure == OnFailure::CarryOn {
                let settled = outcomes.iter().map(|outcome| settled_map(outcome));
                return Ok(names.all(settled.collect()));
            }
            let is_cause = |outcome: &Outcome| outcome.as_ref().is_err_and(|failure| !is_cancelled(failure));
            let first = outcomes.iter().position(|outcome| is_cause(outcome));
            // Called back by the script itself, where nothing else has failed.
            if let Some(index) = first.or_else(|| outcomes.iter().position(|outcome| outcome.is_err())) {
                return Err(failure_of(&names, index, Some(&*outcomes[index])));
            }
            let values = outcomes.iter().flat_map(|outcome| outcome.as_ref().as_ref().ok());
            let values = values.map(crate::object::result_value).collect::<Answer<Vec<_>>>()?;
            Ok(names.all(values))
        })
    }

    fn cancel(&self) -> Answer<INT> {
        let cancelled = self.with(|inner| {
            let sent = inner.sent()?;
            Answer::Ok(uncharged(|| sent.batch.cancel()))
        })?;
        Ok(INT::try_from(cancelled).unwrap_or(INT::MAX))
    }

    fn report(&self) -> Answer<Map> {
        self.with(|inner| {
            let sent = inner.sent()?;
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
            let ids = inner.sent()?.ids.iter().map(|id| id.to_string().into());
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
        if self.sent.is_some() {
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
            return Err(invalid("a batch has either names for all its requests or for none"));
        }
        match name {
            Some(name) if self.names.contains(name) => {
                let name: String = name.chars().take(80).collect();
                Err(invalid(&format!("the batch has a request named `{name}` already")))
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

    fn sent(&self) -> Answer<&Sent> {
        self.sent
            .as_ref()
            .ok_or_else(|| script_error("not_submitted", "the batch was not submitted: call submit_async first"))
    }

    fn send(&self, session: &Session, which: impl Iterator<Item = usize>) -> Answer<Hosted<inflight_core::Batch>> {
        let submitted = uncharged(|| {
            let requests = which.map(|index| (*self.requests[index].request).clone()).collect();
            session
                .submit_batch(requests, self.settings.batch)
                .map_err(|error| error.kind())
        });
        submitted.map(Hosted::new).map_err(not_submitted)
    }
}

impl Sent {
    /// Asking does not count as having looked at a failure.
    fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        progress.total = self.ids.len() as u64;
        for id in &self.ids {
            match self.session.state(*id) {
                Some(State::Completed) => progress.completed += 1,
                Some(State::Failed(_) | State::Timeout(_)) => progress.failed += 1,
                Some(State::Cancelled) => progress.cancelled += 1,
                _ => continue,
            }
            progress.done += 1;
        }
        progress
    }

    /// How those ended that have ended.
    fn outcomes(&self) -> Vec<std::sync::Arc<Outcome>> {
        self.ids.iter().filter_map(|id| self.session.result(*id).ok()).collect()
    }

    /// What failed or was called back, so far.
    fn failures(&self) -> Vec<(usize, Failure)> {
        let outcomes = self.ids.iter().enumerate();
        outcomes
            .filter_map(|(index, id)| {
                let outcome = self.session.result(*id).ok()?;
                Some((index, (*outcome).as_ref().err()?.clone()))
            })
            .collect()
    }
}

fn is_cancelled(failure: &Failure) -> bool {
    failure.kind == inflight_core::FailureKind::Cancelled
}

/// With a durable store, a request counts as submitted when it is written down.
fn recorded(session: &Session, ids: &[RequestId]) -> Answer<()> {
    for id in ids {
        if let Some(recorded) = session.recorded(*id) {
            wait(recorded)?;
        }
    }
    Ok(())
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
    function(module, "resubmit_failed", |_: NativeCallContext, batch: Batch| {
        batch.resubmit()
    });
    function(module, "await_batch", |_: NativeCallContext, batch: Batch| {
        batch.results(None)
    });
    function(
        module,
        "await_batch",
        |_: NativeCallContext, batch: Batch, seconds: INT| {
            batch.results(Some(duration(seconds as f64, "the timeout")?))
        },
    );
    function(
        module,
        "await_batch",
        |_: NativeCallContext, batch: Batch, seconds: f64| batch.results(Some(duration(seconds, "the timeout")?)),
    );
    function(module, "cancel", |_: NativeCallContext, batch: Batch| batch.cancel());
    function(module, "report", |_: NativeCallContext, batch: Batch| batch.report());
    function(module, "ids", |_: NativeCallContext, batch: Batch| batch.ids());
    function(
        module,
        "progress",
        |_: NativeCallContext, batch: Batch| -> Answer<Map> { Ok(progress_map(batch.progress())) },
    );
    for name in ["to_string", "print", "to_debug", "debug"] {
        FuncRegistration::new(name)
            .in_global_namespace()
            .with_purity(true)
            .set_into_module(module, |batch: &mut Batch| {
                let progress = batch.progress();
                ImmutableString::from(format!("batch: {} of {} requests done", progress.done, progress.total))
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
