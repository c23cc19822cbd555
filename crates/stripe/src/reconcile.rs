//! Finds out whether a request whose effect is unknown was carried out, and settles it.
//!
//! A request is found again by its id, which [`tag`] writes into the metadata of what it creates or changes: as `inflight_request_id`
//! into what it creates, as `inflight_change_id` into what it changes, so that no change covers who made an object. That is opt-in,
//! since metadata is the account's own: give [`tag`] to [`RegistryBuilder::on_submit`](inflight_core::RegistryBuilder::on_submit).
//!
//! Where things are looked for:
//!
//! | request | where | found |
//! |---|---|---|
//! | creation, tagged | in the list of such objects, page by page | an object has the tag |
//! | change of an object, tagged | the object that bears the metadata | it has the tag |
//! | deletion | the object | it is gone, which is what was asked for |
//! | anything else | nowhere: [`ReconcileError::Impossible`] | |
//!
//! Lists are used, and not searches: those find an object only some time after it was created
//! (<https://docs.stripe.com/search#data-freshness>).
//!
//! That something was not done is said only where it would have been seen. It stays unknown where a list may hide what was created (such as
//! what belongs to a test clock), where an object does not bear the tag: it may have been cleared since, and where an object is there
//! that was to be deleted, but another may have got its name since. What was created and deleted since is in no list, and what has lost
//! all its metadata since is not known again.

mod listing;
mod look_up;
mod place;

use std::ops::RangeInclusive;
use std::sync::Arc;

use inflight_core::{Body, Effect, Failure, Outcome, Request, RequestId, ResultError, Session, SubmitErrorKind};

pub use self::look_up::{LookUp, Seen};
use self::place::tag_of;
use crate::catalogue::{Encoding, Param};
use crate::check::METADATA_ENTRIES_MAX;
use crate::request::FORM;
use crate::route::{operation_of, path_of};

/// The name in the metadata that holds the id of the request that created the object.
pub const TAG: &str = "inflight_request_id";

/// The name that holds the id of the last request that changed it. The creation's must stay: that is how it is found.
const CHANGE_TAG: &str = "inflight_change_id";

/// Writes the request's id into its metadata, where the operation takes some and the body is a form. A request that brings the tag
/// itself, that clears its metadata or has no room for more is left as it is. Of the 50 entries that an object may have, the two tags
/// take two.
pub fn tag(id: RequestId, request: &mut Request) {
    let Some(operation) = operation_of(request) else { return };
    let path = path_of(request).to_owned();
    let takes_metadata = operation.encoding == Encoding::Form && Param::find(operation.body, "metadata").is_some();
    let Some(body) = request.body.as_mut().filter(|body| takes_metadata && is_form(body)) else {
        return;
    };
    let name = tag_of(operation, &path);
    if let Some(bytes) = tagged(&body.bytes, name, id) {
        body.bytes = bytes.into();
    }
}

fn tagged(form: &[u8], name: &str, id: RequestId) -> Option<Vec<u8>> {
    let names = form
        .split(|byte| *byte == b'&')
        .map(|field| field.split(|byte| *byte == b'=').next());
    let metadata: Vec<&[u8]> = names.flatten().filter(|name| name.starts_with(b"metadata")).collect();
    let own = format!("metadata[{name}]");
    let cleared = metadata.contains(&&b"metadata"[..]);
    if cleared || metadata.len() >= METADATA_ENTRIES_MAX || metadata.contains(&own.as_bytes()) {
        return None;
    }
    let mut bytes = form.to_vec();
    if !bytes.is_empty() {
        bytes.push(b'&');
    }
    bytes.extend_from_slice(format!("{own}={id}").as_bytes());
    Some(bytes)
}

/// Whether the request carries its id under this name.
fn is_tagged(body: &Body, name: &str, id: RequestId) -> bool {
    let field = format!("metadata[{name}]={id}");
    let mut fields = body.bytes.split(|byte| *byte == b'&');
    is_form(body) && fields.any(|known| known == field.as_bytes())
}

