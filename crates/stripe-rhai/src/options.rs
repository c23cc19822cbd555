//! How one request is sent: as setters of a builder, and as the last map of a call.

use inflight_rhai::{invalid_argument, text_argument};
use inflight_stripe::{Operation, RequestOptions, Server, nearest, redacted};
use rhai::{Dynamic, Map};

use crate::Answer;
use crate::configure::{priority_of, timeout_of};

/// Setters that say how a request is sent, not what it says.
pub const OPTION_SETTERS: [&str; 8] = [
    "idempotency_key",
    "stripe_account",
    "stripe_context",
    "stripe_version",
    "priority",
    "timeout",
    "deadline",
    "max_retries",
];

/// The option of operations that take a session's token in the key's place.
pub(crate) const SESSION_TOKEN: &str = "session_token";

/// The options of this operation beside those of every request.
pub(crate) fn options_of(operation: &Operation) -> &'static [&'static str] {
    if operation.server == Server::MeterEvents {
        &[SESSION_TOKEN]
    } else {
        &[]
    }
}

/// Sets one option of this name, which is one of [`OPTION_SETTERS`].
pub(crate) fn set_option(options: &mut RequestOptions, name: &str, value: &Dynamic) -> Answer<()> {
    let text = || text_argument(format_args!("`{name}`"), value).map(String::from);
    match name {
        "idempotency_key" => options.idempotency_key = Some(text()?),
        "stripe_account" => options.stripe_account = Some(text()?),
        "stripe_context" => options.stripe_context = Some(text()?),
        "stripe_version" => options.stripe_version = Some(text()?),
        "priority" => options.priority = Some(priority_of(&text()?)?),
        "deadline" => options.deadline = Some(timeout_of(value)?),
        "max_retries" => options.max_retries = Some(retries_of(value)?),
        _ => options.timeout = Some(timeout_of(value)?),
    }
    Ok(())
}

fn retries_of(value: &Dynamic) -> Answer<u32> {
    let number = value.as_int().ok().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| invalid_argument("`max_retries` must be a whole number, zero or more"))
}

/// Sets the options in a script's map. `()` leaves one out. `further` are those that this call has besides, for suggestions.
pub(crate) fn add_options(options: &mut RequestOptions, map: &Map, further: &[&str]) -> Answer<()> {
    for (name, value) in map {
        if !OPTION_SETTERS.contains(&name.as_str()) {
            return Err(invalid_argument(&unknown_option(name, further)));
        }
        if !value.is_unit() {
            set_option(options, name, value)?;
        }
    }
    Ok(())
}

/// What is wrong with an option that does not exist, with the nearest that does. `further` are those that this call has besides.
pub(crate) fn unknown_option(name: &str, further: &[&str]) -> String {
    let known = [&OPTION_SETTERS[..], further].concat();
    unknown_name(name, "option of a request", &known)
}

/// What is wrong with a name that is none of those known, with the nearest that is.
pub(crate) fn unknown_name(name: &str, what: &str, known: &[&str]) -> String {
    let hint = nearest(name, known.iter().copied()).map_or_else(
        || format!("known are {}", known.join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    format!("`{}` is no {what}: {hint}", shortened(name))
}

pub(crate) fn shortened(name: &str) -> String {
    redacted(name).chars().take(80).collect()
}
