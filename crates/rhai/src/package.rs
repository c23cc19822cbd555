//! The script functions for requests in flight, as a Rhai package.

use std::sync::Arc;
use std::time::{Duration, Instant};

use inflight_core::{Outcome, RequestId, Session};
use rhai::packages::Package;
use rhai::{Dynamic, EvalAltResult, FuncRegistration, INT, ImmutableString, Module, NativeCallContext, Shared};

use crate::answer::Told;
use crate::error::{result_error, script_error};
use crate::fiber::{current_deadline, current_locals};
use crate::heap::uncharged;
use crate::locals::Locals;
use crate::object::{object_told, response_value, result_told};
use crate::outside::{OutsideCall, is_run};
use crate::submit::settled;
use crate::wait::within_own;

pub(crate) type Answer<T> = Result<T, Box<EvalAltResult>>;

/// The script functions that know nothing of what the requests are about: `is_complete`, `status`, `get_result`, `get_object`, `get_response`,
/// `await_result`, `await_object`, `cancel`, `sleep`, `sleep_ms`; `await_all`, `await_settled`, `await_any`, `await_race`, `detach`;
/// `batch` and `each`; `on_complete`; `start` and `join`; `now_ms`, `deadline`; and depth-limited text and comparison of arrays and maps.
///
/// In a fiber they suspend the script; on a plain engine they park the thread.
///
/// ```
/// use inflight_rhai::{InflightPackage, Locals};
/// use rhai::packages::Package;
///
/// let (registry, _queue) = inflight_core::Registry::new();
/// let mut engine = rhai::Engine::new();
/// InflightPackage::new().register_into_engine(&mut engine);
/// Locals::for_session(registry.session()).set_default(&mut engine);
/// assert!(engine.run(r#"is_complete("no such id")"#).is_err());
/// ```
#[derive(Clone)]
pub struct InflightPackage(Shared<Module>);

impl InflightPackage {
    /// The package.
    #[must_use]
    pub fn new() -> Self {
        let mut module = Module::new();
        Self::init(&mut module);
        module.build_index();
        Self(module.into())
    }
}

impl Default for InflightPackage {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for InflightPackage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InflightPackage")
    }
}

impl Package for InflightPackage {
    fn init(module: &mut Module) {
        register_questions(module);
        register_waits(module);
        register_sleep(module);
        crate::text::register(module);
        crate::bounded::register(module);
        crate::compare::register(module);
        crate::arrays::register(module);
        crate::combine::register(module);
        crate::batch::register(module);
        crate::each::register(module);
        crate::callbacks::register(module);
        crate::tasks::register(module);
        register_time(module);
    }

    fn as_shared_module(&self) -> Shared<Module> {
        self.0.clone()
    }
}

fn register_questions(module: &mut Module) {
    function(
        module,
        "is_complete",
        |ctx: NativeCallContext, id: ImmutableString| -> Answer<Dynamic> {
            OutsideCall::new(&ctx, "is_complete").text(&id).answer(|| {
                let (session, id) = known(&ctx, &id)?;
                session.is_complete(id).map(Told::from).ok_or_else(unknown)
            })
        },
    );
    function(
        module,
        "status",
        |ctx: NativeCallContext, id: ImmutableString| -> Answer<Dynamic> {
            looking(&ctx, "status", &id, |session, id| {
                let status = session.status(id).ok_or_else(unknown)?;
                Ok(status.as_str().into())
            })
        },
    );
    for (name, value) in [("get_result", result_told as fn(&_) -> _), ("get_object", object_told)] {
        function(
            module,
            name,
            move |ctx: NativeCallContext, id: ImmutableString| -> Answer<Dynamic> {
                looking(&ctx, name, &id, |session, id| {
                    settled(&*session.result(id).map_err(result_error)?, value)
                })
            },
        );
    }
    // Of a failed request too: `()` where no answer came.
    function(
        module,
        "get_response",
        |ctx: NativeCallContext, id: ImmutableString| -> Answer<Dynamic> {
            looking(&ctx, "get_response", &id, |session, id| {
                let outcome = session.result(id).map_err(result_error)?;
                let response = match &*outcome {
                    Ok(success) => Some(&success.response),
                    Err(failure) => failure.response.as_ref(),
                };
                Ok(response.map_or(Dynamic::UNIT, response_value).into())
            })
        },
    );
    function(module, "metrics", |ctx: NativeCallContext| -> Answer<Dynamic> {
        OutsideCall::new(&ctx, "metrics")
            .answer(|| session_of(&ctx).map(|session| Dynamic::from(metrics_of(&session)).into()))
    });
    function(
        module,
        "cancel",
        |ctx: NativeCallContext, id: ImmutableString| -> Answer<Dynamic> {
            OutsideCall::new(&ctx, "cancel").text(&id).answer(|| {
                let (session, id) = known(&ctx, &id)?;
                // Its ending is the session's, and whoever waits for it is woken.
                let cancelled = uncharged(|| session.cancel(id));
                cancelled.map(Told::from).ok_or_else(unknown)
            })
        },
    );
}

