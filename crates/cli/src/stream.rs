//! Standard output and standard error. A reader that stalls or goes away costs its output, and holds up nothing else: each stream
//! is written by a thread of its own.
//!
//! A terminal is written by the main thread instead, which clears the progress bars out of the way first.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::mem;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::process;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

use crate::USAGE;

/// Scripts wait for the reader while more than this is buffered.
const MOST_BUFFERED: usize = 1024 * 1024;

/// Written in pieces of this size, so that a slow reader is seen to read.
const PIECE: usize = 64 * 1024;

/// Scripts' lines are gathered for this long, so that many are written together.
const GATHER: Duration = Duration::from_millis(10);

/// Where a reader has made its end non-blocking and is behind, it is asked again after this time.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// After a signal a reader that takes nothing for this long is not waited for.
const PATIENCE_AFTER_SIGNAL: Duration = Duration::from_secs(2);

/// Writes a text that was asked for to standard output, where no run is going on. A reader that has gone away does not matter; where
/// the text is lost otherwise, the program says so and ends.
pub(crate) fn say(text: &str) {
    let mut stdout = io::stdout();
    if let Err(error) = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        remark(&format!("inflight: standard output cannot be written: {error}\n"));
        process::exit(USAGE.into());
    }
}

/// Writes a remark of the program's own to standard error, where no run is going on. Whether it can be is no matter.
pub(crate) fn remark(text: &str) {
    let mut stderr = io::stderr();
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}

/// The program's two streams; the same one twice where both lead to the same file, so that their order is kept.
pub(crate) struct Streams {
    pub(crate) stdout: Arc<Stream>,
    pub(crate) stderr: Arc<Stream>,
}

impl Streams {
    pub(crate) fn start() -> io::Result<Self> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        let stderr = File::from(io::stderr().as_fd().try_clone_to_owned()?);
        let same = !io::stdout().is_terminal() && is_same(&stdout, &stderr);
        let stdout = Stream::start("stdout", stdout, io::stdout().is_terminal())?;
        let stderr = if same {
            Arc::clone(&stdout)
        } else {
            Stream::start("stderr", stderr, io::stderr().is_terminal())?
        };
        Ok(Self { stdout, stderr })
    }

    /// See [`Stream::drained`].
    pub(crate) async fn drained(&self, interrupted: bool) {
        self.stdout.drained(interrupted).await;
        self.stderr.drained(interrupted).await;
    }

    /// See [`Stream::discard`].
    pub(crate) fn discard(&self) {
        self.stdout.discard();
        self.stderr.discard();
    }
}

fn is_same(one: &File, other: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|metadata| (metadata.dev(), metadata.ino())).ok();
    identity(one).is_some_and(|one| Some(one) == identity(other))
}

/// One of them.
pub(crate) struct Stream {
    file: File,
    terminal: bool,
    state: Mutex<State>,
    /// Something was buffered, or written out, or is discarded from now on.
    changed: Condvar,
    /// A piece was written out.
    written: Notify,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    /// It is not to be gathered any longer.
    urgent: bool,
    /// Some of it is being written at this moment.
    writing: bool,
    /// How many bytes were added, and how many of them are written out.
    added: u64,
    out: u64,
    discarding: bool,
    /// Why nothing more can be written.
    error: Option<io::Error>,
}

impl State {
    fn add(&mut self, text: &[u8]) {
        if self.error.is_none() {
            self.added += text.len() as u64;
            self.buffer.extend_from_slice(text);
        }
    }
}

impl Stream {
    fn start(name: &str, file: File, terminal: bool) -> io::Result<Arc<Self>> {
        let stream = Arc::new(Self {
            file,
            terminal,
            state: Mutex::default(),
            changed: Condvar::new(),
            written: Notify::new(),
        });
        if !terminal {
            let writer = Arc::clone(&stream);
            // Never joined: a reader that has stalled does not keep the program from ending.
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || writer.write_for_ever())?;
        }
        Ok(stream)
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Whether it may be coloured: on a terminal that can, unless `NO_COLOR` has a value (no-color.org).
    pub(crate) fn has_colour(&self) -> bool {
        let is_set = |name, value: fn(&OsStr) -> bool| std::env::var_os(name).is_some_and(|text| value(&text));
        self.terminal && !is_set("NO_COLOR", |text| !text.is_empty()) && !is_set("TERM", |text| text == "dumb")
    }

    /// Writes a text of the program's own, and does not wait for the reader. A terminal is written by the caller.
    pub(crate) fn write(&self, text: &str) {
        let mut state = self.state();
        state.add(text.as_bytes());
        self.hurry(state);
        self.flush();
    }

    /// Adds a script's text, whole. Waits while the reader is far behind, unless output is being discarded.
    pub(crate) fn write_waiting(&self, text: &[u8]) {
        let state = self.state();
        let mut state = self
            .changed
            .wait_while(state, |state| {
                state.buffer.len() > MOST_BUFFERED && !state.discarding && state.error.is_none()
            })
            .unwrap_or_else(PoisonError::into_inner);
        if state.buffer.len() <= MOST_BUFFERED {
            let before = state.buffer.len();
            state.add(text);
            // The writer waits for the first line, and then for enough of them.
            let wake = before == 0 || (before < PIECE && state.buffer.len() >= PIECE);
            drop(state);
            if wake {
                self.changed.notify_all();
            }
        }
    }

    /// As [`write_waiting`](Self::write_waiting), and waits until the text is written out: before it is noted anywhere that it was.
    pub(crate) fn write_through(&self, text: &[u8]) {
        self.write_waiting(text);
        let state = self.state();
        if self.terminal || state.buffer.is_empty() && !state.writing {
            return;
        }
        let until = state.added;
        self.hurry(state);
        let waits = |state: &mut State| state.out < until && !state.discarding && state.error.is_none();
        drop(self.changed.wait_while(self.state(), waits));
    }

