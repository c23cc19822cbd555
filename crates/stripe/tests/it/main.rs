//! The crate as its users see it.

mod builders;
mod pages;
mod properties;
