//! The commands of those who look after a store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use inflight::core::RequestId;

use crate::args::SendingArguments;
use crate::duration::parse_duration;

/// The store that a command is about.
#[derive(Debug, Args)]
pub(crate) struct StoreArgument {
    /// The store: sqlite:FILE, or postgres://USER@HOST/DATABASE (a password may come from PGPASSWORD)
    #[arg(
        id = "store",
        long,
        value_name = "STORE",
        env = "INFLIGHT_STORE",
        hide_env_values = true
    )]
    pub(crate) url: String,
}

const STATUS: &str = "\
Exit status: 0 done; 1 nothing of that kind found, or not to be changed; 2 wrong usage, or the store gives no answer.
A SQLite file belongs to one process: while a run or `inflight work` has it, these commands are refused.";

#[derive(Debug, Args)]
#[command(after_help = "\
Exit status: 130 or 143 after Ctrl-C or SIGTERM; 2 wrong usage, or the store cannot be read.
A run or `inflight work` may have the store meanwhile, a SQLite file too.
The token that opens the page is new each time, unless INFLIGHT_DASHBOARD_TOKEN has one.")]
pub(crate) struct DashboardArguments {
    #[command(flatten)]
    pub(crate) store: StoreArgument,

    /// The address to listen on; port 0 takes any free one. The page's address is printed with the token that opens it
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
}

#[derive(Debug, Args)]
pub(crate) struct RunsArguments {
    #[command(subcommand)]
    pub(crate) command: RunsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RunsCommand {
    /// List the runs, the newest first
    #[command(after_help = STATUS)]
    List {
        #[command(flatten)]
        store: StoreArgument,
        /// As JSON: one array
        #[arg(long)]
        json: bool,
    },
    /// Show a run and its requests
    #[command(after_help = STATUS)]
    Show {
        /// The run's id
        id: String,
        #[command(flatten)]
        store: StoreArgument,
        /// As JSON: one object
        #[arg(long)]
        json: bool,
    },
    /// Start a run again that was cut short, with the command line that started it first
    #[command(after_help = "\
Call it from the folder in which the run was started. Keys come from the environment, as they did then.
Exit status: that of the run; 1 there is no such run, or it has ended; 2 it goes on elsewhere, or is not to be started.")]
    Resume {
        /// The run's id
        id: String,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Give an interrupted run up: it does not go on, and what it has not sent is cancelled
    #[command(after_help = STATUS)]
    Cancel {
        /// The run's id
        id: String,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Delete runs that ended long ago, with their journals and requests. What is in doubt stays
    #[command(after_help = STATUS)]
    Prune {
        /// How long ago a run must have ended, such as 12h or 30d
        #[arg(long, value_name = "TIME", default_value = "30d", value_parser = parse_duration)]
        older_than: Duration,
        #[command(flatten)]
        store: StoreArgument,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RequestsArguments {
    #[command(subcommand)]
    pub(crate) command: RequestsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RequestsCommand {
    /// List requests, the newest first
    #[command(after_help = STATUS)]
    List {
        #[command(flatten)]
        filter: FilterArguments,
        #[command(flatten)]
        store: StoreArgument,
        /// As JSON: one array
        #[arg(long)]
        json: bool,
    },
    /// Show what is known of a request
    #[command(after_help = STATUS)]
    Show {
        /// The request's id
        id: RequestId,
        #[command(flatten)]
        store: StoreArgument,
        /// As JSON: one object
        #[arg(long)]
        json: bool,
    },
    /// Have requests sent again that have ended without effect or in doubt, by the next process that works on the store
    #[command(after_help = STATUS)]
    Retry {
        /// The requests' ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<RequestId>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Say what someone has found out about a request that is in doubt
    #[command(after_help = STATUS, group(ArgGroup::new("found").required(true).args(["done", "not_done"])))]
    Reconcile {
        /// The request's id
        id: RequestId,
        /// It was carried out, and this object came of it, such as pi_123
        #[arg(long, value_name = "OBJECT")]
        done: Option<String>,
        /// It was not carried out
        #[arg(long)]
        not_done: bool,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Cancel requests that nobody has begun to send
    #[command(after_help = STATUS)]
    Cancel {
        /// The requests' ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<RequestId>,
        #[command(flatten)]
        store: StoreArgument,
    },
}

/// Which requests.
#[derive(Debug, Args)]
pub(crate) struct FilterArguments {
    /// Those in this state
    #[arg(long, value_name = "STATE", value_parser = ["queued", "sent", "completed", "failed", "timeout", "cancelled"])]
    pub(crate) state: Option<String>,

    /// Those with this effect; `unknown` is what someone has to look into
    #[arg(long, value_name = "EFFECT", value_parser = ["none", "done", "unknown"])]
    pub(crate) effect: Option<String>,

    /// Those of this operation, such as product.create
    #[arg(long, value_name = "OPERATION")]
    pub(crate) operation: Option<String>,

    /// Those of this run
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,

    /// At most so many; 0 is all
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct StoreArguments {
    #[command(subcommand)]
    pub(crate) command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Make the tables, or bring those of an older program up to date
    #[command(after_help = STATUS)]
    Migrate {
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Look for damage in the file, and count the requests
    #[command(
        after_help = "Exit status: 0 nothing is damaged; 1 something is; 2 wrong usage, or the store gives no answer."
    )]
    Check {
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Give the room of deleted rows back to the disk
    #[command(after_help = STATUS)]
    Vacuum {
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Write every row as a line of JSON, of a damaged file what can be read. The rows have the requests' parameters and answers
    #[command(after_help = STATUS)]
    Export {
        /// The file to write, which must not exist yet; by default standard output
        file: Option<PathBuf>,
        #[command(flatten)]
        store: StoreArgument,
    },
    /// Write a copy of a SQLite store; PostgreSQL has pg_dump
    #[command(after_help = STATUS)]
    Backup {
        /// The file to write, which must not exist yet
        file: PathBuf,
        #[command(flatten)]
        store: StoreArgument,
    },
}

#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("where").required(true).args(["live", "base_url"])),
    after_help = "\
It sends what was submitted with the key that it has itself, and to the same place: with --live what --live has submitted.
Exit status: 2 wrong usage; otherwise 130 or 143 after Ctrl-C or SIGTERM, when what was in flight has finished or --attempt-timeout has \
passed.

The key comes from the environment variable STRIPE_API_KEY, never from an argument."
)]
pub(crate) struct WorkArguments {
    #[command(flatten)]
    pub(crate) store: StoreArgument,

    #[command(flatten)]
    pub(crate) sending: SendingArguments,
}
