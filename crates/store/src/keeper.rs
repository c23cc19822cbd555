//! What has to be done again and again: leases, endings that were not told, and rows whose time is over.

use std::sync::Arc;
use std::time::Duration;

use inflight_core::{Effect, Failure, FailureKind, Outcome, Registry, RequestId, RequestStatus};
use serde_json::json;
use sqlx::postgres::PgListener;
use sqlx::{AnyConnection, Executor as _, Row as _};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::append::key_lifetime;
use crate::database::{Location, Type, execute};
use crate::encode::outcome_of;
use crate::lease::{heartbeat, in_time, lease_end, patience};
use crate::rows::{id_of, status_of};
use crate::statement::{fetch, named, safe};
use crate::store::{Shared, moment};
use crate::writer::CONNECT_TIMEOUT;
use crate::{QueryError, Unreadable};

/// How many endings are asked for at once.
const ASKED_AT_ONCE: usize = 500;

/// How often rows whose retention is over are looked for, and how many are deleted at once.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEPT_AT_ONCE: usize = 1000;

/// How long one look may take in a database that several share.
const SWEEP_TIMEOUT: Duration = Duration::from_secs(600);

/// How often all rows are looked through for that. In between, only what has come of age since: what is kept beyond its retention, such as
/// the requests of runs, is not looked at again each time.
const SWEEP_ALL_EVERY: Duration = Duration::from_secs(3600);

/// Pause after the database was away.
const PAUSE: Duration = Duration::from_millis(500);

/// Renews this process's leases, takes those of dead processes back, asks for endings and deletes what is old.
pub(crate) async fn run(shared: Arc<Shared>, registry: Registry, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        _ = stopped.changed() => {}
        () = keep(&shared, &registry) => {}
        // Beside it, on a connection of its own: it may take long, and leases are not to end meanwhile.
        () = sweep_often(&shared) => {}
    }
}

async fn sweep_often(shared: &Shared) {
    let mut swept = Swept::default();
    loop {
        let sweep = async {
            let mut connection = in_time(CONNECT_TIMEOUT, shared.connect()).await?;
            while shared
                .in_time(SWEEP_TIMEOUT, sweep(shared, &mut connection, &mut swept))
                .await?
            {}
            Ok::<_, sqlx::Error>(())
        };
        if let Err(error) = sweep.await {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what is over could not be deleted from the store"
            );
        }
        tokio::time::sleep(SWEEP_EVERY).await;
    }
}

async fn keep(shared: &Shared, registry: &Registry) {
    let mut connection = None;
    let mut due = Due::now();
    loop {
        if let Err(error) = turn(shared, registry, &mut connection, &mut due).await {
            connection = None;
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the store could not be kept in order"
            );
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep_until(due.next()).await;
    }
}

/// When each task is due.
struct Due {
    leases: Instant,
    endings: Instant,
}

/// How far the look for what is over has come.
#[derive(Default)]
struct Swept {
    /// When all rows were looked through last.
    all: Option<Instant>,
    /// What ended before this moment, in milliseconds since 1970, has been looked at.
    until: i64,
}

impl Due {
    fn now() -> Self {
        let now = Instant::now();
        Self {
            leases: now,
            endings: now,
        }
    }

    fn next(&self) -> Instant {
        self.leases.min(self.endings)
    }
}

async fn turn(
    shared: &Shared,
    registry: &Registry,
    connection: &mut Option<AnyConnection>,
    due: &mut Due,
) -> Result<(), QueryError> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(in_time(CONNECT_TIMEOUT, shared.connect()).await?),
    };
    shared
        .in_time(patience(shared.options.lease), tend(shared, registry, connection, due))
        .await?;
    Ok(())
}

/// What must not wait: leases and endings.
async fn tend(
    shared: &Shared,
    registry: &Registry,
    connection: &mut AnyConnection,
    due: &mut Due,
) -> Result<(), QueryError> {
    let now = Instant::now();
    if due.leases <= now {
        due.leases = now + heartbeat(shared.options.lease);
        if shared.is_shared() {
            renew(shared, connection).await?;
            take_back(shared, connection).await?;
        }
    }
    if due.endings <= now {
        due.endings = now + shared.options.poll;
        let mut ids = registry.elsewhere();
        ids.retain(|id| shared.held(*id).is_none());
        learn(shared, registry, connection, &ids).await?;
    }
    Ok(())
}

