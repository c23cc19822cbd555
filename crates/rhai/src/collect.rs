//! How a request that a script starts is taken for a batch instead of being submitted.

use std::cell::RefCell;

use inflight_core::{Priority, Request};
use rhai::{Dynamic, EvalAltResult, NativeCallContext};

use crate::coroutine::running;
use crate::error::script_error;
use crate::heap::Hosted;
use crate::package::Answer;

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

/// Leaves a request to the batch that takes one just now. It is given back where none does.
pub(crate) fn offer(request: Hosted<Request>) -> Result<Answer<()>, Hosted<Request>> {
    with_collection(|place| match place {
        None => Err(request),
        Some(collection) if collection.request.is_none() => {
            collection.request = Some(request);
            Ok(Ok(()))
        }
        Some(_) => Ok(Err(refused("a second request cannot be started"))),
    })
}
