//! What an operator asks, and does by hand.

use inflight_core::{Effect, Failure, FailureKind, Kept, Outcome, RequestId, RequestStatus, Response, Success};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::append::{MAY_HAVE_ACTED, key_lifetime, with_key_of};
use crate::claim::KEYLESS_LIFETIME;
use crate::database::{Dialect, damage, execute};
use crate::encode::{outcome_text, priority_of};
use crate::rows::{KEPT, kept_of};
use crate::statement::safe;
use crate::{DurableStore, QueryError};

/// Which requests.
#[derive(Debug, Clone, Default)]
pub struct RequestFilter {
    /// The one with this id.
    pub id: Option<RequestId>,
    /// Those in this state: `queued`, `sent`, `completed`, `failed`, `timeout` or `cancelled`.
    pub state: Option<String>,
    /// Those with this effect: `none`, `done` or `unknown`.
    pub effect: Option<String>,
    /// Those of this operation.
    pub operation: Option<String>,
    /// Those of this run.
    pub run: Option<String>,
    /// At most so many, the newest first. 0 is all.
    pub limit: usize,
}

/// A request as an operator sees it. Without its parameters and its answer, which may hold what is nobody's business.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RequestRow {
    /// Its id.
    pub id: String,
    /// The run it belongs to.
    pub run: Option<String>,
    /// The credential's name.
    pub account: String,
    /// The operation's name.
    pub operation: String,
    /// The HTTP method.
    pub method: String,
    /// The path, without its query.
    pub path: String,
    /// `queued`, `sent`, `completed`, `failed`, `timeout` or `cancelled`.
    pub state: String,
    /// `none`, `done` or `unknown`, once it has ended.
    pub effect: Option<String>,
    /// The failure's kind.
    pub error: Option<String>,
    /// `high`, `normal` or `low`.
    pub priority: &'static str,
    /// How many attempts were made.
    pub attempts: u64,
    /// The last answer's HTTP status.
    pub last_status: Option<i64>,
    /// The other side's id of the last attempt.
    pub server_request_id: Option<String>,
    /// The process that has it.
    pub owner: Option<String>,
    /// When it was submitted, in milliseconds since 1970.
    pub created_at: i64,
    /// When it ended.
    pub ended_at: Option<i64>,
}

/// States and effects that have indexes of their own.
const INDEXED: [&str; 4] = ["failed", "timeout", "cancelled", "unknown"];

pub(crate) const COLUMNS: &str = "id, run, account, operation, method, path, state, effect, error, priority, attempts, last_status, \
     server_request_id, owner, created_at, ended_at";

pub(crate) fn request_row(row: &AnyRow) -> Result<RequestRow, sqlx::Error> {
    let attempts: i64 = row.try_get("attempts")?;
    Ok(RequestRow {
        id: row.try_get("id")?,
        run: row.try_get("run")?,
        account: row.try_get("account")?,
        operation: row.try_get("operation")?,
        method: row.try_get("method")?,
        path: row.try_get("path")?,
        state: row.try_get("state")?,
        effect: row.try_get("effect")?,
        error: row.try_get("error")?,
        priority: priority_of(row.try_get("priority")?).as_str(),
        attempts: u64::try_from(attempts).unwrap_or(0),
        last_status: row.try_get("last_status")?,
        server_request_id: row.try_get("server_request_id")?,
        owner: row.try_get("owner")?,
        created_at: row.try_get("created_at")?,
        ended_at: row.try_get("ended_at")?,
    })
}

