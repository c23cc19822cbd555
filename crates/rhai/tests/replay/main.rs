//! Scripts that are replayed after a crash.

mod divergence;
mod every_point;
mod generated;
mod log;
mod stopped;
mod support;

#[global_allocator]
static ALLOCATOR: inflight_rhai::ScriptAllocator = inflight_rhai::ScriptAllocator::system();
