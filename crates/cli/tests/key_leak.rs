//! The API key and the webhook secret appear nowhere: every way to fail is gone with marked ones, and everything that comes out is
//! searched for the mark.

mod support;

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inflight::sim::{Fault, Faults, Rule, Simulator};
use inflight::stripe::RetrySettings;
use inflight::stripe::webhook::{Webhook, WebhookSecret};
use inflight::stripe_rhai::ApiKey;
use inflight::{Inflight, ScriptOptions};
use support::*;

const KEY: &str = "sk_test_LEAKMARK0123456789";
const WEBHOOK_SECRET: &str = "whsec_LEAKMARK0123456789";
const MARK: &str = "LEAKMARK";

/// What scripts do with the key, none of which may show it.
const SCRIPTS: [&str; 35] = [
    "print(STRIPE_API_KEY); debug(STRIPE_API_KEY); print([STRIPE_API_KEY, #{ k: STRIPE_API_KEY }])",
    "print(`a${STRIPE_API_KEY}b` + STRIPE_API_KEY + 'c')",
    "print(STRIPE_API_KEY.to_string()); print(STRIPE_API_KEY.to_debug())",
    "STRIPE_API_KEY",
    "#{ k: STRIPE_API_KEY, l: [STRIPE_API_KEY] }",
    "print(#{ k: STRIPE_API_KEY }.to_json())",
    "throw STRIPE_API_KEY",
    "throw #{ message: STRIPE_API_KEY, deep: [#{ k: STRIPE_API_KEY }] }",
    "let m = #{ k: STRIPE_API_KEY }; for i in 0..100 { m = #{ m: m } } throw m",
    "let m = #{ k: STRIPE_API_KEY }; for i in 0..500 { m = [m] } throw m",
    "STRIPE_API_KEY.len()",
    "STRIPE_API_KEY[0]",
    "STRIPE_API_KEY.secret",
    "for c in STRIPE_API_KEY { print(c) }",
    "print(parse_int(STRIPE_API_KEY))",
    "print(STRIPE_API_KEY == `x`); switch STRIPE_API_KEY { 1 => 2, _ => throw `no` }",
    "fn f(k) { f(k) } f(STRIPE_API_KEY)",
    "explode(STRIPE_API_KEY)",
    "start(|| throw STRIPE_API_KEY); 1",
    "start(|| explode(STRIPE_API_KEY)); 1",
    "print(STRIPE_WEBHOOK_SECRET); debug(STRIPE_WEBHOOK_SECRET); throw `${STRIPE_WEBHOOK_SECRET}`",
    "throw #{ s: STRIPE_WEBHOOK_SECRET }",
    "stripe::webhook::construct_event(`{}`, `t=1,v1=00`, STRIPE_WEBHOOK_SECRET)",
    "stripe::webhook::construct_event(STRIPE_WEBHOOK_SECRET, STRIPE_API_KEY, STRIPE_WEBHOOK_SECRET)",
    "print(stripe::webhook::sign(`{}`, STRIPE_WEBHOOK_SECRET))",
    "configure_stripe(`sk_test_LEAK` + `MARK é`)",
    "configure_stripe(`sk_live_LEAK` + `MARK0123456789`)",
    "configure_stripe(#{ api_key: STRIPE_API_KEY, base_url: `http://127.0.0.1:1` })",
    "configure_stripe(#{ api_key: [STRIPE_API_KEY] })",
    "let p = new_product(); print(p); debug(p); p.nmae(STRIPE_API_KEY)",
    "new_product().name(STRIPE_API_KEY).create()",
    "stripe::product::create(#{ name: STRIPE_API_KEY, metadata: #{ k: STRIPE_API_KEY } })",
    "stripe::product::create(#{ name: `x`, nmae: STRIPE_API_KEY })",
    "stripe::product::create(#{ name: `x` }, #{ idempotency_key: `a\\nb` })",
    "stripe::product::create(#{ name: `x` }, #{ stripe_account: STRIPE_API_KEY })",
];

