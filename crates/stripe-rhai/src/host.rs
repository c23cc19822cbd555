//! What the host decides for all its scripts, and what each script has configured.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use inflight_core::{Credential, MemoryCredentials, Priority, Request};
use inflight_rhai::{DefaultPriority, Locals, script_error};
use inflight_stripe::webhook::{SeenEvents, WebhookSecret};
use inflight_stripe::{Operation, RequestOptions, Server};
use rhai::EvalAltResult;
use uuid::Uuid;

use crate::key::ApiKey;

/// Credentials that no request names any more are looked for when this many are known.
const PRUNE_AT: usize = 1024;

/// The currency of amounts that name none.
pub const DEFAULT_CURRENCY: &str = "usd";

/// Neither the request nor the host has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host has no API key to send the request with")]
pub struct NoKey;

/// What the host decides for all its scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostOptions {
    /// The key that scripts know as `STRIPE_API_KEY`, and that is configured before a script configures one. By default there
    /// is none.
    pub api_key: Option<ApiKey>,
    /// The signing secret of the host's webhook endpoint, which scripts know as `STRIPE_WEBHOOK_SECRET`: they can verify with it,
    /// and neither read it nor sign. By default there is none.
    pub webhook_secret: Option<WebhookSecret>,
    /// Whether a script may name a `base_url` to send its requests, and so its key, to. By default not.
    pub allow_base_url: bool,
    /// Whether scripts may configure keys that move real money, `STRIPE_API_KEY` among them. By default not. The host's own
    /// [`api_key`](Self::api_key) is used as it is given.
    pub allow_live_keys: bool,
    /// The currency of amounts that name none. By default `usd`.
    pub currency: String,
    /// The folder that scripts may send files from, by a path within it. By default there is none: they send bytes that they hold.
    pub upload_folder: Option<PathBuf>,
    /// Whether what Stripe serves elsewhere (files, meter events, OAuth) is sent there, as the real Stripe wants it. By default not:
    /// everything goes to the worker's base URL.
    pub separate_hosts: bool,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            api_key: None,
            webhook_secret: None,
            allow_base_url: false,
            allow_live_keys: false,
            currency: DEFAULT_CURRENCY.into(),
            upload_folder: None,
            separate_hosts: false,
        }
    }
}

/// The host's side of the bindings: its options, and the credentials that its scripts have configured.
///
/// The same [`credentials`](Self::credentials) go to the worker, which alone resolves them.
pub struct StripeHost {
    options: HostOptions,
    credentials: Arc<MemoryCredentials>,
    names: Mutex<Names>,
    /// The names of the host's own key, which is known before any script asks for it: what a durable store has kept waits for it.
    own: Mutex<Vec<Arc<str>>>,
    seen: SeenEvents,
    /// What scripts share that have configured nothing.
    initial: OnceLock<Arc<StripeConfig>>,
}

/// One name for each key and base URL, however many scripts configure it.
#[derive(Default)]
struct Names {
    by_credential: HashMap<(String, Option<String>), Arc<str>>,
}

/// The same in every process, so that a request that a durable store keeps is known to belong to the key by the next one; nobody can tell
/// the key from it.
fn credential_name(key: &ApiKey, base_url: Option<&str>) -> Arc<str> {
    let secret = key.secret().expose();
    let of = format!("inflight credential\0{secret}\0{}", base_url.unwrap_or_default());
    let digest = Uuid::new_v5(&Uuid::NAMESPACE_OID, of.as_bytes()).simple().to_string();
    format!("stripe-{}", &digest[..16]).into()
}

impl StripeHost {
    /// A host with these options.
    #[must_use]
    pub fn new(options: HostOptions) -> Arc<Self> {
        let host = Arc::new(Self {
            options,
            credentials: Arc::default(),
            names: Mutex::default(),
            own: Mutex::default(),
            seen: SeenEvents::default(),
            initial: OnceLock::new(),
        });
        if let Some(key) = host.options.api_key.clone() {
            let key = AccountKey::new(&host, key, None);
            let names = Server::ALL.map(|server| key.credential_for(&host, server));
            host.own.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
        }
        host
    }

    /// The host's options.
    #[must_use]
    pub fn options(&self) -> &HostOptions {
        &self.options
    }

    /// The credentials that the worker resolves.
    #[must_use]
    pub fn credentials(&self) -> Arc<MemoryCredentials> {
        Arc::clone(&self.credentials)
    }

