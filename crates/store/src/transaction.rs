//! One group commit: everything that was asked for since the last one, in one transaction.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use inflight_core::{RequestId, StoreError, Written};
use serde_json::{Value, json};
use sqlx::{AnyConnection, Connection as _, Row as _};

use crate::append::{key_lifetime, key_sent_at};
use crate::database::{Dialect, Type};
use crate::notify::{Notification, notify};
use crate::orders::{Order, Writes};
use crate::pace::{self, Granted};
use crate::rows::{ENDED, id_of};
use crate::runs::RunShared;
use crate::statement::{fetch, ids};
use crate::store::Shared;

/// An attempt that is about to leave.
pub(crate) struct Sent {
    pub(crate) id: RequestId,
    pub(crate) epoch: i64,
    pub(crate) account: String,
    pub(crate) attempt: u32,
    pub(crate) done: Written,
}

/// A request that has ended.
pub(crate) struct Ended {
    pub(crate) id: RequestId,
    pub(crate) epoch: i64,
    pub(crate) row: Value,
    pub(crate) done: Written,
}

/// A request that this process's worker has given up.
pub(crate) struct Left {
    pub(crate) id: RequestId,
    pub(crate) epoch: i64,
}

/// An entry of a run's journal.
pub(crate) struct Journalled {
    pub(crate) run: Arc<RunShared>,
    pub(crate) row: Value,
}

/// What a transaction has found out. It counts once it is committed.
#[derive(Default)]
pub(crate) struct Found {
    /// Rows that were refused: their key may not be used for them.
    pub(crate) key_taken: HashSet<RequestId>,
    /// Rows that were refused: their run does not go on here.
    pub(crate) of_lost_runs: HashSet<RequestId>,
    sent: HashSet<RequestId>,
    /// Requests that may not be sent: their key is too old.
    too_old: HashSet<RequestId>,
    /// Sent requests whose account has no tokens left, and when it will have.
    granted: Granted,
    ended: HashSet<RequestId>,
    cancelled: Vec<RequestId>,
}

/// A transaction that did not go through.
pub(crate) struct Failed {
    pub(crate) error: sqlx::Error,
    /// Whether it may have been committed all the same.
    pub(crate) is_ambiguous: bool,
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self {
            error,
            is_ambiguous: false,
        }
    }
}

impl Writes {
    /// Writes everything. A batch may be written twice: what is written already stays as it is.
    pub(crate) async fn write(&self, connection: &mut AnyConnection, shared: &Shared) -> Result<Found, Failed> {
        let begin = match shared.dialect {
            Dialect::Sqlite => "BEGIN IMMEDIATE",
            // Whoever waits for a lock has to see what the one before has written.
            Dialect::Postgres => "BEGIN ISOLATION LEVEL READ COMMITTED",
        };
        let mut written = Found::default();
        if let Some(pace) = shared.options.pace {
            written.granted = pace::take(connection, shared.dialect, pace, self.sents()).await?;
        }
        let mut transaction = connection.begin_with(begin).await?;
        let mut notifications = Vec::new();
        self.append(&mut transaction, shared, &mut written, &mut notifications)
            .await?;
        self.journal(&mut transaction, shared).await?;
        self.send(&mut transaction, shared, &mut written).await?;
        self.end(&mut transaction, shared, &mut written, &mut notifications)
            .await?;
        self.settle(&mut transaction, shared).await?;
        self.cancel(&mut transaction, shared, &mut written, &mut notifications)
            .await?;
        self.free(&mut transaction, shared, &mut notifications).await?;
        self.release(&mut transaction, shared).await?;
        if shared.dialect == Dialect::Postgres {
            notify(&mut transaction, notifications).await?;
        }
        transaction.commit().await.map_err(|error| Failed {
            error,
            is_ambiguous: true,
        })?;
        Ok(written)
    }

