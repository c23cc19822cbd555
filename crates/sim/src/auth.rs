//! Who asks. <https://docs.stripe.com/api/authentication>

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::ApiError;

/// Longer keys are not Stripe's.
const KEY_MAX: usize = 512;

/// Accepts a key of test mode, as a bearer token or as the user name of basic authentication.
///
/// Whatever the key, it belongs to the one account of the simulator: a shop has many keys and one set of data.
pub(crate) fn authenticate(authorization: Option<&str>) -> Result<(), ApiError> {
    let header = authorization.map(str::trim).unwrap_or_default();
    let (scheme, credentials) = header.split_once(' ').unwrap_or((header, ""));
    let key = if scheme.eq_ignore_ascii_case("bearer") {
        credentials.trim().to_owned()
    } else if scheme.eq_ignore_ascii_case("basic") {
        user_name(credentials.trim())
    } else {
        String::new()
    };
    if key.is_empty() {
        return Err(unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization header, using Bearer auth \
             (e.g. 'Authorization: Bearer YOUR_SECRET_KEY').",
        ));
    }
    // Not one character of a live key is repeated.
    if key.contains("_live_") {
        return Err(unauthorized(
            "A live key was sent to a simulator, which takes test keys only (sk_test_… or rk_test_…).",
        ));
    }
    if is_test_key(&key) {
        return Ok(());
    }
    Err(unauthorized(&format!("Invalid API Key provided: {}", masked(&key))))
}

fn is_test_key(key: &str) -> bool {
    let secret = key.strip_prefix("sk_test_").or_else(|| key.strip_prefix("rk_test_"));
    secret.is_some_and(|secret| {
        let word = secret.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric());
        !secret.is_empty() && key.len() <= KEY_MAX && word
    })
}

fn user_name(credentials: &str) -> String {
    let decoded = STANDARD
        .decode(credentials)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = decoded.unwrap_or_default();
    decoded
        .split_once(':')
        .map_or(decoded.as_str(), |(user, _)| user)
        .to_owned()
}

/// Stars, and the last four characters of a key that is long enough to have some to spare.
fn masked(key: &str) -> String {
    let shown = key.len().min(40);
    match key.get(key.len().saturating_sub(4)..) {
        Some(end) if key.len() >= 16 => format!("{}{end}", "*".repeat(shown - 4)),
        _ => "*".repeat(shown),
    }
}

fn unauthorized(message: &str) -> ApiError {
    ApiError::invalid(message).status(401)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(header: &str) -> String {
        authenticate(Some(header)).unwrap_err().message
    }

    #[test]
    fn test_keys_are_taken() {
        let basic = format!("Basic {}", STANDARD.encode("sk_test_1:"));
        for header in [
            "Bearer sk_test_123",
            "bearer rk_test_abc_D",
            "Bearer  sk_test_1 ",
            &basic,
        ] {
            assert_eq!(authenticate(Some(header)), Ok(()), "{header}");
        }
    }

    #[test]
    fn others_are_refused_and_never_shown() {
        assert!(
            authenticate(None)
                .unwrap_err()
                .message
                .starts_with("You did not provide")
        );
        for header in ["", "Bearer", "Digest sk_test_1", "Basic ???"] {
            assert!(message(header).starts_with("You did not provide"), "{header}");
        }
        assert_eq!(message("Bearer foo"), "Invalid API Key provided: ***");
        assert_eq!(
            message("Bearer pk_test_abcdefghijkl"),
            "Invalid API Key provided: ****************ijkl"
        );
        let live = message("Bearer sk_live_a1b2c3d4e5f6");
        assert!(live.starts_with("A live key") && !live.contains("e5f6"), "{live}");
        assert!(message(&format!("Bearer {}", "é".repeat(9000))).len() < 100);
    }
}
