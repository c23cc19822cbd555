//! Which database, how to reach it, and where the two that there are differ.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::{SystemTime, UNIX_EPOCH};

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Executor as _};

use crate::options::StoreOptions;
use crate::{OpenError, schema};

/// Where rows are kept.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Location {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Location {
    /// Reads `sqlite:FILE` or `postgres://…`.
    pub(crate) fn parse(url: &str) -> Result<Self, OpenError> {
        if let Some(file) = url.strip_prefix("sqlite:") {
            let file = file.strip_prefix("//").unwrap_or(file);
            if file.is_empty() || file.starts_with(':') {
                return Err(OpenError::Url);
            }
            return Ok(Self::Sqlite(file.into()));
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres(url.to_owned()));
        }
        Err(OpenError::Url)
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }

    /// A connection that can only read.
    pub(crate) async fn connect_to_read(&self) -> Result<AnyConnection, sqlx::Error> {
        install_drivers();
        let (mut connection, settings) = match self {
            Self::Sqlite(file) => (
                open_to_read(file).await?,
                ["PRAGMA busy_timeout = 5000", "PRAGMA query_only = ON"],
            ),
            Self::Postgres(url) => (
                AnyConnection::connect(url).await?,
                [
                    "SET default_transaction_read_only = on",
                    "SET statement_timeout = 30000",
                ],
            ),
        };
        for setting in settings {
            execute(&mut connection, setting).await?;
        }
        Ok(connection)
    }

    /// A connection that is ready for statements.
    pub(crate) async fn connect(&self, options: &StoreOptions) -> Result<AnyConnection, sqlx::Error> {
        install_drivers();
        match self {
            Self::Sqlite(file) => {
                let mut connection = AnyConnection::connect(&sqlite_url(file, "rwc")).await?;
                // In this order: the journal's mode is what the others are about. `FULL` has each commit reach the disk.
                for pragma in [
                    "PRAGMA busy_timeout = 5000",
                    "PRAGMA journal_mode = WAL",
                    "PRAGMA synchronous = FULL",
                    "PRAGMA cache_size = -32000",
                ] {
                    execute(&mut connection, pragma).await?;
                }
                if let Some(bytes) = options.max_bytes {
                    // The default size of a page.
                    let pages = (bytes / 4096).max(1);
                    execute(&mut connection, format!("PRAGMA max_page_count = {pages}")).await?;
                }
                Ok(connection)
            }
            Self::Postgres(url) => {
                let mut connection = AnyConnection::connect(url).await?;
                // A process that is frozen in the middle of a transaction must not hold its locks for longer than its lease.
                let lease = options.lease.as_millis().clamp(1, i32::MAX.unsigned_abs().into());
                execute(
                    &mut connection,
                    format!("SET idle_in_transaction_session_timeout = {lease}"),
                )
                .await?;
                Ok(connection)
            }
        }
    }
}

fn install_drivers() {
    static DRIVERS: Once = Once::new();
    DRIVERS.call_once(sqlx::any::install_default_drivers);
}

/// A file that another process may write meanwhile. Where its folder cannot be written, nobody who could be waited for does: SQLite needs
/// a file of its own there otherwise.
async fn open_to_read(file: &Path) -> Result<AnyConnection, sqlx::Error> {
    const LOOK: &str = "SELECT COUNT(*) FROM sqlite_master";
    /// `SQLITE_READONLY` and `SQLITE_CANTOPEN`, which may have further bits.
    const NO_OWN_FILE: [i64; 2] = [8, 14];
    let mut connection = AnyConnection::connect(&sqlite_url(file, "ro")).await?;
    let Err(error) = execute(&mut connection, LOOK).await else {
        return Ok(connection);
    };
    let code = error
        .as_database_error()
        .and_then(|error| error.code()?.parse::<i64>().ok());
    if !code.is_some_and(|code| NO_OWN_FILE.contains(&(code & 0xff))) {
        return Err(error);
    }
    AnyConnection::connect(&(sqlite_url(file, "ro") + "&immutable=true")).await
}

fn sqlite_url(file: &Path, mode: &str) -> String {
    let path = file.display().to_string();
    let escaped = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
    format!("sqlite://{escaped}?mode={mode}")
}

impl fmt::Display for Location {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(file) => write!(f, "sqlite:{}", file.display()),
            Self::Postgres(url) => {
                let rest = url.split_once("://").map_or("", |(_, rest)| rest);
                let (address, query) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
                let address = match address.rsplit_once('@') {
                    // What looks like an address may be the middle of a password that is not written as one has to be.
                    _ if query.contains('@') => "…",
                    Some((_, address)) => address,
                    None => address,
                };
                write!(f, "postgres://{address}")
            }
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What is written differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

impl Dialect {
    /// A number that the database gives each row, in order.
    pub(crate) fn serial(self) -> &'static str {
        match self {
            Self::Sqlite => "INTEGER PRIMARY KEY AUTOINCREMENT",
            Self::Postgres => "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        }
    }

