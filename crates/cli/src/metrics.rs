//! `--metrics`: what happens to requests, for Prometheus to fetch.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use inflight::core::Registry;
use inflight::{BUCKETS, Metrics, WAKE_UP_BUCKETS};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::http::{Answer, Handler, Server, Trust, answer, text};

/// The text format of Prometheus. <https://prometheus.io/docs/instrumenting/exposition_formats/>
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often measurements are taken together, so that they take no room where nobody fetches them.
pub(crate) const UPKEEP: Duration = Duration::from_secs(1);

/// The metrics of this program, as text.
#[derive(Clone)]
pub(crate) struct Exposition {
    metrics: Arc<Metrics>,
    rendered: PrometheusHandle,
}

impl Exposition {
    pub(crate) fn new() -> Result<Self, BuildError> {
        let wake_ups = Matcher::Full("inflight_wakeup_seconds".to_owned());
        let recorder = PrometheusBuilder::new()
            .set_buckets(&BUCKETS)?
            .set_buckets_for_metric(wake_ups, &WAKE_UP_BUCKETS)?
            .build_recorder();
        let rendered = recorder.handle();
        Ok(Self {
            metrics: Metrics::with_recorder(Arc::new(recorder)),
            rendered,
        })
    }

    /// What is to be told of scripts and requests.
    pub(crate) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    pub(crate) fn answer(&self, registry: &Registry) -> Answer {
        self.metrics.refresh(registry);
        answer(StatusCode::OK, CONTENT_TYPE, self.rendered.render())
    }

    pub(crate) fn upkeep(&self) {
        self.rendered.run_upkeep();
    }
}

/// Serves the metrics until it is dropped.
pub(crate) fn serve(address: SocketAddr, exposition: Exposition, registry: Registry) -> io::Result<Server> {
    Server::start(address, |_| Endpoint { exposition, registry })
}

struct Endpoint {
    exposition: Exposition,
    registry: Registry,
}

impl Handler for Endpoint {
    async fn handle(&self, request: Request<Incoming>, _: &Trust) -> Answer {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/metrics") => self.exposition.answer(&self.registry),
            (_, "/metrics") => text(StatusCode::METHOD_NOT_ALLOWED, "Only GET is answered here."),
            _ => text(StatusCode::NOT_FOUND, "There is nothing here but /metrics."),
        }
    }
}
