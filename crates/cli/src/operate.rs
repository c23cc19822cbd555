//! What those who look after a store do: see and settle requests, go on with runs, keep the tables in order, and send.

mod dashboard;
mod requests;
mod runs;
mod tables;
mod work;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use inflight::store::{DurableStore, StoreOptions};
use inflight::store_options;

pub(crate) use dashboard::dashboard;
pub(crate) use requests::requests;
pub(crate) use runs::runs;
pub(crate) use tables::store;
pub(crate) use work::work;

use crate::args::StoreArgument;
use crate::durable::{StoreError, open_store};
use crate::stream::say;

type Failure = Box<dyn std::error::Error>;

/// Opens a store that is there, to look after it. Nothing is sent.
fn open(store: &StoreArgument) -> Result<DurableStore, StoreError> {
    open_store(&store.url, options())
}

fn options() -> StoreOptions {
    StoreOptions {
        create: false,
        ..store_options("")
    }
}

fn show(text: &str) {
    say(text);
}

/// How long ago a moment was, in milliseconds since 1970, as a person reads it.
fn age(moment: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let moment = Duration::from_millis(u64::try_from(moment).unwrap_or(0));
    let seconds = now.saturating_sub(moment).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} m", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `1 run`, `2 runs`.
fn counted(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {one}{plural}")
}
