//! Each fault on the wire, and what it leaves behind.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use inflight_sim::{Fault, Faults, Latency, RateLimitReason, RateLimits, Rule, Simulator};

use crate::client::{Client, get, post};

fn simulator(faults: Faults) -> (Simulator, Client) {
    let simulator = Simulator::builder().seed(1).faults(faults).start().unwrap();
    let client = Client::new(&simulator);
    (simulator, client)
}

fn first(fault: Fault) -> (Simulator, Client) {
    simulator(Faults::new().rule(Rule::new(fault).method("POST").nth(1)))
}

/// What comes before the connection ends, and how it ends.
fn rest(client: &mut Client) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let end = client.0.read_to_end(&mut bytes).err().map(|error| error.kind());
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}

#[test]
fn refusals_come_before_execution_and_are_saved_under_no_key() {
    for (fault, status, code, reason, should_retry) in [
        (Fault::RateLimited(None), 429, "rate_limit", None, None),
        (
            Fault::RateLimited(Some(RateLimitReason::EndpointRate)),
            429,
            "rate_limit",
            Some("endpoint-rate"),
            None,
        ),
        (Fault::LockTimeout, 429, "lock_timeout", None, Some("true")),
        (Fault::ErrorBefore, 500, "", None, None),
    ] {
        let (simulator, mut client) = first(fault);
        let create = || post("/v1/products", "name=Mug").key("k");
        let refused = client.call(create());
        assert_eq!((refused.status, refused.error().2), (status, code), "{fault}");
        assert_eq!(refused.header("stripe-rate-limited-reason"), reason, "{fault}");
        assert_eq!(refused.header("stripe-should-retry"), should_retry, "{fault}");
        assert_eq!(
            (simulator.counts().effects, simulator.was_told("k")),
            (0, false),
            "{fault}"
        );
        let done = client.call(create());
        assert_eq!(
            (done.status, done.header("idempotent-replayed")),
            (200, None),
            "{fault}"
        );
        assert_eq!(
            (simulator.counts().effects, simulator.was_told("k")),
            (1, true),
            "{fault}"
        );
        assert_eq!(simulator.injected().get(fault.name()), Some(&1));
    }
}

#[test]
fn a_failure_after_execution_is_saved_and_given_again() {
    let (simulator, mut client) = first(Fault::ErrorAfter);
    let create = || post("/v1/products", "name=Mug").key("k");
    assert_eq!(client.call(create()).error().0, 500);
    let again = client.call(create());
    assert_eq!((again.status, again.header("idempotent-replayed")), (500, Some("true")));
    assert_eq!((simulator.count("product"), simulator.was_told("k")), (1, false));
}

#[test]
fn a_reset_before_the_request_leaves_nothing_and_one_after_it_leaves_the_work() {
    for (fault, effects) in [(Fault::ResetBefore, 0), (Fault::ResetAfter, 1)] {
        let (simulator, mut client) = first(fault);
        client.send(&post("/v1/products", "name=Mug").key("k"));
        assert_eq!(
            rest(&mut client),
            (String::new(), Some(ErrorKind::ConnectionReset)),
            "{fault}"
        );
        assert_eq!(
            (simulator.counts().effects, simulator.was_told("k")),
            (effects, false),
            "{fault}"
        );
        let answer = Client::new(&simulator).call(post("/v1/products", "name=Mug").key("k"));
        assert_eq!(answer.header("idempotent-replayed").is_some(), effects == 1, "{fault}");
    }
}

#[test]
fn answers_that_are_cut_lie_or_are_no_json() {
    for (fault, is_ended, is_whole) in [
        (Fault::HalfBody, true, false),
        (Fault::LongLength, true, true),
        (Fault::ShortLength, false, false),
        (Fault::InvalidJson, false, false),
        (Fault::Gzip, false, false),
    ] {
        let (simulator, mut client) = first(fault);
        client.send(&post("/v1/products", "name=Mug").key("k"));
        if is_ended {
            let (text, _) = rest(&mut client);
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap();
            assert!(body.len() < length.parse().unwrap(), "{fault}: {text}");
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(body).is_ok(),
                is_whole,
                "{fault}: {text}"
            );
        } else {
            let answer = client.receive();
            assert_eq!(
                (answer.status, &answer.body),
                (200, &serde_json::Value::Null),
                "{fault}"
            );
            assert_eq!(answer.header("content-encoding").is_some(), fault == Fault::Gzip);
        }
        assert_eq!(
            (simulator.count("product"), simulator.was_told("k")),
            (1, false),
            "{fault}"
        );
    }
}

#[test]
fn a_slow_answer_comes_whole_and_a_hanging_one_never() {
    let (simulator, mut client) = first(Fault::Slow(Duration::from_millis(32)));
    client.ok(post("/v1/products", "name=Mug").key("k"));
    // A client may have given up before the last piece.
    assert!(!simulator.was_told("k"));

    let (simulator, mut client) = first(Fault::Hang);
    client.send(&post("/v1/products", "name=Mug").key("k"));
    client.0.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let nothing = client.0.read(&mut [0]).unwrap_err().kind();
    assert!(
        matches!(nothing, ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{nothing}"
    );
    assert_eq!((simulator.count("product"), simulator.was_told("k")), (1, false));
}

#[test]
fn a_server_that_goes_away_refuses_and_comes_back() {
    let (simulator, mut client) = first(Fault::Down(Duration::from_secs(1)));
    let mut idle = Client::new(&simulator);
    idle.ok(get("/v1/products"));
    client.send(&post("/v1/products", "name=Mug").key("k"));
    assert!(client.is_closed());
    assert!(idle.is_closed());
    // The connections may be closed a moment before the listener is, and a connection may be made in between.
    let mut tried = std::iter::repeat_with(|| TcpStream::connect(simulator.addr()));
    let is_refused =
        |tried: std::io::Result<TcpStream>| tried.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused);
    assert!(tried.any(is_refused));
    assert_eq!(simulator.count("product"), 0);
    while TcpStream::connect(simulator.addr()).is_err() {
        std::thread::yield_now();
    }
    Client::new(&simulator).ok(post("/v1/products", "name=Mug").key("k"));
}

