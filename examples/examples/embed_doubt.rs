//! A request of which nobody knows whether it was carried out, and how a host finds out.
//!
//! ```text
//! cargo run -p inflight-examples --example embed_doubt
//! ```

use std::error::Error;

use inflight::Inflight;
use inflight::core::{Effect, RequestId, Session, block_on};
use inflight::sim::{Faults, Simulator};
use inflight::stripe::CreateProduct;
use inflight::stripe::reconcile::{IfAbsent, ReconcileError, Settled, reconcile};
use inflight::stripe_rhai::ApiKey;

// ANCHOR: doubt
/// Looks a request up at Stripe by the tag in its metadata, and settles it.
async fn find_out(session: &Session, id: RequestId) -> Result<(), ReconcileError> {
    // `SettleAsNone` only some minutes after the last attempt: then none is on its way any more.
    match reconcile(session, id, None, IfAbsent::LeaveUnknown).await? {
        Settled::Done => println!("it was carried out: {:?}", session.status(id)),
        Settled::NotDone => println!("it was not carried out: it may be submitted again"),
        Settled::Unknown => println!("nobody knows, still"),
    }
    Ok(())
}

/// Only requests that bear a tag can be found again.
fn assemble(url: &str) -> Result<Inflight, Box<dyn Error>> {
    Ok(Inflight::builder()
        .base_url(url)
        .api_key(ApiKey::new("sk_test_example1234")?)
        .tag_requests(true)
        .build()?)
}
// ANCHOR_END: doubt

fn main() -> Result<(), Box<dyn Error>> {
    // Each attempt is carried out, and no answer comes back.
    let lost = r#"{ "rules": [{ "fault": "reset_after", "operation": "product.create" }] }"#;
    let simulator = Simulator::builder().faults(lost.parse::<Faults>()?).start()?;
    let inflight = assemble(&simulator.url())?;
    let session = inflight.session();
    let request = inflight.host().prepare(CreateProduct::new("Mug").request()?)?;
    let id = session.submit(request)?;
    let ending = session.wait_async(id).ok_or("the session knows its request")?;
    if let Err(failure) = &*block_on(ending) {
        println!("{failure}");
        if failure.effect == Effect::Unknown {
            block_on(find_out(&session, id))?;
        }
    }
    Ok(())
}
