//! A request with bare reqwest, which also the scripting languages use that bring no HTTP of their own.

use std::error::Error;

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

/// A client that knows where to send to.
#[derive(Clone, Debug)]
pub struct Products {
    client: reqwest::Client,
    url: String,
}

impl Products {
    /// A client for the server at `base`.
    ///
    /// # Panics
    /// Where reqwest cannot be set up.
    #[must_use]
    pub fn new(base: &str) -> Self {
        install_tls();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self {
            client,
            url: format!("{base}/v1/products"),
        }
    }

    /// Creates a product and gives its id.
    ///
    /// # Errors
    /// Where there is no answer, or it is no product.
    pub async fn create(&self, name: &str) -> Result<String, Box<dyn Error + Send + Sync>> {
        let request = self
            .client
            .post(&self.url)
            .bearer_auth(load::KEY)
            .header("idempotency-key", idempotency_key())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("name={name}"));
        let answer = request.send().await?.error_for_status()?.bytes().await?;
        id_of(&answer)
    }
}

/// reqwest asks for a TLS part even where there is only plain HTTP.
pub fn install_tls() {
    // An error says that it has been done already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A further key.
#[must_use]
pub fn idempotency_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{:032}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The id of the object in this answer.
///
/// # Errors
/// Where it is not JSON, or has none.
pub fn id_of(answer: &[u8]) -> Result<String, Box<dyn Error + Send + Sync>> {
    let object: Value = serde_json::from_slice(answer)?;
    Ok(object["id"].as_str().ok_or("an object without an id")?.to_owned())
}
