//! The same calls by Stripe's Python SDK, Stripe's Node SDK and us, compared byte for byte at a recording server.
//!
//! The calls are a table, `sdk/calls.json`, from which all three clients work. Every difference has a reason in [`EXPLAINED`] and in
//! `docs/sdk-differences.md`; one without a reason fails, and so does a reason that no difference needs any more.
//!
//! Where an SDK is not installed, its test says that it was skipped, and passes. To have them:
//!
//! ```text
//! pip install stripe==16.1.0
//! npm install stripe@23.1.0
//! ```
//!
//! `INFLIGHT_TEST_PYTHON` names another Python than `python3`; `INFLIGHT_TEST_NODE_MODULES` the `node_modules` folder.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use inflight::stripe::webhook::{Webhook, WebhookSecret};
use serde_json::Value;

const KEY: &str = "sk_test_comparison1234";
const ANSWER: &str = r#"{"id":"x_1","object":"product","data":[],"has_more":false,"url":"/v1/x"}"#;
const HEADERS: [&str; 5] = [
    "authorization",
    "content-type",
    "stripe-account",
    "idempotency-key",
    "stripe-version",
];

/// Differences that are meant: the SDK, what differs, the kind of difference. The reasons are in `docs/sdk-differences.md`.
const EXPLAINED: [(&str, &str, &str); 14] = [
    ("node", "body", "brackets are not escaped"),
    ("node", "body", "maps go by name"),
    ("node", "body", "nothing is left out, not cleared"),
    ("node", "content-type", "only they send it"),
    ("node", "query", "brackets are not escaped"),
    ("node", "stripe-version", "the version is the product's"),
    ("python", "body", "JSON has no blanks"),
    ("python", "body", "a space is %20"),
    ("python", "body", "brackets are not escaped"),
    ("python", "body", "maps go by name"),
    ("python", "path", "a space is %20"),
    ("python", "query", "a space is %20"),
    ("python", "query", "brackets are not escaped"),
    ("python", "stripe-version", "the version is the product's"),
];

/// A request as it came.
#[derive(Debug, Default)]
struct Recorded {
    method: String,
    path: String,
    query: String,
    body: String,
    headers: BTreeMap<String, String>,
}

/// Records whatever is sent to it, and answers everything with the same object.
fn record() -> (String, Receiver<Recorded>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, records) = channel();
    thread::spawn(move || {
        for connection in listener.incoming().map_while(Result::ok) {
            let sender = sender.clone();
            thread::spawn(move || serve(connection, &sender));
        }
    });
    (url, records)
}

fn serve(mut connection: TcpStream, sender: &Sender<Recorded>) -> Option<()> {
    let mut reader = BufReader::new(connection.try_clone().ok()?);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|bytes| *bytes > 0)?;
        let mut words = line.split_whitespace();
        let mut recorded = Recorded {
            method: words.next()?.to_owned(),
            ..Recorded::default()
        };
        let target = words.next()?;
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        (recorded.path, recorded.query) = (path.to_owned(), query.to_owned());
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let Some((name, value)) = header.trim_end().split_once(':') else {
                break;
            };
            recorded
                .headers
                .insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        let length = recorded
            .headers
            .get("content-length")
            .map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        recorded.body = String::from_utf8(body).unwrap();
        sender.send(recorded).ok()?;
        let length = ANSWER.len();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        connection.write_all(format!("{head}{ANSWER}").as_bytes()).ok()?;
    }
}

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk").join(name)
}

fn calls() -> Vec<Value> {
    serde_json::from_str(&std::fs::read_to_string(file("calls.json")).unwrap()).unwrap()
}

