//! Texts of others, made fit to be shown: what comes from a script or a server may hold anything.

use std::borrow::Cow;

/// Errors and warnings are cut after this many characters. The JSON has them in full.
const LONGEST: usize = 2_000;

/// Without control characters, which a terminal would obey. Tabs stay.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.contains(is_control) {
        text.replace(is_control, "\u{fffd}").into()
    } else {
        text.into()
    }
}

/// One line of bounded length, without control characters.
pub(crate) fn one_line(text: &str) -> String {
    let mut characters = text.chars();
    let mut line: String = characters
        .by_ref()
        .take(LONGEST)
        .map(|c| match c {
            '\n' | '\r' => ' ',
            c if is_control(c) => '\u{fffd}',
            c => c,
        })
        .collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

fn is_control(c: char) -> bool {
    c.is_control() && c != '\t'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(printable("plain\ttext é"), "plain\ttext é");
        assert_eq!(printable("\u{1b}[2J\u{9b}x\u{7f}"), "\u{fffd}[2J\u{fffd}x\u{fffd}");
        assert_eq!(one_line("a\nb\u{7}"), "a b\u{fffd}");
    }

    #[test]
    fn long_lines_are_cut() {
        let exact = "é".repeat(LONGEST);
        assert_eq!(one_line(&exact), exact);
        assert_eq!(one_line(&"é".repeat(LONGEST + 1)), exact + "…");
    }
}
