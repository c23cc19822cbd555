//! Never lost, never twice: against a server that keeps keys as Stripe does, and fails as it is told.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inflight::core::{Effect, Failure, Outcome, Registry, RequestId, RequestStatus, Session, block_on};
use inflight::stripe::reconcile::{IfAbsent, Settled, reconcile};
use inflight::stripe::{Operation, Params, Request, RequestOptions, RetrySettings};
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, InflightBuilder};

/// What happens to one request.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// The connection ends before anything is done.
    ResetBefore,
    /// It is carried out, and the connection ends without an answer.
    ResetAfter,
    /// It is carried out, and half of the answer comes.
    Half,
    /// It is carried out, and the answer is no JSON.
    Garbage,
    /// Refused before execution, with this status, code and reason.
    Refused(u16, &'static str, &'static str),
    /// Failed in execution: the answer is kept under the key.
    Broken,
}

use Fault::{Broken, Garbage, Half, Refused, ResetAfter, ResetBefore};

const RATE: Fault = Refused(429, "rate_limit", "endpoint-rate");
const LOCK: Fault = Refused(429, "lock_timeout", "");
const IN_USE: Fault = Refused(409, "idempotency_key_in_use", "");
const NO_KEY: Fault = Refused(401, "", "");

#[derive(Default)]
struct State {
    faults: VecDeque<Fault>,
    /// The answers that are kept: status and body.
    kept: HashMap<String, (u16, String)>,
    /// What was created, in order.
    objects: Vec<String>,
    deleted: usize,
    /// The mutations that came: their keys and bodies.
    mutations: Vec<(Option<String>, String)>,
}

struct Server {
    url: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    fn start(faults: &[Fault]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State {
            faults: faults.iter().copied().collect(),
            ..State::default()
        }));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { url, state }
    }

    fn inflight(&self, configure: impl FnOnce(InflightBuilder) -> InflightBuilder) -> Inflight {
        let builder = Inflight::builder()
            .base_url(&*self.url)
            .api_key(ApiKey::new("sk_test_123456789").unwrap())
            .retry(quick(2));
        configure(builder).build().unwrap()
    }
}

fn quick(max_retries: u32) -> RetrySettings {
    RetrySettings {
        max_retries,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(5),
        ..RetrySettings::default()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while stream.read_line(&mut head).is_ok_and(|read| read > 2) {}
        if head.is_empty() {
            return;
        }
        let header = |name: &str| {
            head.lines()
                .find_map(|line| {
                    line.split_once(": ")
                        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
                })
                .map(|(_, value)| value.to_owned())
        };
        let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let answer = state.lock().unwrap().answer(&head, header("idempotency-key"), body);
        let Some(answer) = answer else { return };
        let whole = answer.ends_with('}');
        if stream.get_mut().write_all(answer.as_bytes()).is_err() || !whole {
            return;
        }
    }
}

