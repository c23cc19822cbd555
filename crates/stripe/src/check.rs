//! Whether Stripe would take a parameter, as far as the catalogue knows.
//!
//! What Stripe would take is never refused: in a form every value is text, so `"5"` is as good an integer as `5`.

use std::borrow::Cow;
use std::fmt;

use crate::catalogue::{Kind, Operation, Param, nearest};
use crate::param_error::{ParamError, Problem};
use crate::value::{Params, Value};

/// Metadata keys have at most so many characters. <https://docs.stripe.com/api/metadata>
pub const METADATA_KEY_MAX: usize = 40;
/// Metadata values have at most so many characters. <https://docs.stripe.com/api/metadata>
pub const METADATA_VALUE_MAX: usize = 500;

impl Operation {
    /// Checks one parameter's name and value, nested ones included.
    ///
    /// # Errors
    /// The first thing that Stripe would refuse.
    ///
    /// ```
    /// use inflight_stripe::Operation;
    ///
    /// let price = Operation::by_name("price.create").unwrap();
    /// assert!(price.check("unit_amount", &1000.into()).is_ok());
    /// let error = price.check("unit_amout", &1000.into()).unwrap_err();
    /// assert_eq!(error.to_string(), "unknown parameter `unit_amout`: did you mean `unit_amount`?");
    /// ```
    pub fn check(&self, name: &str, value: &Value) -> Result<(), ParamError> {
        match self.param(name) {
            Some(param) => check_param(param, value, &Path::Root(name)),
            None => Err(unknown(&Path::Root(name), name, self.known_params())),
        }
    }

    /// Checks all parameters, and that none is missing.
    ///
    /// # Errors
    /// The first thing that Stripe would refuse.
    pub fn check_all(&self, params: &Params) -> Result<(), ParamError> {
        for (name, value) in params.iter() {
            self.check(name, value)?;
        }
        match missing(self.known_params(), params) {
            Some(param) => Err(Path::Root(param.name).error(Problem::Missing)),
            None => Ok(()),
        }
    }
}

impl Param {
    /// Checks a value for this parameter, nested ones included. The error's path begins with the parameter's name.
    ///
    /// # Errors
    /// The first thing that Stripe would refuse.
    pub fn check(&'static self, value: &Value) -> Result<(), ParamError> {
        check_param(self, value, &Path::Root(self.name))
    }
}

fn missing(mut known: impl Iterator<Item = &'static Param>, given: &Params) -> Option<&'static Param> {
    known.find(|p| p.required && given.get(p.name).is_none_or(Value::sends_nothing))
}

fn unknown(path: &Path<'_>, name: &str, known: impl Iterator<Item = &'static Param>) -> ParamError {
    let nearest = nearest(name, known.map(|p| p.name));
    path.error(Problem::Unknown { nearest })
}

fn check_param(param: &'static Param, value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
    let is_metadata = param.name == "metadata";
    if clears(value) {
        let may_be_empty = match param.kind {
            Kind::Enum(values) => values.contains(&""),
            Kind::OpenEnum(_) | Kind::Any => true,
            // The specification marks few of the texts that may be empty: Stripe knows best.
            Kind::Text | Kind::TextUpTo(_) => !param.required,
            _ => false,
        };
        return if param.clearable || is_metadata || may_be_empty {
            Ok(())
        } else {
            Err(path.error(Problem::NotClearable))
        };
    }
    if is_metadata && let (Kind::Map(_), Value::Map(entries)) = (param.kind, value) {
        return check_metadata(entries, path);
    }
    check_kind(&param.kind, value, path)
}

fn clears(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Text(text) => text.is_empty(),
        _ => false,
    }
}

fn check_metadata(entries: &Params, path: &Path<'_>) -> Result<(), ParamError> {
    for (key, value) in entries.iter() {
        let path = Path::Key(path, key);
        check_length(key, METADATA_KEY_MAX, &path)?;
        if value != &Value::Null {
            check_text(value, METADATA_VALUE_MAX, Kind::Text, &path)?;
        }
    }
    Ok(())
}

