//! The crate as its users see it.

mod builders;
mod properties;
