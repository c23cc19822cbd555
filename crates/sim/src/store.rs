//! Everything that one account has.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::OnceLock;

use bytes::Bytes;

use crate::event::Events;
use crate::generated::RESOURCES;
use crate::idempotency::Keys;
use crate::object::Object;
use crate::schema::SchemaId;

/// So many different cards are remembered as they are shown.
const SHOWN_MAX: usize = 256;

/// All objects of one type, oldest first.
#[derive(Debug, Default, Clone)]
pub(crate) struct Table {
    rows: Vec<Option<Object>>,
    by_id: HashMap<Box<str>, usize>,
}

impl Table {
    pub(crate) fn insert(&mut self, object: Object) {
        self.by_id.insert(object.id.clone(), self.rows.len());
        self.rows.push(Some(object));
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Object> {
        self.rows.get(*self.by_id.get(id)?)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: &str) -> Option<&mut Object> {
        self.rows.get_mut(*self.by_id.get(id)?)?.as_mut()
    }

    pub(crate) fn remove(&mut self, id: &str) -> Option<Object> {
        let removed = self.rows.get_mut(self.by_id.remove(id)?)?.take();
        // Gaps cost a list its time; closing them once they are the half costs each removal little.
        if self.rows.len() > 1000 && self.by_id.len() < self.rows.len() / 2 {
            self.close_gaps();
        }
        removed
    }

    fn close_gaps(&mut self) {
        self.rows.retain(Option::is_some);
        for (index, object) in self.rows.iter().flatten().enumerate() {
            if let Some(known) = self.by_id.get_mut(&object.id) {
                *known = index;
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// The place of an object in the order of creation.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Objects older than this place, newest first.
    pub(crate) fn older_than(&self, place: usize) -> impl Iterator<Item = &Object> {
        self.rows.iter().take(place).rev().flatten()
    }

    /// Objects newer than this place, oldest first.
    pub(crate) fn newer_than(&self, place: usize) -> impl Iterator<Item = &Object> {
        self.rows.iter().skip(place.saturating_add(1)).flatten()
    }

    /// All objects, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Object> {
        self.rows.iter().flatten()
    }
}

/// Everything that one account has.
#[derive(Debug, Default)]
pub(crate) struct DataSet {
    /// By the place of the schema; only those that have ever held something.
    tables: Vec<Option<Box<Table>>>,
    pub(crate) keys: Keys,
    pub(crate) events: Events,
    /// The price that each lookup key belongs to.
    pub(crate) lookup_keys: HashMap<Box<str>, Box<str>>,
    /// The active promotion code that each code that customers enter belongs to.
    pub(crate) promotion_codes: HashMap<Box<str>, Box<str>>,
    /// Products that have prices: those cannot be deleted.
    pub(crate) priced_products: HashSet<Box<str>>,
    /// Deleted objects for which Stripe still answers.
    pub(crate) deleted: HashSet<(SchemaId, Box<str>)>,
    /// Invoice items that wait for an invoice, by customer.
    pub(crate) pending_items: HashMap<Box<str>, Vec<Box<str>>>,
    /// Coupons that were deleted: discounts that they gave go on.
    pub(crate) ended_coupons: HashMap<Box<str>, Object>,
    /// What files hold.
    pub(crate) contents: HashMap<Box<str>, Bytes>,
    /// How cards are shown, which is the same over and over: by the card's JSON.
    shown: HashMap<Box<str>, Box<str>>,
    /// The account's money by currency, in the minor unit.
    pub(crate) balance: BTreeMap<Box<str>, i64>,
}

impl DataSet {
    /// Everything but the idempotency keys, to go back to.
    pub(crate) fn copy(&self) -> Self {
        Self {
            tables: self.tables.clone(),
            keys: Keys::default(),
            events: self.events.clone(),
            lookup_keys: self.lookup_keys.clone(),
            promotion_codes: self.promotion_codes.clone(),
            priced_products: self.priced_products.clone(),
            deleted: self.deleted.clone(),
            pending_items: self.pending_items.clone(),
            ended_coupons: self.ended_coupons.clone(),
            contents: self.contents.clone(),
            shown: HashMap::new(),
            balance: self.balance.clone(),
        }
    }

    /// Undoes what happened since that copy was made.
    pub(crate) fn go_back_to(&mut self, mut copy: Self) {
        copy.keys = std::mem::take(&mut self.keys);
        *self = copy;
    }

    pub(crate) fn table(&self, schema: SchemaId) -> &Table {
        static EMPTY: OnceLock<Table> = OnceLock::new();
        let table = self.tables.get(schema.index()).and_then(Option::as_deref);
        table.unwrap_or_else(|| EMPTY.get_or_init(Table::default))
    }

    pub(crate) fn table_mut(&mut self, schema: SchemaId) -> &mut Table {
        if self.tables.is_empty() {
            self.tables.resize_with(RESOURCES.max(schema.index() + 1), || None);
        }
        let place = schema.index().min(self.tables.len() - 1);
        self.tables[place].get_or_insert_default()
    }

    pub(crate) fn get(&self, schema: SchemaId, id: &str) -> Option<&Object> {
        self.table(schema).get(id)
    }

    /// What is shown of a card, made once for each of the last few.
    pub(crate) fn shown(&mut self, card: &str, make: impl FnOnce() -> String) -> Box<str> {
        if let Some(known) = self.shown.get(card) {
            return known.clone();
        }
        if self.shown.len() >= SHOWN_MAX {
            self.shown.clear();
        }
        let made: Box<str> = make().into();
        self.shown.insert(card.into(), made.clone());
        made
    }

    /// Every object, by kind and age.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Object> {
        self.tables.iter().flatten().flat_map(|table| table.iter())
    }

    /// How many objects there are of each kind that has any.
    pub(crate) fn totals(&self) -> BTreeMap<&'static str, usize> {
        let filled = self
            .tables
            .iter()
            .flatten()
            .filter_map(|table| Some((table.iter().next()?.schema.object(), table.len())));
        let mut totals: BTreeMap<&'static str, usize> = filled.collect();
        totals.insert("event", self.events.len());
        totals
    }

    /// Notes that something happened to a kept object.
    pub(crate) fn note(&mut self, kind: &'static str, schema: SchemaId, id: &str, now: i64) {
        let table = self.tables.get_mut(schema.index()).and_then(Option::as_deref_mut);
        if let Some(object) = table.and_then(|table| table.get_mut(id)) {
            self.events.add(kind, object, None, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::PRODUCT;

    fn ids<'a>(objects: impl Iterator<Item = &'a Object>) -> Vec<&'a str> {
        objects.map(|o| &*o.id).collect()
    }

    #[test]
    fn order_survives_removals() {
        let mut table = Table::default();
        for n in 0..3000 {
            table.insert(Object::new(PRODUCT, n.to_string(), n));
        }
        for n in 0..2900 {
            assert!(table.remove(&n.to_string()).is_some());
        }
        assert!(table.remove("0").is_none() && table.get("0").is_none());
        assert_eq!(table.len(), 100);
        assert!(table.rows.len() < 3000, "gaps are closed");
        let place = table.position("2950").unwrap();
        assert_eq!(ids(table.older_than(place).take(2)), ["2949", "2948"]);
        assert_eq!(ids(table.newer_than(place).take(2)), ["2951", "2952"]);
        assert_eq!(table.get("2999").unwrap().created, 2999);
    }
}