#[test]
fn mutations_of_one_object_that_overlap_time_out_at_its_lock() {
    let faults = Faults::new().object_locks(true);
    let simulator = Simulator::builder()
        .seed(1)
        .faults(faults)
        .latency(Latency::fixed(Duration::from_millis(200)))
        .start()
        .unwrap();
    let [mut one, mut two] = [(); 2].map(|()| Client::new(&simulator));
    let id = one.ok(post("/v1/products", "name=Mug"))["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let update = || post(format!("/v1/products/{id}"), "name=Cup");
    one.send(&update());
    while simulator.counts().requests < 2 {
        std::thread::yield_now();
    }
    assert_eq!(two.call(update()).error().2, "lock_timeout");
    assert_eq!(one.receive().status, 200);
    assert_eq!(two.call(update()).status, 200);
    // Reading needs no lock.
    one.send(&update());
    assert_eq!(two.call(get(format!("/v1/products/{id}"))).status, 200);
}

#[test]
fn rules_choose_by_operation_number_and_chance_and_a_seed_repeats_them() {
    let faults = Faults::new()
        .rule(Rule::new(Fault::ErrorBefore).operation("product.create").nth(3))
        .rule(Rule::new(Fault::LockTimeout).path("/v1/customers").every(2).times(1))
        .rule(Rule::new(Fault::RateLimited(None)).method("GET").rate(0.5));
    let statuses = || {
        let (_simulator, mut client) = simulator(faults.clone());
        let mut call = |call| client.call(call).status;
        let products: Vec<_> = (0..4).map(|_| call(post("/v1/products", "name=Mug"))).collect();
        let customers: Vec<_> = (0..4).map(|_| call(post("/v1/customers", ""))).collect();
        let lists: Vec<_> = (0..40).map(|_| call(get("/v1/prices"))).collect();
        (products, customers, lists)
    };
    let (products, customers, lists) = statuses();
    assert_eq!(products, [200, 200, 500, 200]);
    assert_eq!(customers, [200, 429, 200, 200]);
    let limited = lists.iter().filter(|status| **status == 429).count();
    assert!((8..32).contains(&limited), "{lists:?}");
    assert_eq!(statuses(), (products, customers, lists));
}

#[test]
fn limits_are_kept_and_their_reasons_told() {
    let limits = RateLimits::new().account(1000.0).endpoint(3.0);
    let (simulator, mut client) = simulator(Faults::new().rate_limits(limits));
    let statuses: Vec<_> = (0..4)
        .map(|_| client.call(post("/v1/products", "name=Mug")).status)
        .collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    let limited = client.call(post("/v1/products", "name=Mug"));
    assert_eq!(limited.header("stripe-rate-limited-reason"), Some("endpoint-rate"));
    assert_eq!(client.call(post("/v1/customers", "")).status, 200);
    simulator.advance(Duration::from_secs(1));
    assert_eq!(client.call(post("/v1/products", "name=Mug")).status, 200);
}

#[test]
fn keys_are_forgotten_when_the_clock_is_moved() {
    let (simulator, mut client) = simulator(Faults::new());
    let create = || post("/v1/products", "name=Mug").key("k");
    let first = client.call(create());
    simulator.advance(Duration::from_secs(23 * 3600));
    assert_eq!(client.call(create()).body, first.body);
    simulator.advance(Duration::from_secs(3600));
    let later = client.call(create());
    assert_ne!(later.id(), first.id());
    let created = |answer: &crate::client::Answer| answer.body["created"].as_i64().unwrap();
    assert!(created(&later) - created(&first) >= 24 * 3600);
}

#[test]
fn faults_can_be_set_while_it_runs() {
    let (simulator, mut client) = simulator(Faults::new());
    client.ok(get("/v1/products"));
    simulator.set_faults("{\"rules\":[{\"fault\":\"error_before\"}]}".parse().unwrap());
    assert_eq!(client.call(get("/v1/products")).status, 500);
    simulator.set_faults(Faults::new());
    client.ok(get("/v1/products"));
}

#[test]
fn nobody_uses_up_a_limit_without_a_key() {
    let limits = RateLimits::new().account(2.0).endpoint(2.0);
    let (_simulator, mut client) = simulator(Faults::new().rate_limits(limits));
    for n in 0..5 {
        assert_eq!(client.call(get("/v1/products").without("Authorization")).status, 401);
        assert_eq!(client.call(get(format!("/v1/zebra/{n}"))).status, 404);
    }
    // All keys are one account's.
    let listed = |key: &str| get("/v1/products").header("Authorization", format!("Bearer sk_test_{key}"));
    let statuses: Vec<_> = ["1", "2", "3"].map(|key| client.call(listed(key)).status).into();
    assert_eq!(statuses, [200, 200, 429]);
}
