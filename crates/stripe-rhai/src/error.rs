//! What errors say beyond the fields that all of them have.

use rhai::{Dynamic, EvalAltResult, Map};

/// The same error with one more field, where it is a map.
pub(crate) fn with_field(mut error: Box<EvalAltResult>, name: &str, value: Dynamic) -> Box<EvalAltResult> {
    if let EvalAltResult::ErrorRuntime(thrown, _) = &mut *error
        && let Some(mut map) = thrown.write_lock::<Map>()
    {
        map.insert(name.into(), value);
    }
    error
}
