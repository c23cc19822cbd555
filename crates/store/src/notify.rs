//! What other processes hear from the database as soon as it is committed. Only PostgreSQL tells them.

use std::collections::HashMap;

use sqlx::AnyConnection;

use crate::database::execute;

/// What other processes are told with the commit.
pub(crate) enum Notification {
    /// There are new rows, or old ones that may be sent from now on.
    New,
    /// A request that this process submitted has ended.
    Ended(String, String),
}

pub(crate) async fn notify(
    connection: &mut AnyConnection,
    notifications: Vec<Notification>,
) -> Result<(), sqlx::Error> {
    /// PostgreSQL takes 8,000 bytes: this many ids of 37, and the process's.
    const IDS: usize = 200;
    let mut by_submitter: HashMap<String, Vec<String>> = HashMap::new();
    let mut is_new = false;
    for notification in notifications {
        match notification {
            Notification::New => is_new = true,
            Notification::Ended(submitter, id) => by_submitter.entry(submitter).or_default().push(id),
        }
    }
    if is_new {
        execute(connection, "SELECT pg_notify('inflight_new', '')").await?;
    }
    for (submitter, ids) in by_submitter {
        for ids in ids.chunks(IDS) {
            let text = format!("{submitter} {}", ids.join(" "));
            sqlx::query("SELECT pg_notify('inflight_ended', $1)")
                .bind(text)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}
