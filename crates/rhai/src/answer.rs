//! How an answer to a script is written down, and how arguments are told apart: the journal's own encoding.
//!
//! An answer is one byte that says what it is, and JSON: `=` a value, `!` what was thrown, `#` an object as its JSON text came. What
//! JSON cannot say is a map with one name: `{"$float":"0.1"}`, `{"$char":"c"}`, `{"$blob":"00ff"}`, and `{"$map":{…}}` for a map
//! whose own names begin with `$`.

use std::fmt;

use bytes::Bytes;
use rhai::{Array, Blob, Dynamic, EvalAltResult, ImmutableString, Map, Position};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use crate::argument::value_type;
use crate::coroutine::breathe;
use crate::error::{describe, script_error, thrown};
use crate::heap::uncharged;
use crate::package::Answer;
use crate::state::Stop;

/// How deeply a value may nest that is written down.
const MAX_DEPTH: usize = 100;

const VALUE: u8 = b'=';
const THROWN: u8 = b'!';
const OBJECT: u8 = b'#';

/// What a script is told.
pub(crate) struct Told {
    value: Dynamic,
    /// Its JSON text, where it came as one.
    text: Option<Bytes>,
}

impl Told {
    /// A value that was made of this JSON text.
    pub(crate) fn json(value: Dynamic, text: Bytes) -> Self {
        Self {
            value,
            text: Some(text),
        }
    }

    pub(crate) fn into_value(self) -> Dynamic {
        let Self { value, text } = self;
        // The host's, and often the last that holds it.
        uncharged(|| drop(text));
        value
    }
}

impl<T: Into<Dynamic>> From<T> for Told {
    fn from(value: T) -> Self {
        Self {
            value: value.into(),
            text: None,
        }
    }
}

/// The answer as it is written, and as the script gets it: what cannot be written is an error that can.
pub(crate) fn write_down(engine: &rhai::Engine, operation: &str, told: Answer<Told>) -> (Vec<u8>, Answer<Dynamic>) {
    let told = told.map_err(|error| as_thrown(engine, *error));
    match uncharged(|| encode(&told)) {
        Ok(bytes) => (bytes, told.map(Told::into_value)),
        Err(what) => {
            let message = format!("what `{operation}` gave cannot be written to the run's journal: {what}");
            uncharged(|| drop(what));
            let error = Err(script_error("not_replayable", &message));
            let bytes = uncharged(|| encode(&error)).unwrap_or_default();
            (bytes, error.map(Told::into_value))
        }
    }
}

/// The error as a thrown value: others of Rhai's become their text.
fn as_thrown(engine: &rhai::Engine, error: EvalAltResult) -> Box<EvalAltResult> {
    match error {
        EvalAltResult::ErrorRuntime(value, _) => Box::new(EvalAltResult::ErrorRuntime(value, Position::NONE)),
        other => Box::new(EvalAltResult::ErrorRuntime(
            describe(engine, &other).0.into(),
            Position::NONE,
        )),
    }
}

fn encode(told: &Answer<Told>) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let value = match told {
        Ok(Told { text: Some(text), .. }) => {
            bytes.reserve_exact(text.len() + 1);
            bytes.push(OBJECT);
            bytes.extend_from_slice(text);
            return Ok(bytes);
        }
        Ok(told) => {
            bytes.push(VALUE);
            &told.value
        }
        Err(error) => {
            bytes.push(THROWN);
            match &**error {
                EvalAltResult::ErrorRuntime(value, _) => value,
                _ => &Dynamic::UNIT,
            }
        }
    };
    let value = to_json(value, 0)?;
    serde_json::to_writer(&mut bytes, &value).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// The answer that was written.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<Answer<Dynamic>, String> {
    let (kind, json) = bytes.split_first().ok_or("it is empty")?;
    if *kind == OBJECT {
        // As it was read the first time.
        return serde_json::from_slice(json).map(Ok).map_err(|error| error.to_string());
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = Reading.deserialize(&mut reader).map_err(|error| error.to_string())?;
    match *kind {
        VALUE => Ok(Ok(value)),
        THROWN => Ok(Err(match value.try_cast_result::<Map>() {
            Ok(map) => thrown(map),
            Err(value) => Box::new(EvalAltResult::ErrorRuntime(value, Position::NONE)),
        })),
        _ => Err("it is of an unknown kind".into()),
    }
}

