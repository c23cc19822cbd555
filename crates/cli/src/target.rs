//! Where requests go: the embedded simulator, another server, or the real Stripe.

use std::env;

use inflight::sim::{Latency, Simulator, StartError};
use inflight::stripe_rhai::{ApiKey, InvalidKey};
use url::{Host, Url};

use crate::args::SendingArguments;

/// The environment variable with the key for `--live`.
pub(crate) const KEY_VARIABLE: &str = "STRIPE_API_KEY";

/// The key that scripts use where no real one is wanted.
const PLACEHOLDER_KEY: &str = "sk_test_inflightSimulator";

/// Why there is nowhere to send requests to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error("--live needs a Stripe key in the environment variable {KEY_VARIABLE}, and there is none")]
    NoKey,
    #[error("the key in {KEY_VARIABLE} cannot be used: {0}")]
    Key(#[from] InvalidKey),
    #[error("the key in {KEY_VARIABLE} is not text")]
    KeyNotText,
    #[error(
        "{KEY_VARIABLE} holds a live key, and --base-url would send it to a server that is not Stripe: unset it, or use a test key"
    )]
    LiveKeyElsewhere,
    #[error(
        "--base-url must be an http or https URL with a host and nothing after its path, such as http://127.0.0.1:12111"
    )]
    BaseUrl,
    #[error("--base-url names Stripe itself: use --live for that")]
    StripeItself,
    #[error("the simulator did not start: {0}")]
    Simulator(#[from] StartError),
}

/// Where requests go, and with which key.
pub(crate) struct Target {
    pub(crate) base_url: Option<String>,
    pub(crate) key: ApiKey,
    pub(crate) live: bool,
    pub(crate) simulator: Option<Simulator>,
}

impl Target {
    /// `latency` is the embedded simulator's, which is started where nothing else is named.
    pub(crate) fn of(arguments: &SendingArguments, latency: Option<Latency>) -> Result<Self, TargetError> {
        if arguments.live {
            let key = environment_key()?.ok_or(TargetError::NoKey)?;
            return Ok(Self {
                base_url: None,
                key,
                live: true,
                simulator: None,
            });
        }
        if let Some(url) = &arguments.base_url {
            check_base_url(url)?;
            let key = match environment_key()? {
                Some(key) if key.is_live() => return Err(TargetError::LiveKeyElsewhere),
                Some(key) => key,
                None => ApiKey::new(PLACEHOLDER_KEY)?,
            };
            return Ok(Self {
                base_url: Some(url.clone()),
                key,
                live: false,
                simulator: None,
            });
        }
        // The simulator never sees a key of the environment.
        let simulator = Simulator::builder().latency(latency.unwrap_or_default()).start()?;
        Ok(Self {
            base_url: Some(simulator.url()),
            key: ApiKey::new(PLACEHOLDER_KEY)?,
            live: false,
            simulator: Some(simulator),
        })
    }

    /// Each request's sockets in this process: the simulator's ends of them are here too.
    pub(crate) fn sockets_per_request(&self) -> u64 {
        if self.simulator.is_some() { 2 } else { 1 }
    }

    /// Which world of requests this is, as a store keeps them apart: what was meant for a test must never reach real money.
    pub(crate) fn mode(&self) -> &'static str {
        match (&self.simulator, self.live, self.key.is_live()) {
            (Some(_), ..) => "simulator",
            (None, false, _) => "other",
            (None, true, false) => "test",
            (None, true, true) => "live",
        }
    }

    /// The target in a few words.
    pub(crate) fn describe(&self) -> String {
        match (&self.simulator, &self.base_url) {
            (Some(_), _) => "the embedded simulator".into(),
            (None, Some(url)) => url.clone(),
            (None, None) => "Stripe".into(),
        }
    }
}

fn environment_key() -> Result<Option<ApiKey>, TargetError> {
    match env::var(KEY_VARIABLE) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(ApiKey::new(&text)?)),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(env::VarError::NotUnicode(_)) => Err(TargetError::KeyNotText),
    }
}

fn check_base_url(text: &str) -> Result<(), TargetError> {
    let url = Url::parse(text).map_err(|_| TargetError::BaseUrl)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    match url.host() {
        Some(Host::Domain(domain)) if plain => {
            let domain = domain.trim_end_matches('.').to_ascii_lowercase();
            if domain == "stripe.com" || domain.ends_with(".stripe.com") {
                return Err(TargetError::StripeItself);
            }
            Ok(())
        }
        Some(_) if plain => Ok(()),
        _ => Err(TargetError::BaseUrl),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_server_and_not_stripe() {
        for good in ["http://127.0.0.1:12111", "https://localhost/prefix", "http://[::1]:80"] {
            assert!(check_base_url(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1",
            "ftp://x",
            "http://u:p@x",
            "http://x/?q",
            "file:///x",
            "http://",
        ] {
            assert!(matches!(check_base_url(bad), Err(TargetError::BaseUrl)), "{bad}");
        }
        for stripe in [
            "https://api.stripe.com",
            "https://API.Stripe.com.",
            "http://stripe.com:80",
        ] {
            assert!(
                matches!(check_base_url(stripe), Err(TargetError::StripeItself)),
                "{stripe}"
            );
        }
    }
}
