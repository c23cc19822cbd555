//! The command line.

mod operate;
mod sending;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use inflight::core::Priority;
use inflight::sim::Latency;

pub(crate) use operate::{
    DashboardArguments, RequestsArguments, RequestsCommand, RunsArguments, RunsCommand, StoreArgument, StoreArguments,
    StoreCommand, WorkArguments,
};
pub(crate) use sending::SendingArguments;

use crate::duration::{parse_duration, parse_latency};

/// Run Rhai scripts that start Stripe requests and go on.
///
/// Without a flag that says otherwise nothing leaves this machine: a Stripe simulator is started in the process.
#[derive(Debug, Parser)]
#[command(name = "inflight", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The settings' file, in place of inflight.toml in the current folder
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "INFLIGHT_CONFIG",
        hide_env_values = true
    )]
    pub(crate) config: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run scripts concurrently, on the embedded simulator unless told otherwise
    Run(RunArguments),
    /// List, resume, cancel and delete the runs of a store
    Runs(RunsArguments),
    /// List requests of a store, and settle by hand what is in doubt
    Requests(RequestsArguments),
    /// Migrate, check, shrink, export and back up a store
    Store(StoreArguments),
    /// Send what other processes have submitted to the same store, until interrupted
    Work(WorkArguments),
    /// Serve a page that shows a store's requests, runs and processes, until interrupted. Nothing of the store is changed
    Dashboard(DashboardArguments),
    /// Parse scripts and name builders, setters and functions that do not exist, without running anything
    Check(CheckArguments),
    /// Serve the Stripe simulator until interrupted
    Sim(SimArguments),
    /// List what scripts can do with Stripe: one operation a line
    Api(ApiArguments),
    /// List the functions that scripts can call, or explain one with an example
    Functions(FunctionsArguments),
    /// Show the settings in effect, and where each comes from
    Config(ConfigArguments),
    /// Print a script that completes this program's arguments in a shell
    Completions(CompletionsArguments),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 0 all scripts ended well; 1 a script failed; 2 wrong usage, or output that cannot be written; 130 or 143 after Ctrl-C or \
SIGTERM. What is in flight then has up to 10 s to finish; a run with --run-id ends at once. What has no answer by then is sent again \
from the store, under the same key; without a store its outcome is unknown. A second signal ends the program at once.

The key for --live comes from the environment variable STRIPE_API_KEY, never from an argument.
The token that opens the page is new in each run, unless INFLIGHT_DASHBOARD_TOKEN has one: then an open page finds the next run.")]
pub(crate) struct RunArguments {
    /// The scripts
    #[arg(required = true, value_name = "SCRIPT")]
    pub(crate) scripts: Vec<PathBuf>,

    #[command(flatten)]
    pub(crate) sending: SendingArguments,

    /// Run each script this many times at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub(crate) copies: u32,

    /// Threads that run scripts
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,

    /// How long the embedded simulator takes to answer, such as 100ms or 50ms..150ms
    #[arg(long, value_name = "TIME", value_parser = parse_latency, conflicts_with_all = ["live", "base_url"])]
    pub(crate) sim_latency: Option<Latency>,

    /// How long each script may take in all, such as 60s or 1500ms
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_duration)]
    pub(crate) timeout: Duration,

    /// How urgent the scripts' requests are that say nothing themselves
    #[arg(long, value_name = "high|normal|low", value_parser = parse_priority)]
    pub(crate) priority: Option<Priority>,

    /// Write the results as JSON to this file; - is standard output, and the scripts' own output goes to standard error then
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Serve a page to watch the run on, such as 127.0.0.1:0: its address is printed at the start, with the token that opens it
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) dashboard: Option<SocketAddr>,

    /// Write the same page to this file at the end, with the run's data in it
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Serve metrics for Prometheus at http://ADDRESS/metrics while the scripts run, such as 127.0.0.1:9464; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,

    /// Write requests down before they are sent, so that a crash loses none: sqlite:FILE, or postgres://USER@HOST/DATABASE for several
    /// machines (a password may come from PGPASSWORD). What an earlier process has left there is sent too
    #[arg(long, value_name = "STORE")]
    pub(crate) store: Option<String>,

    /// Make the scripts a run of this name, which goes on where it was when it is started again: nothing is sent or printed twice
    #[arg(long, value_name = "ID", value_parser = parse_run_id)]
    pub(crate) run_id: Option<String>,

    /// Show neither progress nor the table, only the scripts' own output
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// A run's name is part of ids and is shown: one short line.
fn parse_run_id(text: &str) -> Result<String, String> {
    let fits = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err("it has between 1 and 200 characters, on one line".into())
    }
}