/// Asks how a request ended, which counts as having looked at it.
fn looking(
    ctx: &NativeCallContext,
    operation: &str,
    id: &str,
    ask: impl FnOnce(&Session, RequestId) -> Answer<Told>,
) -> Answer<Dynamic> {
    let answered = OutsideCall::new(ctx, operation).text(id).answered(|| {
        let (session, id) = known(ctx, id)?;
        ask(&session, id)
    });
    if answered.replayed.is_some() {
        look_again(&locals_of(ctx)?, [id]);
    }
    answered.answer
}

/// What was looked at the first time counts as looked at in the run that replays it.
pub(crate) fn look_again<'a>(locals: &Locals, ids: impl IntoIterator<Item = &'a str>) {
    let Some(session) = locals.session() else { return };
    for id in ids {
        if let Ok(id) = id.parse()
            && session.is_complete(id) == Some(true)
        {
            let _ = session.detach(id);
        }
    }
}

/// What has happened in a session, as a script sees it.
fn metrics_of(session: &Session) -> rhai::Map {
    let counts = session.counts();
    let pending = u64::try_from(session.pending()).unwrap_or(u64::MAX);
    let entries = [
        ("submitted", counts.submitted),
        ("completed", counts.completed),
        ("failed", counts.failed),
        ("timeout", counts.timeout),
        ("cancelled", counts.cancelled),
        ("retries", counts.retries),
        ("pending", pending),
    ];
    let entries = entries.map(|(name, count)| (name.into(), INT::try_from(count).unwrap_or(INT::MAX).into()));
    entries.into_iter().collect()
}

fn register_waits(module: &mut Module) {
    for (name, value) in [
        ("await_result", result_told as fn(&_) -> _),
        ("await_object", object_told),
    ] {
        let wait = move |ctx: &NativeCallContext, id: &str, limit: Option<Duration>| {
            let call = OutsideCall::new(ctx, name).text(id).limit(limit).waits();
            let answered = call.answered(|| settled(&*outcome_within(ctx, id, limit)?, value));
            if answered.replayed.is_some() {
                look_again(&locals_of(ctx)?, [id]);
            }
            answered.answer
        };
        function(module, name, move |ctx: NativeCallContext, id: ImmutableString| {
            wait(&ctx, &id, None)
        });
        function(
            module,
            name,
            move |ctx: NativeCallContext, id: ImmutableString, seconds: INT| {
                wait(&ctx, &id, Some(duration(seconds as f64, "the timeout")?))
            },
        );
        function(
            module,
            name,
            move |ctx: NativeCallContext, id: ImmutableString, seconds: f64| {
                wait(&ctx, &id, Some(duration(seconds, "the timeout")?))
            },
        );
    }
}

fn register_sleep(module: &mut Module) {
    // An integer is milliseconds, as the design's scripts mean it; a float is seconds, as Rhai's own `sleep` counts them.
    function(module, "sleep", |ctx: NativeCallContext, milliseconds: INT| {
        sleep_for(&ctx, duration_of(milliseconds as f64, 1e3, "the time to sleep")?)
    });
    function(module, "sleep", |ctx: NativeCallContext, seconds: f64| {
        sleep_for(&ctx, duration(seconds, "the time to sleep")?)
    });
    function(module, "sleep_ms", |ctx: NativeCallContext, milliseconds: INT| {
        sleep_for(&ctx, duration_of(milliseconds as f64, 1e3, "the time to sleep")?)
    });
    function(module, "sleep_ms", |ctx: NativeCallContext, milliseconds: f64| {
        sleep_for(&ctx, duration_of(milliseconds, 1e3, "the time to sleep")?)
    });
}

fn now_ms() -> INT {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |time| INT::try_from(time.as_millis()).unwrap_or(INT::MAX))
}

/// `now_ms()`: the time of day in milliseconds since 1970. `deadline()`: when the script's time limit passes, on the same scale; `()`
/// where it has none. `timestamp()`: Rhai's own, which no journal can keep.
fn register_time(module: &mut Module) {
    function(module, "now_ms", |ctx: NativeCallContext| -> Answer<Dynamic> {
        OutsideCall::new(&ctx, "now_ms").answer(|| Ok(now_ms().into()))
    });
    function(module, "deadline", |ctx: NativeCallContext| -> Answer<Dynamic> {
        OutsideCall::new(&ctx, "deadline").answer(|| {
            let left = current_deadline().map(|deadline| {
                let now = tokio::time::Instant::now().into_std();
                INT::try_from(deadline.saturating_duration_since(now).as_millis()).unwrap_or(INT::MAX)
            });
            let at = left.map_or(Dynamic::UNIT, |left| now_ms().saturating_add(left).into());
            Ok(at.into())
        })
    });
    function(module, "timestamp", |_: NativeCallContext| -> Answer<Instant> {
        if is_run() {
            let message = "a timestamp means nothing after a restart: a run that is replayed counts with now_ms()";
            return Err(script_error("not_replayable", message));
        }
        Ok(Instant::now())
    });
}

