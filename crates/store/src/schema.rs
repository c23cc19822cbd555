//! The tables, and how an older schema becomes the present one.
//!
//! A change only adds or permits: a process of the version before goes on beside one of this version, on the same tables.

use sqlx::{AnyConnection, Connection as _, Row as _};

use crate::OpenError;
use crate::database::{Dialect, execute};

/// The changes, the oldest first. `{serial}` is the dialect's own.
const MIGRATIONS: &[&[&str]] = &[FIRST, LISTED, KEYS];

/// What an operator looks for is found however much has gone well. Requests that go well are in neither index.
const LISTED: &[&str] = &[
    "CREATE INDEX inflight_requests_doubt ON inflight_requests (seq) WHERE effect = 'unknown'",
    "CREATE INDEX inflight_requests_failed ON inflight_requests (state, seq)
        WHERE state IN ('failed', 'timeout', 'cancelled')",
];

/// The same request may be there more than once under its key, which counts within a scope. See `append.rs`.
const KEYS: &[&str] = &[
    "ALTER TABLE inflight_requests ADD COLUMN key_scope TEXT",
    "DROP INDEX inflight_requests_key",
    "CREATE INDEX inflight_requests_keys ON inflight_requests (idempotency_key, account, mode)
        WHERE idempotency_key IS NOT NULL",
];

const FIRST: &[&str] = &[
    "CREATE TABLE inflight_requests (
        seq {serial},
        id TEXT NOT NULL UNIQUE,
        submitter TEXT NOT NULL,
        session BIGINT NOT NULL,
        run TEXT,
        task BIGINT,
        call BIGINT,
        account TEXT NOT NULL,
        mode TEXT NOT NULL,
        operation TEXT NOT NULL,
        method TEXT NOT NULL,
        path TEXT NOT NULL,
        request TEXT NOT NULL,
        fingerprint TEXT NOT NULL,
        idempotency_key TEXT,
        lane TEXT,
        priority BIGINT NOT NULL,
        created_at BIGINT NOT NULL,
        not_before BIGINT NOT NULL,
        deadline_ms BIGINT NOT NULL,
        key_sent_at BIGINT,
        state TEXT NOT NULL,
        owner TEXT,
        epoch BIGINT NOT NULL,
        lease_until BIGINT,
        attempts BIGINT NOT NULL,
        last_status BIGINT,
        server_request_id TEXT,
        replayed BIGINT,
        effect TEXT,
        error TEXT,
        outcome TEXT,
        ended_at BIGINT
    )",
    "CREATE UNIQUE INDEX inflight_requests_key ON inflight_requests (account, mode, idempotency_key)
        WHERE idempotency_key IS NOT NULL",
    "CREATE INDEX inflight_requests_free ON inflight_requests (mode, priority, seq)
        WHERE owner IS NULL AND state IN ('queued', 'sent')",
    "CREATE INDEX inflight_requests_held ON inflight_requests (owner, lease_until)
        WHERE owner IS NOT NULL AND state IN ('queued', 'sent')",
    "CREATE INDEX inflight_requests_lane ON inflight_requests (lane, seq)
        WHERE lane IS NOT NULL AND state IN ('queued', 'sent')",
    "CREATE INDEX inflight_requests_run ON inflight_requests (run, task, call) WHERE run IS NOT NULL",
    "CREATE INDEX inflight_requests_ended ON inflight_requests (ended_at) WHERE ended_at IS NOT NULL",
    "CREATE TABLE inflight_runs (
        id TEXT PRIMARY KEY,
        mode TEXT NOT NULL,
        script TEXT NOT NULL,
        state TEXT NOT NULL,
        owner TEXT,
        lease_until BIGINT,
        starts BIGINT NOT NULL,
        begun_at BIGINT NOT NULL,
        ended_at BIGINT,
        result TEXT
    )",
    "CREATE TABLE inflight_journal (
        run TEXT NOT NULL,
        position BIGINT NOT NULL,
        task BIGINT NOT NULL,
        call BIGINT NOT NULL,
        operation TEXT NOT NULL,
        arguments TEXT NOT NULL,
        answer TEXT NOT NULL,
        PRIMARY KEY (run, position)
    )",
    "CREATE TABLE inflight_pace (
        account TEXT PRIMARY KEY,
        tokens BIGINT NOT NULL,
        taken_at BIGINT NOT NULL,
        granted BIGINT NOT NULL
    )",
];

/// Which version of the schema this program knows.
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// The version of the schema in the database, 0 where there is none.
pub(crate) async fn version(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    execute(
        connection,
        "CREATE TABLE IF NOT EXISTS inflight_schema (version BIGINT PRIMARY KEY)",
    )
    .await?;
    newest(connection).await
}

/// The same without a table to be made for it.
pub(crate) async fn version_to_read(connection: &mut AnyConnection, dialect: Dialect) -> Result<i64, sqlx::Error> {
    let is_there = match dialect {
        Dialect::Sqlite => "SELECT COUNT(*) AS tables FROM sqlite_master WHERE name = 'inflight_schema'",
        Dialect::Postgres => "SELECT COUNT(to_regclass('inflight_schema')) AS tables",
    };
    let tables: i64 = sqlx::query(is_there)
        .fetch_one(&mut *connection)
        .await?
        .try_get("tables")?;
    if tables == 0 {
        return Ok(0);
    }
    newest(connection).await
}

async fn newest(connection: &mut AnyConnection) -> Result<i64, sqlx::Error> {
    let row = sqlx::query("SELECT COALESCE(MAX(version), 0) AS version FROM inflight_schema")
        .fetch_one(connection)
        .await?;
    row.try_get("version")
}

/// Brings the schema to this program's version. Gives the version that it had.
pub(crate) async fn migrate(connection: &mut AnyConnection, dialect: Dialect) -> Result<i64, OpenError> {
    let failed = |error| OpenError::of_database(error, dialect);
    let mut transaction = connection.begin().await.map_err(failed)?;
    if dialect == Dialect::Postgres {
        // Two processes that start together take turns; one creates the tables.
        execute(&mut transaction, "SELECT pg_advisory_xact_lock(7241093)")
            .await
            .map_err(failed)?;
    }
    let found = version(&mut transaction).await.map_err(failed)?;
    for (version, statements) in (1..).zip(MIGRATIONS).skip(usize::try_from(found).unwrap_or(0)) {
        for statement in *statements {
            let statement = statement.replace("{serial}", dialect.serial());
            execute(&mut transaction, statement).await.map_err(failed)?;
        }
        execute(
            &mut transaction,
            format!("INSERT INTO inflight_schema (version) VALUES ({version})"),
        )
        .await
        .map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    Ok(found)
}
