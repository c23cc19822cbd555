//! Stripe's operations and their parameters, as static data.

mod kind;

use std::collections::HashMap;
use std::fmt;
use std::sync::OnceLock;

use inflight_core::Method;

pub use self::kind::Kind;
use crate::generated::{RESOURCES, UNNAMED};

/// One parameter of an operation, or of a map within one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Param {
    /// The name as Stripe spells it.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Whether Stripe refuses the request without it.
    pub required: bool,
    /// Whether `""` clears it.
    pub clearable: bool,
}

impl Param {
    /// The parameter of that name in a list that is sorted by name, as all of the catalogue's are.
    pub(crate) fn find(params: &'static [Param], name: &str) -> Option<&'static Param> {
        let at = params.binary_search_by(|p| p.name.cmp(name)).ok()?;
        params.get(at)
    }
}

/// How an operation's body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// As a form: Stripe's API v1.
    Form,
    /// As JSON: Stripe's API v2.
    Json,
    /// As parts, of which one is a file.
    Multipart,
}

/// What an operation answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Answer {
    /// One object.
    Object,
    /// A page of objects. The next one is found by the last object's id in v1, and by `next_page_url` in v2.
    List,
    /// A page of search results. The next one is found by `next_page`.
    Search,
    /// That an object was deleted.
    Deleted,
    /// A file: bytes, not JSON.
    File,
}

/// Which of Stripe's servers an operation is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Server {
    /// `api.stripe.com`
    Api,
    /// `files.stripe.com`
    Files,
    /// `meter-events.stripe.com`
    MeterEvents,
    /// `connect.stripe.com`: OAuth, which the specification does not describe.
    Connect,
}

/// One thing that Stripe's API does.
///
/// ```
/// use inflight_stripe::{Method, Operation};
///
/// let operation = Operation::by_name("coupon.create").unwrap();
/// assert_eq!((operation.method, operation.path), (Method::Post, "/v1/coupons"));
/// let name = operation.param("name").unwrap();
/// assert_eq!(name.kind.to_string(), "text of at most 40 characters");
/// ```
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// The name in the official SDKs: `product.create`. Operations of v2 are named by the same rule, from their path:
    /// `v2.core.event.retrieve`. Empty for old aliases that no SDK has.
    pub name: &'static str,
    /// The HTTP method.
    pub method: Method,
    /// The path with its parameters in braces: `/v1/products/{id}`.
    pub path: &'static str,
    /// The names of the path's parameters, in order.
    pub path_params: &'static [&'static str],
    /// Parameters that the specification puts into the query, sorted by name.
    pub query: &'static [Param],
    /// Parameters that the specification puts into the body, sorted by name.
    pub body: &'static [Param],
    /// How the body is written.
    pub encoding: Encoding,
    /// What the answer is.
    pub answer: Answer,
    /// Which server carries it out.
    pub server: Server,
}

impl Operation {
    /// The operation of that name.
    ///
    /// Operations without a name are found by their route only.
    ///
    /// # Errors
    /// Where there is none, with the nearest name.
    pub fn by_name(name: &str) -> Result<&'static Operation, UnknownOperation> {
        let found = name
            .rsplit_once('.')
            .and_then(|(resource, verb)| Resource::by_name(resource)?.operation(verb));
        found.ok_or_else(|| UnknownOperation::new(name))
    }

    /// The operation that a method and a path (without query) stand for, with the path's parameters as they were
    /// written, still percent-encoded.
    ///
    /// ```
    /// use inflight_stripe::{Method, Operation};
    ///
    /// let (operation, ids) = Operation::by_route(Method::Get, "/v1/products/prod_1").unwrap();
    /// assert_eq!((operation.name, &ids[..]), ("product.retrieve", &["prod_1"][..]));
    /// ```
    #[must_use]
    pub fn by_route(method: Method, path: &str) -> Option<(&'static Operation, Vec<&str>)> {
        let candidates = routes().get(&RouteKey::of(method, path)?)?;
        candidates
            .iter()
            .find_map(|operation| Some((*operation, match_path(operation.path, path)?)))
    }

    /// Whether it belongs to Stripe's API v2.
    #[must_use]
    pub fn is_v2(&self) -> bool {
        is_v2(self.path)
    }

    /// The resource's name: `product`.
    #[must_use]
    pub fn resource(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(resource, _)| resource)
    }

    /// The name without the resource: `create`.
    #[must_use]
    pub fn verb(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(_, verb)| verb)
    }

    /// All parameters but the path's.
    pub fn known_params(&self) -> impl Iterator<Item = &'static Param> + use<> {
        self.body.iter().chain(self.query)
    }

    /// The parameter of that name. The path's parameters are not among them.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'static Param> {
        Param::find(self.body, name).or_else(|| Param::find(self.query, name))
    }
}

