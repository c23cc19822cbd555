//! The monitoring page's server: what it tells whoever has the token, and what it does with everybody else.

mod support;

#[path = "../../store/tests/it/schema.rs"]
mod schema;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::Instant;

use serde_json::Value;
use support::*;

/// A run with its page.
struct Watched {
    running: Running,
    address: SocketAddr,
    token: String,
    _scripts: Scripts,
}

impl Watched {
    fn start(script: &[u8], flags: &[&str]) -> Self {
        let scripts = Scripts::new(&[("busy.rhai", script)]);
        let mut command = inflight();
        command.args(["run", "--timeout", "10m", "--dashboard", "127.0.0.1:0"]);
        command.args(flags).arg(scripts.path("busy.rhai"));
        Self::by(command, scripts)
    }

    /// The page over a store.
    fn store(url: &str) -> Self {
        let mut command = inflight();
        command.args(["dashboard", "--store", url]);
        Self::by(command, Scripts::new(&[]))
    }

    fn by(command: Command, scripts: Scripts) -> Self {
        let running = Running::start(command);
        let line = running.wait_for_line("dashboard: http://");
        let url = line.strip_prefix("dashboard: http://").expect("the page's address");
        let (address, token) = url.split_once("/?token=").expect("the token");
        Self {
            address: address.parse().expect("an address"),
            token: token.to_owned(),
            running,
            _scripts: scripts,
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Sends this as it is, and gives the status and everything that comes back.
    fn send(&self, request: &str) -> (u16, String) {
        let mut stream = self.connect();
        // It may answer, and close, before it has read all.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or(0), answer)
    }

    fn ask_with(&self, method: &str, path: &str, headers: &str) -> (u16, String) {
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n"
        ))
    }

    /// As the page asks.
    fn ask(&self, method: &str, path: &str) -> (u16, String) {
        let headers = format!("Host: {}\r\nAuthorization: Bearer {}\r\n", self.address, self.token);
        self.ask_with(method, path, &headers)
    }

    fn json(&self, method: &str, path: &str) -> Value {
        let (status, answer) = self.ask(method, path);
        assert_eq!(status, 200, "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        serde_json::from_str(body).expect("JSON")
    }

    /// The state, when it is so.
    fn state_where(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let state = self.json("GET", "/state");
            if is_so(&state) {
                return state;
            }
            assert!(Instant::now() < until, "never: {what}\n{state:#}");
            thread::sleep(POLL);
        }
    }
}

#[test]
fn it_tells_how_the_run_stands() {
    let watched = Watched::start(BUSY, &["--copies", "10", "--sim-latency", "20ms"]);
    let state = watched.state_where("requests end, and some fail", |state| {
        state["requests"]["completed"].as_u64() > Some(20) && state["requests"]["failed"].as_u64() > Some(20)
    });
    assert_eq!(state["scripts"]["live"], 10, "{state:#}");
    assert_eq!(state["target"], "the embedded simulator");
    let group = &state["failures"][0];
    assert_eq!(
        (&group["kind"], &group["code"]),
        (&"card_error".into(), &"card_declined".into())
    );
    let request_id = group["last"][0]["request_id"].as_str().expect("Stripe's request id");
    assert!(request_id.starts_with("req_"), "{request_id}");

    let id = group["last"][0]["id"].as_str().expect("the request");
    let request = watched.json("GET", &format!("/requests/{id}"));
    assert_eq!(request["operation"], "payment_intent.create", "{request:#}");
    assert_eq!(request["attempts"][0]["status"], 402, "{request:#}");
    assert_eq!(request["ending"]["failure"]["effect"], "none", "{request:#}");
    let points = watched.state_where("a point of the series", |state| {
        state["points"][0]["completed"].as_u64() > Some(0)
    });
    assert!(points["points"][0]["p50_ms"].as_f64() >= Some(20.0), "{points:#}");
    watched.running.kill();
}

