//! Search, in Stripe's query language. <https://docs.stripe.com/search#search-query-language>

mod query;

use self::query::{Clause, Comparison, Query, Wanted};
use super::Context;
use super::list::limit;
use crate::error::ApiError;
use crate::expand::{check, expand};
use crate::json::text;
use crate::object::Object;
use crate::schema::Shape;

pub(super) fn search(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(given) = context.text("query") else {
        return Err(ApiError::missing("query"));
    };
    let query = query::parse(given)?;
    check_fields(context, &query)?;
    let limit = limit(context)?;
    let skip: usize = match context.text("page") {
        None => 0,
        Some(page) => page
            .parse()
            .map_err(|_| ApiError::invalid("Invalid page token.").param("page"))?,
    };
    let tables = context.plan.schemas.iter().map(|schema| context.data.table(*schema));
    let found: Vec<&Object> = tables
        .flat_map(|table| table.older_than(usize::MAX))
        .filter(|object| takes(&query, object))
        .collect();
    let page = found.iter().skip(skip).take(limit);
    let has_more = found.len() > skip.saturating_add(limit);
    let mut paths = Vec::new();
    let mut total = false;
    for path in context.expand() {
        match path.strip_prefix("data.") {
            Some(inner) => paths.push(inner),
            None if path == "total_count" => total = true,
            None => {
                let message = format!("This property cannot be expanded ({}).", crate::error::shortened(path));
                return Err(ApiError::invalid(message).param("expand"));
            }
        }
    }
    check(context.plan.shape, &paths)?;
    let mut items = Vec::new();
    for object in page {
        items.push(expand(context.json(object), context.plan.shape, &paths, context.data));
    }
    let next = if has_more {
        text(&skip.saturating_add(limit).to_string())
    } else {
        "null".to_owned()
    };
    let count = if total {
        format!(",\"total_count\":{}", found.len())
    } else {
        String::new()
    };
    Ok(format!(
        "{{\"object\":\"search_result\",\"data\":[{}],\"has_more\":{has_more},\"next_page\":{next},\"url\":\"{}\"{count}}}",
        items.join(","),
        context.operation.path
    ))
}

fn check_fields(context: &Context<'_>, query: &Query) -> Result<(), ApiError> {
    let unknown = query.clauses.iter().find(|clause| {
        let first = clause.field.split('.').next().unwrap_or_default();
        let known = |schema: &crate::schema::SchemaId| schema.field(first).is_some();
        clause.key.is_none() && !context.plan.schemas.iter().any(known)
    });
    match unknown {
        None => check_comparisons(context, query),
        Some(clause) => Err(ApiError::invalid(format!(
            "Field `{}` is an unsupported search field for resource `{}s`.",
            crate::error::shortened(&clause.field),
            context.plan.schema().map_or("object", |schema| schema.object())
        ))
        .param("query")),
    }
}

/// Texts are equal or not; only numbers are more or less.
fn check_comparisons(context: &Context<'_>, query: &Query) -> Result<(), ApiError> {
    let is_text = |schema: &crate::schema::SchemaId, field: &str| {
        let shape = schema.field(field).map(|field| field.shape);
        matches!(
            shape,
            Some(Shape::Text | Shape::Enum(_) | Shape::Currency | Shape::Id(_))
        )
    };
    let wrong = query.clauses.iter().find(|clause| {
        let on_text = clause.key.is_some() || context.plan.schemas.iter().any(|schema| is_text(schema, &clause.field));
        on_text && !matches!(clause.comparison, Comparison::Equal | Comparison::Contains)
    });
    match wrong {
        None => Ok(()),
        Some(clause) => Err(ApiError::invalid(format!(
            "Field `{}` does not support numeric comparisons such as `>`; use `:` or `~`.",
            crate::error::shortened(&clause.field)
        ))
        .param("query")),
    }
}

fn takes(query: &Query, object: &Object) -> bool {
    let mut each = query
        .clauses
        .iter()
        .map(|clause| takes_clause(clause, object) != clause.negated);
    if query.any {
        each.any(|taken| taken)
    } else {
        each.all(|taken| taken)
    }
}

fn takes_clause(clause: &Clause, object: &Object) -> bool {
    if let Some(key) = &clause.key {
        let value = object
            .metadata
            .iter()
            .find(|(known, _)| **known == **key)
            .map(|(_, value)| &**value);
        return match (&clause.wanted, value) {
            (Wanted::Null, value) => value.is_none(),
            (Wanted::Text(wanted), Some(value)) => compare_text(clause.comparison, value, wanted),
            _ => false,
        };
    }
    let mut segments = clause.field.split('.');
    let first = segments.next().unwrap_or_default();
    let mut value = match first {
        "created" => object.created.into(),
        "id" => object.id.to_string().into(),
        _ => object.value(first),
    };
    for segment in segments {
        value = value.get_mut(segment).map(serde_json::Value::take).unwrap_or_default();
    }
    match (&clause.wanted, &value) {
        (Wanted::Null, value) => value.is_null(),
        (Wanted::Text(wanted), serde_json::Value::String(text)) => compare_text(clause.comparison, text, wanted),
        (Wanted::Text(wanted), value) if !value.is_null() => {
            let as_text = value.to_string();
            match (as_text.parse::<f64>(), wanted.parse::<f64>()) {
                (Ok(has), Ok(wanted)) => compare_numbers(clause.comparison, has, wanted),
                _ => as_text == *wanted,
            }
        }
        _ => false,
    }
}

/// Texts are compared without regard to case; `~` finds a part.
fn compare_text(comparison: Comparison, has: &str, wanted: &str) -> bool {
    let (has, wanted) = (has.to_lowercase(), wanted.to_lowercase());
    match comparison {
        Comparison::Equal => has == wanted,
        Comparison::Contains => has.contains(&wanted),
        other => match (has.parse::<f64>(), wanted.parse::<f64>()) {
            (Ok(has), Ok(wanted)) => compare_numbers(other, has, wanted),
            _ => false,
        },
    }
}

fn compare_numbers(comparison: Comparison, has: f64, wanted: f64) -> bool {
    match comparison {
        Comparison::Equal | Comparison::Contains => has == wanted,
        Comparison::Greater => has > wanted,
        Comparison::GreaterOrEqual => has >= wanted,
        Comparison::Less => has < wanted,
        Comparison::LessOrEqual => has <= wanted,
    }
}
