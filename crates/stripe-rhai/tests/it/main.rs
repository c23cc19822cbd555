//! The bindings from a script's side.

mod namespace;
mod sample;
mod scripts;
mod sweep;
