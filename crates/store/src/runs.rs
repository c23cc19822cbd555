//! Runs of scripts that survive the process: their journal, their requests, their ends.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use inflight_core::{Journal, JournalEntry, Kept, StoreError};
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Connection as _, Row as _};

use crate::begin::begin;
use crate::database::Dialect;
use crate::orders::Order;
use crate::statement::safe;
use crate::store::Shared;
use crate::transaction::Journalled;
use crate::{DurableStore, QueryError, RunError};

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunState {
    /// It goes on, or its process is gone and it can be resumed.
    Running,
    /// Its script has ended well.
    Completed,
    /// Its script has failed.
    Failed,
    /// Someone has given it up.
    Cancelled,
}

impl RunState {
    /// `running`, `completed`, `failed` or `cancelled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn of(text: &str) -> Self {
        [Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
            .unwrap_or(Self::Running)
    }
}

/// A run as the store knows it.
#[derive(Debug, Clone)]
pub struct RunRow {
    /// Its id.
    pub id: String,
    /// The script, as its starter named it.
    pub script: String,
    /// How far it has come.
    pub state: RunState,
    /// Whether a process works on it now.
    pub is_alive: bool,
    /// How often it was started.
    pub starts: u64,
    /// When it was started first, in milliseconds since 1970.
    pub begun_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
    /// What its starter has kept of its end.
    pub result: Option<String>,
    /// How many entries its journal has.
    pub journalled: u64,
    /// How many requests it has made.
    pub requests: u64,
    /// How many of these have not ended.
    pub pending: u64,
}

/// What a start finds.
#[derive(Debug)]
pub enum RunStart {
    /// The run is new.
    New(StoredRun),
    /// An earlier process has begun it.
    Resumed(StoredRun),
    /// It has ended. What its starter has kept of that.
    Finished(RunState, Option<String>),
}

/// A run that this process works on: the journal of its script.
///
/// Dropped before it has [finished](Self::finish) it is let go: it can be begun again at once in this process, and in others as soon as
/// that is written.
pub struct StoredRun {
    store: DurableStore,
    shared: Arc<RunShared>,
    entries: Vec<JournalEntry>,
    kept: Vec<Kept>,
}

/// What the writer knows of a run.
pub(crate) struct RunShared {
    id: String,
    /// How often it had been started with this start: which tells this start from any other one.
    starts: i64,
    next: AtomicI64,
    trouble: Mutex<Option<String>>,
    /// Whether the database did not take an entry: none that follows may be written.
    is_cut: AtomicBool,
    /// Whether nobody here writes to its journal any more.
    is_let_go: AtomicBool,
}

impl RunShared {
    /// The start of this number of a run whose journal has so many entries.
    pub(crate) fn new(id: String, starts: i64, entries: usize) -> Self {
        Self {
            id,
            starts,
            next: AtomicI64::new(i64::try_from(entries).unwrap_or(i64::MAX)),
            trouble: Mutex::default(),
            is_cut: AtomicBool::new(false),
            is_let_go: AtomicBool::new(false),
        }
    }

