//! A request that is ready, sent for a script.

use inflight_core::Request;
use inflight_rhai::{await_request, session_of, submit_error, uncharged, wait};
use rhai::{Dynamic, EvalAltResult, ImmutableString, NativeCallContext};

type Answer<T> = Result<T, Box<EvalAltResult>>;

/// Submits the request and gives its id at once.
pub(crate) fn submit(ctx: &NativeCallContext, request: Request) -> Answer<ImmutableString> {
    let session = session_of(ctx)?;
    // The request outlives this call, and ends on another thread: it is not the script's memory.
    let id = uncharged(|| session.submit(request)).map_err(|error| submit_error(&error))?;
    if let Some(recorded) = session.recorded(id) {
        wait(recorded)?;
    }
    Ok(id.to_string().into())
}

/// Submits the request as soon as there is room, and waits for its ending: the whole object as a map.
pub(crate) fn call(ctx: &NativeCallContext, request: Request) -> Answer<Dynamic> {
    let session = session_of(ctx)?;
    let id = wait(session.submit_when_room(request))?.map_err(|error| submit_error(&error))?;
    let given = await_request(ctx, id, true);
    // The script never learns this id, so it cannot ask again.
    uncharged(|| drop(session.take_result(id)));
    given
}
