//! A script's text by lines and columns, and what is inserted into it.

use rhai::Position;

/// A place: line and column, both counted from 0, in characters.
pub(super) type Place = (usize, usize);

pub(super) struct Source {
    lines: Vec<Vec<char>>,
}

/// What is inserted: texts within lines, and lines of their own.
#[derive(Default)]
pub(super) struct Edits {
    pub(super) within: Vec<(Place, String)>,
    /// Before the line of this number, which may be one more than there are.
    pub(super) lines: Vec<(usize, String)>,
}

impl Source {
    pub(super) fn new(text: &str) -> Self {
        Self {
            lines: text.lines().map(|line| line.chars().collect()).collect(),
        }
    }

    pub(super) fn place(position: Position) -> Option<Place> {
        Some((position.line()?.checked_sub(1)?, position.position()?.checked_sub(1)?))
    }

    fn line(&self, line: usize) -> &[char] {
        self.lines.get(line).map_or(&[], Vec::as_slice)
    }

    /// The blanks with which a line begins.
    pub(super) fn indent(&self, line: usize) -> String {
        self.line(line).iter().take_while(|c| c.is_whitespace()).collect()
    }

    /// Whether nothing stands before this place in its line.
    pub(super) fn is_first(&self, (line, column): Place) -> bool {
        self.line(line).iter().take(column).all(|c| c.is_whitespace())
    }

    /// Whether nothing but a comment or the statement's end stands from here on in the line.
    pub(super) fn is_last(&self, (line, column): Place) -> bool {
        let rest: String = self.line(line).iter().skip(column).collect();
        let rest = rest.trim_start().trim_start_matches(';').trim_start();
        rest.is_empty() || rest.starts_with("//")
    }

    /// Whether the statement ends here: with a semicolon.
    pub(super) fn ends_statement(&self, (line, column): Place) -> bool {
        let mut rest = self.line(line).iter().skip(column);
        rest.find(|c| !c.is_whitespace()) == Some(&';')
    }

    /// Where a call of this name ends that is written at this place or after it in the line: the name's end, and the place after its
    /// closing parenthesis.
    pub(super) fn call(&self, (line, column): Place, name: &str) -> Option<(Place, Place)> {
        let name: Vec<char> = name.chars().collect();
        let text = self.line(line);
        let is_here = |at: &usize| {
            let before = at.checked_sub(1).and_then(|before| text.get(before));
            let after = text.iter().skip(at + name.len()).find(|c| !c.is_whitespace());
            text.get(*at..at + name.len()) == Some(&name[..])
                && after == Some(&'(')
                && !before.is_some_and(|c| c.is_alphanumeric() || *c == '_')
        };
        let at = (column..text.len()).find(is_here)?;
        let end = (line, at + name.len());
        Some((end, self.closing(end)?))
    }

    /// Where the qualified name begins that ends here: `stripe::product::create`.
    pub(super) fn path_begin(&self, (line, column): Place) -> Place {
        let before = self.line(line).iter().take(column).rev();
        let length = before
            .take_while(|c| c.is_alphanumeric() || ['_', ':'].contains(c))
            .count();
        (line, column - length)
    }

    /// The place after the parenthesis that closes the one which comes first from here on.
    fn closing(&self, (first, column): Place) -> Option<Place> {
        let (mut depth, mut quote) = (0_usize, None);
        let mut within_comment = false;
        for line in first..self.lines.len() {
            let text = self.line(line);
            let mut at = if line == first { column } else { 0 };
            while let Some(c) = text.get(at) {
                let next = text.get(at + 1);
                match (quote, c, next) {
                    _ if within_comment => within_comment = (c, next) != (&'*', Some(&'/')),
                    (Some('"' | '\''), '\\', _) => at += 1,
                    (Some(open), c, _) if open == *c => quote = None,
                    (Some(_), ..) => {}
                    (None, '/', Some('/')) => break,
                    (None, '/', Some('*')) => within_comment = true,
                    (None, '"' | '\'' | '`', _) => quote = Some(*c),
                    (None, '(', _) => depth += 1,
                    (None, ')', _) => {
                        depth = depth.checked_sub(1)?;
                        if depth == 0 {
                            return Some((line, at + 1));
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
        }
        None
    }

    /// The text with the edits, and the lines that differ: their number, counted from 1, whether they are new, and what they say. A new
    /// line has the number of the line that it comes before.
    pub(super) fn with(&self, edits: &Edits) -> (String, Vec<(usize, bool, String)>) {
        let (mut text, mut changed) = (String::new(), Vec::new());
        let mut put = |number: usize, kind: Option<bool>, line: &str| {
            text.push_str(line);
            text.push('\n');
            if let Some(is_new) = kind {
                changed.push((number, is_new, line.to_owned()));
            }
        };
        for number in 0..=self.lines.len() {
            for (_, new) in edits.lines.iter().filter(|(before, _)| *before == number) {
                put(number + 1, Some(true), new);
            }
            let Some(line) = self.lines.get(number) else { break };
            let mut inserts: Vec<_> = edits.within.iter().filter(|(place, _)| place.0 == number).collect();
            inserts.sort_by_key(|(place, _)| std::cmp::Reverse(place.1));
            let mut line = line.clone();
            for (place, insert) in &inserts {
                let at = place.1.min(line.len());
                line.splice(at..at, insert.chars());
            }
            let line: String = line.into_iter().collect();
            put(number + 1, (!inserts.is_empty()).then_some(false), &line);
        }
        (text, changed)
    }
}
