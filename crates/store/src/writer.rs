//! Group commit: whatever was asked for while the last commit was on its way to the disk is written with the next one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use inflight_core::{RequestId, StoreError};
use sqlx::AnyConnection;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::store::Shared;
use crate::transaction::{Append, Batch, Ended, Journalled, Sent};

/// What one transaction takes at most.
const MOST_ORDERS: usize = 1024;

/// How long one try to reach the database takes at most.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Pauses between two tries while the database is away or full.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How soon what waits for its account's pace is tried again.
const PACE_PAUSE: Duration = Duration::from_millis(20);

/// What is asked for.
pub(crate) enum Order {
    Append(Append),
    Journal(Journalled),
    Sent(Sent),
    Ended(Ended),
    Settled(Ended),
    Cancel(RequestId),
}

impl Batch {
    fn push(&mut self, order: Order) {
        match order {
            Order::Append(append) => self.appends.push(append),
            Order::Journal(entry) => self.journal.push(entry),
            Order::Sent(sent) => self.sents.push(sent),
            Order::Ended(ended) => self.endeds.push(ended),
            Order::Settled(settled) => self.settleds.push(settled),
            Order::Cancel(id) => self.cancels.push(id),
        }
    }
}

/// The one task that writes.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    orders: UnboundedReceiver<Order>,
    connection: Option<AnyConnection>,
    /// Attempts that wait for their account's pace.
    paced: Vec<Sent>,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, orders: UnboundedReceiver<Order>, connection: AnyConnection) -> Self {
        Self {
            shared,
            orders,
            connection: Some(connection),
            paced: Vec::new(),
        }
    }

    /// Writes until `closed`, and then what is left.
    pub(crate) async fn run(mut self, closed: impl Future<Output = ()>) {
        let mut closed = std::pin::pin!(closed);
        let mut closing = false;
        loop {
            let mut batch = Batch::default();
            if self.orders.is_empty() {
                if closing {
                    return self.close();
                }
                tokio::select! {
                    () = &mut closed => closing = true,
                    order = self.orders.recv() => match order {
                        Some(order) => batch.push(order),
                        None => return self.close(),
                    },
                    () = tokio::time::sleep(PACE_PAUSE), if !self.paced.is_empty() => {}
                }
            }
            self.collect(&mut batch);
            batch.sents.append(&mut self.paced);
            if !batch.is_empty() {
                self.write(batch, closing).await;
            }
        }
    }

    /// What still waits for its pace is the next process's.
    fn close(&mut self) {
        for sent in self.paced.drain(..) {
            (sent.done)(Err(StoreError::lost()));
        }
    }

    /// Takes what has been asked for meanwhile.
    fn collect(&mut self, batch: &mut Batch) {
        for _ in 0..MOST_ORDERS {
            match self.orders.try_recv() {
                Ok(order) => batch.push(order),
                Err(_) => return,
            }
        }
    }

    /// Writes a batch. While the database is away, those that submit are told so at once, and all else is kept until it is back.
    async fn write(&mut self, mut batch: Batch, closing: bool) {
        let mut pause = SHORTEST_PAUSE;
        let mut may_be_written = false;
        loop {
            let error = match self.attempt(&batch).await {
                Ok(found) => {
                    self.paced = batch.deliver(found, &self.shared);
                    return;
                }
                Err(failed) => {
                    // A row that may be there must not be called refused: it is written again, which finds out.
                    may_be_written |= failed.is_ambiguous;
                    failed.error
                }
            };
            tracing::warn!(error = &error as &dyn std::error::Error, "the store could not write");
            if !may_be_written {
                batch.refuse_appends(&error);
                for entry in &batch.journal {
                    entry.run.note_trouble(&error);
                }
            }
            if batch.is_empty() || closing {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            if !may_be_written {
                self.collect(&mut batch);
            }
        }
    }

    async fn attempt(&mut self, batch: &Batch) -> Result<crate::transaction::Found, crate::transaction::Failed> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => tokio::time::timeout(CONNECT_TIMEOUT, self.shared.connect())
                .await
                .unwrap_or_else(|_| Err(sqlx::Error::PoolTimedOut))?,
        };
        let result = batch.write(&mut connection, &self.shared).await;
        // After an error the connection's state is not known: the next try takes a new one.
        if result.is_ok() {
            self.connection = Some(connection);
        }
        result
    }
}
