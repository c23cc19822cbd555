//! What the host decides for all its scripts, and what each script has configured.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use inflight_core::{Credential, MemoryCredentials, Priority};
use inflight_rhai::Locals;
use inflight_stripe::RequestOptions;
use inflight_stripe::webhook::{SeenEvents, WebhookSecret};

use crate::key::ApiKey;

/// Credentials that no request names any more are looked for when this many are known.
const PRUNE_AT: usize = 1024;

/// The currency of amounts that name none.
pub const DEFAULT_CURRENCY: &str = "usd";

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
    /// Whether keys that move real money are taken. By default not.
    pub allow_live_keys: bool,
    /// The currency of amounts that name none. By default `usd`.
    pub currency: String,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            api_key: None,
            webhook_secret: None,
            allow_base_url: false,
            allow_live_keys: false,
            currency: DEFAULT_CURRENCY.into(),
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
    seen: SeenEvents,
}

/// One name for each key and base URL, however many scripts configure it.
#[derive(Default)]
struct Names {
    by_credential: HashMap<(String, Option<String>), Arc<str>>,
    made: u64,
}

impl StripeHost {
    /// A host with these options.
    #[must_use]
    pub fn new(options: HostOptions) -> Arc<Self> {
        Arc::new(Self {
            options,
            credentials: Arc::default(),
            names: Mutex::default(),
            seen: SeenEvents::default(),
        })
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
            credential: self.options.api_key.as_ref().map(|key| self.credential(key, None)),
            currency: self.options.currency.clone(),
            account: None,
            api_version: None,
            timeout: None,
            priority: Priority::Normal,
        }
    }

    /// The name of the credential for this key at this base URL.
    pub(crate) fn credential(&self, key: &ApiKey, base_url: Option<&str>) -> Arc<str> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let of = (key.secret().expose().to_owned(), base_url.map(str::to_owned));
        if let Some(name) = names.by_credential.get(&of) {
            return Arc::clone(name);
        }
        if names.by_credential.len() >= PRUNE_AT && names.by_credential.len().is_power_of_two() {
            // A name that only the two maps hold is in no script's configuration and in no request.
            names.by_credential.retain(|_, name| Arc::strong_count(name) > 2);
            self.credentials.remove_unused();
        }
        names.made += 1;
        let name: Arc<str> = format!("stripe-{}", names.made).into();
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
    pub(crate) credential: Option<Arc<str>>,
    pub(crate) account: Option<String>,
    pub(crate) currency: String,
    pub(crate) api_version: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) priority: Priority,
}

impl StripeConfig {
    /// The script's configuration: its own, or the host's.
    pub(crate) fn of(locals: &Locals, host: &StripeHost) -> Arc<Self> {
        locals.get::<Self>().unwrap_or_else(|| {
            let initial = host.initial();
            locals.set(initial.clone());
            Arc::new(initial)
        })
    }

    /// What every request of the script is sent with, unless its builder says otherwise.
    pub(crate) fn request_options(&self, own: &RequestOptions) -> RequestOptions {
        let mut options = own.clone();
        options.credential.clone_from(&self.credential);
        options.stripe_account = options.stripe_account.or_else(|| self.account.clone());
        options.stripe_version = options.stripe_version.or_else(|| self.api_version.clone());
        options.timeout = options.timeout.or(self.timeout);
        if options.priority == Priority::default() {
            options.priority = self.priority;
        }
        options
    }
}