    /// From now on nothing is written for this run that would follow what could not be.
    pub(crate) fn note_trouble(&self, error: &sqlx::Error) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(|| error.to_string());
    }

    /// An entry is not written: nor is any that follows, though it be on its way.
    pub(crate) fn cut(&self, error: &sqlx::Error) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.note_trouble(error);
    }

    /// Someone has given the run up: nothing more is written for it.
    pub(crate) fn give_up(&self) {
        self.is_cut.store(true, Ordering::SeqCst);
        self.note_loss();
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    pub(crate) fn is_let_go(&self) -> bool {
        self.is_let_go.load(Ordering::SeqCst)
    }

    /// The run is not this process's any more.
    pub(crate) fn note_loss(&self) {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.get_or_insert_with(|| "another process has taken the run over, or it was cancelled".to_owned());
    }

    /// It as a row for a statement.
    pub(crate) fn named(&self) -> Value {
        json!({"rid": self.id, "at_start": self.starts})
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn starts(&self) -> i64 {
        self.starts
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl StoredRun {
    /// A start of a run, with what is there of it.
    pub(crate) fn begun(
        store: DurableStore,
        shared: Arc<RunShared>,
        entries: Vec<JournalEntry>,
        kept: Vec<Kept>,
    ) -> Self {
        Self {
            store,
            shared,
            entries,
            kept,
        }
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The requests that an earlier process has submitted for it: for [`Session::restore`](inflight_core::Session::restore).
    #[must_use]
    pub fn take_kept(&mut self) -> Vec<Kept> {
        std::mem::take(&mut self.kept)
    }

    /// Writes how the script ended. A later start gives `result` and runs nothing.
    ///
    /// # Errors
    /// [`QueryError`] where that is not written: [`NotOurs`](QueryError::NotOurs) where the run has ended before, or another process has
    /// taken it over.
    pub fn finish(&self, state: RunState, result: Option<String>) -> Result<(), QueryError> {
        let (id, starts) = (self.shared.id.clone(), self.shared.starts);
        self.store.on_connection(move |mut connection, shared| async move {
            let statement = format!(
                "UPDATE inflight_runs SET state = $1, result = $2, ended_at = {}, lease_until = NULL \
                 WHERE id = $3 AND owner = $4 AND state = 'running' AND starts = $5",
                shared.dialect.now()
            );
            let written = sqlx::query(safe(&statement))
                .bind(state.as_str())
                .bind(result)
                .bind(id.clone())
                .bind(shared.process.clone())
                .bind(starts)
                .execute(&mut connection)
                .await?;
            if written.rows_affected() == 0 {
                return Err(QueryError::NotOurs(id));
            }
            Ok(())
        })
    }
}

impl Drop for StoredRun {
    fn drop(&mut self) {
        self.shared.is_let_go.store(true, Ordering::SeqCst);
        // Of one that has ended this changes nothing.
        self.store.shared.order(Order::Release(Arc::clone(&self.shared)));
    }
}

impl Journal for StoredRun {
    fn entries(&self) -> Result<Vec<JournalEntry>, StoreError> {
        Ok(self.entries.clone())
    }

    fn write(&self, entry: JournalEntry) -> Result<(), StoreError> {
        if let Some(trouble) = self.shared.trouble() {
            return Err(StoreError::new(trouble));
        }
        let answer = String::from_utf8(entry.answer)
            .map_err(|error| StoreError::new("an answer of the journal is not text").with_source(error))?;
        let row = json!({
            "run": self.shared.id,
            "position": self.shared.next.fetch_add(1, Ordering::SeqCst),
            "task": entry.task,
            "call": entry.sequence,
            "operation": entry.operation.replace('\0', "\u{fffd}"),
            "arguments": format!("{:016x}", entry.arguments),
            // Escaped once more, as PostgreSQL keeps no zero byte in a text.
            "answer": json!(answer).to_string(),
        });
        self.store.shared.order(Order::Journal(Journalled {
            run: Arc::clone(&self.shared),
            row,
        }));
        Ok(())
    }
}

impl fmt::Debug for StoredRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredRun")
            .field("id", &self.shared.id)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl DurableStore {
    /// Begins a run, or goes on with it. `script` says what it runs, for people.
    ///
    /// The id has to be a new one for each run, also across stores that serve the same account, for as long as the other side keeps
    /// idempotency keys (Stripe: 24 hours in v1, 30 days in v2): the keys are made of it.
    ///
    /// # Errors
    /// [`RunError`] where this process or another one works on it, it was cancelled, it has no id, or the store gives no answer.
    pub fn begin_run(&self, id: &str, script: &str) -> Result<RunStart, RunError> {
        let (id, script, store) = (id.replace('\0', ""), script.replace('\0', ""), self.clone());
        if id.is_empty() {
            return Err(RunError::NoId);
        }
        self.on_connection(move |mut connection, shared| async move {
            begin(&shared, &mut connection, id, script, store).await
        })
    }

    /// All runs, the newest first.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn runs(&self) -> Result<Vec<RunRow>, QueryError> {
        self.on_connection(|mut connection, shared| async move {
            list(&mut connection, shared.dialect, 0, |holder| holder.is_alive(&shared)).await
        })
    }

    /// The run of this id and those of the ids that begin with it and a slash: the id of each, and its script as its starter named it.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn runs_of(&self, id: &str) -> Result<Vec<(String, String)>, QueryError> {
        let id = id.replace('\0', "");
        self.on_connection(move |mut connection, _| async move {
            let below = format!("{id}/");
            let statement = format!(
                "SELECT id, script FROM inflight_runs WHERE id = $1 OR substr(id, 1, {}) = $2 ORDER BY id",
                below.chars().count()
            );
            let rows = sqlx::query(safe(&statement))
                .bind(id)
                .bind(below)
                .fetch_all(&mut connection)
                .await?;
            let rows = rows.iter().map(|row| Ok((row.try_get("id")?, row.try_get("script")?)));
            Ok(rows.collect::<Result<_, sqlx::Error>>()?)
        })
    }

    /// Gives a run up: it does not go on, and what no process has taken to send is cancelled. Gives `false` where there is none that
    /// goes on.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn cancel_run(&self, id: &str) -> Result<bool, QueryError> {
        let id = id.to_owned();
        self.on_connection(move |mut connection, shared| async move {
            let now = shared.dialect.now();
            let mut transaction = connection.begin().await?;
            // Nobody's any more: a process that was silent for longer than its lease writes nothing more for it when it is heard again.
            let statement = format!(
                "UPDATE inflight_runs SET state = 'cancelled', ended_at = {now}, owner = NULL, lease_until = NULL \
                 WHERE id = $1 AND state = 'running'"
            );
            let ended = sqlx::query(safe(&statement)).bind(id.clone()).execute(&mut *transaction).await?;
            let statement = format!(
                "UPDATE inflight_requests SET state = 'cancelled', effect = 'none', error = 'cancelled', ended_at = {now}, \
                 outcome = $1 WHERE run = $2 AND state = 'queued' AND owner IS NULL"
            );
            sqlx::query(safe(&statement))
                .bind(crate::rows::cancelled_text())
                .bind(id.clone())
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            let is_cancelled = ended.rows_affected() > 0;
            if is_cancelled {
                shared.started.give_up(&id);
            }
            Ok(is_cancelled)
        })
    }

    /// Deletes runs that ended more than `older_than_ms` milliseconds ago, with their journals and their requests. A run stays as long as
    /// one of its requests has not ended or is in doubt. Gives how many runs.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn prune_runs(&self, older_than_ms: i64) -> Result<u64, QueryError> {
        self.on_connection(move |mut connection, shared| async move {
            let old = format!(
                "SELECT id FROM inflight_runs AS u WHERE state <> 'running' AND ended_at <= {} - {older_than_ms} \
                 AND NOT EXISTS (SELECT 1 FROM inflight_requests AS r WHERE r.run = u.id \
                 AND (r.state IN ('queued', 'sent') OR r.effect = 'unknown'))",
                shared.dialect.now()
            );
            let mut transaction = connection.begin().await?;
            for statement in [
                format!("DELETE FROM inflight_journal WHERE run IN ({old})"),
                format!("DELETE FROM inflight_requests WHERE run IN ({old})"),
            ] {
                sqlx::query(safe(&statement)).execute(&mut *transaction).await?;
            }
            let pruned = sqlx::query(safe(&format!("DELETE FROM inflight_runs WHERE id IN ({old})")))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(pruned.rows_affected())
        })
    }
}

