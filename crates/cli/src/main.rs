//! The program `inflight`.

#![forbid(unsafe_code)]
// They panic where the reader has gone away: see `stream`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod args;
mod check;
mod config;
mod dashboard;
mod descriptors;
mod durable;
mod duration;
mod functions;
mod http;
mod metrics;
mod monitor;
mod operate;
mod page;
mod run;
mod script;
mod sending;
mod settings;
mod signals;
mod sim;
mod stream;
mod table;
mod target;
mod text;

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use args::Command;
use inflight::rhai::ScriptAllocator;
use mimalloc::MiMalloc;

/// Charges scripts for the memory that they hold, so that none can take it all. Many scripts at the same step of their requests allocate
/// and free in waves, which mimalloc is quick at.
#[global_allocator]
static ALLOCATOR: ScriptAllocator<MiMalloc> = ScriptAllocator::new(MiMalloc);

/// Exit status: everything went well.
const OK: u8 = 0;
/// Exit status: a script failed, or a check found something.
const FAILED: u8 = 1;
/// Exit status: the program was called wrongly, or could not begin.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    let line: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let status = config::arguments(words)
        .map_err(Into::into)
        .and_then(|all: args::Arguments| match &all.command {
            Command::Run(arguments) => run::run(arguments, &line),
            Command::Runs(arguments) => operate::runs(&arguments.command),
            Command::Requests(arguments) => operate::requests(&arguments.command),
            Command::Store(arguments) => operate::store(&arguments.command),
            Command::Work(arguments) => operate::work(arguments),
            Command::Dashboard(arguments) => operate::dashboard(arguments),
            Command::Check(arguments) => Ok(check::check(arguments)),
            Command::Sim(arguments) => sim::sim(arguments),
            Command::Api(arguments) => api::api(arguments),
            Command::Functions(arguments) => functions::functions(arguments),
            Command::Config(arguments) => settings::settings(arguments, all.config.as_deref()),
            Command::Completions(arguments) => Ok(settings::completions(arguments.shell)),
        });
    status.map_or_else(
        |error| {
            stream::remark(&format!("inflight: {error}\n"));
            ExitCode::from(USAGE)
        },
        ExitCode::from,
    )
}
