//! The clients: one for `http`, one for `https`, each built when it is first needed.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use inflight_core::{Effect, Failure, FailureKind};
use reqwest::header::HeaderValue;
use reqwest::{Client, redirect, retry};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;

/// How long a connection without requests is kept: less than servers and balancers commonly keep theirs (30 to 60 s), since a
/// mutation that is written while the other side closes has an unknown effect.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// How clients are built.
#[derive(Debug)]
pub(crate) struct ClientConfiguration {
    pub(crate) user_agent: HeaderValue,
    pub(crate) http2_prior_knowledge: bool,
    pub(crate) system_proxy: bool,
    pub(crate) connections: usize,
}

/// A client for each kind of host.
#[derive(Debug)]
pub(crate) struct Clients {
    configuration: ClientConfiguration,
    plain: OnceLock<Client>,
    tls: OnceLock<Client>,
}

impl Clients {
    pub(crate) fn new(configuration: ClientConfiguration) -> Self {
        Self {
            configuration,
            plain: OnceLock::new(),
            tls: OnceLock::new(),
        }
    }

    /// The client for this scheme. One that cannot be built is tried anew with the next request.
    pub(crate) fn for_scheme(&self, scheme: &str) -> Result<&Client, Failure> {
        let https = scheme == "https";
        let cell = if https { &self.tls } else { &self.plain };
        if let Some(client) = cell.get() {
            return Ok(client);
        }
        let client = self.build(https)?;
        Ok(cell.get_or_init(|| client))
    }

    fn build(&self, https: bool) -> Result<Client, Failure> {
        let configuration = &self.configuration;
        let tls = tls_configuration(https).map_err(|error| {
            Failure::new(
                FailureKind::Tls,
                Effect::None,
                format!("no secure connection can be set up: {error}"),
            )
            .with_source(error)
        })?;
        let mut builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(configuration.user_agent.clone())
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(configuration.connections);
        if configuration.http2_prior_knowledge && !https {
            builder = builder.http2_prior_knowledge();
        }
        if !configuration.system_proxy {
            builder = builder.no_proxy();
        }
        builder.build().map_err(|error| {
            Failure::new(
                FailureKind::InvalidRequest,
                Effect::None,
                "the HTTP client cannot be set up",
            )
            .with_source(error)
        })
    }
}

/// For a plain host the machine's CA certificates are not even looked for: there may be none.
fn tls_configuration(https: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut tls = if https {
        builder.with_platform_verifier()?.with_no_client_auth()
    } else {
        builder
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth()
    };
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}
