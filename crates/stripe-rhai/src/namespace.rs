//! The module `stripe`, whose functions a script calls by their full names.

use std::sync::Arc;

use rhai::Module;

use crate::host::StripeHost;
use crate::webhook;

/// The module `stripe` for this host.
pub(crate) fn module(host: &Arc<StripeHost>) -> Module {
    let mut stripe = Module::new();
    stripe.set_sub_module("webhook", webhook::module(host));
    stripe
}