/// The value as Rhai has it. `null` is `()`.
fn literal(value: &Value) -> String {
    match value {
        Value::Null => "()".into(),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let fields = map
                .iter()
                .map(|(name, value)| format!("{}: {}", Value::from(name.as_str()), literal(value)));
            format!("#{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}

/// The table as a script.
fn script() -> String {
    let mut script = String::new();
    for call in calls() {
        let text = |name: &str| call[name].as_str().unwrap();
        let ids = call["ids"].as_array().unwrap();
        let arguments: Vec<String> = ids
            .iter()
            .chain([&call["params"], &call["options"]])
            .map(literal)
            .collect();
        let function = format!("stripe::{}::{}", text("resource").replace('.', "::"), text("method"));
        writeln!(script, "{function}({});", arguments.join(", ")).unwrap();
    }
    script
}

fn ours() -> Vec<Recorded> {
    let folder = env::temp_dir().join(format!(
        "inflight-sdk-{}-{:?}",
        std::process::id(),
        thread::current().id()
    ));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("calls.rhai");
    std::fs::write(&path, script()).unwrap();
    let (url, records) = record();
    let mut command = Command::new(env!("CARGO_BIN_EXE_inflight"));
    command
        .args(["run", "--quiet", "--base-url", &url])
        .arg(&path)
        .env("STRIPE_API_KEY", KEY);
    let output = command.output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    records.try_iter().collect()
}

/// What the SDK sent, and the header that it signs a delivery with; `None` where it is not installed.
fn sdk(name: &str, mut command: Command) -> Option<(Vec<Recorded>, String)> {
    let (url, records) = record();
    let run = command.arg(file("calls.json")).args([&url, KEY]).output();
    let Ok(Output { status, stdout, stderr }) = run else {
        eprintln!("skipped: {name} is not installed");
        return None;
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{name}: {stderr}");
    if stdout.trim() == "absent" {
        eprintln!("skipped: Stripe's SDK for {name} is not installed");
        return None;
    }
    assert_eq!(stderr, "", "{name}");
    Some((records.try_iter().collect(), stdout.trim().to_owned()))
}

type Rewrite = fn(&str) -> String;

/// Rewritings that make one kind of difference vanish, by its name.
const KINDS: [(&str, Rewrite); 4] = [
    ("a space is %20", |text| text.replace('+', "%20")),
    ("brackets are not escaped", |text| {
        text.replace("%5B", "[").replace("%5D", "]")
    }),
    ("JSON has no blanks", |text| {
        let json = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
        json.map_or_else(|| text.to_owned(), |json| json.to_string())
    }),
    ("maps go by name", |text| {
        let mut pairs: Vec<&str> = text.split('&').collect();
        pairs.sort_unstable();
        pairs.join("&")
    }),
];

/// The kinds of difference between two texts; `None` where that does not explain it.
fn kinds(ours: &str, theirs: &str) -> Option<BTreeSet<&'static str>> {
    let all = |except: Option<&str>, text: &str| {
        let kinds = KINDS.iter().filter(|(name, _)| Some(*name) != except);
        kinds.fold(text.to_owned(), |text, (_, rewrite)| rewrite(&text))
    };
    if all(None, ours) != all(None, theirs) {
        return None;
    }
    let needed = KINDS.iter().map(|(name, _)| *name);
    Some(
        needed
            .filter(|name| all(Some(name), ours) != all(Some(name), theirs))
            .collect(),
    )
}

fn compare(name: &'static str, theirs: &[Recorded]) {
    let (calls, ours) = (calls(), ours());
    assert!(calls.len() >= 60);
    assert_eq!((ours.len(), theirs.len()), (calls.len(), calls.len()));
    let (mut seen, mut unexplained) = (BTreeSet::new(), String::new());
    for ((call, ours), theirs) in calls.iter().zip(&ours).zip(theirs) {
        let mut differ = |what: &'static str, ours: &str, theirs: &str| {
            if ours == theirs {
                return;
            }
            let found = kinds(ours, theirs).unwrap_or_else(|| [other(what, ours, theirs, call)].into());
            for kind in found {
                // One example of each is enough.
                if seen.insert((what, kind)) && !EXPLAINED.contains(&(name, what, kind)) {
                    writeln!(
                        unexplained,
                        "{what}, {kind}: {call}\n  ours   {ours}\n  theirs {theirs}"
                    )
                    .unwrap();
                }
            }
        };
        differ("method", &ours.method, &theirs.method);
        differ("path", &ours.path, &theirs.path);
        differ("query", &ours.query, &theirs.query);
        differ("body", &ours.body, &theirs.body);
        for header in HEADERS {
            let of = |recorded: &Recorded| recorded.headers.get(header).cloned().unwrap_or_default();
            let (mut ours, mut theirs) = (of(ours), of(theirs));
            // Keys that nobody has given are random: both have one or none has.
            if header == "idempotency-key" && call["options"].get("idempotency_key").is_none() {
                for key in [&mut ours, &mut theirs] {
                    *key = if key.is_empty() {
                        String::new()
                    } else {
                        "generated".into()
                    };
                }
            }
            differ(header, &ours, &theirs);
        }
    }
    assert!(
        unexplained.is_empty(),
        "{name} differs without a reason:\n{unexplained}"
    );
    for (sdk, what, kind) in EXPLAINED.iter().filter(|(sdk, ..)| *sdk == name) {
        assert!(
            seen.contains(&(what, kind)),
            "{sdk} no longer differs in {what}: {kind}"
        );
    }
}

/// A difference that is not one of spelling.
fn other(what: &str, ours: &str, theirs: &str, call: &Value) -> &'static str {
    let nulls = call["params"].as_object().unwrap().values().any(Value::is_null);
    match what {
        "stripe-version" => "the version is the product's",
        "body" if nulls => "nothing is left out, not cleared",
        _ if ours.is_empty() => "only they send it",
        _ if theirs.is_empty() => "only we send it",
        _ => "another value",
    }
}

/// A delivery that the SDK signed is one that we take, and we sign as it does.
fn same_signature(header: &str) {
    let payload = br#"{"id":"evt_1","object":"event","type":"a.b"}"#;
    let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let webhook = Webhook::new(WebhookSecret::new("whsec_sdk").unwrap());
    assert_eq!(webhook.verify(payload, header, at), Ok(()));
    assert_eq!(webhook.sign(payload, at), header);
}

#[test]
fn the_python_sdk_sends_the_same() {
    let python = env::var("INFLIGHT_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let mut command = Command::new(python);
    command.arg(file("client.py"));
    if let Some((theirs, header)) = sdk("python", command) {
        compare("python", &theirs);
        same_signature(&header);
    }
}

#[test]
fn the_node_sdk_sends_the_same() {
    let mut command = Command::new("node");
    command.arg(file("client.js"));
    if let Ok(folder) = env::var("INFLIGHT_TEST_NODE_MODULES") {
        command.env("NODE_PATH", folder);
    }
    if let Some((theirs, header)) = sdk("node", command) {
        compare("node", &theirs);
        same_signature(&header);
    }
}
