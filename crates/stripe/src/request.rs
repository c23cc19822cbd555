//! From an operation and its parameters to a core [`Request`].

use std::borrow::Cow;
use std::fmt::Write as _;

use inflight_core::{IdempotencyKey, Method, Request};

use crate::catalogue::{Encoding, Operation, Param};
use crate::form::{self, EncodeError};
use crate::options::RequestOptions;
use crate::param_error::ParamError;
use crate::value::Params;
use crate::{json, multipart};

/// The version of Stripe's API that requests ask for unless they say otherwise: the one of the catalogue.
pub const API_VERSION: &str = "2026-05-27.dahlia";

/// Idempotency keys have at most so many characters. <https://docs.stripe.com/api/idempotent_requests>
pub const IDEMPOTENCY_KEY_MAX: usize = 255;

/// Ids have at most so many characters: the specification's `maxLength` of every path parameter.
pub(crate) const ID_MAX: usize = 5000;

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

const JSON: &str = "application/json";

/// The largest form or JSON that is sent, in bytes. A bound of our own, far above any real request: the largest parameters of Stripe's have
/// 5,000 characters each. It keeps what waits to be sent in bounded memory.
pub const FORM_MAX: usize = 1024 * 1024;
/// A request's path and query have at most so many bytes: HTTP clients bound a URL's length to 64 KiB, and servers to less.
pub const TARGET_MAX: usize = 60 * 1024;

/// The largest body with a file in it that is sent, in bytes. Stripe takes files of up to 16 MB.
/// <https://docs.stripe.com/file-upload>
pub const FILE_MAX: usize = 17 * 1024 * 1024;

/// Why no request can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Stripe would refuse a parameter.
    #[error(transparent)]
    Param(#[from] ParamError),
    /// The parameters fit into no form.
    #[error("the parameters cannot be sent: {0}")]
    Encode(#[from] EncodeError),
    /// Too many or too few values for the path.
    #[error("{operation} takes {expected} ids in its path, {given} were given")]
    PathArguments {
        /// The operation's name.
        operation: &'static str,
        /// How many its path has.
        expected: usize,
        /// How many were given.
        given: usize,
    },
    /// An id that would change the path's meaning: empty, `.`, `..`, or longer than 5,000 characters.
    #[error("{operation} needs a usable `{name}`: it may not be empty, `.`, `..` or longer than {ID_MAX} characters")]
    Id {
        /// The operation's name.
        operation: &'static str,
        /// The name of the path's parameter.
        name: &'static str,
    },
    /// More than any request of Stripe's API needs.
    #[error("the parameters of {operation} take {bytes} bytes, and at most {max} are sent")]
    TooLarge {
        /// The operation's name.
        operation: &'static str,
        /// The size of the encoded parameters.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// A path and query that are longer than a URL may be.
    #[error("the path and query of {operation} have {bytes} bytes, and a URL has at most {TARGET_MAX}")]
    TargetTooLong {
        /// The operation's name.
        operation: &'static str,
        /// The length of path and query.
        bytes: usize,
    },
    /// Parameters that are no JSON object.
    #[error("the parameters of {operation} must be a JSON object")]
    NoObject {
        /// The operation's name.
        operation: &'static str,
    },
    /// A path that is none, or that leads elsewhere.
    #[error("the path must begin with exactly one `/`, and hold no `..`, `#`, backslash or control character")]
    Path,
    /// A connected account and a context.
    #[error("a request is for a connected account or for a context, not for both")]
    AccountAndContext,
    /// An idempotency key that Stripe or HTTP would refuse.
    #[error(
        "the idempotency key must have 1 to {IDEMPOTENCY_KEY_MAX} printable ASCII characters, and no blank at its ends"
    )]
    IdempotencyKey,
    /// A header value that HTTP would refuse.
    #[error("the value of {0} must have 1 to 255 printable ASCII characters, without spaces")]
    Header(&'static str),
}

impl Operation {
    /// Checks everything and makes the request.
    ///
    /// `path_args` are the values of the path's parameters, in order; they are percent-encoded. The parameters of a POST
    /// are its body, those of a GET or DELETE its query. Where the options ask for another version of Stripe's API than
    /// [`API_VERSION`], the parameters are not checked: it may know others.
    ///
    /// # Errors
    /// The first thing that Stripe or HTTP would refuse: see [`BuildError`].
    ///
    /// ```
    /// use inflight_stripe::{Operation, Params, RequestOptions};
    ///
    /// let list = Operation::by_name("price.list").unwrap();
    /// let request = list.request(&[], Params::new().with("limit", 3), &RequestOptions::new())?;
    /// assert_eq!(request.target, "/v1/prices?limit=3");
    /// # Ok::<_, inflight_stripe::BuildError>(())
    /// ```
    pub fn request(
        &'static self,
        path_args: &[&str],
        params: Params,
        options: &RequestOptions,
    ) -> Result<Request, BuildError> {
        if options.is_of_catalogue() {
            self.check_all(&params)?;
        }
        let unencoded = Unencoded {
            method: self.method,
            target: self.target(path_args)?,
            name: self.name,
            encoding: self.encoding,
            query: self.query,
            body: self.body,
        };
        unencoded.request(params, options)
    }

    fn target(&self, path_args: &[&str]) -> Result<String, BuildError> {
        if path_args.len() != self.path_params.len() {
            return Err(BuildError::PathArguments {
                operation: self.name,
                expected: self.path_params.len(),
                given: path_args.len(),
            });
        }
        let mut target = String::with_capacity(self.path.len() + 32);
        let mut args = self.path_params.iter().zip(path_args);
        for segment in self.path.split('/').skip(1) {
            target.push('/');
            if !segment.starts_with('{') {
                target.push_str(segment);
            } else if let Some((name, id)) = args.next() {
                if matches!(*id, "" | "." | "..") || id.len() > ID_MAX {
                    return Err(BuildError::Id {
                        operation: self.name,
                        name,
                    });
                }
                // Writing to a `String` cannot fail.
                let _ = write!(target, "{}", form::percent_encode(id));
            }
        }
        Ok(target)
    }
}

/// A request that is known to be sound but for its parameters' encoding.
pub(crate) struct Unencoded {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) name: &'static str,
    pub(crate) encoding: Encoding,
    pub(crate) query: &'static [Param],
    pub(crate) body: &'static [Param],
}

