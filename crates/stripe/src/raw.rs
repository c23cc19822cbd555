//! Any request of Stripe's API, unchecked: for what the catalogue does not know yet.

use inflight_core::{Method, Request};

use crate::api_path::is_step;
use crate::catalogue::{Encoding, Operation, Server, is_v2};
use crate::form;
use crate::options::RequestOptions;
use crate::request::{BuildError, Unencoded};
use crate::value::{Params, Value};

/// What stands for a path that the catalogue does not know, where an operation's name is asked for.
const UNKNOWN: &str = "raw";

/// Makes a request to any path of Stripe's API. Nothing is checked but that it stays there.
///
/// The path may have a query. Parameters are written as for any other request: a POST's into its body (as JSON below `/v2/`, as
/// parts where a file is among them), all others' into the query. An id belongs percent-encoded into the path.
///
/// # Errors
/// A path that leads elsewhere, and what HTTP would refuse: see [`BuildError`].
///
/// ```
/// use inflight_stripe::{Method, Params, RequestOptions, raw};
///
/// let request = raw(Method::Post, "/v1/charges/ch_1/refund", Params::new().with("amount", 5), &RequestOptions::new())?;
/// assert_eq!(request.target, "/v1/charges/ch_1/refund");
/// assert!(raw(Method::Get, "//elsewhere.test/", Params::new(), &RequestOptions::new()).is_err());
/// # Ok::<_, inflight_stripe::BuildError>(())
/// ```
pub fn raw(method: Method, path: &str, params: Params, options: &RequestOptions) -> Result<Request, BuildError> {
    check_path(path)?;
    let known = route(method, path);
    let unencoded = Unencoded {
        method,
        target: path_encoded(path),
        name: known.map_or(UNKNOWN, |operation| match operation.name {
            "" => operation.path,
            name => name,
        }),
        encoding: match () {
            () if params.iter().any(|(_, value)| matches!(value, Value::File(_))) => Encoding::Multipart,
            () if is_v2(path) => Encoding::Json,
            () => Encoding::Form,
        },
        query: known.map_or(&[], |operation| operation.query),
        body: known.map_or(&[], |operation| operation.body),
    };
    unencoded.request(params, options)
}

impl Server {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Api, Self::Files, Self::MeterEvents, Self::Connect];

    /// The server of a path: by the catalogue, or by the two rules that it does not hold.
    #[must_use]
    pub fn of(method: Method, path: &str) -> Self {
        if path.starts_with("/oauth/") {
            return Self::Connect;
        }
        match route(method, path) {
            Some(operation) => operation.server,
            None if is_file_contents(path) => Self::Files,
            None => Self::Api,
        }
    }

    /// The server's base URL.
    #[must_use]
    pub fn url(self) -> &'static str {
        match self {
            Self::Api => "https://api.stripe.com",
            Self::Files => "https://files.stripe.com",
            Self::MeterEvents => "https://meter-events.stripe.com",
            Self::Connect => "https://connect.stripe.com",
        }
    }
}

/// Whether this path, with or without a query, gives the bytes of an uploaded file. <https://docs.stripe.com/file-upload#download-file-contents>
pub(crate) fn is_file_contents(path: &str) -> bool {
    let path = path.split('?').next().unwrap_or_default();
    path.strip_prefix("/v1/files/")
        .and_then(|rest| rest.strip_suffix("/contents"))
        .is_some_and(|id| !id.is_empty() && !id.contains('/'))
}

fn route(method: Method, path: &str) -> Option<&'static Operation> {
    let path = path.split('?').next()?;
    Operation::by_route(method, path).map(|(operation, _)| operation)
}

/// A path beginning with two slashes, or with a backslash, would be read as the name of another server.
fn check_path(path: &str) -> Result<(), BuildError> {
    let rest = path.strip_prefix('/').ok_or(BuildError::Path)?;
    let odd = |c: char| c.is_control() || matches!(c, '\\' | '#');
    let mut segments = rest.split('?').next().unwrap_or_default().split('/');
    if rest.starts_with('/') || rest.contains(odd) || segments.any(is_step) {
        return Err(BuildError::Path);
    }
    Ok(())
}

/// The path with what no URL may hold percent-encoded.
fn path_encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?%[]".contains(c) {
            out.push(c);
        } else {
            out.push_str(&form::percent_encode(c.encode_utf8(&mut [0; 4])).to_string());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Upload;

    fn call(method: Method, path: &str, params: Params) -> Request {
        raw(method, path, params, &RequestOptions::new()).unwrap()
    }

    #[test]
    fn paths_stay_where_they_belong() {
        for path in [
            "",
            "v1/products",
            "//evil.test/v1",
            "/\\evil.test",
            "https://evil.test/v1",
            "/v1/../../x",
            "/v1/%2e%2E/x",
            "/v1/a\nb",
            "/v1/a#b",
            "@evil.test",
        ] {
            let made = raw(Method::Get, path, Params::new(), &RequestOptions::new());
            assert_eq!(made, Err(BuildError::Path), "{path:?}");
        }
        let odd = call(Method::Get, "/v1/a b/é\"?x=1", Params::new().with("y", 2));
        assert_eq!(odd.target, "/v1/a%20b/%C3%A9%22?x=1&y=2");
    }

    #[test]
    fn bodies_are_written_as_the_path_has_it() {
        let text = |request: &Request| String::from_utf8(request.body.clone().unwrap().bytes.to_vec()).unwrap();
        let params = || Params::new().with("a", Params::new().with("b", 1));
        assert_eq!(text(&call(Method::Post, "/v1/new_thing", params())), "a[b]=1");
        assert_eq!(
            text(&call(Method::Post, "/v2/new/things", params())),
            r#"{"a":{"b":1}}"#
        );
        let file = params().with("file", Upload::new("f", &b"x"[..]));
        let parts = call(Method::Post, "/v1/files", file).body.unwrap();
        assert!(parts.content_type.starts_with("multipart/form-data; boundary="));
    }

    #[test]
    fn a_known_route_lends_its_name() {
        let name = |path: &str| call(Method::Get, path, Params::new()).operation;
        assert_eq!(name("/v1/products/p_1?expand[0]=x"), "product.retrieve");
        assert_eq!(name("/v1/customers/cus_1/cards"), "/v1/customers/{customer}/cards");
        assert_eq!(name("/v1/never/heard/of"), "raw");
    }

    #[test]
    fn servers() {
        for (path, server) in [
            ("/v1/products", Server::Api),
            ("/v1/files/file_1/contents", Server::Files),
            ("/v1/quotes/qt_1/pdf", Server::Files),
            ("/oauth/token", Server::Connect),
        ] {
            assert_eq!(Server::of(Method::Get, path), server);
        }
        assert_eq!(Server::of(Method::Post, "/v1/files"), Server::Files);
        assert_eq!(
            Server::of(Method::Post, "/v2/billing/meter_event_stream").url(),
            "https://meter-events.stripe.com"
        );
    }
}
