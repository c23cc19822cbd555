//! Whole objects in place of ids. <https://docs.stripe.com/api/expanding_objects>

use serde_json::Value;

use crate::error::{ApiError, shortened};
use crate::object::Object;
use crate::schema::{SchemaId, Shape};
use crate::store::DataSet;

/// How deep a path may go.
const DEPTH_MAX: usize = 4;

/// What stands in its object anyhow, and may be asked for all the same: `x-expandableFields` of the specification.
const INLINE: [(&str, &str); 11] = [
    ("coupon", "applies_to"),
    ("coupon", "currency_options"),
    ("customer", "tax"),
    ("invoice", "confirmation_secret"),
    ("plan", "tiers"),
    ("price", "currency_options"),
    ("price", "custom_unit_amount"),
    ("price", "recurring"),
    ("price", "tiers"),
    ("price", "transform_quantity"),
    ("promotion_code", "restrictions"),
];

/// That each path leads to something that can be expanded. Asked before anything is done.
pub(crate) fn check(shape: Shape, paths: &[&str]) -> Result<(), ApiError> {
    for path in paths {
        let segments: Vec<&str> = path.split('.').collect();
        if segments.len() > DEPTH_MAX {
            let message = format!(
                "You cannot expand more than {DEPTH_MAX} levels of a property. Property: {}",
                shortened(path)
            );
            return Err(ApiError::invalid(message).param("expand"));
        }
        if !is_expandable(shape, &segments, false) {
            let message = format!("This property cannot be expanded ({}).", shortened(path));
            return Err(ApiError::invalid(message).param("expand"));
        }
    }
    Ok(())
}

/// Puts objects in place of ids in an answer. What a path does not find there is passed over.
pub(crate) fn expand(answer: String, shape: Shape, paths: &[&str], data: &DataSet) -> String {
    if paths.is_empty() {
        return answer;
    }
    let mut value: Value = serde_json::from_str(&answer).unwrap_or_default();
    for path in paths {
        let segments: Vec<&str> = path.split('.').take(DEPTH_MAX).collect();
        expand_in(&mut value, shape, &segments, data);
    }
    value.to_string()
}

/// Whether a path leads to something that can be expanded, by the schemas alone: whatever stands there now.
fn is_expandable(shape: Shape, path: &[&str], found: bool) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return found || matches!(shape, Shape::Id(_) | Shape::Page(_)) || !shape.resources().is_empty();
    };
    match shape {
        Shape::Page(item) if *first == "data" => is_expandable(Shape::inner(item), rest, true),
        Shape::List(item) => is_expandable(Shape::inner(item), path, found),
        Shape::Page(_) => false,
        shape => shape.objects().iter().any(|schema| {
            let field = schema.field(first);
            let inline = rest.is_empty() && INLINE.contains(&(schema.get().name, *first));
            inline || field.is_some_and(|field| is_expandable(inner(field.shape), rest, false))
        }),
    }
}

/// A list of something expands as that something does.
fn inner(shape: Shape) -> Shape {
    match shape {
        Shape::List(item) => Shape::inner(item),
        other => other,
    }
}

fn expand_in(value: &mut Value, shape: Shape, path: &[&str], data: &DataSet) {
    if let (Value::Array(items), Shape::List(item)) = (&mut *value, shape) {
        items
            .iter_mut()
            .for_each(|one| expand_in(one, Shape::inner(item), path, data));
        return;
    }
    if let Value::Array(items) = value {
        items.iter_mut().for_each(|one| expand_in(one, shape, path, data));
        return;
    }
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if let (Shape::Page(item), "data") = (shape, *first) {
        expand_in(&mut value["data"], Shape::inner(item), rest, data);
        return;
    }
    let Value::Object(_) = value else { return };
    for schema in shape.objects() {
        let Some(field) = schema.field(first) else { continue };
        if value.get(*first).is_none() {
            if let Some(page) = on_demand(value, schema, first, field.shape, data) {
                value[*first] = page;
            } else {
                continue;
            }
        }
        let place = &mut value[*first];
        replace(place, inner(field.shape), data);
        expand_in(place, field.shape, rest, data);
        return;
    }
}

/// Ids by the objects that they name.
fn replace(place: &mut Value, shape: Shape, data: &DataSet) {
    match place {
        Value::Array(items) => items.iter_mut().for_each(|one| replace(one, shape, data)),
        Value::String(id) => {
            let found = shape.resources().into_iter().find_map(|schema| data.get(schema, id));
            if let Some(object) = found {
                *place = read(object, data);
            }
        }
        _ => {}
    }
}

fn read(object: &Object, data: &DataSet) -> Value {
    let mut json = String::new();
    object.push_json(&mut json, data);
    serde_json::from_str(&json).unwrap_or_default()
}

/// What shows only where it is asked for: a page of the objects that belong to this one.
fn on_demand(owner: &Value, schema: SchemaId, field: &str, shape: Shape, data: &DataSet) -> Option<Value> {
    let Shape::Page(item) = shape else { return None };
    let id = owner["id"].as_str()?;
    let kept = data.get(schema, id).map(|object| object.ids(field)).unwrap_or_default();
    let owner_field = schema.object().rsplit('.').next().unwrap_or_default();
    let belongs = |object: &&Object| {
        kept.iter().any(|id| **id == *object.id)
            || object.parent.as_deref() == Some(id)
            || object.word(owner_field) == Some(id)
    };
    let resources = Shape::inner(item).resources();
    let objects = resources.iter().flat_map(|schema| data.table(*schema).iter());
    let items: Vec<Value> = objects.filter(belongs).map(|object| read(object, data)).collect();
    let url = format!("/v1/{}s/{id}/{field}", schema.object().replace('.', "/"));
    Some(serde_json::json!({ "object": "list", "data": items, "has_more": false, "url": url }))
}
