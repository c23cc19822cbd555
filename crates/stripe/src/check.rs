//! Whether Stripe would take a parameter, as far as the catalogue knows.
//!
//! What Stripe would take is never refused: in a form every value is text, so `"5"` is as good an integer as `5`.

use std::borrow::Cow;
use std::fmt;

use crate::catalogue::{Encoding, Kind, Operation, Param, nearest};
use crate::param_error::{ParamError, Problem};
use crate::redact::{is_printable, redacted};
use crate::value::{Params, Value};

/// Metadata keys have at most so many characters. <https://docs.stripe.com/api/metadata>
pub const METADATA_KEY_MAX: usize = 40;
/// Metadata has at most so many entries. <https://docs.stripe.com/api/metadata>
pub const METADATA_ENTRIES_MAX: usize = 50;
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
        self.check_by(self.rules(), name, value)
    }

    fn check_by(&self, rules: Rules, name: &str, value: &Value) -> Result<(), ParamError> {
        match self.param(name) {
            Some(param) => rules.param(param, value, &Path::Root(name)),
            None => Err(unknown(&Path::Root(name), name, self.known_params())),
        }
    }

    /// Checks all parameters, and that none is missing.
    ///
    /// # Errors
    /// The first thing that Stripe would refuse.
    pub fn check_all(&self, params: &Params) -> Result<(), ParamError> {
        self.check_all_by(self.rules(), params)
    }

    /// [`check_all`](Self::check_all) for a server that knows no more than the specification: a value outside a list that the
    /// specification marks as not binding is refused as well.
    ///
    /// # Errors
    /// The first thing that such a server would refuse.
    pub fn check_all_listed(&self, params: &Params) -> Result<(), ParamError> {
        let rules = Rules {
            only_listed: true,
            ..self.rules()
        };
        self.check_all_by(rules, params)
    }

    fn check_all_by(&self, rules: Rules, params: &Params) -> Result<(), ParamError> {
        for (name, value) in params.iter() {
            self.check_by(rules, name, value)?;
        }
        match rules.missing(self.known_params(), params) {
            Some(param) => Err(Path::Root(param.name).error(Problem::Missing)),
            None => Ok(()),
        }
    }

    /// Checks a value for one of its parameters, on whatever level that is. The error's path begins with the parameter's name.
    ///
    /// # Errors
    /// The first thing that Stripe would refuse.
    pub fn check_param(&self, param: &'static Param, value: &Value) -> Result<(), ParamError> {
        self.rules().param(param, value, &Path::Root(param.name))
    }

    fn rules(&self) -> Rules {
        Rules {
            is_json: self.encoding == Encoding::Json,
            only_listed: false,
        }
    }
}

/// What a value may be written as: JSON has types, and in a form everything is text.
#[derive(Clone, Copy)]
struct Rules {
    is_json: bool,
    /// Whether lists that are not binding bind.
    only_listed: bool,
}

fn unknown(path: &Path<'_>, name: &str, known: impl Iterator<Item = &'static Param>) -> ParamError {
    let nearest = nearest(name, known.map(|p| p.name));
    path.error(Problem::Unknown { nearest })
}