fn parse_priority(text: &str) -> Result<Priority, String> {
    Priority::from_name(text).ok_or_else(|| "it is high, normal or low".into())
}

#[derive(Debug, Args)]
#[command(after_help = "\
With --migrate, lines as they would be are shown below what is found: with their number, or with + where they are new and come \
before the line of that number. No file is changed.

A loop is rewritten where nothing in it needs what the call gives; else it says what does. Statements are rewritten where all create \
something or all read, and none mentions what another one does. What is started together is sent also where an earlier one fails, and \
what fails is thrown where the result is waited for. What only functions and closures do that are called from a loop is not seen. \
docs/migration.md has the traps.

Exit status: 0 nothing found; 1 something found, or a script cannot be read; 2 wrong usage.")]
pub(crate) struct CheckArguments {
    /// Also find calls that wait one after another and need not, in loops and in a row, and show the lines rewritten
    #[arg(long)]
    pub(crate) migrate: bool,

    /// The scripts
    #[arg(required = true, value_name = "SCRIPT")]
    pub(crate) scripts: Vec<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Routes of its own, which need no key:
  GET /_sim/health   whether it serves
  GET /_sim/stats    requests by operation, objects by type
  POST /_sim/reset   forget everything
  POST /_sim/save    write the state to the file of --state")]
pub(crate) struct SimArguments {
    /// The address to listen on; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:12111")]
    pub(crate) listen: SocketAddr,

    /// How long an answer takes, such as 100ms or 50ms..150ms
    #[arg(long, value_name = "TIME", value_parser = parse_latency)]
    pub(crate) latency: Option<Latency>,

    /// What goes wrong: none, mild, chaos, outage, limits, or a JSON file (docs/reliability.md)
    #[arg(long, value_name = "FILE|PROFILE")]
    pub(crate) faults: Option<String>,

    /// Makes ids, latencies and faults the same in every run
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,

    /// Load what is simulated from this file, if it is there, and save it there when the simulator stops
    #[arg(long, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,

    /// Log each request to standard error: method, path, operation, status, request id
    #[arg(long, short = 'v')]
    pub(crate) log: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ApiArguments {
    /// A resource or an operation, such as product or checkout.session.create: its parameters too, with their types. Anything else
    /// is looked for in all names, paths and parameters
    #[arg(value_name = "WORD")]
    pub(crate) word: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct FunctionsArguments {
    /// A function's name, such as await_result or stripe::raw. By default the signatures of all
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Print all of it as the page of the documentation
    #[arg(long, conflicts_with = "name")]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
A setting is, in rising order of precedence: the default; in the table of its command in inflight.toml, under the flag's \
name; in the environment; on the command line. Keys are never settings: STRIPE_API_KEY has the key. --live is for the \
command line alone.

Example of a file:
  [run]
  concurrency = 128
  timeout = \"5m\"
  quiet = true

  [sim]
  listen = \"127.0.0.1:12112\"")]
pub(crate) struct ConfigArguments {
    /// A command line without its scripts, such as run --retries 5. By default the settings of all commands
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub(crate) line: Vec<OsString>,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: inflight completions bash > ~/.local/share/bash-completion/completions/inflight")]
pub(crate) struct CompletionsArguments {
    /// The shell
    pub(crate) shell: Shell,
}
