//! Who a request is sent as. Requests name a credential; only the worker resolves the name.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A text that is never shown: its `Debug` and `Display` give the kind of key and its last four characters.
///
/// ```
/// use inflight_core::Secret;
///
/// let key = Secret::new("sk_test_a1b2c3d4e5f6");
/// assert_eq!(key.to_string(), "sk_test_…e5f6");
/// assert_eq!(Secret::new("hunter2").to_string(), "…");
/// assert_eq!(Secret::new("my_password_is_long").to_string(), "…");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself. For the worker, at the moment it writes a header.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The prefix says what kind of key it is (`sk_test_`) and is no secret; a short text shows nothing of itself.
        let text = &*self.0;
        let prefix = kind_of_key(text);
        if prefix.is_empty() || !text.is_ascii() || text.len() < prefix.len() + 8 {
            return f.write_str("…");
        }
        write!(f, "{prefix}…{}", &text[text.len() - 4..])
    }
}

/// `sk_`, `rk_live_` and the like: what a key begins with, and the mode where one is named. Other texts have none.
fn kind_of_key(text: &str) -> &str {
    let Some(end) = text
        .find('_')
        .filter(|end| ["sk", "rk", "pk", "ek"].contains(&&text[..*end]))
    else {
        return "";
    };
    let rest = &text[end + 1..];
    let mode = ["test_", "live_"].into_iter().find(|mode| rest.starts_with(mode));
    &text[..end + 1 + mode.map_or(0, str::len)]
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

/// What a credential's name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credential {
    /// Sent as `Authorization: Bearer …`.
    pub secret: Secret,
    /// The base URL (`https://api.stripe.com`) that the secret belongs to, and the only one it is ever sent to. By default the
    /// worker's own base URL.
    pub endpoint: Option<Arc<str>>,
}

impl Credential {
    /// A credential for the worker's own base URL.
    #[must_use]
    pub fn new(secret: Secret) -> Self {
        Self { secret, endpoint: None }
    }

    /// Binds the credential to this base URL.
    #[must_use]
    pub fn endpoint(mut self, base_url: impl Into<Arc<str>>) -> Self {
        self.endpoint = Some(base_url.into());
        self
    }
}

/// Resolves the names of credentials. The worker asks at each attempt, so a rolled key is used from the next one on.
pub trait Credentials: Send + Sync + 'static {
    /// The credential of that name. `None` ends the request as [`FailureKind::Credential`](crate::FailureKind::Credential),
    /// with nothing sent.
    fn resolve(&self, name: &str) -> Option<Credential>;
}

/// Credentials held in memory.
#[derive(Debug, Default)]
pub struct MemoryCredentials {
    by_name: RwLock<HashMap<Arc<str>, Credential>>,
}

impl MemoryCredentials {
    /// An empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a credential.
    pub fn insert(&self, name: impl Into<Arc<str>>, credential: Credential) {
        self.by_name
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.into(), credential);
    }

    /// Forgets the credentials whose name nobody holds a clone of. Gives how many.
    ///
    /// What counts are clones of the `Arc<str>` that the credential was [inserted](Self::insert) under: whoever calls this gives those
    /// to requests, and keeps one of each name that is to stay. A request that names its credential by another text of the same letters
    /// is not seen, and fails if it is not sent yet.
    pub fn remove_unused(&self) -> usize {
        let mut by_name = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let before = by_name.len();
        by_name.retain(|name, _| Arc::strong_count(name) > 1);
        before - by_name.len()
    }

    /// The names of all credentials.
    #[must_use]
    pub fn names(&self) -> Vec<Arc<str>> {
        let by_name = self.by_name.read().unwrap_or_else(PoisonError::into_inner);
        by_name.keys().cloned().collect()
    }

    /// How many credentials there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets a credential. Requests that name it and are not yet sent will fail.
    pub fn remove(&self, name: &str) {
        self.by_name
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}

impl Credentials for MemoryCredentials {
    fn resolve(&self, name: &str) -> Option<Credential> {
        self.by_name
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }
}
