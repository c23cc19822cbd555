//! Lists: newest first, page by page. <https://docs.stripe.com/api/pagination>

use inflight_stripe::{Params, Value, form};

use super::{Context, event, flag_of, schema_name, subscription, text_of};
use crate::defaults::page;
use crate::error::ApiError;
use crate::expand::{check, expand};
use crate::generated as g;
use crate::json;
use crate::object::Object;
use crate::plan::is_made;
use crate::schema::{SchemaId, Shape};

/// How many objects a page has unless the request says otherwise.
const LIMIT: i64 = 10;
/// How many it has at most.
const LIMIT_MAX: i64 = 100;

pub(super) fn list(context: &mut Context<'_>) -> Result<String, ApiError> {
    let items = match context.plan.schema() {
        Some(g::EVENT) => event::list(context)?,
        _ => objects(context)?,
    };
    render(context, items)
}

/// One page, and what comes before and after it.
pub(super) struct Page {
    /// JSON.
    pub(super) items: Vec<String>,
    pub(super) has_more: bool,
    /// Where the next page of API v2 begins.
    pub(super) next: Option<usize>,
}

fn objects(context: &Context<'_>) -> Result<Page, ApiError> {
    let limit = limit(context)?;
    if context.operation.is_v2() {
        return Ok(numbered(context, limit));
    }
    let filter = Filter::new(context);
    let mut found = match &*context.plan.schemas {
        [schema] if !in_order(*schema) => of_one_kind(context, *schema, &filter, limit)?,
        schemas => of_several(context, schemas, &filter, limit)?,
    };
    let has_more = found.len() > limit;
    found.truncate(limit);
    if context.given("ending_before") {
        found.reverse();
    }
    let items = found.into_iter().map(|object| context.json(object)).collect();
    Ok(Page {
        items,
        has_more,
        next: None,
    })
}

/// The objects on a page and one more, which tells that there is more; those before a cursor from there backwards.
fn of_one_kind<'c>(
    context: &'c Context<'_>,
    schema: SchemaId,
    filter: &Filter<'_>,
    limit: usize,
) -> Result<Vec<&'c Object>, ApiError> {
    let table = context.data.table(schema);
    let position = |name: &str| match context.text(name) {
        None => Ok(None),
        Some(id) => match table.position(id) {
            Some(place) => Ok(Some(place)),
            None => Err(ApiError::no_such(schema_name(schema), id, name)),
        },
    };
    let matching = |object: &&Object| filter.takes(object);
    Ok(match (position("starting_after")?, position("ending_before")?) {
        (Some(_), Some(_)) => return Err(both_cursors()),
        (None, Some(place)) => table.newer_than(place).filter(matching).take(limit + 1).collect(),
        (after, None) => {
            let older = table.older_than(after.unwrap_or(usize::MAX));
            older.filter(matching).take(limit + 1).collect()
        }
    })
}

/// The same for what is of several kinds, or stands in the order in which it was made. Such lists are short.
fn of_several<'c>(
    context: &'c Context<'_>,
    schemas: &[SchemaId],
    filter: &Filter<'_>,
    limit: usize,
) -> Result<Vec<&'c Object>, ApiError> {
    let tables = schemas.iter().flat_map(|schema| context.data.table(*schema).iter());
    let mut all: Vec<&Object> = tables.filter(|object| filter.takes(object)).collect();
    if !schemas.iter().any(|schema| in_order(*schema)) {
        all.reverse();
        all.sort_by_key(|object| std::cmp::Reverse(object.created));
    }
    let position = |name: &str| match context.text(name) {
        None => Ok(None),
        Some(id) => match all.iter().position(|object| &*object.id == id) {
            Some(place) => Ok(Some(place)),
            None => Err(ApiError::no_such(
                schemas.first().map_or("object", |s| schema_name(*s)),
                id,
                name,
            )),
        },
    };
    Ok(match (position("starting_after")?, position("ending_before")?) {
        (Some(_), Some(_)) => return Err(both_cursors()),
        (None, Some(place)) => all.iter().take(place).rev().take(limit + 1).copied().collect(),
        (Some(place), None) => all.iter().skip(place + 1).take(limit + 1).copied().collect(),
        (None, None) => all.iter().take(limit + 1).copied().collect(),
    })
}

/// Lines stand in the order of the invoice that they are part of.
fn in_order(schema: SchemaId) -> bool {
    matches!(
        schema,
        g::LINE_ITEM | g::ITEM | g::SUBSCRIPTION_ITEM | g::CREDIT_NOTE_LINE_ITEM
    )
}

pub(super) fn both_cursors() -> ApiError {
    ApiError::invalid("You may only specify one of these parameters: ending_before, starting_after.")
        .code("parameters_exclusive")
}

