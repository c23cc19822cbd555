//! Rust futures as script functions.

use std::future::Future;

use rhai::{Array, Dynamic, Engine, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext};

use crate::answer::Told;
use crate::bounded::reserve_copy;
use crate::coroutine::running;
use crate::heap::uncharged;
use crate::outside::OutsideCall;
use crate::package::Answer;
use crate::wait::wait;

/// How deeply what a function gives is copied text by text.
const MAX_DEPTH: usize = 100;

#[cfg(not(feature = "sync"))]
mod bound {
    /// What a script function must be: anything; with feature `sync`, `Send + Sync`.
    pub trait ScriptFn {}
    impl<T> ScriptFn for T {}
}
#[cfg(feature = "sync")]
mod bound {
    /// What a script function must be: `Send + Sync`.
    pub trait ScriptFn: Send + Sync {}
    impl<T: Send + Sync> ScriptFn for T {}
}
pub use bound::ScriptFn;

/// An asynchronous Rust function that a script can call: of up to six arguments, giving a `Result`.
///
/// Implemented for closures `|a: A, b: B| async move { Ok(…) }`; the arguments are passed by value.
pub trait AsyncFn<Args> {
    /// Registers the function under this name.
    fn register(self, name: &str, module: &mut Module);
}

macro_rules! async_fn {
    ($($arg:ident),*) => {
        impl<F, Fut, R, E, $($arg),*> AsyncFn<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> Fut + ScriptFn + 'static,
            Fut: Future<Output = Result<R, E>>,
            R: rhai::Variant + Clone,
            E: Into<Box<EvalAltResult>>,
            $($arg: rhai::Variant + Clone,)*
        {
            #[allow(non_snake_case, reason = "arguments are named after their types")]
            fn register(self, name: &str, module: &mut Module) {
                FuncRegistration::new(name).in_global_namespace().set_into_module(
                    module,
                    {
                        let name = name.to_owned();
                        move |ctx: NativeCallContext, $($arg: $arg),*| -> Result<Dynamic, Box<EvalAltResult>> {
                            let call = OutsideCall::new(&ctx, &name).waits();
                            $(let call = call.value_of(&$arg);)*
                            call.answer(|| {
                                $(let $arg = handed_over($arg)?;)*
                                let given = wait(self($($arg),*))?;
                                let given = uncharged(|| given.map(Dynamic::from).map_err(Into::into));
                                taken_over(given).map(Told::from)
                            })
                        }
                    },
                );
            }
        }
    };
}

async_fn!();
async_fn!(A);
async_fn!(A, B);
async_fn!(A, B, C);
async_fn!(A, B, C, D);
async_fn!(A, B, C, D, G);
async_fn!(A, B, C, D, G, H);

/// An argument as the host's: the future may give it back, or let go of it while it is polled, which is not the script's account.
fn handed_over<T: rhai::Variant + Clone>(argument: T) -> Answer<T> {
    if running().is_none() {
        return Ok(argument);
    }
    let own = Dynamic::from(argument);
    reserve_copy(&own)?;
    Ok(uncharged(|| copied(&own, 0).cast()))
}

/// What a future has given, as the script's own: what is allocated while a future is polled is not charged, and what the script lets
/// go of would be its credit.
// Apart: what it needs of the stack, every script would hold while it waits.
#[inline(never)]
fn taken_over(given: Answer<Dynamic>) -> Answer<Dynamic> {
    if running().is_none() {
        return given;
    }
    match given {
        Ok(value) => {
            let own = reserve_copy(&value).map(|()| copied(&value, 0));
            uncharged(|| drop(value));
            own
        }
        Err(error) => match &*error {
            EvalAltResult::ErrorRuntime(value, position) => {
                let own = EvalAltResult::ErrorRuntime(copied(value, 0), *position);
                uncharged(|| drop(error));
                Err(Box::new(own))
            }
            _ => Err(error),
        },
    }
}

/// A copy that shares no text with the value. Below what a host's values nest to, as Rhai copies: that takes less of the stack.
fn copied(value: &Dynamic, depth: usize) -> Dynamic {
    if depth < MAX_DEPTH && !value.is_shared() {
        if let Some(text) = value.read_lock::<ImmutableString>() {
            return text.as_str().into();
        }
        if let Some(array) = value.read_lock::<Array>() {
            return array
                .iter()
                .map(|item| copied(item, depth + 1))
                .collect::<Array>()
                .into();
        }
        if let Some(map) = value.read_lock::<Map>() {
            let items = map.iter().map(|(name, item)| (name.clone(), copied(item, depth + 1)));
            return items.collect::<Map>().into();
        }
    }
    value.clone()
}

/// Registers an asynchronous Rust function as a script function: the script that calls it is suspended until the future is
/// ready, and only that script.
///
/// ```
/// use rhai::{Engine, EvalAltResult};
///
/// let mut engine = Engine::new();
/// inflight_rhai::register_async_fn(&mut engine, "double", |x: i64| async move { Ok::<_, Box<EvalAltResult>>(x * 2) });
/// let engine = inflight_rhai::FiberEngine::new(engine);
/// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
/// let answer: i64 = runtime.block_on(engine.eval_async("double(21)")).unwrap();
/// assert_eq!(answer, 42);
/// ```
pub fn register_async_fn<Args>(engine: &mut Engine, name: &str, function: impl AsyncFn<Args>) {
    let mut module = Module::new();
    function.register(name, &mut module);
    engine.register_global_module(module.into());
}
