//! Scripts against two servers that others wrote from Stripe's documentation: `localstripe` (PyPI) and `stripe-stateful-mock`
//! (npm). They agree with Stripe's API where our own simulator could share a mistake with our own client.
//!
//! Where one is not installed, its tests say that they were skipped, and pass. To have them:
//!
//! ```text
//! pip install localstripe==1.15.10
//! npm install stripe-stateful-mock@0.0.16
//! ```
//!
//! `INFLIGHT_TEST_PYTHON` names another Python than `python3`; `INFLIGHT_TEST_NODE_MODULES` the `node_modules` folder. Each
//! server runs as a process of its own that listens on 127.0.0.1 and keeps its data in memory.

use std::env;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// How long a server may take to start: Python reads many files the first time.
const START_LIMIT: Duration = Duration::from_secs(60);

/// What a launcher prints instead of its port where there is no such server.
const ABSENT: &str = "absent";

/// Serves `localstripe`'s application, which is listening before its port is printed. Its own command listens on every
/// interface, and writes its data to a file.
const LOCALSTRIPE: &str = r#"
import socket
try:
    from aiohttp import web
    from localstripe.resources import Store
    from localstripe.server import app
except ImportError:
    print("absent", flush=True)
else:
    Store.dump_to_disk = lambda self: None
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    web.run_app(app, sock=listener, print=None, access_log=None)
"#;

/// Serves `stripe-stateful-mock`'s application. Its own command listens on every interface.
const STATEFUL_MOCK: &str = r#"
let server;
try {
    server = require("stripe-stateful-mock");
} catch (error) {
    if (error.code !== "MODULE_NOT_FOUND") throw error;
    console.log("absent");
}
if (server) {
    const listener = server.createExpressApp().listen(0, "127.0.0.1", () => console.log(listener.address().port));
}
"#;

/// The first pattern as the design has it: a price that names no product is refused, and nobody looks.
const FIRE_AND_FORGET: &str = r#"
configure_stripe(STRIPE_API_KEY);
let product_req = new_product().name("Product 1").create_async();
let price_req = new_price().amount(1000).create_async();
let coupon_req = new_coupon().percent_off(25).create_async();
print("All requests started");
let work = 0;
for i in 1..100 { work += i; }
if is_complete(product_req) {
    print(`Product created: ${get_result(product_req)}`);
}
await_result(product_req, 30)
"#;