/// API v2 has no cursors of ids: its pages are numbered by what came before.
fn numbered(context: &Context<'_>, limit: usize) -> Page {
    let skip = context.text("page").and_then(|page| page.parse().ok()).unwrap_or(0);
    let filter = Filter::new(context);
    let tables = context.plan.schemas.iter().map(|schema| context.data.table(*schema));
    let all = tables
        .flat_map(|table| table.older_than(usize::MAX))
        .filter(|object| filter.takes(object));
    let mut items: Vec<String> = all
        .skip(skip)
        .take(limit + 1)
        .map(|object| context.json(object))
        .collect();
    let has_more = items.len() > limit;
    items.truncate(limit);
    Page {
        items,
        has_more,
        next: has_more.then_some(skip.saturating_add(limit)),
    }
}

fn render(context: &Context<'_>, page_of: Page) -> Result<String, ApiError> {
    let mut paths = Vec::new();
    for path in context.expand() {
        match path.strip_prefix("data.") {
            Some(inner) => paths.push(inner),
            None => {
                let message = format!(
                    "This property cannot be expanded ({path}). You may want to try expanding 'data.{path}' instead of \
                     '{path}'.",
                    path = crate::error::shortened(path)
                );
                return Err(ApiError::invalid(message).param("expand"));
            }
        }
    }
    // A path that leads nowhere is a mistake on an empty list too.
    check(context.plan.shape, &paths)?;
    let mut items = Vec::with_capacity(page_of.items.len());
    for item in page_of.items {
        items.push(expand(item, context.plan.shape, &paths, context.data));
    }
    let path = filled_path(context);
    let data = format!("[{}]", items.join(","));
    if !context.operation.is_v2() {
        return Ok(page(&data, page_of.has_more, &path));
    }
    let next = match page_of.next {
        Some(at) => {
            // The next page is one of the same list: filters and all.
            let query = form::encode(&context.params.clone().with("page", at.to_string()))
                .map_err(|error| ApiError::invalid(format!("Invalid request: {error}.")))?;
            json::text(&format!("{path}?{query}"))
        }
        None => "null".to_owned(),
    };
    Ok(format!(
        "{{\"data\":{data},\"next_page_url\":{next},\"previous_page_url\":null}}"
    ))
}

/// The operation's path with its ids.
fn filled_path(context: &Context<'_>) -> String {
    let mut ids = context.ids.iter();
    let mut segments = Vec::new();
    for segment in context.operation.path.split('/') {
        match ids.as_slice().first().filter(|_| segment.starts_with('{')) {
            Some(id) => {
                segments.push(id.as_str());
                ids.next();
            }
            None => segments.push(segment),
        }
    }
    segments.join("/")
}

pub(super) fn limit(context: &Context<'_>) -> Result<usize, ApiError> {
    let limit = context.integer("limit")?.unwrap_or(LIMIT);
    let refusal = |bound| format!("This value must be {bound} (it currently is '{limit}').");
    if limit < 1 {
        return Err(ApiError::invalid(refusal("greater than or equal to 1")).param("limit"));
    }
    if limit > LIMIT_MAX {
        return Err(ApiError::invalid(refusal("less than or equal to 100")).param("limit"));
    }
    Ok(usize::try_from(limit).unwrap_or(1))
}

/// Refuses moments that no time can be.
pub(super) fn check_moments(params: &Params) -> Result<(), ApiError> {
    let too_large =
        |text: &str| text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) && text.parse::<i64>().is_err();
    for (name, value) in params.iter() {
        let Value::Map(bounds) = value else {
            if let Some(text) = text_of(params, name).filter(|text| name == "created" && too_large(text)) {
                return Err(ApiError::invalid_integer(name, text));
            }
            continue;
        };
        for bound in ["gt", "gte", "lt", "lte"] {
            if let Some(text) = text_of(bounds, bound).filter(|text| too_large(text)) {
                return Err(ApiError::invalid_integer(&format!("{name}[{bound}]"), text));
            }
        }
    }
    Ok(())
}

/// Whether a moment is in the range that a parameter gives.
pub(super) fn takes_moment(params: &Params, name: &str, moment: i64) -> bool {
    let bound = |map: &Params, name: &str| text_of(map, name).and_then(|text| text.parse::<i64>().ok());
    match params.get(name) {
        Some(Value::Map(bounds)) => {
            bound(bounds, "gt").is_none_or(|than| moment > than)
                && bound(bounds, "gte").is_none_or(|than| moment >= than)
                && bound(bounds, "lt").is_none_or(|than| moment < than)
                && bound(bounds, "lte").is_none_or(|than| moment <= than)
        }
        _ => bound(params, name).is_none_or(|at| moment == at),
    }
}