    async fn journal(&self, connection: &mut AnyConnection, shared: &Shared) -> Result<(), sqlx::Error> {
        let runs = self.journalled().map(|entry| entry.run.id());
        let whose = whose_runs(connection, shared, runs).await?;
        let is_ours = |entry: &&Journalled| whose.get(entry.run.id()).is_some_and(|ours| *ours);
        let (ours, lost): (Vec<_>, Vec<_>) = self.journalled().partition(is_ours);
        for entry in lost {
            entry.run.note_loss();
        }
        let from = shared.dialect.rows(JOURNALLED);
        let statement = format!(
            "INSERT INTO inflight_journal (run, position, task, call, operation, arguments, answer) \
             SELECT run, position, task, call, operation, arguments, answer FROM {from} WHERE true ON CONFLICT DO NOTHING"
        );
        let rows = ours.iter().filter(|entry| !entry.run.is_cut()).map(|entry| &entry.row);
        fetch(connection, shared.dialect, &statement, rows, None)
            .await
            .map(drop)
    }

    async fn send(
        &self,
        connection: &mut AnyConnection,
        shared: &Shared,
        written: &mut Found,
    ) -> Result<(), sqlx::Error> {
        let granted: Vec<_> = self.sents().filter(|sent| written.granted.allows(sent.id)).collect();
        if granted.is_empty() {
            return Ok(());
        }
        let (now, from) = (shared.dialect.now(), shared.dialect.rows(SENT));
        let (sent_at, lifetime) = (key_sent_at("r"), key_lifetime(shared));
        let is_ours =
            "r.id = x.rid AND (r.owner || '') = $2 AND r.epoch = x.at_epoch AND r.state IN ('queued', 'sent')";
        // The key may have been sent long ago, with this request or an earlier one, and the other side may have forgotten it since: this
        // machine may have slept, or the database have been away.
        let is_fresh = format!("(r.idempotency_key IS NULL OR COALESCE({sent_at}, {now}) >= {now} - {lifetime})");
        let statement = format!(
            "UPDATE inflight_requests AS r SET state = 'sent', attempts = x.attempt, key_sent_at = COALESCE({sent_at}, {now}) \
             FROM {from} WHERE {is_ours} AND {is_fresh} RETURNING id"
        );
        let rows: Vec<_> = granted
            .iter()
            .map(|sent| json!({"rid": sent.id.to_string(), "at_epoch": sent.epoch, "attempt": sent.attempt}))
            .collect();
        written.sent = ids(connection, shared.dialect, &statement, &rows, Some(&shared.process)).await?;
        if written.sent.len() < rows.len() {
            let statement =
                format!("SELECT id FROM inflight_requests AS r JOIN {from} ON {is_ours} WHERE NOT {is_fresh}");
            written.too_old = ids(connection, shared.dialect, &statement, &rows, Some(&shared.process)).await?;
        }
        Ok(())
    }

    async fn end(
        &self,
        connection: &mut AnyConnection,
        shared: &Shared,
        written: &mut Found,
        notifications: &mut Vec<Notification>,
    ) -> Result<(), sqlx::Error> {
        if self.endeds().next().is_none() {
            return Ok(());
        }
        let (now, from) = (shared.dialect.now(), shared.dialect.rows(ENDED));
        let set = "state = x.new_state, effect = x.new_effect, error = x.new_error, outcome = x.new_outcome, \
                   last_status = x.new_status, server_request_id = x.new_request_id, replayed = x.new_replayed";
        // Whether another request of its lane has waited for it, which whoever claims has to be told.
        let followed = match shared.dialect {
            Dialect::Sqlite => "0",
            Dialect::Postgres => {
                "CASE WHEN lane IS NOT NULL AND EXISTS (SELECT 1 FROM inflight_requests AS b WHERE b.lane = r.lane \
                 AND b.seq <> r.seq AND b.state IN ('queued', 'sent')) THEN 1::bigint ELSE 0 END"
            }
        };
        // Ended already by this process: the answer to that was lost on its way here.
        let statement = format!(
            "UPDATE inflight_requests AS r SET {set}, ended_at = COALESCE(ended_at, {now}), lease_until = NULL \
             FROM {from} WHERE r.id = x.rid AND (r.owner || '') = $2 AND r.epoch = x.at_epoch \
             AND (r.state IN ('queued', 'sent') OR r.state = x.new_state) RETURNING id, submitter, {followed} AS followed"
        );
        let rows = self.endeds().map(|ended| &ended.row);
        for row in fetch(connection, shared.dialect, &statement, rows, Some(&shared.process)).await? {
            let (id, submitter): (String, String) = (row.try_get("id")?, row.try_get("submitter")?);
            if submitter != shared.process {
                notifications.push(Notification::Ended(submitter, id.clone()));
            }
            if row.try_get::<i64, _>("followed")? > 0 {
                notifications.push(Notification::New);
            }
            written.ended.extend(id_of(&id));
        }
        Ok(())
    }

