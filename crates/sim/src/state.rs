//! What the simulator holds, as a file. Idempotency keys are left out: they are of one run.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::event::{self, Cause, Event, Events};
use crate::object::Object;
use crate::schema::SchemaId;
use crate::store::DataSet;

/// Files of another format are refused.
const FORMAT: u32 = 1;

/// Why a state cannot be loaded or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why not.
        source: io::Error,
    },
    /// The text is not a state that this version can read.
    #[error("this is no state of a simulator: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The state was written in another format.
    #[error("the state has the format {0}, this version reads {FORMAT}")]
    Format(u32),
}

#[derive(Serialize, Deserialize)]
struct Saved {
    format: u32,
    random: u64,
    accounts: BTreeMap<String, Account>,
}

#[derive(Serialize, Deserialize, Default)]
struct Account {
    objects: Vec<SavedObject>,
    events: Vec<SavedEvent>,
    forgotten_events: u32,
    lookup_keys: BTreeMap<String, String>,
    promotion_codes: BTreeMap<String, String>,
    priced_products: Vec<String>,
    deleted: Vec<(String, String)>,
    pending_items: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    ended_coupons: Vec<SavedObject>,
    contents: BTreeMap<String, String>,
    balance: BTreeMap<String, i64>,
}

#[derive(Serialize, Deserialize, Clone)]
struct SavedObject {
    schema: String,
    id: String,
    created: i64,
    fields: BTreeMap<String, serde_json::Value>,
    metadata: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
    #[serde(default)]
    event: u32,
}

#[derive(Serialize, Deserialize)]
struct SavedEvent {
    kind: String,
    created: i64,
    schema: String,
    object: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<SavedObject>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<SavedObject>,
    earlier: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
}

/// Everything as one text.
pub(crate) fn to_json(random: u64, accounts: &HashMap<Box<str>, DataSet>) -> Result<String, StateError> {
    let accounts = accounts
        .iter()
        .map(|(name, data)| (name.to_string(), save_account(data)))
        .collect();
    Ok(serde_json::to_string(&Saved {
        format: FORMAT,
        random,
        accounts,
    })?)
}

/// What such a text says: the state of the random numbers, and each account's data.
pub(crate) fn from_json(text: &str) -> Result<(u64, HashMap<Box<str>, DataSet>), StateError> {
    let saved: Saved = serde_json::from_str(text)?;
    if saved.format != FORMAT {
        return Err(StateError::Format(saved.format));
    }
    let accounts = saved
        .accounts
        .into_iter()
        .map(|(name, account)| (name.into(), load_account(account)));
    Ok((saved.random, accounts.collect()))
}

/// Writes a file whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), StateError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, path));
    written.map_err(|source| StateError::File {
        path: path.display().to_string(),
        source,
    })
}

/// A file's text; `None` if there is no such file. A file in no directory could not be written later.
pub(crate) fn read(path: &Path) -> Result<Option<String>, StateError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && can_be_made(path) => Ok(None),
        Err(source) => Err(StateError::File {
            path: path.display().to_string(),
            source,
        }),
    }
}

fn can_be_made(path: &Path) -> bool {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    directory.is_none_or(Path::is_dir)
}

fn save_object(object: &Object) -> SavedObject {
    SavedObject {
        schema: object.schema.get().name.to_owned(),
        id: object.id.to_string(),
        created: object.created,
        fields: object
            .fields()
            .map(|(name, json)| (name.to_owned(), serde_json::from_str(json).unwrap_or_default()))
            .collect(),
        metadata: object
            .metadata
            .iter()
            .map(|(key, value)| (key.to_string(), value.to_string()))
            .collect(),
        parent: object.parent.as_deref().map(str::to_owned),
        event: object.event,
    }
}

/// `None` for kinds that this version does not know.
fn load_object(saved: SavedObject) -> Option<Object> {
    let mut object = Object::new(SchemaId::by_name(&saved.schema)?, saved.id, saved.created);
    for (name, value) in saved.fields {
        object.set(&name, value.to_string());
    }
    object.metadata = saved
        .metadata
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    object.parent = saved.parent.map(Into::into);
    object.event = saved.event;
    Some(object)
}

