//! New rows on their way into the database.

use std::collections::{BTreeSet, HashMap, HashSet};

use inflight_core::{RequestId, StoreError, Written};
use serde_json::{Value, json};
use sqlx::AnyConnection;

use crate::database::Type;
use crate::notify::Notification;
use crate::orders::Writes;
use crate::rows::APPENDED;
use crate::statement::{fetch, ids, known, named};
use crate::store::{FIRST_EPOCH, Shared};
use crate::transaction::{Found, whose_runs};

/// In SQL: requests `b` that have the same key. Those that older programs wrote have no scope, nor has a key that was made for its request.
pub(crate) fn with_key_of(row: &str) -> String {
    format!(
        "FROM inflight_requests AS b WHERE b.account = {row}.account AND b.mode = {row}.mode \
         AND b.idempotency_key = {row}.idempotency_key AND (b.key_scope IS NULL OR b.key_scope = {row}.key_scope)"
    )
}

/// In SQL: whether a request `b` has done something, as far as is known.
pub(crate) const MAY_HAVE_ACTED: &str = "COALESCE(b.effect, 'unknown') <> 'none'";

/// In SQL: when the key of this row was first sent, with whatever request, for something that may have been done; `NULL` where it was not.
pub(crate) fn key_sent_at(row: &str) -> String {
    format!(
        "COALESCE({row}.key_sent_at, CASE WHEN {row}.idempotency_key <> {row}.id \
         THEN (SELECT MIN(b.key_sent_at) {} AND {MAY_HAVE_ACTED}) END)",
        with_key_of(row)
    )
}

