//! What happened, in the order in which it did. <https://docs.stripe.com/api/events>
//!
//! An event does not copy its object. As long as that stays as it is, the event refers to it; when it changes, all events that show
//! it as it was share one snapshot.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use inflight_stripe::{API_VERSION, Kind, Operation};

use crate::json::{push_number, text};
use crate::object::{Object, Snapshot};
use crate::schema::SchemaId;
use crate::store::DataSet;

/// So many events are kept; older ones are forgotten.
pub(crate) const EVENTS_MAX: usize = 1 << 20;
/// Odd, so that multiplication with it mixes 64 bits and can be undone.
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;
/// `MIX * UNMIX` is 1 in 64 bits.
const UNMIX: u64 = 0xF1DE_83E1_9937_733D;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The request that events come from.
#[derive(Debug)]
pub(crate) struct Cause {
    pub(crate) request: Box<str>,
    pub(crate) idempotency_key: Option<Box<str>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Event {
    pub(crate) kind: &'static str,
    pub(crate) created: i64,
    pub(crate) schema: SchemaId,
    pub(crate) object: Box<str>,
    /// The object as it was, once it has changed.
    pub(crate) snapshot: Option<Snapshot>,
    /// The object before an update.
    pub(crate) before: Option<Snapshot>,
    /// The event before this one that shows the same state of the same object; 0 if there is none.
    pub(crate) earlier: u32,
    pub(crate) cause: Option<Arc<Cause>>,
}

/// The events of one account.
#[derive(Debug, Default, Clone)]
pub(crate) struct Events {
    kept: VecDeque<Event>,
    /// How many have been forgotten. The first event has the number 1.
    forgotten: u32,
    /// The request that is being carried out.
    cause: Option<Arc<Cause>>,
}

impl Events {
    /// Events from now on come from this request.
    pub(crate) fn caused_by(&mut self, request: &str, idempotency_key: Option<&str>) {
        self.cause = Some(Arc::new(Cause {
            request: request.into(),
            idempotency_key: idempotency_key.map(Into::into),
        }));
    }

    /// Notes that something happened to an object, whose newest event this becomes.
    pub(crate) fn add(&mut self, kind: &'static str, object: &mut Object, before: Option<Snapshot>, now: i64) {
        if self.kept.len() >= EVENTS_MAX {
            self.kept.pop_front();
            self.forgotten = self.forgotten.saturating_add(1);
        }
        self.kept.push_back(Event {
            kind,
            created: now,
            schema: object.schema,
            object: object.id.clone(),
            snapshot: None,
            before,
            earlier: object.event,
            cause: self.cause.clone(),
        });
        object.event = self.newest();
    }

    /// Events that were saved, oldest first.
    pub(crate) fn from_saved(events: impl Iterator<Item = Event>, forgotten: u32) -> Self {
        Self {
            kept: events.collect(),
            forgotten,
            cause: None,
        }
    }

    pub(crate) fn forgotten(&self) -> u32 {
        self.forgotten
    }

