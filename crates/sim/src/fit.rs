//! Parameters as fields: what was given, in the shape that an answer has.

use inflight_stripe::{Params, Value};

use crate::defaults::nested;
use crate::json::{push_number, text};
use crate::schema::{SchemaId, Shape};
use crate::store::DataSet;

/// The JSON of a parameter's value as a field of this shape. `None` where it does not fit: then the field keeps its default.
pub(crate) fn fit(shape: Shape, value: &Value, data: &DataSet) -> Option<String> {
    match (shape, value) {
        (_, Value::Null | Value::File(_)) => None,
        (Shape::Any, _) => any(value),
        (Shape::Boolean, _) => scalar(value).filter(|text| text == "true" || text == "false"),
        (Shape::Integer | Shape::Timestamp, _) => Some(scalar(value)?.parse::<i64>().ok()?.to_string()),
        (Shape::Number, _) => number(&scalar(value)?),
        (Shape::Currency, _) => Some(text(&scalar(value)?.to_ascii_lowercase())),
        (Shape::Text | Shape::Digits | Shape::DateTime, _) => Some(text(&scalar(value)?)),
        (Shape::Enum(values), _) => {
            let given = scalar(value)?;
            Shape::enumeration(values)
                .contains(&given.as_str())
                .then(|| text(&given))
        }
        (Shape::List(item), Value::List(values)) => list(Shape::inner(item), values.iter(), data),
        // A map without names of the caller's: `[]` was sent as nothing.
        (Shape::List(item), Value::Map(entries)) if entries.iter().all(|(name, _)| is_index(name)) => {
            list(Shape::inner(item), entries.iter().map(|(_, value)| value), data)
        }
        (Shape::Map(entry), Value::Map(entries)) => map(Shape::inner(entry), entries, data),
        (Shape::Object(schema), Value::Map(given)) => Some(object(schema, given, data)),
        // An id where the whole object belongs.
        (Shape::Object(schema), Value::Text(id)) => {
            (schema.is_resource() && data.get(schema, id).is_some()).then(|| text(id))
        }
        (Shape::Id(_), Value::Text(id)) => (!id.is_empty()).then(|| text(id)),
        (Shape::AnyOf(index), _) => Shape::alternatives(index)
            .iter()
            .find_map(|shape| fit(*shape, value, data)),
        _ => None,
    }
}

fn is_index(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_digit())
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) if number.is_finite() => Some(number.to_string()),
        _ => None,
    }
}

fn number(text: &str) -> Option<String> {
    let number: f64 = text.parse().ok()?;
    number.is_finite().then(|| number.to_string())
}

fn list<'v>(item: Shape, values: impl Iterator<Item = &'v Value>, data: &DataSet) -> Option<String> {
    let items: Vec<String> = values.map(|value| fit(item, value, data)).collect::<Option<_>>()?;
    Some(format!("[{}]", items.join(",")))
}

fn map(entry: Shape, entries: &Params, data: &DataSet) -> Option<String> {
    let mut out = String::from("{");
    for (name, value) in entries.iter() {
        let Some(json) = fit(entry, value, data) else { continue };
        if out.len() > 1 {
            out.push(',');
        }
        push_number(&mut out, format_args!("{}:{json}", text(name)));
    }
    out.push('}');
    Some(out)
}

/// Fields that were not given, or do not fit, have their defaults.
fn object(schema: SchemaId, given: &Params, data: &DataSet) -> String {
    let fields: Vec<(&str, String)> = schema
        .get()
        .fields
        .iter()
        .filter_map(|field| Some((field.name, fit(field.shape, given.get(field.name)?, data)?)))
        .collect();
    nested(schema, &fields, 0)
}

fn any(value: &Value) -> Option<String> {
    Some(match value {
        Value::Map(entries) => map(Shape::Any, entries, &DataSet::default())?,
        Value::List(values) => list(Shape::Any, values.iter(), &DataSet::default())?,
        Value::Bool(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        other => text(&scalar(other)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{CUSTOMER, PRICE, PRODUCT};

    fn fitted(schema: SchemaId, field: &str, value: impl Into<Value>) -> Option<String> {
        fit(schema.field(field).unwrap().shape, &value.into(), &DataSet::default())
    }

    #[test]
    fn what_fits_and_what_does_not() {
        assert_eq!(fitted(PRICE, "unit_amount", "007").as_deref(), Some("7"));
        assert_eq!(fitted(PRICE, "unit_amount", "9".repeat(30)), None);
        assert_eq!(fitted(PRICE, "active", "true").as_deref(), Some("true"));
        assert_eq!(fitted(PRICE, "type", "zebra"), None);
        assert_eq!(fitted(PRICE, "currency", "USD").as_deref(), Some("\"usd\""));
        assert_eq!(
            fitted(PRODUCT, "images", vec!["a", "b"]).as_deref(),
            Some(r#"["a","b"]"#)
        );
        let address = Params::new().with("city", "Berlin").with("zebra", "x");
        let json: serde_json::Value = serde_json::from_str(&fitted(CUSTOMER, "address", address).unwrap()).unwrap();
        assert_eq!(json["city"], "Berlin");
        assert_eq!(json["line1"], serde_json::Value::Null);
        assert!(json["zebra"].is_null());
    }
}