/// Which objects a list shows.
struct Filter<'a> {
    params: &'a Params,
    /// Fields that must have this JSON.
    equal: Vec<(&'a str, String)>,
    /// Moments that must be in a range.
    ranges: Vec<&'a str>,
    /// The object in the path, and the field that may name it.
    owner: Option<(&'a str, &'static str)>,
    /// That object's own list of what belongs to it.
    listed: Vec<String>,
}

impl<'a> Filter<'a> {
    fn new(context: &Context<'a>) -> Self {
        let Some(schema) = context.plan.schema() else {
            return Self {
                params: context.params,
                equal: Vec::new(),
                ranges: Vec::new(),
                owner: None,
                listed: Vec::new(),
            };
        };
        let (mut equal, mut ranges) = (Vec::new(), Vec::new());
        for (name, value) in context.params.iter() {
            let Some(field) = schema.field(name) else { continue };
            match (field.shape, value) {
                (Shape::Timestamp, _) if name != "created" => ranges.push(name),
                (Shape::Boolean | Shape::Integer, Value::Text(text)) => equal.push((name, text.clone())),
                (Shape::Currency, Value::Text(text)) => equal.push((name, json::text(&text.to_ascii_lowercase()))),
                (Shape::Text | Shape::Enum(_) | Shape::Id(_), Value::Text(text))
                    if name != "status" || !is_subscription(schema) =>
                {
                    equal.push((name, json::text(text)));
                }
                _ => {}
            }
        }
        let owner = context.plan.owner.as_ref().and_then(|(_, place)| {
            let name = context.operation.path_params.get(*place)?;
            Some((
                context.ids.get(*place)?.as_str(),
                name.strip_suffix("_id").unwrap_or(name),
            ))
        });
        let last = context.operation.path.rsplit('/').next().unwrap_or_default();
        let listed = owner
            .zip(context.plan.owner.as_ref())
            .and_then(|((id, _), (schemas, _))| {
                let owner = schemas.iter().find_map(|schema| context.data.get(*schema, id))?;
                Some(owner.ids(last))
            });
        Self {
            params: context.params,
            equal,
            ranges,
            owner,
            listed: listed.unwrap_or_default(),
        }
    }

    fn takes(&self, object: &Object) -> bool {
        self.equal.iter().all(|(field, json)| object.json(field) == json)
            && takes_moment(self.params, "created", object.created)
            && self
                .ranges
                .iter()
                .all(|name| takes_moment(self.params, name, object.amount(name)))
            && self.takes_owner(object)
            && self.takes_one_of("ids", || json::text(&object.id))
            && self.takes_one_of("lookup_keys", || object.json("lookup_key").to_owned())
            && self.takes_subscription(object)
            && self.takes_recurring(object)
            && self.takes_pending(object)
    }

    fn takes_owner(&self, object: &Object) -> bool {
        self.owner.is_none_or(|(id, field)| {
            object.parent.as_deref() == Some(id)
                || object.word(field) == Some(id)
                || self.listed.iter().any(|one| **one == *object.id)
                // What nothing makes belongs to whoever asks.
                || (!is_made(object.schema) && object.parent.is_none() && object.schema.field(field).is_none())
        })
    }

    /// `pending`: invoice items that are on no invoice yet, or those that are.
    fn takes_pending(&self, object: &Object) -> bool {
        let wanted = flag_of(self.params, "pending").filter(|_| object.schema == g::INVOICEITEM);
        wanted.is_none_or(|pending| pending == (object.json("invoice") == "null"))
    }

    fn takes_one_of(&self, name: &str, json: impl FnOnce() -> String) -> bool {
        let Some(Value::List(wanted)) = self.params.get(name) else {
            return true;
        };
        let json = json();
        wanted
            .iter()
            .filter_map(Value::as_text)
            .any(|text| json::text(text) == json)
    }

    /// Canceled subscriptions show only when asked for.
    fn takes_subscription(&self, object: &Object) -> bool {
        if !is_subscription(object.schema) {
            return true;
        }
        let status = object.word("status");
        match text_of(self.params, "status") {
            None => status != Some("canceled"),
            Some("all") => true,
            Some("ended") => subscription::has_ended(object),
            wanted => status == wanted,
        }
    }

    fn takes_recurring(&self, object: &Object) -> bool {
        let Some(Value::Map(wanted)) = self.params.get("recurring") else {
            return true;
        };
        let recurring = object.value("recurring");
        wanted
            .iter()
            .all(|(name, value)| recurring[name].as_str() == value.as_text())
    }
}

fn is_subscription(schema: SchemaId) -> bool {
    schema == g::SUBSCRIPTION
}
