//! The same work by Inflight and by other clients, in one run, against one server on loopback.

mod clients;
mod count;
mod measure;
mod page;

use std::process::{Command, exit};
use std::time::Duration;

use inflight_benches::Options;
use inflight_benches::loopback::{Server, itself, serve};
use inflight_benches::page::{Part, load_average, said};

use crate::clients::Client;
use crate::measure::{Case, Measured, Pins, Results};

const HELP: &str = "\
Creates products by Inflight and by other clients, in turns, against one server on loopback, and compares.

  --rounds N       how often each client runs, in turns; medians count (3)
  --only NAME,…    these clients alone, and Inflight (all)
  --latency MS,…   how long the server takes for each request (0,100)
  --in-flight N,…  how many requests are under way at once (64,1000,10000)
  --seconds S      how long a client starts new requests (1)
  --limit S        how long a client may take for a run, until it is given up (120)
  --count on|off   counts instructions and misses of a processor's caches instead, by valgrind, of the clients in
                   benches/peers: hardly other on a busy machine than on an idle one. At 0 ms, once, 5 s, 64 in flight (off)
  --pin on|off     clients on the first core, the server on the last (on, where there are two and `taskset`)
  --write DOCS     writes what was seen into DOCS/benchmarks.md and DOCS/generated/benchmarks.svg (writes nothing)

The clients in benches/peers are built first. Those that cannot be built are skipped, and so are Stripe's own where they
are not installed: INFLIGHT_TEST_NODE_MODULES names a `node_modules` that has `stripe`, INFLIGHT_TEST_PYTHON a Python that
has `stripe` and `aiohttp`; else they are looked for in target/sdks and target/ci-tools.

Exit status: 0 all runs ended well, 1 a client failed, 2 wrong usage.";

fn main() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("the limit of open files");
    let role = std::env::args().nth(1).filter(|role| !role.starts_with("--"));
    let hidden = format!("{HELP}\n\n  --strict BOOL ");
    let help = if role.is_some() { &hidden } else { HELP };
    let options = Options::read(help, usize::from(role.is_some()));
    if role.as_deref() == Some("serve") {
        let latency = Duration::from_millis(options.get("latency", 0));
        return serve(latency, options.get("strict", false));
    }
    let cases: Vec<Case> = options
        .list("latency", "0,100")
        .into_iter()
        .flat_map(|latency| {
            let in_flight = options.list("in-flight", "64,1000,10000").into_iter();
            in_flight.map(move |in_flight| Case { latency, in_flight })
        })
        .collect();
    let only: Vec<String> = options.list("only", "");
    let known: Vec<&str> = clients::names().collect();
    if let Some(unknown) = only.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("there is no client {unknown}: there are {}", known.join(", "));
        exit(2);
    }
    let pins = Pins::find(&options.get("pin", "on".to_owned()));
    let seconds = options.get("seconds", 1.0);
    let limit = Duration::from_secs(options.get("limit", 120));
    let rounds = options.get("rounds", 3);
    let write: String = options.get("write", String::new());

    let (clients, skipped) = clients::find(&only);
    for (name, why) in &skipped {
        println!("{name}: skipped, {why}");
    }
    let load = load_average();
    let run = |client: &Client, url: &str, case, seconds| measure::run(client, url, case, seconds, limit, &pins);
    check(&clients, &pins, |client, url, case| run(client, url, case, 0.0));
    if options.get("count", "off".to_owned()) == "on" {
        return count(&options, &clients, &pins, limit);
    }
    let results = compare(&clients, &cases, rounds, &pins, |client, url, case| {
        run(client, url, case, seconds)
    });

    let comparison = page::Comparison {
        clients: &clients,
        skipped: &skipped,
        results: &results,
        cases: &cases,
        rounds,
        seconds,
        pins: &pins,
        load,
    };
    let text = comparison.markdown();
    println!("\n{text}");
    let part = Part {
        program: "peers",
        text: &text,
        chart: Some(("benchmarks.svg", &comparison.svg())),
    };
    part.write(&write);
    if results.failed() > 0 {
        eprintln!("{} runs failed", results.failed());
        exit(1);
    }
}

/// Counts instead of measuring times.
fn count(options: &Options, clients: &[Client], pins: &Pins, limit: Duration) {
    if let Err(why) = said(Command::new("valgrind").arg("--version")) {
        eprintln!("valgrind, which counts, cannot be started: {why}");
        exit(2);
    }
    let (in_flight, seconds) = (options.list("in-flight", "64"), options.get("seconds", 5.0));
    let server = server(pins, 0, false);
    let counted = count::count(clients, &server.url, &in_flight, seconds, limit);
    let text = counted.markdown();
    println!("\n{text}");
    let part = Part {
        program: "peers --count on",
        text: &text,
        chart: None,
    };
    part.write(&options.get("write", String::new()));
    if counted.failed() > 0 {
        eprintln!("{} runs failed", counted.failed());
        exit(1);
    }
}

fn server(pins: &Pins, latency: u64, strict: bool) -> Server {
    let mut command = itself("serve");
    command.args(["--latency", &latency.to_string(), "--strict", &strict.to_string()]);
    Server::start(&mut pins.server(&command))
}

/// Has each client make a few requests of a server that refuses those that are not the same work, and ends the program where
/// one is refused.
fn check(clients: &[Client], pins: &Pins, run: impl Fn(&Client, &str, Case) -> Result<Measured, String>) {
    let case = Case {
        latency: 0,
        in_flight: 2,
    };
    let server = server(pins, case.latency, true);
    for client in clients {
        if let Err(why) = run(client, &server.url, case) {
            eprintln!("{} does not do what the others do: {why}", client.name);
            exit(1);
        }
    }
}

/// Every client in every case, in turns, so that what else the machine does meets all of them.
fn compare(
    clients: &[Client],
    cases: &[Case],
    rounds: usize,
    pins: &Pins,
    run: impl Fn(&Client, &str, Case) -> Result<Measured, String>,
) -> Results {
    let mut results = Results::default();
    let all = rounds * cases.len() * clients.len();
    let mut ended = 0;
    for round in 0..rounds {
        for &case in cases {
            let server = server(pins, case.latency, false);
            for turn in 0..clients.len() {
                let client = &clients[(turn + round) % clients.len()];
                let result = run(client, &server.url, case);
                ended += 1;
                let said = match &result {
                    Ok(measured) => measured.to_string(),
                    Err(why) => why.clone(),
                };
                println!("[{ended}/{all}] {case}: {:15} {said}", client.name);
                results.add(client.name, case, result);
            }
        }
    }
    results
}
