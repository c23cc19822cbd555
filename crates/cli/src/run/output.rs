//! The scripts' own output: whole lines, each with its script's name before it.

use std::fmt::Write;
use std::sync::Arc;

use crate::stream::Stream;
use crate::text::printable;

/// Gives lines their script's names and hands them to the stream.
pub(crate) struct Output {
    stream: Arc<Stream>,
    /// Whether a journal is to say of each text that it was printed.
    is_noted: bool,
}

impl Output {
    pub(crate) fn new(stream: Arc<Stream>, is_noted: bool) -> Self {
        Self { stream, is_noted }
    }

    /// Adds a script's text, every line of it under its name.
    pub(crate) fn print(&self, label: &str, text: &str) {
        let mut named = String::with_capacity(text.len() + label.len() + 4);
        for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
            let line = line.trim_end_matches('\r');
            // Writing to a `String` cannot fail.
            let _ = if self.stream.is_terminal() {
                writeln!(named, "{label} | {}", printable(line))
            } else {
                writeln!(named, "{label} | {line}")
            };
        }
        if self.is_noted {
            self.stream.write_through(named.as_bytes());
        } else {
            self.stream.write_waiting(named.as_bytes());
        }
    }

    /// Writes out what has been collected for a terminal.
    pub(crate) fn flush(&self) {
        self.stream.flush();
    }
}
