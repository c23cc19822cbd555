//! How a run begins, or goes on: what is read of it, and who may.

use std::sync::Arc;

use inflight_core::{JournalEntry, Kept};
use sqlx::{AnyConnection, Connection as _, Row as _};

use crate::database::Dialect;
use crate::lease::lease_end;
use crate::rows::{KEPT, kept_of};
use crate::runs::{Holder, RunShared};
use crate::statement::safe;
use crate::store::Shared;
use crate::writer::CONNECT_TIMEOUT;
use crate::{DurableStore, QueryError, RunError, RunStart, RunState, StoredRun};

pub(crate) async fn begin(
    shared: &Arc<Shared>,
    connection: &mut AnyConnection,
    id: String,
    script: String,
    store: DurableStore,
) -> Result<RunStart, RunError> {
    let (begin, lock) = match shared.dialect {
        Dialect::Sqlite => ("BEGIN IMMEDIATE", ""),
        Dialect::Postgres => ("BEGIN", " FOR UPDATE"),
    };
    let (now, until) = (shared.dialect.now(), lease_end(shared));
    // What its last start here has journalled is written before this one reads it.
    let written = tokio::time::timeout(CONNECT_TIMEOUT, shared.started.written(&id));
    written.await.map_err(|_| sqlx::Error::PoolTimedOut)?;
    let mut transaction = connection.begin_with(begin).await?;
    let insert = format!(
        "INSERT INTO inflight_runs (id, script, state, owner, lease_until, starts, begun_at, mode) \
         VALUES ($1, $2, 'running', $3, {until}, 0, {now}, $4) ON CONFLICT DO NOTHING"
    );
    sqlx::query(safe(&insert))
        .bind(id.clone())
        .bind(script)
        .bind(shared.process.clone())
        .bind(shared.options.mode.clone())
        .execute(&mut *transaction)
        .await?;
    let select = format!(
        "SELECT id, state, mode, owner, lease_until, starts, result, {now} AS now FROM inflight_runs WHERE id = $1{lock}"
    );
    let row = sqlx::query(safe(&select))
        .bind(id.clone())
        .fetch_one(&mut *transaction)
        .await?;
    let mode: String = row.try_get("mode")?;
    if mode != shared.options.mode {
        return Err(RunError::OtherMode {
            id,
            begun: mode,
            now: shared.options.mode.clone(),
        });
    }
    let state = RunState::of(row.try_get("state")?);
    match state {
        RunState::Running => {}
        RunState::Cancelled => return Err(RunError::Cancelled(id)),
        ended => return Ok(RunStart::Finished(ended, row.try_get("result")?)),
    }
    let starts: i64 = row.try_get("starts")?;
    let holder = Holder::of(&row)?;
    if starts > 0 && holder.is_alive(shared) {
        return Err(if holder.is_here(shared) {
            RunError::AtWork(id)
        } else {
            RunError::InUse(id)
        });
    }
    let update =
        format!("UPDATE inflight_runs SET owner = $1, lease_until = {until}, starts = starts + 1 WHERE id = $2");
    sqlx::query(safe(&update))
        .bind(shared.process.clone())
        .bind(id.clone())
        .execute(&mut *transaction)
        .await?;
    let entries = entries(&mut transaction, &id).await?;
    let kept = requests(shared, &mut transaction, &id).await?;
    let run = Arc::new(RunShared::new(id, starts + 1, entries.len()));
    // Before anyone can see the row: whoever asks next finds it at work.
    shared.started.add(&run);
    if let Err(error) = transaction.commit().await {
        // It may be committed all the same. Then it is nobody's start, and the next one goes on from it.
        shared.started.remove(&run);
        return Err(error.into());
    }
    let run = StoredRun::begun(store, run, entries, kept);
    Ok(if starts == 0 {
        RunStart::New(run)
    } else {
        RunStart::Resumed(run)
    })
}

async fn entries(connection: &mut AnyConnection, id: &str) -> Result<Vec<JournalEntry>, QueryError> {
    let rows = sqlx::query(
        "SELECT task, call, operation, arguments, answer FROM inflight_journal WHERE run = $1 ORDER BY position",
    )
    .bind(id.to_owned())
    .fetch_all(connection)
    .await?;
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let (task, call): (i64, i64) = (row.try_get("task")?, row.try_get("call")?);
        let (arguments, answer): (String, String) = (row.try_get("arguments")?, row.try_get("answer")?);
        let answer: String = serde_json::from_str(&answer).map_err(crate::Unreadable::from)?;
        entries.push(JournalEntry {
            task: u32::try_from(task).unwrap_or(u32::MAX),
            sequence: u64::try_from(call).unwrap_or(u64::MAX),
            operation: row.try_get("operation")?,
            arguments: u64::from_str_radix(&arguments, 16).unwrap_or(0),
            answer: answer.into_bytes(),
        });
    }
    Ok(entries)
}

async fn requests(shared: &Shared, connection: &mut AnyConnection, id: &str) -> Result<Vec<Kept>, QueryError> {
    let statement = format!(
        "SELECT {KEPT}, {} AS now FROM inflight_requests WHERE run = $1 ORDER BY seq",
        shared.dialect.now()
    );
    let rows = sqlx::query(safe(&statement))
        .bind(id.to_owned())
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok(kept_of(row, row.try_get("now")?, shared)?.0))
        .collect()
}
