//! Which requests run one after another.
//!
//! Stripe locks an object while it is changed, and turns away who comes meanwhile with 429 `lock_timeout`; it advises to send such
//! requests one by one. <https://docs.stripe.com/rate-limits>. So a mutation has a lane to itself, named after the object that it
//! changes: the first one in its path, which is the outermost (`/v1/customers/{customer}/sources/{id}` changes the customer).
//!
//! A request that creates something has no such object, and runs beside all others. The exceptions are the creations in billing that
//! change the object they are made for: a customer's invoice takes in what is pending of that customer, an item changes its
//! subscription. They take the lane of that object, which their parameters name. Payments do not: they name a customer and do not
//! change it, and they come in numbers.
//!
//! A request takes one lane, never two, so that none can wait for another in a circle. Reads take none.

use inflight_core::{Body, Method, Request};

use crate::route::{operation_of, path_of};

/// Creations that change another object: the path, and the parameters that may name that object, the first of which counts.
const PARENTS: [(&str, &[(&str, &str)]); 6] = [
    ("/v1/credit_notes", &[("invoice", "invoices")]),
    (
        "/v1/invoiceitems",
        &[
            ("customer", "customers"),
            ("subscription", "subscriptions"),
            ("invoice", "invoices"),
        ],
    ),
    (
        "/v1/invoices",
        &[("customer", "customers"), ("subscription", "subscriptions")],
    ),
    (
        "/v1/refunds",
        &[("payment_intent", "payment_intents"), ("charge", "charges")],
    ),
    ("/v1/subscription_items", &[("subscription", "subscriptions")]),
    ("/v1/subscriptions", &[("customer", "customers")]),
];

/// The lane of a request: `customers/cus_1`, of one account.
///
/// The credential and the account that the request is for are part of it, since the same id may be another object elsewhere, and one
/// tenant must not have to wait for another.
pub(super) fn lane_of(request: &Request) -> Option<String> {
    let object = object_of(request)?;
    let account = |name: &str| {
        let mut headers = request.headers.iter();
        headers.find_map(|(header, value)| header.eq_ignore_ascii_case(name).then_some(&**value))
    };
    let account = account("stripe-account").or_else(|| account("stripe-context"));
    Some(match (request.credential.as_deref(), account) {
        (None, None) => object,
        (credential, account) => {
            let (credential, account) = (credential.unwrap_or_default(), account.unwrap_or_default());
            format!("{credential} {account} {object}")
        }
    })
}

fn object_of(request: &Request) -> Option<String> {
    if request.method.is_safe() {
        return None;
    }
    let path = path_of(request);
    // `/v1/products`: nothing in it can be an id.
    if path.bytes().filter(|byte| *byte == b'/').count() < 3 {
        return parent(request.method, path, request.body.as_ref()?);
    }
    let Some(operation) = operation_of(request) else {
        // A route that is not in the catalogue: most have the id there.
        let mut segments = path.split('/').skip(2);
        return named(segments.next()?, segments.next()?);
    };
    let at = operation.path.split('/').position(|segment| segment.starts_with('{'))?;
    let mut segments = path.split('/').skip(at - 1);
    named(segments.next()?, segments.next()?)
}

fn parent(method: Method, path: &str, body: &Body) -> Option<String> {
    let (_, names) = PARENTS
        .iter()
        .find(|(known, _)| method == Method::Post && *known == path)?;
    let form = std::str::from_utf8(&body.bytes).ok()?;
    let value = |name: &str| {
        let mut fields = form.split('&').filter_map(|field| field.split_once('='));
        fields.find_map(|(field, value)| (field == name && !value.is_empty()).then_some(value))
    };
    names
        .iter()
        .find_map(|(name, collection)| named(collection, value(name)?))
}

fn named(collection: &str, id: &str) -> Option<String> {
    (!id.is_empty()).then(|| format!("{collection}/{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: Method, target: &str, body: &str, expected: Option<&str>) {
        let mut request = Request::new(method, target);
        if method == Method::Post {
            request = request.body("application/x-www-form-urlencoded", body.to_owned());
        }
        assert_eq!(lane_of(&request).as_deref(), expected, "{method} {target} {body}");
    }

    #[test]
    fn a_mutation_has_the_lane_of_the_object_that_it_changes() {
        use Method::{Delete, Get, Post};
        check(Post, "/v1/products", "name=Mug", None);
        check(Post, "/v1/products/prod_1", "name=Mug", Some("products/prod_1"));
        check(Delete, "/v1/products/prod_1", "", Some("products/prod_1"));
        check(Get, "/v1/products/prod_1", "", None);
        check(
            Post,
            "/v1/payment_intents/pi_1/confirm?x=1",
            "",
            Some("payment_intents/pi_1"),
        );
        check(
            Delete,
            "/v1/customers/cus_1/sources/card_1",
            "",
            Some("customers/cus_1"),
        );
        check(Post, "/v1/checkout/sessions", "customer=cus_1", None);
        check(Post, "/v1/checkout/sessions/cs_1/expire", "", Some("sessions/cs_1"));
        check(
            Post,
            "/v1/test_helpers/test_clocks/clock_1/advance",
            "",
            Some("test_clocks/clock_1"),
        );
        check(Post, "/v2/core/accounts/acct_1/persons", "{}", Some("accounts/acct_1"));
        check(Post, "/v1/widgets/wd_1/spin", "", Some("widgets/wd_1"));
        check(
            Delete,
            "https://api.stripe.com/v1/products/prod_1?a=/b",
            "",
            Some("products/prod_1"),
        );
    }

    #[test]
    fn some_creations_change_what_they_are_made_for() {
        use Method::{Delete, Post};
        check(
            Post,
            "/v1/subscriptions",
            "items[0][price]=p&customer=cus_1",
            Some("customers/cus_1"),
        );
        check(Post, "/v1/invoiceitems", "invoice=in_1", Some("invoices/in_1"));
        check(
            Post,
            "/v1/invoiceitems",
            "invoice=in_1&customer=cus_1",
            Some("customers/cus_1"),
        );
        check(Post, "/v1/refunds", "charge=ch_1", Some("charges/ch_1"));
        check(Post, "/v1/payment_intents", "customer=cus_1", None);
        check(Post, "/v1/invoices", "customer=", None);
        check(Post, "/v1/invoices", "metadata[customer]=cus_1", None);
        check(Post, "/v1/invoices", "", None);
        check(Delete, "/v1/invoices", "", None);
    }

    #[test]
    fn accounts_do_not_wait_for_each_other() {
        let update = || Request::new(Method::Post, "/v1/products/gold");
        let lanes = [
            update(),
            update().credential("a"),
            update().credential("b"),
            update().credential("a").header("Stripe-Account", "acct_1"),
            update().credential("a").header("stripe-context", "acct_2"),
        ]
        .map(|request| lane_of(&request).unwrap());
        let distinct: std::collections::HashSet<_> = lanes.iter().collect();
        assert_eq!(distinct.len(), lanes.len(), "{lanes:?}");
        assert_eq!(
            lane_of(&update().credential("a")),
            lane_of(&update().credential("a").header("x", "y"))
        );
    }

    #[test]
    fn odd_paths_have_no_lane_or_a_harmless_one() {
        for target in [
            "",
            "/",
            "//",
            "///",
            "////",
            "/v1//x",
            "/v1/products/",
            "x",
            "http://h",
            "http:///v1/a/b",
        ] {
            let _ = lane_of(&Request::new(Method::Post, target));
            let _ = lane_of(&Request::new(Method::Delete, target));
        }
    }
}
