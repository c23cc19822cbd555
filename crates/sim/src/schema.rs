//! What Stripe's answers look like: the types behind the generated tables.

use std::collections::HashMap;
use std::sync::OnceLock;

use inflight_stripe::{Operation, operations, unnamed};

use crate::generated::{ALTERNATIVES, ENUMS, RESOURCES, RESPONSES, SCHEMAS, SHAPES};

/// What a field holds. Numbers are places in the generated tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Any,
    Boolean,
    Integer,
    Timestamp,
    Number,
    Text,
    /// A number written as text.
    Digits,
    Currency,
    /// A moment written as text, as API v2 does.
    DateTime,
    Enum(u16),
    List(u16),
    /// Values under names of the caller's choice.
    Map(u16),
    Object(SchemaId),
    /// A list object: `{"object": "list", "data": […], …}`.
    Page(u16),
    /// An id, or one of these objects where it is expanded.
    Id(u16),
    AnyOf(u16),
}

impl Shape {
    pub(crate) fn enumeration(index: u16) -> &'static [&'static str] {
        ENUMS[usize::from(index)]
    }

    pub(crate) fn inner(index: u16) -> Shape {
        SHAPES[usize::from(index)]
    }

    pub(crate) fn alternatives(index: u16) -> &'static [Shape] {
        ALTERNATIVES[usize::from(index)]
    }

    /// The objects that this may be, deletion stubs left out.
    pub(crate) fn objects(self) -> Vec<SchemaId> {
        match self {
            Self::Object(schema) => vec![schema],
            Self::Id(index) | Self::AnyOf(index) => {
                let shapes = Self::alternatives(index).iter();
                let mut objects: Vec<SchemaId> = shapes.flat_map(|shape| shape.objects()).collect();
                objects.retain(|schema| !schema.is_deletion_stub());
                objects
            }
            _ => Vec::new(),
        }
    }

    /// The stub that tells of a deletion, where this may be one.
    pub(crate) fn deletion_stub(self) -> Option<SchemaId> {
        match self {
            Self::Object(schema) => Some(schema).filter(|schema| schema.is_deletion_stub()),
            Self::AnyOf(index) => Self::alternatives(index).iter().find_map(|shape| shape.deletion_stub()),
            _ => None,
        }
    }

    /// The kinds of object with an id of their own that this may be.
    pub(crate) fn resources(self) -> Vec<SchemaId> {
        let mut objects = self.objects();
        objects.retain(|schema| schema.is_resource());
        objects
    }
}

/// One field of an object.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) required: bool,
    pub(crate) nullable: bool,
}

/// The fields of an object, sorted by name.
#[derive(Debug)]
pub(crate) struct Schema {
    /// Its name in the specification; empty for one that has none.
    pub(crate) name: &'static str,
    /// What its field `object` says; empty without one.
    pub(crate) object: &'static str,
    pub(crate) fields: &'static [Field],
}

/// A schema, by its place in the generated table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SchemaId(pub(crate) u16);

impl SchemaId {
    pub(crate) fn get(self) -> &'static Schema {
        &SCHEMAS[usize::from(self.0)]
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Whether objects of this kind are kept: they say what `object` they are.
    pub(crate) fn is_resource(self) -> bool {
        self.index() < RESOURCES
    }

    pub(crate) fn is_deletion_stub(self) -> bool {
        self.get().name.starts_with("deleted_")
    }

    /// What its `object` says.
    pub(crate) fn object(self) -> &'static str {
        self.get().object
    }

    pub(crate) fn is_v2(self) -> bool {
        self.get().name.starts_with("v2.")
    }

    /// The resource of that name in the specification.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        let found = SCHEMAS
            .get(..RESOURCES)?
            .binary_search_by(|schema| schema.name.cmp(name))
            .ok()?;
        u16::try_from(found).ok().map(Self)
    }

    /// The resource whose `object` says this. That is its name in the specification but for a few.
    pub(crate) fn by_object(object: &str) -> Option<Self> {
        let of_name = Self::by_name(object).filter(|schema| schema.object() == object);
        of_name.or_else(|| {
            let found = SCHEMAS
                .get(..RESOURCES)?
                .iter()
                .position(|schema| schema.object == object)?;
            u16::try_from(found).ok().map(Self)
        })
    }

    pub(crate) fn field(self, name: &str) -> Option<&'static Field> {
        self.get().fields.get(usize::from(self.index_of(name)?))
    }

    pub(crate) fn index_of(self, name: &str) -> Option<u16> {
        let at = self.get().fields.binary_search_by(|field| field.name.cmp(name)).ok()?;
        u16::try_from(at).ok()
    }
}

/// What an operation answers with, a list or a search with one item's shape. `None` for files.
pub(crate) fn response(operation: &'static Operation) -> Option<Shape> {
    static SHAPES: OnceLock<HashMap<(&str, &str), Shape>> = OnceLock::new();
    let shapes = SHAPES.get_or_init(|| {
        let rows = RESPONSES.iter();
        rows.map(|(method, path, shape)| ((*method, *path), *shape)).collect()
    });
    shapes.get(&(operation.method.as_str(), operation.path)).copied()
}

/// Every operation, those without a name too.
pub(crate) fn all_operations() -> impl Iterator<Item = &'static Operation> {
    operations().chain(unnamed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{CHARGE, CUSTOMER};

    #[test]
    fn tables_are_sorted_and_found() {
        assert!(SCHEMAS[..RESOURCES].is_sorted_by_key(|schema| schema.name));
        for schema in &SCHEMAS {
            assert!(schema.fields.is_sorted_by_key(|field| field.name), "{}", schema.name);
        }
        assert_eq!(SchemaId::by_object("customer"), Some(CUSTOMER));
        assert_eq!(SchemaId::by_object("zebra"), None);
        assert_eq!(
            CHARGE.field("customer").map(|field| field.shape.resources()),
            Some(vec![CUSTOMER])
        );
    }

    #[test]
    fn every_operation_has_its_answer() {
        let files: Vec<&str> = all_operations()
            .filter(|o| response(o).is_none())
            .map(|o| o.path)
            .collect();
        assert_eq!(files, ["/v1/quotes/{quote}/pdf"]);
    }
}
