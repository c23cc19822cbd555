//! What a request is: its account, its operation, its parameters, its idempotency key. What is wrong here fails before execution.

use inflight_stripe::{Encoding, IDEMPOTENCY_KEY_MAX, Method, Operation, Params, form};

use crate::api::ApiRequest;
use crate::error::{ApiError, shortened};
use crate::multipart;
use crate::plan::{Plan, Verb, plan};

/// The account whose data is meant: each `Stripe-Account` has its own. `Stripe-Context` names one too, at the end of its path.
pub(crate) fn account<'a>(request: &ApiRequest<'a>) -> Result<&'a str, ApiError> {
    let of_context = request.stripe_context.and_then(|path| path.rsplit('/').next());
    if let (Some(account), Some(other)) = (request.stripe_account, of_context)
        && account != other
    {
        let message = "You may only specify one of these headers: Stripe-Account, Stripe-Context.";
        return Err(ApiError::invalid(message));
    }
    let Some(account) = request.stripe_account.or(of_context) else {
        return Ok("");
    };
    let id = account.strip_prefix("acct_").unwrap_or_default();
    if !id.is_empty() && id.len() <= 255 && id.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
        return Ok(account);
    }
    let message = format!(
        "The provided key does not have access to account '{}' (or that account does not exist).",
        shortened(account)
    );
    Err(ApiError::invalid(message).status(403).code("account_invalid"))
}

/// `/v1/files/{file}/contents`
pub(crate) fn contents_of<'a>(request: &ApiRequest<'a>) -> Option<&'a str> {
    let id = request.path.strip_prefix("/v1/files/")?.strip_suffix("/contents")?;
    (request.method == "GET" && !id.contains('/')).then_some(id)
}

/// What a request's method and path lead to.
pub(crate) struct Route {
    pub(crate) operation: &'static Operation,
    pub(crate) plan: &'static Plan,
    /// The ids in the path.
    pub(crate) ids: Vec<String>,
}

pub(crate) fn route(request: &ApiRequest<'_>) -> Result<Route, ApiError> {
    let unrecognized = || {
        let message = format!(
            "Unrecognized request URL ({}: {}). Please see https://docs.stripe.com.",
            shortened(request.method),
            shortened(request.path)
        );
        ApiError::invalid(message).status(404)
    };
    let method = match request.method {
        "GET" => Method::Get,
        "POST" => Method::Post,
        "DELETE" => Method::Delete,
        _ => return Err(unrecognized()),
    };
    let (operation, ids) = Operation::by_route(method, request.path).ok_or_else(unrecognized)?;
    let ids: Option<Vec<String>> = ids.into_iter().map(form::decode_segment).collect();
    Ok(Route {
        operation,
        plan: plan(operation).ok_or_else(unrecognized)?,
        ids: ids.ok_or_else(unrecognized)?,
    })
}

/// The object in the path is a parameter like any other to what is made in it.
pub(crate) fn add_owner(operation: &'static Operation, plan: &Plan, ids: &[String], params: &mut Params) {
    let owner = plan.owner.as_ref().filter(|_| plan.verb == Verb::Create);
    if let Some((_, place)) = owner
        && let (Some(id), Some(name)) = (ids.get(*place), operation.path_params.get(*place))
        && *name != "id"
        && params.get(name).is_none()
    {
        params.set(*name, id.as_str());
    }
}

pub(crate) fn error_body(error: &ApiError, path: &str) -> String {
    if path.starts_with("/v2/") {
        error.json_v2()
    } else {
        error.json()
    }
}

pub(crate) fn decode(request: &ApiRequest<'_>, operation: &'static Operation) -> Result<Params, ApiError> {
    let malformed = |error: form::DecodeError| ApiError::invalid(format!("Invalid request: {error}."));
    let mut params = match operation.encoding {
        _ if request.method != "POST" || request.body.is_empty() => Params::new(),
        Encoding::Json => json_body(request.body)?,
        Encoding::Multipart if is_multipart(request) => {
            multipart::decode(request.content_type.unwrap_or_default(), request.body)?
        }
        _ => form::decode(form_body(request)?).map_err(malformed)?,
    };
    if !request.query.is_empty() {
        for (name, value) in form::decode(request.query).map_err(malformed)? {
            params.set(name, value);
        }
    }
    Ok(params)
}

fn media_type<'a>(request: &ApiRequest<'a>) -> &'a str {
    let content_type = request.content_type.unwrap_or("application/x-www-form-urlencoded");
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_multipart(request: &ApiRequest<'_>) -> bool {
    media_type(request).eq_ignore_ascii_case("multipart/form-data")
}

fn json_body(body: &[u8]) -> Result<Params, ApiError> {
    match serde_json::from_slice(body) {
        Ok(serde_json::Value::Object(fields)) => Ok(fields.into()),
        _ => Err(ApiError::invalid("Invalid request: the body is not a JSON object.")),
    }
}

fn form_body<'a>(request: &ApiRequest<'a>) -> Result<&'a str, ApiError> {
    let form = std::str::from_utf8(request.body).ok();
    match form {
        Some(form) if media_type(request).eq_ignore_ascii_case("application/x-www-form-urlencoded") => Ok(form),
        _ => Err(ApiError::invalid(
            "Invalid request (check that your POST content type is application/x-www-form-urlencoded). If you have any \
             questions, we can help at https://support.stripe.com/.",
        )),
    }
}

/// Keys do something on a POST only, and on a DELETE of API v2.
pub(crate) fn idempotency_key<'a>(request: &ApiRequest<'a>) -> Result<Option<&'a str>, ApiError> {
    let counts = match request.method {
        "POST" => true,
        "DELETE" => request.path.starts_with("/v2/"),
        _ => false,
    };
    let Some(key) = request.idempotency_key.filter(|_| counts) else {
        return Ok(None);
    };
    let refusal = if key.is_empty() {
        "Idempotency-Key cannot be an empty string."
    } else if key.chars().count() > IDEMPOTENCY_KEY_MAX {
        "Idempotency-Key cannot be longer than 255 characters."
    } else {
        return Ok(Some(key));
    };
    Err(ApiError::invalid(refusal))
}

pub(crate) fn key_in_use(key: &str) -> ApiError {
    ApiError::invalid(format!(
        "There is currently another in-progress request using this Idempotent Key (that probably means you submitted twice, \
         and the other request is still going through): {}. Please try again later.",
        shortened(key)
    ))
    .status(409)
    .code("idempotency_key_in_use")
}

pub(crate) fn key_of_other_request(key: &str) -> ApiError {
    let mut error = ApiError::invalid(format!(
        "Keys for idempotent requests can only be used with the same parameters they were first used with. Try using a key \
         other than '{}' if you meant to execute a different request.",
        shortened(key)
    ));
    error.kind = "idempotency_error";
    error
}