/// A server in a process of its own, stopped at the end.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn localstripe() -> Option<Self> {
        let python = env::var("INFLIGHT_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
        let mut command = Command::new(python);
        command.args(["-c", LOCALSTRIPE]);
        Self::start("localstripe", command)
    }

    fn stateful_mock() -> Option<Self> {
        let mut command = Command::new("node");
        command.args(["-e", STATEFUL_MOCK]);
        if let Ok(folder) = env::var("INFLIGHT_TEST_NODE_MODULES") {
            command.env("NODE_PATH", folder);
        }
        Self::start("stripe-stateful-mock", command)
    }

    /// Waits until the launcher has told its port. `None` where there is no such server.
    fn start(name: &str, mut command: Command) -> Option<Self> {
        let skip = || {
            eprintln!("skipped: {name} is not installed");
            None
        };
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
        let Ok(mut process) = spawned else { return skip() };
        let stdout = process.stdout.take().expect("standard output is piped");
        let mut server = Self {
            process,
            url: String::new(),
        };
        let (sender, first_line) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let _ = sender.send(lines.next());
            // Read on to the end, so that the server never writes to a pipe that nobody reads.
            lines.for_each(drop);
        });
        let line = first_line.recv_timeout(START_LIMIT);
        match line.unwrap_or_else(|_| panic!("{name} has not started within {START_LIMIT:?}")) {
            Some(line) if line == ABSENT => skip(),
            Some(port) => {
                let port: u16 = port
                    .parse()
                    .unwrap_or_else(|_| panic!("{name} printed {port:?}, not its port"));
                server.url = format!("http://127.0.0.1:{port}");
                Some(server)
            }
            None => panic!("{name} ended before it served anything"),
        }
    }

    fn run(&self, scripts: &[PathBuf]) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_inflight"))
            .args(["run", "--base-url", &self.url, "--json", "-"])
            .args(scripts)
            // Whatever key the developer has, it is not for this.
            .env_remove("STRIPE_API_KEY")
            .output()
            .expect("the program starts");
        Run::new(&output)
    }

    /// Runs a script of these lines.
    fn run_text(&self, text: &str) -> Run {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("script.rhai");
        std::fs::write(&path, text).expect("the script is written");
        self.run(&[path])
    }

    /// The value of a script that ends well and leaves no warning.
    fn value(&self, text: &str) -> Value {
        let run = self.run_text(text);
        assert_eq!(run.status, Some(0), "{run:?}");
        assert_eq!(run.warnings(0), Vec::<&str>::new(), "{run:?}");
        run.report["results"][0]["value"].clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a run of the program gave.
#[derive(Debug)]
struct Run {
    status: Option<i32>,
    report: Value,
    /// The scripts' output, with progress and the table.
    shown: String,
}

impl Run {
    fn new(output: &Output) -> Self {
        let shown = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("standard output is no JSON: {error}\n{shown}"));
        Self {
            status: output.status.code(),
            report,
            shown,
        }
    }

    fn warnings(&self, script: usize) -> Vec<&str> {
        let warnings = self.report["results"][script]["warnings"].as_array();
        warnings
            .expect("a result has warnings")
            .iter()
            .filter_map(Value::as_str)
            .collect()
    }

    /// How many lines of the scripts' output hold this text.
    fn lines_with(&self, text: &str) -> usize {
        self.shown.lines().filter(|line| line.contains(text)).count()
    }
}

fn example(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scripts");
    folder.join(name)
}

/// The four patterns end well on both servers: what a server does not know shows as a warning.
fn four_patterns(server: &Server) {
    let run = server.run(&[
        example("01_fire_and_forget.rhai"),
        example("02_polling.rhai"),
        example("03_await.rhai"),
        example("04_concurrent.rhai"),
    ]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(run.report["scripts"]["ok"], 4);
    assert_eq!(run.report["requests"]["submitted"], 9);
    assert_eq!(run.report["requests"]["completed"], 8);
    // Neither server makes a coupon without an id.
    let warnings = run.warnings(0);
    assert_eq!(warnings.len(), 1, "{run:?}");
    assert!(
        warnings[0].starts_with("coupon.create failed and nobody looked"),
        "{run:?}"
    );
    for script in 1..4 {
        assert_eq!(run.warnings(script), Vec::<&str>::new(), "{run:?}");
    }
    assert_eq!(run.lines_with("02_polling.rhai | The product is prod_"), 1, "{run:?}");
    assert_eq!(run.lines_with("03_await.rhai | The customer is cus_"), 1, "{run:?}");
    assert_eq!(run.lines_with(": prod_"), 4, "{run:?}");
}

/// Script 1 of the design: its product is created; its price and its coupon are refused, and nobody looked.
fn fire_and_forget(server: &Server) {
    let run = server.run_text(FIRE_AND_FORGET);
    assert_eq!(run.status, Some(0), "{run:?}");
    let product = run.report["results"][0]["value"].as_str();
    assert!(product.is_some_and(|id| id.starts_with("prod_")), "{run:?}");
    let mut warnings = run.warnings(0);
    warnings.sort_unstable();
    assert_eq!(warnings.len(), 2, "{run:?}");
    assert!(
        warnings[0].starts_with("coupon.create failed and nobody looked"),
        "{run:?}"
    );
    assert!(
        warnings[1].starts_with("price.create failed and nobody looked"),
        "{run:?}"
    );
}

/// Create, change, read and list customers: both servers know these.
fn customers(server: &Server) {
    let value = server.value(
        r#"
        let id = new_customer().email("a@example.com").description("first").metadata("tier", "gold").create();
        new_customer().description("second & last").update(id);
        let customer = new_customer().retrieve(id);
        let others = [2, 3, 4].map(|i| new_customer().email(`c${i}@example.com`).create_async());
        others.map(|other| await_result(other, 30));
        let query = new_customer().limit(2);
        let seen = [];
        loop {
            let page = query.list();
            seen += page.data.map(|customer| customer.id);
            if !page.has_more { break; }
            query.starting_after(seen[-1]);
        }
        let missing = ();
        try { new_customer().retrieve("cus_nobody"); } catch (error) { missing = error.status; }
        #{
            description: customer.description,
            email: customer.email,
            tier: customer.metadata.tier,
            listed: seen.filter(|seen| seen == id).len(),
            missing: missing,
        }
        "#,
    );
    assert_eq!(value["description"], "second & last");
    assert_eq!(value["email"], "a@example.com");
    assert_eq!(value["tier"], "gold");
    assert_eq!(value["listed"], 1);
    assert_eq!(value["missing"], 404);
}

