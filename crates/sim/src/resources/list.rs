//! Lists: newest first, page by page. <https://docs.stripe.com/api/pagination>

use inflight_stripe::{Params, Value};

use super::{Context, text_of};
use crate::error::ApiError;
use crate::json;
use crate::object::{Object, Type};

/// How many objects a page has unless the request says otherwise.
const LIMIT: i64 = 10;
/// How many it has at most.
const LIMIT_MAX: i64 = 100;

pub(super) fn list(context: &mut Context<'_>, r#type: Type) -> Result<String, ApiError> {
    let limit = limit(context)?;
    let table = context.data.table(r#type);
    let cursor = |name: &str| match context.text(name) {
        None => Ok(None),
        Some(id) => match table.position(id) {
            Some(place) => Ok(Some(place)),
            None => Err(ApiError::no_such(r#type.name(), id, name)),
        },
    };
    let filter = Filter::new(context.params);
    let matching = |object: &&Object| filter.takes(object);
    // One more than asked for tells whether there is more.
    let mut page: Vec<&Object> = match (cursor("starting_after")?, cursor("ending_before")?) {
        (Some(_), Some(_)) => {
            return Err(ApiError::invalid(
                "You may only specify one of these parameters: ending_before, starting_after.",
            )
            .code("parameters_exclusive"));
        }
        (None, Some(place)) => table.newer_than(place).filter(matching).take(limit + 1).collect(),
        (after, None) => {
            let older = table.older_than(after.unwrap_or(usize::MAX));
            older.filter(matching).take(limit + 1).collect()
        }
    };
    let has_more = page.len() > limit;
    page.truncate(limit);
    if context.given("ending_before") {
        page.reverse();
    }
    Ok(render(context, &page, has_more))
}

fn render(context: &Context<'_>, page: &[&Object], has_more: bool) -> String {
    let paths = context.expand();
    let expand: Vec<&str> = paths.iter().filter_map(|path| path.strip_prefix("data.")).collect();
    let mut out = String::with_capacity(100 + page.len() * 1024);
    out.push_str("{\"object\":\"list\",\"data\":[");
    for (n, object) in page.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        object.push_json(&mut out, context.data, &expand);
    }
    json::push_number(
        &mut out,
        format_args!("],\"has_more\":{has_more},\"url\":\"{}\"}}", context.operation.path),
    );
    out
}

fn limit(context: &Context<'_>) -> Result<usize, ApiError> {
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

/// Which objects a list shows.
struct Filter<'a> {
    params: &'a Params,
    /// Fields that must have this JSON.
    equal: Vec<(&'a str, String)>,
}

impl<'a> Filter<'a> {
    fn new(params: &'a Params) -> Self {
        let mut equal = Vec::new();
        for (name, value) in params.iter() {
            let Some(text) = value.as_text() else { continue };
            match name {
                "active" | "shippable" => equal.push((name, text.to_owned())),
                "currency" => equal.push((name, json::text(&text.to_ascii_lowercase()))),
                "customer" | "email" | "product" | "type" | "url" | "collection_method" => {
                    equal.push((name, json::text(text)))
                }
                _ => {}
            }
        }
        Self { params, equal }
    }

    fn takes(&self, object: &Object) -> bool {
        self.equal.iter().all(|(field, json)| object.json(field) == json)
            && self.takes_created(object.created)
            && self.takes_one_of("ids", || json::text(&object.id))
            && self.takes_one_of("lookup_keys", || object.json("lookup_key").to_owned())
            && self.takes_status(object)
            && self.takes_subscription_price(object)
            && self.takes_recurring(object)
    }

    fn takes_created(&self, created: i64) -> bool {
        let bound = |map: &Params, name: &str| text_of(map, name).and_then(|text| text.parse::<i64>().ok());
        match self.params.get("created") {
            Some(Value::Map(bounds)) => {
                bound(bounds, "gt").is_none_or(|than| created > than)
                    && bound(bounds, "gte").is_none_or(|than| created >= than)
                    && bound(bounds, "lt").is_none_or(|than| created < than)
                    && bound(bounds, "lte").is_none_or(|than| created <= than)
            }
            _ => bound(self.params, "created").is_none_or(|at| created == at),
        }
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
    fn takes_status(&self, object: &Object) -> bool {
        if object.r#type != Type::Subscription {
            return true;
        }
        let status = object.word("status");
        match text_of(self.params, "status") {
            None => status != Some("canceled"),
            Some("all") => true,
            Some("ended") => status == Some("canceled"),
            wanted => status == wanted,
        }
    }

    fn takes_subscription_price(&self, object: &Object) -> bool {
        let wanted = text_of(self.params, "price");
        wanted.is_none_or(|wanted| object.items.iter().any(|item| &*item.price == wanted))
    }

    fn takes_recurring(&self, object: &Object) -> bool {
        let Some(Value::Map(wanted)) = self.params.get("recurring") else {
            return true;
        };
        let recurring: serde_json::Value = serde_json::from_str(object.json("recurring")).unwrap_or_default();
        wanted
            .iter()
            .all(|(name, value)| recurring[name].as_str() == value.as_text())
    }
}