pub(crate) fn function<A: 'static, const N: usize, const X: bool, R, const F: bool, FUNC>(
    module: &mut Module,
    name: &str,
    body: FUNC,
) where
    R: rhai::Variant + Clone,
    FUNC: rhai::RhaiNativeFunc<A, N, X, R, F> + crate::async_fn::ScriptFn + 'static,
{
    FuncRegistration::new(name)
        .in_global_namespace()
        .set_into_module(module, body);
}

/// The values of the script that makes this call: of its fiber, or of its engine.
///
/// # Errors
/// Where there are neither.
pub fn locals_of(ctx: &NativeCallContext) -> Answer<Locals> {
    current_locals()
        .or_else(|| ctx.tag()?.clone().try_cast::<Locals>())
        .ok_or_else(|| {
            script_error(
                "no_session",
                "this engine has no session: run the script with eval_async, or give the engine one with Locals::set_default",
            )
        })
}

/// The session of the script that makes this call.
///
/// # Errors
/// Where it has none.
pub fn session_of(ctx: &NativeCallContext) -> Answer<Session> {
    locals_of(ctx)?
        .session()
        .cloned()
        .ok_or_else(|| script_error("no_session", "this script has no session to make requests in"))
}

pub(crate) fn known(ctx: &NativeCallContext, id: &str) -> Answer<(Session, RequestId)> {
    let session = session_of(ctx)?;
    let id = id.parse().map_err(|_| unknown())?;
    Ok((session, id))
}

pub(crate) fn unknown() -> Box<EvalAltResult> {
    result_error(inflight_core::ResultError::Unknown)
}

/// Waits until the request has ended, for at most this time.
fn outcome_within(ctx: &NativeCallContext, id: &str, limit: Option<Duration>) -> Answer<Arc<Outcome>> {
    let (session, id) = known(ctx, id)?;
    // The common case after a poll: nothing to wait for.
    match (session.result(id), limit) {
        (Ok(outcome), _) => return Ok(outcome),
        (Err(inflight_core::ResultError::Unknown), _) => return Err(unknown()),
        (Err(inflight_core::ResultError::Pending), Some(Duration::ZERO)) => return Err(ran_out(Duration::ZERO)),
        (Err(inflight_core::ResultError::Pending), _) => {}
    }
    let ending = session.wait_async(id).ok_or_else(unknown)?;
    within_own(limit, ending)?.ok_or_else(|| ran_out(limit.unwrap_or_default()))
}

pub(crate) fn ran_out(limit: Duration) -> Box<EvalAltResult> {
    script_error(
        "wait_timeout",
        &format!(
            "the request has not ended within {} s; it goes on, and can be awaited again",
            limit.as_secs_f64()
        ),
    )
}

/// A time that a script gave, in seconds.
///
/// # Errors
/// Where it is negative or no number. A time beyond a hundred years counts as that.
pub fn duration(seconds: f64, what: &str) -> Answer<Duration> {
    duration_of(seconds, 1.0, what)
}

/// A time that a script gave in units of which a second has so many.
fn duration_of(time: f64, in_a_second: f64, what: &str) -> Answer<Duration> {
    const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;
    if time.is_nan() || time < 0.0 {
        return Err(script_error(
            "invalid_argument",
            &format!("{what} must be zero or more, not {time}"),
        ));
    }
    Ok(Duration::from_secs_f64((time / in_a_second).min(LONGEST)))
}

/// Nothing is waited for but the time. A run that is replayed sleeps what is left of it.
fn sleep_for(ctx: &NativeCallContext, time: Duration) -> Answer<()> {
    let call = |operation| OutsideCall::new(ctx, operation).limit(Some(time));
    let mut left = time;
    if is_run() {
        let begun = call("sleep").answer(|| Ok(now_ms().into()))?;
        let passed = now_ms().saturating_sub(begun.as_int().unwrap_or(INT::MAX));
        let passed = Duration::from_millis(u64::try_from(passed).unwrap_or(0));
        left = time.saturating_sub(passed);
    }
    let slept = call("slept").waits().answer(|| {
        within_own(Some(left), std::future::pending::<()>())?;
        Ok(Dynamic::UNIT.into())
    });
    slept.map(|_| ())
}