/// Scripts whose requests are sent, so that servers can fail them.
const REQUESTS: [&str; 4] = [
    "new_product().name(`Mug`).create()",
    "try { new_product().name(`Mug`).create() } catch (e) { print(e); debug(e); print(`${e}`); throw e }",
    "new_product().name(`Mug`).create_async(); stripe::price::create_async(#{ currency: `usd`, unit_amount: 5 }); 1",
    "let id = new_product().name(`Mug`).create_async(); await_settled([id], 60); print(get_result(id))",
];

/// All that came out.
#[derive(Clone, Default)]
struct Texts(Arc<Mutex<String>>);

impl Texts {
    fn add(&self, text: &str) {
        let mut texts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = writeln!(texts, "{text}");
    }

    fn all(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The line with the mark, rather than everything that was collected.
    fn assert_unmarked(&self) {
        let all = self.all();
        assert!(!all.is_empty());
        let found: Vec<&str> = all.lines().filter(|line| line.contains(MARK)).collect();
        assert!(found.is_empty(), "{found:#?}");
    }
}

fn chain(mut error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    while let Some(cause) = error.source() {
        text += &format!(" {cause} {cause:?}");
        error = cause;
    }
    text
}

/// A server that gives the same bytes to every request; it also gives back what was sent to it.
fn answering(answer: &'static str) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let received = Arc::new(Mutex::new(String::new()));
    let heard = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while stream.read_line(&mut head).is_ok_and(|read| read > 2) {}
            heard.lock().expect("no one panics with it").push_str(&head);
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    (url, received)
}

fn refused_url(scheme: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    format!("{scheme}://{}", listener.local_addr().expect("it is bound"))
}

fn assemble(url: &str, max_retries: u32) -> Inflight {
    let retry = RetrySettings {
        max_retries,
        first_pause: Duration::from_millis(1),
        longest_pause: Duration::from_millis(2),
        ..RetrySettings::default()
    };
    let builder = Inflight::builder()
        .base_url(url)
        .api_key(ApiKey::new(KEY).expect("a key"))
        .webhook_secret(WebhookSecret::new(WEBHOOK_SECRET).expect("a secret"))
        .attempt_timeout(Duration::from_millis(200))
        .request_deadline(Duration::from_secs(2))
        .retry(retry)
        .engine(|engine| {
            engine.register_fn("explode", |key: ApiKey| -> () { panic!("{key} {key:?}") });
        });
    assert!(!format!("{builder:?}").contains(MARK));
    builder.build().expect("an assembly")
}

/// Runs the scripts there, and keeps everything that they and the assembly say.
fn collect(texts: &Texts, inflight: &Inflight, scripts: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    for script in scripts {
        let printed = texts.clone();
        let options = ScriptOptions {
            time_limit: Some(Duration::from_secs(20)),
            output: Some(Arc::new(move |line: &str| printed.add(line))),
            ..ScriptOptions::default()
        };
        texts.add(&format!("{options:?}"));
        let report = runtime.block_on(inflight.run(script, options));
        texts.add(&format!("{report:?} {report:#?}"));
        if let Err(error) = &report.result {
            texts.add(&chain(error));
        }
    }
    let host = inflight.host();
    texts.add(&format!(
        "{inflight:?} {:?} {host:?} {:?} {:?} {:?} {:?} {:?}",
        inflight.registry(),
        host.options(),
        host.credentials(),
        host.initial(),
        inflight.session(),
        inflight.shutdown(Duration::from_millis(100)),
    ));
}

/// Every kind of fault, each often.
fn every_fault() -> Faults {
    let kinds = [
        Fault::RateLimited(None),
        Fault::LockTimeout,
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::HalfBody,
        Fault::Hang,
        Fault::ShortLength,
        Fault::LongLength,
        Fault::InvalidJson,
        Fault::Gzip,
    ];
    let rules = kinds.into_iter().enumerate();
    rules.fold(Faults::new(), |faults, (index, fault)| {
        faults.rule(Rule::new(fault).every(index as u64 + 2))
    })
}

#[test]
fn no_text_of_the_library_holds_a_secret() {
    let texts = Texts::default();
    let panics = texts.clone();
    std::panic::set_hook(Box::new(move |panic| panics.add(&panic.to_string())));

    let simulator = Simulator::builder().seed(1).start().expect("a simulator");
    let inflight = assemble(&simulator.url(), 1);
    // What is compared with: the scripts do use the key.
    let works =
        "let id = new_product().name(`Mug`).create(); print(id); new_product().name(`${STRIPE_API_KEY}`).create()";
    collect(&texts, &inflight, &[&[works], &SCRIPTS[..]].concat());
    assert!(texts.all().contains("prod_"), "{}", texts.all());
    assert!(texts.all().contains("panicked"), "{}", texts.all());
    // A script must know which key it has: its text shows how it ends.
    assert!(texts.all().contains("6789"), "{}", texts.all());

    simulator.set_faults(every_fault());
    let inflight = assemble(&simulator.url(), 1);
    for _ in 0..5 {
        collect(&texts, &assemble(&simulator.url(), 1), &REQUESTS);
    }
    collect(&texts, &inflight, &REQUESTS);
    assert!(simulator.injected().len() > 8, "{:?}", simulator.injected());

    let echoed = "HTTP/1.1 401 X\r\nConnection: close\r\n\r\n\
        {\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Invalid API Key provided: sk_test_LEAKMARK0123456789\"}}";
    for answer in [
        "HTTP/1.1 401 X\r\nConnection: close\r\n\r\n{\"error\":{\"message\":\"no\"}}",
        echoed,
        "sk_test_LEAKMARK0123456789\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsk_test_LEAKMARK0123456789",
        "HTTP/1.1 503 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 301 X\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "",
    ] {
        let (url, received) = answering(answer);
        collect(&texts, &assemble(&url, 1), &REQUESTS);
        let received = received.lock().expect("no one panics with it");
        assert!(received.contains(MARK), "the key was sent to {url}");
    }
    for url in [
        refused_url("http"),
        refused_url("https"),
        answering("no TLS").0.replace("http", "https"),
    ] {
        collect(&texts, &assemble(&url, 0), &REQUESTS);
    }
    for url in [
        "",
        "nonsense",
        "ftp://x",
        "http://sk_test_LEAKMARK@127.0.0.1",
        "http://[",
    ] {
        let built = Inflight::builder()
            .base_url(url)
            .api_key(ApiKey::new(KEY).expect("a key"));
        match built.build() {
            Ok(inflight) => collect(&texts, &inflight, &REQUESTS[..1]),
            Err(error) => texts.add(&chain(&error)),
        }
    }
    for text in [
        "",
        "pk_test_LEAKMARK",
        "LEAKMARK",
        "sk_test_LEAKMARK\n",
        "sk_test_LEAKMARKé",
    ] {
        texts.add(&chain(&ApiKey::new(text).expect_err("no key")));
    }
    let webhook = Webhook::new(WebhookSecret::new(WEBHOOK_SECRET).expect("a secret"));
    texts.add(&format!("{webhook:?} {:?}", simulator));
    for header in ["", "t=1", "t=1,v1=LEAK", "t=x,v1=00", WEBHOOK_SECRET] {
        let error = webhook
            .verify(b"{}", header, std::time::SystemTime::now())
            .expect_err("a forgery");
        texts.add(&chain(&error));
    }
    let _ = std::panic::take_hook();
    texts.assert_unmarked();
}

/// Runs the program with the marked key and keeps what it says.
fn program(texts: &Texts, arguments: &[&str], key: &str) {
    let output = inflight().args(arguments).env("STRIPE_API_KEY", key).output();
    let output = output.expect("the program starts");
    texts.add(&format!("{arguments:?} {:?}", output.status.code()));
    texts.add(&stdout(&output));
    texts.add(&stderr(&output));
}

#[test]
fn nothing_that_the_program_writes_holds_the_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let faults = r#"{ "rules": [ { "fault": "rate_limited", "every": 2 }, { "fault": "error_after", "every": 3 },
        { "fault": "reset_after", "every": 4 }, { "fault": "hang", "every": 5 }, { "fault": "half_body", "every": 3 } ] }"#;
    fs::write(file("faults.json"), faults).expect("the faults are written");
    let scripts: Vec<(String, &str)> = SCRIPTS
        .iter()
        .chain(&REQUESTS)
        .enumerate()
        .map(|(number, text)| (file(&format!("{number}.rhai")), *text))
        .filter(|(_, text)| !text.contains("explode") && !text.contains("WEBHOOK"))
        .collect();
    for (path, text) in &scripts {
        fs::write(path, text).expect("the script is written");
    }
    let paths: Vec<&str> = scripts.iter().map(|(path, _)| path.as_str()).collect();

    let texts = Texts::default();
    let mut simulator = Command::new(env!("CARGO_BIN_EXE_inflight"));
    simulator.args(["sim", "--listen", "127.0.0.1:0", "--log", "--seed", "1"]);
    simulator.args(["--state", &file("state.json"), "--faults", &file("faults.json")]);
    let log = fs::File::create(file("log")).expect("a file");
    let mut served = simulator
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    let mut said = BufReader::new(served.stdout.take().expect("its output"));
    said.read_line(&mut line).expect("its address");
    let url = line
        .trim()
        .strip_prefix("Stripe simulator at ")
        .expect("its address")
        .to_owned();

    let quick = [
        "--attempt-timeout",
        "200ms",
        "--deadline",
        "3s",
        "--retries",
        "1",
        "--timeout",
        "20s",
    ];
    texts.add(&line);
    let (json, report) = (file("out.json"), file("report.html"));
    program(
        &texts,
        &[
            &["run", "--base-url", &url, "--json", &json, "--report", &report],
            &quick[..],
            &paths,
        ]
        .concat(),
        KEY,
    );
    texts.add(&fs::read_to_string(&json).expect("the JSON is there"));
    texts.add(&fs::read_to_string(&report).expect("the page is there"));
    program(
        &texts,
        &[&["run", "--base-url", &url, "--json", "-"], &quick[..], &paths].concat(),
        KEY,
    );
    program(
        &texts,
        &[&["run", "--base-url", &refused_url("https")], &quick[..], &paths].concat(),
        KEY,
    );
    program(
        &texts,
        &[&["run", "--base-url", &answering("").0], &quick[..], &paths].concat(),
        KEY,
    );
    program(&texts, &[&["run"], &quick[..], &paths].concat(), KEY);
    program(&texts, &[&["check"], &paths[..]].concat(), KEY);
    // None of these comes as far as sending anything.
    program(&texts, &["run", "--live", "none.rhai"], KEY);
    for bad in [
        "pk_live_LEAKMARK",
        "LEAKMARK",
        "sk_test_LEAKMARK x",
        "sk_test_LEAKMARK\n",
    ] {
        program(&texts, &["run", "--live", paths[0]], bad);
        program(&texts, &["run", "--base-url", &url, paths[0]], bad);
    }
    program(
        &texts,
        &["run", "--base-url", &url, paths[0]],
        "sk_live_LEAKMARK0123456789",
    );
    program(
        &texts,
        &["run", "--base-url", "http://sk_test_LEAKMARK@127.0.0.1", paths[0]],
        KEY,
    );
    program(&texts, &["api", "product"], KEY);
    program(&texts, &["config"], KEY);
    program(&texts, &["config", "run", "--dashboard", "127.0.0.1:0"], KEY);

    let stopped = Command::new("kill").args(["-TERM", &served.id().to_string()]).status();
    assert!(stopped.expect("kill starts").success());
    ended(&mut served);
    let log = fs::read_to_string(file("log")).expect("the log is there");
    assert!(log.contains("product.create"), "{log}");
    texts.add(&log);
    texts.add(&fs::read_to_string(file("state.json")).expect("the state is there"));
    assert!(
        texts.all().contains("6789"),
        "scripts print the key's text: {}",
        texts.all()
    );
    // What a test names on its own command line is not the program's to hide.
    let all = texts.all().replace("\"http://sk_test_LEAKMARK@127.0.0.1\"", "");
    let told = Texts::default();
    told.add(&all);
    told.assert_unmarked();
}
