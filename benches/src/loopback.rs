//! A server in a process of its own that answers every request with a product, for programs that measure clients.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// This program in another of its roles.
///
/// # Panics
/// Where the program's own path is not known.
#[must_use]
pub fn itself(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the program's own path"));
    command.arg(role);
    command
}

/// The process; it ends when this is dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    /// Where it listens, such as `http://127.0.0.1:12111`.
    pub url: String,
}

impl Server {
    /// Starts it by a command that ends in [`serve`].
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a server");
        let mut url = String::new();
        let output = process.stdout.take().expect("its output");
        BufReader::new(output).read_line(&mut url).expect("its address");
        Self {
            process,
            url: url.trim().to_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A runtime of one thread.
///
/// # Panics
/// Where the system gives none.
#[must_use]
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A server that answers every request with a product after `latency`, and ends with its standard input. Prints where it listens.
/// One that is `strict` refuses what does not create a product as Stripe asks for, and says what is missing.
///
/// # Panics
/// Where it cannot listen.
pub fn serve(latency: Duration, strict: bool) {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    runtime().block_on(async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("an address");
        let listener = socket.listen(65_535).expect("a listener");
        println!("http://{}", listener.local_addr().expect("an address"));
        let listener = listener.into_std().expect("a listener");
        let (sender, mut accepted) = unbounded_channel();
        std::thread::spawn(move || accept(&listener, &sender));
        while let Some(stream) = accepted.recv().await {
            if let Ok(stream) = TcpStream::from_std(stream) {
                tokio::spawn(connection(stream, latency, strict));
            }
        }
    })
}

/// Takes connections in, in a thread of its own: the system keeps a few thousand that nobody has taken, drops further ones, and
/// clients come back after seconds. Beside the work on requests too few would be taken.
fn accept(listener: &std::net::TcpListener, accepted: &UnboundedSender<std::net::TcpStream>) {
    listener.set_nonblocking(false).expect("a listener that waits");
    loop {
        let Ok((stream, _)) = listener.accept() else { continue };
        let ready = stream.set_nonblocking(true).is_ok();
        if ready && accepted.send(stream).is_err() {
            return;
        }
    }
}

async fn connection(mut stream: TcpStream, latency: Duration, strict: bool) {
    let _ = stream.set_nodelay(true);
    let object = r#"{"id":"prod_Q1w2e3r4t5y6u7","object":"product","active":true,"created":1732000000,"default_price":null,"description":null,"images":[],"livemode":false,"marketing_features":[],"metadata":{},"name":"Mug","package_dimensions":null,"shippable":null,"statement_descriptor":null,"tax_code":null,"type":"service","unit_label":null,"updated":1732000000,"url":null}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{object}",
        object.len()
    );
    let mut read = Vec::with_capacity(1024);
    loop {
        while !is_complete(&read) {
            match stream.read_buf(&mut read).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        if let Some(missing) = strict.then(|| missing(&read)).flatten() {
            eprintln!("a request has not {missing}");
            // Nobody waits for the answer where this fails.
            let _ = stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}")
                .await;
            return;
        }
        // A client has one request under way on a connection: nothing of the next can be here yet.
        read.clear();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// What this request lacks of one that creates a product.
fn missing(request: &[u8]) -> Option<&'static str> {
    let text = String::from_utf8_lossy(request);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let line = lines.next()?;
    let header = |name: &str| {
        let of_name =
            |(header, value): (&str, &str)| header.eq_ignore_ascii_case(name).then(|| value.trim().to_owned());
        lines.clone().find_map(|line| of_name(line.split_once(':')?))
    };
    let starts = |name: &str, with: &str| header(name).is_some_and(|value| value.starts_with(with));
    let conditions = [
        ("the method and path", line == "POST /v1/products HTTP/1.1"),
        ("the key", starts("authorization", "Bearer sk_test_0")),
        (
            "an idempotency key",
            header("idempotency-key").is_some_and(|key| key.len() >= 32),
        ),
        ("a form", starts("content-type", "application/x-www-form-urlencoded")),
        ("the name", body == "name=Mug"),
    ];
    conditions.into_iter().find(|(_, holds)| !holds).map(|(what, _)| what)
}

/// Whether this is a whole request, head and body.
fn is_complete(read: &[u8]) -> bool {
    let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else {
        return false;
    };
    let head = std::str::from_utf8(&read[..end]).unwrap_or_default();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    read.len() >= end + 4 + length.unwrap_or(0usize)
}
