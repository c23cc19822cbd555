//! Where a script's requests pass into core: started and left to go on, or carried out while the script waits.

use std::sync::Arc;

use inflight_core::{Outcome, Request, RequestId, Session, SubmitErrorKind};
use rhai::{Dynamic, ImmutableString, NativeCallContext, Position};

use crate::answer::Told;
use crate::collect::offer;
use crate::coroutine::{on_hosts_stack, running};
use crate::error::failure_error;
use crate::heap::{self, Hosted, uncharged};
use crate::object::{object_told, result_told};
use crate::outside::{Answered, OutsideCall, numbered, recorded, refusal, was_submitted};
use crate::package::{Answer, session_of, unknown};
use crate::state::Stop;
use crate::wait::{terminated, wait, within_own};

/// Submits a request for the script that makes this call and gives its id at once: for functions that start one. A batch that takes a
/// request just now gets it instead; it has no id yet.
///
/// The request is to be made [`uncharged`]: it outlives the call and ends on another thread.
///
/// # Errors
/// Where the script has no session, or the request is not accepted.
pub fn submit_request(ctx: &NativeCallContext, request: impl Into<Box<Request>>) -> Answer<ImmutableString> {
    let request = Hosted::new(request);
    let request = match offer(request) {
        Ok(taken) => return taken.map(|()| "not submitted yet".into()),
        Err(request) => request,
    };
    let operation = request.operation.clone();
    let session = session_of(ctx)?;
    reserve_for(&session, [&*request])?;
    let id = OutsideCall::submitting(ctx, &operation, &request).answer(|| {
        let submitted = submit(&session, request)?;
        let id = submitted.map_err(|kind| refusal(&session, kind, &operation, ctx.call_position()))?;
        recorded(&session, id)?;
        Ok(on_hosts_stack(|| Dynamic::from(ImmutableString::from(id.to_string()))).into())
    })?;
    Ok(id.into_immutable_string().unwrap_or_default())
}

/// How much the bodies of a script's pending requests and the answers that are kept for it may take, beside its heap and as a multiple of
/// that.
const HELD: usize = 4;

/// Ends the script where the host would hold too much for it with these requests.
pub(crate) fn reserve_for<'r>(session: &Session, requests: impl IntoIterator<Item = &'r Request>) -> Answer<()> {
    let body = |request: &Request| request.body.as_ref().map_or(0, |body| body.bytes.len());
    let more: usize = requests.into_iter().map(body).sum();
    if session.held_bytes().saturating_add(more) <= heap::limit().saturating_mul(HELD) {
        return Ok(());
    }
    if let Some(context) = running() {
        context.script.stop(Stop::Heap);
    }
    Err(terminated(Stop::Heap))
}

/// Submits at once; what an earlier run has submitted already, as soon as there is room for it.
fn submit(session: &Session, request: Hosted<Request>) -> Answer<Result<RequestId, SubmitErrorKind>> {
    if was_submitted(session) {
        return submit_later(session, request);
    }
    let submit = || session.submit(request.into_inner()).map_err(|refused| refused.kind());
    Ok(uncharged(|| on_hosts_stack(submit)))
}

/// Submits as soon as there is room.
fn submit_when_room(session: &Session, request: Hosted<Request>) -> Answer<Result<RequestId, SubmitErrorKind>> {
    if was_submitted(session) {
        return submit_later(session, request);
    }
    match uncharged(|| on_hosts_stack(|| session.submit(request.into_inner()))) {
        Ok(id) => Ok(Ok(id)),
        Err(refused) if refused.kind().is_temporary() => {
            submit_later(session, uncharged(|| Hosted::new(refused.into_request())))
        }
        Err(refused) => Ok(Err(refused.kind())),
    }
}

// Apart: what it needs of the stack, the many that need not wait for room would hold too.
#[inline(never)]
fn submit_later(session: &Session, request: Hosted<Request>) -> Answer<Result<RequestId, SubmitErrorKind>> {
    let mut submission = uncharged(|| Box::pin(numbered(session.submit_when_room(request.into_inner()))));
    let submitted = wait(submission.as_mut());
    uncharged(|| drop(submission));
    let submitted = submitted?;
    Ok(uncharged(|| submitted.map_err(|refused| refused.kind())))
}

/// Submits a request as soon as there is room, and waits for its ending, without a limit of time but the request's own deadline: for
/// functions that look blocking to a script. Gives the whole object as a map, or the object's id as a text. The session forgets the
/// request: the script never learns its id.
///
/// # Errors
/// What the request failed with, as a script catches it, and where it is not accepted.
pub fn call_request(ctx: &NativeCallContext, request: impl Into<Box<Request>>, whole_object: bool) -> Answer<Dynamic> {
    let request = Hosted::new(request);
    let operation = request.operation.clone();
    let value = if whole_object { object_told } else { result_told };
    let session = session_of(ctx)?;
    reserve_for(&session, [&*request])?;
    let answered = OutsideCall::submitting(ctx, &operation, &request).answered(|| {
        let outcome = carry_out(&session, request, &operation, ctx.call_position())?;
        settled(&outcome, value)
    });
    forget_again(&session, answered)
}

/// What the session has forgotten the first time it forgets in the run that replays it.
fn forget_again(session: &Session, answered: Answered) -> Answer<Dynamic> {
    for id in answered.replayed.iter().flat_map(|replayed| replayed.request_ids(1)) {
        uncharged(|| drop(session.take_result(id)));
    }
    answered.answer
}

/// Submits a request, waits for its ending, and forgets it.
fn carry_out(
    session: &Session,
    request: Hosted<Request>,
    operation: &str,
    position: Position,
) -> Answer<Hosted<Outcome>> {
    let id = submit_when_room(session, request)?.map_err(|kind| refusal(session, kind, operation, position))?;
    let ending = session.wait_async(id).ok_or_else(unknown)?;
    let outcome = within_own(None, ending)?.ok_or_else(unknown)?;
    uncharged(|| {
        drop(session.take_result(id));
        Ok(Hosted::new(Arc::unwrap_or_clone(outcome)))
    })
}

/// The body of the answer to a request that a script makes without knowing, such as for a page of a list.
///
/// # Errors
/// As [`call_request`].
pub fn call_for_text(session: &Session, request: Request) -> Answer<ImmutableString> {
    let request = Hosted::new(request);
    let operation = request.operation.clone();
    let call = OutsideCall::at(Position::NONE, &operation).waits().requests(1);
    let answered = call.all(std::iter::once(&*request)).answered(|| {
        let outcome = carry_out(session, request, &operation, Position::NONE)?;
        settled(&outcome, |success| {
            let text = String::from_utf8_lossy(&success.response.body);
            Ok(Dynamic::from(ImmutableString::from(&*text)).into())
        })
    });
    let text = forget_again(session, answered)?;
    Ok(text.into_immutable_string().unwrap_or_default())
}

/// What a script is given for this outcome.
pub(crate) fn settled(outcome: &Outcome, value: impl Fn(&inflight_core::Success) -> Answer<Told>) -> Answer<Told> {
    match outcome {
        Ok(success) => value(success),
        Err(failure) => Err(failure_error(failure)),
    }
}
