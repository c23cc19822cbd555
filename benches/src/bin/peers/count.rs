//! What a request takes in instructions, and in misses of caches, as valgrind counts them: hardly other on a busy machine than on an idle
//! one.
//!
//! Two runs of a client differ by a known number of requests, and by what these take. What the kernel does is not in it. A client runs
//! some forty times slower than by itself, so that the server is always ready, and more has come when it looks.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use inflight_benches::page::{circumstances, thousands};
use serde_json::Value;

use crate::clients::Client;
use crate::measure::{Said, finish};

/// The caches that are simulated: bytes, ways, and bytes of a line. As in a server's core: first level, and second level for both.
const CACHES: [&str; 3] = ["--I1=32768,8,64", "--D1=49152,12,64", "--LL=1048576,16,64"];

/// What one request takes.
#[derive(Clone, Copy, Debug)]
struct Counts {
    instructions: f64,
    /// Instructions and data that were not in a cache of the first level.
    first: f64,
    /// Those that were not in one of the second level either.
    second: f64,
}

/// All clients' counts, by how many requests were in flight.
pub(crate) struct Counted {
    what: Vec<(&'static str, u64, Result<Counts, String>)>,
    in_flight: Vec<u64>,
}

pub(crate) fn count(clients: &[Client], url: &str, in_flight: &[u64], seconds: f64, limit: Duration) -> Counted {
    let mut what = Vec::new();
    for &in_flight in in_flight {
        for client in clients.iter().filter(|client| client.is_native()) {
            let counts = of(client, url, in_flight, seconds, limit);
            let said = match &counts {
                Ok(counts) => format!("{:.0} instructions each", counts.instructions),
                Err(why) => why.clone(),
            };
            println!("{in_flight} in flight: {:15} {said}", client.name);
            what.push((client.name, in_flight, counts));
        }
    }
    Counted {
        what,
        in_flight: in_flight.to_vec(),
    }
}

fn of(client: &Client, url: &str, in_flight: u64, seconds: f64, limit: Duration) -> Result<Counts, String> {
    let run = |seconds| {
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--cache-sim=yes"])
            .args(CACHES)
            .args(client.arguments(url, in_flight, seconds));
        let said = finish(&mut command, limit)?;
        read(&said).ok_or_else(|| said.reason())
    };
    let ((few, least), (many, most)) = (run(0.0)?, run(seconds)?);
    let requests = many - few;
    if requests <= 0.0 {
        return Err("too slow to be counted: give it more --seconds".into());
    }
    let each: Vec<f64> = least
        .iter()
        .zip(&most)
        .map(|(least, most)| (most - least) / requests)
        .collect();
    let sum = |names: &[usize]| names.iter().map(|at| each[*at]).sum();
    Ok(Counts {
        instructions: each[0],
        first: sum(&[3, 4, 5]),
        second: sum(&[6, 7, 8]),
    })
}

/// How many requests were made, and what was counted: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw.
fn read(said: &Said) -> Option<(f64, Vec<f64>)> {
    let line: Value = serde_json::from_slice(&said.output).ok()?;
    let text = String::from_utf8_lossy(&said.errors);
    let collected = text.lines().find_map(|line| line.split_once("Collected :"))?.1;
    let counts: Result<Vec<f64>, _> = collected.split_whitespace().map(str::parse).collect();
    let counts = counts.ok().filter(|counts| counts.len() == 9)?;
    Some((line["requests"].as_f64()?, counts))
}

impl Counted {
    pub(crate) fn failed(&self) -> usize {
        self.what.iter().filter(|(_, _, counts)| counts.is_err()).count()
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = circumstances("peers", "counted by valgrind, the server at once");
        for in_flight in &self.in_flight {
            text.push_str(&self.table(*in_flight));
        }
        text
    }

    fn table(&self, in_flight: u64) -> String {
        let mut text = format!(
            "\n**{} in flight**\n\n| client | instructions/request | Inflight needs | not in the first level | not in the second level |\n\
             |---|---:|---:|---:|---:|\n",
            thousands(in_flight as f64)
        );
        let here = || self.what.iter().filter(|(_, at, _)| *at == in_flight);
        let ours = here().find(|(name, _, _)| *name == "inflight");
        let ours = ours.and_then(|(_, _, counts)| counts.as_ref().ok());
        for (name, _, counts) in here() {
            let _ = match counts {
                Err(why) => writeln!(text, "| {name} | {why} | | | |"),
                Ok(counts) => {
                    let ratio = ours.map_or("–".to_owned(), |ours| {
                        format!("{:.2} ×", ours.instructions / counts.instructions)
                    });
                    let [instructions, first, second] =
                        [counts.instructions, counts.first, counts.second].map(thousands);
                    writeln!(text, "| {name} | {instructions} | {ratio} | {first} | {second} |")
                }
            };
        }
        text
    }
}
