//! Rows on their way into and out of the database.

use std::time::Duration;

use inflight_core::{Effect, Failure, FailureKind, IdempotencyKey, Kept, Outcome, RequestId, RequestStatus, Row};
use serde_json::{Value, json};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::QueryError;
use crate::database::Type;
use crate::encode::{Columns, outcome_of, outcome_text, priority_number, request_of, request_text};
use crate::options::StoreOptions;
use crate::store::Shared;

/// PostgreSQL keeps no zero byte in a text.
fn clean(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// PostgreSQL indexes no text of more than some 2,700 bytes. A lane is compared and never read, so a long one is kept as its hash.
const LONGEST_LANE: usize = 255;

fn lane_name(lane: &str) -> String {
    if lane.len() <= LONGEST_LANE {
        clean(lane)
    } else {
        uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, lane.as_bytes()).to_string()
    }
}

pub(crate) const APPENDED: &[(&str, Type)] = &[
    ("rid", Type::Text),
    ("session", Type::Number),
    ("run", Type::Text),
    ("task", Type::Number),
    ("call", Type::Number),
    ("account", Type::Text),
    ("mode", Type::Text),
    ("operation", Type::Text),
    ("method", Type::Text),
    ("path", Type::Text),
    ("request", Type::Text),
    ("fingerprint", Type::Text),
    ("idempotency_key", Type::Text),
    ("key_scope", Type::Text),
    ("lane", Type::Text),
    ("priority", Type::Number),
    ("deadline_ms", Type::Number),
];

pub(crate) fn appended(row: &Row, options: &StoreOptions) -> Value {
    let request = &row.request;
    let key = match &request.idempotency_key {
        IdempotencyKey::Given(key) => Some(clean(key)),
        _ => None,
    };
    // A key that was made for its request is nobody else's.
    let scope = match &key {
        Some(key) if *key != row.id.to_string() => Some(format!("{:032x}", request.key_scope())),
        _ => None,
    };
    let call = row.call.as_ref();
    json!({
        "rid": row.id.to_string(),
        "session": row.session as i64,
        "run": call.map(|call| clean(&call.run)),
        "task": call.map(|call| call.task),
        "call": call.map(|call| call.sequence),
        "account": clean(request.credential.as_deref().unwrap_or_default()),
        "mode": clean(&options.mode),
        "operation": clean(&request.operation),
        "method": request.method.as_str(),
        "path": clean(request.target.split(['?', '#']).next().unwrap_or_default()),
        "request": request_text(request),
        "fingerprint": format!("{:032x}", request.fingerprint()),
        "idempotency_key": key,
        "key_scope": scope,
        "lane": options.lane.as_ref().and_then(|lane| lane(request)).map(|lane| lane_name(&lane)),
        "priority": priority_number(request.priority),
        "deadline_ms": i64::try_from(row.deadline.as_millis()).unwrap_or(i64::MAX / 4),
    })
}

pub(crate) const ENDED: &[(&str, Type)] = &[
    ("rid", Type::Text),
    ("at_epoch", Type::Number),
    ("new_state", Type::Text),
    ("new_effect", Type::Text),
    ("new_error", Type::Text),
    ("new_outcome", Type::Text),
    ("new_status", Type::Number),
    ("new_request_id", Type::Text),
    ("new_replayed", Type::Number),
];

/// How a request ended, as columns.
pub(crate) fn ended(id: RequestId, epoch: i64, status: RequestStatus, outcome: &Outcome) -> Value {
    let (effect, error, response) = match outcome {
        Ok(success) => (Effect::Done, None, Some(&success.response)),
        Err(failure) => (
            failure.effect,
            Some(clean(failure.kind.as_str())),
            failure.response.as_ref(),
        ),
    };
    let header = |name: &str| response.and_then(|response| response.header(name)).map(clean);
    json!({
        "rid": id.to_string(),
        "at_epoch": epoch,
        "new_state": status.as_str(),
        "new_effect": effect.as_str(),
        "new_error": error,
        "new_outcome": outcome_text(outcome),
        "new_status": response.map(|response| response.status),
        "new_request_id": header("request-id"),
        "new_replayed": header("idempotent-replayed").map(|_| 1),
    })
}

