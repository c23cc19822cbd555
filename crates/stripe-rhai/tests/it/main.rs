//! The bindings from a script's side.

mod migrate;
mod namespace;
mod properties;
mod sample;
mod scripts;
mod sweep;
