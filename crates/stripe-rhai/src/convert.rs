//! Script values as parameters.

use std::cell::Cell;

use inflight_rhai::{invalid_argument, value_type};
use inflight_stripe::{Kind, Operation, Params, Value};
use rhai::{Array, Blob, Dynamic, EvalAltResult, ImmutableString, Map};

use crate::host::StripeHost;
use crate::upload::upload;

/// How deeply arrays and maps may nest in a parameter. Stripe's own go five levels down.
const MAX_DEPTH: usize = 32;

/// `stripe::unset`: clears a parameter at Stripe, where `()` leaves it out of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unset;

/// Why a value cannot be a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotAParameter {
    #[error("a value of type {0} cannot be sent to Stripe")]
    Type(String),
    #[error("the value nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    #[error("the parameters are longer than the {LARGEST} bytes that a request may have")]
    TooLong,
}

/// What a request may hold at most: a file.
const LARGEST: usize = inflight_stripe::FILE_MAX;

/// What may still be copied of a script's values for one request: the same text may be named in them any number of times.
struct Room(Cell<usize>);

impl Room {
    fn new() -> Self {
        Self(Cell::new(LARGEST))
    }

    fn take(&self, bytes: usize) -> Result<(), NotAParameter> {
        let left = self.0.get().checked_sub(bytes).ok_or(NotAParameter::TooLong)?;
        self.0.set(left);
        Ok(())
    }
}

/// The parameter, or nothing for `()`: that leaves a parameter out. An empty text clears it.
pub(crate) fn parameter(value: &Dynamic) -> Result<Option<Value>, NotAParameter> {
    nested(value, 0, &Room::new())
}

fn nested(value: &Dynamic, depth: usize, room: &Room) -> Result<Option<Value>, NotAParameter> {
    if depth > MAX_DEPTH {
        return Err(NotAParameter::TooDeep);
    }
    room.take(1)?;
    if value.is_unit() {
        return Ok(None);
    }
    if value.is::<Unset>() {
        return Ok(Some(Value::Null));
    }
    if let Ok(flag) = value.as_bool() {
        return Ok(Some(Value::Bool(flag)));
    }
    if let Ok(number) = value.as_int() {
        return Ok(Some(Value::Integer(number)));
    }
    if let Ok(number) = value.as_float() {
        return Ok(Some(Value::Float(number)));
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        room.take(text.len())?;
        return Ok(Some(Value::Text(text.to_string())));
    }
    if let Ok(letter) = value.as_char() {
        return Ok(Some(Value::Text(letter.to_string())));
    }
    if let Some(array) = value.read_lock::<Array>() {
        let mut list = Vec::new();
        for item in array.iter() {
            list.extend(nested(item, depth + 1, room)?);
        }
        return Ok(Some(Value::List(list)));
    }
    if let Some(map) = value.read_lock::<Map>() {
        let mut params = Params::new();
        for (name, item) in map.iter() {
            room.take(name.len())?;
            if let Some(item) = nested(item, depth + 1, room)? {
                params.set(name.as_str(), item);
            }
        }
        return Ok(Some(Value::Map(params)));
    }
    Err(NotAParameter::Type(value_type(value).to_owned()))
}

/// One parameter of this operation, which may be a file.
pub(crate) fn parameter_of(
    operation: &'static Operation,
    host: &StripeHost,
    name: &str,
    value: &Dynamic,
) -> Result<Option<Value>, Box<EvalAltResult>> {
    known_parameter(operation, host, name, value, &Room::new())
}

fn known_parameter(
    operation: &'static Operation,
    host: &StripeHost,
    name: &str,
    value: &Dynamic,
    room: &Room,
) -> Result<Option<Value>, Box<EvalAltResult>> {
    let is_file = operation.param(name).is_some_and(|param| param.kind == Kind::File);
    if is_file && !value.is_unit() {
        return Ok(Some(upload(host, value)?.into()));
    }
    any_parameter(name, value, room)
}

fn any_parameter(name: &str, value: &Dynamic, room: &Room) -> Result<Option<Value>, Box<EvalAltResult>> {
    nested(value, 0, room).map_err(|error| invalid_argument(&format!("`{name}`: {error}")))
}

/// A script's map as parameters of this operation.
pub(crate) fn parameters_of(
    operation: &'static Operation,
    host: &StripeHost,
    map: &Map,
) -> Result<Params, Box<EvalAltResult>> {
    collect(map, |name, value, room| {
        known_parameter(operation, host, name, value, room)
    })
}

/// A script's map as parameters of an operation that nobody knows: a blob is a file.
pub(crate) fn parameters(host: &StripeHost, map: &Map) -> Result<Params, Box<EvalAltResult>> {
    collect(map, |name, value, room| {
        if value.is::<Blob>() {
            return Ok(Some(upload(host, value)?.into()));
        }
        any_parameter(name, value, room)
    })
}

fn collect(
    map: &Map,
    convert: impl Fn(&str, &Dynamic, &Room) -> Result<Option<Value>, Box<EvalAltResult>>,
) -> Result<Params, Box<EvalAltResult>> {
    let (mut params, room) = (Params::new(), Room::new());
    for (name, value) in map {
        if let Some(value) = convert(name, value, &room)? {
            params.set(name.as_str(), value);
        }
    }
    Ok(params)
}
