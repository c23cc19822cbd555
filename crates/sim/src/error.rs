//! Errors in Stripe's shape. <https://docs.stripe.com/api/errors>

use inflight_stripe::{Kind, ParamError, Problem};

use crate::json::{push_number, push_text};

/// An answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    pub(crate) message: String,
    pub(crate) param: Option<String>,
    pub(crate) details: Option<Box<Details>>,
}

/// What errors about payments add.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Details {
    pub(crate) decline_code: Option<&'static str>,
    /// The id of the failed charge.
    pub(crate) charge: Option<String>,
    /// The payment method that was declined, as JSON.
    pub(crate) payment_method: Option<String>,
    /// The payment intent or setup intent in question, as JSON under its name.
    pub(crate) intent: Option<(&'static str, String)>,
}

impl ApiError {
    /// A 400 without a code.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            kind: "invalid_request_error",
            code: None,
            message: message.into(),
            param: None,
            details: None,
        }
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    pub(crate) fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    pub(crate) fn missing(param: &str) -> Self {
        Self::invalid(format!("Missing required param: {param}."))
            .code("parameter_missing")
            .param(param)
    }

    /// An object that a parameter names and that does not exist.
    pub(crate) fn no_such(object: &str, id: &str, param: &str) -> Self {
        Self::invalid(format!("No such {object}: '{}'", shortened(id)))
            .code("resource_missing")
            .param(param)
    }

    pub(crate) fn invalid_integer(param: &str, value: &str) -> Self {
        Self::invalid(format!("Invalid integer: {}", shortened(value)))
            .code("parameter_invalid_integer")
            .param(param)
    }

    pub(crate) fn already_exists(object: &str) -> Self {
        Self::invalid(format!("{object} already exists."))
            .code("resource_already_exists")
            .param("id")
    }

    /// The body.
    pub(crate) fn json(&self) -> String {
        let mut out = String::with_capacity(200 + self.message.len());
        out.push_str("{\"error\":{");
        let doc_url = self
            .code
            .map(|code| format!("https://docs.stripe.com/error-codes/{}", code.replace('_', "-")));
        for (name, value) in [
            ("code", self.code),
            (
                "decline_code",
                self.details.as_ref().and_then(|details| details.decline_code),
            ),
            ("doc_url", doc_url.as_deref()),
            ("message", Some(self.message.as_str())),
            ("param", self.param.as_deref()),
        ] {
            if let Some(value) = value {
                push_text(&mut out, name);
                out.push(':');
                push_text(&mut out, value);
                out.push(',');
            }
        }
        if let Some(details) = &self.details {
            if let Some(charge) = &details.charge {
                push_number(&mut out, format_args!("\"charge\":\"{charge}\","));
            }
            if let Some(method) = &details.payment_method {
                push_number(&mut out, format_args!("\"payment_method\":{method},"));
            }
            if let Some((name, intent)) = &details.intent {
                push_number(&mut out, format_args!("\"{name}\":{intent},"));
            }
        }
        out.push_str("\"type\":");
        push_text(&mut out, self.kind);
        out.push_str("}}");
        out
    }
}

impl ApiError {
    /// The body as API v2 has it. <https://docs.stripe.com/api-v2-overview>
    pub(crate) fn json_v2(&self) -> String {
        let code = self.code.unwrap_or("invalid_fields");
        let code = if code == "resource_missing" { "not_found" } else { code };
        let mut out = String::from("{\"error\":{\"code\":");
        push_text(&mut out, code);
        out.push_str(",\"message\":");
        push_text(&mut out, &self.message);
        if let Some(param) = &self.param {
            out.push_str(",\"param\":");
            push_text(&mut out, param);
        }
        out.push_str(",\"type\":");
        push_text(&mut out, self.kind);
        out.push_str("}}");
        out
    }
}