fn texts(map: &HashMap<Box<str>, Box<str>>) -> BTreeMap<String, String> {
    map.iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect()
}

fn boxed(map: BTreeMap<String, String>) -> HashMap<Box<str>, Box<str>> {
    map.into_iter().map(|(key, value)| (key.into(), value.into())).collect()
}

fn save_account(data: &DataSet) -> Account {
    let name = |schema: SchemaId| schema.get().name.to_owned();
    Account {
        objects: data.objects().map(save_object).collect(),
        events: data
            .events
            .newest_first()
            .rev()
            .map(|(_, event)| save_event(event))
            .collect(),
        forgotten_events: data.events.forgotten(),
        lookup_keys: texts(&data.lookup_keys),
        promotion_codes: texts(&data.promotion_codes),
        priced_products: data.priced_products.iter().map(ToString::to_string).collect(),
        deleted: data
            .deleted
            .iter()
            .map(|(schema, id)| (name(*schema), id.to_string()))
            .collect(),
        pending_items: data
            .pending_items
            .iter()
            .map(|(customer, items)| (customer.to_string(), items.iter().map(ToString::to_string).collect()))
            .collect(),
        ended_coupons: data.ended_coupons.values().map(save_object).collect(),
        contents: data
            .contents
            .iter()
            .map(|(id, bytes)| (id.to_string(), STANDARD.encode(bytes)))
            .collect(),
        balance: data
            .balance
            .iter()
            .map(|(currency, amount)| (currency.to_string(), *amount))
            .collect(),
    }
}

fn load_account(account: Account) -> DataSet {
    let mut data = DataSet::default();
    for object in account.objects.into_iter().filter_map(load_object) {
        data.table_mut(object.schema).insert(object);
    }
    data.events = Events::from_saved(
        account.events.into_iter().filter_map(load_event),
        account.forgotten_events,
    );
    data.lookup_keys = boxed(account.lookup_keys);
    data.promotion_codes = boxed(account.promotion_codes);
    data.priced_products = account.priced_products.into_iter().map(Into::into).collect();
    let deleted = account.deleted.into_iter();
    data.deleted = deleted
        .filter_map(|(schema, id)| Some((SchemaId::by_name(&schema)?, id.into())))
        .collect();
    data.pending_items = account
        .pending_items
        .into_iter()
        .map(|(customer, items)| (customer.into(), items.into_iter().map(Into::into).collect()))
        .collect();
    let ended = account.ended_coupons.into_iter().filter_map(load_object);
    data.ended_coupons = ended.map(|coupon| (coupon.id.clone(), coupon)).collect();
    let contents = account.contents.into_iter();
    data.contents = contents
        .filter_map(|(id, bytes)| Some((id.into(), STANDARD.decode(bytes).ok()?.into())))
        .collect();
    data.balance = account
        .balance
        .into_iter()
        .map(|(currency, amount)| (currency.into(), amount))
        .collect();
    data
}

fn save_event(event: &Event) -> SavedEvent {
    SavedEvent {
        kind: event.kind.to_owned(),
        created: event.created,
        schema: event.schema.get().name.to_owned(),
        object: event.object.to_string(),
        snapshot: event.snapshot.as_deref().map(save_object),
        before: event.before.as_deref().map(save_object),
        earlier: event.earlier,
        request: event.cause.as_deref().map(|cause| cause.request.to_string()),
        idempotency_key: event
            .cause
            .as_deref()
            .and_then(|cause| cause.idempotency_key.as_deref().map(str::to_owned)),
    }
}

fn load_event(saved: SavedEvent) -> Option<Event> {
    Some(Event {
        kind: event::kind(&saved.kind)?,
        created: saved.created,
        schema: SchemaId::by_name(&saved.schema)?,
        object: saved.object.into(),
        snapshot: saved.snapshot.and_then(load_object).map(Into::into),
        before: saved.before.and_then(load_object).map(Into::into),
        earlier: saved.earlier,
        cause: saved.request.map(|request| {
            Arc::new(Cause {
                request: request.into(),
                idempotency_key: saved.idempotency_key.map(Into::into),
            })
        }),
    })
}
