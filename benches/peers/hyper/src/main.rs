//! hyper's pooled client: no scripts, and less comfort than reqwest.

use std::error::Error;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use load::Load;
use serde_json::Value;

type Pooled = Client<HttpConnector, Full<Bytes>>;

fn main() {
    let load = Load::from_arguments();
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Pooled = Client::builder(TokioExecutor::new()).build(connector);
    let uri: Uri = format!("{}/v1/products", load.url).parse().expect("an address");
    let client = Rc::new((client, uri));
    load.run(|| place(client.clone()));
}

async fn place(client: Rc<(Pooled, Uri)>) -> Result<(), Box<dyn Error>> {
    loop {
        create(&client.0, &client.1).await?;
        if !load::again() {
            return Ok(());
        }
    }
}

async fn create(client: &Pooled, uri: &Uri) -> Result<(), Box<dyn Error>> {
    static NEXT_KEY: AtomicU64 = AtomicU64::new(0);
    let request = Request::post(uri.clone())
        .header("authorization", format!("Bearer {}", load::KEY))
        .header(
            "idempotency-key",
            format!("{:032}", NEXT_KEY.fetch_add(1, Ordering::Relaxed)),
        )
        .header("content-type", "application/x-www-form-urlencoded")
        .body(Full::from("name=Mug"))?;
    let answer = client.request(request).await?;
    if !answer.status().is_success() {
        return Err(answer.status().to_string().into());
    }
    let answer = answer.into_body().collect().await?.to_bytes();
    let object: Value = serde_json::from_slice(&answer)?;
    object["id"].as_str().ok_or("an object without an id")?;
    Ok(())
}