fn to_json(value: &Dynamic, depth: usize) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err(format!("it nests deeper than {MAX_DEPTH} levels"));
    }
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Ok(flag) = value.as_bool() {
        return Ok(flag.into());
    }
    if let Ok(number) = value.as_int() {
        return Ok(number.into());
    }
    if let Ok(number) = value.as_float() {
        return Ok(json!({ "$float": format!("{number:?}") }));
    }
    if let Ok(letter) = value.as_char() {
        return Ok(json!({ "$char": letter.to_string() }));
    }
    if let Some(text) = value.read_lock::<ImmutableString>() {
        return Ok(text.as_str().into());
    }
    if let Some(array) = value.read_lock::<Array>() {
        let items = array.iter().map(|item| to_json(item, depth + 1));
        return items.collect::<Result<_, _>>().map(Value::Array);
    }
    if let Some(map) = value.read_lock::<Map>() {
        let items = map
            .iter()
            .map(|(name, item)| Ok((name.to_string(), to_json(item, depth + 1)?)));
        let items = items.collect::<Result<serde_json::Map<_, _>, String>>()?;
        let marked = items.keys().any(|name| name.starts_with('$'));
        return Ok(if marked { json!({ "$map": items }) } else { items.into() });
    }
    if let Some(bytes) = value.read_lock::<Blob>() {
        let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
        return Ok(json!({ "$blob": digits.collect::<String>() }));
    }
    Err(format!("a value of type {}", value_type(value)))
}

/// Reads a value without a copy in between: what is made is the script's memory, and nothing else is.
struct Reading;

impl<'de> DeserializeSeed<'de> for Reading {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reading {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value as it is written down")
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

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Dynamic, E> {
        let number = i64::try_from(number).map_err(|_| E::custom("a number is too large"))?;
        Ok(number.into())
    }

    fn visit_str<E>(self, text: &str) -> Result<Dynamic, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut array = Array::new();
        while let Some(item) = items.next_element_seed(Self)? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut map = Map::new();
        while let Some(name) = items.next_key::<String>()? {
            if name.starts_with('$') && map.is_empty() {
                return marked(&name, &mut items);
            }
            map.insert(name.as_str().into(), items.next_value_seed(Self)?);
        }
        Ok(map.into())
    }
}

/// What a map with this one name stands for.
fn marked<'de, A: MapAccess<'de>>(name: &str, items: &mut A) -> Result<Dynamic, A::Error> {
    if name == "$map" {
        return items.next_value_seed(ReadingMap);
    }
    let text = items.next_value::<String>()?;
    let value = match name {
        "$float" => text.parse::<f64>().ok().map(Dynamic::from),
        "$char" => text.chars().next().map(Dynamic::from),
        "$blob" => blob(&text).map(Dynamic::from_blob),
        _ => None,
    };
    value.ok_or_else(|| serde::de::Error::custom(format!("`{name}` does not hold what it says")))
}

/// Reads a map whose names stand for themselves.
struct ReadingMap;

impl<'de> DeserializeSeed<'de> for ReadingMap {
    type Value = Dynamic;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Dynamic, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReadingMap {
    type Value = Dynamic;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Dynamic, A::Error> {
        let mut map = Map::new();
        while let Some(name) = items.next_key::<String>()? {
            map.insert(name.as_str().into(), items.next_value_seed(Reading)?);
        }
        Ok(map.into())
    }
}

fn blob(digits: &str) -> Option<Blob> {
    let digit = |at: usize| {
        digits
            .as_bytes()
            .get(at)
            .and_then(|byte| char::from(*byte).to_digit(16))
    };
    let byte = |at: usize| u8::try_from(digit(at)? * 16 + digit(at + 1)?).ok();
    (0..digits.len()).step_by(2).map(byte).collect()
}

/// A fingerprint of arguments (FNV-1a): the same in every process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fingerprint(u64);

impl Fingerprint {
    pub(crate) fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    pub(crate) fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// A value, without a copy of it: a text that is named many times is as long each time. Of what cannot be written down, its type. What
    /// a script that is to stop has left off is nobody's to compare.
    pub(crate) fn value(&mut self, value: &Dynamic) {
        let _ = self.nested(value, 0);
    }

