//! Calls that look blocking: a request is submitted and waited for.

use inflight_core::Request;
use inflight_rhai::{await_request, session_of, submit_error, uncharged, wait};
use rhai::{Dynamic, EvalAltResult, NativeCallContext};

type Answer<T> = Result<T, Box<EvalAltResult>>;

/// Submits the request as soon as there is room, and waits for its ending. Gives the whole object as a map, or its id.
pub(crate) fn call(ctx: &NativeCallContext, request: Request, whole_object: bool) -> Answer<Dynamic> {
    let session = session_of(ctx)?;
    let id = wait(session.submit_when_room(request))?.map_err(|error| submit_error(&error))?;
    let given = await_request(ctx, id, whole_object);
    // The script never learns this id, so it cannot ask again.
    uncharged(|| drop(session.take_result(id)));
    given
}
