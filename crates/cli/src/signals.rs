//! Ctrl-C and SIGTERM.

use std::{future, io, process, thread};

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The exit status after this signal, as shells give it.
const AFTER_INTERRUPT: u8 = 130;
const AFTER_TERMINATE: u8 = 143;

/// Waits for the first signal. A second one ends the program at once, whatever its other threads are doing.
pub(crate) struct Signals(mpsc::Receiver<u8>);

impl Signals {
    /// Takes the signals over from the operating system.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (mut interrupt, mut terminate) = {
            let _runtime = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let (sender, first) = mpsc::channel(1);
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                let mut seen = false;
                loop {
                    let status = tokio::select! {
                        _ = interrupt.recv() => AFTER_INTERRUPT,
                        _ = terminate.recv() => AFTER_TERMINATE,
                    };
                    if seen {
                        process::exit(status.into());
                    }
                    seen = true;
                    // Nobody listens only when the program is ending.
                    let _ = sender.try_send(status);
                }
            });
        })?;
        Ok(Self(first))
    }

    /// The exit status that the first signal asks for. Given once.
    pub(crate) async fn next(&mut self) -> u8 {
        match self.0.recv().await {
            Some(status) => status,
            // Its thread never ends.
            None => future::pending().await,
        }
    }
}