/// Says that this process lives, and works on what it holds. What is called its own and is not held any more is not renewed.
async fn renew(shared: &Shared, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let until = lease_end(shared);
    let from = shared.dialect.rows(&[("rid", Type::Text), ("claim", Type::Number)]);
    // What the writer has locked is being written, and need not be waited for.
    let requests = format!(
        "UPDATE inflight_requests SET lease_until = {until} WHERE seq IN (SELECT r.seq FROM inflight_requests AS r \
         JOIN {from} ON r.id = x.rid AND r.epoch = x.claim WHERE r.owner = $2 AND r.state IN ('queued', 'sent') ORDER BY r.seq \
         FOR UPDATE OF r SKIP LOCKED)"
    );
    let held = shared.all_claims().into_iter();
    let held: Vec<_> = held
        .map(|(id, epoch)| json!({"rid": id.to_string(), "claim": epoch}))
        .collect();
    fetch(connection, shared.dialect, &requests, &held, Some(&shared.process)).await?;
    let from = shared.dialect.rows(&[("rid", Type::Text), ("at_start", Type::Number)]);
    let runs = format!(
        "UPDATE inflight_runs AS u SET lease_until = {until} FROM {from} \
         WHERE u.id = x.rid AND u.owner = $2 AND u.starts = x.at_start AND u.state = 'running'"
    );
    let started = shared.started.all();
    let started: Vec<_> = started.iter().map(|run| run.named()).collect();
    fetch(connection, shared.dialect, &runs, &started, Some(&shared.process))
        .await
        .map(drop)
}

/// Frees what processes had that have been silent for longer than their lease.
async fn take_back(shared: &Shared, connection: &mut AnyConnection) -> Result<(), sqlx::Error> {
    let statement = format!(
        "UPDATE inflight_requests SET owner = NULL, lease_until = NULL WHERE owner IS NOT NULL AND state IN ('queued', 'sent') \
         AND lease_until < {}",
        shared.dialect.now()
    );
    let freed = sqlx::query(safe(&statement)).execute(connection).await?.rows_affected();
    if freed > 0 {
        tracing::warn!(
            freed,
            "a process has been silent for longer than its lease; its requests are taken over"
        );
        shared.room.notify_one();
    }
    Ok(())
}

/// Deletes some of what ended longer ago than the retention, and is no run's. What ended before `swept` is not looked at. Gives whether
/// there may be more.
///
/// The rows are looked for before the statement that deletes them, which holds up whoever writes.
async fn sweep(shared: &Shared, connection: &mut AnyConnection, done: &mut Swept) -> Result<bool, sqlx::Error> {
    let retention = i64::try_from(shared.options.retention.as_millis()).unwrap_or(i64::MAX / 4);
    if done.all.is_none_or(|all| all.elapsed() >= SWEEP_ALL_EVERY) {
        done.all = Some(Instant::now());
        done.until = 0;
    }
    let (now, swept) = (moment(connection, shared.dialect).await?, done.until);
    let until = now - retention;
    // What a key that was given was used for has to be known for as long as the other side knows the key.
    let over = format!(
        "ended_at IS NOT NULL AND effect <> 'unknown' AND run IS NULL AND (key_scope IS NULL OR ended_at < {})",
        now - key_lifetime(shared)
    );
    let find = format!(
        "SELECT seq FROM inflight_requests WHERE ended_at >= {swept} AND ended_at < {until} AND {over} LIMIT {SWEPT_AT_ONCE}"
    );
    let rows = sqlx::query(safe(&find)).fetch_all(&mut *connection).await?;
    let found = rows.iter().map(|row| Ok(row.try_get::<i64, _>("seq")?.to_string()));
    let found = found.collect::<Result<Vec<_>, sqlx::Error>>()?;
    if !found.is_empty() {
        // What someone has had sent again meanwhile stays.
        let delete = format!(
            "DELETE FROM inflight_requests WHERE seq IN ({}) AND ended_at < {until} AND {over}",
            found.join(", ")
        );
        execute(connection, delete).await?;
    }
    let is_over = found.len() < SWEPT_AT_ONCE;
    if is_over {
        done.until = until;
    }
    Ok(!is_over)
}

