//! async-stripe, with its own client.

use load::Load;
use stripe::{Client, ClientBuilder, IdempotencyKey, RequestStrategy, StripeError, StripeRequest};
use stripe_product::product::CreateProduct;

fn main() {
    let load = Load::from_arguments();
    let client = ClientBuilder::new(load::KEY).url(&load.url).build().expect("a client");
    load.run(|| place(client.clone()));
}

async fn place(client: Client) -> Result<(), StripeError> {
    loop {
        let key = RequestStrategy::Idempotent(IdempotencyKey::new_uuid_v4());
        let request = CreateProduct::new("Mug").customize();
        request.request_strategy(key).send(&client).await?;
        if !load::again() {
            return Ok(());
        }
    }
}
