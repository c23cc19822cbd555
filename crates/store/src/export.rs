//! Every row of a store as text, as far as it can be read.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use crate::database::Dialect;
use crate::statement::safe;
use crate::{DurableStore, QueryError};

impl DurableStore {
    /// Every row of every table, each as a line of JSON with the table's name. `line` is given one after the other, and `false` ends it.
    /// Rows that cannot be read are left out. Gives which, each with its table and its key, and why.
    ///
    /// # Errors
    /// [`QueryError`] where the store gives no answer, or so much of a table is damaged that nobody knows its rows; those of the other
    /// tables are given then too.
    pub fn export(&self, line: impl FnMut(String) -> bool + Send + 'static) -> Result<Vec<String>, QueryError> {
        self.on_connection(|mut connection, shared| async move {
            let mut line = line;
            let (mut failed, mut left_out) = (None, Vec::new());
            for table in EXPORTED {
                match export_table(&mut connection, shared.dialect, table, &mut line, &mut left_out).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            failed.map_or(Ok(left_out), Err)
        })
    }
}

/// A table that is exported, in the order of its key. The key has a text, a number or both.
struct Exported {
    name: &'static str,
    text: Option<&'static str>,
    number: Option<&'static str>,
}

const EXPORTED: &[Exported] = &[
    Exported {
        name: "inflight_requests",
        text: None,
        number: Some("seq"),
    },
    Exported {
        name: "inflight_runs",
        text: Some("id"),
        number: None,
    },
    Exported {
        name: "inflight_journal",
        text: Some("run"),
        number: Some("position"),
    },
];

impl Exported {
    /// At most so many rows, from the first one or after this one's key: what comes and goes before that does not shift them.
    fn page(&self, json: &str, after: Option<&(String, i64)>, most: usize) -> String {
        let (text, number) = (self.text.unwrap_or("''"), self.number.unwrap_or("0"));
        let keys: Vec<_> = [self.text, self.number].into_iter().flatten().collect();
        let name = self.name;
        let after = match (after, self.text, self.number) {
            (None, ..) => "$1 = $1".to_owned(),
            (Some((_, last)), None, _) => format!("$1 = $1 AND {number} > {last}"),
            (Some(_), Some(_), None) => format!("{text} > $1"),
            (Some((_, last)), Some(_), Some(_)) => format!("({text}, {number}) > ($1, {last})"),
        };
        format!(
            "SELECT {json} AS line, {text} AS text_key, {number} AS number_key FROM {name} AS t WHERE {after} \
             ORDER BY {} LIMIT {most}",
            keys.join(", ")
        )
    }

    /// The rows that come after the first of these keys, up to the other.
    fn shown(&self, after: Option<&(String, i64)>, (text, number): &(String, i64)) -> String {
        let first = after.map_or(0, |(_, last)| *last) + 1;
        match (self.text, self.number) {
            (None, _) if first < *number => format!("{first} to {number}"),
            (None, _) => number.to_string(),
            (Some(_), None) => format!("{text:?}"),
            (Some(_), Some(_)) => format!("{text:?} {number}"),
        }
    }
}

async fn export_table(
    connection: &mut AnyConnection,
    dialect: Dialect,
    table: &Exported,
    line: &mut (impl FnMut(String) -> bool + Send),
    left_out: &mut Vec<String>,
) -> Result<bool, QueryError> {
    /// Rows are read in pages, so that a large store does not have to fit into memory.
    const PAGE: usize = 1000;
    let name = table.name;
    let json = match dialect {
        Dialect::Postgres => "row_to_json(t)::text".to_owned(),
        Dialect::Sqlite => {
            let columns: Vec<(String,)> =
                sqlx::query_as(safe(&format!("SELECT name FROM pragma_table_info('{name}')")))
                    .fetch_all(&mut *connection)
                    .await?;
            let fields: Vec<_> = columns.iter().map(|(name,)| format!("'{name}', {name}")).collect();
            format!("json_object({})", fields.join(", "))
        }
    };
    let (mut last, mut most) = (None::<(String, i64)>, PAGE);
    loop {
        let rows = match read_page(connection, table, &json, last.as_ref(), most).await {
            Ok(rows) => rows,
            // Row by row as far as the damage.
            Err(_) if most > 1 => {
                most = 1;
                continue;
            }
            Err(error) => {
                let Some((key, is_newest)) = skip(connection, dialect, table, &json, last.as_ref()).await? else {
                    return Ok(true);
                };
                left_out.push(format!("{name} {}: {error}", table.shown(last.as_ref(), &key)));
                if is_newest {
                    return Ok(true);
                }
                (last, most) = (Some(key), PAGE);
                continue;
            }
        };
        let count = rows.len();
        for (text, key) in rows {
            if !line(format!("{{\"table\":\"{name}\",\"row\":{text}}}")) {
                return Ok(false);
            }
            last = Some(key);
        }
        if count < most {
            return Ok(true);
        }
    }
}

/// Rows with their keys, from the first one or after this one's key.
async fn read_page(
    connection: &mut AnyConnection,
    table: &Exported,
    json: &str,
    after: Option<&(String, i64)>,
    most: usize,
) -> Result<Vec<(String, (String, i64))>, sqlx::Error> {
    let rows = sqlx::query(safe(&table.page(json, after, most)))
        .bind(after.map_or(String::new(), |(text, _)| text.clone()))
        .fetch_all(connection)
        .await?;
    let row = |row: &AnyRow| {
        let key = (row.try_get("text_key")?, row.try_get("number_key")?);
        Ok((row.try_get("line")?, key))
    };
    rows.iter().map(row).collect()
}

/// The key of the last row that is left out, where the one after this key cannot be read, and whether no other comes after it.
/// `None` where there is none.
async fn skip(
    connection: &mut AnyConnection,
    dialect: Dialect,
    table: &Exported,
    json: &str,
    after: Option<&(String, i64)>,
) -> Result<Option<((String, i64), bool)>, sqlx::Error> {
    // Its key may be read from elsewhere than what it holds.
    let error = match read_page(connection, table, "''", after, 1).await {
        Ok(keys) => return Ok(keys.into_iter().next().map(|(_, key)| (key, false))),
        Err(error) => error,
    };
    let (None, Some(number)) = (table.text, table.number) else {
        return Err(error);
    };
    let newest = match dialect {
        // Kept beside the table, which may be damaged at its end.
        Dialect::Sqlite => format!(
            "SELECT COALESCE(MAX(seq), 0) AS newest FROM sqlite_sequence WHERE name = '{}'",
            table.name
        ),
        Dialect::Postgres => format!("SELECT COALESCE(MAX({number}), 0) AS newest FROM {}", table.name),
    };
    let newest: i64 = sqlx::query(safe(&newest))
        .fetch_one(&mut *connection)
        .await?
        .try_get("newest")?;
    // The numbers of a damaged page, as far as the next one that can be read.
    let mut last = (String::new(), after.map_or(0, |(_, last)| *last) + 1);
    while last.1 < newest && read_page(connection, table, json, Some(&last), 1).await.is_err() {
        last.1 += 1;
    }
    let is_newest = last.1 >= newest;
    Ok(Some((last, is_newest)))
}
