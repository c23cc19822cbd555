//! Routes of the simulator's own, which need no key: `/_sim/…`.

use std::net::IpAddr;

use bytes::Bytes;
use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::http::uri::Authority;
use serde_json::json;

use crate::api::{Api, ApiRequest, ApiResponse};
use crate::error::ApiError;

/// What containers call the machine that they run on. `.internal` is a domain that nobody can own.
const DOCKER_HOST: &str = "host.docker.internal";

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

/// Refuses what a web page in the developer's browser may have sent: these routes need no key, and one of them forgets everything.
///
/// A browser sends a page's `Origin` with everything but plain reading. To read, a page must have its own name point to this
/// machine, so names that someone may own are refused. Addresses, `localhost`, names without a dot (a container's) and that of
/// Docker's host are nobody's.
pub(crate) fn check_caller(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |why: &str| {
        Err(ApiError::invalid(format!("The simulator's own routes are not for web pages: {why}")).status(403))
    };
    if headers.contains_key(ORIGIN) {
        return refused("send no Origin.");
    }
    // HTTP/2 has none, and no browser speaks that without TLS.
    let Some(host) = headers.get(HOST) else { return Ok(()) };
    let is_safe = Authority::try_from(host.as_bytes()).is_ok_and(|host| {
        let name = host.host();
        !name.contains('.')
            || name.eq_ignore_ascii_case(DOCKER_HOST)
            || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
    });
    if is_safe {
        return Ok(());
    }
    refused("the Host must be an address, localhost, host.docker.internal or a name without a dot.")
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
