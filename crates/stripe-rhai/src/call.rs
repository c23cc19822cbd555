//! What a script calls as a request: by a builder, by `stripe::…::…()` and by `stripe::raw`.

use inflight_core::{Priority, Request};
use inflight_rhai::{
    Locals, batch_priority, call_request, invalid_argument, locals_of, on_hosts_stack, submit_request,
    uncharged_unless_err,
};
use inflight_stripe::{Method, Operation, Params, RequestOptions, raw};
use rhai::{Dynamic, ImmutableString, NativeCallContext};

use crate::Answer;
use crate::host::{StripeConfig, StripeHost};
use crate::key::ApiKey;

/// The parameter that has a default of the script's configuration.
const CURRENCY: &str = "currency";

/// Operations whose amounts are in the configured currency where they name none.
const DEFAULT_CURRENCY_FOR: [&str; 2] = ["price.create", "payment_intent.create"];

/// Whether this operation gets this parameter from the script's configuration where a script leaves it out.
pub(crate) fn has_default(operation: &str, param: &str) -> bool {
    param == CURRENCY && DEFAULT_CURRENCY_FOR.contains(&operation)
}

/// What is to be sent, before it is checked.
pub(crate) enum StripeCall<'a> {
    /// An operation of the catalogue.
    Known {
        operation: &'static Operation,
        ids: &'a [&'a str],
        params: Params,
        options: RequestOptions,
        /// What goes in the key's place.
        token: Option<ApiKey>,
    },
    /// Anything else.
    Raw {
        method: Method,
        path: &'a str,
        params: Params,
        options: RequestOptions,
    },
}

impl StripeCall<'_> {
    /// Submits the request that `make` makes and gives its id at once.
    pub(crate) fn submit(
        make: impl FnOnce() -> Answer<Self>,
        ctx: &NativeCallContext,
        host: &StripeHost,
    ) -> Answer<ImmutableString> {
        submit_request(ctx, Self::request(make, ctx, host)?)
    }

    /// Submits the request as soon as there is room, and waits for its ending: what a script sees as a blocking call. Gives the whole
    /// object as a map, or its id.
    pub(crate) fn wait(
        make: impl FnOnce() -> Answer<Self>,
        ctx: &NativeCallContext,
        host: &StripeHost,
        whole_object: bool,
    ) -> Answer<Dynamic> {
        call_request(ctx, Self::request(make, ctx, host)?, whole_object)
    }

    /// The request, which is the host's, and so is all that `make` gives: it is to copy what the script has. An error is the script's.
    // Parameters nest as deep as the bindings let them, which the host's stack is made for.
    pub(crate) fn request(
        make: impl FnOnce() -> Answer<Self>,
        ctx: &NativeCallContext,
        host: &StripeHost,
    ) -> Answer<Box<Request>> {
        let (locals, priority) = (locals_of(ctx)?, batch_priority());
        uncharged_unless_err(|| on_hosts_stack(|| make()?.request_for(&locals, host, priority).map(Box::new)))
    }

    fn request_for(self, locals: &Locals, host: &StripeHost, batch: Option<Priority>) -> Answer<Request> {
        let config = StripeConfig::of(locals, host);
        let request = match self {
            Self::Known {
                operation,
                ids,
                mut params,
                options,
                token,
            } => {
                if has_default(operation.name, CURRENCY) && params.get(CURRENCY).is_none() {
                    params.set(CURRENCY, config.currency.as_str());
                }
                let options = config.request_options(locals, host, operation.server, batch, options, token)?;
                operation.request(ids, params, &options)
            }
            Self::Raw {
                method,
                path,
                params,
                options,
            } => {
                let server = inflight_stripe::Server::of(method, path);
                let options = config.request_options(locals, host, server, batch, options, None)?;
                raw(method, path, params, &options)
            }
        };
        request.map_err(|error| invalid_argument(&error.to_string()))
    }
}
