//! The program `inflight`.

#![forbid(unsafe_code)]
// They panic where the reader has gone away: see `stream`.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod api;
mod args;
mod check;
mod descriptors;
mod duration;
mod http;
mod metrics;
mod run;
mod script;
mod signals;
mod sim;
mod stream;
mod target;
mod text;

use std::io;
use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser;

/// Charges scripts for the memory that they hold, so that none can take it all.
#[global_allocator]
static ALLOCATOR: inflight::rhai::ScriptAllocator = inflight::rhai::ScriptAllocator::system();

/// Exit status: everything went well.
const OK: u8 = 0;
/// Exit status: a script failed, or a check found something.
const FAILED: u8 = 1;
/// Exit status: the program was called wrongly, or could not begin.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let status = match Arguments::parse().command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => Ok(check::check(&arguments)),
        Command::Sim(arguments) => sim::sim(&arguments),
        Command::Api(arguments) => api::api(&arguments),
    };
    status.map_or_else(
        |error| {
            stream::say(io::stderr(), &format!("inflight: {error}\n"));
            ExitCode::from(USAGE)
        },
        ExitCode::from,
    )
}
