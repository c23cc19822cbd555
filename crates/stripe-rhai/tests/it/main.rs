//! The bindings from a script's side.

mod namespace;
mod properties;
mod sample;
mod scripts;
mod sweep;
