//! The same work by Inflight and by other clients, in one run, against one server on loopback.

mod chart;
mod clients;
mod measure;
mod page;

use std::path::Path;
use std::process::exit;
use std::time::Duration;

use inflight_benches::Options;
use inflight_benches::loopback::{Server, itself, serve};

use crate::clients::Client;
use crate::measure::{Case, Measured, Pins, Results};

const HELP: &str = "\
Creates products by Inflight and by other clients, in turns, against one server on loopback, and compares.

  --rounds N       how often each client runs, in turns; medians count (3)
  --only NAME,…    these clients alone, and Inflight (all)
  --latency MS,…   how long the server takes for each request (0,100)
  --in-flight N,…  how many requests are under way at once (64,1000,10000)
  --seconds S      how long a client starts new requests (2)
  --limit S        how long a client may take for a run, until it is given up (120)
  --pin on|off     clients on the first core, the server on the last (on, where there are two and `taskset`)
  --write DOCS     writes what was seen into DOCS/benchmarks.md and DOCS/generated/benchmarks.svg (writes nothing)

The clients in benches/peers are built first. Those that cannot be built are skipped, and so are Stripe's own where they
are not installed: INFLIGHT_TEST_NODE_MODULES names a `node_modules` that has `stripe`, INFLIGHT_TEST_PYTHON a Python that
has `stripe` and `aiohttp`; else they are looked for in target/sdks and target/ci-tools.";

fn main() {
    rlimit::increase_nofile_limit(rlimit::INFINITY).expect("the limit of open files");
    let role = std::env::args().nth(1).filter(|role| !role.starts_with("--"));
    let options = Options::read(HELP, usize::from(role.is_some()));
    if role.as_deref() == Some("serve") {
        return serve(Duration::from_millis(options.get("latency", 0)));
    }
    let cases: Vec<Case> = list(&options, "latency", "0,100")
        .iter()
        .flat_map(|&latency| {
            let in_flight = list(&options, "in-flight", "64,1000,10000");
            in_flight.into_iter().map(move |in_flight| Case { latency, in_flight })
        })
        .collect();
    let only: String = options.get("only", String::new());
    let only: Vec<&str> = only.split(',').filter(|name| !name.is_empty()).collect();
    let (clients, skipped) = clients::find(&only);
    for (name, why) in &skipped {
        println!("{name}: skipped, {why}");
    }
    let pins = Pins::find(&options.get("pin", "on".to_owned()));
    let seconds = options.get("seconds", 2.0);
    let limit = Duration::from_secs(options.get("limit", 120));
    let rounds = options.get("rounds", 3);
    let load = page::load_average();
    let run = |client: &Client, url: &str, case| measure::run(client, url, case, seconds, limit, &pins);
    let results = compare(&clients, &cases, rounds, &pins, run);

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
    println!("\n{}", comparison.markdown());
    let docs: String = options.get("write", String::new());
    if !docs.is_empty() {
        write(Path::new(&docs), &comparison).unwrap_or_else(|error| {
            eprintln!("{docs}: {error}");
            exit(1);
        });
    }
}

/// The numbers of an option, of which each is one of its own.
fn list(options: &Options, name: &str, default: &str) -> Vec<u64> {
    let text: String = options.get(name, default.to_owned());
    text.split(',')
        .map(|number| match number.parse() {
            Ok(number) => number,
            Err(_) => {
                eprintln!("--{name} cannot be {text}");
                exit(2);
            }
        })
        .collect()
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
    for round in 0..rounds {
        for &case in cases {
            let mut server = pins.server(itself("serve").args(["--latency", &case.latency.to_string()]));
            let server = Server::start(&mut server);
            for turn in 0..clients.len() {
                let client = &clients[(turn + round) % clients.len()];
                let result = run(client, &server.url, case);
                match &result {
                    Ok(measured) => println!("{case}: {:15} {measured}", client.name),
                    Err(why) => println!("{case}: {:15} {why}", client.name),
                }
                results.add(client.name, case, result);
            }
        }
    }
    results
}

fn write(docs: &Path, comparison: &page::Comparison<'_>) -> std::io::Result<()> {
    let path = docs.join("benchmarks.md");
    let page = page::replace(&std::fs::read_to_string(&path)?, &comparison.markdown())
        .ok_or_else(|| std::io::Error::other("benchmarks.md has no place for it"))?;
    std::fs::create_dir_all(docs.join("generated"))?;
    std::fs::write(docs.join("generated/benchmarks.svg"), chart::draw(comparison))?;
    std::fs::write(path, page)
}
