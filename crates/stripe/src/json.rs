//! The body of Stripe's API v2: JSON, in which what may have more digits than a JSON number keeps is a string.
//! <https://docs.stripe.com/api-v2-overview>

use serde_json::{Map, Number, Value as Json};

use crate::catalogue::{Kind, Param};
use crate::form::{EncodeError, MAX_DEPTH};
use crate::value::{Params, Value};

/// Writes parameters as a JSON object. What `known` does not name is written as it was given.
pub(crate) fn encode(params: &Params, known: &'static [Param]) -> Result<String, EncodeError> {
    Ok(object(params, known, 1)?.to_string())
}

fn object(entries: &Params, known: &'static [Param], depth: usize) -> Result<Json, EncodeError> {
    let kind_of = |name: &str| Param::find(known, name).map_or(Kind::Any, |param| param.kind);
    map(entries, depth, kind_of)
}

fn map(entries: &Params, depth: usize, kind_of: impl Fn(&str) -> Kind) -> Result<Json, EncodeError> {
    let mut out = Map::new();
    for (name, value) in entries.iter() {
        out.insert(name.to_owned(), json(value, kind_of(name), name, depth)?);
    }
    Ok(Json::Object(out))
}

fn json(value: &Value, kind: Kind, name: &str, depth: usize) -> Result<Json, EncodeError> {
    if depth >= MAX_DEPTH {
        return Err(EncodeError::TooDeep);
    }
    Ok(match (kind, value) {
        (_, Value::Null) => Json::Null,
        (Kind::Open(usual), _) => return json(value, *usual, name, depth),
        (Kind::AnyOf(kinds), _) => return json(value, fitting(kinds, value), name, depth),
        (Kind::Object(params), Value::Map(entries)) => object(entries, params, depth + 1)?,
        (Kind::Map(entry), Value::Map(entries)) => map(entries, depth + 1, |_| *entry)?,
        (_, Value::Map(entries)) => map(entries, depth + 1, |_| Kind::Any)?,
        (_, Value::List(items)) => {
            let item = if let Kind::List(item) = kind { *item } else { Kind::Any };
            let items = items.iter().map(|value| json(value, item, name, depth + 1));
            Json::Array(items.collect::<Result<_, _>>()?)
        }
        (_, Value::File(_)) => return Err(EncodeError::File(name.to_owned())),
        (_, Value::Float(number)) if !number.is_finite() => return Err(EncodeError::NotFinite(name.to_owned())),
        (Kind::Boolean, Value::Text(text)) if text == "true" || text == "false" => Json::Bool(text == "true"),
        (Kind::Integer | Kind::Number, Value::Text(text)) => {
            number_of(text).map_or_else(|| text_json(text), Json::Number)
        }
        (Kind::Integer, Value::Float(number)) => whole(*number).map_or_else(|| float(*number), Json::from),
        (kind, _) if is_text(kind) => Json::String(as_text(value)),
        (_, Value::Bool(flag)) => Json::Bool(*flag),
        (_, Value::Integer(number)) => Json::from(*number),
        (_, Value::Float(number)) => float(*number),
        (_, Value::Text(text)) => text_json(text),
    })
}

/// Kinds that are strings on the wire, decimals and large integers among them.
fn is_text(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Text | Kind::TextUpTo(_) | Kind::Decimal | Kind::IntegerText | Kind::Enum(_) | Kind::OpenEnum(_)
    )
}

fn as_text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        // The addition turns -0 into 0. `Display` of a float has no exponent, and no `.0`.
        Value::Float(number) => (number + 0.0).to_string(),
        _ => String::new(),
    }
}

fn text_json(text: &str) -> Json {
    Json::String(text.to_owned())
}

/// The number that a text spells out, every digit kept.
fn number_of(text: &str) -> Option<Number> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    let number: f64 = text.parse().ok()?;
    Number::from_f64(number).filter(|_| text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'.')))
}

fn whole(number: f64) -> Option<i64> {
    // Beyond this a float has no exact integer.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

fn float(number: f64) -> Json {
    Number::from_f64(number + 0.0).map_or(Json::Null, Json::Number)
}

/// Which of several kinds a value was given as.
fn fitting(kinds: &'static [Kind], value: &Value) -> Kind {
    let fits = |kind: &&Kind| match (kind, value) {
        (Kind::Object(_) | Kind::Map(_), Value::Map(_)) | (Kind::List(_), Value::List(_)) => true,
        (Kind::Integer | Kind::Number, Value::Integer(_) | Value::Float(_)) => true,
        (Kind::Boolean, Value::Bool(_)) => true,
        (kind, Value::Text(_)) => is_text(**kind),
        _ => false,
    };
    kinds.iter().find(fits).copied().unwrap_or(Kind::Any)
}

#[cfg(test)]
mod tests {
    use super::*;

    static KNOWN: &[Param] = &[
        param("big", Kind::IntegerText),
        param("day", Kind::Integer),
        param("name", Kind::Text),
        param("share", Kind::Decimal),
        param("within", Kind::Object(&[param("shares", Kind::List(&Kind::Decimal))])),
    ];

    const fn param(name: &'static str, kind: Kind) -> Param {
        Param {
            name,
            kind,
            required: false,
            clearable: true,
        }
    }

    fn encoded(name: &str, value: impl Into<Value>) -> String {
        encode(&Params::new().with(name, value), KNOWN).unwrap()
    }

    #[test]
    fn what_loses_digits_as_a_number_is_a_string() {
        for (name, value, expected) in [
            ("big", Value::Integer(i64::MAX), r#"{"big":"9223372036854775807"}"#),
            ("big", "12".into(), r#"{"big":"12"}"#),
            ("share", Value::Float(12.5), r#"{"share":"12.5"}"#),
            ("share", "12.50".into(), r#"{"share":"12.50"}"#),
            ("share", 3.into(), r#"{"share":"3"}"#),
            ("day", 3.into(), r#"{"day":3}"#),
            ("day", "3".into(), r#"{"day":3}"#),
            ("day", Value::Float(3.0), r#"{"day":3}"#),
            ("name", 7.into(), r#"{"name":"7"}"#),
            ("name", Value::Null, r#"{"name":null}"#),
            ("name", "".into(), r#"{"name":""}"#),
            ("unknown", Value::Float(0.5), r#"{"unknown":0.5}"#),
            (
                "within",
                Params::new()
                    .with("shares", vec![Value::Float(0.1), "2.0".into()])
                    .into(),
                r#"{"within":{"shares":["0.1","2.0"]}}"#,
            ),
        ] {
            assert_eq!(encoded(name, value), expected);
        }
    }

    #[test]
    fn what_no_json_carries() {
        let encode = |value: Value| encode(&Params::new().with("n", value), KNOWN);
        assert_eq!(encode(Value::Float(f64::NAN)), Err(EncodeError::NotFinite("n".into())));
        let mut deep = Value::Integer(1);
        for _ in 0..10_000 {
            deep = Value::List(vec![deep]);
        }
        assert_eq!(encode(deep), Err(EncodeError::TooDeep));
    }
}
