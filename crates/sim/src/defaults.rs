//! What a field holds that nobody has set: by rule from its shape, or as Stripe has it where a rule cannot know.

mod known;

use std::borrow::Cow;
use std::sync::OnceLock;

use crate::generated::SCHEMAS;
use crate::json::{push_text, text};
use crate::prefix::prefix;
use crate::schema::{Field, SchemaId, Shape};

/// Required objects within required objects end here; no schema of Stripe's needs as many.
const DEPTH_MAX: usize = 8;

/// What stands in an object for one of its fields.
#[derive(Debug)]
pub(crate) enum Slot {
    Id,
    Object,
    Created,
    CreatedText,
    Livemode,
    Metadata,
    Plain,
}

/// A field, made ready to be written.
#[derive(Debug)]
pub(crate) struct Ready {
    pub(crate) slot: Slot,
    /// `,"name":`
    pub(crate) key: Box<str>,
    /// The JSON of an unset field; `None` where it is left out.
    pub(crate) default: Option<Box<str>>,
    /// Where other objects stand in full though only their ids are kept.
    pub(crate) embeds: bool,
    /// A page that shows only where it is asked for.
    pub(crate) hidden: bool,
}

/// The fields of a schema in its order.
pub(crate) fn ready(schema: SchemaId) -> &'static [Ready] {
    static READY: [OnceLock<Vec<Ready>>; SCHEMAS.len()] = [const { OnceLock::new() }; SCHEMAS.len()];
    READY[schema.index()].get_or_init(|| {
        schema
            .get()
            .fields
            .iter()
            .map(|field| make_ready(schema, field))
            .collect()
    })
}

fn make_ready(schema: SchemaId, field: &Field) -> Ready {
    let slot = match (field.name, field.shape) {
        ("id", Shape::Text) => Slot::Id,
        ("object", Shape::Enum(_)) => Slot::Object,
        ("created", Shape::Timestamp) => Slot::Created,
        ("created" | "updated", Shape::DateTime) => Slot::CreatedText,
        ("livemode", Shape::Boolean) => Slot::Livemode,
        ("metadata", Shape::Map(_)) => Slot::Metadata,
        _ => Slot::Plain,
    };
    Ready {
        slot,
        key: format!(",\"{}\":", field.name).into(),
        // One deep, since the tables that are being made cannot be asked.
        default: default_of(schema, field, 1).map(Into::into),
        embeds: embeds(field.shape),
        hidden: is_on_demand(field) && matches!(field.shape, Shape::Page(_)),
    }
}

fn embeds(shape: Shape) -> bool {
    match shape {
        Shape::Object(schema) => schema.is_resource() && schema.index_of("id").is_some(),
        Shape::List(index) => embeds(Shape::inner(index)),
        Shape::AnyOf(index) => Shape::alternatives(index).iter().any(|shape| embeds(*shape)),
        Shape::Page(_) => true,
        _ => false,
    }
}

/// Whether a field shows only where it is asked for: whole objects of another kind, and pages of them.
pub(crate) fn is_on_demand(field: &Field) -> bool {
    let whole = matches!(field.shape, Shape::Object(schema) if schema.is_resource());
    !field.required && (matches!(field.shape, Shape::Page(_)) || (whole && !field.nullable))
}

fn default_of(schema: SchemaId, field: &Field, depth: usize) -> Option<String> {
    if let Some(json) = known::default(schema.get().name, field.name) {
        return Some(json.to_owned());
    }
    if is_on_demand(field) {
        None
    } else if field.nullable {
        Some("null".to_owned())
    } else if field.required {
        Some(filled(field.name, field.shape, depth))
    } else {
        None
    }
}

