//! Ctrl-C, SIGTERM, and SIGHUP, which a terminal sends that is closed.

use std::{fs, future, io, process, thread};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The exit status after this signal, as shells give it.
const AFTER_HANG_UP: u8 = 129;
const AFTER_INTERRUPT: u8 = 130;
const AFTER_TERMINATE: u8 = 143;

/// Waits for the first signal. A second one ends the program at once, whatever its other threads are doing.
pub(crate) struct Signals(mpsc::Receiver<u8>);

impl Signals {
    /// Takes the signals over from the operating system.
    pub(crate) fn new() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (mut hang_up, mut interrupt, mut terminate) = {
            let _runtime = runtime.enter();
            (
                hangs_up().then(|| signal(SignalKind::hangup())).transpose()?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        let (sender, first) = mpsc::channel(1);
        thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                let mut seen = false;
                loop {
                    let status = tokio::select! {
                        () = hung_up(&mut hang_up) => AFTER_HANG_UP,
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

async fn hung_up(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => future::pending().await,
    }
}

/// Whether a hang-up is to end the program: who starts it with `nohup` has it ignored, and that stays so. Where the system does not
/// say, hang-ups are left to it.
fn hangs_up() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The first bit is the signal of number 1.
    ignored.is_some_and(|mask| mask & 1 == 0)
}
