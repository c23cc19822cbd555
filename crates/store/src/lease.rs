//! How long a process has what it claimed, how often it says that it still does, and how long it waits for the database meanwhile.

use std::future::Future;
use std::io;
use std::time::Duration;

use crate::store::Shared;
use crate::writer::{CONNECT_TIMEOUT, WRITE_TIMEOUT};

/// How often a lease is renewed while it lasts.
pub(crate) fn heartbeat(lease: Duration) -> Duration {
    (lease / 3).max(Duration::from_millis(10))
}

/// How long a process waits for what it asks the database in between, where several share it: the machine may be gone without a word, and
/// the lease should not end meanwhile.
pub(crate) fn patience(lease: Duration) -> Duration {
    (lease / 3).clamp(CONNECT_TIMEOUT, WRITE_TIMEOUT)
}

/// Gives up what the database does not answer in time. The connection is not to be used any more then.
pub(crate) async fn in_time<T, E: From<sqlx::Error>>(
    limit: Duration,
    answer: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it gave no answer in time");
    let answer = tokio::time::timeout(limit, answer).await;
    answer.unwrap_or_else(|_| Err(sqlx::Error::Io(late()).into()))
}

/// In SQL: when a lease that is taken or renewed now ends.
pub(crate) fn lease_end(shared: &Shared) -> String {
    let lease = i64::try_from(shared.options.lease.as_millis()).unwrap_or(i64::MAX / 4);
    format!("{} + {lease}", shared.dialect.now())
}