impl State {
    /// The bytes of the answer, or nothing where the connection ends.
    fn answer(&mut self, head: &str, key: Option<String>, body: String) -> Option<String> {
        if head.starts_with("GET") {
            return Some(http(
                200,
                "",
                &format!(
                    r#"{{"object":"list","has_more":false,"data":[{}]}}"#,
                    self.objects.join(",")
                ),
            ));
        }
        self.mutations.push((key.clone(), body.clone()));
        let fault = self.faults.pop_front();
        match fault {
            Some(ResetBefore) => return None,
            Some(Refused(status, code, reason)) => {
                let header = format!("Stripe-Rate-Limited-Reason: {reason}\r\n");
                let header = if reason.is_empty() { "" } else { &header };
                let kind = "invalid_request_error";
                return Some(http(
                    status,
                    header,
                    &format!(r#"{{"error":{{"type":"{kind}","code":"{code}","message":"m"}}}}"#),
                ));
            }
            _ => {}
        }
        let (status, replayed, json) = self.execute(head, key, &body, matches!(fault, Some(Broken)));
        let header = if replayed { "Idempotent-Replayed: true\r\n" } else { "" };
        match fault {
            Some(ResetAfter) => None,
            Some(Half) => Some(http(status, header, &json).trim_end_matches('}').to_owned()),
            Some(Garbage) => Some(http(status, header, "<html>{}")),
            _ => Some(http(status, header, &json)),
        }
    }

    fn execute(&mut self, head: &str, key: Option<String>, body: &str, broken: bool) -> (u16, bool, String) {
        if let Some((status, json)) = key.as_ref().and_then(|key| self.kept.get(key)) {
            return (*status, true, json.clone());
        }
        if head.starts_with("DELETE") {
            self.deleted += 1;
            let missing = r#"{"error":{"type":"invalid_request_error","code":"resource_missing","message":"m"}}"#;
            return match self.deleted {
                1 => (200, false, r#"{"id":"prod_1","deleted":true}"#.to_owned()),
                _ => (404, false, missing.to_owned()),
            };
        }
        let number = self.objects.len() + 1;
        let tag = body
            .split_once("metadata[inflight_request_id]=")
            .map_or("", |(_, tag)| tag);
        let json = format!(r#"{{"id":"prod_{number}","metadata":{{"inflight_request_id":"{tag}"}}}}"#);
        self.objects.push(json.clone());
        let kept = if broken {
            (500, r#"{"error":{"type":"api_error","message":"m"}}"#.to_owned())
        } else {
            (200, json)
        };
        self.kept.extend(key.map(|key| (key, kept.clone())));
        (kept.0, false, kept.1)
    }
}

fn http(status: u16, header: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\n{header}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn create() -> Request {
    request("product.create", &[], Params::new().with("name", "Mug"))
}

fn request(name: &str, ids: &[&str], params: Params) -> Request {
    Operation::by_name(name)
        .unwrap()
        .request(ids, params, &RequestOptions::new())
        .unwrap()
}

fn outcome(registry: &Registry, request: Request) -> (RequestId, Outcome) {
    let id = registry.submit(request).unwrap();
    let outcome = registry.wait(id, Some(Duration::from_secs(30))).unwrap();
    (id, (*outcome).clone())
}

fn check_done(faults: &[Fault], max_retries: u32) {
    let server = Server::start(faults);
    let inflight = server.inflight(|builder| builder.retry(quick(max_retries)));
    let (id, outcome) = outcome(inflight.registry(), create());
    let success = outcome.unwrap_or_else(|failure| panic!("{faults:?}: {failure}"));
    assert_eq!(success.object_id.as_deref(), Some("prod_1"), "{faults:?}");
    let state = server.state.lock().unwrap();
    assert_eq!(state.objects.len(), 1, "{faults:?}: it was carried out twice");
    assert_eq!(state.mutations.len(), faults.len() + 1, "{faults:?}");
    let expected = (Some(id.to_string()), "name=Mug".to_owned());
    assert!(
        state.mutations.iter().all(|sent| *sent == expected),
        "{:?}",
        state.mutations
    );
}

fn failure(faults: &[Fault], effect: Effect) -> Failure {
    let server = Server::start(faults);
    let inflight = server.inflight(|builder| builder);
    let failure = outcome(inflight.registry(), create()).1.unwrap_err();
    assert_eq!(
        (failure.effect, failure.needs_reconcile),
        (effect, effect == Effect::Unknown),
        "{faults:?}: {failure}"
    );
    assert!(server.state.lock().unwrap().objects.len() <= 1, "{faults:?}");
    failure
}

#[test]
fn whatever_goes_wrong_it_is_carried_out_once() {
    for faults in [
        &[][..],
        &[ResetBefore],
        &[ResetAfter],
        &[Half],
        &[Garbage],
        &[LOCK],
        &[IN_USE],
        &[RATE],
        &[ResetAfter, IN_USE],
        &[Garbage, LOCK],
        &[Half, RATE, RATE, IN_USE],
        &[ResetBefore, Refused(503, "", "")],
        &[RATE; 12],
    ] {
        check_done(faults, 2);
    }
    // What is turned away for the rate limit is no attempt.
    check_done(&[RATE; 3], 0);
}

#[test]
fn what_is_not_known_is_not_guessed() {
    // A refusal of a repetition says nothing about the first attempt.
    for faults in [
        &[ResetAfter, NO_KEY][..],
        &[ResetBefore, NO_KEY],
        &[Half, LOCK, LOCK],
        &[Garbage, IN_USE, IN_USE],
        &[ResetAfter, ResetAfter, Half],
        // Stripe repeats its own 500, and says itself that nobody knows.
        &[Broken],
    ] {
        failure(faults, Effect::Unknown);
    }
    for faults in [&[NO_KEY][..], &[LOCK, LOCK, LOCK]] {
        failure(faults, Effect::None);
    }
}

#[test]
fn a_kept_500_is_not_asked_for_a_third_time() {
    let server = Server::start(&[Broken]);
    let inflight = server.inflight(|builder| builder.retry(quick(9)));
    let failure = outcome(inflight.registry(), create()).1.unwrap_err();
    assert_eq!((failure.status(), failure.effect), (Some(500), Effect::Unknown));
    assert_eq!(server.state.lock().unwrap().mutations.len(), 2);
}

#[test]
fn rate_limiting_without_end_ends_with_the_deadline() {
    let server = Server::start(&[RATE; 100_000]);
    let inflight = server.inflight(|builder| builder.request_deadline(Duration::from_millis(50)));
    let (id, outcome) = outcome(inflight.registry(), create());
    assert_eq!(outcome.unwrap_err().effect, Effect::None);
    assert_eq!(inflight.registry().status(id), Some(RequestStatus::Timeout));
    assert!(server.state.lock().unwrap().objects.is_empty());
}

#[test]
fn deleting_twice_does_not_say_who_deleted() {
    let server = Server::start(&[ResetAfter]);
    let inflight = server.inflight(|builder| builder);
    let (_, outcome) = outcome(
        inflight.registry(),
        request("product.delete", &["prod_1"], Params::new()),
    );
    let failure = outcome.unwrap_err();
    assert_eq!((failure.status(), failure.effect), (Some(404), Effect::Unknown));
    let state = server.state.lock().unwrap();
    assert_eq!(
        state.mutations,
        [(None, String::new()), (None, String::new())],
        "a DELETE of v1 has no key"
    );
}

#[test]
fn what_is_in_doubt_is_looked_up_and_settled() {
    for (faults, if_absent, settled, status) in [
        (
            &[ResetAfter; 4][..],
            IfAbsent::LeaveUnknown,
            Settled::Done,
            RequestStatus::Completed,
        ),
        (
            &[ResetBefore; 4],
            IfAbsent::LeaveUnknown,
            Settled::Unknown,
            RequestStatus::Failed,
        ),
        (
            &[ResetBefore; 4],
            IfAbsent::SettleAsNone,
            Settled::NotDone,
            RequestStatus::Failed,
        ),
    ] {
        let server = Server::start(faults);
        let inflight = server.inflight(|builder| builder.tag_requests(true));
        let session: Session = inflight.session();
        let other = session.submit(create()).unwrap();
        let _ = block_on(session.wait_async(other).unwrap());
        assert_eq!(
            session.result(other).unwrap().as_ref().as_ref().unwrap_err().effect,
            Effect::Unknown
        );
        let found = block_on(reconcile(&session, other, None, if_absent)).unwrap();
        assert_eq!((found, session.status(other)), (settled, Some(status)));
    }
}

#[test]
fn a_script_says_how_often_and_how_long() {
    let server = Server::start(&[LOCK, LOCK, LOCK]);
    let inflight = server.inflight(|builder| builder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let script = r#"
        let failed = 0;
        try { stripe::product::create(#{ name: "A" }, #{ max_retries: 0 }); } catch (e) { failed += 1; }
        new_product().name("B").max_retries(5).deadline(20).create();
        try { stripe::product::create(#{ name: "A" }, #{ max_retries: -1 }); } catch (e) { print(e.message); failed += 10; }
        failed
    "#;
    let report = runtime.block_on(inflight.run(script, inflight::ScriptOptions::default()));
    assert_eq!(report.result.unwrap(), 11);
    assert_eq!(server.state.lock().unwrap().objects.len(), 1);
}

#[test]
fn a_script_is_told_of_a_key_that_is_used_twice() {
    let server = Server::start(&[]);
    let inflight = server.inflight(|builder| builder);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let script = r#"
        let first = new_product().name("A").idempotency_key("order-7").create_async();
        let told = "accepted";
        try { new_product().name("B").idempotency_key("order-7").create_async(); } catch (e) { told = `${e.kind} ${e.effect}`; }
        told
    "#;
    let report = runtime.block_on(inflight.run(script, inflight::ScriptOptions::default()));
    assert_eq!(report.result.unwrap(), "idempotency_error none");
}
