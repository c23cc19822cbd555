//! Ctrl-C and SIGTERM.

use std::io;
use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit status after this signal, as shells give it.
const AFTER_INTERRUPT: u8 = 130;
const AFTER_TERMINATE: u8 = 143;

/// Waits for signals.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    seen: bool,
}

impl Signals {
    /// Takes the signals over from the operating system.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            seen: false,
        })
    }

    /// The exit status that the next signal asks for. A second one ends the program at once.
    pub(crate) async fn next(&mut self) -> u8 {
        let status = tokio::select! {
            _ = self.interrupt.recv() => AFTER_INTERRUPT,
            _ = self.terminate.recv() => AFTER_TERMINATE,
        };
        if self.seen {
            process::exit(status.into());
        }
        self.seen = true;
        status
    }
}