    /// The webhook events that scripts have asked `stripe::webhook::is_duplicate` about.
    pub(crate) fn seen_events(&self) -> &SeenEvents {
        &self.seen
    }

    /// What a script is configured with before it configures anything itself.
    #[must_use]
    pub fn initial(&self) -> StripeConfig {
        StripeConfig {
            account_key: self.options.api_key.clone().map(|key| AccountKey::new(self, key, None)),
            currency: self.options.currency.clone(),
            account: None,
            context: None,
            api_version: None,
            timeout: None,
            priority: None,
        }
    }

    /// A request of the host's own, made by a builder, as a script's that has configured nothing: with the host's key. One that names
    /// a credential keeps it.
    ///
    /// ```
    /// use inflight_stripe::CreateProduct;
    /// use inflight_stripe_rhai::{ApiKey, HostOptions, StripeHost};
    ///
    /// let host = StripeHost::new(HostOptions {
    ///     api_key: Some(ApiKey::new("sk_test_123456789")?),
    ///     ..HostOptions::default()
    /// });
    /// let request = host.prepare(CreateProduct::new("Mug").request()?)?;
    /// assert!(request.credential.is_some());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`NoKey`] where the host has none.
    pub fn prepare(&self, mut request: Request) -> Result<Request, NoKey> {
        if request.credential.is_none() {
            let initial = self.initial_config();
            let server = Operation::by_name(&request.operation).map_or_else(
                |_| Server::of(request.method, &request.target),
                |operation| operation.server,
            );
            request.credential = Some(initial.credential(self, server, None)?);
        }
        Ok(request)
    }

    /// What scripts share that have configured nothing.
    fn initial_config(&self) -> Arc<StripeConfig> {
        Arc::clone(self.initial.get_or_init(|| Arc::new(self.initial())))
    }

    /// The name of the credential for this key at this base URL.
    pub(crate) fn credential(&self, key: &ApiKey, base_url: Option<&str>) -> Arc<str> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let of = (key.secret().expose().to_owned(), base_url.map(str::to_owned));
        if let Some(name) = names.by_credential.get(&of) {
            return Arc::clone(name);
        }
        if names.by_credential.len() >= PRUNE_AT && names.by_credential.len().is_power_of_two() {
            names.by_credential.retain(|_, name| {
                // A name that only the two maps hold is in no script's configuration and in no request.
                let is_used = Arc::strong_count(name) > 2;
                if !is_used {
                    self.credentials.remove(name);
                }
                is_used
            });
        }
        let name = credential_name(key, base_url);
        let mut credential = Credential::new(key.secret().clone());
        if let Some(base_url) = base_url {
            credential = credential.endpoint(base_url);
        }
        self.credentials.insert(Arc::clone(&name), credential);
        names.by_credential.insert(of, Arc::clone(&name));
        name
    }
}

impl fmt::Debug for StripeHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StripeHost")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What one script has configured. It is kept in the script's [`Locals`]; two scripts never share one.
#[derive(Debug, Clone)]
pub struct StripeConfig {
    pub(crate) account_key: Option<AccountKey>,
    pub(crate) account: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) currency: String,
    pub(crate) api_version: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) priority: Option<Priority>,
}

impl StripeConfig {
    /// The script's configuration: its own, or the host's.
    pub(crate) fn of(locals: &Locals, host: &StripeHost) -> Arc<Self> {
        let own = locals.get::<Self>();
        own.unwrap_or_else(|| host.initial_config())
    }

    /// Whose work the script does, as text: tells what belongs to one account from what belongs to another.
    pub(crate) fn tenant(&self) -> &str {
        self.account_key.as_ref().map_or("", |key| &key.credential)
    }

    /// The name of what requests to this server are sent with: the key, or `token` in its place.
    fn credential(&self, host: &StripeHost, server: Server, token: Option<ApiKey>) -> Result<Arc<str>, NoKey> {
        let key = self.account_key.as_ref().ok_or(NoKey)?;
        Ok(match token {
            Some(token) => AccountKey::new(host, token, key.base_url.as_deref()).credential_for(host, server),
            None => key.credential_for(host, server),
        })
    }