#[test]
fn sending_pauses_and_goes_on_and_what_waits_can_be_cancelled() {
    let watched = Watched::start(BUSY, &["--copies", "10"]);
    watched.state_where("requests end", |state| {
        state["requests"]["completed"].as_u64() > Some(0)
    });
    assert_eq!(watched.json("POST", "/pause")["is_paused"], true);
    let paused = watched.state_where("nothing is under way", |state| {
        state["requests"]["in_flight"] == 0 && state["requests"]["pending"] == 10
    });
    assert_eq!(paused["is_paused"], true);
    let id = paused["pending"][0]["id"].as_str().expect("a request that waits");
    let cancel = format!("/requests/{id}/cancel");
    assert_eq!(watched.json("POST", &cancel)["cancelled"], true);
    assert_eq!(
        watched.json("GET", &format!("/requests/{id}"))["ending"]["status"],
        "cancelled"
    );
    assert_eq!(watched.json("POST", &cancel)["cancelled"], false, "only once");

    let before = watched.json("GET", "/state")["requests"]["completed"].as_u64();
    assert_eq!(watched.json("POST", "/resume")["is_paused"], false);
    watched.state_where("it goes on", |state| state["requests"]["completed"].as_u64() > before);
    watched.running.kill();
}

#[test]
fn events_go_on_to_the_end_of_the_run() {
    let script = b"for i in 0..10 { new_customer().create(); }";
    let watched = Watched::start(script, &["--copies", "20", "--sim-latency", "100ms"]);
    let mut stream = watched.connect();
    let request = format!(
        "GET /events?token={} HTTP/1.1\r\nHost: {}\r\n\r\n",
        watched.token, watched.address
    );
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it ends with the run");
    assert!(answer.contains("content-type: text/event-stream"), "{answer}");
    assert!(answer.contains("event: all\ndata: {"), "{answer}");
    let last = answer.rsplit("event: state\ndata: ").next().expect("an event");
    let last: Value = serde_json::from_str(last.lines().next().expect("a line")).expect("JSON");
    assert_eq!(last["has_ended"], true, "{last:#}");
    assert_eq!(last["requests"]["completed"], 200, "{last:#}");
    assert_eq!(last["scripts"]["ok"], 20, "{last:#}");
    assert_eq!(watched.running.status(), Some(0));
}

#[test]
fn an_intruder_is_refused() {
    let watched = Watched::start(BUSY, &["--sim-latency", "20ms"]);
    let host = format!("Host: {}\r\n", watched.address);
    let token = format!("Authorization: Bearer {}\r\n", watched.token);
    let paths = [
        ("GET", "/"),
        ("GET", "/state"),
        ("GET", "/events"),
        ("POST", "/pause"),
        ("GET", "/nothing"),
    ];
    for (method, path) in paths {
        let refused = |headers: &str, status: u16, what: &str| {
            let (answered, answer) = watched.ask_with(method, path, headers);
            assert_eq!(answered, status, "{what}: {method} {path}");
            assert!(
                !answer.contains("submitted") && !answer.contains(&watched.token),
                "{what}: {answer}"
            );
        };
        refused(&host, 401, "no token");
        refused(&format!("{host}Authorization: Bearer wrong\r\n"), 401, "wrong token");
        refused(
            &format!("{host}{token}Origin: http://evil.example\r\n"),
            403,
            "foreign origin",
        );
        refused(&format!("{host}{token}Origin: null\r\n"), 403, "no origin of its own");
        let rebound = format!("Host: evil.example:{}\r\n{token}", watched.address.port());
        refused(&rebound, 421, "a foreign name for this address");
        refused(&token, 421, "no name at all");
    }
    // Had any of them paused it, it would stand.
    assert_eq!(watched.json("GET", "/state")["is_paused"], false);
    watched.running.kill();
}

#[test]
fn it_has_no_files_and_takes_no_other_method() {
    let watched = Watched::start(BUSY, &["--sim-latency", "20ms"]);
    for path in [
        "/../../../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/requests/../state",
        "/requests/%00",
        "/requests/not-an-id",
        "/requests/00000000-0000-4000-8000-000000000000",
        "/state/",
    ] {
        let (status, answer) = watched.ask("GET", path);
        assert_eq!(status, 404, "{path}: {answer}");
        assert!(!answer.contains("root:"), "{path}");
    }
    for (method, path) in [
        ("GET", "/pause"),
        ("POST", "/"),
        ("DELETE", "/state"),
        ("PUT", "/requests/x/cancel"),
    ] {
        assert_eq!(watched.ask(method, path).0, 405, "{method} {path}");
    }
    watched.running.kill();
}