    /// Writes out what has been collected for a terminal.
    pub(crate) fn flush(&self) {
        if self.terminal {
            let mut state = self.state();
            while !state.buffer.is_empty() {
                state = self.write_out(state);
            }
        }
    }

    /// Whether everything has been written out, or nothing more can be.
    pub(crate) fn is_drained(&self) -> bool {
        let state = self.state();
        state.buffer.is_empty() && !state.writing
    }

    /// From now on no script waits for the reader: what it is too far behind for is dropped.
    pub(crate) fn discard(&self) {
        self.state().discarding = true;
        self.changed.notify_all();
    }

    /// Why it could not be written. That the reader has gone away is no error.
    pub(crate) fn take_error(&self) -> Option<io::Error> {
        let error = self.state().error.take();
        error.filter(|error| error.kind() != ErrorKind::BrokenPipe)
    }

    /// Waits until everything has been written out; after a signal, for no longer than the reader keeps reading.
    pub(crate) async fn drained(&self, interrupted: bool) {
        self.flush();
        self.hurry(self.state());
        while !self.is_drained() {
            let written = self.written.notified();
            if !interrupted {
                written.await;
            } else if tokio::time::timeout(PATIENCE_AFTER_SIGNAL, written).await.is_err() {
                return;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hurry(&self, mut state: MutexGuard<'_, State>) {
        state.urgent = !state.buffer.is_empty();
        drop(state);
        self.changed.notify_all();
    }

    fn write_for_ever(&self) {
        let mut state = self.state();
        loop {
            state = self
                .changed
                .wait_while(state, |state| state.buffer.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            let more = |state: &mut State| state.buffer.len() < PIECE && !state.urgent;
            (state, _) = self
                .changed
                .wait_timeout_while(state, GATHER, more)
                .unwrap_or_else(PoisonError::into_inner);
            state = self.write_out(state);
        }
    }

    /// Writes out what is buffered, unlocked meanwhile: nobody waits for the reader while holding the lock.
    fn write_out<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let text = mem::take(&mut state.buffer);
        state.writing = true;
        state.urgent = false;
        drop(state);
        let mut result = Ok(());
        for piece in text.chunks(PIECE) {
            result = write_all(&self.file, piece);
            if result.is_err() {
                break;
            }
            self.written.notify_one();
        }
        let mut state = self.state();
        state.writing = false;
        state.out += text.len() as u64;
        if let Err(error) = result {
            state.error = Some(error);
            state.buffer.clear();
        }
        self.changed.notify_all();
        self.written.notify_one();
        state
    }
}

fn write_all(mut file: &File, mut text: &[u8]) -> io::Result<()> {
    while !text.is_empty() {
        match file.write(text) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => text = &text[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(AGAIN_AFTER),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read};
    use std::os::fd::OwnedFd;

    use super::*;

    fn piped() -> (Arc<Stream>, PipeReader) {
        let (reader, writer) = io::pipe().expect("a pipe");
        let stream = Stream::start("test", File::from(OwnedFd::from(writer)), false).expect("a thread");
        (stream, reader)
    }

    fn drain(stream: &Stream, interrupted: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(stream.drained(interrupted));
    }

    #[test]
    fn what_is_written_through_is_written_out() {
        let (stream, mut reader) = piped();
        stream.write(&"x".repeat(100));
        for line in ["one\n", "two\n"] {
            stream.write_through(line.as_bytes());
            assert!(stream.is_drained(), "{line}");
        }
        let mut text = [0; 108];
        reader.read_exact(&mut text).expect("it is there");
        assert!(text.ends_with(b"one\ntwo\n"));
        // Nobody waits for a reader that is given up.
        stream.discard();
        stream.write_through(&vec![b'x'; 2 * PIECE]);
    }

    /// Text of three times what is buffered, each line with its number.
    fn lines() -> Vec<String> {
        let line = "x".repeat(1000);
        (0..3 * MOST_BUFFERED / 1000).map(|i| format!("{i} {line}\n")).collect()
    }

    #[test]
    fn a_reader_gets_everything_in_order_and_scripts_wait_for_it() {
        let (stream, mut reader) = piped();
        let lines = lines();
        let expected = lines.concat();
        let writer = thread::spawn({
            let stream = Arc::clone(&stream);
            move || {
                for line in lines {
                    stream.write_waiting(line.as_bytes());
                    assert!(stream.state().buffer.len() <= 2 * MOST_BUFFERED);
                }
            }
        });
        let mut text = vec![0; expected.len()];
        reader.read_exact(&mut text).expect("everything comes");
        assert!(text == expected.as_bytes());
        writer.join().expect("the writer ends");
        drain(&stream, false);
    }

    #[test]
    fn no_script_waits_for_a_stalled_reader_once_output_is_discarded() {
        let (stream, reader) = piped();
        let writer = thread::spawn({
            let stream = Arc::clone(&stream);
            move || lines().iter().for_each(|line| stream.write_waiting(line.as_bytes()))
        });
        // The program's own text never waits.
        stream.write("own text\n");
        stream.discard();
        writer.join().expect("the writer ends");
        assert!(!stream.is_drained());
        drain(&stream, true);
        drop(reader);
        drain(&stream, false);
        assert!(stream.take_error().is_none());
    }

    #[test]
    fn a_reader_that_has_gone_away_holds_up_nobody() {
        let (stream, reader) = piped();
        drop(reader);
        lines().iter().for_each(|line| stream.write_waiting(line.as_bytes()));
        drain(&stream, false);
    }
}
