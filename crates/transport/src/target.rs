//! Where a request goes, and whether a credential may go with it.

use std::sync::Arc;

use inflight_core::{Effect, Failure, FailureKind};
use reqwest::Url;

const FRAGMENT: &str = "the target has a fragment, which is never sent";

/// Why a text is not a base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BaseUrlError {
    #[error("it is not a URL")]
    Malformed,
    #[error("it is neither http nor https")]
    Scheme,
    #[error("it holds a user name or a password")]
    UserInfo,
    #[error("it has a query or a fragment")]
    Query,
}

/// A base URL, checked once.
#[derive(Debug)]
pub(crate) struct BaseUrl {
    url: Url,
    /// The URL's path without the slash at its end: a target's path is appended to it.
    prefix: String,
    host: Arc<str>,
}

impl BaseUrl {
    pub(crate) fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let url = Url::parse(text).map_err(|_| BaseUrlError::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(BaseUrlError::Scheme);
        }
        if has_user_info(&url) {
            return Err(BaseUrlError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError::Query);
        }
        let prefix = url.path().trim_end_matches('/').to_owned();
        let host = host_of(&url);
        Ok(Self { url, prefix, host })
    }

    /// The URL of this path, with its query, below the base URL. Scheme, host and port are the base's: they are not parsed again.
    pub(crate) fn join(&self, target: &str) -> Result<Url, Failure> {
        if target.starts_with("//") || target.starts_with("/\\") {
            return Err(invalid("the target begins with more than one slash"));
        }
        if target.contains('#') {
            return Err(invalid(FRAGMENT));
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target, None),
        };
        let mut url = self.url.clone();
        if self.prefix.is_empty() {
            url.set_path(path);
        } else {
            url.set_path(&format!("{}{path}", self.prefix));
        }
        url.set_query(query);
        if !self.holds_path(&url) {
            return Err(invalid("the target leads out of the base URL"));
        }
        Ok(url)
    }

    fn is_origin_of(&self, url: &Url) -> bool {
        url.scheme() == self.url.scheme()
            && url.host_str() == self.url.host_str()
            && url.port_or_known_default() == self.url.port_or_known_default()
    }

    fn holds_path(&self, url: &Url) -> bool {
        url.path()
            .strip_prefix(self.prefix.as_str())
            .is_some_and(|rest| rest.starts_with('/') || rest.is_empty())
    }
}

/// The server that this target leads to, as far as it leads anywhere.
pub(crate) fn server_of(target: &str, base: &BaseUrl) -> Arc<str> {
    if target.starts_with('/') {
        return Arc::clone(&base.host);
    }
    Url::parse(target).map_or_else(|_| Arc::clone(&base.host), |url| host_of(&url))
}

fn host_of(url: &Url) -> Arc<str> {
    url.origin().ascii_serialization().into()
}

/// The URL of a request's target. `base` is what the request's credential belongs to, or the worker's own base URL;
/// `with_credential` says whether a secret goes with it.
pub(crate) fn resolve(target: &str, base: &BaseUrl, with_credential: bool) -> Result<Url, Failure> {
    // The URL parser drops tabs and line ends, and would so send something else than was asked for.
    if target.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(invalid("the target holds a blank or a control character"));
    }
    if target.starts_with('/') {
        return base.join(target);
    }
    let url = absolute(target, base, with_credential)?;
    if url.fragment().is_some() {
        return Err(invalid(FRAGMENT));
    }
    Ok(url)
}

fn absolute(target: &str, base: &BaseUrl, with_credential: bool) -> Result<Url, Failure> {
    let url = Url::parse(target)
        .map_err(|error| invalid("the target is neither a path nor an absolute URL").with_source(error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("the target is neither http nor https"));
    }
    if has_user_info(&url) {
        return Err(invalid("the target holds a user name or a password"));
    }
    if with_credential && !base.is_origin_of(&url) {
        return Err(invalid(
            "the target is another server than the one that the credential belongs to",
        ));
    }
    Ok(url)
}

fn has_user_info(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

pub(crate) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidRequest, Effect::None, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, target: &str, expected: Option<&str>) {
        let base = BaseUrl::parse(base).unwrap();
        let url = resolve(target, &base, true);
        assert_eq!(url.as_ref().ok().map(Url::as_str), expected, "{target:?}: {url:?}");
    }

    #[test]
    fn a_path_is_joined_and_the_prefix_kept() {
        check(
            "https://api.stripe.com",
            "/v1/products?limit=3",
            Some("https://api.stripe.com/v1/products?limit=3"),
        );
        check(
            "http://127.0.0.1:1/proxy/",
            "/v1/a",
            Some("http://127.0.0.1:1/proxy/v1/a"),
        );
        check("http://h/a", "/", Some("http://h/a/"));
    }

    #[test]
    fn nothing_leads_to_another_server_or_out_of_the_prefix() {
        for target in [
            "//evil.test/v1",
            "/\\evil.test/v1",
            "https://evil.test/v1",
            "http://api.stripe.com/v1",
            "https://api.stripe.com:444/v1",
            "https://api.stripe.com.evil.test/",
            "https://key@api.stripe.com/v1",
            "file:///etc/passwd",
            "v1/products",
            "@evil.test/",
            "",
            "/v1/a b",
            "/v1/\na",
            "/v1/a#b",
        ] {
            check("https://api.stripe.com", target, None);
        }
        for target in ["/../admin", "/%2e%2e/admin", "/v1/../../admin"] {
            check("https://api.stripe.com/proxy", target, None);
        }
    }

    #[test]
    fn an_absolute_url_of_the_same_server_may_carry_the_credential() {
        check(
            "https://api.stripe.com",
            "https://api.stripe.com:443/v1/a",
            Some("https://api.stripe.com/v1/a"),
        );
    }

    #[test]
    fn without_a_credential_any_server_will_do() {
        let base = BaseUrl::parse("https://api.stripe.com").unwrap();
        assert!(resolve("http://elsewhere.test/x", &base, false).is_ok());
    }

    #[test]
    fn base_urls_that_are_none() {
        for (text, error) in [
            ("", BaseUrlError::Malformed),
            ("api.stripe.com", BaseUrlError::Malformed),
            ("ftp://h", BaseUrlError::Scheme),
            ("data:x", BaseUrlError::Scheme),
            ("http://u:p@h", BaseUrlError::UserInfo),
            ("http://h/?a=b", BaseUrlError::Query),
        ] {
            assert_eq!(BaseUrl::parse(text).err(), Some(error), "{text:?}");
        }
    }
}
