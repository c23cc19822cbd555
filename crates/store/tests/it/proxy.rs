//! A way to PostgreSQL that the test can interrupt.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the next commit meets.
const PASS: u8 = 0;
const LOST: u8 = 1;
const UNANSWERED: u8 = 2;

#[derive(Default)]
struct State {
    next_commit: AtomicU8,
    is_down: AtomicBool,
    /// How often the connections that there were have fallen silent.
    silences: AtomicUsize,
    open: Mutex<Vec<TcpStream>>,
}

pub(crate) struct Proxy {
    url: String,
    state: Arc<State>,
}

impl Proxy {
    /// A proxy before the server of this address.
    pub(crate) fn before(url: &str) -> Self {
        let (start, rest) = url.split_once('@').unwrap();
        let (server, end) = rest.split_once('/').unwrap();
        let server = server.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let joint = if end.contains('?') { '&' } else { '?' };
        let url = format!("{start}@{}/{end}{joint}sslmode=disable", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                if !shared.is_down.load(Ordering::SeqCst) {
                    serve(client, &server, &shared);
                }
            }
        });
        Self { url, state }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Interrupts the connection at the next commit, before it arrives or after.
    pub(crate) fn cut_next_commit(&self, arrives: bool) {
        let what = if arrives { UNANSWERED } else { LOST };
        self.state.next_commit.store(what, Ordering::SeqCst);
    }

    /// How many connections were opened, unless it was down meanwhile.
    pub(crate) fn opened(&self) -> usize {
        self.state.open.lock().unwrap().len() / 2
    }

    /// The connections that there are stay open, and nothing comes through any more, as if the server were gone without a word and another
    /// one had its address.
    pub(crate) fn fall_silent(&self) {
        self.state.silences.fetch_add(1, Ordering::SeqCst);
    }

    /// Interrupts all connections, and lets none through until it is up again.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.state.is_down.store(is_down, Ordering::SeqCst);
        if is_down {
            for stream in self.state.open.lock().unwrap().drain(..) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

fn serve(client: TcpStream, server: &str, state: &Arc<State>) {
    let server = TcpStream::connect(server).unwrap();
    let silences = state.silences.load(Ordering::SeqCst);
    let mut open = state.open.lock().unwrap();
    open.push(client.try_clone().unwrap());
    open.push(server.try_clone().unwrap());
    drop(open);
    let (client_again, server_again) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let for_requests = Arc::clone(state);
    let for_answers = Arc::clone(state);
    thread::spawn(move || requests(client, server, &for_requests, silences));
    thread::spawn(move || answers(server_again, client_again, &for_answers, silences));
}

impl State {
    /// Whether what was opened after so many silences has fallen silent.
    fn is_silent(&self, silences: usize) -> bool {
        self.silences.load(Ordering::SeqCst) > silences
    }
}

fn answers(mut server: TcpStream, mut client: TcpStream, state: &State, silences: usize) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = server.read(&mut buffer) {
        if !state.is_silent(silences) && client.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
}

fn requests(mut client: TcpStream, mut server: TcpStream, state: &State, silences: usize) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = client.read(&mut buffer) {
        if state.is_silent(silences) {
            continue;
        }
        let is_commit = buffer[..length].windows(6).any(|word| word == b"COMMIT");
        let what = if is_commit {
            state.next_commit.swap(PASS, Ordering::SeqCst)
        } else {
            PASS
        };
        if what == UNANSWERED {
            // The answer must not get through, whenever it comes.
            let _ = client.shutdown(Shutdown::Write);
        }
        if what == LOST || server.write_all(&buffer[..length]).is_err() {
            break;
        }
        if what == UNANSWERED {
            // The server reads what has arrived before it sees the end.
            let _ = server.shutdown(Shutdown::Write);
            let _ = client.shutdown(Shutdown::Both);
            return;
        }
    }
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}
