//! Events: what happened. <https://docs.stripe.com/api/events>

use inflight_stripe::Value;

use super::Context;
use super::list::{Page, both_cursors, limit, takes_moment};
use crate::error::ApiError;
use crate::event::Event;

pub(super) fn retrieve(context: &mut Context<'_>) -> Result<String, ApiError> {
    match context.data.events.by_id(context.id()) {
        Some((number, event)) => Ok(event.json(number, context.data)),
        None => Err(ApiError::no_such("event", context.id(), "id").status(404)),
    }
}

pub(super) fn list(context: &Context<'_>) -> Result<Page, ApiError> {
    let limit = limit(context)?;
    let events = &context.data.events;
    let number = |name: &str| match context.text(name) {
        None => Ok(None),
        Some(id) => match events.by_id(id) {
            Some((number, _)) => Ok(Some(number)),
            None => Err(ApiError::no_such("event", id, name)),
        },
    };
    let takes = |event: &Event| takes(context, event);
    let mut found: Vec<(u32, &Event)> = match (number("starting_after")?, number("ending_before")?) {
        (Some(_), Some(_)) => return Err(both_cursors()),
        (None, Some(before)) => {
            let newer = events
                .newest_first()
                .rev()
                .filter(|(number, event)| *number > before && takes(event));
            newer.take(limit + 1).collect()
        }
        (after, None) => {
            let older = events.newest_first();
            let older = older.filter(|(number, event)| after.is_none_or(|after| *number < after) && takes(event));
            older.take(limit + 1).collect()
        }
    };
    let has_more = found.len() > limit;
    found.truncate(limit);
    if context.given("ending_before") {
        found.reverse();
    }
    let items = found
        .into_iter()
        .map(|(number, event)| event.json(number, context.data))
        .collect();
    Ok(Page {
        items,
        has_more,
        next: None,
    })
}

fn takes(context: &Context<'_>, event: &Event) -> bool {
    let fits = |pattern: &str| match pattern.strip_suffix(".*") {
        Some(family) => event
            .kind
            .strip_prefix(family)
            .is_some_and(|rest| rest.starts_with('.')),
        None => event.kind == pattern,
    };
    let kinds = context.list("types");
    takes_moment(context.params, "created", event.created)
        && context.text("type").is_none_or(fits)
        && (kinds.is_empty() || kinds.iter().filter_map(Value::as_text).any(fits))
}
