//! Stripe's limits, and what it says when one is passed.
//!
//! The figures are those of <https://docs.stripe.com/rate-limits>. Limits of single objects (such as 1,000 updates of a payment intent
//! an hour) are not kept here: whoever passes one is told so by Stripe.

use std::borrow::Cow;

use inflight_core::{Failure, Method, PaceClass, PaceLimit, Request, Secret, Throttle};

use super::retry::is_rate_limit;
use crate::catalogue::{Answer, Server};
use crate::raw::is_file_contents;
use crate::route::{operation_of, path_of};

/// All requests of an account that move real money.
const LIVE: PaceLimit = PaceLimit::per_second(100);
/// All requests of an account in a sandbox, and in test mode.
const SANDBOX: PaceLimit = PaceLimit::per_second(25);
/// Each endpoint: a method and a route, whatever the ids in it.
const ENDPOINT: PaceLimit = PaceLimit::per_second(25);
/// All searches together.
const SEARCH: PaceLimit = PaceLimit::per_second(20);
/// Reading files, and as much again for writing them.
const FILES: PaceLimit = PaceLimit::per_second(20);
const PAYOUT_CREATE: PaceLimit = PaceLimit::per_second(15).concurrent(30);
const ACCOUNT_CREATE_LIVE: PaceLimit = PaceLimit::per_second(30);
const ACCOUNT_CREATE_SANDBOX: PaceLimit = PaceLimit::per_second(5);
/// In live mode meter events have a limit of their own and count against no other. Those of v2 have it, too.
/// <https://docs.stripe.com/api/v2/billing-meter>
const METER_EVENTS_LIVE: PaceLimit = PaceLimit::per_second(1000);
/// In live mode requests with up to 100 meter events each. <https://docs.stripe.com/api/v2/billing-meter-stream>
const METER_EVENT_STREAM_LIVE: PaceLimit = PaceLimit::per_second(10_000);

/// Which limits the request is subject to.
pub(super) fn class_of(request: &Request, secret: Option<&Secret>) -> PaceClass {
    let live = secret.is_some_and(is_live);
    let account = Some(if live { LIVE } else { SANDBOX });
    let class = |endpoint: &'static str, limit| PaceClass {
        account,
        endpoint: Cow::Borrowed(endpoint),
        limit,
    };
    let alone = |endpoint, limit| PaceClass {
        account: None,
        ..class(endpoint, limit)
    };
    // What a file holds is no operation of the catalogue.
    if request.method == Method::Get && is_file_contents(path_of(request)) {
        return class("files.read", FILES);
    }
    let Some(operation) = operation_of(request) else {
        return PaceClass {
            account,
            endpoint: Cow::Owned(format!("{} {}", request.method, collection(path_of(request)))),
            limit: ENDPOINT,
        };
    };
    match (operation.method, operation.path) {
        (Method::Post, "/v1/payouts") => class("payout.create", PAYOUT_CREATE),
        (Method::Post, "/v1/accounts") if live => class("account.create", ACCOUNT_CREATE_LIVE),
        (Method::Post, "/v1/accounts") => class("account.create", ACCOUNT_CREATE_SANDBOX),
        (Method::Post, "/v1/billing/meter_events") if live => alone("meter_event.create", METER_EVENTS_LIVE),
        (Method::Post, "/v2/billing/meter_events") if live => alone("v2.meter_event.create", METER_EVENTS_LIVE),
        (Method::Post, "/v2/billing/meter_event_stream") if live => {
            alone("v2.meter_event_stream.create", METER_EVENT_STREAM_LIVE)
        }
        (Method::Get, path) if path.starts_with("/v1/files") => class("files.read", FILES),
        (_, path) if path.starts_with("/v1/files") || operation.server == Server::Files => class("files.write", FILES),
        _ if operation.answer == Answer::Search => class("search", SEARCH),
        // A read's needs no text of its own.
        (Method::Get, path) => class(path, ENDPOINT),
        (method, path) => PaceClass {
            account,
            endpoint: Cow::Owned(format!("{method} {path}")),
            limit: ENDPOINT,
        },
    }
}

/// Which limit was passed. Stripe says so in `Stripe-Rate-Limited-Reason`; where it does not, the endpoint is taken to be slower than
/// it was said to be. A limit of one object is no matter of pace, and a lock's timeout none of limits.
pub(super) fn throttle_of(failure: &Failure) -> Option<Throttle> {
    if !is_rate_limit(failure) {
        return None;
    }
    let reason = failure
        .response
        .as_ref()
        .and_then(|r| r.header("stripe-rate-limited-reason"));
    match reason {
        Some("global-rate") => Some(Throttle::AccountRate),
        Some("global-concurrency") => Some(Throttle::AccountConcurrency),
        Some("endpoint-rate") | None => Some(Throttle::EndpointRate),
        Some("endpoint-concurrency") => Some(Throttle::EndpointConcurrency),
        Some(_) => None,
    }
}

/// Whether it may be of live mode: anything but a key that says that it is of a sandbox or of test mode. An organisation's key and a
/// session's token say nothing of the kind; what is too fast for a sandbox is slowed down by its refusals.
/// <https://docs.stripe.com/keys>
fn is_live(secret: &Secret) -> bool {
    !["sk_test_", "rk_test_"]
        .iter()
        .any(|prefix| secret.expose().starts_with(prefix))
}

/// `/v1/widgets` of `/v1/widgets/wd_1/spin`: what an unknown route has in common with its like, and never an id.
fn collection(path: &str) -> &str {
    let end = path.match_indices('/').nth(2).map_or(path.len(), |(at, _)| at);
    &path[..end]
}

