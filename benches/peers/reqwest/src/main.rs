//! Bare reqwest: no scripts.

use load::Load;
use peer_reqwest::Products;

fn main() {
    let load = Load::from_arguments();
    let products = Products::new(&load.url);
    load.run(|| {
        let products = products.clone();
        move || {
            let products = products.clone();
            async move { products.create("Mug").await.map(drop) }
        }
    });
}
