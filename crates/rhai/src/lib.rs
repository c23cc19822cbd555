//! Rhai that awaits.
//!
//! Rhai has no async: a script that calls something slow holds its thread. Here a script runs as a [`Fiber`], a future on a
//! stack of its own. A host function that waits for a Rust future suspends that script alone; ten thousand waiting scripts
//! share one thread, and one that only computes is preempted.
//!
//! ```
//! use rhai::{Engine, EvalAltResult};
//! use std::time::Duration;
//!
//! let mut engine = Engine::new();
//! inflight_rhai::register_async_fn(&mut engine, "fetch", |what: rhai::ImmutableString| async move {
//!     tokio::time::sleep(Duration::from_millis(20)).await;
//!     Ok::<_, Box<EvalAltResult>>(format!("fetched {what}"))
//! });
//! let engine = inflight_rhai::FiberEngine::new(engine);
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! let both = runtime.block_on(async {
//!     // Two scripts wait at the same time, on this one thread.
//!     tokio::join!(engine.eval_async::<String>("fetch(`a`)"), engine.eval_async::<String>("fetch(`b`)"))
//! });
//! assert_eq!((both.0?, both.1?), ("fetched a".into(), "fetched b".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With a [`Session`](inflight_core::Session) of `inflight-core` in its [`Locals`], a script also has the functions of
//! [`InflightPackage`] for requests in flight.

#![warn(unsafe_code)]

mod admission;
mod answer;
mod argument;
mod arrays;
mod async_fn;
mod batch;
mod bounded;
mod callbacks;
mod collect;
mod combine;
mod compare;
#[allow(unsafe_code, reason = "switching stacks")]
mod coroutine;
mod each;
mod engine;
mod error;
mod fiber;
#[allow(unsafe_code, reason = "an allocator")]
mod heap;
mod json;
mod locals;
mod modules;
mod object;
mod outside;
mod package;
mod pool;
mod reference;
mod replay;
mod run;
mod sent;
mod settings;
mod source;
mod state;
mod stored_call;
mod submit;
mod tasks;
mod text;
mod ticker;
mod unordered;
mod vm;
mod wait;
mod waits;
mod wakers;
mod wakeups;

pub use admission::{FiberCounts, fiber_counts, max_live_fibers, set_max_live_fibers};
pub use argument::{invalid_argument, text_argument, value_type, wrong_type};
pub use async_fn::{AsyncFn, ScriptFn, register_async_fn};
pub use batch::Batch;
pub use collect::{DefaultPriority, batch_priority};
pub use coroutine::on_hosts_stack;
pub use engine::{FiberEngine, RunOptions, Script};
pub use error::{
    ScriptError, ScriptErrorKind, describe, failure_error, failure_map, script_error, submit_error,
    unknown_function_error,
};
pub use fiber::{
    DEFAULT_HEAP_BYTES, DEFAULT_STACK_BYTES, Fiber, Limits, STACK_BYTES_PER_HEAP_BYTE, current_deadline, current_locals,
};
pub use heap::{ScriptAllocator, uncharged, uncharged_unless_err};
pub use locals::{Locals, Output};
pub use modules::{ConfinedModules, ModuleFolder};
pub use object::from_json;
pub use outside::journalled;
pub use package::{InflightPackage, duration, locals_of, session_of};
pub use pool::{FiberPool, PoolTask, ScriptHandle};
pub use reference::{FunctionDoc, parse_reference, reference};
pub use run::Run;
pub use settings::{BATCH_OPTIONS, EACH_OPTIONS};
pub use submit::{call_for_text, call_request, submit_request};
pub use tasks::Task;
pub use text::{MAX_DEPTH, value_json, value_text};
pub use vm::Evaluator;
pub use wait::{allow_parking, wait, within};
pub use wakeups::WakeUps;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
