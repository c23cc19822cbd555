//! Group commit: whatever was asked for while the last commit was on its way to the disk is written with the next one.

use std::sync::Arc;
use std::time::Duration;

use inflight_core::StoreError;
use sqlx::{AnyConnection, Connection as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;

use crate::orders::{Order, Writes};
use crate::store::Shared;
use crate::transaction::Sent;

/// What one transaction takes at most.
const MOST_ORDERS: usize = 1024;

/// How long one try to reach the database takes at most.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long one transaction takes at most: after that the connection is taken for lost.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Pauses between two tries while the database is away or full.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How soon what waits for its account's pace is tried again.
const PACE_PAUSE: Duration = Duration::from_millis(20);

/// The one task that writes.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    orders: UnboundedReceiver<Order>,
    connection: Option<AnyConnection>,
    /// Attempts that wait for their account's pace.
    paced: Vec<Sent>,
    /// What has come while an earlier batch was not known to be written.
    later: Writes,
    /// Its sender goes with the store's last handle.
    closed: watch::Receiver<()>,
}

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        orders: UnboundedReceiver<Order>,
        connection: AnyConnection,
        closed: watch::Receiver<()>,
    ) -> Self {
        Self {
            shared,
            orders,
            connection: Some(connection),
            paced: Vec::new(),
            later: Writes::default(),
            closed,
        }
    }

    /// Whether the store's last handle is gone.
    fn is_closed(&self) -> bool {
        self.closed.has_changed().is_err()
    }

    /// Writes until the store is closed, and then what is left.
    pub(crate) async fn run(mut self) {
        loop {
            let mut batch = std::mem::take(&mut self.later);
            if batch.is_empty() && self.orders.is_empty() {
                if self.is_closed() {
                    return self.close().await;
                }
                tokio::select! {
                    _ = self.closed.changed() => {}
                    order = self.orders.recv() => match order {
                        Some(order) => batch.push(order),
                        None => return self.close().await,
                    },
                    () = tokio::time::sleep(PACE_PAUSE), if !self.paced.is_empty() => {}
                }
            }
            self.collect(&mut batch);
            batch.put_first(&mut self.paced);
            if !batch.is_empty() {
                self.write(batch).await;
            }
        }
    }

    /// What this process has not ended is the next one's, at once.
    async fn close(&mut self) {
        for sent in self.paced.drain(..) {
            (sent.done)(Err(StoreError::lost()));
        }
        let Some(connection) = &mut self.connection else { return };
        let release = "UPDATE inflight_requests SET owner = NULL, lease_until = NULL \
                       WHERE owner = $1 AND state IN ('queued', 'sent')";
        let release = sqlx::query(release)
            .bind(self.shared.process.clone())
            .execute(connection);
        let _ = tokio::time::timeout(CONNECT_TIMEOUT, release).await;
        // SQLite's file is whole by itself then.
        if let Some(connection) = self.connection.take() {
            let _ = tokio::time::timeout(CONNECT_TIMEOUT, connection.close()).await;
        }
    }

    /// Takes what has been asked for meanwhile.
    fn collect(&mut self, batch: &mut Writes) {
        for _ in 0..MOST_ORDERS {
            match self.orders.try_recv() {
                Ok(order) => batch.push(order),
                Err(_) => return,
            }
        }
    }

    /// Writes a batch. Where the database does not take what one of its orders says, only that one is refused.
    async fn write(&mut self, batch: Writes) {
        let Some((batch, _)) = self.write_together(batch, false).await else {
            return;
        };
        for order in batch.0 {
            if let Some((single, error)) = self.write_together(Writes(vec![order]), true).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the store does not take what it was to write"
                );
                for order in single.0 {
                    order.refuse(&error, &self.shared);
                }
            }
        }
    }

    /// Writes a batch. While the database is away, those that submit are told so at once, and all else is kept until it is back.
    ///
    /// Gives it back, with the error, where it says something that the database does not take. What comes meanwhile is not added to one
    /// that is `closed`.
    async fn write_together(&mut self, mut batch: Writes, closed: bool) -> Option<(Writes, sqlx::Error)> {
        let mut pause = SHORTEST_PAUSE;
        let mut may_be_written = false;
        let mut is_first = true;
        loop {
            let error = match self.attempt(&batch).await {
                // Of two that waited for each other the database has chosen this one: it goes again at once.
                Err(failed) if is_conflict(&failed.error) => continue,
                Ok(found) => {
                    self.paced.append(&mut batch.deliver(found, &self.shared));
                    return None;
                }
                Err(failed) if is_about_content(&failed.error) => return Some((batch, failed.error)),
                Err(failed) => {
                    // A row that may be there must not be called refused: it is written again, which finds out.
                    may_be_written |= failed.is_ambiguous;
                    failed.error
                }
            };
            if std::mem::take(&mut is_first) && !self.is_closed() {
                // A connection that has been lost is not a database that is away.
                continue;
            }
            tracing::warn!(error = &error as &dyn std::error::Error, "the store could not write");
            if !may_be_written {
                batch.refuse_new(&error, &self.shared);
            }
            // Closed, it owes no more than that one try: what it has not written is the next process's.
            if batch.is_empty() || self.is_closed() {
                return None;
            }
            self.pause(&mut batch, pause, &error, closed || may_be_written).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits until the next try. What is submitted meanwhile is refused at once: nobody should wait for a database that is away.
    async fn pause(&mut self, batch: &mut Writes, pause: Duration, error: &sqlx::Error, batch_is_closed: bool) {
        let until = tokio::time::Instant::now() + pause;
        let mut later = Writes::default();
        loop {
            let order = tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                _ = self.closed.changed() => break,
                order = self.orders.recv() => order,
            };
            let Some(order) = order else { break };
            later.push_owed(order, error, &self.shared);
        }
        if batch_is_closed {
            self.later.take_in(later);
        } else {
            batch.take_in(later);
        }
    }

    async fn attempt(&mut self, batch: &Writes) -> Result<crate::transaction::Found, crate::transaction::Failed> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => tokio::time::timeout(CONNECT_TIMEOUT, self.shared.connect())
                .await
                .unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut))?,
        };
        let written = tokio::time::timeout(WRITE_TIMEOUT, batch.write(&mut connection, &self.shared)).await;
        let result = written.unwrap_or_else(|_| {
            Err(crate::transaction::Failed {
                error: sqlx::Error::PoolTimedOut,
                is_ambiguous: true,
            })
        });
        // After an error the connection's state is not known: the next try takes a new one.
        if result.is_ok() {
            self.connection = Some(connection);
        }
        result
    }
}

/// Whether a transaction was given up in favour of another one: a deadlock (40P01) or a conflict (40001) of PostgreSQL's.
fn is_conflict(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("40P01" | "40001"))
}

/// Whether the database refuses what is written, whoever writes it and whenever: PostgreSQL's data exceptions (22) and exceeded limits
/// (54), and SQLite's `SQLITE_TOOBIG`.
fn is_about_content(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| match code.len() {
        5 => code.starts_with("22") || code.starts_with("54"),
        _ => code == "18",
    })
}