impl DurableStore {
    /// The requests that the filter names, the newest first.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn requests(&self, filter: &RequestFilter) -> Result<Vec<RequestRow>, QueryError> {
        let filter = filter.clone();
        self.on_connection(move |mut connection, _| async move {
            let wanted = [
                ("id", filter.id.map(|id| id.to_string())),
                ("state", filter.state),
                ("effect", filter.effect),
                ("operation", filter.operation),
                ("run", filter.run),
            ];
            let mut statement = format!("SELECT {COLUMNS} FROM inflight_requests WHERE 1 = 1");
            let mut values = Vec::new();
            for (column, value) in wanted {
                if let Some(value) = value {
                    // An index of some rows only is used where the statement itself says that it is these.
                    if let Some(word) = INDEXED.iter().find(|word| **word == value) {
                        statement.push_str(&format!(" AND {column} = '{word}'"));
                        continue;
                    }
                    values.push(value);
                    statement.push_str(&format!(" AND {column} = ${}", values.len()));
                }
            }
            statement.push_str(" ORDER BY seq DESC");
            if filter.limit > 0 {
                statement.push_str(&format!(" LIMIT {}", filter.limit));
            }
            let mut query = sqlx::query(safe(&statement));
            for value in values {
                query = query.bind(value);
            }
            let rows = query.fetch_all(&mut connection).await?;
            rows.iter().map(|row| Ok(request_row(row)?)).collect()
        })
    }

    /// A request with all that is known of it, to be sent and read by programs.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer, or the row cannot be read.
    pub fn request(&self, id: RequestId) -> Result<Option<Kept>, QueryError> {
        self.on_connection(move |mut connection, shared| async move {
            let statement = format!(
                "SELECT {KEPT}, {} AS now FROM inflight_requests WHERE id = $1",
                shared.dialect.now()
            );
            let row = sqlx::query(safe(&statement))
                .bind(id.to_string())
                .fetch_optional(&mut connection)
                .await?;
            row.map(|row| Ok(kept_of(&row, row.try_get("now")?, &shared)?.0))
                .transpose()
        })
    }

    /// How many requests there are by state.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn counts(&self) -> Result<Vec<(String, u64)>, QueryError> {
        self.on_connection(|mut connection, _| async move {
            let rows =
                sqlx::query("SELECT state, COUNT(*) AS count FROM inflight_requests GROUP BY state ORDER BY state")
                    .fetch_all(&mut connection)
                    .await?;
            let count = |row: &AnyRow| {
                let count: i64 = row.try_get("count")?;
                Ok((row.try_get("state")?, u64::try_from(count).unwrap_or(0)))
            };
            rows.iter().map(count).collect()
        })
    }

    /// Cancels a request that nobody has begun to send. Gives whether it did.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn cancel_request(&self, id: RequestId) -> Result<bool, QueryError> {
        let set = "state = 'cancelled', effect = 'none', error = 'cancelled', outcome = $2";
        self.change(
            id,
            format!("{set}, ended_at = {{now}} WHERE id = $1 AND state = 'queued' AND owner IS NULL"),
            crate::rows::cancelled_text(),
        )
    }

    /// Has a request sent again that has ended: with its key where its effect is unknown, so that it is done once, and with a new one where
    /// it had no effect. Gives `false` where it has not ended, was carried out, is in doubt under a key that the other side may have
    /// forgotten or so long after without one, or had no effect and its key was used for it again since.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn retry_request(&self, id: RequestId) -> Result<bool, QueryError> {
        let lifetime = key_lifetime(&self.shared);
        let done_since = format!(
            "EXISTS (SELECT 1 {} AND b.id <> inflight_requests.id AND {MAY_HAVE_ACTED})",
            with_key_of("inflight_requests")
        );
        let key = new_key();
        let known_for = format!(
            "CASE WHEN idempotency_key IS NULL THEN {} ELSE {lifetime} END",
            KEYLESS_LIFETIME.as_millis()
        );
        let sent = "CASE WHEN effect = 'none' THEN NULL ELSE key_sent_at END";
        let attempts = "CASE WHEN effect = 'none' THEN 0 ELSE attempts END";
        // Its time begins anew, also in a process that is older than it: so does that of one that was claimed before.
        self.change(
            id,
            format!(
                "idempotency_key = {key}, key_sent_at = {sent}, attempts = {attempts}, \
                 state = CASE WHEN effect = 'none' THEN 'queued' ELSE 'sent' END, owner = NULL, lease_until = NULL, epoch = epoch + 1, \
                 outcome = NULL, error = NULL, effect = NULL, ended_at = NULL WHERE id = $1 AND ((effect = 'none' \
                 AND NOT {done_since}) OR (effect = 'unknown' AND (idempotency_key IS NOT NULL OR method IN ('GET', 'PUT', 'DELETE')) \
                 AND COALESCE(key_sent_at, 0) > {{now}} - {known_for})) AND outcome IS NOT NULL"
            ),
            new_suffix(),
        )
    }

    /// Says what someone has found out about a request whose effect was unknown: that it was carried out, with the object that came of it,
    /// or that it was not. Gives `false` where it was not in doubt.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn reconcile_request(&self, id: RequestId, carried_out: Option<&str>) -> Result<bool, QueryError> {
        let outcome: Outcome = match carried_out {
            Some(object) => Ok(Success {
                object_id: Some(object.into()),
                response: Response::new(200, serde_json::json!({"id": object}).to_string()),
            }),
            None => Err(Failure::new(
                FailureKind::Http,
                Effect::None,
                "someone has looked: the request was not carried out",
            )),
        };
        let (state, effect) = match &outcome {
            Ok(_) => (RequestStatus::Completed, Effect::Done),
            Err(_) => (RequestStatus::Failed, Effect::None),
        };
        self.change(
            id,
            format!(
                "state = '{}', effect = '{}', outcome = $2 WHERE id = $1 AND effect = 'unknown'",
                state.as_str(),
                effect.as_str()
            ),
            outcome_text(&outcome),
        )
    }

    fn change(&self, id: RequestId, change: String, parameter: String) -> Result<bool, QueryError> {
        self.on_connection(move |mut connection, shared| async move {
            let change = change.replace("{now}", &shared.dialect.now());
            let statement = format!("UPDATE inflight_requests SET {change}");
            let changed = sqlx::query(safe(&statement))
                .bind(id.to_string())
                .bind(parameter)
                .execute(&mut connection)
                .await?
                .rows_affected();
            if changed > 0 && shared.is_shared() {
                execute(&mut connection, "SELECT pg_notify('inflight_new', '')").await?;
            }
            Ok(changed > 0)
        })
    }

    /// What is wrong with the database's file, as far as it can tell. `None` for PostgreSQL, which looks after its own.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn check(&self) -> Result<Option<String>, QueryError> {
        self.on_connection(|mut connection, shared| async move {
            match shared.dialect {
                Dialect::Sqlite => Ok(damage(&mut connection).await?),
                Dialect::Postgres => Ok(None),
            }
        })
    }

    /// Gives the room of deleted rows back.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer.
    pub fn vacuum(&self) -> Result<(), QueryError> {
        self.on_connection(|mut connection, shared| async move {
            let statements: &[&str] = match shared.dialect {
                Dialect::Sqlite => &["VACUUM"],
                Dialect::Postgres => &[
                    "VACUUM inflight_requests",
                    "VACUUM inflight_journal",
                    "VACUUM inflight_runs",
                ],
            };
            for statement in statements {
                execute(&mut connection, *statement).await?;
            }
            Ok(())
        })
    }

    /// Writes a copy of a SQLite store to a file that does not exist yet, while the store is in use. `Ok(false)` for PostgreSQL, whose own
    /// `pg_dump` does that.
    ///
    /// # Errors
    /// [`QueryError`] where the copy cannot be written.
    pub fn back_up(&self, file: &std::path::Path) -> Result<bool, QueryError> {
        let file = file.display().to_string();
        self.on_connection(move |mut connection, shared| async move {
            if shared.dialect == Dialect::Postgres {
                return Ok(false);
            }
            sqlx::query("VACUUM INTO $1")
                .bind(file)
                .execute(&mut connection)
                .await?;
            Ok(true)
        })
    }
}

/// How many characters a key has at most: Stripe takes 255.
const LONGEST_KEY: usize = 255;

/// What makes a new key of an old one. As random as there is room for.
fn new_suffix() -> String {
    format!("/{}", &uuid::Uuid::new_v4().simple().to_string()[..8])
}

/// In SQL: the key of a request that is sent again, with the suffix that is the second parameter. In a key that would become too long it
/// takes the place of the end, which is that of an earlier one where there are many.
fn new_key() -> String {
    let kept = LONGEST_KEY - new_suffix().len();
    format!(
        "CASE WHEN effect = 'none' AND idempotency_key IS NOT NULL THEN substr(idempotency_key, 1, {kept}) || $2 ELSE idempotency_key END"
    )
}
