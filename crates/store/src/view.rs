//! A store to look at: nothing is written, whoever works on it meanwhile.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};
use tokio::runtime::Runtime;

use crate::database::{Dialect, Location};
use crate::encode::priority_of;
use crate::query::{COLUMNS, request_row};
use crate::runs::Holder;
use crate::statement::safe;
use crate::{OpenError, QueryError, RequestRow, RunRow, runs, schema};

/// How many requests that have not ended are listed, and how many of each kind that have.
const PENDING_LISTED: usize = 100;
const ENDED_LISTED: usize = 50;

/// How many runs are listed, the newest.
const RUNS_LISTED: usize = 50;

/// How many requests that have ended since the last look are given.
const ENDED_GIVEN: usize = 20_000;

/// How far back what failed is listed: however rare failures are, not all that ever ended is looked through.
const FAILED_WITHIN_MS: i64 = 24 * 3600 * 1000;

/// What ended so shortly ago is left to the next look: it may still be on its way to the disk.
const SETTLING_MS: i64 = 1000;

/// A store that can only be read, with all that any process has in it. A SQLite file may be another process's meanwhile.
///
/// Its methods block: they are not for a thread that drives an async runtime.
pub struct StoreView {
    location: Location,
    runtime: Runtime,
    connection: Option<AnyConnection>,
    /// Up to when endings were given.
    given_until: Option<i64>,
}

/// How many requests have this in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// The credential's name.
    pub account: String,
    /// Which of the other side's worlds they are for, such as `test`.
    pub mode: String,
    /// `queued`, `sent`, `completed`, `failed`, `timeout` or `cancelled`.
    pub state: String,
    /// `none`, `done` or `unknown`; empty where they have not ended.
    pub effect: String,
    /// The failure's kind; empty where there is none.
    pub error: String,
    /// How many.
    pub requests: u64,
    /// How many attempts they took beyond their first ones.
    pub retries: u64,
    /// How many were answered by repeating an earlier answer.
    pub replays: u64,
}

/// A process that has requests or runs of the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRow {
    /// Its name in the store.
    pub id: String,
    /// How many requests it has.
    pub requests: u64,
    /// How many of these are sent.
    pub sent: u64,
    /// How many runs it has.
    pub runs: u64,
    /// When its lease ends unless it renews it, in milliseconds since 1970. `None` for SQLite, which has no leases.
    pub lease_until: Option<i64>,
}

/// A request that has ended lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedRow {
    /// Whether it was carried out.
    pub is_completed: bool,
    /// How long it took from its submission, in milliseconds.
    pub took_ms: u64,
    /// How many attempts it took.
    pub attempts: u64,
}

/// What is in a store at one moment.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The moment by the store's own clock, in milliseconds since 1970.
    pub now: i64,
    /// All requests, by what they have in common.
    pub totals: Vec<Total>,
    /// How many are queued by priority, the most urgent first.
    pub queued: [u64; 3],
    /// How many are sent and belong to a process.
    pub in_flight: u64,
    /// How many were sent by a process that is gone, and wait for another one.
    pub waiting: u64,
    /// The processes that have something.
    pub processes: Vec<ProcessRow>,
    /// The newest runs. On SQLite every run that goes on counts as alive: only its process knows better.
    pub runs: Vec<RunRow>,
    /// How many runs there are by state.
    pub run_counts: Vec<(String, u64)>,
    /// The oldest requests that have not ended.
    pub pending: Vec<RequestRow>,
    /// The last ones that failed within a day, the latest first.
    pub failed: Vec<RequestRow>,
    /// The last ones that were carried out, the latest first.
    pub completed: Vec<RequestRow>,
    /// Those that have ended since the last look, up to a second ago.
    pub ended: Vec<EndedRow>,
}

