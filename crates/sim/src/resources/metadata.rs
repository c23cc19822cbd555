//! Metadata: the caller's own texts on an object. <https://docs.stripe.com/api/metadata>

use std::borrow::Cow;

use inflight_stripe::{METADATA_ENTRIES_MAX, Value};

use crate::error::ApiError;
use crate::object::Object;

/// New keys are added, empty values remove their key, `metadata=` removes all. <https://docs.stripe.com/api/metadata>
pub(crate) fn apply_metadata(object: &mut Object, value: &Value) -> Result<(), ApiError> {
    match value {
        Value::Map(entries) => {
            // What goes makes room for what comes.
            for removes in [true, false] {
                for (key, value) in entries.iter() {
                    let value = as_text(value);
                    if value.is_empty() == removes {
                        set_metadata(object, key, &value);
                    }
                }
            }
        }
        _ => object.metadata.clear(),
    }
    if object.metadata.len() > METADATA_ENTRIES_MAX {
        let message = format!("You cannot have more than {METADATA_ENTRIES_MAX} keys in metadata.");
        return Err(ApiError::invalid(message).param("metadata"));
    }
    Ok(())
}

fn set_metadata(object: &mut Object, key: &str, value: &str) {
    let known = object.metadata.iter().position(|(k, _)| &**k == key);
    match (known, value.is_empty()) {
        (Some(at), true) => drop(object.metadata.remove(at)),
        (Some(at), false) => object.metadata[at].1 = value.into(),
        // One more than allowed is enough to be refused.
        (None, false) if object.metadata.len() <= METADATA_ENTRIES_MAX => {
            object.metadata.push((key.into(), value.into()))
        }
        (None, _) => {}
    }
}

/// A value as the text that it is in a form.
fn as_text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Bool(value) => Cow::Owned(value.to_string()),
        Value::Integer(number) => Cow::Owned(number.to_string()),
        Value::Float(number) => Cow::Owned(number.to_string()),
        _ => Cow::Borrowed(""),
    }
}
