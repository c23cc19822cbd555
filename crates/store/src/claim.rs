//! Requests that the store hands to this process: what an earlier one has left, and what is submitted to several.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{Effect, Failure, FailureKind, IdempotencyKey, Kept, Method, Registry, RequestStatus};
use serde_json::json;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use tokio::sync::watch;

use crate::QueryError;
use crate::database::{Dialect, Type, execute};
use crate::lease::{in_time, lease_end, patience};
use crate::options::Accounts;
use crate::orders::Order;
use crate::rows::{self, KEPT, kept_of};
use crate::statement::{fetch, safe};
use crate::store::Shared;
use crate::writer::CONNECT_TIMEOUT;

/// How many rows of each priority are looked at to find the ones to claim: among these, sessions take turns.
const CANDIDATES: usize = 256;

/// How many of them are asked for, for each that there is room for.
const SPARE: usize = 8;

/// A request that waits moves up one priority each 30 seconds.
const AGEING_MS: i64 = 30_000;

/// How long after its first attempt what has no key is sent again by another process than the one that had sent it, where doing it twice is
/// the same as doing it once. A request's time by default: later the name that it deletes or sets may be another object's.
pub(crate) const KEYLESS_LIFETIME: Duration = Duration::from_secs(600);

/// How many requests an only process takes at once from what an earlier one has left.
const RECOVERED_AT_ONCE: usize = 500;

/// Claims for the registry as long as its worker has room.
pub(crate) async fn run(
    shared: Arc<Shared>,
    registry: Registry,
    accounts: Option<Accounts>,
    mut stopped: watch::Receiver<bool>,
) {
    if shared.is_shared() {
        // What the database claims for this process all the same is the others' when its lease ends.
        let mut never = stopped.clone();
        tokio::select! {
            _ = stopped.changed() => {}
            () = claim_until(&mut never, &shared, &registry, accounts.as_ref()) => {}
        }
    } else {
        claim_until(&mut stopped, &shared, &registry, accounts.as_ref()).await;
    }
}

/// A claim that has begun is carried out to its end.
async fn claim_until(
    stopped: &mut watch::Receiver<bool>,
    shared: &Arc<Shared>,
    registry: &Registry,
    accounts: Option<&Accounts>,
) {
    let mut connection = None;
    while stopped.has_changed().is_ok() {
        let room = room(shared, registry);
        let claimed = if room == 0 {
            Ok(0)
        } else {
            claim_into(shared, registry, accounts, &mut connection, room).await
        };
        match claimed {
            // There may be more: of one priority no more is looked at in one go.
            Ok(claimed) if claimed > 0 && claimed >= room.min(CANDIDATES) => continue,
            Ok(_) => {}
            Err(error) => {
                connection = None;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the store could not be asked for requests"
                );
            }
        }
        let news = async {
            if shared.is_shared() {
                shared.room.notified().await;
            } else {
                // What this process submits it sends by itself. Left over is only what a script has not named the key for yet.
                std::future::pending().await
            }
        };
        tokio::select! {
            _ = stopped.changed() => {}
            _ = tokio::time::timeout(shared.options.poll, news) => {}
        }
    }
}

fn room(shared: &Shared, registry: &Registry) -> usize {
    if shared.is_shared() {
        // What waits for a further attempt keeps the worker from nothing.
        let unsent = registry.unsent().saturating_sub(registry.waiting());
        let wanted = shared.options.prefetch.saturating_sub(unsent);
        wanted.min(registry.queue_room())
    } else {
        RECOVERED_AT_ONCE.min(registry.queue_room() / 2)
    }
}

async fn claim_into(
    shared: &Arc<Shared>,
    registry: &Registry,
    accounts: Option<&Accounts>,
    connection: &mut Option<AnyConnection>,
    room: usize,
) -> Result<usize, QueryError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(in_time(CONNECT_TIMEOUT, shared.connect()).await?),
    };
    // What is claimed all the same, without an answer, is the others' when its lease ends.
    let claimed = claim(shared, accounts, connection, room);
    let claimed = shared.in_time(patience(shared.options.lease), claimed).await?;
    let count = claimed.len();
    for (kept, epoch, account) in claimed {
        match shared.held(kept.id) {
            None => {
                shared.hold(kept.id, epoch, &account);
                hand_over(shared, registry, kept, epoch);
            }
            // The lease of an earlier claim has ended, and nobody else had it in between: what has it here goes on.
            Some(held) if held.epoch + 1 == epoch => shared.hold(kept.id, epoch, &account),
            // Another process had it. What has it here finds out; until then nobody does, and the claim's lease ends.
            Some(_) => {}
        }
    }
    Ok(count)
}

