//! Answers as script values, made only when a script asks for them.

use inflight_core::{Response, Success};
use rhai::{Dynamic, EvalAltResult, Map};

use crate::error::script_error;

/// What `get_result` gives: the object's id, or the whole answer where it is not about one object (a list).
pub(crate) fn result_value(success: &Success) -> Result<Dynamic, Box<EvalAltResult>> {
    match &success.object_id {
        Some(id) => Ok(id.as_ref().into()),
        None => object_value(success),
    }
}

/// The whole answer as a map; as bytes (a blob) where its content type says that it is not JSON, and as text where it is none all
/// the same.
pub(crate) fn object_value(success: &Success) -> Result<Dynamic, Box<EvalAltResult>> {
    let body = &success.response.body;
    if is_file(success) {
        crate::bounded::reserve(body.len())?;
        return Ok(Dynamic::from_blob(body.to_vec()));
    }
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

fn is_file(success: &Success) -> bool {
    let Some(content_type) = success.response.header("content-type") else {
        return false;
    };
    let content_type = content_type.to_ascii_lowercase();
    // Some servers call everything text.
    let is_mislabelled = content_type.starts_with("text/") && success.response.body.starts_with(b"{");
    !content_type.contains("json") && !is_mislabelled
}

/// What came back beside the answer's body: its status, and the headers that were kept.
pub(crate) fn response_value(response: &Response) -> Dynamic {
    let headers = response.headers.iter();
    let headers: Map = headers
        .map(|(name, value)| (name.as_ref().into(), (&**value).into()))
        .collect();
    let mut map = Map::new();
    map.insert("status".into(), i64::from(response.status).into());
    map.insert("headers".into(), headers.into());
    map.into()
}

/// A JSON value as a script's value. Numbers beyond 64 bits become floats.
pub fn from_json(value: serde_json::Value) -> Dynamic {
    // Every JSON value has a script value; `()` only stands in where Rhai's own limits forbid one.
    serde_json::from_value(value).unwrap_or(Dynamic::UNIT)
}