#[test]
fn headers_without_end_are_cut_off() {
    let watched = Watched::start(BUSY, &["--sim-latency", "20ms"]);
    let huge = "x".repeat(10_000_000);
    let (status, _) = watched.ask_with("GET", "/", &format!("Host: {}\r\nX-Huge: {huge}\r\n", watched.address));
    assert!(matches!(status, 0 | 431), "{status}");
    let many = "X-Many: y\r\n".repeat(500_000);
    let (status, _) = watched.ask_with("GET", "/", &format!("Host: {}\r\n{many}", watched.address));
    assert!(matches!(status, 0 | 431), "{status}");
    let (status, _) = watched.ask("GET", &format!("/{huge}"));
    assert!(matches!(status, 0 | 414 | 431), "{status}");
    assert_eq!(watched.json("GET", "/state")["is_paused"], false, "it serves on");
    watched.running.kill();
}

#[test]
fn a_thousand_idle_connections_keep_nobody_out() {
    let watched = Watched::start(BUSY, &["--sim-latency", "20ms"]);
    let mut open = watched.connect();
    let request = format!(
        "GET /events?token={} HTTP/1.1\r\nHost: {}\r\n\r\n",
        watched.token, watched.address
    );
    open.write_all(request.as_bytes()).expect("it reads");
    let mut first = [0; 15];
    open.read_exact(&mut first).expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK");

    let idle: Vec<TcpStream> = (0..1_000).map(|_| watched.connect()).collect();
    assert_eq!(
        watched.json("GET", "/state")["is_paused"],
        false,
        "a newcomer is answered"
    );
    // Whoever may ask stays: its events go on.
    let mut more = [0; 200_000];
    let mut read = 0;
    while read < 20_000 {
        let got = open.read(&mut more).expect("it goes on");
        assert!(got > 0, "the page that was open has been cut off");
        read += got;
    }
    // Those that never asked anything are gone, but for a bounded number.
    let closed = idle.iter().filter(|stream| {
        stream.set_nonblocking(true).expect("non-blocking");
        matches!((&mut &**stream).read(&mut [0]), Ok(0) | Err(_)) && {
            let mut byte = [0];
            !matches!((&mut &**stream).read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        }
    });
    assert!(closed.count() >= 1_000 - 128, "they are bounded");
    watched.running.kill();
}

#[test]
fn no_page_has_the_key() {
    let scripts = Scripts::new(&[(
        "a.rhai",
        b"print(1); throw `sk_test_4eC39HqLyjWDarjtT1zdp7dc was thrown`",
    )]);
    let report = scripts.path("report.html");
    let output = run(&["run", "--report", &report, &scripts.path("a.rhai")]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let page = fs::read_to_string(&report).expect("the report is written");
    assert!(page.contains("was thrown"), "the error is shown");
    assert!(!page.contains("sk_test_4eC39HqLyjWDarjtT1zdp7dc"), "without the key");
}

#[test]
fn the_report_is_the_page_with_its_data() {
    let scripts = Scripts::new(&[(
        "a.rhai",
        b"new_customer().name(`</script><script>alert(1)</script>`).create(); 1",
    )]);
    let report = scripts.path("report.html");
    let output = run(&["run", "--copies", "3", "--report", &report, &scripts.path("a.rhai")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = fs::read_to_string(&report).expect("the report is written");
    let (_, data) = page.split_once(r#"id="data">"#).expect("the data");
    let (data, _) = data.split_once("</script>").expect("its end");
    let data: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!(
        (&data["scripts"]["ok"], &data["requests"]["completed"]),
        (&3.into(), &3.into()),
        "{data:#}"
    );
    assert_eq!(data["details"].as_array().map(Vec::len), Some(3), "{data:#}");
    assert_eq!(data["has_ended"], true);
}

#[test]
fn what_cannot_be_had_is_said_before_anything_runs() {
    let scripts = Scripts::new(&[("a.rhai", b"print(`ran`)")]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("its address").to_string();
    let output = run(&["run", "--dashboard", &address, &scripts.path("a.rhai")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains(&address), "{}", stderr(&output));
    assert!(!stdout(&output).contains("ran"));
    let nowhere = scripts.path("no/such/folder.html");
    let output = run(&["run", "--report", &nowhere, &scripts.path("a.rhai")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(!stdout(&output).contains("ran"));
    let mut command = inflight();
    command.env("INFLIGHT_DASHBOARD_TOKEN", "guessable");
    let output = command
        .args(["run", &scripts.path("a.rhai")])
        .output()
        .expect("the program starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(!stderr(&output).contains("guessable"), "{}", stderr(&output));
}

/// Runs a script on this store to its end, and then one that holds on to it. What the page over the store shows meanwhile.
fn watch_store(url: &str, what_ends: &[u8]) -> (Watched, Running, Value, Scripts) {
    let scripts = Scripts::new(&[
        ("ends.rhai", what_ends),
        (
            "holds.rhai",
            b"new_product().name(`Mug`).create(); print(`made`); sleep(1000.0)",
        ),
    ]);
    let run = |script: &str, id: &str| {
        let mut command = inflight();
        command
            .args(["run", "--store", url, "--run-id", id, "--timeout", "10m"])
            .arg(scripts.path(script));
        command
    };
    let ended = run("ends.rhai", "ends").output().expect("the program starts");
    assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    let watched = Watched::store(url);
    let holding = Running::start(run("holds.rhai", "holds"));
    let state = watched.state_where("both runs are there", |state| {
        state["scripts"]["total"] == 2 && state["requests"]["pending"] == 0 && state["requests"]["completed"] == 4
    });
    (watched, holding, state, scripts)
}

#[test]
fn the_page_over_a_store_shows_what_other_processes_do_and_changes_nothing() {
    let folder = Scripts::new(&[]);
    let mut places = vec![format!("sqlite:{}", folder.path("store.db"))];
    let schema = schema::Schema::new();
    places.extend(schema.as_ref().map(schema::Schema::url));
    for url in places {
        let script = b"for i in 0..3 { new_product().name(`P`).create(); } try { new_payment_intent().amount(5000).currency(`usd`)\
            .payment_method(`pm_card_chargeDeclined`).confirm(true).create(); } catch {}";
        let (watched, holding, state, _scripts) = watch_store(&url, script);
        assert_eq!(state["requests"]["failed"], 1, "{state:#}");
        assert_eq!(state["failures"][0]["kind"], "card_error", "{state:#}");
        let mut states: Vec<_> = state["script_lines"]
            .as_array()
            .expect("runs")
            .iter()
            .map(|run| run["state"].as_str())
            .collect();
        states.sort();
        assert_eq!(states, [Some("ok"), Some("running")], "{state:#}");
        let account = &state["fleet"]["accounts"][0];
        assert_eq!(
            (&account["completed"], &account["failed"]),
            (&4.into(), &1.into()),
            "{state:#}"
        );
        let process = &state["fleet"]["processes"][0];
        assert_eq!(process["runs"], 1, "{state:#}");
        assert_eq!(
            process["lease_ms"].as_i64() > Some(0),
            url.starts_with("postgres"),
            "{state:#}"
        );

        let id = state["failed"][0]["id"].as_str().expect("a request");
        let request = watched.json("GET", &format!("/requests/{id}"));
        assert_eq!(request["ending"]["failure"]["kind"], "card_error", "{request:#}");
        for (method, path) in [
            ("POST", format!("/requests/{id}/cancel")),
            ("POST", "/pause".into()),
            ("GET", "/metrics".into()),
        ] {
            assert_eq!(watched.ask(method, &path).0, 404, "{path}");
        }
        let (status, _) = watched.ask_with("GET", "/state", &format!("Host: {}\r\n", watched.address));
        assert_eq!(status, 401, "only with the token");
        holding.kill();
        watched.running.kill();
    }
}

#[test]
fn a_store_that_cannot_be_read_is_named() {
    let folder = Scripts::new(&[]);
    let says = |url: &str| {
        let output = inflight()
            .args(["dashboard", "--store", url])
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(2), "{url}");
        stderr(&output)
    };
    let url = format!("sqlite:{}", folder.path("store.db"));
    assert!(says(&url).contains("there is no such file"));
    fs::write(folder.path("store.db"), []).expect("a file");
    let said = says(&url);
    assert!(said.contains("version 0") && said.contains("migrate"), "{said}");
    let said = says("postgres://shop:LEAKMARK@127.0.0.1:1/shop");
    assert!(
        said.contains("postgres://127.0.0.1:1/shop") && !said.contains("LEAKMARK"),
        "{said}"
    );
}