    async fn settle(&self, connection: &mut AnyConnection, shared: &Shared) -> Result<(), sqlx::Error> {
        if self.settleds().next().is_none() {
            return Ok(());
        }
        let from = shared.dialect.rows(ENDED);
        let statement = format!(
            "UPDATE inflight_requests AS r SET state = x.new_state, effect = x.new_effect, error = x.new_error, \
             outcome = x.new_outcome FROM {from} WHERE r.id = x.rid AND r.effect = 'unknown'"
        );
        let rows = self.settleds().map(|settled| &settled.row);
        fetch(connection, shared.dialect, &statement, rows, None)
            .await
            .map(drop)
    }

    async fn cancel(
        &self,
        connection: &mut AnyConnection,
        shared: &Shared,
        written: &mut Found,
        notifications: &mut Vec<Notification>,
    ) -> Result<(), sqlx::Error> {
        if self.cancels().next().is_none() {
            return Ok(());
        }
        let (now, from) = (shared.dialect.now(), shared.dialect.rows(&[("rid", Type::Text)]));
        // A file's only process asks what it has in its own queue: of what is cancelled here it does not write that it sends it. What is a
        // run's is cancelled only by whoever has the run.
        let is_nobodys = if shared.is_shared() {
            // The process's name is made here, of letters and digits.
            format!(
                "AND r.owner IS NULL AND (r.run IS NULL OR EXISTS (SELECT 1 FROM inflight_runs AS u \
                 WHERE u.id = r.run AND u.owner = '{}'))",
                shared.process
            )
        } else {
            String::new()
        };
        let statement = format!(
            "UPDATE inflight_requests AS r SET state = 'cancelled', effect = 'none', error = 'cancelled', ended_at = {now}, \
             outcome = $2 FROM {from} WHERE r.id = x.rid AND r.state = 'queued' {is_nobodys} RETURNING id, submitter"
        );
        let rows: Vec<_> = self.cancels().map(|id| json!({"rid": id.to_string()})).collect();
        for row in fetch(
            connection,
            shared.dialect,
            &statement,
            &rows,
            Some(&crate::rows::cancelled_text()),
        )
        .await?
        {
            let (id, submitter): (String, String) = (row.try_get("id")?, row.try_get("submitter")?);
            if submitter == shared.process || !shared.is_shared() {
                written.cancelled.extend(id_of(&id));
            } else {
                notifications.push(Notification::Ended(submitter, id));
            }
        }
        Ok(())
    }

    /// Whoever has room may have them from now on.
    async fn free(
        &self,
        connection: &mut AnyConnection,
        shared: &Shared,
        notifications: &mut Vec<Notification>,
    ) -> Result<(), sqlx::Error> {
        if self.lefts().next().is_none() {
            return Ok(());
        }
        let from = shared.dialect.rows(&[("rid", Type::Text), ("at_epoch", Type::Number)]);
        let statement = format!(
            "UPDATE inflight_requests AS r SET owner = NULL, lease_until = NULL FROM {from} \
             WHERE r.id = x.rid AND (r.owner || '') = $2 AND r.epoch = x.at_epoch AND r.state IN ('queued', 'sent')"
        );
        let rows: Vec<_> = self
            .lefts()
            .map(|left| json!({"rid": left.id.to_string(), "at_epoch": left.epoch}))
            .collect();
        fetch(connection, shared.dialect, &statement, &rows, Some(&shared.process)).await?;
        notifications.push(Notification::New);
        Ok(())
    }