pub(crate) fn status_of(state: &str) -> Option<RequestStatus> {
    use RequestStatus as S;
    [S::Completed, S::Failed, S::Timeout, S::Cancelled]
        .into_iter()
        .find(|status| status.as_str() == state)
}

pub(crate) fn id_of(text: &str) -> Option<RequestId> {
    text.parse().ok()
}

/// The columns that [`kept_of`] reads.
pub(crate) const KEPT: &str = "id, account, operation, request, idempotency_key, priority, created_at, deadline_ms, \
     key_sent_at, state, epoch, attempts, outcome";

/// How far ahead of the clock the moment may lie at which a key was sent first, as the clock has been set back a little. Of one beyond
/// that nobody knows how old it is. Together with the lifetime of a key by default that is what Stripe keeps one for.
const SET_BACK_MS: i64 = 3_600_000;

/// How long ago a key was sent first.
fn sent_ago(sent: i64, now: i64) -> Duration {
    match now - sent {
        ahead if ahead < -SET_BACK_MS => Duration::MAX,
        ago => Duration::from_millis(u64::try_from(ago).unwrap_or(0)),
    }
}

/// A row as the registry takes it, and its epoch. `now` is the database's own time.
///
/// What was sent under a key may take no longer than the other side knows that.
pub(crate) fn kept_of(row: &AnyRow, now: i64, shared: &Shared) -> Result<(Kept, i64), QueryError> {
    let columns = Columns {
        operation: row.try_get("operation")?,
        account: row.try_get("account")?,
        key: row.try_get("idempotency_key")?,
        priority: row.try_get("priority")?,
    };
    let text: String = row.try_get("request")?;
    let state: String = row.try_get("state")?;
    let outcome: Option<String> = row.try_get("outcome")?;
    let ended = match (status_of(&state), outcome) {
        (Some(status), Some(outcome)) => Some((status, outcome_of(&outcome)?)),
        _ => None,
    };
    let id: String = row.try_get("id")?;
    let id = id_of(&id).ok_or_else(|| sqlx::Error::Decode("not a request id".into()))?;
    let attempts = row.try_get::<i64, _>("attempts")?;
    let deadline: i64 = row.try_get("deadline_ms")?;
    let created: i64 = row.try_get("created_at")?;
    let sent: Option<i64> = row.try_get("key_sent_at")?;
    let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let epoch: i64 = row.try_get("epoch")?;
    // The time of one that outlived a process begins anew: it must not end because nobody was there to send it.
    let outlived = attempts > 0 || epoch > 1 || created < shared.since();
    let remaining = if outlived {
        deadline
    } else {
        deadline - (now - created).max(0)
    };
    let request = request_of(&text, columns)?;
    let sent_ago = sent.map(|sent| sent_ago(sent, now));
    let deadline = match sent_ago.filter(|_| request.idempotency_key != IdempotencyKey::None) {
        Some(ago) => millis(remaining).min(shared.options.key_lifetime.saturating_sub(ago)),
        None => millis(remaining),
    };
    let kept = Kept {
        id,
        request,
        deadline,
        attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
        sent_ago,
        ended,
    };
    Ok((kept, epoch))
}

/// How a request ends that was cancelled before it was sent.
pub(crate) fn cancelled() -> Failure {
    Failure::new(
        FailureKind::Cancelled,
        Effect::None,
        "the request was cancelled before it was sent",
    )
}

/// The outcome of a request that was cancelled, as its row has it.
pub(crate) fn cancelled_text() -> String {
    outcome_text(&Err(cancelled()))
}
