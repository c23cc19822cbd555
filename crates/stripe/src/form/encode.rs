use std::fmt::{Display, Write as _};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::MAX_DEPTH;
use crate::value::{Params, Value};

/// Everything but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Parameters that no form can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A name with a bracket in it would be read as a nested one.
    #[error("the name {0:?} contains a bracket")]
    Bracket(String),
    /// An empty name.
    #[error("a name is empty")]
    EmptyName,
    /// NaN or an infinity.
    #[error("the number in {0:?} is not finite")]
    NotFinite(String),
    /// A file where none can be.
    #[error("{0:?} is a file, and only operations that take one can send it")]
    File(String),
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("the parameters are nested more than {MAX_DEPTH} deep")]
    TooDeep,
}

/// Writes parameters as a form.
///
/// A null is sent as `name=`; an empty list or map sends nothing. Numbers are written plainly, never with an exponent.
///
/// # Errors
/// Parameters that no form can carry: see [`EncodeError`].
///
/// ```
/// use inflight_stripe::{Params, form};
///
/// let params = Params::new().with("name", "a b").with("images", vec!["x", "y"]);
/// assert_eq!(form::encode(&params)?, "name=a%20b&images[0]=x&images[1]=y");
/// # Ok::<_, form::EncodeError>(())
/// ```
pub fn encode(params: &Params) -> Result<String, EncodeError> {
    let mut form = Form::default();
    for (name, value) in params.iter() {
        check_name(name)?;
        form.key.clear();
        push_encoded(&mut form.key, name);
        form.value(value, 1)?;
    }
    Ok(form.text)
}

/// The names and texts of a form, not encoded: for other ways to write them.
pub(crate) fn pairs(params: &Params) -> Result<Vec<(String, String)>, EncodeError> {
    let form = encode(params)?;
    let decoded = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
    Ok(pairs.map(|(name, text)| (decoded(name), decoded(text))).collect())
}

pub(crate) fn percent_encode(text: &str) -> impl Display + '_ {
    utf8_percent_encode(text, ESCAPED)
}

fn push_encoded(to: &mut String, text: &str) {
    to.extend(utf8_percent_encode(text, ESCAPED));
}

pub(crate) fn check_name(name: &str) -> Result<(), EncodeError> {
    if name.is_empty() {
        return Err(EncodeError::EmptyName);
    }
    if name.contains(['[', ']']) {
        return Err(EncodeError::Bracket(name.to_owned()));
    }
    Ok(())
}

#[derive(Default)]
struct Form {
    text: String,
    /// The name of the value that is being written, already encoded: `items[0][price]`.
    key: String,
}

impl Form {
    fn value(&mut self, value: &Value, depth: usize) -> Result<(), EncodeError> {
        match value {
            Value::Null => self.pair(""),
            Value::Bool(true) => self.pair("true"),
            Value::Bool(false) => self.pair("false"),
            Value::Integer(number) => self.number(number),
            Value::Float(number) if !number.is_finite() => return Err(EncodeError::NotFinite(self.key.clone())),
            // The addition turns -0 into 0. `Display` of a float has no exponent, and no `.0`.
            Value::Float(number) => self.number(number + 0.0),
            Value::Text(text) => self.pair(text),
            Value::File(_) => return Err(EncodeError::File(self.key.clone())),
            Value::List(_) | Value::Map(_) if depth >= MAX_DEPTH => return Err(EncodeError::TooDeep),
            Value::List(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.nested(index, item, depth)?;
                }
            }
            Value::Map(entries) => {
                for (name, entry) in entries.iter() {
                    check_name(name)?;
                    self.nested(percent_encode(name), entry, depth)?;
                }
            }
        }
        Ok(())
    }

    fn nested(&mut self, name: impl Display, value: &Value, depth: usize) -> Result<(), EncodeError> {
        let parent = self.key.len();
        // Writing to a `String` cannot fail.
        let _ = write!(self.key, "[{name}]");
        let done = self.value(value, depth + 1);
        self.key.truncate(parent);
        done
    }

    fn start_pair(&mut self) {
        if !self.text.is_empty() {
            self.text.push('&');
        }
        self.text.push_str(&self.key);
        self.text.push('=');
    }

    fn pair(&mut self, text: &str) {
        self.start_pair();
        push_encoded(&mut self.text, text);
    }

    fn number(&mut self, number: impl Display) {
        self.start_pair();
        // Writing to a `String` cannot fail.
        let _ = write!(self.text, "{number}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vector() {
        let vectors: Vec<serde_json::Value> =
            serde_json::from_str(include_str!("../../data/form-vectors.json")).unwrap();
        for vector in vectors {
            let Value::Map(params) = Value::from(vector["input"].clone()) else {
                panic!("{vector}")
            };
            // serde_json sorts names; the order of the pairs is not what the vectors are about.
            let sorted = |form: &str| {
                let mut pairs: Vec<String> = form.split('&').map(str::to_owned).collect();
                pairs.sort();
                pairs
            };
            let form = encode(&params).unwrap();
            assert_eq!(
                sorted(&form),
                sorted(vector["form"].as_str().unwrap()),
                "{}",
                vector["case"]
            );
        }
    }

    #[test]
    fn numbers_are_plain() {
        for (value, text) in [
            (Value::Float(1e21), "1000000000000000000000"),
            (Value::Float(1000.0), "1000"),
            (Value::Float(0.1), "0.1"),
            (Value::Float(-0.0), "0"),
            (Value::Float(1e-7), "0.0000001"),
            (Value::Integer(i64::MIN), "-9223372036854775808"),
        ] {
            assert_eq!(encode(&Params::new().with("n", value)).unwrap(), format!("n={text}"));
        }
    }

    #[test]
    fn what_no_form_carries() {
        let encode = |value: Value| encode(&Params::new().with("m", value));
        for float in [f64::NAN, f64::INFINITY] {
            assert_eq!(encode(Value::Float(float)), Err(EncodeError::NotFinite("m".into())));
        }
        let bracket = Params::new().with("a[b", 1);
        assert_eq!(encode(bracket.clone().into()), Err(EncodeError::Bracket("a[b".into())));
        assert_eq!(super::encode(&bracket), Err(EncodeError::Bracket("a[b".into())));
        assert_eq!(encode(Params::new().with("", 1).into()), Err(EncodeError::EmptyName));
        let mut deep = Value::Integer(1);
        for _ in 0..10_000 {
            deep = Value::List(vec![deep]);
        }
        assert_eq!(encode(deep), Err(EncodeError::TooDeep));
    }

    #[test]
    fn order_is_kept() {
        let params = Params::new()
            .with("z", 1)
            .with("a", Params::new().with("y", 2).with("b", 3));
        assert_eq!(encode(&params).unwrap(), "z=1&a[y]=2&a[b]=3");
    }
}
