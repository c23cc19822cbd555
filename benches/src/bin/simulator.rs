//! Many objects in the simulator: how fast they are made, and what they weigh.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use inflight::sim::{Api, ApiRequest, Simulator};
use inflight_benches::{Options, resident};

const HELP: &str = "\
Makes objects in the simulator, on one thread, and says how fast that went and how much memory they take.

  --objects N   how many (1000000)
  --what NAME   product, customer, or payment: a payment intent that is paid, with its charge and balance transaction (product)
  --keys WORD   yes: each request has an idempotency key, so its answer is kept as well (no)
  --socket N    so many more through one HTTP/1.1 connection, one after the other (20000)";

fn main() {
    let options = Options::read(HELP, 0);
    let objects: usize = options.get("objects", 1_000_000);
    let what = options.get("what", "product".to_owned());
    let keyed = options.get("keys", "no".to_owned()) == "yes";
    let (path, body) = request(&what);

    let mut api = Api::new(1);
    let before = resident();
    let start = Instant::now();
    for n in 0..objects {
        let key = keyed.then(|| n.to_string());
        let body = body.replace("%N", &n.to_string());
        let request = ApiRequest {
            method: "POST",
            path,
            authorization: Some("Bearer sk_test_1"),
            idempotency_key: key.as_deref(),
            body: body.as_bytes(),
            ..ApiRequest::default()
        };
        let response = api.handle(&request, start);
        assert_eq!(response.status, 200, "{:?}", response.body);
    }
    let seconds = start.elapsed().as_secs_f64();
    let bytes = (resident() - before) * 1024;
    let held: usize = api.totals().values().sum();
    println!(
        "{objects} requests for a {what}: {:.0} a second",
        objects as f64 / seconds
    );
    println!(
        "{held} objects, events among them: {} MB, {} bytes a request",
        bytes / 1_000_000,
        bytes / objects.max(1) as u64
    );
    socket(options.get("socket", 20_000), path, body);
}

fn request(what: &str) -> (&'static str, &'static str) {
    match what {
        "product" => ("/v1/products", "name=Mug+%N&metadata[order]=%N"),
        "customer" => ("/v1/customers", "email=ada%N%40example.com&name=Ada&metadata[order]=%N"),
        "payment" => (
            "/v1/payment_intents",
            "amount=500&currency=usd&confirm=true&payment_method=pm_card_visa",
        ),
        other => panic!("--what cannot be {other}"),
    }
}

/// The same over a connection: client and simulator share the machine.
fn socket(requests: usize, path: &str, body: &str) {
    let simulator = Simulator::builder().seed(1).start().expect("the simulator starts");
    let mut stream = TcpStream::connect(simulator.addr()).expect("the simulator listens");
    stream.set_nodelay(true).expect("a socket option");
    let body = body.replace("%N", "1");
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: sim\r\nAuthorization: Bearer sk_test_1\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    let mut answer = vec![0; 1 << 16];
    let start = Instant::now();
    for _ in 0..requests {
        stream.write_all(request.as_bytes()).expect("the request is sent");
        read_answer(&mut stream, &mut answer);
    }
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "one connection, one request after the other: {:.0} a second",
        requests as f64 / seconds
    );
}

fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        filled += stream.read(&mut buffer[filled..]).expect("an answer");
        let text = String::from_utf8_lossy(&buffer[..filled]);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        assert!(head.starts_with("HTTP/1.1 200"), "{text}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.and_then(|length| length.parse().ok()).unwrap_or(0) {
            return;
        }
    }
}
