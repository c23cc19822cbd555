//! How long a process has what it claimed, and how often it says that it still does.

use std::time::Duration;

use crate::store::Shared;

/// How often a lease is renewed while it lasts.
pub(crate) fn heartbeat(lease: Duration) -> Duration {
    (lease / 3).max(Duration::from_millis(10))
}

/// In SQL: when a lease that is taken or renewed now ends.
pub(crate) fn lease_end(shared: &Shared) -> String {
    let lease = i64::try_from(shared.options.lease.as_millis()).unwrap_or(i64::MAX / 4);
    format!("{} + {lease}", shared.dialect.now())
}
