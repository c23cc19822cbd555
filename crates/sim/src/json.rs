//! Writing JSON: straight into the answer, with no tree in between.

use std::fmt::Write as _;

use inflight_stripe::{Kind, Value};

/// A value that its kind cannot hold: a number beyond 64 bits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OutOfRange;

/// Appends a text in quotes.
pub(crate) fn push_text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        out.push_str(&rest[..at]);
        let escaped = rest.as_bytes()[at];
        match escaped {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            other => push_number(out, format_args!("\\u{other:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Appends whatever prints as JSON.
pub(crate) fn push_number(out: &mut String, number: impl std::fmt::Display) {
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{number}");
}

/// A text in quotes.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_text(&mut out, text);
    out
}

/// Appends a parameter as an object of Stripe's shows it. Nested parameters that were not given are null.
pub(crate) fn push_value(out: &mut String, kind: &Kind, value: &Value) -> Result<(), OutOfRange> {
    match (kind, value) {
        // No form carries a file.
        (_, Value::Null | Value::File(_)) => out.push_str("null"),
        (Kind::Integer | Kind::Timestamp, Value::Text(text)) => {
            let number: i64 = text.parse().map_err(|_| OutOfRange)?;
            push_number(out, number);
        }
        (Kind::Number, Value::Text(text)) => {
            let number: f64 = text.parse().map_err(|_| OutOfRange)?;
            if !number.is_finite() {
                return Err(OutOfRange);
            }
            push_number(out, number);
        }
        (Kind::Boolean, Value::Text(text)) => out.push_str(if text == "true" { "true" } else { "false" }),
        (Kind::AnyOf(kinds), _) => return push_value(out, fitting(kinds, value), value),
        (Kind::Object(params), Value::Map(given)) => {
            for (n, param) in params.iter().enumerate() {
                out.push(if n == 0 { '{' } else { ',' });
                push_text(out, param.name);
                out.push(':');
                match given.get(param.name) {
                    Some(Value::Text(text)) if text.is_empty() => out.push_str("null"),
                    Some(value) => push_value(out, &param.kind, value)?,
                    None => out.push_str("null"),
                }
            }
            out.push_str(if params.is_empty() { "{}" } else { "}" });
        }
        (Kind::List(item), Value::List(values)) => push_list(out, item, values)?,
        (_, Value::List(values)) => push_list(out, &Kind::Any, values)?,
        (_, Value::Map(entries)) => {
            let kind = if let Kind::Map(kind) = kind { kind } else { &Kind::Any };
            out.push('{');
            for (n, (name, value)) in entries.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                push_text(out, name);
                out.push(':');
                push_value(out, kind, value)?;
            }
            out.push('}');
        }
        (_, Value::Text(text)) => push_text(out, text),
        (_, Value::Bool(value)) => push_number(out, value),
        (_, Value::Integer(number)) => push_number(out, number),
        (_, Value::Float(number)) if number.is_finite() => push_number(out, number),
        (_, Value::Float(_)) => return Err(OutOfRange),
    }
    Ok(())
}

fn push_list(out: &mut String, kind: &Kind, values: &[Value]) -> Result<(), OutOfRange> {
    out.push('[');
    for (n, value) in values.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        push_value(out, kind, value)?;
    }
    out.push(']');
    Ok(())
}

/// Which of several kinds a value was given as.
fn fitting(kinds: &'static [Kind], value: &Value) -> &'static Kind {
    let fits = |kind: &&Kind| match (kind, value) {
        (Kind::Object(_) | Kind::Map(_), Value::Map(_)) | (Kind::List(_), Value::List(_)) => true,
        (Kind::Integer | Kind::Timestamp, Value::Text(text)) => text.parse::<i64>().is_ok(),
        (Kind::Number, Value::Text(text)) => text.parse::<f64>().is_ok_and(f64::is_finite),
        (Kind::Boolean, Value::Text(text)) => text == "true" || text == "false",
        _ => false,
    };
    kinds.iter().find(fits).unwrap_or(&Kind::Any)
}

#[cfg(test)]
mod tests {
    use inflight_stripe::{Operation, Params};

    use super::*;

    #[test]
    fn texts_are_escaped() {
        for odd in ["", "plain", "\"\\\n\r\t\u{0}\u{1f}", "é💳\u{7f}\u{2028}"] {
            let read: String = serde_json::from_str(&text(odd)).unwrap();
            assert_eq!(read, odd);
        }
    }

    #[test]
    fn parameters_become_what_stripe_shows() {
        let operation = Operation::by_name("price.create").unwrap();
        let json = |name: &str, value: Value| {
            let mut out = String::new();
            push_value(&mut out, &operation.param(name).unwrap().kind, &value).map(|()| out)
        };
        assert_eq!(json("unit_amount", "007".into()).unwrap(), "7");
        assert_eq!(json("unit_amount", "9".repeat(30).into()), Err(OutOfRange));
        assert_eq!(json("active", "true".into()).unwrap(), "true");
        let recurring = Params::new().with("interval", "month");
        assert_eq!(
            json("recurring", recurring.into()).unwrap(),
            r#"{"interval":"month","interval_count":null,"meter":null,"usage_type":null}"#
        );
        let tiers = Value::List(vec![
            Params::new().with("up_to", "inf").into(),
            Params::new().with("up_to", "5").into(),
        ]);
        let tiers = json("tiers", tiers).unwrap();
        assert!(
            tiers.contains(r#""up_to":"inf""#) && tiers.contains(r#""up_to":5"#),
            "{tiers}"
        );
    }
}
