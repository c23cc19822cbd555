//! Clients that are broken or mean harm.

use std::io::Write;
use std::time::Duration;

use inflight_sim::Simulator;

use crate::client::{Client, get, post, simulator};

#[test]
fn garbage_ends_its_own_connection_only() {
    let (simulator, mut client) = simulator();
    for garbage in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/products HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/products HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ngarbage that is no frame at all",
        &[0xff; 4096],
    ] {
        let mut broken = Client::new(&simulator);
        broken.0.write_all(garbage).unwrap();
        assert!(broken.is_closed(), "{:?}", String::from_utf8_lossy(garbage));
    }
    client.ok(get("/v1/products"));
}

#[test]
fn huge_headers_and_bodies_are_refused() {
    let (simulator, mut client) = simulator();
    let mut huge = Client::new(&simulator);
    // The server may close the connection before it has read all.
    let _ = huge
        .0
        .write_all(&get("/v1/products").header("X-Huge", "x".repeat(1 << 20)).bytes());
    assert!(huge.is_closed());

    let mut huge = Client::new(&simulator);
    huge.0
        .write_all(b"POST /v1/products HTTP/1.1\r\nHost: sim\r\nContent-Length: 999999999999\r\n\r\nname=x")
        .unwrap();
    assert_eq!(huge.receive().status, 413);
    let at_most = post(
        "/v1/products",
        format!("name=x&description={}", "y".repeat((1 << 20) - 19)),
    );
    assert_eq!(at_most.body.len(), 1 << 20);
    assert_eq!(client.call(at_most).error().3, "description");
    client.ok(get("/v1/products"));
}

#[test]
fn half_a_request_changes_nothing() {
    let (simulator, mut client) = simulator();
    for end in [20, 60, 100] {
        let mut half = Client::new(&simulator);
        let whole = post("/v1/products", format!("name={}", "x".repeat(200))).bytes();
        half.0.write_all(&whole[..end]).unwrap();
        drop(half);
    }
    client.ok(get("/v1/products"));
    assert_eq!(simulator.count("product"), 0);
}

#[test]
fn odd_forms_are_refused_or_taken_but_never_fatal() {
    let (_simulator, mut client) = simulator();
    for body in [
        "=".to_owned(),
        "[]=1".to_owned(),
        "a[".to_owned(),
        "%".to_owned(),
        "name=%FF".to_owned(),
        "name=x&metadata[[[]=1".to_owned(),
        format!("name=x&metadata{}=1", "[a]".repeat(10_000)),
        "metadata[k]=v&".repeat(20_000),
        "name[a][b][c]=1".to_owned(),
        "name=x&metadata=x&metadata[a]=1".to_owned(),
        (0..60).map(|n| format!("metadata[k{n}]=v&")).collect::<String>() + "name=x",
    ] {
        let answer = client.call(post("/v1/products", body.clone()));
        assert_eq!(answer.status, 400, "{}", &body[..body.len().min(60)]);
    }
    for (target, body) in [
        ("/v1/subscriptions", "customer=x&items=y"),
        ("/v1/subscriptions", "customer=x&items[0]=y"),
        ("/v1/prices", "currency=usd&recurring=x"),
        (
            "/v1/prices",
            "currency=usd&recurring[interval]=month&unit_amount=1&product_data[name]=",
        ),
        ("/v1/products", "name=x&default_price_data[currency]=usd"),
        ("/v1/coupons", "percent_off=NaN"),
        ("/v1/coupons", "percent_off=1e999"),
    ] {
        assert_eq!(client.call(post(target, body)).status, 400, "{body}");
    }
    client.ok(get("/v1/products"));
}

#[test]
fn headers_that_are_not_text() {
    let (_simulator, mut client) = simulator();
    client
        .0
        .write_all(
            b"POST /v1/products HTTP/1.1\r\nHost: sim\r\nAuthorization: Bearer sk_test_1\r\nIdempotency-Key: \xff\xfe\r\n\
              Content-Length: 6\r\n\r\nname=x",
        )
        .unwrap();
    assert_eq!(client.receive().status, 400);
}

#[test]
fn slow_clients_are_cut_off() {
    let simulator = Simulator::builder()
        .read_timeout(Duration::from_millis(50))
        .start()
        .unwrap();
    for beginning in [
        &b""[..],
        b"PRI * HT",
        b"POST /v1/products HTTP/1.1\r\nHost:",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut slow = Client::new(&simulator);
        slow.0.write_all(beginning).unwrap();
        assert!(slow.is_closed(), "{:?}", String::from_utf8_lossy(beginning));
    }
    let mut slow = Client::new(&simulator);
    let whole = post("/v1/products", "name=Mug").bytes();
    slow.0.write_all(&whole[..whole.len() - 1]).unwrap();
    assert_eq!(slow.receive().status, 408);
    let mut idle = Client::new(&simulator);
    idle.ok(get("/v1/products"));
    assert!(idle.is_closed());
    assert_eq!(simulator.count("product"), 0);
}
