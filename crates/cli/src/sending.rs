//! How requests are sent, as the command line says it.

use inflight::stripe::RetrySettings;
use inflight::stripe_rhai::HostOptions;
use inflight::transport::CircuitBreaker;
use inflight::{Inflight, InflightBuilder};

use crate::args::SendingArguments;
use crate::target::Target;

/// `concurrency` is what the system allows of the one that is wanted.
pub(crate) fn configure(
    arguments: &SendingArguments,
    target: &Target,
    concurrency: u32,
) -> Result<InflightBuilder, std::num::TryFromIntError> {
    let mut builder = Inflight::builder()
        .host_options(HostOptions {
            api_key: Some(target.key.clone()),
            allow_live_keys: target.live,
            ..HostOptions::default()
        })
        .concurrency(usize::try_from(concurrency)?)
        .http2_prior_knowledge(arguments.http2)
        .attempt_timeout(arguments.attempt_timeout)
        .request_deadline(arguments.deadline)
        .circuit_breaker(CircuitBreaker {
            when_open: arguments.when_down,
            ..CircuitBreaker::default()
        })
        .retry(RetrySettings {
            max_retries: arguments.retries,
            ..RetrySettings::default()
        });
    if let Some(url) = &target.base_url {
        builder = builder.base_url(url);
    }
    if let Some(on) = arguments.pace {
        builder = builder.pace(on);
    }
    Ok(builder)
}
