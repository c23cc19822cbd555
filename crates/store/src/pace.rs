//! How many attempts an account may make, over all processes: a bucket of tokens in the database.

use std::collections::{BTreeMap, HashSet};

use inflight_core::RequestId;
use sqlx::{AnyConnection, Row as _};

use crate::database::Dialect;
use crate::statement::safe;
use crate::transaction::Sent;

/// Tokens are counted in millionths, so that a slow account's grow within a millisecond too.
const TOKEN: i64 = 1_000_000;

/// Of the limit, how much comes evenly, and how much may be taken at once after a silence. Together they are less than the limit, so that
/// attempts that were let go evenly and arrive together do not exceed it.
const RATE: f64 = 0.85;
const BURST: f64 = 0.05;

/// What is not used within a minute is not saved up, whatever a clock says.
const LONGEST_MS: i64 = 60_000;

/// Moments of several processes may come in another order than they were. What lies further ahead was written before the clock went back.
const DISORDER_MS: i64 = 1000;

/// Which attempts may not leave yet.
#[derive(Default)]
pub(crate) struct Granted {
    held: HashSet<RequestId>,
}

impl Granted {
    pub(crate) fn allows(&self, id: RequestId) -> bool {
        !self.held.contains(&id)
    }
}

/// Takes a token for each of these attempts, as far as there are.
///
/// Each account's are taken in a statement of their own, outside of any transaction: a process that is frozen in the middle of one must not
/// hold up all others. Tokens that were taken and not used, as the process died, are lost.
pub(crate) async fn take<'a>(
    connection: &mut AnyConnection,
    dialect: Dialect,
    limit: f64,
    sents: impl Iterator<Item = &'a Sent>,
) -> Result<Granted, sqlx::Error> {
    let mut by_account: BTreeMap<&str, Vec<RequestId>> = BTreeMap::new();
    for sent in sents {
        by_account.entry(&sent.account).or_default().push(sent.id);
    }
    let mut granted = Granted::default();
    for (account, ids) in by_account {
        let allowed = take_of(connection, dialect, limit, account, ids.len()).await?;
        granted.held.extend(&ids[allowed.min(ids.len())..]);
    }
    Ok(granted)
}

async fn take_of(
    connection: &mut AnyConnection,
    dialect: Dialect,
    limit: f64,
    account: &str,
    wanted: usize,
) -> Result<usize, sqlx::Error> {
    let burst = ((limit * BURST) as i64).max(1) * TOKEN;
    let per_ms = ((limit * RATE * TOKEN as f64 / 1000.0) as i64).max(1);
    let now = dialect.now();
    let (least, most) = dialect.least_and_greatest();
    // A clock that goes backwards adds none.
    let refilled =
        format!("{least}({burst}, p.tokens + {per_ms} * {most}(0, {least}({LONGEST_MS}, {now} - p.taken_at)))");
    let granted = format!("{least}({wanted}, {refilled} / {TOKEN})");
    // Two that take at once take one after the other: the second one's expressions are made of what the first one has left.
    let update = format!(
        "UPDATE inflight_pace AS p SET granted = {granted}, tokens = {refilled} - {granted} * {TOKEN}, \
         taken_at = CASE WHEN p.taken_at > {now} + {DISORDER_MS} THEN {now} ELSE {most}(p.taken_at, {now}) END WHERE account = $1 RETURNING granted"
    );
    loop {
        let row = sqlx::query(safe(&update))
            .bind(account.to_owned())
            .fetch_optional(&mut *connection)
            .await?;
        if let Some(row) = row {
            let granted: i64 = row.try_get("granted")?;
            return Ok(usize::try_from(granted).unwrap_or(0));
        }
        let insert = format!(
            "INSERT INTO inflight_pace (account, tokens, taken_at, granted) VALUES ($1, {burst}, {now}, 0) \
             ON CONFLICT DO NOTHING"
        );
        sqlx::query(safe(&insert))
            .bind(account.to_owned())
            .execute(&mut *connection)
            .await?;
    }
}
