//! Lua 5.4 by mlua: a coroutine for each script, and a host function that awaits.

use load::Load;
use mlua::{Function, Lua};
use peer_reqwest::Products;

const SCRIPT: &str = r#"repeat create_product("Mug") until not again()"#;

fn main() -> mlua::Result<()> {
    let load = Load::from_arguments();
    let products = Products::new(&load.url);
    let lua = Lua::new();
    let create = lua.create_async_function(move |_, name: String| {
        let products = products.clone();
        async move { products.create(&name).await.map_err(mlua::Error::runtime) }
    })?;
    lua.globals().set("create_product", create)?;
    lua.globals()
        .set("again", lua.create_function(|_, ()| Ok(load::again()))?)?;
    let script: Function = lua.load(SCRIPT).into_function()?;
    load.run(|| script.call_async::<()>(()));
    Ok(())
}