/// There is no operation of that name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownOperation {
    name: String,
}

impl UnknownOperation {
    fn new(name: &str) -> Self {
        Self {
            name: name.chars().take(80).collect(),
        }
    }

    /// The name that was probably meant.
    #[must_use]
    pub fn nearest(&self) -> Option<&'static str> {
        nearest(&self.name, operations().map(|operation| operation.name))
    }
}

impl fmt::Display for UnknownOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there is no operation {:?}", self.name)?;
        match self.nearest() {
            Some(near) => write!(f, ": did you mean {near:?}?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownOperation {}

/// A kind of Stripe object, with what can be done to it.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resource {
    /// The name in the official SDKs: `payment_intent`, `checkout.session`.
    pub name: &'static str,
    /// Its operations, sorted by name.
    pub operations: &'static [Operation],
}

impl Resource {
    /// The resource of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Resource> {
        let at = RESOURCES.binary_search_by(|r| r.name.cmp(name)).ok()?;
        RESOURCES.get(at)
    }

    /// The operation of that name without the resource: `create`.
    #[must_use]
    pub fn operation(&self, verb: &str) -> Option<&'static Operation> {
        // All names begin with the resource's and a dot.
        let verb_of = |operation: &Operation| operation.name.get(self.name.len() + 1..);
        let at = self.operations.binary_search_by(|o| verb_of(o).cmp(&Some(verb))).ok()?;
        self.operations.get(at)
    }
}

/// All resources, sorted by name.
#[must_use]
pub fn resources() -> &'static [Resource] {
    RESOURCES
}

/// The operations that the SDKs have no name for: old aliases of others. Sorted by path.
#[must_use]
pub fn unnamed() -> &'static [Operation] {
    UNNAMED
}

/// Whether a path belongs to Stripe's API v2.
pub(crate) fn is_v2(path: &str) -> bool {
    path.starts_with("/v2/")
}

/// All operations that have a name, sorted by resource and name.
pub fn operations() -> impl Iterator<Item = &'static Operation> {
    RESOURCES.iter().flat_map(|r| r.operations)
}

/// The candidate that `name` is most likely a misspelling of, if one is near enough.
///
/// ```
/// assert_eq!(inflight_stripe::nearest("curency", ["currency", "customer"]), Some("currency"));
/// assert_eq!(inflight_stripe::nearest("zebra", ["currency", "customer"]), None);
/// ```
pub fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // The distance costs the product of both lengths; no name of Stripe's is near a text as long as this.
    if name.len() > 64 {
        return None;
    }
    let lower = name.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.chars().count().min(lower.chars().count()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// What narrows the search for a route down to a few operations.
#[derive(PartialEq, Eq, Hash)]
struct RouteKey<'a> {
    method: Method,
    segments: usize,
    collection: &'a str,
}

impl<'a> RouteKey<'a> {
    fn of(method: Method, path: &'a str) -> Option<Self> {
        let mut segments = path.strip_prefix('/')?.split('/');
        segments.next()?;
        let collection = segments.next()?;
        Some(Self {
            method,
            segments: 2 + segments.count(),
            collection,
        })
    }
}

fn routes() -> &'static HashMap<RouteKey<'static>, Vec<&'static Operation>> {
    static ROUTES: OnceLock<HashMap<RouteKey<'static>, Vec<&'static Operation>>> = OnceLock::new();
    ROUTES.get_or_init(|| {
        let mut routes: HashMap<_, Vec<&'static Operation>> = HashMap::new();
        for operation in operations().chain(UNNAMED) {
            if let Some(key) = RouteKey::of(operation.method, operation.path) {
                routes.entry(key).or_default().push(operation);
            }
        }
        // `/v1/products/search` goes before `/v1/products/{id}`.
        for candidates in routes.values_mut() {
            candidates.sort_by_key(|o| o.path_params.len());
        }
        routes
    })
}