    fn newest(&self) -> u32 {
        self.forgotten
            .saturating_add(u32::try_from(self.kept.len()).unwrap_or(u32::MAX))
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Event> {
        let place = number.checked_sub(self.forgotten)?.checked_sub(1)?;
        self.kept.get_mut(usize::try_from(place).ok()?)
    }

    /// Keeps an object as it is for the events that show it: it is about to change.
    pub(crate) fn keep(&mut self, object: &Object) -> Snapshot {
        let snapshot = Arc::new(object.clone());
        let mut number = object.event;
        while let Some(event) = self.get_mut(number).filter(|event| event.snapshot.is_none()) {
            event.snapshot = Some(Arc::clone(&snapshot));
            number = event.earlier;
        }
        snapshot
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// All events with their numbers, newest first.
    pub(crate) fn newest_first(&self) -> impl DoubleEndedIterator<Item = (u32, &Event)> {
        let newest_first = self.kept.iter().rev().enumerate();
        let newest = self.newest();
        newest_first.map(move |(place, event)| (newest.saturating_sub(u32::try_from(place).unwrap_or(u32::MAX)), event))
    }

    /// The event of that id, and its number.
    pub(crate) fn by_id(&self, id: &str) -> Option<(u32, &Event)> {
        let number = number_of(id)?;
        let place = number.checked_sub(self.forgotten)?.checked_sub(1)?;
        Some((number, self.kept.get(usize::try_from(place).ok()?)?))
    }
}

impl Event {
    /// The whole event.
    pub(crate) fn json(&self, number: u32, data: &DataSet) -> String {
        let shown = self.snapshot.as_deref().or_else(|| data.get(self.schema, &self.object));
        let mut object = String::with_capacity(1024);
        match shown {
            Some(shown) => shown.push_json(&mut object, data),
            None => object.push_str("{}"),
        }
        let mut out = String::with_capacity(object.len() + 300);
        push_number(
            &mut out,
            format_args!(
                "{{\"api_version\":\"{API_VERSION}\",\"created\":{},\"data\":{{\"object\":{object}",
                self.created
            ),
        );
        if let (Some(before), Some(after)) = (&self.before, shown) {
            push_number(
                &mut out,
                format_args!(",\"previous_attributes\":{}", changed(before, after, data)),
            );
        }
        let or_null = |value: Option<&str>| value.map_or_else(|| "null".to_owned(), text);
        let cause = self.cause.as_deref();
        push_number(
            &mut out,
            format_args!(
                "}},\"id\":\"{}\",\"livemode\":false,\"object\":\"event\",\"pending_webhooks\":0,\
                 \"request\":{{\"id\":{},\"idempotency_key\":{}}},\"type\":{}}}",
                id_of(number),
                or_null(cause.map(|cause| &*cause.request)),
                or_null(cause.and_then(|cause| cause.idempotency_key.as_deref())),
                text(self.kind)
            ),
        );
        out
    }
}

/// The fields of an object that an update changed, as they were.
fn changed(before: &Object, after: &Object, data: &DataSet) -> serde_json::Value {
    let read = |object: &Object| {
        let mut json = String::new();
        object.push_json(&mut json, data);
        serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&json).unwrap_or_default()
    };
    let after = read(after);
    let differs = read(before)
        .into_iter()
        .filter(|(name, value)| after.get(name) != Some(value))
        .map(|(name, value)| match (name.as_str(), after.get(&name)) {
            ("metadata", Some(now)) => (name, changed_metadata(value, now)),
            _ => (name, value),
        });
    serde_json::Value::Object(differs.collect())
}

/// The entries that an update changed, as they were: null where there was none.
fn changed_metadata(before: serde_json::Value, after: &serde_json::Value) -> serde_json::Value {
    let (serde_json::Value::Object(before), Some(after)) = (before, after.as_object()) else {
        return serde_json::Value::Null;
    };
    let added = after.keys().filter(|key| !before.contains_key(*key));
    let mut changed: serde_json::Map<_, _> = added.map(|key| (key.clone(), serde_json::Value::Null)).collect();
    changed.extend(
        before
            .clone()
            .into_iter()
            .filter(|(key, value)| after.get(key) != Some(value)),
    );
    serde_json::Value::Object(changed)
}

/// The id says the number, so that no table of ids is needed.
pub(crate) fn id_of(number: u32) -> String {
    let mut rest = (u64::from(number)).wrapping_mul(MIX);
    let mut id = *b"evt_1Sim0000000000000000000";
    for place in id.iter_mut().rev().take(11) {
        *place = DIGITS[(rest % 62) as usize];
        rest /= 62;
    }
    String::from_utf8_lossy(&id).into_owned()
}

fn number_of(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("evt_1Sim")?;
    let mut mixed: u64 = 0;
    for byte in digits.bytes() {
        let digit = DIGITS.iter().position(|known| *known == byte)? as u64;
        mixed = mixed.wrapping_mul(62).wrapping_add(digit);
    }
    u32::try_from(mixed.wrapping_mul(UNMIX))
        .ok()
        .filter(|number| id_of(*number) == id)
}

/// The type of an event: one that Stripe has.
pub(crate) fn kind(name: &str) -> Option<&'static str> {
    static KINDS: OnceLock<HashMap<&str, &'static str>> = OnceLock::new();
    let kinds = KINDS.get_or_init(|| {
        let events = Operation::by_name("webhook_endpoint.create").ok();
        let values: &[&str] = match events
            .and_then(|operation| operation.param("enabled_events"))
            .map(|param| param.kind)
        {
            Some(Kind::List(Kind::Enum(values) | Kind::OpenEnum(values))) => values,
            _ => &[],
        };
        values.iter().map(|value| (*value, *value)).collect()
    });
    kinds.get(name).copied()
}

/// The type of the event of that name for objects of a kind, by whatever name Stripe has for the kind in events.
pub(crate) fn kind_for(schema: SchemaId, happened: &str) -> Option<&'static str> {
    let object = schema.object();
    [object, &object.replace('.', "_")]
        .into_iter()
        .flat_map(|name| [format!("{name}.{happened}"), format!("customer.{name}.{happened}")])
        .find_map(|name| kind(&name))
}