/// How long the other side knows a key, in milliseconds.
pub(crate) fn key_lifetime(shared: &Shared) -> i64 {
    i64::try_from(shared.options.key_lifetime.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Rows to be written, all or none, and who waits for them.
pub(crate) struct Append {
    pub(crate) rows: Vec<(RequestId, Value)>,
    /// Those that this process holds from before they are written.
    pub(crate) held: Vec<RequestId>,
    pub(crate) done: Written,
}

impl Append {
    /// The first of its rows that is among these.
    pub(crate) fn refused(&self, refused: &HashSet<RequestId>) -> Option<RequestId> {
        self.rows.iter().map(|(id, _)| *id).find(|id| refused.contains(id))
    }

    /// Says how it went, after the commit.
    pub(crate) fn deliver(self, written: &Found, shared: &Shared) {
        if self.refused(&written.of_lost_runs).is_some() {
            let lost = "the run was cancelled, is another process's by now, or its journal could not be written";
            return self.refuse(StoreError::new(lost), shared);
        }
        match self.refused(&written.key_taken) {
            None => self.answer(Ok(()), shared),
            Some(id) => {
                let error = StoreError::key_taken(id, self.rows.len());
                self.refuse(error, shared);
            }
        }
    }

    pub(crate) fn refuse(self, error: StoreError, shared: &Shared) {
        for id in &self.held {
            shared.let_go(*id, FIRST_EPOCH);
        }
        self.answer(Err(error), shared);
    }

    fn answer(self, answer: Result<(), StoreError>, shared: &Shared) {
        (self.done)(answer);
        let mut appending = shared.appending();
        for (id, _) in &self.rows {
            appending.remove(id);
        }
    }
}

impl Writes {
    pub(crate) async fn append(
        &self,
        connection: &mut AnyConnection,
        shared: &Shared,
        written: &mut Found,
        notifications: &mut Vec<Notification>,
    ) -> Result<(), sqlx::Error> {
        let mut rows: Vec<_> = self.appends().flat_map(|append| &append.rows).collect();
        // What a process submits for a run that it has lost would be taken for what the run's next process asks for in the same place. So
        // would what follows an entry that is not in the journal.
        let whose = whose_runs(
            connection,
            shared,
            rows.iter().filter_map(|(_, row)| row["run"].as_str()),
        )
        .await?;
        let is_lost_run = |run: &str| whose.get(run) == Some(&false) || shared.started.is_cut(run);
        let is_lost = |row: &Value| row["run"].as_str().is_some_and(is_lost_run);
        let lost = rows.iter().filter(|(_, row)| is_lost(row)).map(|(id, _)| *id);
        written.of_lost_runs = lost.collect();
        rows.retain(|(id, _)| !written.of_lost_runs.contains(id));
        if rows.is_empty() {
            return Ok(());
        }
        if shared.is_shared() {
            lock_keys(connection, shared, &rows).await?;
        }
        let clashing = clashing(&rows);
        let (now, from) = (shared.dialect.now(), shared.dialect.rows(APPENDED));
        // One that the file belongs to alone sends what it appends; where it is shared, whoever claims it.
        let (owner, epoch) = if shared.is_shared() { ("NULL", 0) } else { ("$2", 1) };
        // The same request may be submitted again under its key, as long as the other side knows what it did under that.
        let allowed = if rows.iter().any(|(_, row)| given_key(row).is_some()) {
            format!(
                "x.key_scope IS NULL OR NOT EXISTS (SELECT 1 {} AND b.id <> x.rid AND (b.fingerprint <> x.fingerprint \
                 OR (b.key_sent_at <= clock.moment - {} AND {MAY_HAVE_ACTED})))",
                with_key_of("x"),
                key_lifetime(shared)
            )
        } else {
            "true".to_owned()
        };
        // Asked for once: of two moments the later one would lie ahead, should the clock be set back.
        let statement = format!(
            "INSERT INTO inflight_requests (id, submitter, session, run, task, call, account, mode, operation, method, path, \
             request, fingerprint, idempotency_key, key_scope, lane, priority, created_at, not_before, deadline_ms, state, \
             owner, epoch, attempts) SELECT rid, $2, session, run, task, call, account, mode, operation, method, path, request, \
             fingerprint, idempotency_key, key_scope, lane, priority, moment, moment, deadline_ms, 'queued', {owner}, {epoch}, 0 \
             FROM {from} CROSS JOIN (SELECT {now} AS moment) AS clock \
             WHERE {allowed} ON CONFLICT DO NOTHING RETURNING id"
        );
        let new = rows.iter().filter(|(id, _)| !clashing.contains(id));
        let new = new.map(|(_, row)| row);
        let inserted = ids(connection, shared.dialect, &statement, new, Some(&shared.process)).await?;
        if inserted.len() < rows.len() {
            let missing: Vec<_> = rows.iter().filter(|(id, _)| !inserted.contains(id)).collect();
            let known = known(connection, shared, missing.iter().map(|(_, row)| row)).await?;
            let ids = missing.into_iter().map(|(id, _)| *id);
            written.key_taken = ids.filter(|id| !known.contains(id)).collect();
            self.take_back(connection, shared, &written.key_taken, &inserted)
                .await?;
        }
        notifications.push(Notification::New);
        Ok(())
    }

    /// Deletes what was inserted with a row that was refused: all of an append is written or none.
    async fn take_back(
        &self,
        connection: &mut AnyConnection,
        shared: &Shared,
        refused: &HashSet<RequestId>,
        inserted: &HashSet<RequestId>,
    ) -> Result<(), sqlx::Error> {
        let beside: Vec<_> = self
            .appends()
            .filter(|append| append.refused(refused).is_some())
            .flat_map(|append| append.rows.iter().map(|(id, _)| *id))
            .filter(|id| inserted.contains(id))
            .collect();
        let from = shared.dialect.rows(&[("rid", Type::Text)]);
        let statement = format!("DELETE FROM inflight_requests WHERE id IN (SELECT x.rid FROM {from})");
        fetch(connection, shared.dialect, &statement, &named(&beside), None)
            .await
            .map(drop)
    }
}

/// What a given key counts for: account, mode, scope and the key itself. `None` for a key that was made for its request.
fn given_key(row: &Value) -> Option<[&str; 4]> {
    let scope = row["key_scope"].as_str()?;
    let text = |name: &str| row[name].as_str().unwrap_or_default();
    Some([text("account"), text("mode"), scope, text("idempotency_key")])
}

/// Rows whose key one before them in this transaction has for something else.
fn clashing(rows: &[&(RequestId, Value)]) -> HashSet<RequestId> {
    let mut used_for = HashMap::new();
    let mut clashing = HashSet::new();
    for (id, row) in rows {
        let Some(key) = given_key(row) else { continue };
        let content = row["fingerprint"].as_str();
        if *used_for.entry(key).or_insert(content) != content {
            clashing.insert(*id);
        }
    }
    clashing
}

/// How many locks there are for all keys: a server has a few thousand locks for everybody.
const KEY_LOCKS: u128 = 256;

/// Lets no other process write a row with one of these keys before this transaction has ended. All take their locks in one order.
async fn lock_keys(
    connection: &mut AnyConnection,
    shared: &Shared,
    rows: &[&(RequestId, Value)],
) -> Result<(), sqlx::Error> {
    let lock_of = |key: [&str; 4]| {
        let hash = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, key.join("\n").as_bytes());
        hash.as_u128() % KEY_LOCKS
    };
    let locks: BTreeSet<_> = rows.iter().filter_map(|(_, row)| given_key(row).map(lock_of)).collect();
    if locks.is_empty() {
        return Ok(());
    }
    let locks: Vec<_> = locks.into_iter().map(|lock| json!({"lock": lock as u64})).collect();
    let from = shared.dialect.rows(&[("lock", Type::Number)]);
    let statement = format!("SELECT COUNT(pg_advisory_xact_lock(7241094, x.lock::int)) AS locks FROM {from}");
    fetch(connection, shared.dialect, &statement, &locks, None)
        .await
        .map(drop)
}