impl Unencoded {
    /// The parameters of a POST are its body, but for those that are known to belong to the query; those of a GET or DELETE are
    /// its query.
    pub(crate) fn request(mut self, params: Params, options: &RequestOptions) -> Result<Request, BuildError> {
        let has_body = self.method != Method::Get && self.method != Method::Delete;
        let (query, body) = match (has_body, self.query) {
            (false, _) => (params, Params::new()),
            (true, []) => (Params::new(), params),
            (true, _) => {
                let in_query =
                    |name: &str| Param::find(self.query, name).is_some() && Param::find(self.body, name).is_none();
                let (query, body): (Vec<_>, Vec<_>) = params.into_iter().partition(|(name, _)| in_query(name));
                (query.into_iter().collect(), body.into_iter().collect())
            }
        };
        let query = self.bounded(form::encode(&query)?)?;
        if !query.is_empty() {
            self.target.push(if self.target.contains('?') { '&' } else { '?' });
            self.target.push_str(&query);
        }
        if self.target.len() > TARGET_MAX {
            return Err(BuildError::TargetTooLong {
                operation: self.name,
                bytes: self.target.len(),
            });
        }
        let is_v2 = crate::catalogue::is_v2(&self.target);
        let request = Request::new(self.method, "").operation(self.name);
        let mut request = match self.encoding {
            _ if !has_body => request,
            Encoding::Form => request.body(FORM, self.bounded(form::encode(&body)?)?),
            Encoding::Json => request.body(JSON, self.bounded(json::encode(&body, self.body)?)?),
            Encoding::Multipart => {
                let parts = multipart::encode(&body)?;
                self.check_size(parts.bytes.len(), FILE_MAX)?;
                request.body(parts.content_type, parts.bytes)
            }
        };
        request.target = self.target;
        apply(options, request, is_v2)
    }

    fn bounded(&self, text: String) -> Result<String, BuildError> {
        self.check_size(text.len(), FORM_MAX)?;
        Ok(text)
    }

    fn check_size(&self, bytes: usize, max: usize) -> Result<(), BuildError> {
        if bytes <= max {
            return Ok(());
        }
        Err(BuildError::TooLarge {
            operation: self.name,
            bytes,
            max,
        })
    }
}