    async fn release(&self, connection: &mut AnyConnection, shared: &Shared) -> Result<(), sqlx::Error> {
        if self.releases().next().is_none() {
            return Ok(());
        }
        let from = shared.dialect.rows(&[("rid", Type::Text), ("at_start", Type::Number)]);
        let statement = format!(
            "UPDATE inflight_runs AS u SET owner = NULL, lease_until = NULL FROM {from} \
             WHERE u.id = x.rid AND u.owner = $2 AND u.starts = x.at_start AND u.state = 'running'"
        );
        let rows: Vec<_> = self.releases().map(|run| run.named()).collect();
        fetch(connection, shared.dialect, &statement, &rows, Some(&shared.process))
            .await
            .map(drop)
    }

    /// Tells everyone how it went, after the commit. What has to wait for its account's pace is given back.
    pub(crate) fn deliver(self, written: Found, shared: &Shared) -> Vec<Sent> {
        let mut waiting = Vec::new();
        for order in self.0 {
            match order {
                Order::Append(append) => append.deliver(&written, shared),
                Order::Sent(sent) if !written.granted.allows(sent.id) => waiting.push(sent),
                Order::Sent(sent) => sent.deliver(&written, shared),
                Order::Ended(ended) => {
                    let is_ours = written.ended.contains(&ended.id);
                    if is_ours {
                        shared.let_go(ended.id, ended.epoch);
                    } else {
                        shared.lose(ended.id, ended.epoch);
                    }
                    (ended.done)(if is_ours { Ok(()) } else { Err(StoreError::lost()) });
                }
                Order::Settled(settled) => (settled.done)(Ok(())),
                Order::Release(run) => shared.started.remove(&run),
                Order::Journal(_) | Order::Cancel(_) | Order::Left(_) => {}
            }
        }
        if !written.sent.is_empty() {
            shared.room.notify_one();
        }
        shared.learn_cancelled(written.cancelled);
        waiting
    }
}

impl Sent {
    fn deliver(self, written: &Found, shared: &Shared) {
        if written.sent.contains(&self.id) {
            (self.done)(Ok(()));
        } else if written.too_old.contains(&self.id) {
            (self.done)(Err(StoreError::key_taken(self.id, 1)));
        } else {
            shared.lose(self.id, self.epoch);
            (self.done)(Err(StoreError::lost()));
        }
    }
}

/// Which of these runs there are, and whether they are still this process's. Nobody takes one over before this transaction ends. One that
/// this process has started and that is not there any more is nobody's.
pub(crate) async fn whose_runs<'a>(
    connection: &mut AnyConnection,
    shared: &Shared,
    runs: impl Iterator<Item = &'a str>,
) -> Result<HashMap<String, bool>, sqlx::Error> {
    let named: HashSet<&str> = runs.collect();
    if named.is_empty() || !shared.is_shared() {
        return Ok(named.into_iter().map(|id| (id.to_owned(), true)).collect());
    }
    let from = shared.dialect.rows(&[("rid", Type::Text)]);
    let statement = format!(
        "SELECT u.id AS id, CASE WHEN u.owner = $2 THEN 1::bigint ELSE 0 END AS ours \
         FROM inflight_runs AS u JOIN {from} ON u.id = x.rid FOR SHARE OF u"
    );
    let rows: Vec<_> = named.iter().map(|id| json!({"rid": id})).collect();
    let rows = fetch(connection, shared.dialect, &statement, &rows, Some(&shared.process)).await?;
    let gone = named.into_iter().filter(|id| shared.started.has(id));
    let mut whose: HashMap<_, _> = gone.map(|id| (id.to_owned(), false)).collect();
    for row in rows {
        whose.insert(row.try_get("id")?, row.try_get::<i64, _>("ours")? > 0);
    }
    Ok(whose)
}

pub(crate) const JOURNALLED: &[(&str, Type)] = &[
    ("run", Type::Text),
    ("position", Type::Number),
    ("task", Type::Number),
    ("call", Type::Number),
    ("operation", Type::Text),
    ("arguments", Type::Text),
    ("answer", Type::Text),
];

const SENT: &[(&str, Type)] = &[
    ("rid", Type::Text),
    ("at_epoch", Type::Number),
    ("attempt", Type::Number),
];
