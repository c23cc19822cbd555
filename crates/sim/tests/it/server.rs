//! The server itself: start, stop, many connections, latency.

use std::time::{Duration, Instant};

use inflight_sim::{Latency, Simulator, StartError};

use crate::client::{Client, get, post, simulator};

#[test]
fn ids_and_times_can_be_reproduced() {
    let run = || {
        let simulator = Simulator::builder()
            .seed(42)
            .unix_clock(|| 1_700_000_000)
            .start()
            .unwrap();
        let mut client = Client::new(&simulator);
        let before = client.ok(post("/v1/products", "name=Mug"));
        simulator.reset();
        assert_eq!(client.ok(post("/v1/products", "name=Mug")), before);
        before
    };
    let product = run();
    assert_eq!(run(), product);
    assert_eq!(product["created"], 1_700_000_000);
}

#[test]
fn addresses() {
    let start = |address: &str| Simulator::builder().listen(address).start();
    assert!(matches!(start("0.0.0.0:0"), Err(StartError::NotLoopback(_))));
    assert!(matches!(start("nonsense"), Err(StartError::Address { .. })));
    let first = start("127.0.0.1:0").unwrap();
    assert!(matches!(
        start(&first.addr().to_string()),
        Err(StartError::Listen { .. })
    ));
    assert_eq!(first.url(), format!("http://{}", first.addr()));
}

#[test]
fn stopping_is_prompt_even_while_answers_are_held_back() {
    let (seen, first_seen) = std::sync::mpsc::channel();
    let simulator = Simulator::builder()
        .latency(Latency::fixed(Duration::from_secs(600)))
        .on_request(move |_| seen.send(()).unwrap())
        .start()
        .unwrap();
    let mut client = Client::new(&simulator);
    client.send(&get("/v1/products"));
    first_seen.recv().unwrap();
    let address = simulator.addr();
    let begin = Instant::now();
    simulator.shutdown();
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(client.is_closed());
    // The port is free again.
    Simulator::builder().listen(address.to_string()).start().unwrap();
}

#[test]
fn many_connections_wait_together() {
    let simulator = Simulator::builder()
        .latency(Latency::fixed(Duration::from_millis(300)))
        .start()
        .unwrap();
    let begin = Instant::now();
    let mut clients: Vec<Client> = (0..400).map(|_| Client::new(&simulator)).collect();
    for client in &mut clients {
        client.send(&post("/v1/products", "name=Mug"));
    }
    for client in &mut clients {
        assert_eq!(client.receive().status, 200);
    }
    let elapsed = begin.elapsed();
    assert!(elapsed >= Duration::from_millis(300), "{elapsed:?}");
    // One after another they would take two minutes.
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
    assert_eq!(simulator.count("product"), 400);
}

#[test]
fn requests_are_recorded() {
    let (seen, records) = std::sync::mpsc::channel();
    let simulator = Simulator::builder()
        .on_request(move |record| seen.send(record.clone()).unwrap())
        .start()
        .unwrap();
    let mut client = Client::new(&simulator);
    client.ok(post("/v1/products", "name=Mug").key("k"));
    client.ok(post("/v1/products", "name=Mug").key("k"));
    client.call(get("/v1/nothing?x=1"));
    let records: Vec<_> = records.try_iter().collect();
    assert_eq!(
        (records[0].operation, records[0].replayed),
        (Some("product.create"), false)
    );
    assert!(records[1].replayed);
    assert_eq!(
        (records[2].path.as_str(), records[2].status, records[2].operation),
        ("/v1/nothing", 404, None)
    );
}

#[test]
fn connections_are_kept_alive() {
    let (simulator, mut client) = simulator();
    for _ in 0..50 {
        client.ok(get("/v1/products"));
    }
    assert_eq!(simulator.counts().requests, 50);
}