    /// The rows of the JSON array in the first parameter, named `x`.
    pub(crate) fn rows(self, columns: &[(&str, Type)]) -> String {
        let joined = |each: &dyn Fn(&(&str, Type)) -> String| columns.iter().map(each).collect::<Vec<_>>().join(", ");
        match self {
            Self::Sqlite => {
                let columns = joined(&|(name, _)| format!("value ->> '$.{name}' AS {name}"));
                format!("(SELECT {columns} FROM json_each($1)) AS x")
            }
            Self::Postgres => {
                let columns = joined(&|(name, kind)| match kind {
                    Type::Text => format!("{name} text"),
                    Type::Number => format!("{name} bigint"),
                });
                format!("jsonb_to_recordset($1::jsonb) AS x({columns})")
            }
        }
    }

    /// The functions that give the least and the greatest of their arguments.
    pub(crate) fn least_and_greatest(self) -> (&'static str, &'static str) {
        match self {
            Self::Sqlite => ("MIN", "MAX"),
            Self::Postgres => ("LEAST", "GREATEST"),
        }
    }

    /// How many bytes of rows one statement takes. To PostgreSQL the driver leaves Nagle's algorithm on, and what does not fit into the
    /// server's buffer of 8 KB waits 40 ms for an acknowledgement.
    pub(crate) fn most_bytes(self) -> usize {
        match self {
            Self::Sqlite => 1_000_000,
            Self::Postgres => 7_500,
        }
    }

    /// The time, in milliseconds since 1970: the one of the server where several machines share it.
    pub(crate) fn now(self) -> String {
        match self {
            Self::Sqlite => unix_millis().to_string(),
            Self::Postgres => "(extract(epoch from clock_timestamp()) * 1000)::bigint".to_owned(),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Type {
    Text,
    Number,
}

pub(crate) fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Runs a statement that gives nothing. Statements are made of names of this crate and of numbers; all else is a parameter.
pub(crate) async fn execute(connection: &mut AnyConnection, statement: impl Into<String>) -> Result<(), sqlx::Error> {
    connection.execute(AssertSqlSafe(statement.into())).await.map(drop)
}

/// The right to write a SQLite file, which one process has at a time. The system takes it back when the process ends, however it does.
#[derive(Debug)]
pub(crate) struct Ownership {
    _file: File,
}

impl Ownership {
    pub(crate) fn take(database: &Path) -> Result<Self, OpenError> {
        // One file may have several names that lead to it. A new one has none yet.
        let database = database.canonicalize().unwrap_or_else(|_| database.to_owned());
        let mut name = database.into_os_string();
        name.push("-owner");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&name)
            .map_err(OpenError::File)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(OpenError::InUse),
            Err(std::fs::TryLockError::Error(error)) => Err(OpenError::File(error)),
        }
    }
}

/// What `PRAGMA quick_check` finds wrong in a SQLite file.
pub(crate) async fn damage(connection: &mut AnyConnection) -> Result<Option<String>, sqlx::Error> {
    let found: Vec<(String,)> = sqlx::query_as("PRAGMA quick_check(1)").fetch_all(connection).await?;
    Ok(found.into_iter().map(|(text,)| text).find(|text| text != "ok"))
}

/// A connection to tables of this program's version.
pub(crate) async fn open(location: &Location, options: &StoreOptions) -> Result<AnyConnection, OpenError> {
    let dialect = location.dialect();
    let failed = |error| OpenError::of_database(error, dialect);
    let mut connection = location.connect(options).await.map_err(failed)?;
    let found = schema::migrate(&mut connection, dialect).await?;
    if found > schema::VERSION {
        tracing::warn!(
            found,
            known = schema::VERSION,
            "the store's tables are of a newer program; what they add is not used"
        );
    }
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_told_without_its_password() {
        let location =
            Location::parse("postgres://shop:LEAKMARK@127.0.0.1:5432/shop?sslmode=disable&password=LEAKMARK").unwrap();
        assert_eq!(location.to_string(), "postgres://127.0.0.1:5432/shop");
        assert_eq!(format!("{location:?}"), "postgres://127.0.0.1:5432/shop");
        for odd in [
            "127.0.0.1/shop?user=a&password=LEAK@MARK",
            "shop:LEAK@MARK?LEAK@127.0.0.1/shop",
        ] {
            let location = Location::parse(&format!("postgres://{odd}")).unwrap();
            assert_eq!(location.to_string(), "postgres://…");
        }
        assert_eq!(
            Location::parse("sqlite:a/b.db").unwrap(),
            Location::Sqlite("a/b.db".into())
        );
        for wrong in ["", "sqlite:", "sqlite::memory:", "mysql://host/db", "file.db"] {
            assert!(Location::parse(wrong).is_err(), "{wrong}");
        }
    }
}
