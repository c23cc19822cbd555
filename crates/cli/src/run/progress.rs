//! What is going on, on standard error: bars on a terminal, plain lines elsewhere, nothing when quiet.

use std::sync::Arc;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use inflight::core::Registry;
use tokio::time::Instant;

use crate::stream::Stream;

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// After this many errors, further ones are only counted.
const ERRORS_SHOWN: usize = 20;

pub(crate) struct Progress {
    stream: Arc<Stream>,
    display: Display,
    total: usize,
    errors: usize,
}

enum Display {
    None,
    Lines {
        last: Instant,
        shown: String,
    },
    Bars {
        all: MultiProgress,
        scripts: ProgressBar,
        requests: ProgressBar,
    },
}

impl Progress {
    pub(crate) fn new(quiet: bool, stream: Arc<Stream>, total: usize, target: &str) -> Self {
        let display = if quiet {
            Display::None
        } else if let Some(all) = terminal(&stream) {
            Display::Bars {
                scripts: all.add(bar(total as u64, "scripts ")),
                requests: all.add(bar(0, "requests")),
                all,
            }
        } else {
            let scripts = if total == 1 { "script" } else { "scripts" };
            stream.write(&format!("running {total} {scripts} on {target}\n"));
            Display::Lines {
                last: Instant::now(),
                shown: String::new(),
            }
        };
        Self {
            stream,
            display,
            total,
            errors: 0,
        }
    }

    /// Shows how far the run has come.
    pub(crate) fn update(&mut self, ended: usize, registry: &Registry) {
        let counts = registry.counts();
        let done = counts.completed + counts.failed + counts.timeout + counts.cancelled;
        let failed = counts.failed + counts.timeout;
        let all = counts.submitted.saturating_add(registry.expected());
        match &mut self.display {
            Display::None => {}
            Display::Lines { last, shown } => {
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    let line = format!(
                        "{ended}/{} scripts ended; requests: {} in flight, {} queued, {done} of {all} ended, {failed} failed",
                        self.total,
                        registry.in_flight(),
                        registry.unsent(),
                    );
                    if line != *shown {
                        self.stream.write(&format!("{line}\n"));
                        *shown = line;
                    }
                }
            }
            Display::Bars { scripts, requests, .. } => {
                scripts.set_position(ended as u64);
                requests.set_length(all);
                requests.set_position(done);
                requests.set_message(format!(
                    "{} in flight, {} queued, {failed} failed",
                    registry.in_flight(),
                    registry.unsent()
                ));
            }
        }
    }

    /// Shows a script's error at once, also when quiet.
    pub(crate) fn error(&mut self, line: &str) {
        self.errors += 1;
        match self.errors {
            shown if shown <= ERRORS_SHOWN => self.line(&format!("error: {line}")),
            shown if shown == ERRORS_SHOWN + 1 => {
                self.line("error: further errors are only counted; --json has them all")
            }
            _ => {}
        }
    }

    /// Shows a message, unless quiet.
    pub(crate) fn note(&mut self, line: &str) {
        if !matches!(self.display, Display::None) {
            self.line(line);
        }
    }

    /// Does something that writes to the terminal, with the bars out of the way.
    pub(crate) fn suspend(&self, write: impl FnOnce()) {
        match &self.display {
            Display::Bars { all, .. } => all.suspend(write),
            _ => write(),
        }
    }

    /// Removes the bars.
    pub(crate) fn finish(&self) {
        if let Display::Bars { all, scripts, requests } = &self.display {
            scripts.finish_and_clear();
            requests.finish_and_clear();
            // What is left of them would stand above the table.
            let _ = all.clear();
        }
    }

    fn line(&self, line: &str) {
        self.suspend(|| self.stream.write(&format!("{line}\n")));
    }
}

/// The terminal, where it is one that bars can be drawn on.
fn terminal(stream: &Stream) -> Option<MultiProgress> {
    if !stream.is_terminal() {
        return None;
    }
    let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
    // So it is with TERM=dumb.
    (!all.is_hidden()).then_some(all)
}

fn bar(length: u64, name: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(length).with_prefix(name);
    // What does not fit into the line is cut: a line that wraps would leave its rest on the terminal.
    if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:16.green} {pos}/{len} {wide_msg}") {
        bar.set_style(style);
    }
    bar
}
