//! One object: what differs from a fresh one of its kind.

use std::sync::Arc;

use crate::calendar::date_time;
use crate::defaults::{self, Ready, Slot, ready};
use crate::json::{push_number, push_text, text};
use crate::schema::{SchemaId, Shape};
use crate::store::DataSet;

/// Objects within objects within objects end here.
const EMBEDDED_MAX: usize = 4;

/// One object. Only what differs from its schema's defaults takes memory.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) schema: SchemaId,
    pub(crate) id: Box<str>,
    pub(crate) created: i64,
    /// JSON by the place of the field in the schema, sorted.
    fields: Vec<(u16, Box<str>)>,
    pub(crate) metadata: Vec<(Box<str>, Box<str>)>,
    /// The object in whose path this one was made.
    pub(crate) parent: Option<Box<str>>,
    /// The newest event that shows this object as it is, by its number; 0 if there is none.
    pub(crate) event: u32,
}

impl Object {
    pub(crate) fn new(schema: SchemaId, id: impl Into<Box<str>>, created: i64) -> Self {
        Self {
            schema,
            id: id.into(),
            created,
            fields: Vec::new(),
            metadata: Vec::new(),
            parent: None,
            event: 0,
        }
    }

    /// Sets a field to this JSON. Names that the schema does not have are passed over.
    pub(crate) fn set(&mut self, field: &str, json: impl Into<Box<str>>) {
        let Some(index) = self.schema.index_of(field) else {
            return;
        };
        let json = json.into();
        match self.fields.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => self.fields[at].1 = json,
            Err(at) => self.fields.insert(at, (index, json)),
        }
    }

    /// Sets a field to a text.
    pub(crate) fn set_text(&mut self, field: &str, value: &str) {
        self.set(field, text(value));
    }

    /// Sets a field to a number.
    pub(crate) fn set_integer(&mut self, field: &str, value: i64) {
        self.set(field, value.to_string());
    }

    /// Sets a field to what it is in a fresh object.
    pub(crate) fn clear(&mut self, field: &str) {
        if let Some(index) = self.schema.index_of(field) {
            self.fields.retain(|(i, _)| *i != index);
        }
    }

    /// The fields that were set, with their JSON.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let known = self.schema.get().fields;
        self.fields
            .iter()
            .filter_map(|(index, json)| Some((known.get(usize::from(*index))?.name, &**json)))
    }

    /// Whether this shows what the other one shows.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.fields == other.fields && self.metadata == other.metadata
    }

    /// Whether a field was set.
    pub(crate) fn has(&self, field: &str) -> bool {
        self.schema
            .index_of(field)
            .is_some_and(|index| self.fields.iter().any(|(i, _)| *i == index))
    }

    /// A field's JSON; `null` if the schema does not have it.
    pub(crate) fn json(&self, field: &str) -> &str {
        let Some(index) = self.schema.index_of(field) else {
            return "null";
        };
        match self.fields.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => &self.fields[at].1,
            Err(_) => ready(self.schema)[usize::from(index)]
                .default
                .as_deref()
                .unwrap_or("null"),
        }
    }

    /// A field's JSON, read.
    pub(crate) fn value(&self, field: &str) -> serde_json::Value {
        serde_json::from_str(self.json(field)).unwrap_or_default()
    }

    /// A field's text, for fields whose texts need no escapes: ids, statuses, currencies.
    pub(crate) fn word(&self, field: &str) -> Option<&str> {
        self.json(field).strip_prefix('"')?.strip_suffix('"')
    }

    pub(crate) fn integer(&self, field: &str) -> Option<i64> {
        self.json(field).parse().ok()
    }

    pub(crate) fn amount(&self, field: &str) -> i64 {
        self.integer(field).unwrap_or(0)
    }

    pub(crate) fn is_true(&self, field: &str) -> bool {
        self.json(field) == "true"
    }

    /// The ids that a page of other objects is made of.
    pub(crate) fn ids(&self, field: &str) -> Vec<String> {
        serde_json::from_str(self.json(field)).unwrap_or_default()
    }

    /// Appends the whole object, with nothing expanded.
    pub(crate) fn push_json(&self, out: &mut String, data: &DataSet) {
        self.push_at(out, data, 0);
    }

    /// First what an object is, then its other fields.
    fn push_at(&self, out: &mut String, data: &DataSet, depth: usize) {
        let start = out.len();
        let fields = ready(self.schema);
        for ready in fields {
            match ready.slot {
                Slot::Id => {
                    out.push_str(&ready.key);
                    push_text(out, &self.id);
                }
                Slot::Object => push_number(out, format_args!("{}\"{}\"", ready.key, self.schema.object())),
                _ => {}
            }
        }
        let mut set = self.fields.iter().peekable();
        for (index, ready) in fields.iter().enumerate() {
            let set = set.next_if(|(i, _)| usize::from(*i) == index).map(|(_, json)| &**json);
            self.push_field(out, data, (index, ready), set, depth);
        }
        match out.as_bytes().get(start) {
            // The first field's comma is where the brace belongs.
            Some(b',') => out.replace_range(start..=start, "{"),
            _ => out.push('{'),
        }
        out.push('}');
    }

    fn push_field(
        &self,
        out: &mut String,
        data: &DataSet,
        (index, ready): (usize, &Ready),
        set: Option<&str>,
        depth: usize,
    ) {
        match (&ready.slot, set) {
            (Slot::Id | Slot::Object, _) => {}
            (Slot::Created, None) => push_number(out, format_args!("{}{}", ready.key, self.created)),
            (Slot::CreatedText, None) => {
                push_number(out, format_args!("{}\"{}\"", ready.key, date_time(self.created)));
            }
            (Slot::Livemode, _) => push_number(out, format_args!("{}false", ready.key)),
            (Slot::Metadata, _) => self.push_metadata(out, &ready.key),
            (_, Some(_)) if ready.hidden => {}
            (_, Some(json)) => {
                out.push_str(&ready.key);
                if ready.embeds && depth < EMBEDDED_MAX {
                    self.push_embedded(out, data, index, json, depth);
                } else {
                    out.push_str(json);
                }
            }
            (_, None) => {
                if let Some(json) = &ready.default {
                    out.push_str(&ready.key);
                    out.push_str(json);
                }
            }
        }
    }

    fn push_metadata(&self, out: &mut String, key: &str) {
        out.push_str(key);
        out.push('{');
        for (n, (key, value)) in self.metadata.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            push_text(out, key);
            out.push(':');
            push_text(out, value);
        }
        out.push('}');
    }

    /// Ids where whole objects belong: those objects.
    fn push_embedded(&self, out: &mut String, data: &DataSet, index: usize, json: &str, depth: usize) {
        let Some(field) = self.schema.get().fields.get(index) else {
            return;
        };
        match field.shape {
            Shape::Page(item) if json.starts_with('[') => {
                let mut objects = String::new();
                push_list(&mut objects, data, &self.ids(field.name), Shape::inner(item), depth);
                out.push_str(&defaults::page(&objects, false, &self.page_url(field.name)));
            }
            Shape::List(item) if json.starts_with("[\"") => {
                push_list(out, data, &self.ids(field.name), Shape::inner(item), depth);
            }
            shape => match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(id) => push_one(out, data, id, shape, depth),
                None => out.push_str(json),
            },
        }
    }

    fn page_url(&self, field: &str) -> String {
        let id = &self.id;
        match self.schema.object() {
            "subscription" => format!("/v1/subscription_items?subscription={id}"),
            "checkout.session" => format!("/v1/checkout/sessions/{id}/{field}"),
            object => format!("/v1/{}s/{id}/{field}", object.replace('.', "/")),
        }
    }
}

fn push_list(out: &mut String, data: &DataSet, ids: &[String], shape: Shape, depth: usize) {
    out.push('[');
    for (n, id) in ids.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        push_one(out, data, id, shape, depth);
    }
    out.push(']');
}

fn push_one(out: &mut String, data: &DataSet, id: &str, shape: Shape, depth: usize) {
    match shape.resources().into_iter().find_map(|schema| data.get(schema, id)) {
        Some(object) => object.push_at(out, data, depth + 1),
        None => out.push_str("null"),
    }
}

/// An object as it was, for events.
pub(crate) type Snapshot = Arc<Object>;