/// The values of the template's parameters, if the path fits it. Both have the same number of segments.
fn match_path<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut values = Vec::new();
    for (expected, actual) in template.split('/').zip(path.split('/')) {
        if expected.starts_with('{') {
            if actual.is_empty() {
                return None;
            }
            values.push(actual);
        } else if expected != actual {
            return None;
        }
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_found_by_name_and_route() {
        assert!(RESOURCES.is_sorted_by_key(|r| r.name));
        for operation in operations() {
            assert_eq!(Operation::by_name(operation.name), Ok(operation));
        }
        for operation in operations().chain(UNNAMED) {
            let (found, ids) = Operation::by_route(operation.method, operation.path).unwrap();
            assert_eq!((found.name, found.path), (operation.name, operation.path));
            assert_eq!(ids.len(), operation.path_params.len());
            assert!(operation.body.is_sorted_by_key(|p| p.name), "{}", operation.name);
            assert!(operation.query.is_sorted_by_key(|p| p.name), "{}", operation.name);
        }
    }

    #[test]
    fn the_whole_specification_is_here() {
        let v1 = operations().filter(|o| !o.is_v2()).count();
        assert_eq!((v1, UNNAMED.len()), (532, 55));
        assert_eq!(operations().filter(|o| o.is_v2()).count(), 32);
        let all = || operations().chain(UNNAMED);
        let routes: std::collections::HashSet<_> = all().map(|o| (o.method, o.path)).collect();
        assert_eq!(routes.len(), 587 + 32);
    }

    #[test]
    fn operations_of_v2_are_named_by_rule() {
        for (name, method, path) in [
            ("v2.core.event.list", Method::Get, "/v2/core/events"),
            ("v2.core.event.retrieve", Method::Get, "/v2/core/events/{id}"),
            ("v2.core.account.close", Method::Post, "/v2/core/accounts/{id}/close"),
            (
                "v2.core.account_person.update",
                Method::Post,
                "/v2/core/accounts/{account_id}/persons/{id}",
            ),
            (
                "v2.core.event_destination.delete",
                Method::Delete,
                "/v2/core/event_destinations/{id}",
            ),
            (
                "v2.billing.meter_event_session.create",
                Method::Post,
                "/v2/billing/meter_event_session",
            ),
            (
                "v2.commerce.product_catalog_import.create",
                Method::Post,
                "/v2/commerce/product_catalog/imports",
            ),
        ] {
            let operation = Operation::by_name(name).unwrap();
            assert_eq!((operation.method, operation.path), (method, path));
            assert_eq!(operation.encoding, Encoding::Json);
        }
    }

    #[test]
    fn what_is_answered_and_where() {
        let facts = |name: &str| {
            let operation = Operation::by_name(name).unwrap();
            (operation.answer, operation.server, operation.encoding)
        };
        assert_eq!(facts("product.create"), (Answer::Object, Server::Api, Encoding::Form));
        assert_eq!(facts("product.list"), (Answer::List, Server::Api, Encoding::Form));
        assert_eq!(facts("product.search"), (Answer::Search, Server::Api, Encoding::Form));
        assert_eq!(facts("product.delete"), (Answer::Deleted, Server::Api, Encoding::Form));
        assert_eq!(facts("v2.core.event.list"), (Answer::List, Server::Api, Encoding::Json));
        assert_eq!(
            facts("file.create"),
            (Answer::Object, Server::Files, Encoding::Multipart)
        );
        assert_eq!(facts("quote.pdf"), (Answer::File, Server::Files, Encoding::Form));
        let stream = facts("v2.billing.meter_event_stream.create");
        assert_eq!(stream, (Answer::Object, Server::MeterEvents, Encoding::Json));
    }

    #[test]
    fn routes_that_do_not_exist() {
        for path in [
            "",
            "/",
            "/v1",
            "/v1/foo",
            "/v1/products/",
            "/v1/products/a/b",
            "v1/products",
            "//",
        ] {
            assert!(Operation::by_route(Method::Post, path).is_none(), "{path}");
        }
    }

    #[test]
    fn suggestions() {
        let names = || {
            Operation::by_name("price.create")
                .unwrap()
                .known_params()
                .map(|p| p.name)
        };
        assert_eq!(nearest("unit_amont", names()), Some("unit_amount"));
        assert_eq!(nearest("UNIT_AMOUNT", names()), Some("unit_amount"));
        assert_eq!(nearest(&"x".repeat(1_000_000), names()), None);
        assert_eq!(nearest("", names()), None);
    }
}
