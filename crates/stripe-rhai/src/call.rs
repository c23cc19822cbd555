//! The one way from a script to a request and back: by a builder, by `stripe::…::…()` and by `stripe::raw`.

use inflight_core::Request;
use inflight_rhai::{locals_of, session_of, submit_error, uncharged, wait};
use inflight_stripe::{Method, Operation, Params, RequestOptions, raw};
use rhai::{Dynamic, EvalAltResult, ImmutableString, NativeCallContext};

use crate::configure::invalid;
use crate::host::{StripeConfig, StripeHost};

type Answer<T> = Result<T, Box<EvalAltResult>>;

/// Operations whose amounts are in the configured currency where they name none.
const DEFAULT_CURRENCY_FOR: [&str; 2] = ["price.create", "payment_intent.create"];

/// What is to be sent, before it is checked.
pub(crate) enum Call<'a> {
    /// An operation of the catalogue.
    Known {
        operation: &'static Operation,
        ids: &'a [&'a str],
        params: Params,
        options: RequestOptions,
    },
    /// Anything else.
    Raw {
        method: Method,
        path: &'a str,
        params: Params,
        options: RequestOptions,
    },
}

impl Call<'_> {
    /// Submits the request and gives its id at once.
    pub(crate) fn submit(self, ctx: &NativeCallContext, host: &StripeHost) -> Answer<ImmutableString> {
        let session = session_of(ctx)?;
        // The request outlives this call, and ends on another thread: it is not the script's memory.
        let id = uncharged(|| {
            let request = self.request(ctx, host)?;
            session.submit(request).map_err(|error| submit_error(&error))
        })?;
        if let Some(recorded) = session.recorded(id) {
            wait(recorded)?;
        }
        Ok(id.to_string().into())
    }

    /// Submits the request as soon as there is room, and waits for its ending: what a script sees as a blocking call, and the same
    /// way in and out as the asynchronous one. Gives the whole object as a map, or its id.
    pub(crate) fn wait(self, ctx: &NativeCallContext, host: &StripeHost, whole_object: bool) -> Answer<Dynamic> {
        let session = session_of(ctx)?;
        let request = uncharged(|| self.request(ctx, host))?;
        let id = wait(session.submit_when_room(request))?.map_err(|error| submit_error(&error))?;
        let given = inflight_rhai::await_request(ctx, id, whole_object);
        // The script never learns this id, so it cannot ask again.
        uncharged(|| drop(session.take_result(id)));
        given
    }

    fn request(self, ctx: &NativeCallContext, host: &StripeHost) -> Answer<Request> {
        let config = StripeConfig::of(&locals_of(ctx)?, host);
        let request = match self {
            Self::Known {
                operation,
                ids,
                mut params,
                options,
            } => {
                if DEFAULT_CURRENCY_FOR.contains(&operation.name) && params.get("currency").is_none() {
                    params.set("currency", config.currency.as_str());
                }
                let options = config.request_options(host, operation.host, options)?;
                operation.request(ids, params, &options)
            }
            Self::Raw {
                method,
                path,
                params,
                options,
            } => {
                let server = inflight_stripe::Host::of(method, path);
                let options = config.request_options(host, server, options)?;
                raw(method, path, params, &options)
            }
        };
        request.map_err(|error| invalid(&error.to_string()))
    }
}