fn check_kind(kind: &'static Kind, value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
    let fits = match kind {
        Kind::Any => true,
        Kind::File => matches!(value, Value::File(_)),
        Kind::Integer | Kind::IntegerText | Kind::Timestamp => is_integer(value),
        Kind::Number => is_number(value),
        Kind::Decimal => is_number(value),
        Kind::Boolean => matches!(value, Value::Bool(_)) || matches!(value.as_text(), Some("true" | "false")),
        Kind::Text => return check_text(value, usize::MAX, *kind, path),
        Kind::TextUpTo(max) => return check_text(value, *max as usize, *kind, path),
        Kind::OpenEnum(_) => return check_text(value, usize::MAX, *kind, path),
        Kind::Enum(values) => return check_enum(values, value, path),
        Kind::List(item) => return check_list(item, kind, value, path),
        Kind::Object(params) => return check_object(params, kind, value, path),
        Kind::Map(entry) => return check_map(entry, kind, value, path),
        Kind::AnyOf(kinds) => return check_any_of(kinds, kind, value, path),
    };
    if fits {
        Ok(())
    } else {
        Err(wrong_type(kind, value, path))
    }
}

fn is_integer(value: &Value) -> bool {
    match value {
        Value::Integer(_) => true,
        // No integer of Stripe's has more than 64 bits.
        Value::Float(number) => number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0,
        Value::Text(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    }
}

fn is_number(value: &Value) -> bool {
    match value {
        Value::Integer(_) => true,
        Value::Float(number) => number.is_finite(),
        Value::Text(text) => text.bytes().any(|b| b.is_ascii_digit()) && text.parse::<f64>().is_ok(),
        _ => false,
    }
}

/// A scalar as the text that it is sent as; `None` for lists and maps.
fn as_sent(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => Some(Cow::Borrowed(text)),
        Value::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
        Value::Integer(number) => Some(Cow::Owned(number.to_string())),
        Value::Float(number) => Some(Cow::Owned(number.to_string())),
        Value::Null => Some(Cow::Borrowed("")),
        Value::List(_) | Value::Map(_) | Value::File(_) => None,
    }
}

fn check_text(value: &Value, max: usize, kind: Kind, path: &Path<'_>) -> Result<(), ParamError> {
    match value {
        Value::Text(text) => check_length(text, max, path),
        Value::List(_) | Value::Map(_) | Value::File(_) => Err(path.error(Problem::WrongType {
            expected: kind,
            found: describe(value),
        })),
        _ => Ok(()),
    }
}

fn check_length(text: &str, max: usize, path: &Path<'_>) -> Result<(), ParamError> {
    // A text has no more characters than bytes: most need not be counted.
    if text.len() <= max {
        return Ok(());
    }
    let length = text.chars().count();
    if length <= max {
        return Ok(());
    }
    Err(path.error(Problem::TooLong { max, length }))
}

fn check_enum(expected: &'static [&'static str], value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
    let known = as_sent(value).is_some_and(|text| expected.contains(&&*text));
    if known {
        return Ok(());
    }
    Err(path.error(Problem::NotInEnum {
        expected,
        found: describe(value),
    }))
}

fn check_list(item: &'static Kind, kind: &'static Kind, value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
    let items = match value {
        Value::List(items) => items,
        // Entries named `0`, `1`, … are sent as a list is.
        Value::Map(entries) if entries.iter().all(|(name, _)| name.bytes().all(|b| b.is_ascii_digit())) => {
            let mut items = entries.iter();
            return items.try_for_each(|(name, value)| check_kind(item, value, &Path::Key(path, name)));
        }
        _ => return Err(wrong_type(kind, value, path)),
    };
    for (index, value) in items.iter().enumerate() {
        check_kind(item, value, &Path::Index(path, index))?;
    }
    Ok(())
}

