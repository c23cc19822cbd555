//! Statements whose first parameter is a JSON array of rows.

use std::collections::HashSet;

use inflight_core::RequestId;
use serde_json::{Value, json};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe, Row as _, SqlSafeStr as _};

use crate::database::{Dialect, Type};
use crate::rows::id_of;
use crate::store::Shared;

/// Runs the statement with these rows, and gives what it returns.
pub(crate) async fn fetch<'a>(
    connection: &mut AnyConnection,
    dialect: Dialect,
    statement: &str,
    rows: impl IntoIterator<Item = &'a Value>,
    second: Option<&str>,
) -> Result<Vec<AnyRow>, sqlx::Error> {
    let mut found = Vec::new();
    for json in arrays(rows, dialect.most_bytes()) {
        let mut query = sqlx::query(safe(statement)).bind(json);
        if let Some(second) = second {
            query = query.bind(second.to_owned());
        }
        found.append(&mut query.fetch_all(&mut *connection).await?);
    }
    Ok(found)
}

/// The same for a statement that returns ids.
pub(crate) async fn ids<'a>(
    connection: &mut AnyConnection,
    dialect: Dialect,
    statement: &str,
    rows: impl IntoIterator<Item = &'a Value>,
    second: Option<&str>,
) -> Result<HashSet<RequestId>, sqlx::Error> {
    let mut ids = HashSet::new();
    for row in fetch(connection, dialect, statement, rows, second).await? {
        ids.extend(id_of(row.try_get("id")?));
    }
    Ok(ids)
}

/// Which of these rows are written already, as they are.
pub(crate) async fn known<'a>(
    connection: &mut AnyConnection,
    shared: &Shared,
    wanted: impl Iterator<Item = &'a Value>,
) -> Result<HashSet<RequestId>, sqlx::Error> {
    let from = shared.dialect.rows(&[("rid", Type::Text), ("fingerprint", Type::Text)]);
    let statement =
        format!("SELECT id FROM inflight_requests AS r JOIN {from} ON r.id = x.rid AND r.fingerprint = x.fingerprint");
    let wanted: Vec<_> = wanted
        .map(|row| json!({"rid": row["rid"], "fingerprint": row["fingerprint"]}))
        .collect();
    ids(connection, shared.dialect, &statement, &wanted, None).await
}

/// Rows that have an id and nothing else.
pub(crate) fn named(ids: &[RequestId]) -> Vec<Value> {
    ids.iter().map(|id| json!({"rid": id.to_string()})).collect()
}

/// JSON arrays of these rows, none longer than this unless a single row is.
fn arrays<'a>(rows: impl IntoIterator<Item = &'a Value>, most_bytes: usize) -> Vec<String> {
    let mut all = Vec::new();
    let mut text = String::new();
    for row in rows {
        let row = row.to_string();
        if !text.is_empty() && text.len() + row.len() > most_bytes {
            all.push(std::mem::take(&mut text) + "]");
        }
        text.push(if text.is_empty() { '[' } else { ',' });
        text.push_str(&row);
    }
    if !text.is_empty() {
        all.push(text + "]");
    }
    all
}

/// A statement that is made of this crate's own words and of numbers.
pub(crate) fn safe(statement: &str) -> sqlx::SqlStr {
    AssertSqlSafe(statement.to_owned()).into_sql_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_arrays_of_bounded_length() {
        const MOST: usize = 7_500;
        assert!(arrays(&[], MOST).is_empty());
        let rows: Vec<Value> = (0..100).map(|n| json!({"n": n, "text": "x".repeat(1500)})).collect();
        let all = arrays(&rows, MOST);
        assert!(all.len() > 3 && all.iter().all(|array| array.len() <= MOST + 2));
        let again: Vec<Value> = all
            .iter()
            .flat_map(|array| serde_json::from_str::<Vec<Value>>(array).unwrap())
            .collect();
        assert_eq!(again, rows);
        let large = [json!("x".repeat(2 * MOST)), json!(1)];
        assert_eq!(arrays(&large, MOST).len(), 2);
    }
}
