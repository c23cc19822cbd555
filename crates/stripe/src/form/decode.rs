use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{MAX_DEPTH, MAX_PAIRS};
use crate::value::{Params, Value};

/// A text that is not a form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Brackets that do not match, or an empty name.
    #[error("the name {0:?} is malformed")]
    Name(String),
    /// One name stands for a value and for a map.
    #[error("the name {0:?} is used both for a value and for nested values")]
    Conflict(String),
    /// A percent sequence that is not UTF-8.
    #[error("the form is not UTF-8")]
    NotUtf8,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the form is nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// More than [`MAX_PAIRS`] names and values.
    #[error("the form has more than {MAX_PAIRS} names")]
    TooLarge,
}

/// Reads a form, as a server does.
///
/// Values are texts, in lists and maps: a form knows no other types. Names that are all digits make a list, and so does
/// `name[]=`; but not in `metadata`, where they are keys. Of a name that is repeated, the last counts.
///
/// # Errors
/// What is no form: see [`DecodeError`].
///
/// ```
/// use inflight_stripe::{Params, Value, form};
///
/// let params = form::decode("name=a+b&images[0]=x")?;
/// assert_eq!(params, Params::new().with("name", "a b").with("images", vec!["x"]));
/// # Ok::<_, form::DecodeError>(())
/// ```
pub fn decode(form: &str) -> Result<Params, DecodeError> {
    let mut params = Params::new();
    for (count, pair) in form.split('&').filter(|pair| !pair.is_empty()).enumerate() {
        if count == MAX_PAIRS {
            return Err(DecodeError::TooLarge);
        }
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = unescape(key)?;
        let value = unescape(value)?.into_owned();
        insert(&mut params, &key, value)?;
    }
    Ok(params.into_iter().map(with_lists).collect())
}

/// Reads one segment of a path, where a `+` is a `+`. `None` if it is not UTF-8.
///
/// ```
/// assert_eq!(inflight_stripe::form::decode_segment("a%2Fb+c").as_deref(), Some("a/b+c"));
/// ```
#[must_use]
pub fn decode_segment(segment: &str) -> Option<String> {
    Some(percent_decode_str(segment).decode_utf8().ok()?.into_owned())
}

fn unescape(text: &str) -> Result<Cow<'_, str>, DecodeError> {
    let spaced: Cow<'_, str> = if text.contains('+') {
        Cow::Owned(text.replace('+', " "))
    } else {
        Cow::Borrowed(text)
    };
    match spaced {
        Cow::Borrowed(text) => percent_decode_str(text).decode_utf8(),
        Cow::Owned(text) => {
            return percent_decode_str(&text)
                .decode_utf8()
                .map(|text| Cow::Owned(text.into_owned()))
                .map_err(|_| DecodeError::NotUtf8);
        }
    }
    .map_err(|_| DecodeError::NotUtf8)
}

/// Puts a value where its name says: `a[b][0]` goes into the map `a`, the map `b` in it, the name `0` in that.
fn insert(params: &mut Params, key: &str, value: String) -> Result<(), DecodeError> {
    let malformed = || DecodeError::Name(shortened(key));
    let conflict = || DecodeError::Conflict(shortened(key));
    let (first, mut rest) = key.split_at(key.find('[').unwrap_or(key.len()));
    if first.is_empty() || first.contains(']') {
        return Err(malformed());
    }
    let mut slot = params.entry_or_null(first);
    let mut depth = 1;
    while !rest.is_empty() {
        depth += 1;
        if depth > MAX_DEPTH {
            return Err(DecodeError::TooDeep);
        }
        let (name, after) = rest
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .ok_or_else(malformed)?;
        if name.contains('[') {
            return Err(malformed());
        }
        if *slot == Value::Null {
            *slot = Value::Map(Params::new());
        }
        let Value::Map(map) = slot else {
            return Err(conflict());
        };
        slot = if name.is_empty() {
            let next = map.len().to_string();
            map.entry_or_null(&next)
        } else {
            map.entry_or_null(name)
        };
        rest = after;
    }
    if matches!(slot, Value::Map(_)) {
        return Err(conflict());
    }
    *slot = Value::Text(value);
    Ok(())
}

/// Turns maps whose names are all digits into lists, in the order of their numbers. Metadata's names are the caller's own.
fn with_lists((name, value): (String, Value)) -> (String, Value) {
    let map = match value {
        Value::Map(map) if name != "metadata" => map,
        _ => return (name, value),
    };
    let index = |name: &str| {
        let digits = !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit());
        if digits { name.parse::<u32>().ok() } else { None }
    };
    let is_list = map.iter().all(|(name, _)| index(name).is_some());
    let entries = map.into_iter().map(with_lists);
    if !is_list {
        return (name, Value::Map(entries.collect()));
    }
    let mut items: Vec<(Option<u32>, Value)> = entries.map(|(name, value)| (index(&name), value)).collect();
    items.sort_by_key(|(index, _)| *index);
    (name, Value::List(items.into_iter().map(|(_, value)| value).collect()))
}

fn shortened(key: &str) -> String {
    key.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms() {
        for (form, expected) in [
            ("", json!({})),
            ("&&a=1&", json!({"a": "1"})),
            ("a", json!({"a": ""})),
            ("a=1&a=2", json!({"a": "2"})),
            ("a[]=x&a[]=y", json!({"a": ["x", "y"]})),
            ("a[1]=y&a[0]=x", json!({"a": ["x", "y"]})),
            ("a[10]=z&a[9]=y", json!({"a": ["y", "z"]})),
            ("a[b][0][c]=1", json!({"a": {"b": [{"c": "1"}]}})),
            ("a%5Bb%5D=1", json!({"a": {"b": "1"}})),
            ("a=%F0%9F%92%B3+%2B", json!({"a": "💳 +"})),
            ("a[x]=1&a[0]=2", json!({"a": {"x": "1", "0": "2"}})),
            (
                "metadata[7]=x&metadata[8][0]=y",
                json!({"metadata": {"7": "x", "8": {"0": "y"}}}),
            ),
            ("a[0][metadata][7]=x", json!({"a": [{"metadata": {"7": "x"}}]})),
        ] {
            assert_eq!(Value::Map(decode(form).unwrap()), Value::from(expected), "{form}");
        }
    }

    #[test]
    fn not_forms() {
        for (form, expected) in [
            ("=1", DecodeError::Name("".into())),
            ("a[b=1", DecodeError::Name("a[b".into())),
            ("a]b=1", DecodeError::Name("a]b".into())),
            ("a[b]c=1", DecodeError::Name("a[b]c".into())),
            ("a[[b]]=1", DecodeError::Name("a[[b]]".into())),
            ("a=1&a[b]=2", DecodeError::Conflict("a[b]".into())),
            ("a[b]=2&a=1", DecodeError::Conflict("a".into())),
            ("a=%FF", DecodeError::NotUtf8),
        ] {
            assert_eq!(decode(form), Err(expected), "{form}");
        }
        assert_eq!(
            decode(&format!("a{}=1", "[b]".repeat(100_000))),
            Err(DecodeError::TooDeep)
        );
        assert_eq!(decode(&"a[]=1&".repeat(MAX_PAIRS + 1)), Err(DecodeError::TooLarge));
    }
}
