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
            c if is_control(c) || turns_writing(c) => '\u{fffd}',
            c => c,
        })
        .collect();
    if characters.next().is_some() {
        line.push('…');
    }
    line
}

/// Whether it changes the direction in which what follows is shown: an error could be made to read as another one.
fn turns_writing(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
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
        assert_eq!(one_line("a\nb\u{7}\u{202e}"), "a b\u{fffd}\u{fffd}");
    }

    #[test]
    fn long_lines_are_cut() {
        let exact = "é".repeat(LONGEST);
        assert_eq!(one_line(&exact), exact);
        assert_eq!(one_line(&"é".repeat(LONGEST + 1)), exact + "…");
    }
}