fn check_object(
    params: &'static [Param],
    kind: &'static Kind,
    value: &Value,
    path: &Path<'_>,
) -> Result<(), ParamError> {
    let Value::Map(entries) = value else {
        return Err(wrong_type(kind, value, path));
    };
    for (name, value) in entries.iter() {
        let path = Path::Key(path, name);
        match Param::find(params, name) {
            Some(param) => check_param(param, value, &path)?,
            None => return Err(unknown(&path, name, params.iter())),
        }
    }
    match missing(params.iter(), entries) {
        // An empty map sends nothing, so nothing is missing in it.
        Some(param) if !entries.is_empty() => Err(Path::Key(path, param.name).error(Problem::Missing)),
        _ => Ok(()),
    }
}

fn check_map(entry: &'static Kind, kind: &'static Kind, value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
    match value {
        Value::Map(entries) => entries.iter().try_for_each(|(name, value)| {
            if clears(value) {
                return Ok(());
            }
            check_kind(entry, value, &Path::Key(path, name))
        }),
        // A list is sent as entries named `0`, `1`, …, which is a map to Stripe.
        Value::List(items) => items
            .iter()
            .enumerate()
            .try_for_each(|(index, value)| check_kind(entry, value, &Path::Index(path, index))),
        _ => Err(wrong_type(kind, value, path)),
    }
}

/// Any kind that fits will do. If none does, the complaint of the one that was most likely meant says most.
fn check_any_of(kinds: &'static [Kind], kind: &'static Kind, value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
    let mut nested = None;
    for kind in kinds {
        match (check_kind(kind, value, path), kind, value) {
            (Ok(()), ..) => return Ok(()),
            (Err(error), Kind::Object(_) | Kind::Map(_), Value::Map(_))
            | (Err(error), Kind::List(_), Value::List(_)) => {
                nested.get_or_insert(error);
            }
            _ => {}
        }
    }
    Err(nested.unwrap_or_else(|| wrong_type(kind, value, path)))
}

fn wrong_type(expected: &Kind, value: &Value, path: &Path<'_>) -> ParamError {
    path.error(Problem::WrongType {
        expected: *expected,
        found: describe(value),
    })
}

/// A value in a few words, on one line.
fn describe(value: &Value) -> String {
    const SHOWN: usize = 40;
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Text(text) if text.chars().nth(SHOWN).is_none() => format!("{text:?}"),
        Value::Text(text) => format!("{:?}…", text.chars().take(SHOWN).collect::<String>()),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::File(_) => "a file".to_owned(),
    }
}