/// At most so many runs, the newest first. 0 is all.
pub(crate) async fn list(
    connection: &mut AnyConnection,
    dialect: Dialect,
    limit: usize,
    is_alive: impl Fn(&Holder) -> bool,
) -> Result<Vec<RunRow>, QueryError> {
    let limit = if limit > 0 {
        format!(" LIMIT {limit}")
    } else {
        String::new()
    };
    let statement = format!(
        "SELECT id, script, state, owner, lease_until, starts, begun_at, ended_at, result, {} AS now, \
         (SELECT COUNT(*) FROM inflight_journal AS j WHERE j.run = u.id) AS journalled, \
         (SELECT COUNT(*) FROM inflight_requests AS r WHERE r.run = u.id) AS requests, \
         (SELECT COUNT(*) FROM inflight_requests AS r WHERE r.run = u.id AND r.state IN ('queued', 'sent')) AS pending \
         FROM inflight_runs AS u ORDER BY begun_at DESC, id{limit}",
        dialect.now()
    );
    let rows = sqlx::query(safe(&statement)).fetch_all(connection).await?;
    rows.iter().map(|row| Ok(run_row(row, &is_alive)?)).collect()
}

fn run_row(row: &AnyRow, is_alive: impl Fn(&Holder) -> bool) -> Result<RunRow, sqlx::Error> {
    let count = |name: &str| {
        row.try_get::<i64, _>(name)
            .map(|count| u64::try_from(count).unwrap_or(0))
    };
    let state = RunState::of(row.try_get("state")?);
    let holder = Holder::of(row)?;
    Ok(RunRow {
        script: row.try_get("script")?,
        state,
        is_alive: state == RunState::Running && is_alive(&holder),
        id: holder.run,
        starts: count("starts")?,
        begun_at: row.try_get("begun_at")?,
        ended_at: row.try_get("ended_at")?,
        result: row.try_get("result")?,
        journalled: count("journalled")?,
        requests: count("requests")?,
        pending: count("pending")?,
    })
}

/// Who has a run, as its row says at a moment.
pub(crate) struct Holder {
    run: String,
    starts: i64,
    pub(crate) owner: Option<String>,
    pub(crate) lease_until: Option<i64>,
    pub(crate) now: i64,
}

impl Holder {
    pub(crate) fn of(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            run: row.try_get("id")?,
            starts: row.try_get("starts")?,
            owner: row.try_get("owner")?,
            lease_until: row.try_get("lease_until")?,
            now: row.try_get("now")?,
        })
    }

    /// Whether it is this process.
    pub(crate) fn is_here(&self, shared: &Shared) -> bool {
        self.owner.as_deref() == Some(&shared.process)
    }

    /// Whether it may be at work on it. A file's owner before this process is gone, and of what this one has begun without knowing, as the
    /// answer was lost, it is not at work.
    pub(crate) fn is_alive(&self, shared: &Shared) -> bool {
        if self.is_here(shared) {
            return shared.started.has_start(&self.run, self.starts);
        }
        self.owner.is_some() && shared.is_shared() && self.lease_until.is_some_and(|until| until >= self.now)
    }
}