/// Has the request sent, unless the other side may have forgotten its key.
fn hand_over(shared: &Arc<Shared>, registry: &Registry, kept: Kept, epoch: i64) {
    let was_sent = kept.attempts > 0 && !kept.request.method.is_safe();
    let is_older = |limit: Duration| kept.sent_ago.is_some_and(|ago| ago >= limit);
    let message = match kept.request.idempotency_key {
        _ if !was_sent => return registry.take_in(kept),
        IdempotencyKey::None if !is_idempotent(kept.request.method) => {
            "the process that had sent it is gone, and without an idempotency key it is not sent again"
        }
        IdempotencyKey::None if is_older(KEYLESS_LIFETIME) => {
            "the process that had sent it is gone, and without an idempotency key it is not sent again so long after: \
             its name may be another object's by now"
        }
        _ if is_older(shared.options.key_lifetime) => {
            "the process that had sent it is gone, and its idempotency key is too old to send it again"
        }
        _ => return registry.take_in(kept),
    };
    let outcome = Err(Failure::new(FailureKind::Store, Effect::Unknown, message));
    let row = rows::ended(kept.id, epoch, RequestStatus::Failed, &outcome);
    let (registry, id) = (registry.clone(), kept.id);
    shared.order(Order::Ended(crate::transaction::Ended {
        id,
        epoch,
        row,
        done: Box::new(move |written| {
            if written.is_ok() {
                registry.learn(id, RequestStatus::Failed, outcome);
            }
        }),
    }));
}

/// Whether carrying it out twice is the same as once, without a key (RFC 9110, section 9.2.2).
fn is_idempotent(method: Method) -> bool {
    matches!(method, Method::Get | Method::Put | Method::Delete)
}

/// Claims up to `room` requests for this process: the most urgent ones, and among these one of each session in turn.
async fn claim(
    shared: &Shared,
    accounts: Option<&Accounts>,
    connection: &mut AnyConnection,
    room: usize,
) -> Result<Vec<(Kept, i64, String)>, QueryError> {
    let candidates = candidates(shared, accounts, connection).await?;
    // More than there is room for: other processes look at the same ones, and the first to ask for a row has it.
    let wanted: Vec<_> = in_turn(candidates).into_iter().take(room * SPARE).enumerate().collect();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let wanted: Vec<_> = wanted.iter().map(|(turn, seq)| format!("({seq}, {turn})")).collect();
    let (now, until) = (shared.dialect.now(), lease_end(shared));
    let lock = match shared.dialect {
        Dialect::Sqlite => "",
        Dialect::Postgres => " FOR UPDATE OF r SKIP LOCKED",
    };
    let statement = format!(
        "UPDATE inflight_requests SET owner = $1, epoch = epoch + 1, lease_until = {until} WHERE seq IN (\
         SELECT r.seq FROM inflight_requests AS r JOIN (VALUES {}) AS v ON v.column1 = r.seq \
         WHERE r.owner IS NULL AND r.state IN ('queued', 'sent') ORDER BY v.column2 LIMIT {room}{lock}) \
         RETURNING {KEPT}, seq, lane, {now} AS now",
        wanted.join(", ")
    );
    let mut rows = sqlx::query(safe(&statement))
        .persistent(false)
        .bind(shared.process.clone())
        .fetch_all(&mut *connection)
        .await?;
    rows.sort_by_key(|row| row.try_get::<i64, _>("seq").unwrap_or(0));
    let given_back = give_back(shared, connection, &rows).await?;
    let mut claimed = Vec::with_capacity(rows.len());
    for row in &rows {
        if given_back.contains(row.try_get::<&str, _>("id")?) {
            continue;
        }
        let (kept, epoch) = match kept_of(row, row.try_get("now")?, shared) {
            Ok(kept) => kept,
            Err(error) => {
                // It stays claimed, so that it is not in the way of others, until its lease ends.
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a request of the store cannot be sent"
                );
                continue;
            }
        };
        claimed.push((kept, epoch, row.try_get("account")?));
    }
    Ok(claimed)
}

/// Gives back what was claimed of a lane of which another process has claimed something since this one looked. Gives which.
///
/// Of two such claims the later one to be committed sees the earlier one here, so that at most one is kept.
async fn give_back(
    shared: &Shared,
    connection: &mut AnyConnection,
    claimed: &[AnyRow],
) -> Result<HashSet<String>, sqlx::Error> {
    let mut in_lanes = Vec::new();
    for row in claimed.iter().filter(|_| shared.is_shared()) {
        if row.try_get::<Option<String>, _>("lane")?.is_some() {
            in_lanes.push(json!({"rid": row.try_get::<String, _>("id")?, "at_epoch": row.try_get::<i64, _>("epoch")?}));
        }
    }
    let from = shared.dialect.rows(&[("rid", Type::Text), ("at_epoch", Type::Number)]);
    // Nobody was told of the claim, so that its epoch is not used up.
    let statement = format!(
        "UPDATE inflight_requests AS r SET owner = NULL, lease_until = NULL, epoch = r.epoch - 1 FROM {from} \
         WHERE r.id = x.rid AND r.owner = $2 AND r.epoch = x.at_epoch AND r.lane IN (SELECT b.lane FROM inflight_requests AS b \
         WHERE b.owner IS NOT NULL AND b.lane IS NOT NULL AND b.state IN ('queued', 'sent') \
         GROUP BY b.lane HAVING COUNT(*) > 1) RETURNING r.id"
    );
    let rows = fetch(connection, shared.dialect, &statement, &in_lanes, Some(&shared.process)).await?;
    if !rows.is_empty() {
        // The other one may have ended meanwhile.
        execute(connection, "SELECT pg_notify('inflight_new', '')").await?;
    }
    rows.iter().map(|row| row.try_get("id")).collect()
}