/// Where a value stands. Written out only when there is something to complain of.
enum Path<'a> {
    Root(&'a str),
    Key(&'a Path<'a>, &'a str),
    Index(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn error(&self, problem: Problem) -> ParamError {
        ParamError {
            path: self.to_string(),
            problem,
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(name) => write_name(f, name),
            Self::Key(parent, name) => {
                write!(f, "{parent}.")?;
                write_name(f, name)
            }
            Self::Index(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// A name from a script may be anything: it is shortened, and shown without control characters.
fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    const SHOWN: usize = 60;
    for c in name.chars().take(SHOWN) {
        write!(f, "{}", if c.is_control() { '\u{fffd}' } else { c })?;
    }
    if name.chars().nth(SHOWN).is_some() {
        f.write_str("…")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(operation: &str, name: &str, value: serde_json::Value) -> String {
        match Operation::by_name(operation).unwrap().check(name, &value.into()) {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn taken() {
        for (operation, name, value) in [
            ("price.create", "unit_amount", json!(1000)),
            ("price.create", "unit_amount", json!(1000.0)),
            ("price.create", "unit_amount", json!("1000")),
            ("price.create", "unit_amount", json!("-1")),
            ("price.create", "unit_amount_decimal", json!("12.50")),
            ("price.create", "unit_amount_decimal", json!(12.5)),
            ("price.create", "nickname", json!(7)),
            ("price.create", "active", json!("true")),
            ("price.create", "tiers", json!([{"up_to": "inf"}, {"up_to": 5}])),
            ("price.create", "recurring", json!({"interval": "month"})),
            ("price.create", "recurring", json!({})),
            ("price.create", "metadata", json!("")),
            ("price.create", "metadata", json!(null)),
            (
                "price.create",
                "metadata",
                json!({"a": null, "b": 1, "c": true, "d": ""}),
            ),
            ("price.list", "created", json!({"gte": 1})),
            ("price.list", "created", json!(1)),
            ("coupon.create", "percent_off", json!("12.5")),
            ("customer.update", "shipping", json!("")),
            ("customer.update", "email", json!("a@example.com")),
            ("customer.update", "description", json!("")),
            ("subscription.create", "items", json!({"0": {"price": "price_1"}})),
            ("subscription.create", "trial_end", json!("now")),
            ("subscription.create", "trial_end", json!(1_700_000_000)),
            ("subscription.create", "items", json!([{"price": "price_1"}])),
            ("product.create", "expand", json!(["whatever"])),
        ] {
            assert_eq!(
                check(operation, name, value.clone()),
                "ok",
                "{operation} {name} {value}"
            );
        }
    }

    #[test]
    fn refused() {
        for (operation, name, value, message) in [
            (
                "product.create",
                "nmae",
                json!("x"),
                "unknown parameter `nmae`: did you mean `name`?",
            ),
            ("product.create", "zebra", json!("x"), "unknown parameter `zebra`"),
            (
                "product.create",
                "name",
                json!(""),
                "parameter `name` cannot be cleared, leave it out or give a value",
            ),
            (
                "product.create",
                "active",
                json!(7),
                "parameter `active` is 7, expected boolean",
            ),
            (
                "product.create",
                "name",
                json!(["x"]),
                "parameter `name` is a list, expected text of at most 5000 characters",
            ),
            (
                "price.create",
                "unit_amount",
                json!(10.5),
                "parameter `unit_amount` is 10.5, expected integer",
            ),
            (
                "price.create",
                "unit_amount",
                json!("1e3"),
                "parameter `unit_amount` is \"1e3\", expected integer",
            ),
            (
                "price.create",
                "unit_amount_decimal",
                json!("inf"),
                "parameter `unit_amount_decimal` is \"inf\", expected decimal as text",
            ),
            (
                "price.create",
                "tiers_mode",
                json!("flat"),
                "parameter `tiers_mode` is \"flat\", expected one of graduated|volume",
            ),
            (
                "coupon.create",
                "name",
                json!("x".repeat(41)),
                "parameter `name` is 41 characters long, at most 40 are allowed",
            ),
            (
                "subscription.create",
                "items",
                json!([{"price_data": {"curency": "usd"}}]),
                "unknown parameter `items[0].price_data.curency`: did you mean `currency`?",
            ),
            (
                "subscription.create",
                "items",
                json!([{}, {"price_data": {"currency": "usd", "recurring": {"interval": "week"}}}]),
                "missing required parameter `items[1].price_data.product`",
            ),
            (
                "product.create",
                "metadata",
                json!({"k": ["v"]}),
                "parameter `metadata.k` is a list, expected text",
            ),
            (
                "product.create",
                "metadata",
                json!({"k": "v".repeat(501)}),
                "parameter `metadata.k` is 501 characters long, at most 500 are allowed",
            ),
            (
                "price.list",
                "created",
                json!({"gt": "x"}),
                "parameter `created.gt` is \"x\", expected integer",
            ),
        ] {
            assert_eq!(check(operation, name, value), message);
        }
    }

    #[test]
    fn missing_ones_are_named() {
        let operation = Operation::by_name("price.create").unwrap();
        let error = operation.check_all(&Params::new()).unwrap_err();
        assert_eq!(error.to_string(), "missing required parameter `currency`");
        assert!(operation.check_all(&Params::new().with("currency", "usd")).is_ok());
    }

    #[test]
    fn a_message_is_one_short_line() {
        let operation = Operation::by_name("product.create").unwrap();
        let error = operation.check(&"a\nb\u{7}".repeat(9000), &Value::Null).unwrap_err();
        let text = error.to_string();
        assert!(text.len() < 300 && !text.contains(char::is_control), "{text}");
    }
}
