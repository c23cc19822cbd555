//! `inflight requests`.

use inflight::core::{Kept, RequestId};
use inflight::store::{DurableStore, QueryError, RequestFilter, RequestRow};
use serde_json::{Value, json};

use crate::args::RequestsCommand;
use crate::operate::{Failure, age, open, show};
use crate::table::{end_of, plain, text_of};
use crate::text::one_line;
use crate::{FAILED, OK};

/// What is left of a line for the operation's name.
const OPERATION_WIDTH: usize = 17;

/// Gives the exit status.
pub(crate) fn requests(command: &RequestsCommand) -> Result<u8, Failure> {
    match command {
        RequestsCommand::List { filter, store, json } => {
            let filter = RequestFilter {
                state: filter.state.clone(),
                effect: filter.effect.clone(),
                operation: filter.operation.clone(),
                run: filter.run.clone(),
                limit: filter.limit,
                ..RequestFilter::default()
            };
            let rows = open(store)?.requests(&filter)?;
            if *json {
                show(&format!("{}\n", serde_json::to_string(&rows)?));
            } else if rows.is_empty() {
                show("no such requests\n");
            } else {
                show(&table(&rows));
            }
            Ok(if rows.is_empty() { FAILED } else { OK })
        }
        RequestsCommand::Show { id, store, json } => details(&open(store)?, *id, *json),
        RequestsCommand::Retry { ids, store } => {
            let not = "not found, not ended, carried out, or in doubt under a key that is too old";
            each(
                &open(store)?,
                ids,
                DurableStore::retry_request,
                ("will be sent again", not),
            )
        }
        RequestsCommand::Cancel { ids, store } => {
            let not = "not found, or somebody has begun to send it";
            each(&open(store)?, ids, DurableStore::cancel_request, ("cancelled", not))
        }
        RequestsCommand::Reconcile { id, done, store, .. } => {
            let settle = |store: &DurableStore, id| store.reconcile_request(id, done.as_deref());
            let settled = match done {
                Some(_) => "settled: it was carried out",
                None => "settled: it was not carried out",
            };
            each(&open(store)?, &[*id], settle, (settled, "not found, or not in doubt"))
        }
    }
}

/// The requests for people.
pub(super) fn table(rows: &[RequestRow]) -> String {
    let mut table = plain(["request", "operation", "state", "effect", "sent", "age"], 4);
    for row in rows {
        table.add_row([
            row.id.clone(),
            end_of(&one_line(&row.operation), OPERATION_WIDTH),
            row.state.clone(),
            row.effect.clone().unwrap_or_default(),
            row.attempts.to_string(),
            age(row.created_at),
        ]);
    }
    text_of(&table)
}

fn details(store: &DurableStore, id: RequestId, as_json: bool) -> Result<u8, Failure> {
    let filter = RequestFilter {
        id: Some(id),
        ..RequestFilter::default()
    };
    let Some(row) = store.requests(&filter)?.pop() else {
        show(&format!("there is no request {id}\n"));
        return Ok(FAILED);
    };
    let end = store.request(id)?.map_or(Value::Null, |kept| end(&kept));
    let mut fields = serde_json::to_value(&row)?;
    fields["outcome"] = end;
    if as_json {
        show(&format!("{fields}\n"));
        return Ok(OK);
    }
    let mut lines = vec![
        ("request", row.id),
        ("operation", row.operation),
        ("sends", format!("{} {}", row.method, row.path)),
        ("state", row.state),
        ("submitted", format!("{} ago", age(row.created_at))),
        ("attempts", row.attempts.to_string()),
    ];
    let optional = [
        ("run", row.run),
        ("effect", row.effect),
        ("error", row.error),
        ("status", row.last_status.map(|status| status.to_string())),
        ("Stripe's id", row.server_request_id),
        ("ended", row.ended_at.map(|at| format!("{} ago", age(at)))),
        ("object", fields["outcome"]["object"].as_str().map(str::to_owned)),
        ("message", fields["outcome"]["message"].as_str().map(str::to_owned)),
    ];
    lines.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    for (name, value) in lines {
        show(&format!("{name:<12}{}\n", one_line(&value)));
    }
    Ok(OK)
}

/// How a request ended: the object that came of it, or what was wrong. Not the answer itself.
fn end(kept: &Kept) -> Value {
    match &kept.ended {
        None => Value::Null,
        Some((_, Ok(success))) => json!({"object": success.object_id}),
        Some((_, Err(failure))) => json!({"message": failure.message}),
    }
}

/// Does the same to each request, and says for each whether that was possible.
fn each(
    store: &DurableStore,
    ids: &[RequestId],
    change: impl Fn(&DurableStore, RequestId) -> Result<bool, QueryError>,
    (done, not): (&str, &str),
) -> Result<u8, Failure> {
    let mut status = OK;
    for id in ids {
        let said = if change(store, *id)? {
            done
        } else {
            status = FAILED;
            not
        };
        show(&format!("{id} {said}\n"));
    }
    Ok(status)
}
