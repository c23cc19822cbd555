//! What kind of thing each operation does, read off its route and its answer.

use std::collections::{HashMap, HashSet};
use std::sync::OnceLock;

use inflight_stripe::{Answer, Method, Operation};

use crate::schema::{SchemaId, Shape, all_operations, response};

/// What an operation does where nothing is known beyond its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Create,
    Retrieve,
    Update,
    Delete,
    List,
    Search,
    /// `cancel`, `close`, …: the word at the end of the path.
    Act(&'static str),
    /// The one object of its kind, or of its kind and owner.
    Singleton,
    /// Something that is made up for the answer and not kept.
    Preview,
    /// The object that its parameters name.
    Find,
    File,
}

/// How an operation is carried out.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) verb: Verb,
    /// The answer's shape; a list's by one item.
    pub(crate) shape: Shape,
    /// The kinds of object that it is about.
    pub(crate) schemas: Vec<SchemaId>,
    /// The object that the path names before its last part: its kinds, and the place of its id among the path's parameters.
    pub(crate) owner: Option<(Vec<SchemaId>, usize)>,
}

impl Plan {
    /// The first kind of object that the operation is about.
    pub(crate) fn schema(&self) -> Option<SchemaId> {
        self.schemas.first().copied()
    }
}

/// How an operation is carried out. `None` only for operations that the tables do not have.
pub(crate) fn plan(operation: &'static Operation) -> Option<&'static Plan> {
    plans().by_route.get(&(operation.method.as_str(), operation.path))
}

/// Whether some operation or rule of the simulator makes objects of a kind. Of the others there is one wherever it is asked for.
pub(crate) fn is_made(schema: SchemaId) -> bool {
    plans().made.contains(&schema)
}

struct Plans {
    by_route: HashMap<(&'static str, &'static str), Plan>,
    made: HashSet<SchemaId>,
}

fn plans() -> &'static Plans {
    static PLANS: OnceLock<Plans> = OnceLock::new();
    PLANS.get_or_init(|| {
        let reads = Reads::new();
        let by_route: HashMap<_, _> = all_operations()
            .map(|operation| ((operation.method.as_str(), operation.path), reads.plan(operation)))
            .collect();
        let creates = by_route.values().filter(|plan| plan.verb == Verb::Create);
        let mut made: HashSet<SchemaId> = creates.flat_map(|plan| plan.schemas.iter().copied()).collect();
        made.extend(MADE_BY_RULE);
        Plans { by_route, made }
    })
}

/// What other operations make along the way.
const MADE_BY_RULE: [SchemaId; 6] = {
    use crate::generated::{BALANCE_TRANSACTION, CHARGE, DISCOUNT, EVENT, INVOICE_PAYMENT, LINE_ITEM};
    [BALANCE_TRANSACTION, CHARGE, DISCOUNT, EVENT, INVOICE_PAYMENT, LINE_ITEM]
};

