//! A script's function that is called later, in the context in which it was handed over: with the script's own functions and
//! imports.

#![allow(
    deprecated,
    reason = "Rhai marks its volatile interfaces this way; the version is pinned to the minor"
)]

use rhai::{Dynamic, Engine, EvalAltResult, FnPtr, FuncArgs, NativeCallContext, NativeCallContextStore, Position};

pub(crate) struct StoredCall {
    function: FnPtr,
    // Boxed: it holds a whole runtime state.
    context: Box<NativeCallContextStore>,
}

impl StoredCall {
    pub(crate) fn new(ctx: &NativeCallContext, function: FnPtr) -> Self {
        let mut context = Box::new(ctx.store_data());
        // It will not run inside of the calls that it was handed over in.
        context.global.level = 0;
        Self { function, context }
    }

    pub(crate) fn call(&self, engine: &Engine, args: impl FuncArgs) -> Result<Dynamic, Box<EvalAltResult>> {
        let ctx = self.context.create_context(engine);
        self.function.call_within_context(&ctx, args)
    }

    /// Where the script handed it over.
    pub(crate) fn position(&self) -> Position {
        self.context.pos
    }
}
