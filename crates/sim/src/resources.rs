//! What each operation does.

mod coupon;
mod customer;
mod list;
mod payment_intent;
mod price;
mod product;
mod subscription;

use inflight_stripe::{Kind, Operation, Params, Value};

use crate::error::ApiError;
use crate::json::push_value;
use crate::object::{Object, Type};
use crate::random::Random;
use crate::store::DataSet;

/// Metadata has at most so many entries. <https://docs.stripe.com/api/metadata>
const METADATA_MAX: usize = 50;

/// One request that has been recognised and whose parameters are known to be well-formed.
pub(crate) struct Context<'a> {
    pub(crate) operation: &'static Operation,
    /// The id in the path; empty if there is none.
    pub(crate) id: &'a str,
    pub(crate) params: &'a Params,
    pub(crate) data: &'a mut DataSet,
    pub(crate) random: &'a mut Random,
    /// Unix time in seconds.
    pub(crate) now: i64,
    /// Whether the request changed something.
    pub(crate) effect: bool,
}

/// Carries out a request. The answer is a JSON object.
pub(crate) fn execute(context: &mut Context<'_>) -> Result<String, ApiError> {
    let operation = context.operation;
    let not_simulated = || ApiError::invalid(format!("The simulator does not serve `{}`.", operation.name));
    let r#type = Type::by_resource(operation.resource()).ok_or_else(not_simulated)?;
    match (r#type, operation.verb()) {
        (Type::Customer, "retrieve") => customer::retrieve(context),
        (_, "retrieve") => context.retrieve(r#type),
        (_, "list") => list::list(context, r#type),
        (Type::Product, "create") => product::create(context),
        (Type::Product, "update") => product::update(context),
        (Type::Product, "delete") => product::delete(context),
        (Type::Price, "create") => price::create(context),
        (Type::Price, "update") => price::update(context),
        (Type::Coupon, "create") => coupon::create(context),
        (Type::Coupon, "update") => context.update(r#type, |_, _| Ok(())),
        (Type::Coupon, "delete") => context.delete(r#type),
        (Type::Customer, "create") => customer::create(context),
        (Type::Customer, "update") => customer::update(context),
        (Type::Customer, "delete") => customer::delete(context),
        (Type::PaymentIntent, "create") => payment_intent::create(context),
        (Type::PaymentIntent, "update") => payment_intent::update(context),
        (Type::PaymentIntent, "confirm") => payment_intent::confirm(context),
        (Type::PaymentIntent, "capture") => payment_intent::capture(context),
        (Type::PaymentIntent, "cancel") => payment_intent::cancel(context),
        (Type::Subscription, "create") => subscription::create(context),
        (Type::Subscription, "update") => subscription::update(context),
        (Type::Subscription, "cancel") => subscription::cancel(context),
        _ => Err(not_simulated()),
    }
}

impl<'a> Context<'a> {
    /// A text that is not empty.
    fn text(&self, name: &str) -> Option<&'a str> {
        text_of(self.params, name)
    }

    fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        integer_of(self.params, name)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|text| text == "true")
    }

    fn given(&self, name: &str) -> bool {
        self.params.get(name).is_some_and(|value| !clears(value))
    }

    fn expand(&self) -> Vec<&'a str> {
        let paths = self.params.get("expand").and_then(Value::as_list).unwrap_or_default();
        paths.iter().filter_map(Value::as_text).collect()
    }

    /// The object that the path names.
    fn existing(&self, r#type: Type) -> Result<&Object, ApiError> {
        let found = self.data.table(r#type).get(self.id);
        found.ok_or_else(|| self.no_such(r#type))
    }

    fn no_such(&self, r#type: Type) -> ApiError {
        let param = match r#type {
            Type::Customer | Type::Subscription => "id",
            _ => self.operation.path_params.first().copied().unwrap_or("id"),
        };
        ApiError::no_such(r#type.name(), self.id, param).status(404)
    }

    /// That the object exists whose id this parameter gives.
    fn check_reference(&self, name: &str, r#type: Type) -> Result<(), ApiError> {
        match self.text(name) {
            Some(id) if !self.data.table(r#type).contains(id) => Err(ApiError::no_such(r#type.name(), id, name)),
            _ => Ok(()),
        }
    }

    fn retrieve(&mut self, r#type: Type) -> Result<String, ApiError> {
        let object = self.existing(r#type)?;
        Ok(self.json(object))
    }

    /// Applies the parameters and whatever `also` does, or nothing if that fails.
    fn update(
        &mut self,
        r#type: Type,
        also: impl FnOnce(&mut Self, &mut Object) -> Result<(), ApiError>,
    ) -> Result<String, ApiError> {
        let mut object = self.existing(r#type)?.clone();
        self.apply(&mut object)?;
        also(self, &mut object)?;
        self.replace(object)
    }

    fn delete(&mut self, r#type: Type) -> Result<String, ApiError> {
        let deleted = self.data.table_mut(r#type).remove(self.id);
        let deleted = deleted.ok_or_else(|| self.no_such(r#type))?;
        self.effect = true;
        Ok(deletion_stub(r#type, &deleted.id))
    }

    /// Adds a new object and answers with it.
    fn insert(&mut self, object: Object) -> Result<String, ApiError> {
        let json = self.json(&object);
        self.effect = true;
        self.data.table_mut(object.r#type).insert(object);
        Ok(json)
    }

    /// Puts a changed object in its place and answers with it.
    fn replace(&mut self, object: Object) -> Result<String, ApiError> {
        let json = self.json(&object);
        self.effect = true;
        if let Some(place) = self.data.table_mut(object.r#type).get_mut(&object.id) {
            *place = object;
        }
        Ok(json)
    }

    fn json(&self, object: &Object) -> String {
        let mut out = String::with_capacity(1024);
        object.push_json(&mut out, self.data, &self.expand());
        out
    }

    /// Sets every field that a parameter has the name of.
    fn apply(&self, object: &mut Object) -> Result<(), ApiError> {
        for (name, value) in self.params.iter() {
            if name == "metadata" {
                apply_metadata(object, value)?;
            } else if clears(value) {
                object.clear(name);
            } else if let Some(param) = self.operation.param(name) {
                object.set(name, json_of(name, &param.kind, value)?);
            }
        }
        Ok(())
    }
}

fn text_of<'p>(params: &'p Params, name: &str) -> Option<&'p str> {
    params
        .get(name)
        .and_then(Value::as_text)
        .filter(|text| !text.is_empty())
}

fn integer_of(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = text_of(params, name) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(ApiError::invalid_integer(name, text)),
    }
}

fn clears(value: &Value) -> bool {
    value.as_text().is_some_and(str::is_empty)
}

fn json_of(name: &str, kind: &Kind, value: &Value) -> Result<String, ApiError> {
    let mut json = String::new();
    match push_value(&mut json, kind, value) {
        Ok(()) => Ok(json),
        Err(_) => Err(ApiError::invalid_integer(name, value.as_text().unwrap_or_default())),
    }
}

/// A lower-case three-letter code, as the fields show it.
fn currency_of(params: &Params, name: &str) -> Result<Option<String>, ApiError> {
    let Some(text) = text_of(params, name) else {
        return Ok(None);
    };
    let currency = text.to_ascii_lowercase();
    if currency.len() != 3 || !currency.bytes().all(|b| b.is_ascii_lowercase()) {
        let message = format!(
            "Invalid currency: {}. See https://docs.stripe.com/currencies",
            crate::error::shortened(text)
        );
        return Err(ApiError::invalid(message).param(name));
    }
    Ok(Some(currency))
}

fn deletion_stub(r#type: Type, id: &str) -> String {
    let id = crate::json::text(id);
    format!("{{\"id\":{id},\"object\":\"{}\",\"deleted\":true}}", r#type.name())
}

/// New keys are added, empty values remove their key, `metadata=` removes all. <https://docs.stripe.com/api/metadata>
fn apply_metadata(object: &mut Object, value: &Value) -> Result<(), ApiError> {
    match value {
        Value::Map(entries) => {
            for (key, value) in entries.iter() {
                set_metadata(object, key, value.as_text().unwrap_or_default());
            }
        }
        // `metadata[0]=x` is an entry named `0`.
        Value::List(values) => {
            for (index, value) in values.iter().enumerate() {
                set_metadata(object, &index.to_string(), value.as_text().unwrap_or_default());
            }
        }
        _ => object.metadata.clear(),
    }
    if object.metadata.len() > METADATA_MAX {
        let message = format!("Metadata can have at most {METADATA_MAX} keys.");
        return Err(ApiError::invalid(message).param("metadata"));
    }
    Ok(())
}

fn set_metadata(object: &mut Object, key: &str, value: &str) {
    let known = object.metadata.iter().position(|(k, _)| &**k == key);
    match (known, value.is_empty()) {
        (Some(at), true) => drop(object.metadata.remove(at)),
        (Some(at), false) => object.metadata[at].1 = value.into(),
        // One more than allowed is enough to be refused.
        (None, false) if object.metadata.len() <= METADATA_MAX => object.metadata.push((key.into(), value.into())),
        (None, _) => {}
    }
}