pub(crate) fn apply(options: &RequestOptions, mut request: Request, is_v2: bool) -> Result<Request, BuildError> {
    if options.stripe_account.is_some() && options.stripe_context.is_some() {
        return Err(BuildError::AccountAndContext);
    }
    let version = options.stripe_version.as_deref().unwrap_or(API_VERSION);
    let headers = [
        ("Stripe-Version", Some(version)),
        ("Stripe-Account", options.stripe_account.as_deref()),
        ("Stripe-Context", options.stripe_context.as_deref()),
    ];
    for (name, value) in headers {
        let Some(value) = value else { continue };
        if value.is_empty() || value.len() > 255 || !value.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(BuildError::Header(name));
        }
        request.headers.push((Cow::Borrowed(name), value.to_owned()));
    }
    request.idempotency_key = idempotency_key(options, request.method, is_v2)?;
    request.priority = options.priority.unwrap_or_default();
    request.attempt_timeout = options.timeout;
    request.deadline = options.deadline;
    request.max_retries = options.max_retries;
    request.credential = options.credential.clone();
    Ok(request)
}

/// In v1 keys do nothing on GET and DELETE: "don't send them". <https://docs.stripe.com/api/idempotent_requests>. In v2 they do on
/// DELETE. <https://docs.stripe.com/api-v2-overview>
fn idempotency_key(options: &RequestOptions, method: Method, is_v2: bool) -> Result<IdempotencyKey, BuildError> {
    if let Some(key) = &options.idempotency_key {
        let printable = key.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
        // HTTP trims the blanks around a header's value, which would make another key of it.
        if key.is_empty() || key.len() > IDEMPOTENCY_KEY_MAX || !printable || key.trim() != key {
            return Err(BuildError::IdempotencyKey);
        }
    }
    Ok(match (&options.idempotency_key, method) {
        (_, Method::Get) => IdempotencyKey::None,
        (_, Method::Delete) if !is_v2 => IdempotencyKey::None,
        (Some(key), _) => IdempotencyKey::Given(key.clone()),
        (None, _) => IdempotencyKey::Generated,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use inflight_core::Priority;

    use super::*;

    fn request(name: &str, ids: &[&str], params: Params, options: &RequestOptions) -> Result<Request, BuildError> {
        Operation::by_name(name).unwrap().request(ids, params, options)
    }

    #[test]
    fn parameters_go_where_they_belong() {
        let plain = RequestOptions::new();
        let create = request("product.create", &[], Params::new().with("name", "A B"), &plain).unwrap();
        let expected = Request::new(Method::Post, "/v1/products")
            .operation("product.create")
            .body(FORM, "name=A%20B")
            .header("Stripe-Version", API_VERSION)
            .idempotency_key(IdempotencyKey::Generated);
        assert_eq!(create, expected);

        let cancel = Params::new().with("invoice_now", true);
        let cancel = request("subscription.cancel", &["sub_1"], cancel, &plain).unwrap();
        let expected = Request::new(Method::Delete, "/v1/subscriptions/sub_1?invoice_now=true")
            .operation("subscription.cancel")
            .header("Stripe-Version", API_VERSION);
        assert_eq!(cancel, expected);
    }

    #[test]
    fn ids_never_leave_their_segment() {
        let retrieve = |id: &str| request("product.retrieve", &[id], Params::new(), &RequestOptions::new());
        assert_eq!(
            retrieve("a/../b?c#d %").unwrap().target,
            "/v1/products/a%2F..%2Fb%3Fc%23d%20%25"
        );
        for id in ["", ".", "..", &"x".repeat(5001)] {
            assert!(matches!(retrieve(id), Err(BuildError::Id { name: "id", .. })), "{id}");
        }
        let none = request("product.retrieve", &[], Params::new(), &RequestOptions::new());
        assert_eq!(
            none.unwrap_err().to_string(),
            "product.retrieve takes 1 ids in its path, 0 were given"
        );
    }

    #[test]
    fn options_are_applied_and_checked() {
        let create =
            |options: &RequestOptions| request("product.create", &[], Params::new().with("name", "x"), options);
        let options = RequestOptions::new()
            .idempotency_key("order 7")
            .stripe_account("acct_1")
            .stripe_version("2024-01-01")
            .priority(Priority::High)
            .timeout(Duration::from_secs(1))
            .deadline(Duration::from_secs(2))
            .max_retries(5)
            .credential("shop");
        let made = create(&options).unwrap();
        assert_eq!(made.idempotency_key, IdempotencyKey::Given("order 7".into()));
        assert_eq!(
            made.headers,
            [
                ("Stripe-Version".into(), "2024-01-01".to_owned()),
                ("Stripe-Account".into(), "acct_1".to_owned()),
            ]
        );
        assert_eq!(made.priority, Priority::High);
        assert_eq!(made.attempt_timeout, Some(Duration::from_secs(1)));
        assert_eq!(made.deadline, Some(Duration::from_secs(2)));
        assert_eq!(made.max_retries, Some(5));
        assert_eq!(made.credential.as_deref(), Some("shop"));

        let retrieve = request("product.retrieve", &["p"], Params::new(), &options).unwrap();
        assert_eq!(retrieve.idempotency_key, IdempotencyKey::None);

        let both = RequestOptions::new()
            .stripe_account("acct_1")
            .stripe_context("org_1/acct_1");
        assert_eq!(create(&both), Err(BuildError::AccountAndContext));
        let context = create(&RequestOptions::new().stripe_context("org_1/acct_1")).unwrap();
        assert!(
            context
                .headers
                .contains(&("Stripe-Context".into(), "org_1/acct_1".into()))
        );

        for key in ["", " x", "é", "a\nb", &"x".repeat(256)] {
            let options = RequestOptions::new().idempotency_key(key);
            assert_eq!(create(&options), Err(BuildError::IdempotencyKey), "{key:?}");
        }
        for account in ["", "a b", "a\r\nX-Evil: 1"] {
            let options = RequestOptions::new().stripe_account(account);
            assert_eq!(
                create(&options),
                Err(BuildError::Header("Stripe-Account")),
                "{account:?}"
            );
        }
    }

    #[test]
    fn another_version_may_know_other_parameters() {
        let of = |version: Option<&str>, params: Params| {
            let options = RequestOptions {
                stripe_version: version.map(str::to_owned),
                ..RequestOptions::new()
            };
            request("price.create", &[], params, &options)
        };
        let unknown = || Params::new().with("currency", "usd").with("new_thing", 1);
        let not_listed = || Params::new().with("currency", "usd").with("billing_scheme", "new");
        let incomplete = || Params::new().with("recurring", Params::new().with("interval_count", 1));
        for params in [unknown, not_listed, incomplete] {
            for own in [None, Some(API_VERSION)] {
                assert!(matches!(of(own, params()), Err(BuildError::Param(_))), "{:?}", params());
            }
            let sent = of(Some("2019-02-11"), params()).unwrap();
            assert_eq!(sent.body.unwrap().bytes, form::encode(&params()).unwrap());
        }
        // What HTTP would refuse is refused in any.
        assert_eq!(of(Some(""), unknown()), Err(BuildError::Header("Stripe-Version")));
    }

    #[test]
    fn v2_speaks_json_and_keys_its_deletes() {
        let plain = RequestOptions::new();
        let person = Params::new().with("relationship", Params::new().with("percent_ownership", 12.5));
        let create = request("v2.core.account_person.create", &["acct_1"], person, &plain).unwrap();
        let expected = Request::new(Method::Post, "/v2/core/accounts/acct_1/persons")
            .operation("v2.core.account_person.create")
            .body(JSON, r#"{"relationship":{"percent_ownership":"12.5"}}"#)
            .header("Stripe-Version", API_VERSION)
            .idempotency_key(IdempotencyKey::Generated);
        assert_eq!(create, expected);
        let delete = request("v2.core.event_destination.delete", &["ed_1"], Params::new(), &plain).unwrap();
        assert_eq!((delete.body, delete.idempotency_key), (None, IdempotencyKey::Generated));
        let list = Params::new().with("types", ["a", "b"]).with("limit", 3);
        let list = request("v2.core.event.list", &[], list, &plain).unwrap();
        assert_eq!(list.target, "/v2/core/events?types[0]=a&types[1]=b&limit=3");
        assert_eq!(list.idempotency_key, IdempotencyKey::None);
        let ping = request("v2.core.event_destination.ping", &["ed_1"], Params::new(), &plain).unwrap();
        assert_eq!(ping.body.unwrap().bytes, "{}");
    }

    #[test]
    fn files_are_sent_as_parts() {
        let params = Params::new()
            .with("purpose", "dispute_evidence")
            .with("file", crate::Upload::new("a.txt", &b"abc"[..]));
        let create = request("file.create", &[], params, &RequestOptions::new()).unwrap();
        let body = create.body.unwrap();
        assert!(body.content_type.starts_with("multipart/form-data; boundary="));
        let text = String::from_utf8(body.bytes.to_vec()).unwrap();
        assert!(
            text.contains("filename=\"a.txt\"") && text.contains("\r\n\r\nabc\r\n"),
            "{text}"
        );
        let wrong = Params::new().with("purpose", "dispute_evidence").with("file", "text");
        let error = request("file.create", &[], wrong, &RequestOptions::new()).unwrap_err();
        assert_eq!(error.to_string(), "parameter `file` is \"text\", expected file");
    }
}
