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
pub(crate) async fn take(
    connection: &mut AnyConnection,
    dialect: Dialect,
    limit: f64,
    sents: &[Sent],
) -> Result<Granted, sqlx::Error> {
    let mut by_account: BTreeMap<&str, Vec<RequestId>> = BTreeMap::new();
    for sent in sents {
        by_account.entry(&sent.account).or_default().push(sent.id);
    }
    let burst = ((limit * BURST) as i64).max(1) * TOKEN;
    let (now, lock) = match dialect {
        Dialect::Sqlite => (dialect.now(), ""),
        Dialect::Postgres => (dialect.now(), " FOR UPDATE"),
    };
    let mut granted = Granted::default();
    // In the order of their names, so that two processes never wait for each other.
    for (account, ids) in by_account {
        let insert = format!(
            "INSERT INTO inflight_pace (account, tokens, taken_at) VALUES ($1, {burst}, {now}) ON CONFLICT DO NOTHING"
        );
        sqlx::query(safe(&insert))
            .bind(account.to_owned())
            .execute(&mut *connection)
            .await?;
        let select = format!("SELECT tokens, taken_at FROM inflight_pace WHERE account = $1{lock}");
        let row = sqlx::query(safe(&select))
            .bind(account.to_owned())
            .fetch_one(&mut *connection)
            .await?;
        let (tokens, taken_at): (i64, i64) = (row.try_get("tokens")?, row.try_get("taken_at")?);
        // After the lock: the time spent waiting for it counts.
        let row = sqlx::query(safe(&format!("SELECT {} AS now", dialect.now())))
            .fetch_one(&mut *connection)
            .await?;
        let now: i64 = row.try_get("now")?;
        let tokens = refilled(tokens, now - taken_at, limit, burst);
        let allowed = usize::try_from(tokens / TOKEN).unwrap_or(0).min(ids.len());
        granted.held.extend(&ids[allowed..]);
        let left = tokens - allowed as i64 * TOKEN;
        sqlx::query("UPDATE inflight_pace SET tokens = $1, taken_at = $2 WHERE account = $3")
            .bind(left)
            .bind(now.max(taken_at))
            .bind(account.to_owned())
            .execute(&mut *connection)
            .await?;
    }
    Ok(granted)
}

/// The tokens after so many milliseconds. A clock that goes backwards adds none.
fn refilled(tokens: i64, elapsed: i64, limit: f64, burst: i64) -> i64 {
    let added = limit * RATE * elapsed.clamp(0, 60_000) as f64 * (TOKEN / 1000) as f64;
    tokens.saturating_add(added as i64).min(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_sees_more_than_the_limit() {
        for limit in [1.0, 20.0, 100.0, 500.0] {
            let burst = ((limit * BURST) as i64).max(1) * TOKEN;
            let mut tokens = burst;
            let mut times = Vec::new();
            for now in 0..5_000_i64 {
                tokens = refilled(tokens, i64::from(now > 0), limit, burst);
                let taken = tokens / TOKEN;
                tokens -= taken * TOKEN;
                times.extend(std::iter::repeat_n(now, taken as usize));
            }
            let most = times
                .iter()
                .map(|from| times.iter().filter(|at| (*from..from + 1000).contains(at)).count())
                .max();
            let most = most.unwrap_or(0) as f64;
            assert!(most <= limit.max(2.0), "{most} of {limit}");
            assert!(
                times.len() as f64 >= (limit * 5.0 * 0.8).floor(),
                "{} in 5 s of {limit}",
                times.len()
            );
        }
    }

    #[test]
    fn a_clock_that_jumps_gives_no_more_than_the_burst() {
        assert_eq!(refilled(0, -5_000, 100.0, 5 * TOKEN), 0);
        assert_eq!(refilled(0, i64::MAX, 100.0, 5 * TOKEN), 5 * TOKEN);
    }
}
