//! The scripts' own output: whole lines, each with its script's name before it.

use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// Written out early when it is longer than this.
const BUFFER: usize = 64 * 1024;

/// Collects lines of all threads and writes them out together. A reader that goes away costs the output, not the run.
pub(crate) struct Output {
    to_stderr: bool,
    buffer: Mutex<Vec<u8>>,
}

impl Output {
    pub(crate) fn new(to_stderr: bool) -> Self {
        Self {
            to_stderr,
            buffer: Mutex::new(Vec::with_capacity(BUFFER)),
        }
    }

    /// Adds a script's text, every line of it under its name.
    pub(crate) fn print(&self, label: &str, text: &str) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = text.strip_suffix('\n').unwrap_or(text).split('\n');
        for line in lines {
            // Writing to memory cannot fail.
            let _ = writeln!(buffer, "{label} | {}", line.trim_end_matches('\r'));
        }
        if buffer.len() > BUFFER {
            self.write_out(&mut buffer);
        }
    }

    /// Writes out what has been collected.
    pub(crate) fn flush(&self) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        if !buffer.is_empty() {
            self.write_out(&mut buffer);
        }
    }

    /// Writes a text of the program's own after everything else.
    pub(crate) fn write_last(&self, text: &str) {
        let mut buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner);
        buffer.extend_from_slice(text.as_bytes());
        self.write_out(&mut buffer);
    }

    fn write_out(&self, buffer: &mut Vec<u8>) {
        let _ = if self.to_stderr {
            io::stderr().write_all(buffer)
        } else {
            let mut stdout = io::stdout().lock();
            stdout.write_all(buffer).and_then(|()| stdout.flush())
        };
        buffer.clear();
    }
}
