//! Which operation a request is, for rules that go by it.

use inflight_core::Request;

use crate::catalogue::Operation;

/// The request's operation, if the catalogue knows it.
pub(crate) fn operation_of(request: &Request) -> Option<&'static Operation> {
    let named = Operation::by_name(&request.operation).ok();
    named.or_else(|| Operation::by_route(request.method, path_of(request)).map(|(operation, _)| operation))
}

/// The request's path, without scheme, host and query.
pub(crate) fn path_of(request: &Request) -> &str {
    let target = &*request.target;
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
        None => target,
    };
    path.split(['?', '#']).next().unwrap_or(path)
}