#[test]
fn the_four_patterns_on_localstripe() {
    let Some(server) = Server::localstripe() else { return };
    four_patterns(&server);
    fire_and_forget(&server);
}

#[test]
fn objects_on_localstripe() {
    let Some(server) = Server::localstripe() else { return };
    customers(&server);
    let value = server.value(
        r#"
        let coupon = new_coupon().id("spring").percent_off(25).duration("once").create();
        let product = new_product().id("prod_fixed").name("Mug").create();
        let again = ();
        try { new_product().id("prod_fixed").name("Mug").create(); } catch (error) { again = error.status; }
        let unknown = ();
        try {
            new_product().name("Cup").tax_code("txcd_1").create();
        } catch (error) {
            unknown = error.message;
        }
        let intent = new_payment_intent().amount(1234).currency("eur").create_async();
        #{
            coupon: coupon,
            percent: new_coupon().retrieve(coupon).percent_off,
            product: product,
            again: again,
            unknown: unknown,
            amount: await_object(intent, 30).amount,
        }
        "#,
    );
    assert_eq!(value["coupon"], "spring");
    assert_eq!(value["percent"].as_f64(), Some(25.0));
    assert_eq!(value["product"], "prod_fixed");
    assert_eq!(value["again"], 409);
    assert_eq!(value["unknown"], "Unexpected tax_code");
    assert_eq!(value["amount"], 1234);
}

#[test]
fn the_four_patterns_on_stripe_stateful_mock() {
    let Some(server) = Server::stateful_mock() else { return };
    four_patterns(&server);
    fire_and_forget(&server);
}

#[test]
fn objects_on_stripe_stateful_mock() {
    let Some(server) = Server::stateful_mock() else { return };
    customers(&server);
    let value = server.value(
        r#"
        let product = new_product().name("Mug").create();
        let id = new_price().product(product).amount(1999).recurring(#{ interval: "month" }).create_async();
        let price = await_object(id, 30);
        let once = new_product().name("Once").idempotency_key("key-1").create();
        let twice = new_product().name("Once").idempotency_key("key-1").create();
        let conflict = ();
        try {
            new_product().name("Other").idempotency_key("key-1").create();
        } catch (error) {
            conflict = error.kind;
        }
        #{
            amount: price.unit_amount,
            currency: price.currency,
            interval: price.recurring.interval,
            of_product: price.product == product,
            same: once == twice,
            conflict: conflict,
        }
        "#,
    );
    assert_eq!(value["amount"], 1999);
    assert_eq!(value["currency"], "usd");
    assert_eq!(value["interval"], "month");
    assert_eq!(value["of_product"], true);
    assert_eq!(value["same"], true);
    assert_eq!(value["conflict"], "idempotency_error");
}
