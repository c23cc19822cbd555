//! How requests are sent: what `run` and `work` have in common.

use std::time::Duration;

use clap::Args;
use inflight::transport::WhenOpen;

use crate::duration::parse_duration;

#[derive(Debug, Args)]
pub(crate) struct SendingArguments {
    /// Talk to the real Stripe, with the key in STRIPE_API_KEY (sk_… or rk_…)
    #[arg(long, conflicts_with = "base_url")]
    pub(crate) live: bool,

    /// Talk to this server instead, such as http://127.0.0.1:12111
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,

    /// Requests in flight at once
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) concurrency: u32,

    /// Speak HTTP/2 at once, without asking the server
    #[arg(long)]
    pub(crate) http2: bool,

    /// Further attempts after the first, where a request failed and repeating it can do no harm
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub(crate) retries: u32,

    /// How long one attempt of a request may take, such as 80s
    #[arg(long, value_name = "TIME", default_value = "80s", value_parser = parse_duration)]
    pub(crate) attempt_timeout: Duration,

    /// How long a request may take in all, with its waits and attempts, such as 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration)]
    pub(crate) deadline: Duration,

    /// Whether Stripe's rate limits are kept: with --live unless told otherwise, elsewhere only if told to
    #[arg(long, value_name = "on|off", value_parser = parse_switch)]
    pub(crate) pace: Option<bool>,

    /// What becomes of requests while the server is down: they wait until it is back or their time is over, or they fail at once
    #[arg(long, value_name = "wait|fail", default_value = "wait", value_parser = parse_when_down)]
    pub(crate) when_down: WhenOpen,

    /// How long a process on the same PostgreSQL may be silent before others take its requests over
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    pub(crate) lease: Duration,

    /// How many attempts a second the account may make, over all processes on the store
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) store_pace: Option<u32>,
}

fn parse_when_down(text: &str) -> Result<WhenOpen, String> {
    match text {
        "wait" => Ok(WhenOpen::Wait),
        "fail" => Ok(WhenOpen::Fail),
        _ => Err("it is either wait or fail".into()),
    }
}

/// `on` or `off`.
fn parse_switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it is either on or off".into()),
    }
}