impl From<ParamError> for ApiError {
    fn from(error: ParamError) -> Self {
        let param = as_stripe_writes(&error.path);
        match &error.problem {
            Problem::Unknown { nearest } => {
                let hint = nearest.map(|name| format!(". Did you mean {name}?")).unwrap_or_default();
                Self::invalid(format!("Received unknown parameter: {param}{hint}")).code("parameter_unknown")
            }
            Problem::Missing => return Self::missing(&param),
            Problem::WrongType { expected, found } => wrong_type(expected, found),
            Problem::NotInEnum { expected, .. } => {
                let values: Vec<&str> = expected.iter().copied().filter(|v| !v.is_empty()).collect();
                Self::invalid(format!("Invalid {param}: must be one of {}", listed(&values)))
            }
            Problem::TooLong { max, .. } => {
                Self::invalid(format!("Invalid string: {param}; must be at most {max} characters"))
            }
            Problem::TooManyEntries { max, count } => Self::invalid(format!(
                "You cannot have more than {max} keys in {param}. You tried to set {count} keys."
            )),
            Problem::BadMetadataKey => Self::invalid(format!(
                "Invalid key of metadata: {param}; a key is not empty and has no square brackets"
            )),
            _ => Self::invalid(format!(
                "You passed an empty string for '{param}'. We assume empty values are an attempt to unset a field; \
                 however '{param}' cannot be unset. You should remove '{param}' from your request or supply a non-empty \
                 value."
            ))
            .code("parameter_invalid_empty"),
        }
        .param(param)
    }
}

fn wrong_type(expected: &Kind, found: &str) -> ApiError {
    let found = found.trim_matches('"');
    match expected {
        Kind::Integer => ApiError::invalid(format!("Invalid integer: {found}")).code("parameter_invalid_integer"),
        Kind::Timestamp => ApiError::invalid(format!("Invalid timestamp: {found}; must be an integer Unix timestamp")),
        Kind::Boolean => ApiError::invalid(format!("Invalid boolean: {found}")),
        Kind::Number | Kind::Decimal => ApiError::invalid(format!("Invalid decimal: {found}")),
        Kind::List(_) => ApiError::invalid("Invalid array"),
        Kind::Object(_) | Kind::Map(_) => ApiError::invalid("Invalid object"),
        _ => ApiError::invalid(format!("Invalid value: {found}")),
    }
}

/// `items[0].price_data.currency` is `items[0][price_data][currency]` to Stripe.
fn as_stripe_writes(path: &str) -> String {
    let mut segments = path.split('.');
    let mut out = segments.next().unwrap_or_default().to_owned();
    for segment in segments {
        let (name, index) = segment.split_at(segment.find('[').unwrap_or(segment.len()));
        push_number(&mut out, format_args!("[{name}]{index}"));
    }
    out
}

/// `a, b, or c`
pub(crate) fn listed(values: &[&str]) -> String {
    match values {
        [first, second] => format!("{first} or {second}"),
        [others @ .., last] if !others.is_empty() => format!("{}, or {last}", others.join(", ")),
        _ => values.join(""),
    }
}

/// A text of the caller's in a message: bounded.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_valid_json_in_stripes_shape() {
        let error = ApiError::no_such("product", "a\"b", "product");
        let body: serde_json::Value = serde_json::from_str(&error.json()).unwrap();
        assert_eq!(body["error"]["message"], "No such product: 'a\"b'");
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(
            body["error"]["doc_url"],
            "https://docs.stripe.com/error-codes/resource-missing"
        );
    }

    #[test]
    fn names_are_written_as_stripe_does() {
        assert_eq!(
            as_stripe_writes("items[0].price_data.curency"),
            "items[0][price_data][curency]"
        );
        assert_eq!(as_stripe_writes("a.b[1].c"), "a[b][1][c]");
        assert_eq!(listed(&["a", "b", "c"]), "a, b, or c");
        assert_eq!(listed(&["a"]), "a");
    }
}