/// The events of each creation, change and deletion, looked up once.
pub(crate) struct Lifecycle {
    pub(crate) created: Option<&'static str>,
    pub(crate) updated: Option<&'static str>,
    pub(crate) deleted: Option<&'static str>,
}

pub(crate) fn lifecycle(schema: SchemaId) -> &'static Lifecycle {
    use crate::generated::RESOURCES;
    static ALL: [OnceLock<Lifecycle>; RESOURCES] = [const { OnceLock::new() }; RESOURCES];
    static NONE: Lifecycle = Lifecycle {
        created: None,
        updated: None,
        deleted: None,
    };
    let Some(place) = ALL.get(schema.index()) else {
        return &NONE;
    };
    place.get_or_init(|| Lifecycle {
        created: kind_for(schema, "created"),
        updated: kind_for(schema, "updated"),
        deleted: kind_for(schema, "deleted"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generated::{CHECKOUT_SESSION, ISSUING_CARD, PRODUCT, SUBSCRIPTION};

    #[test]
    fn ids_say_their_numbers() {
        for number in [1, 2, 3, 1 << 20, u32::MAX] {
            assert_eq!(number_of(&id_of(number)), Some(number));
        }
        for id in ["", "evt_1", "evt_1Sim", "evt_1Sim00000000000000000000", "evt_1Simé"] {
            assert_eq!(number_of(id), None, "{id}");
        }
    }

    #[test]
    fn kinds_are_stripes() {
        assert_eq!(lifecycle(PRODUCT).created, Some("product.created"));
        assert_eq!(lifecycle(SUBSCRIPTION).updated, Some("customer.subscription.updated"));
        assert_eq!(lifecycle(ISSUING_CARD).created, Some("issuing_card.created"));
        assert_eq!(lifecycle(CHECKOUT_SESSION).created, None);
        assert_eq!(kind("zebra.created"), None);
    }

    #[test]
    fn events_keep_what_their_objects_were() {
        let mut data = DataSet::default();
        let mut product = Object::new(PRODUCT, "prod_1", 5);
        product.set_text("name", "Mug");
        data.events.add("product.created", &mut product, None, 5);
        let before = data.events.keep(&product);
        product.set_text("name", "Cup");
        product.event = 0;
        data.events.add("product.updated", &mut product, Some(before), 6);
        data.table_mut(PRODUCT).insert(product);
        let json: Vec<serde_json::Value> = data
            .events
            .newest_first()
            .map(|(number, event)| serde_json::from_str(&event.json(number, &data)).unwrap())
            .collect();
        assert_eq!(json[0]["data"]["object"]["name"], "Cup");
        assert_eq!(
            json[0]["data"]["previous_attributes"],
            serde_json::json!({"name": "Mug"})
        );
        assert_eq!(json[1]["data"]["object"]["name"], "Mug");
        assert_eq!(data.events.by_id(json[1]["id"].as_str().unwrap()).unwrap().0, 1);
    }
}