    fn nested(&mut self, value: &Dynamic, depth: usize) -> Result<(), Stop> {
        breathe()?;
        self.text(value.type_name());
        if depth > MAX_DEPTH {
            return Ok(());
        }
        if let Some(text) = value.read_lock::<ImmutableString>() {
            self.text(&text);
        } else if let Some(array) = value.read_lock::<Array>() {
            self.number(array.len() as u64);
            for item in array.iter() {
                self.nested(item, depth + 1)?;
            }
        } else if let Some(map) = value.read_lock::<Map>() {
            self.number(map.len() as u64);
            for (name, item) in map.iter() {
                self.text(name);
                self.nested(item, depth + 1)?;
            }
        } else if let Some(blob) = value.read_lock::<Blob>() {
            self.number(blob.len() as u64);
            self.bytes(&blob);
        } else if let Ok(number) = value.as_int() {
            self.number(number.cast_unsigned());
        } else if let Ok(number) = value.as_float() {
            self.number(number.to_bits());
        } else if let Ok(flag) = value.as_bool() {
            self.number(u64::from(flag));
        } else if let Ok(letter) = value.as_char() {
            self.number(u64::from(u32::from(letter)));
        }
        Ok(())
    }

    pub(crate) fn get(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &Dynamic) -> Dynamic {
        let bytes = encode(&Ok(value.clone().into())).unwrap();
        decode(&bytes).unwrap().unwrap()
    }

    /// A value and its type, in words.
    fn shown(value: &Dynamic) -> String {
        if let Some(array) = value.read_lock::<Array>() {
            return format!("{:?}", array.iter().map(shown).collect::<Vec<_>>());
        }
        if let Some(map) = value.read_lock::<Map>() {
            return format!(
                "{:?}",
                map.iter().map(|(k, v)| (k.to_string(), shown(v))).collect::<Vec<_>>()
            );
        }
        format!("{} {value:?}", value.type_name())
    }

    #[test]
    fn values_come_back_as_they_were() {
        let engine = rhai::Engine::new();
        for script in [
            "()",
            "true",
            "-7",
            "9223372036854775807",
            "1.0",
            "0.1 + 0.2",
            "1e300 * 1e300",
            "'ß'",
            "`a \"b\" \\ \n日`",
            "blob(3, 0xab)",
            "[1, 2.5, [], 'c', ()]",
            "#{ a: 1, \"$float\": 2, b: #{ \"$map\": [#{}] } }",
            "#{ \"$float\": \"1.5\" }",
        ] {
            let value: Dynamic = engine.eval(script).unwrap();
            assert_eq!(shown(&written(&value)), shown(&value), "{script}");
        }
        assert!(written(&f64::NAN.into()).as_float().unwrap().is_nan());
    }

    #[test]
    fn what_was_thrown_comes_back_as_such() {
        let engine = rhai::Engine::new();
        let (bytes, _) = write_down(&engine, "f", Err(script_error("wait_timeout", "no")));
        let EvalAltResult::ErrorRuntime(value, _) = *decode(&bytes).unwrap().unwrap_err() else {
            panic!("not thrown");
        };
        assert_eq!(value.cast::<Map>()["kind"].to_string(), "wait_timeout");
        // Of Rhai's own errors the text, the first time too.
        let (bytes, first) = write_down(
            &engine,
            "f",
            Err(EvalAltResult::ErrorArithmetic("x".into(), Position::NONE).into()),
        );
        assert_eq!(
            decode(&bytes).unwrap().unwrap_err().to_string(),
            first.unwrap_err().to_string()
        );
    }

    #[test]
    fn an_object_is_kept_as_its_text() {
        let text = Bytes::from_static(br#"{"id":"prod_1","$float":"no","n":1.10}"#);
        let value: Dynamic = serde_json::from_slice(&text).unwrap();
        let bytes = encode(&Ok(Told::json(value.clone(), text.clone()))).unwrap();
        assert_eq!(&bytes[1..], &text[..]);
        assert_eq!(shown(&decode(&bytes).unwrap().unwrap()), shown(&value));
    }

    #[test]
    fn what_cannot_be_written_is_an_error_that_can() {
        let engine = rhai::Engine::new();
        let deep = (0..200).fold(Dynamic::UNIT, |inner, _| Dynamic::from(vec![inner]));
        for value in [deep, Dynamic::from(std::time::Instant::now())] {
            let (bytes, given) = write_down(&engine, "host_fn", Ok(value.into()));
            let again = decode(&bytes).unwrap().unwrap_err().to_string();
            assert_eq!(again, given.unwrap_err().to_string());
            assert!(again.contains("not_replayable"), "{again}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            &b""[..],
            b"=",
            b"?1",
            b"={\"$blob\":\"0\"}",
            b"=1.5",
            b"={\"$char\":\"\"}",
            b"#{",
        ] {
            assert!(decode(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn arguments_are_told_apart() {
        let of = |values: &[&str]| {
            let mut fingerprint = Fingerprint::new();
            values.iter().for_each(|value| fingerprint.text(value));
            fingerprint.get()
        };
        assert_eq!(of(&["ab", "c"]), of(&["ab", "c"]));
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    }
}