/// Tells the registry how these requests ended, as far as they have.
async fn learn(
    shared: &Shared,
    registry: &Registry,
    connection: &mut AnyConnection,
    ids: &[RequestId],
) -> Result<(), QueryError> {
    for ids in ids.chunks(ASKED_AT_ONCE) {
        for (id, status, outcome) in endings(shared, connection, ids).await? {
            if !shared.appending().contains(&id) {
                registry.learn(id, status, outcome);
            }
        }
    }
    Ok(())
}

async fn endings(
    shared: &Shared,
    connection: &mut AnyConnection,
    ids: &[RequestId],
) -> Result<Vec<(RequestId, RequestStatus, Outcome)>, QueryError> {
    let from = shared.dialect.rows(&[("rid", Type::Text)]);
    let statement = format!(
        "SELECT id, state, outcome FROM inflight_requests AS r JOIN {from} ON r.id = x.rid WHERE r.outcome IS NOT NULL"
    );
    let rows = fetch(connection, shared.dialect, &statement, &named(ids), None).await?;
    let mut endings = Vec::with_capacity(rows.len());
    for row in rows {
        let (id, state, outcome): (String, String, String) =
            (row.try_get("id")?, row.try_get("state")?, row.try_get("outcome")?);
        if let (Some(id), Some(status)) = (id_of(&id), status_of(&state)) {
            let (status, outcome) = outcome_of(&outcome).map_or_else(|error| unreadable(id, &error), |it| (status, it));
            endings.push((id, status, outcome));
        }
    }
    Ok(endings)
}

/// What is told of an ending that cannot be read: it must not keep the others from being told.
fn unreadable(id: RequestId, error: &Unreadable) -> (RequestStatus, Outcome) {
    tracing::error!(
        request = %id,
        error = error as &dyn std::error::Error,
        "how a request of the store ended cannot be read"
    );
    let message = format!("how it ended cannot be read in the store: {error}");
    let failure = Failure::new(FailureKind::Store, Effect::Unknown, message);
    (RequestStatus::Failed, Err(failure))
}

/// Hears from the database what other processes have done.
pub(crate) async fn listen(shared: Arc<Shared>, registry: Registry, mut stopped: watch::Receiver<bool>) {
    let listening = async {
        loop {
            if let Err(error) = hear(&shared, &registry).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the store's notifications are interrupted"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        _ = stopped.changed() => {}
        () = listening => {}
    }
}

async fn hear(shared: &Shared, registry: &Registry) -> Result<(), QueryError> {
    let Location::Postgres(url) = &shared.location else {
        return Ok(());
    };
    let mut listener = in_time(CONNECT_TIMEOUT, async {
        let mut listener = PgListener::connect(url).await?;
        listener.listen_all(["inflight_new", "inflight_ended"]).await?;
        Ok::<_, sqlx::Error>(listener)
    })
    .await?;
    let mut connection = in_time(CONNECT_TIMEOUT, shared.connect()).await?;
    let patience = patience(shared.options.lease);
    loop {
        let mut ids = Vec::new();
        let Ok(heard) = tokio::time::timeout(patience, listener.recv()).await else {
            // Nothing has happened, or the database is gone without a word.
            in_time(CONNECT_TIMEOUT, listener.execute("SELECT 1")).await?;
            continue;
        };
        let mut next = Some(heard?);
        // Those that have come meanwhile are answered together.
        while let Some(notification) = next {
            if notification.channel() == "inflight_new" {
                shared.room.notify_one();
            } else if let Some(told) = notification.payload().strip_prefix(&shared.process) {
                ids.extend(told.split_whitespace().filter_map(id_of));
            }
            next = listener.next_buffered();
        }
        if !ids.is_empty() {
            in_time(patience, learn(shared, registry, &mut connection, &ids)).await?;
        }
    }
}
