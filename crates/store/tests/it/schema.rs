//! A schema of its own in a PostgreSQL that tests share.

use sqlx::Connection as _;

pub(crate) struct Schema {
    base: String,
    name: String,
    path: String,
}

impl Schema {
    /// `None`, and a word about it, where there is no PostgreSQL.
    pub(crate) fn new() -> Option<Self> {
        Self::with_path("")
    }

    /// The same with further schemas, in which what is not found there is looked for.
    pub(crate) fn with_path(then: &str) -> Option<Self> {
        let Ok(base) = std::env::var("INFLIGHT_TEST_POSTGRES") else {
            eprintln!("skipped: INFLIGHT_TEST_POSTGRES is not set");
            return None;
        };
        let name = format!("inflight_test_{}", uuid::Uuid::new_v4().simple());
        on_postgres(&base, &format!("CREATE SCHEMA {name}"));
        let path = format!("{name}{then}");
        Some(Self { base, name, path })
    }

    /// The address of a store whose tables are in the schema.
    pub(crate) fn url(&self) -> String {
        let joint = if self.base.contains('?') { '&' } else { '?' };
        format!("{}{joint}options[search_path]={}", self.base, self.path)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        on_postgres(&self.base, &format!("DROP SCHEMA {} CASCADE", self.name));
    }
}

pub(crate) fn on_postgres(url: &str, statement: &str) {
    Transaction::begin(url, statement).commit();
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// What has begun and holds its locks until it is committed.
pub(crate) struct Transaction {
    runtime: tokio::runtime::Runtime,
    connection: sqlx::PgConnection,
}

impl Transaction {
    pub(crate) fn begin(url: &str, statement: &str) -> Self {
        let runtime = runtime();
        let connection = runtime.block_on(sqlx::PgConnection::connect(url)).unwrap();
        let mut transaction = Self { runtime, connection };
        transaction.execute("BEGIN");
        transaction.execute(statement);
        transaction
    }

    pub(crate) fn execute(&mut self, statement: &str) {
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()));
        self.runtime.block_on(statement.execute(&mut self.connection)).unwrap();
    }

    pub(crate) fn commit(mut self) {
        self.execute("COMMIT");
    }
}
