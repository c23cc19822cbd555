//! Bare reqwest: no scripts.

use std::error::Error;

use load::Load;
use peer_reqwest::Products;

fn main() {
    let load = Load::from_arguments();
    let products = Products::new(&load.url);
    load.run(|| place(products.clone()));
}

async fn place(products: Products) -> Result<(), Box<dyn Error + Send + Sync>> {
    loop {
        products.create("Mug").await?;
        if !load::again() {
            return Ok(());
        }
    }
}
