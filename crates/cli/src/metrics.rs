//! `--metrics`: what happens to requests, for Prometheus to fetch.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use inflight::core::Registry;
use inflight::{BUCKETS, Metrics};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::http;

/// The text format of Prometheus. <https://prometheus.io/docs/instrumenting/exposition_formats/>
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How often measurements are taken together, so that they take no room where nobody fetches them.
const UPKEEP: Duration = Duration::from_secs(1);

/// The metrics and where they are to be fetched.
pub(crate) struct Endpoint {
    listener: TcpListener,
    metrics: Arc<Metrics>,
    rendered: PrometheusHandle,
}

impl Endpoint {
    pub(crate) fn bind(address: SocketAddr) -> Result<Self, Box<dyn std::error::Error>> {
        let listener = http::listen(address)?;
        let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS)?.build_recorder();
        let rendered = recorder.handle();
        Ok(Self {
            listener,
            metrics: Metrics::with_recorder(Arc::new(recorder)),
            rendered,
        })
    }

    /// Where it listens: the port is the operating system's where 0 was asked for.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Serves until it is dropped.
    pub(crate) async fn serve(self, registry: Registry) {
        let rendered = self.rendered.clone();
        let metrics = self.metrics;
        let server = http::serve(self.listener, move |request| {
            if request.method() != Method::GET || request.uri().path() != "/metrics" {
                return http::not_found();
            }
            metrics.refresh(&registry);
            http::text(CONTENT_TYPE, rendered.render())
        });
        let upkeep = async {
            let mut ticks = tokio::time::interval(UPKEEP);
            loop {
                ticks.tick().await;
                self.rendered.run_upkeep();
            }
        };
        tokio::select! {
            _ = server => {}
            () = upkeep => {}
        }
    }
}
