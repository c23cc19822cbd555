//! How a request that a script starts is taken for a batch instead of being submitted.

use std::cell::RefCell;

use inflight_core::{Priority, Request, RequestId, Session, SubmitErrorKind};
use rhai::{Dynamic, EvalAltResult, ImmutableString, NativeCallContext};

use crate::coroutine::{on_hosts_stack, running};
use crate::error::script_error;
use crate::heap::{Hosted, uncharged};
use crate::outside::{Call, numbered, recorded, refusal, was_submitted};
use crate::package::{Answer, session_of};
use crate::wait::wait;

/// What a script calls to start the request that a builder makes.
const CREATE: &str = "create_async";

/// The priority of a script's requests that name none, nor does their batch or the script's own configuration: a value of its
/// [`Locals`](crate::Locals).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultPriority(pub Priority);

/// One request that is awaited, not to be sent but to be kept.
pub(crate) struct Collection {
    priority: Option<Priority>,
    request: Option<Hosted<Request>>,
}

thread_local! {
    /// Of the script that a plain engine evaluates on this thread.
    static OUTSIDE: RefCell<Option<Collection>> = const { RefCell::new(None) };
}

/// The collection of the running script. While there is one the script cannot wait, so that none of its other coroutines runs.
fn with_collection<R>(body: impl FnOnce(&mut Option<Collection>) -> R) -> R {
    match running() {
        Some(context) => body(&mut context.script.collection.borrow_mut()),
        None => OUTSIDE.with_borrow_mut(body),
    }
}

/// Ends a collection on every path; one around it goes on.
struct Collecting(Option<Collection>);

impl Collecting {
    fn begin(priority: Option<Priority>) -> Self {
        let collection = Collection {
            priority,
            request: None,
        };
        Self(with_collection(|place| place.replace(collection)))
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        let outer = self.0.take();
        drop(with_collection(|place| std::mem::replace(place, outer)));
    }
}

pub(crate) fn is_collecting() -> bool {
    with_collection(|place| place.is_some())
}

/// The error of whatever may not happen while a batch takes a request.
pub(crate) fn refused(what: &str) -> Box<EvalAltResult> {
    let message = format!("{what} while a batch takes a request: start one request there, with its `_async` form");
    script_error("in_batch", &message)
}

/// The priority of the batch that takes a request just now, where it has one.
#[must_use]
pub fn batch_priority() -> Option<Priority> {
    with_collection(|place| place.as_ref().and_then(|collection| collection.priority))
}

/// The one request that `body` starts, or that the builder makes which it gives.
pub(crate) fn collect(
    ctx: &NativeCallContext,
    priority: Option<Priority>,
    body: impl FnOnce() -> Answer<Dynamic>,
) -> Answer<Hosted<Request>> {
    let _collecting = Collecting::begin(priority);
    let take = || with_collection(|place| place.as_mut().and_then(|collection| collection.request.take()));
    let mut given = body()?;
    if let Some(request) = take() {
        return Ok(request);
    }
    let not_a_request = format!(
        "a batch takes builders, and functions that give a builder or start a request, not {}",
        ctx.engine().map_type_name(given.type_name())
    );
    match ctx.call_native_fn_raw(CREATE, true, &mut [&mut given]) {
        Ok(_) => take().ok_or_else(|| script_error("invalid_argument", &not_a_request)),
        Err(error) if matches!(*error, EvalAltResult::ErrorFunctionNotFound(..)) => {
            Err(script_error("invalid_argument", &not_a_request))
        }
        Err(error) => Err(error),
    }
}

/// Submits a request for the script that makes this call and gives its id at once: for functions that start one. A batch that takes a
/// request just now gets it instead; it has no id yet.
///
/// The request is to be made [`uncharged`]: it outlives the call and ends on another thread.
///
/// # Errors
/// Where the script has no session, or the request is not accepted.
pub fn submit_request(ctx: &NativeCallContext, request: impl Into<Box<Request>>) -> Answer<ImmutableString> {
    let request = Hosted::new(request);
    if is_collecting() {
        let surplus = with_collection(|place| match place {
            Some(collection) if collection.request.is_none() => {
                collection.request = Some(request);
                None
            }
            _ => Some(request),
        });
        return match surplus {
            Some(_) => Err(refused("a second request cannot be started")),
            None => Ok("not submitted yet".into()),
        };
    }
    let operation = request.operation.clone();
    let id = Call::submitting(ctx, &operation, &request).answer(|| {
        let session = session_of(ctx)?;
        let submitted = submit(&session, request)?;
        let id = submitted.map_err(|kind| refusal(&session, kind, &operation, ctx.call_position()))?;
        recorded(&session, id)?;
        Ok(on_hosts_stack(|| Dynamic::from(ImmutableString::from(id.to_string()))).into())
    })?;
    Ok(id.into_immutable_string().unwrap_or_default())
}

/// Submits at once; what an earlier run has submitted already, as soon as there is room for it.
fn submit(session: &Session, request: Hosted<Request>) -> Answer<Result<RequestId, SubmitErrorKind>> {
    if was_submitted(session) {
        return submit_again(session, request);
    }
    let submit = || session.submit(request.into_inner()).map_err(|refused| refused.kind());
    Ok(uncharged(|| on_hosts_stack(submit)))
}

#[inline(never)]
fn submit_again(session: &Session, request: Hosted<Request>) -> Answer<Result<RequestId, SubmitErrorKind>> {
    let submitted = wait(uncharged(|| {
        Box::pin(numbered(session.submit_when_room(request.into_inner())))
    }))?;
    Ok(uncharged(|| submitted.map_err(|refused| refused.kind())))
}