impl StoreView {
    /// Opens `sqlite:FILE` or `postgres://USER:PASSWORD@HOST/DATABASE` to be read. Blocks until that is done.
    ///
    /// # Errors
    /// [`OpenError`] where there is no such store, it cannot be reached, or its tables are older than this program.
    pub fn open(url: &str) -> Result<Self, OpenError> {
        let location = Location::parse(url)?;
        if matches!(&location, Location::Sqlite(file) if !file.exists()) {
            return Err(OpenError::Missing);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(OpenError::Thread)?;
        let dialect = location.dialect();
        let opened = runtime.block_on(async {
            let mut connection = location.connect_to_read().await?;
            let found = schema::version_to_read(&mut connection, dialect).await?;
            Ok((connection, found))
        });
        let (connection, found) = opened.map_err(|error| OpenError::of_database(error, dialect))?;
        // A newer program's only have more in them.
        if found < schema::VERSION {
            let known = schema::VERSION;
            return Err(OpenError::Schema { found, known });
        }
        Ok(Self {
            location,
            runtime,
            connection: Some(connection),
            given_until: None,
        })
    }

    /// Looks at all of the store. Takes as long as counting every row does.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer. The next look connects anew.
    pub fn look(&mut self) -> Result<Overview, QueryError> {
        let (location, given_until) = (&self.location, self.given_until);
        let connection = self.connection.take();
        let (overview, connection) = self.runtime.block_on(async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => location.connect_to_read().await?,
            };
            let overview = look(&mut connection, location.dialect(), given_until).await?;
            Ok::<_, QueryError>((overview, connection))
        })?;
        self.connection = Some(connection);
        self.given_until = Some(overview.now - SETTLING_MS);
        Ok(overview)
    }
}

impl std::fmt::Debug for StoreView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreView")
            .field("address", &self.location)
            .finish_non_exhaustive()
    }
}

async fn look(
    connection: &mut AnyConnection,
    dialect: Dialect,
    given_until: Option<i64>,
) -> Result<Overview, QueryError> {
    let now: i64 = rows(connection, &format!("SELECT {} AS now", dialect.now()))
        .await?
        .first()
        .map_or(Ok(0), |row| row.try_get("now"))?;
    let (queued, in_flight, waiting) = open_counts(connection).await?;
    let until = now - SETTLING_MS;
    let since = given_until.unwrap_or(until);
    let ended_lately = format!(
        "SELECT state, ended_at - created_at AS took, attempts FROM inflight_requests WHERE ended_at > {since} \
         AND ended_at <= {until} ORDER BY ended_at DESC LIMIT {ENDED_GIVEN}"
    );
    // A lease that is over is another's to take, not a sign of work.
    let is_alive = |holder: &Holder| {
        let is_over = |until: i64| until < holder.now;
        holder.owner.is_some() && (dialect == Dialect::Sqlite || !holder.lease_until.is_some_and(is_over))
    };
    let day = now - FAILED_WITHIN_MS;
    Ok(Overview {
        now,
        totals: totals(connection).await?,
        queued,
        in_flight,
        waiting,
        processes: processes(connection, dialect).await?,
        runs: runs::list(connection, dialect, RUNS_LISTED, is_alive).await?,
        run_counts: run_counts(connection).await?,
        pending: requests(
            connection,
            &format!("state IN ('queued', 'sent') ORDER BY seq LIMIT {PENDING_LISTED}"),
        )
        .await?,
        failed: requests(
            connection,
            &format!("state IN ('failed', 'timeout') AND ended_at > {day} ORDER BY ended_at DESC LIMIT {ENDED_LISTED}"),
        )
        .await?,
        completed: requests(
            connection,
            &format!("state = 'completed' AND ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT {ENDED_LISTED}"),
        )
        .await?,
        ended: rows(connection, &ended_lately)
            .await?
            .iter()
            .map(ended_row)
            .collect::<Result<_, _>>()?,
    })
}

async fn rows(connection: &mut AnyConnection, statement: &str) -> Result<Vec<AnyRow>, sqlx::Error> {
    sqlx::query(safe(statement))
        .persistent(false)
        .fetch_all(connection)
        .await
}

fn number(row: &AnyRow, name: &str) -> Result<u64, sqlx::Error> {
    Ok(u64::try_from(row.try_get::<i64, _>(name)?).unwrap_or(0))
}

async fn requests(connection: &mut AnyConnection, which: &str) -> Result<Vec<RequestRow>, sqlx::Error> {
    let statement = format!("SELECT {COLUMNS} FROM inflight_requests WHERE {which}");
    rows(connection, &statement).await?.iter().map(request_row).collect()
}