    /// What every request of the script to this server is sent with, unless its own options say otherwise.
    ///
    /// The nearest priority to the request wins: its own, its batch's, the script's configuration, the run's.
    pub(crate) fn request_options(
        &self,
        locals: &Locals,
        host: &StripeHost,
        server: Server,
        batch: Option<Priority>,
        own: RequestOptions,
        token: Option<ApiKey>,
    ) -> Result<RequestOptions, Box<EvalAltResult>> {
        let credential = self.credential(host, server, token).map_err(|NoKey| {
            script_error(
                "not_configured",
                "no API key is configured: call configure_stripe first",
            )
        })?;
        let mut options = own;
        options.credential = Some(credential);
        // The one replaces the other, whoever named it.
        if options.stripe_account.is_none() && options.stripe_context.is_none() {
            options.stripe_account.clone_from(&self.account);
            options.stripe_context.clone_from(&self.context);
        }
        options.stripe_version = options.stripe_version.or_else(|| self.api_version.clone());
        options.timeout = options.timeout.or(self.timeout);
        let run = || locals.get::<DefaultPriority>().map(|default| default.0);
        options.priority = options.priority.or(batch).or(self.priority).or_else(run);
        Ok(options)
    }
}

/// A key, and the name that requests know it by.
#[derive(Debug, Clone)]
pub(crate) struct AccountKey {
    key: ApiKey,
    /// Where it goes, if the script itself chose that.
    base_url: Option<Box<str>>,
    credential: Arc<str>,
}

impl AccountKey {
    pub(crate) fn new(host: &StripeHost, key: ApiKey, base_url: Option<&str>) -> Self {
        Self {
            credential: host.credential(&key, base_url),
            base_url: base_url.map(Into::into),
            key,
        }
    }

    /// The name for requests to this server. Everything goes to one where that was chosen.
    fn credential_for(&self, host: &StripeHost, server: Server) -> Arc<str> {
        if server == Server::Api || self.base_url.is_some() || !host.options.separate_hosts {
            return Arc::clone(&self.credential);
        }
        host.credential(&self.key, Some(server.url()))
    }
}

#[cfg(test)]
mod tests {
    use inflight_stripe::{CreateProduct, Params};

    use super::*;

    fn key(text: &str) -> ApiKey {
        ApiKey::new(text).unwrap()
    }

    #[test]
    fn keys_that_no_script_uses_any_more_are_forgotten_and_the_hosts_own_are_not() {
        let host = StripeHost::new(HostOptions {
            api_key: Some(key("sk_test_own123456")),
            ..HostOptions::default()
        });
        let credentials = host.credentials();
        let mine = Credential::new(inflight_core::Secret::new("sk_test_mine12345"));
        credentials.insert("mine", mine);
        let used = host.credential(&key("sk_test_used12345"), None);
        for n in 0..2 * PRUNE_AT {
            host.credential(&key(&format!("sk_test_script{n}")), None);
        }
        assert!(credentials.len() < PRUNE_AT + 10, "{}", credentials.len());
        let own = host.initial().account_key.unwrap().credential;
        for name in ["mine", &*used, &*own] {
            assert!(credentials.names().iter().any(|known| **known == *name), "{name}");
        }
    }

    #[test]
    fn a_request_of_the_hosts_own_has_the_hosts_key_for_its_server() {
        let options = HostOptions {
            separate_hosts: true,
            ..HostOptions::default()
        };
        let product = || CreateProduct::new("Mug").request().unwrap();
        assert_eq!(StripeHost::new(options.clone()).prepare(product()), Err(NoKey));
        let host = StripeHost::new(HostOptions {
            api_key: Some(key("sk_test_own123456")),
            ..options
        });
        let own = host.initial().account_key.unwrap();
        let prepared = host.prepare(product()).unwrap();
        let expected = product();
        assert_eq!(prepared.credential, Some(own.credential_for(&host, Server::Api)));
        assert_eq!((prepared.body, prepared.headers), (expected.body, expected.headers));
        let file = Operation::by_name("file.create").unwrap();
        let params = Params::new().with("purpose", "dispute_evidence").with("file", "x");
        if let Ok(request) = file.request(&[], params, &RequestOptions::new()) {
            let sent_as = host.prepare(request).unwrap().credential;
            assert_eq!(sent_as, Some(own.credential_for(&host, Server::Files)));
        }
        let named = Request {
            credential: Some("mine".into()),
            ..product()
        };
        assert_eq!(host.prepare(named.clone()), Ok(named));
    }
}
