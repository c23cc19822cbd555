//! Routes of the simulator's own, which need no key: `/_sim/…`.

use bytes::Bytes;
use serde_json::json;

use crate::api::{Api, ApiRequest, ApiResponse};
use crate::error::ApiError;

/// What a route of the simulator's own asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Control {
    Health,
    Stats,
    Reset,
    Save,
}

/// `None` for requests to Stripe.
pub(crate) fn control(request: &ApiRequest<'_>) -> Option<Result<Control, ApiError>> {
    let name = request.path.strip_prefix("/_sim/")?;
    Some(match (request.method, name) {
        ("GET", "health") => Ok(Control::Health),
        ("GET", "stats") => Ok(Control::Stats),
        ("POST", "reset") => Ok(Control::Reset),
        ("POST", "save") => Ok(Control::Save),
        _ => Err(ApiError::invalid(
            "The simulator's own routes are GET /_sim/health, GET /_sim/stats, POST /_sim/reset and POST /_sim/save.",
        )
        .status(404)),
    })
}

/// What happened since the start or the last reset, and what there is.
pub(crate) fn stats(api: &Api) -> serde_json::Value {
    let counts = api.counts();
    json!({
        "requests": counts.requests,
        "effects": counts.effects,
        "replays": counts.replays,
        "conflicts": counts.conflicts,
        "refused": counts.refused,
        "operations": api.operations(),
        "objects": api.totals(),
    })
}

/// An answer of the simulator's own.
pub(crate) fn answer(result: Result<serde_json::Value, ApiError>) -> ApiResponse {
    let (status, body) = match result {
        Ok(value) => (200, value.to_string()),
        Err(error) => (error.status, error.json()),
    };
    ApiResponse::of(status, Bytes::from(body))
}
