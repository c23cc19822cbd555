//! Answers as script values, made only when a script asks for them.

use inflight_core::{Effect, Response, Success};
use rhai::{Dynamic, EvalAltResult, ImmutableString, Map};

use crate::answer::Told;
use crate::error::{error_map, thrown};
use crate::heap::uncharged;
use crate::json::{self, JsonError};

/// What `get_result` gives: the object's id, or the whole answer where it is not about one object (a list).
pub(crate) fn result_value(success: &Success) -> Result<Dynamic, Box<EvalAltResult>> {
    result_told(success).map(Told::into_value)
}

/// As [`result_value`], with the text that it is made of.
pub(crate) fn result_told(success: &Success) -> Result<Told, Box<EvalAltResult>> {
    match &success.object_id {
        Some(id) => Ok(Dynamic::from(ImmutableString::from(id.as_ref())).into()),
        None => object_told(success),
    }
}

/// The whole answer as a map; as bytes (a blob) where its content type says that it is not JSON, and as text where it is none all
/// the same.
pub(crate) fn object_told(success: &Success) -> Result<Told, Box<EvalAltResult>> {
    let body = &success.response.body;
    if is_file(success) {
        crate::bounded::reserve(body.len())?;
        return Ok(Dynamic::from_blob(body.to_vec()).into());
    }
    if body.is_empty() {
        return Ok(Dynamic::UNIT.into());
    }
    match json::read(body) {
        Ok(value) => Ok(Told::json(value, uncharged(|| body.clone()))),
        Err(JsonError::Stopped(stopped)) => Err(stopped),
        Err(JsonError::Syntax(error)) => match std::str::from_utf8(body) {
            Ok(text) if !text.trim_start().starts_with(['{', '[']) => {
                Ok(Dynamic::from(ImmutableString::from(text)).into())
            }
            _ => Err(unreadable(&success.response, &error)),
        },
    }
}

/// The other side has answered that it did what was asked: whatever that was is done, though its answer cannot be read.
fn unreadable(response: &Response, error: &serde_json::Error) -> Box<EvalAltResult> {
    let message = format!("the request was carried out, and its answer cannot be read: {error}");
    let mut map = error_map("invalid_response", &message, Effect::Done, false);
    map.insert("status".into(), i64::from(response.status).into());
    if let Some(id) = response.header("request-id") {
        map.insert("request_id".into(), id.into());
    }
    thrown(map)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_carried_out_is_done_though_nobody_can_read_the_answer() {
        for body in [r#"{"id":"x","n":1e400}"#, r#"{"id":"\ud83d"}"#, "{"] {
            let success = Success {
                object_id: Some("x".into()),
                response: Response::new(200, body.to_owned()),
            };
            let error = object_told(&success).map(Told::into_value).expect_err(body);
            let EvalAltResult::ErrorRuntime(thrown, _) = *error else {
                panic!("{error}")
            };
            let map = thrown.cast::<Map>();
            let text = |name: &str| map[name].to_string();
            assert_eq!(
                (text("kind"), text("effect"), text("status")),
                ("invalid_response".into(), "done".into(), "200".into())
            );
        }
    }
}
