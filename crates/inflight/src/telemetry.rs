//! What Stripe is told about the program, and only where the host asks for it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use inflight_core::{Ended, Observer, Response};
use serde_json::json;

/// How many measurements wait to be sent; later ones are dropped, as in Stripe's own Go library.
const BUFFERED: usize = 16;

/// The program that Inflight is part of.
#[derive(Debug, Clone)]
pub(crate) struct AppInfo {
    name: String,
    version: Option<String>,
    url: Option<String>,
}

impl AppInfo {
    pub(crate) fn new(name: &str, version: Option<&str>, url: Option<&str>) -> Self {
        Self {
            name: name.to_owned(),
            version: version.map(str::to_owned),
            url: url.map(str::to_owned),
        }
    }

    /// `inflight/0.1.0 Shop/1.2 (https://shop.example)`
    pub(crate) fn user_agent(&self) -> String {
        let mut agent = format!("{} {}", inflight_transport::DEFAULT_USER_AGENT, self.name);
        if let Some(version) = &self.version {
            agent.push_str(&format!("/{version}"));
        }
        if let Some(url) = &self.url {
            agent.push_str(&format!(" ({url})"));
        }
        agent
    }
}

/// Measures requests, and tells of each with a later one.
pub(crate) struct Telemetry {
    client: String,
    /// Measurements as they are sent, the oldest first.
    waiting: Mutex<VecDeque<String>>,
}

impl Telemetry {
    pub(crate) fn new(app: Option<&AppInfo>) -> Arc<Self> {
        let mut client = json!({
            "bindings_version": env!("CARGO_PKG_VERSION"),
            "lang": "rust",
            "publisher": "inflight",
            "platform": format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        });
        if let Some(app) = app {
            client["application"] = json!({ "name": app.name, "version": app.version, "url": app.url });
        }
        Arc::new(Self {
            client: client.to_string(),
            waiting: Mutex::default(),
        })
    }

    /// The headers of the next attempt.
    pub(crate) fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("X-Stripe-Client-User-Agent", self.client.clone())];
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        headers.extend(
            waiting
                .pop_front()
                .map(|metrics| ("X-Stripe-Client-Telemetry", metrics)),
        );
        headers
    }
}

impl Observer for Telemetry {
    fn ended(&self, ended: &Ended<'_>) {
        let response: Option<&Response> = match ended.outcome {
            Ok(success) => Some(&success.response),
            Err(failure) => failure.response.as_ref(),
        };
        if let Some(id) = response.and_then(|response| response.header("request-id")) {
            // From submission to the ending: what the program saw.
            let duration = u64::try_from(ended.latency.as_millis()).unwrap_or(u64::MAX);
            let metrics = json!({ "last_request_metrics": { "request_id": id, "request_duration_ms": duration } });
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() < BUFFERED {
                waiting.push_back(metrics.to_string());
            }
        }
    }
}