#[cfg(test)]
mod tests {
    use inflight_core::{FailureKind, Policy, Response};

    use super::*;
    use crate::StripePolicy;

    fn class(method: Method, target: &str, key: &str) -> (Option<u32>, String, u32, Option<u32>) {
        let request = Request::new(method, target);
        let class = StripePolicy::new()
            .pace_class(&request, Some(&Secret::new(key)))
            .unwrap();
        (
            class.account.map(|limit| limit.per_second),
            class.endpoint.into_owned(),
            class.limit.per_second,
            class.limit.concurrent,
        )
    }

    #[test]
    fn every_request_has_its_limits() {
        use Method::{Delete, Get, Post};
        const TEST: &str = "sk_test_1";
        const REAL: &str = "sk_live_1";
        for (method, target, key, account, endpoint, limit, at_once) in [
            (Post, "/v1/products", TEST, Some(25), "POST /v1/products", 25, None),
            (Post, "/v1/products", REAL, Some(100), "POST /v1/products", 25, None),
            (
                Get,
                "/v1/products/prod_1?expand[]=x",
                "rk_live_1",
                Some(100),
                "/v1/products/{id}",
                25,
                None,
            ),
            (
                Post,
                "/v1/products/prod_1",
                TEST,
                Some(25),
                "POST /v1/products/{id}",
                25,
                None,
            ),
            (
                Delete,
                "/v1/products/prod_1",
                TEST,
                Some(25),
                "DELETE /v1/products/{id}",
                25,
                None,
            ),
            (Get, "/v1/customers/search?query=x", REAL, Some(100), "search", 20, None),
            (Get, "/v1/prices/search?query=x", REAL, Some(100), "search", 20, None),
            (Get, "/v1/files/file_1", TEST, Some(25), "files.read", 20, None),
            (
                Get,
                "https://files.stripe.com/v1/files/file_1/contents?x=1",
                TEST,
                Some(25),
                "files.read",
                20,
                None,
            ),
            (Post, "/v1/files", TEST, Some(25), "files.write", 20, None),
            (Post, "/v1/payouts", REAL, Some(100), "payout.create", 15, Some(30)),
            (Post, "/v1/accounts", REAL, Some(100), "account.create", 30, None),
            (Post, "/v1/accounts", TEST, Some(25), "account.create", 5, None),
            (
                Post,
                "/v1/billing/meter_events",
                REAL,
                None,
                "meter_event.create",
                1000,
                None,
            ),
            (
                Post,
                "/v1/billing/meter_events",
                TEST,
                Some(25),
                "POST /v1/billing/meter_events",
                25,
                None,
            ),
            (
                Post,
                "/v2/billing/meter_events",
                REAL,
                None,
                "v2.meter_event.create",
                1000,
                None,
            ),
            (
                Post,
                "/v2/billing/meter_events",
                TEST,
                Some(25),
                "POST /v2/billing/meter_events",
                25,
                None,
            ),
            (
                Post,
                "/v2/billing/meter_event_stream",
                "a_sessions_token",
                None,
                "v2.meter_event_stream.create",
                10_000,
                None,
            ),
            (
                Post,
                "/v2/billing/meter_event_session",
                REAL,
                Some(100),
                "POST /v2/billing/meter_event_session",
                25,
                None,
            ),
            (Get, "/v1/products", "sk_org_1", Some(100), "/v1/products", 25, None),
            (Get, "/v1/products", "rk_test_1", Some(25), "/v1/products", 25, None),
            (
                Post,
                "/v1/widgets/wd_1/spin",
                TEST,
                Some(25),
                "POST /v1/widgets",
                25,
                None,
            ),
            (Get, "/", TEST, Some(25), "GET /", 25, None),
            (
                Get,
                "https://api.stripe.com/v1/products",
                TEST,
                Some(25),
                "/v1/products",
                25,
                None,
            ),
        ] {
            let expected = (account, endpoint.to_owned(), limit, at_once);
            assert_eq!(class(method, target, key), expected, "{method} {target} {key}");
        }
    }

    #[test]
    fn reasons() {
        for (reason, expected) in [
            (Some("global-rate"), Some(Throttle::AccountRate)),
            (Some("global-concurrency"), Some(Throttle::AccountConcurrency)),
            (Some("endpoint-rate"), Some(Throttle::EndpointRate)),
            (Some("endpoint-concurrency"), Some(Throttle::EndpointConcurrency)),
            (Some("resource-specific"), None),
            (Some("something-new"), None),
            (None, Some(Throttle::EndpointRate)),
        ] {
            let mut response = Response::new(429, "{}");
            let header = reason.map(|reason| ("stripe-rate-limited-reason".into(), reason.into()));
            response.headers.extend(header);
            let policy = StripePolicy::new();
            let failure = policy.classify(&Request::new(Method::Get, "/"), response).unwrap_err();
            assert_eq!(policy.throttle(&failure), expected, "{reason:?}");
        }
        let lock = r#"{"error":{"type":"invalid_request_error","code":"lock_timeout","message":"m"}}"#;
        let policy = StripePolicy::new();
        let failure = policy.classify(&Request::new(Method::Post, "/"), Response::new(429, lock));
        assert_eq!(policy.throttle(&failure.unwrap_err()), None);
        let broken = Failure::new(FailureKind::Connection, inflight_core::Effect::None, "m");
        assert_eq!(policy.throttle(&broken), None);
    }
}
