//! Form encoding as Stripe's v1 API reads it: `items[0][price]=price_1&metadata[order]=42`.
//!
//! One encoding for bodies and for queries. Lists are always indexed; brackets are literal; a space is `%20`.

mod decode;
mod encode;

pub use decode::{DecodeError, decode, decode_segment};
pub use encode::{EncodeError, encode};

pub(crate) use encode::{check_name, pairs, percent_encode};

/// How deep values may be nested, far deeper than anything of Stripe's.
pub const MAX_DEPTH: usize = 64;
/// How many names and values one form may have when it is decoded, far more than Stripe takes.
pub const MAX_PAIRS: usize = 10_000;
