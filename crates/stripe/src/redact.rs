//! Takes secrets out of texts that people and logs see.

use std::borrow::Cow;

use inflight_core::Secret;

/// What Stripe's secrets start with. <https://docs.stripe.com/keys>
const KEY_PREFIXES: [&str; 4] = ["sk_", "rk_", "ek_", "whsec_"];
/// Between an object's id and the secret that goes with it: `pi_1_secret_2`.
const CLIENT_SECRET: &str = "_secret_";
/// Shorter words are names, such as `sk_test`.
const SHORTEST_SECRET: usize = 12;

/// Whether a character of a text from elsewhere is shown as it is: not what controls a terminal or the direction of writing.
/// <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>
pub(crate) fn is_printable(c: char) -> bool {
    let is_directional =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !is_directional
}

/// Whether there may be a secret in it. Every answer's headers are looked at: most have no underscore.
fn is_suspect(text: &[u8]) -> bool {
    let underscores = text.iter().enumerate().filter(|(_, byte)| **byte == b'_');
    let mut places = underscores.map(|(at, _)| text.split_at(at + 1));
    let begins = |before: &[u8]| KEY_PREFIXES.iter().any(|prefix| before.ends_with(prefix.as_bytes()));
    places.any(|(before, after)| begins(before) || after.starts_with(&CLIENT_SECRET.as_bytes()[1..]))
}

/// The text with API keys shown by their last four characters, and client secrets not at all: for texts that people and logs see.
///
/// ```
/// let text = inflight_stripe::redacted("paid pi_1_secret_2 with sk_test_a1b2c3d4e5f6");
/// assert_eq!(text, "paid pi_1_secret_… with sk_test_…e5f6");
/// ```
#[must_use]
pub fn redacted(text: &str) -> Cow<'_, str> {
    if !is_suspect(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let is_word = |c: char| c == '_' || c.is_ascii_alphanumeric();
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        push_word(&mut out, word);
        let next = after.find(is_word).unwrap_or(after.len());
        out.push_str(&after[..next]);
        rest = &after[next..];
    }
    Cow::Owned(out)
}

fn push_word(out: &mut String, word: &str) {
    if let Some((object, _)) = word.split_once(CLIENT_SECRET) {
        out.push_str(object);
        out.push_str(CLIENT_SECRET);
        out.push('…');
    } else if let Some(at) = key_start(word) {
        let (before, key) = word.split_at(at);
        out.push_str(before);
        out.push_str(&Secret::new(key).to_string());
    } else {
        out.push_str(word);
    }
}

/// Where a key begins: at the word's start or after `_`. Within a word only what goes on as keys do: `network_code` is none.
fn key_start(word: &str) -> Option<usize> {
    let begins = |at: usize, prefix: &str| {
        let rest = &word[at + prefix.len()..];
        at == 0 || word[..at].ends_with('_') || rest.starts_with("live_") || rest.starts_with("test_")
    };
    let starts = KEY_PREFIXES.iter().flat_map(|prefix| {
        let places = word.match_indices(prefix);
        places.filter(move |(at, _)| begins(*at, prefix)).map(|(at, _)| at)
    });
    let at = starts.min()?;
    (word.len() - at >= SHORTEST_SECRET).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_not() {
        for (text, expected) in [
            ("No such price: 'price_1'", "No such price: 'price_1'"),
            (
                "Invalid API Key: sk_test_a1b2c3d4e5f6",
                "Invalid API Key: sk_test_…e5f6",
            ),
            ("key=rk_live_a1b2c3d4e5f6.", "key=rk_live_…e5f6."),
            ("keys start with sk_test", "keys start with sk_test"),
            ("secret pi_1_secret_abc, é", "secret pi_1_secret_…, é"),
            ("Bearer_sk_live_a1b2c3d4e5f6", "Bearer_sk_live_…e5f6"),
            ("sk_test_51_a_b_c_d_e", "sk_test_…_d_e"),
            ("keysk_live_a1b2c3d4e5f6", "keysk_live_…e5f6"),
            ("network_transaction_id", "network_transaction_id"),
            ("risk_correlation_id", "risk_correlation_id"),
            (
                "mark_uncollectible task_assignment",
                "mark_uncollectible task_assignment",
            ),
        ] {
            assert_eq!(redacted(text), expected);
        }
    }
}
