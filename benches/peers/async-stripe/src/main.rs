//! async-stripe, with its own client.

use load::Load;
use stripe::{ClientBuilder, IdempotencyKey, RequestStrategy, StripeRequest};
use stripe_product::product::CreateProduct;

fn main() {
    let load = Load::from_arguments();
    let client = ClientBuilder::new(load::KEY).url(&load.url).build().expect("a client");
    load.run(|| {
        let client = client.clone();
        move || {
            let client = client.clone();
            async move {
                let request = CreateProduct::new("Mug").customize();
                let key = RequestStrategy::Idempotent(IdempotencyKey::new_uuid_v4());
                request.request_strategy(key).send(&client).await.map(drop)
            }
        }
    });
}
