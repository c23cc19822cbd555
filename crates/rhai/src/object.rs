//! Answers as script values, made only when a script asks for them.

use inflight_core::Success;
use rhai::{Dynamic, EvalAltResult};

use crate::error::script_error;

/// What `get_result` gives: the object's id, or the whole answer where it is not about one object (a list).
pub(crate) fn result_value(success: &Success) -> Result<Dynamic, Box<EvalAltResult>> {
    match &success.object_id {
        Some(id) => Ok(id.as_ref().into()),
        None => object_value(success),
    }
}

/// The whole answer as a map; as text where it is not JSON.
pub(crate) fn object_value(success: &Success) -> Result<Dynamic, Box<EvalAltResult>> {
    let body = &success.response.body;
    if body.is_empty() {
        return Ok(Dynamic::UNIT);
    }
    match serde_json::from_slice::<Dynamic>(body) {
        Ok(value) => Ok(value),
        Err(error) => match std::str::from_utf8(body) {
            Ok(text) if !text.trim_start().starts_with(['{', '[']) => Ok(text.into()),
            _ => Err(script_error(
                "invalid_response",
                &format!("the answer cannot be read: {error}"),
            )),
        },
    }
}

/// A JSON value as a script's value. Numbers beyond 64 bits become floats.
pub fn from_json(value: serde_json::Value) -> Dynamic {
    // Every JSON value has a script value; `()` only stands in where Rhai's own limits forbid one.
    serde_json::from_value(value).unwrap_or(Dynamic::UNIT)
}
