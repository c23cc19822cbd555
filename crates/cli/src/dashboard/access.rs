//! Who may see the page: whoever has the token that was printed when it started, from a page of ours.

use std::net::{IpAddr, SocketAddr};

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::http::uri::Authority;
use hyper::{StatusCode, Uri};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// A token from the environment has at least so many characters: fewer can be guessed.
const TOKEN_MIN: usize = 16;

/// The token of the page, where it is to be the same in each run.
pub(crate) const TOKEN_VARIABLE: &str = "INFLIGHT_DASHBOARD_TOKEN";

/// The environment has a token that can be guessed, or is no part of an address. Without its text: it is a secret.
#[derive(Debug, thiserror::Error)]
#[error("{TOKEN_VARIABLE} must have at least {TOKEN_MIN} characters, all of them letters, digits, - or _")]
pub(crate) struct TokenError;

/// What opens the page.
pub(crate) struct Token(String);

impl Token {
    /// 122 random bits.
    fn random() -> Self {
        Self(Uuid::new_v4().simple().to_string())
    }

    /// The one that the environment has, or a new one.
    pub(crate) fn of_environment() -> Result<Self, TokenError> {
        match std::env::var(TOKEN_VARIABLE) {
            Err(_) => Ok(Self::random()),
            Ok(text) => Self::given(text).ok_or(TokenError),
        }
    }

    /// The user's own, so that an open page finds the next run. Letters, digits, `-` and `_`: it is part of an address.
    fn given(text: String) -> Option<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (text.len() >= TOKEN_MIN && text.chars().all(fits)).then_some(Self(text))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It was sent to a name that is not ours: so a foreign page would do whose name points here.
    Host,
    /// A foreign page sent it.
    Origin,
    /// It has no token, or another.
    Token,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Origin => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Self::Host => "This server answers to the address that it listens on, and to no other name.",
            Self::Origin => "This server answers to its own page only.",
            Self::Token => "The token is missing or wrong. Open the address that was printed at the start.",
        }
    }
}

/// Whether a request may be answered. `listens` is where the server listens.
pub(crate) fn check(uri: &Uri, headers: &HeaderMap, token: &Token, listens: SocketAddr) -> Result<(), Refusal> {
    let host = only(headers, HOST).ok_or(Refusal::Host)?;
    if !is_ours(host, listens) {
        return Err(Refusal::Host);
    }
    if headers.contains_key(ORIGIN) {
        let origin = only(headers, ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
        if !origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host)) {
            return Err(Refusal::Origin);
        }
    }
    let bearer = only(headers, AUTHORIZATION).and_then(|value| value.strip_prefix("Bearer "));
    if bearer.or_else(|| in_query(uri)).is_some_and(|given| token.is(given)) {
        Ok(())
    } else {
        Err(Refusal::Token)
    }
}

/// The value of a header that is there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn in_query(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|part| part.strip_prefix("token="))
}

/// Whether a `Host` header names this server: by an address, which no foreign name server can give out, or as `localhost`.
fn is_ours(host: &str, listens: SocketAddr) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    // Without a port it is 80, HTTP's own.
    if host.contains('@') || authority.port_u16().unwrap_or(80) != listens.port() {
        return false;
    }
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    match name.parse::<IpAddr>() {
        Ok(address) => address == listens.ip() || address.is_loopback() || listens.ip().is_unspecified(),
        Err(_) => name.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn ask(uri: &str, headers: &[(&'static str, &str)]) -> Result<(), Refusal> {
        let token = Token::given("0123456789abcdef".into()).expect("it is long enough");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a header's value"));
        }
        let listens = "127.0.0.1:4000".parse().expect("an address");
        check(&uri.parse().expect("a URI"), &map, &token, listens)
    }

    const OPEN: &str = "/?token=0123456789abcdef";

    #[test]
    fn the_printed_address_opens_it() {
        for host in ["127.0.0.1:4000", "localhost:4000", "LOCALHOST:4000", "[::1]:4000"] {
            assert_eq!(ask(OPEN, &[("host", host)]), Ok(()), "{host}");
        }
        let bearer = [("host", "127.0.0.1:4000"), ("authorization", "Bearer 0123456789abcdef")];
        assert_eq!(ask("/state", &bearer), Ok(()));
    }

    #[test]
    fn a_missing_or_wrong_token_does_not() {
        for uri in [
            "/",
            "/?token=",
            "/?token=0123456789abcdeg",
            "/?token=0123456789abcdef0",
            "/?tokens=1",
        ] {
            assert_eq!(ask(uri, &[("host", "127.0.0.1:4000")]), Err(Refusal::Token), "{uri}");
        }
        let wrong = [("host", "127.0.0.1:4000"), ("authorization", "Bearer x")];
        assert_eq!(ask(OPEN, &wrong), Err(Refusal::Token), "the header counts");
    }

    #[test]
    fn a_foreign_name_is_refused_whatever_the_token() {
        for host in [
            "evil.example:4000",
            "127.0.0.1:4001",
            "127.0.0.1",
            "localhost.evil.example:4000",
            "user@127.0.0.1:4000",
            "10.0.0.1:4000",
            "",
        ] {
            assert_eq!(ask(OPEN, &[("host", host)]), Err(Refusal::Host), "{host}");
        }
        assert_eq!(ask(OPEN, &[]), Err(Refusal::Host));
        let two = [("host", "127.0.0.1:4000"), ("host", "evil.example")];
        assert_eq!(ask(OPEN, &two), Err(Refusal::Host));
    }

    #[test]
    fn a_foreign_page_is_refused_whatever_the_token() {
        let from = |origin| ask(OPEN, &[("host", "127.0.0.1:4000"), ("origin", origin)]);
        assert_eq!(from("http://127.0.0.1:4000"), Ok(()));
        for origin in [
            "http://evil.example",
            "null",
            "https://127.0.0.1:4000",
            "http://127.0.0.1:4001",
            "",
        ] {
            assert_eq!(from(origin), Err(Refusal::Origin), "{origin}");
        }
    }

    #[test]
    fn a_short_token_or_one_that_is_no_part_of_an_address_is_not_taken() {
        for text in ["", "short", "0123456789abcde", "0123456789abcdef&", "0123456789 abcdef"] {
            assert!(Token::given(text.into()).is_none(), "{text}");
        }
        assert_eq!(Token::random().as_str().len(), 32);
    }
}