/// A valid value of this shape.
pub(crate) fn filled(name: &str, shape: Shape, depth: usize) -> String {
    if let Some(json) = known::by_name(name, shape) {
        return json.to_owned();
    }
    match shape {
        Shape::Any => "null".to_owned(),
        Shape::Boolean => "false".to_owned(),
        Shape::Integer | Shape::Timestamp | Shape::Number => "0".to_owned(),
        Shape::Text => "\"\"".to_owned(),
        Shape::Digits => "\"0\"".to_owned(),
        Shape::Currency => "\"usd\"".to_owned(),
        Shape::DateTime => "\"1970-01-01T00:00:00.000Z\"".to_owned(),
        Shape::Enum(values) => text(known::likeliest(Shape::enumeration(values))),
        Shape::List(_) => "[]".to_owned(),
        Shape::Map(_) => "{}".to_owned(),
        Shape::Page(item) => empty_page(Shape::inner(item)),
        Shape::Id(_) => {
            let to = shape.resources().first().map_or("", |schema| prefix(*schema).0);
            text(&format!("{to}0"))
        }
        Shape::AnyOf(index) => match Shape::alternatives(index).first() {
            Some(first) => filled(name, *first, depth),
            None => "null".to_owned(),
        },
        Shape::Object(_) if depth >= DEPTH_MAX => "{}".to_owned(),
        Shape::Object(schema) => nested(schema, &[], depth),
    }
}

/// An object of this schema with these fields, JSON by name, and defaults for the others. Where `type` says which of several
/// fields is meant, that one is there.
pub(crate) fn nested(schema: SchemaId, given: &[(&str, String)], depth: usize) -> String {
    let fields = schema.get().fields;
    let ready = if depth == 0 { ready(schema) } else { &[] };
    let value = |(place, field): (usize, &'static Field)| -> Option<(&str, Cow<'_, str>)> {
        let given = given
            .iter()
            .find(|(name, _)| *name == field.name)
            .map(|(_, json)| Cow::Borrowed(json.as_str()));
        let json = given.or_else(|| match (field.name, ready.get(place)) {
            ("id", _) if schema.is_resource() => Some(Cow::Owned(text(&format!("{}0", prefix(schema).0)))),
            ("object", _) if !schema.object().is_empty() => Some(Cow::Owned(text(schema.object()))),
            (_, Some(ready)) => ready.default.as_deref().map(Cow::Borrowed),
            (_, None) => default_of(schema, field, depth + 1).map(Cow::Owned),
        })?;
        Some((field.name, json))
    };
    let mut written: Vec<(&str, Cow<'_, str>)> = fields.iter().enumerate().filter_map(value).collect();
    let kind = written
        .iter()
        .find(|(name, _)| *name == "type")
        .map(|(_, json)| json.trim_matches('"').to_owned());
    if let Some((name, json)) = kind.and_then(|kind| of_type(schema, &kind, depth))
        && !written.iter().any(|(known, json)| *known == name && json != "null")
    {
        written.retain(|(known, _)| *known != name);
        written.push((name, Cow::Owned(json)));
    }
    let mut out = String::with_capacity(256);
    for (n, (name, json)) in written.iter().enumerate() {
        out.push(if n == 0 { '{' } else { ',' });
        push_text(&mut out, name);
        out.push(':');
        out.push_str(json);
    }
    out.push_str(if written.is_empty() { "{}" } else { "}" });
    out
}

/// The field that goes with a `type`, as `card` does with `"type": "card"`.
pub(crate) fn of_type(schema: SchemaId, kind: &str, depth: usize) -> Option<(&'static str, String)> {
    let field = schema.field(kind)?;
    match field.shape {
        Shape::Object(inner) if !inner.is_resource() && depth < DEPTH_MAX => {
            Some((field.name, nested(inner, &[], depth + 1)))
        }
        _ => None,
    }
}

fn empty_page(item: Shape) -> String {
    let object = item.resources().first().map_or("", |schema| schema.object());
    page("[]", false, &format!("/v1/{}s", object.replace('.', "/")))
}

/// A list object.
pub(crate) fn page(data: &str, has_more: bool, url: &str) -> String {
    format!(
        "{{\"object\":\"list\",\"data\":{data},\"has_more\":{has_more},\"url\":{}}}",
        text(url)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_json() {
        for index in 0..SCHEMAS.len() {
            let schema = SchemaId(u16::try_from(index).unwrap());
            for ready in ready(schema) {
                if let Some(json) = &ready.default {
                    let read = serde_json::from_str::<serde_json::Value>(json);
                    assert!(read.is_ok(), "{} {json}", schema.get().name);
                }
            }
        }
    }
}
