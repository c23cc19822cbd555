//! Lua 5.4 by mlua: a coroutine for each script, and a host function that awaits.

use load::Load;
use mlua::{Function, Lua};
use peer_reqwest::Products;

const SCRIPT: &str = r#"return create_product("Mug")"#;

fn main() {
    let load = Load::from_arguments();
    let products = Products::new(&load.url);
    let lua = Lua::new();
    let create = lua.create_async_function(move |_, name: String| {
        let products = products.clone();
        async move { products.create(&name).await.map_err(mlua::Error::runtime) }
    });
    lua.globals()
        .set("create_product", create.expect("a function"))
        .expect("a global variable");
    let script: Function = lua.load(SCRIPT).into_function().expect("a script");
    load.run(|| {
        let script = script.clone();
        move || {
            let script = script.clone();
            async move { script.call_async::<String>(()).await.map(drop) }
        }
    });
}