impl Rules {
    fn param(self, param: &'static Param, value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
        let is_metadata = param.name == "metadata";
        if self.clears(value) {
            let may_be_empty = match param.kind {
                Kind::Enum(values) => values.contains(&""),
                Kind::OpenEnum(_) | Kind::Any | Kind::Open(_) => true,
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
        self.kind(&param.kind, value, path)
    }

    fn missing(self, mut known: impl Iterator<Item = &'static Param>, given: &Params) -> Option<&'static Param> {
        // In a form, an empty list or map sends nothing.
        let is_sent = |value: &Value| self.is_json || !value.sends_nothing();
        known.find(|param| param.required && !given.get(param.name).is_some_and(is_sent))
    }

    /// In a form an empty text clears; in JSON a null does.
    fn clears(self, value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Text(text) => text.is_empty() && !self.is_json,
            _ => false,
        }
    }

    fn kind(self, kind: &'static Kind, value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
        let fits = match kind {
            Kind::Any | Kind::Open(_) => true,
            Kind::File => matches!(value, Value::File(_)),
            Kind::Integer | Kind::IntegerText | Kind::Timestamp => is_integer(value),
            Kind::Number => is_number(value),
            Kind::Decimal => is_number(value),
            Kind::Boolean => matches!(value, Value::Bool(_)) || matches!(value.as_text(), Some("true" | "false")),
            Kind::Text => return check_text(value, usize::MAX, *kind, path),
            Kind::TextUpTo(max) => return check_text(value, *max as usize, *kind, path),
            Kind::OpenEnum(values) if self.only_listed => return check_enum(values, value, path),
            Kind::OpenEnum(_) => return check_text(value, usize::MAX, *kind, path),
            Kind::Enum(values) => return check_enum(values, value, path),
            Kind::List(item) => return self.list(item, kind, value, path),
            Kind::Object(params) => return self.object(params, kind, value, path),
            Kind::Map(entry) => return self.map(entry, kind, value, path),
            Kind::AnyOf(kinds) => return self.any_of(kinds, kind, value, path),
        };
        if fits {
            Ok(())
        } else {
            Err(wrong_type(kind, value, path))
        }
    }

    fn list(self, item: &'static Kind, kind: &'static Kind, value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
        let items = match value {
            Value::List(items) => items,
            // In a form, entries named `0`, `1`, … are sent as a list is.
            Value::Map(entries) if !self.is_json && entries.iter().all(|(name, _)| is_index(name)) => {
                let mut items = entries.iter();
                return items.try_for_each(|(name, value)| self.kind(item, value, &Path::Key(path, name)));
            }
            _ => return Err(wrong_type(kind, value, path)),
        };
        for (index, value) in items.iter().enumerate() {
            self.kind(item, value, &Path::Index(path, index))?;
        }
        Ok(())
    }

    fn object(
        self,
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
                Some(param) => self.param(param, value, &path)?,
                None => return Err(unknown(&path, name, params.iter())),
            }
        }
        match self.missing(params.iter(), entries) {
            // An empty map sends nothing, so nothing is missing in it.
            Some(param) if !entries.is_empty() => Err(Path::Key(path, param.name).error(Problem::Missing)),
            _ => Ok(()),
        }
    }

    fn map(self, entry: &'static Kind, kind: &'static Kind, value: &Value, path: &Path<'_>) -> Result<(), ParamError> {
        match value {
            Value::Map(entries) => entries.iter().try_for_each(|(name, value)| {
                if self.clears(value) {
                    return Ok(());
                }
                self.kind(entry, value, &Path::Key(path, name))
            }),
            // In a form, a list is sent as entries named `0`, `1`, …, which is a map to Stripe.
            Value::List(items) if !self.is_json => items
                .iter()
                .enumerate()
                .try_for_each(|(index, value)| self.kind(entry, value, &Path::Index(path, index))),
            _ => Err(wrong_type(kind, value, path)),
        }
    }

    /// Any kind that fits will do. If none does, the complaint of the one that was most likely meant says most.
    fn any_of(
        self,
        kinds: &'static [Kind],
        kind: &'static Kind,
        value: &Value,
        path: &Path<'_>,
    ) -> Result<(), ParamError> {
        let mut nested = None;
        for kind in kinds {
            match (self.kind(kind, value, path), kind, value) {
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
}

fn check_metadata(entries: &Params, path: &Path<'_>) -> Result<(), ParamError> {
    let mut set = 0;
    for (key, value) in entries.iter() {
        let path = Path::Key(path, key);
        if key.is_empty() || key.contains(['[', ']']) {
            return Err(path.error(Problem::BadMetadataKey));
        }
        check_length(key, METADATA_KEY_MAX, &path)?;
        if value != &Value::Null {
            check_text(value, METADATA_VALUE_MAX, Kind::Text, &path)?;
            set += usize::from(value.as_text() != Some(""));
        }
    }
    if set > METADATA_ENTRIES_MAX {
        return Err(path.error(Problem::TooManyEntries {
            max: METADATA_ENTRIES_MAX,
            count: set,
        }));
    }
    Ok(())
}

fn is_index(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit())
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
        Value::Text(text) => {
            // Only as much as may be shown is looked through, and a secret that reaches beyond it is still one.
            let start: String = text.chars().take(4 * SHOWN).collect();
            let shown = redacted(&start);
            let more = if shown.chars().nth(SHOWN).is_some() { "…" } else { "" };
            format!("{:?}{more}", shown.chars().take(SHOWN).collect::<String>())
        }
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

/// A name from a script may be anything: it is shortened, and shown without secrets and control characters.
fn write_name(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    const SHOWN: usize = 60;
    let start: String = name.chars().take(4 * SHOWN).collect();
    let shown = redacted(&start);
    for c in shown.chars().take(SHOWN) {
        write!(f, "{}", if is_printable(c) { c } else { '\u{fffd}' })?;
    }
    if shown.chars().nth(SHOWN).is_some() {
        f.write_str("…")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
