//! JSON as script values, read within the script's limits: its text is somebody else's, and its values take many times the room.

use std::fmt;

use rhai::{Array, Dynamic, EvalAltResult, ImmutableString, Map};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::bounded::reserve;
use crate::coroutine::{breathe, running};
use crate::wait::terminated;

/// Why a text gave no value.
pub(crate) enum JsonError {
    /// It is not JSON.
    Syntax(serde_json::Error),
    /// The script is to stop.
    Stopped(Box<EvalAltResult>),
}

/// Reads a text; others have their turn meanwhile, and a script that would hold too much is stopped. Whole numbers beyond 64 bits become
/// floats.
pub(crate) fn read(text: &[u8]) -> Result<Dynamic, JsonError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let read = Reading
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| match running().and_then(|context| context.script.stopped()) {
        Some(stop) => JsonError::Stopped(terminated(stop)),
        None => JsonError::Syntax(error),
    })
}

struct Reading;

impl<'de> DeserializeSeed<'de> for Reading {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        // Looked at for every value, before what it takes has grown far.
        if reserve(0).is_err() || breathe().is_err() {
            return Err(D::Error::custom("the script was stopped"));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Dynamic, E> {
        Ok(Dynamic::UNIT)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Dynamic, E> {
        Ok(flag.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Dynamic, E> {
        Ok(number.into())
    }

    #[allow(
        clippy::cast_precision_loss,
        reason = "what no integer of a script can hold becomes a float"
    )]
    fn visit_u64<E>(self, number: u64) -> Result<Dynamic, E> {
        Ok(i64::try_from(number).map_or_else(|_| (number as f64).into(), Dynamic::from))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Dynamic, E> {
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Dynamic, E> {
        Ok(ImmutableString::from(text).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut array = Array::new();
        while let Some(item) = items.next_element_seed(Reading)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut map = Map::new();
        while let Some(name) = items.next_key::<String>()? {
            map.insert(name.as_str().into(), items.next_value_seed(Reading)?);
        }
        Ok(map.into())
    }
}