/// The operations that read, by their routes without the names of parameters.
struct Reads(HashMap<String, (&'static Operation, Shape)>);

impl Reads {
    fn new() -> Self {
        let reads = all_operations().filter(|operation| operation.method == Method::Get);
        Self(
            reads
                .filter_map(|operation| Some((nameless(operation.path), (operation, response(operation)?))))
                .collect(),
        )
    }

    fn at(&self, path: &str) -> Option<(&'static Operation, Shape)> {
        self.0.get(&nameless(path)).copied()
    }

    fn plan(&self, operation: &'static Operation) -> Plan {
        let shape = response(operation).unwrap_or(Shape::Any);
        let mut schemas = shape.resources();
        let owner = self.owner(operation);
        let verb = self.verb(operation, &schemas, owner.as_ref());
        // A deletion stub does not say of what, but what could be read there is what is deleted.
        if verb == Verb::Delete
            && let Some((_, read)) = self.at(operation.path)
        {
            schemas = read.resources();
        }
        Plan {
            verb,
            shape,
            schemas,
            owner,
        }
    }

    fn verb(
        &self,
        operation: &'static Operation,
        schemas: &[SchemaId],
        owner: Option<&(Vec<SchemaId>, usize)>,
    ) -> Verb {
        match operation.answer {
            Answer::List => return Verb::List,
            Answer::Search => return Verb::Search,
            Answer::File => return Verb::File,
            _ => {}
        }
        let last = operation.path.rsplit('/').next().unwrap_or_default();
        let by_id = last.starts_with('{');
        match (operation.method, last) {
            (Method::Delete, _) => Verb::Delete,
            (Method::Get, _) if by_id => Verb::Retrieve,
            (_, _) if by_id => Verb::Update,
            (_, "preview" | "create_preview" | "ping") => Verb::Preview,
            (_, "find") => Verb::Find,
            (_, "delete") => Verb::Delete,
            (Method::Get, _) => Verb::Singleton,
            _ => self.post(operation, schemas, owner, last),
        }
    }

    fn post(
        &self,
        operation: &'static Operation,
        schemas: &[SchemaId],
        owner: Option<&(Vec<SchemaId>, usize)>,
        last: &'static str,
    ) -> Verb {
        match self.at(operation.path) {
            Some((read, _)) if read.answer == Answer::List => return Verb::Create,
            Some((_, shape)) if shape.resources() == schemas => return Verb::Singleton,
            _ => {}
        }
        // A verb on the one object of an owner: `/v1/charges/{charge}/dispute/close`.
        let above = operation.path.rsplit_once('/').map_or("", |(above, _)| above);
        if let Some((read, shape)) = self.at(above)
            && !above.ends_with('}')
            && read.answer == Answer::Object
            && shape.resources() == schemas
        {
            return Verb::Singleton;
        }
        match owner {
            None if operation.path_params.is_empty() => Verb::Create,
            None => Verb::Act(last),
            Some((owners, _)) if owners.iter().any(|owner| schemas.contains(owner)) => Verb::Act(last),
            Some(_) => Verb::Create,
        }
    }

    /// What the path names before its last part.
    fn owner(&self, operation: &'static Operation) -> Option<(Vec<SchemaId>, usize)> {
        let mut path = operation.path;
        while let Some((above, _)) = path.rsplit_once('/') {
            path = above;
            if !path.ends_with('}') {
                continue;
            }
            let place = path.matches('{').count() - 1;
            let read = self
                .at(path)
                .or_else(|| self.at(&path.replacen("/test_helpers", "", 1)));
            return read
                .map(|(_, shape)| (shape.resources(), place))
                .filter(|(schemas, _)| !schemas.is_empty());
        }
        None
    }
}

/// `/v1/customers/{}` for `/v1/customers/{customer}`.
fn nameless(path: &str) -> String {
    let segments = path
        .split('/')
        .map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{CUSTOMER, DISPUTE, ISSUING_CARD, PAYMENT_INTENT};

    fn verb(name: &str) -> Verb {
        plan(Operation::by_name(name).unwrap()).unwrap().verb
    }

    #[test]
    fn operations_do_what_their_routes_say() {
        for (name, expected) in [
            ("customer.create", Verb::Create),
            ("customer.retrieve", Verb::Retrieve),
            ("customer.update", Verb::Update),
            ("customer.delete", Verb::Delete),
            ("customer.list", Verb::List),
            ("customer.search", Verb::Search),
            ("invoice.pay", Verb::Act("pay")),
            ("invoice.create_preview", Verb::Preview),
            ("subscription.resume", Verb::Act("resume")),
            ("subscription.cancel", Verb::Delete),
            ("account_login_link.create", Verb::Create),
            ("balance.retrieve", Verb::Singleton),
            ("tax.settings.update", Verb::Singleton),
            ("quote.pdf", Verb::File),
            ("token.create", Verb::Create),
            ("v2.core.account.close", Verb::Act("close")),
            ("test_helpers.issuing.card.ship_card", Verb::Act("ship")),
        ] {
            assert_eq!(verb(name), expected, "{name}");
        }
        let ship = plan(Operation::by_name("test_helpers.issuing.card.ship_card").unwrap()).unwrap();
        assert_eq!(ship.schema(), Some(ISSUING_CARD));
        let source = plan(Operation::by_route(Method::Get, "/v1/customers/a/sources").unwrap().0).unwrap();
        assert_eq!(source.owner, Some((vec![CUSTOMER], 0)));
    }

    #[test]
    fn what_is_made() {
        assert!(is_made(PAYMENT_INTENT) && is_made(CUSTOMER) && !is_made(DISPUTE));
    }
}