fn ended_row(row: &AnyRow) -> Result<EndedRow, sqlx::Error> {
    let state: String = row.try_get("state")?;
    Ok(EndedRow {
        is_completed: state == "completed",
        took_ms: number(row, "took")?,
        attempts: number(row, "attempts")?,
    })
}

async fn totals(connection: &mut AnyConnection) -> Result<Vec<Total>, sqlx::Error> {
    let statement = "SELECT account, mode, state, COALESCE(effect, '') AS effect, COALESCE(error, '') AS error, \
         COUNT(*) AS requests, CAST(SUM(CASE WHEN attempts > 1 THEN attempts - 1 ELSE 0 END) AS BIGINT) AS retries, \
         CAST(SUM(COALESCE(replayed, 0)) AS BIGINT) AS replays FROM inflight_requests GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5";
    let total = |row: &AnyRow| {
        Ok(Total {
            account: row.try_get("account")?,
            mode: row.try_get("mode")?,
            state: row.try_get("state")?,
            effect: row.try_get("effect")?,
            error: row.try_get("error")?,
            requests: number(row, "requests")?,
            retries: number(row, "retries")?,
            replays: number(row, "replays")?,
        })
    };
    rows(connection, statement).await?.iter().map(total).collect()
}

/// What is queued by priority, what is sent and whose, and what is sent and nobody's.
async fn open_counts(connection: &mut AnyConnection) -> Result<([u64; 3], u64, u64), sqlx::Error> {
    let statement = "SELECT state, priority, CASE WHEN owner IS NULL THEN 0 ELSE 1 END AS owned, COUNT(*) AS requests \
         FROM inflight_requests WHERE state IN ('queued', 'sent') GROUP BY 1, 2, 3";
    let (mut queued, mut in_flight, mut waiting) = ([0; 3], 0, 0);
    for row in rows(connection, statement).await? {
        let (state, requests): (String, u64) = (row.try_get("state")?, number(&row, "requests")?);
        let place = match (state.as_str(), row.try_get::<i64, _>("owned")?) {
            ("queued", _) => &mut queued[priority_of(row.try_get("priority")?) as usize],
            (_, 0) => &mut waiting,
            _ => &mut in_flight,
        };
        *place += requests;
    }
    Ok((queued, in_flight, waiting))
}

async fn processes(connection: &mut AnyConnection, dialect: Dialect) -> Result<Vec<ProcessRow>, sqlx::Error> {
    let statement = "SELECT owner, CAST(SUM(requests) AS BIGINT) AS requests, CAST(SUM(sent) AS BIGINT) AS sent, \
         CAST(SUM(runs) AS BIGINT) AS runs, MAX(lease_until) AS lease_until FROM (\
         SELECT owner, 1 AS requests, CASE WHEN state = 'sent' THEN 1 ELSE 0 END AS sent, 0 AS runs, lease_until \
         FROM inflight_requests WHERE owner IS NOT NULL AND state IN ('queued', 'sent') UNION ALL \
         SELECT owner, 0, 0, 1, lease_until FROM inflight_runs WHERE owner IS NOT NULL AND state = 'running') AS held \
         GROUP BY owner ORDER BY owner";
    let process = |row: &AnyRow| {
        Ok(ProcessRow {
            id: row.try_get("owner")?,
            requests: number(row, "requests")?,
            sent: number(row, "sent")?,
            runs: number(row, "runs")?,
            // A file's only process does not renew what it has written there.
            lease_until: match dialect {
                Dialect::Sqlite => None,
                Dialect::Postgres => row.try_get("lease_until")?,
            },
        })
    };
    rows(connection, statement).await?.iter().map(process).collect()
}

async fn run_counts(connection: &mut AnyConnection) -> Result<Vec<(String, u64)>, sqlx::Error> {
    let statement = "SELECT state, COUNT(*) AS runs FROM inflight_runs GROUP BY state ORDER BY state";
    let count = |row: &AnyRow| Ok((row.try_get("state")?, number(row, "runs")?));
    rows(connection, statement).await?.iter().map(count).collect()
}
