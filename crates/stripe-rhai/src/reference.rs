//! What scripts can call beside the operations of the catalogue.

use inflight_rhai::{FunctionDoc, parse_reference};

/// All functions that a Stripe script can call, those of `inflight-rhai` first. The catalogue's operations and builders are not among
/// them: [`resources`](inflight_stripe::resources) has those.
///
/// ```
/// let reference = inflight_stripe_rhai::reference();
/// assert!(reference.iter().any(|entry| entry.functions().any(|name| name == "stripe::raw")));
/// ```
#[must_use]
pub fn reference() -> Vec<FunctionDoc> {
    let mut functions = inflight_rhai::reference();
    functions.extend(parse_reference(include_str!("reference/functions.md")));
    functions
}