/// A request that may be claimed.
struct Candidate {
    seq: i64,
    /// Whose it is.
    session: (String, i64),
    /// Its priority, by which it has come up while it waited. The smaller the more urgent.
    rank: i64,
}

/// The oldest requests of each priority that this process may claim.
async fn candidates(
    shared: &Shared,
    accounts: Option<&Accounts>,
    connection: &mut AnyConnection,
) -> Result<Vec<Candidate>, QueryError> {
    let now = shared.dialect.now();
    let names = match shared.dialect {
        Dialect::Sqlite => "SELECT value FROM json_each($2)",
        Dialect::Postgres => "SELECT jsonb_array_elements_text($2::jsonb)",
    };
    let known = match accounts {
        Some(_) => format!("AND (account = '' OR account IN ({names}))"),
        None => "AND $2 = $2".to_owned(),
    };
    // A file's only process has all of a lane, and sends it in order itself. A later one may be under way already: its row was seen first,
    // or an operator has this one sent again.
    let is_next = if shared.is_shared() {
        "AND (lane IS NULL OR (lane NOT IN (SELECT b.lane FROM inflight_requests AS b \
         WHERE b.owner IS NOT NULL AND b.lane IS NOT NULL AND b.state IN ('queued', 'sent')) \
         AND NOT EXISTS (SELECT 1 FROM inflight_requests AS b WHERE b.lane = r.lane AND b.seq < r.seq \
         AND b.state IN ('queued', 'sent'))))"
    } else {
        ""
    };
    let of = |priority: usize| {
        format!(
            "SELECT * FROM (SELECT seq, session, submitter, priority, {now} - created_at AS age FROM inflight_requests AS r \
             WHERE owner IS NULL AND state IN ('queued', 'sent') AND mode = $1 {known} AND priority = {priority} \
             AND (not_before <= {now} OR not_before <= created_at) {is_next} ORDER BY seq LIMIT {CANDIDATES}) \
             AS p{priority}"
        )
    };
    let statement = [0, 1, 2].map(of).join(" UNION ALL ");
    let names: Vec<_> = accounts.map(|accounts| accounts()).unwrap_or_default();
    let names: Vec<&str> = names.iter().map(|name| &**name).collect();
    let rows = sqlx::query(safe(&statement))
        .bind(shared.options.mode.clone())
        .bind(serde_json::json!(names).to_string())
        .fetch_all(connection)
        .await?;
    let candidate = |row: &AnyRow| {
        let age: i64 = row.try_get("age")?;
        Ok(Candidate {
            seq: row.try_get("seq")?,
            session: (row.try_get("submitter")?, row.try_get("session")?),
            // Of one that is older than the clock says it could be, nothing is known.
            rank: row.try_get::<i64, _>("priority")? - age.max(0) / AGEING_MS,
        })
    };
    rows.iter().map(candidate).collect()
}

/// The rows in the order in which they are to be sent: by rank, and within a rank one of each session in turn, the oldest first.
fn in_turn(mut candidates: Vec<Candidate>) -> Vec<i64> {
    candidates.sort_by_key(|candidate| (candidate.rank, candidate.seq));
    let mut turns: HashMap<(i64, (String, i64)), usize> = HashMap::new();
    let mut ordered: Vec<_> = candidates
        .into_iter()
        .map(|candidate| {
            let turn = turns.entry((candidate.rank, candidate.session)).or_default();
            *turn += 1;
            (candidate.rank, *turn, candidate.seq)
        })
        .collect();
    ordered.sort_unstable();
    ordered.into_iter().map(|(_, _, seq)| seq).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urgent_ones_first_and_sessions_in_turn() {
        let candidate = |seq, session: &str, rank| Candidate {
            seq,
            session: (session.to_owned(), 1),
            rank,
        };
        let candidates = vec![
            candidate(1, "a", 1),
            candidate(2, "a", 1),
            candidate(3, "a", 1),
            candidate(4, "b", 1),
            candidate(5, "b", 0),
            // It has waited long enough to come before all others.
            candidate(6, "c", -1),
        ];
        assert_eq!(in_turn(candidates), [6, 5, 1, 4, 2, 3]);
    }
}
