//! Why a store cannot be opened or asked.

use crate::Unreadable;
use crate::database::Dialect;

/// Why a store was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address is none of a store.
    #[error("not a store: write sqlite:FILE or postgres://USER@HOST/DATABASE")]
    Url,
    /// There is no such SQLite file, and none is to be created.
    #[error("there is no such file")]
    Missing,
    /// Another process has the SQLite file. One process at a time may.
    #[error("the store is in use by another process; for several processes use PostgreSQL")]
    InUse,
    /// The file that says who owns the store cannot be written.
    #[error("the store's folder cannot be written: {0}")]
    File(#[source] std::io::Error),
    /// The database cannot be reached, or refuses.
    #[error("the store's database: {0}")]
    Database(#[source] sqlx::Error),
    /// The SQLite file is damaged.
    #[error("the store's file is damaged ({0}): restore a copy, or `inflight store export` what can still be read")]
    Damaged(String),
    /// Its tables are older than what this program reads, or there are none: version 0.
    #[error(
        "its tables are of version {found} and this program reads version {known}: `inflight store migrate` makes them so"
    )]
    Schema {
        /// The tables' version.
        found: i64,
        /// The program's.
        known: i64,
    },
    /// The store's thread did not start.
    #[error("the store's thread did not start: {0}")]
    Thread(#[source] std::io::Error),
}

impl OpenError {
    /// A database's error. That a file is damaged, or is no database at all, SQLite says itself.
    pub(crate) fn of_database(error: sqlx::Error, dialect: Dialect) -> Self {
        /// `SQLITE_CORRUPT` and `SQLITE_NOTADB`, which may have further bits.
        const DAMAGED: [i64; 2] = [11, 26];
        let told = error.as_database_error();
        let code = told.and_then(|error| error.code()?.parse::<i64>().ok());
        match (told, code) {
            (Some(told), Some(code)) if dialect == Dialect::Sqlite && DAMAGED.contains(&(code & 0xff)) => {
                Self::Damaged(told.message().to_owned())
            }
            _ => Self::Database(error),
        }
    }
}

/// Why a store gave no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The database cannot be reached, or refuses.
    #[error("the store's database: {0}")]
    Database(#[from] sqlx::Error),
    /// A row is damaged.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// A run's end was not written, as the run is not this process's any more: it has ended, or another process has taken it over.
    #[error("nothing was written of the run {0:?}: it has ended before, or is another process's by now")]
    NotOurs(String),
}

/// Why a run does not begin or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// It has no id.
    #[error("a run needs an id that is not empty")]
    NoId,
    /// It is at work in this process: its [`StoredRun`](crate::StoredRun) is still held.
    #[error("the run {0:?} is at work in this process")]
    AtWork(String),
    /// Another process has it.
    #[error("the run {0:?} goes on in another process")]
    InUse(String),
    /// It was begun with another of the other side's worlds: what it has done is not there.
    #[error("the run {id:?} was begun in mode {begun:?}, and this is {now:?}")]
    OtherMode {
        /// The run.
        id: String,
        /// The mode that it was begun in.
        begun: String,
        /// This process's mode.
        now: String,
    },
    /// It was cancelled for good.
    #[error("the run {0:?} was cancelled")]
    Cancelled(String),
    /// The store gave no answer.
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl From<sqlx::Error> for RunError {
    fn from(error: sqlx::Error) -> Self {
        Self::Query(error.into())
    }
}
