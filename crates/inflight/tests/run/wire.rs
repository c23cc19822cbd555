//! What is seen on the wire, by a server that only records.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, InflightBuilder, ScriptOptions};

/// A server on loopback that answers every request alike.
struct Server {
    url: String,
    /// Heads of the requests, each as it came.
    heads: Arc<Mutex<Vec<String>>>,
}

fn serve(content_type: &'static str, body: &'static [u8]) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while stream.read_line(&mut head).unwrap() > 2 {}
            let length = head
                .lines()
                .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            stream.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
            let number = {
                let mut seen = seen.lock().unwrap();
                seen.push(head);
                seen.len()
            };
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nRequest-Id: req_{number}\r\n\
                 Idempotent-Replayed: true\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let stream = stream.get_mut();
            stream.write_all(answer.as_bytes()).unwrap();
            stream.write_all(body).unwrap();
        }
    });
    Server { url, heads }
}

impl Server {
    fn run(&self, builder: InflightBuilder, script: &str) -> serde_json::Value {
        let key = ApiKey::new("sk_test_123456789").unwrap();
        let inflight = builder.base_url(&*self.url).api_key(key).build().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let report = runtime.block_on(inflight.run(script, ScriptOptions::default()));
        report.result.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// The value of this lower-case header of the request of this number.
    fn header(&self, request: usize, name: &str) -> Option<String> {
        let heads = self.heads.lock().unwrap();
        let lines = heads[request].lines();
        let fields = lines.filter_map(|line| line.split_once(": "));
        fields
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.to_owned())
            .next()
    }
}

const TWO_CALLS: &str = r#"stripe::product::create(#{ name: "A" }); stripe::product::retrieve("p_1").id"#;

#[test]
fn stripe_is_told_who_asks_and_nothing_more() {
    let server = serve("application/json", br#"{"id":"p_1"}"#);
    assert_eq!(server.run(Inflight::builder(), TWO_CALLS), "p_1");
    let ours = format!("inflight/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(server.header(1, "user-agent"), Some(ours.clone()));
    for name in ["x-stripe-client-user-agent", "x-stripe-client-telemetry"] {
        assert_eq!(server.header(1, name), None);
    }
    let app = Inflight::builder().set_app_info("Shop", Some("1.2"), Some("https://shop.example"));
    server.run(app, TWO_CALLS);
    assert_eq!(
        server.header(2, "user-agent"),
        Some(format!("{ours} Shop/1.2 (https://shop.example)"))
    );
}

#[test]
fn telemetry_is_sent_where_it_is_asked_for() {
    let server = serve("application/json", br#"{"id":"p_1"}"#);
    server.run(
        Inflight::builder().set_app_info("Shop", None, None).telemetry(true),
        TWO_CALLS,
    );
    let client: serde_json::Value =
        serde_json::from_str(&server.header(0, "x-stripe-client-user-agent").unwrap()).unwrap();
    assert_eq!(
        (&client["lang"], &client["application"]["name"]),
        (&"rust".into(), &"Shop".into())
    );
    assert_eq!(server.header(0, "x-stripe-client-telemetry"), None);
    let told: serde_json::Value =
        serde_json::from_str(&server.header(1, "x-stripe-client-telemetry").unwrap()).unwrap();
    let metrics = &told["last_request_metrics"];
    assert_eq!(metrics["request_id"], "req_1");
    assert!(metrics["request_duration_ms"].is_u64(), "{metrics}");
}

#[test]
fn a_file_arrives_as_bytes() {
    let server = serve("application/pdf", b"%PDF\xff\x00{");
    let length = server.run(Inflight::builder(), r#"stripe::quote::pdf("qt_1").len()"#);
    assert_eq!(length, 7);
    let length = server.run(
        Inflight::builder(),
        r#"stripe::raw("GET", "/v1/files/file_1/contents").len()"#,
    );
    assert_eq!(length, 7);
}

#[test]
fn what_came_beside_the_body_can_be_asked_for() {
    let server = serve("application/json", br#"{"id":"p_1"}"#);
    let answer = server.run(
        Inflight::builder(),
        r#"let id = stripe::product::create_async(#{ name: "A" }); await_result(id); get_response(id)"#,
    );
    assert_eq!(answer["status"], 200);
    assert_eq!(answer["headers"]["request-id"], "req_1");
    assert_eq!(answer["headers"]["idempotent-replayed"], "true");
}
