//! Writing JSON: straight into the answer, with no tree in between.

use std::fmt::Write as _;

/// Appends a text in quotes.
pub(crate) fn push_text(out: &mut String, text: &str) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        out.push_str(&rest[..at]);
        let escaped = rest.as_bytes()[at];
        match escaped {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            other => push_number(out, format_args!("\\u{other:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Appends whatever prints as JSON.
pub(crate) fn push_number(out: &mut String, number: impl std::fmt::Display) {
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{number}");
}

/// A text in quotes.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_text(&mut out, text);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_escaped() {
        for odd in ["", "plain", "\"\\\n\r\t\u{0}\u{1f}", "é💳\u{7f}\u{2028}"] {
            let read: String = serde_json::from_str(&text(odd)).unwrap();
            assert_eq!(read, odd);
        }
    }
}
