//! A tiny HTTP/1.1 client, so that the tests see what goes over the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use inflight_sim::Simulator;
use serde_json::Value;

/// A request that any key of test mode may make.
#[derive(Clone)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) target: String,
    pub(crate) body: String,
    pub(crate) headers: Vec<(&'static str, String)>,
}

pub(crate) fn post(target: impl Into<String>, body: impl Into<String>) -> Call {
    Call::new("POST", target, body)
}

pub(crate) fn get(target: impl Into<String>) -> Call {
    Call::new("GET", target, "")
}

pub(crate) fn delete(target: impl Into<String>) -> Call {
    Call::new("DELETE", target, "")
}

impl Call {
    pub(crate) fn new(method: &'static str, target: impl Into<String>, body: impl Into<String>) -> Self {
        Self {
            method,
            target: target.into(),
            body: body.into(),
            headers: vec![("Authorization", "Bearer sk_test_1".to_owned())],
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(n, _)| *n != name);
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| *n != name);
        self
    }

    pub(crate) fn key(self, key: impl Into<String>) -> Self {
        self.header("Idempotency-Key", key)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if self.headers.iter().all(|(name, _)| *name != "Host") {
            text.push_str("Host: sim\r\n");
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{}", self.body.len(), self.body));
        text.into_bytes()
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn id(&self) -> &str {
        self.body["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id in {}", self.body))
    }

    pub(crate) fn message(&self) -> &str {
        self.body["error"]["message"]
            .as_str()
            .unwrap_or_else(|| panic!("no message in {}", self.body))
    }

    /// Status, type, code and parameter of an error.
    pub(crate) fn error(&self) -> (u16, &str, &str, &str) {
        let field = |name: &str| self.body["error"][name].as_str().unwrap_or("");
        (self.status, field("type"), field("code"), field("param"))
    }
}

/// One kept-alive connection.
pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) fn new(simulator: &Simulator) -> Self {
        let stream = TcpStream::connect(simulator.addr()).unwrap();
        // A test that fails should say so instead of hanging.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, call: &Call) {
        self.0.write_all(&call.bytes()).unwrap();
    }

    pub(crate) fn call(&mut self, call: Call) -> Answer {
        self.send(&call);
        self.receive()
    }

    /// An answer that must be 200.
    pub(crate) fn ok(&mut self, call: Call) -> Value {
        let answer = self.call(call);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    pub(crate) fn receive(&mut self) -> Answer {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            assert_eq!(
                self.0.read(&mut byte).unwrap(),
                1,
                "closed after {:?}",
                String::from_utf8_lossy(&head)
            );
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length = headers
            .iter()
            .find(|(n, _)| n == "content-length")
            .map_or("0", |(_, v)| v);
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        Answer {
            status,
            headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }

    /// Whether the server closes the connection, whatever it says before.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

pub(crate) fn simulator() -> (Simulator, Client) {
    let simulator = Simulator::builder().seed(1).start().unwrap();
    let client = Client::new(&simulator);
    (simulator, client)
}