/// Whether the body is a form. An operation that takes one may be sent parts all the same, by [`raw`](crate::raw()).
fn is_form(body: &Body) -> bool {
    let media_type = body.content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case(FORM)
}

/// What finding nothing means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfAbsent {
    /// Nothing: the request may still be on its way, so its effect stays unknown.
    LeaveUnknown,
    /// That it was not carried out. Say so only when so much time has passed that no attempt can be on its way any more, such as
    /// some minutes after the last one.
    SettleAsNone,
}

/// How a look-up ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It was carried out, and is `Completed` now.
    Done,
    /// It was not carried out: its effect is `none` now.
    NotDone,
    /// Nobody knows, still.
    Unknown,
}

/// Why nothing could be found out. The request stays as it was.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReconcileError {
    /// The request is not known, is pending, or its effect is known.
    #[error("there is no request of that id whose effect is unknown")]
    NotInDoubt,
    /// It leaves nothing that it can be recognised by.
    #[error("the request cannot be found again: {0}")]
    Impossible(&'static str),
    /// The look-up was not accepted.
    #[error("{0}")]
    Submit(SubmitErrorKind),
    /// The look-up failed.
    #[error("{0}")]
    Failed(#[source] Failure),
    /// The look-up's result was taken by someone else.
    #[error("the look-up was made, and its result is no longer known")]
    Lost,
}

/// Looks a request up and settles it. `created` (seconds since 1970, by Stripe's clock) shortens the look through a list: from a moment
/// before the request's submission to a moment after its ending. At most 100,000 objects are looked through.
///
/// The requests that this takes go through the same session, under the request's own credential. The future may run on any executor.
///
/// # Errors
/// [`ReconcileError`]; the request stays as it was, and can be looked up again.
pub async fn reconcile(
    session: &Session,
    id: RequestId,
    created: Option<RangeInclusive<u64>>,
    if_absent: IfAbsent,
) -> Result<Settled, ReconcileError> {
    let request = session.in_doubt(id).ok_or(ReconcileError::NotInDoubt)?;
    let mut look_up = LookUp::new(&request, id, created)?;
    let seen = loop {
        let answer = fetch(session, look_up.next_request()).await?;
        if let Some(seen) = look_up.accept(&answer)? {
            break seen;
        }
    };
    let outcome = match seen {
        Seen::Done(success) => Ok(success),
        Seen::Absent if if_absent == IfAbsent::SettleAsNone => Err(not_done(session, id)?),
        Seen::Absent | Seen::Unclear => return Ok(Settled::Unknown),
    };
    let settled = if outcome.is_ok() {
        Settled::Done
    } else {
        Settled::NotDone
    };
    match session.reconcile(id, outcome) {
        Ok(Some(_)) => Ok(settled),
        Ok(None) | Err(_) => Err(ReconcileError::NotInDoubt),
    }
}

/// The failure that stood, with its effect known.
fn not_done(session: &Session, id: RequestId) -> Result<Failure, ReconcileError> {
    let known = session.result(id);
    let failure = known.ok().and_then(|outcome| outcome.as_ref().as_ref().err().cloned());
    let mut failure = failure.ok_or(ReconcileError::NotInDoubt)?;
    failure.effect = Effect::None;
    failure.needs_reconcile = false;
    Ok(failure)
}

async fn fetch(session: &Session, request: Request) -> Result<Outcome, ReconcileError> {
    let submitted = session.submit_when_room(request).await;
    let id = submitted.map_err(|error| ReconcileError::Submit(error.kind()))?;
    let _ = session.detach(id);
    let wait = session.wait_async(id).ok_or(ReconcileError::Lost)?;
    wait.await;
    match session.take_result(id) {
        Ok(outcome) => Ok(outcome),
        Err(ResultError::Unknown | ResultError::Pending) => Err(ReconcileError::Lost),
    }
}

impl From<Failure> for ReconcileError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// For [`RegistryBuilder::on_submit`](inflight_core::RegistryBuilder::on_submit): [`tag`] as a shared function.
#[must_use]
pub fn tagging() -> Arc<inflight_core::OnSubmit> {
    Arc::new(tag)
}

#[cfg(test)]
mod tests;
