//! Parameter values: plain data, the same for every operation.

use std::fmt;

use bytes::Bytes;
use indexmap::IndexMap;

/// The value of one parameter.
///
/// ```
/// use inflight_stripe::{Params, Value};
///
/// assert_eq!(Value::from(5), Value::Integer(5));
/// assert_eq!(Value::from(serde_json::json!({"a": [true, null]})), {
///     let list = vec![Value::Bool(true), Value::Null];
///     Value::Map(Params::new().with("a", list))
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    /// Clears the parameter: sent as `name=`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number. Must be finite to be sent.
    Float(f64),
    /// A text; decimals are texts too, so that no digit is lost.
    Text(String),
    /// A list. An empty one sends nothing.
    List(Vec<Value>),
    /// Named values. An empty map sends nothing.
    Map(Params),
    /// A file, which only operations that take one can send.
    File(Upload),
}

impl Value {
    /// The text, if this is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The named values, if this is a map.
    #[must_use]
    pub fn as_map(&self) -> Option<&Params> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items, if this is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Self::List(items) => Some(items),
            _ => None,
        }
    }

    /// Whether the value sends nothing: an empty list or an empty map.
    #[must_use]
    pub fn sends_nothing(&self) -> bool {
        match self {
            Self::List(items) => items.is_empty(),
            Self::Map(map) => map.is_empty(),
            _ => false,
        }
    }
}

macro_rules! from {
    ($($from:ty => $variant:ident),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from! {
    bool => Bool,
    i32 => Integer,
    u32 => Integer,
    i64 => Integer,
    f64 => Float,
    &str => Text,
    String => Text,
    Params => Map,
    Upload => File,
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(items: [T; N]) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl From<serde_json::Value> for Value {
    /// A whole number beyond `i64` becomes a text of its digits.
    fn from(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Self::Integer(integer),
                (None, Some(float)) if number.is_f64() => Self::Float(float),
                _ => Self::Text(number.to_string()),
            },
            Json::String(text) => Self::Text(text),
            Json::Array(items) => Self::List(items.into_iter().map(Into::into).collect()),
            Json::Object(map) => Self::Map(map.into()),
        }
    }
}

/// A file to be sent: its bytes, and what it is called.
///
/// ```
/// use inflight_stripe::Upload;
///
/// let file = Upload::new("receipt.pdf", &b"%PDF-1.7"[..]).with_content_type("application/pdf");
/// assert_eq!((file.name(), file.bytes().len()), ("receipt.pdf", 8));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Upload {
    name: String,
    content_type: String,
    bytes: Bytes,
}

impl Upload {
    /// A file of this name with these bytes, of type `application/octet-stream`.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        Self {
            name: name.into(),
            content_type: "application/octet-stream".into(),
            bytes: bytes.into(),
        }
    }

    /// Sets the content type. By default `application/octet-stream`: Stripe looks at the bytes itself.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// What the file is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The content type.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Upload {
    /// Without the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("name", &self.name)
            .field("content_type", &self.content_type)
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// Named values in the order in which they were set.
///
/// The order is kept so that the same calls always make the same bytes. Two sets of parameters are equal whatever
/// their order.
///
/// ```
/// use inflight_stripe::Params;
///
/// let mut params = Params::new().with("name", "Mug").with("active", true);
/// params.set("name", "Cup");
/// let names: Vec<&str> = params.iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["name", "active"]);
/// ```
#[derive(Clone, PartialEq, Default)]
pub struct Params(IndexMap<String, Value>);

impl Params {
    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a value, in place if the name is set already.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.0.insert(name.into(), value.into());
    }

    /// Sets a value.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.set(name, value);
        self
    }

    /// The value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// The value of that name, to change it.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.get_mut(name)
    }

    /// Removes a value; the order of the others stays.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.shift_remove(name)
    }

    /// Sets one entry of the map of that name, which is made if there is none. Whatever else was there is replaced.
    pub fn set_in(&mut self, name: &str, key: impl Into<String>, value: impl Into<Value>) {
        if let Some(Value::Map(map)) = self.0.get_mut(name) {
            map.set(key, value);
        } else {
            self.set(name, Params::new().with(key, value));
        }
    }

    /// Appends to the list of that name, which is made if there is none. Whatever else was there is replaced.
    pub fn push(&mut self, name: &str, value: impl Into<Value>) {
        if let Some(Value::List(items)) = self.0.get_mut(name) {
            items.push(value.into());
        } else {
            self.set(name, Value::List(vec![value.into()]));
        }
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many values are set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn entry_or_null(&mut self, name: &str) -> &mut Value {
        self.0.entry(name.to_owned()).or_default()
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(&self.0).finish()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Params {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

impl IntoIterator for Params {
    type Item = (String, Value);
    type IntoIter = indexmap::map::IntoIter<String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl From<serde_json::Map<String, serde_json::Value>> for Params {
    fn from(map: serde_json::Map<String, serde_json::Value>) -> Self {
        map.into_iter().collect()
    }
}
