//! A schema of its own in a PostgreSQL that tests share.

use sqlx::Connection as _;

pub(crate) struct Schema {
    base: String,
    name: String,
}

impl Schema {
    /// `None`, and a word about it, where there is no PostgreSQL.
    pub(crate) fn new() -> Option<Self> {
        let Ok(base) = std::env::var("INFLIGHT_TEST_POSTGRES") else {
            eprintln!("skipped: INFLIGHT_TEST_POSTGRES is not set");
            return None;
        };
        let name = format!("inflight_test_{}", uuid::Uuid::new_v4().simple());
        on_postgres(&base, &format!("CREATE SCHEMA {name}"));
        Some(Self { base, name })
    }

    /// The address of a store whose tables are in the schema.
    pub(crate) fn url(&self) -> String {
        let joint = if self.base.contains('?') { '&' } else { '?' };
        format!("{}{joint}options[search_path]={}", self.base, self.name)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        on_postgres(&self.base, &format!("DROP SCHEMA {} CASCADE", self.name));
    }
}

pub(crate) fn on_postgres(url: &str, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap();
    });
}
