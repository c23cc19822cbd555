//! What each operation does: by rule for all of them, by hand where scripts depend on more than shapes.

mod card;
mod charge;
mod checkout;
mod coupon;
mod credit_note;
mod currency;
mod customer;
mod discount;
mod dispute;
mod event;
mod file;
mod generic;
mod invoice;
mod list;
mod metadata;
mod money;
mod payment_intent;
mod payment_method;
mod price;
mod product;
mod references;
mod refund;
mod search;
mod setup_intent;
mod subscription;

use bytes::Bytes;
use inflight_stripe::{Operation, Params, Value};

use crate::error::ApiError;
use crate::event::lifecycle;
use crate::expand::{check, expand};
use crate::fit::fit;
use crate::generated as g;
use crate::object::Object;
use crate::plan::{Plan, Verb};
use crate::prefix::prefix;
use crate::random::Random;
use crate::schema::{SchemaId, Shape};
use crate::store::DataSet;

pub(crate) use currency::currency_of;
pub(crate) use metadata::apply_metadata;

/// One request that has been recognised and whose parameters are known to be well-formed.
pub(crate) struct Context<'a> {
    /// The connected account that the request is for; empty for the keys' own.
    pub(crate) account: &'a str,
    pub(crate) operation: &'static Operation,
    pub(crate) plan: &'static Plan,
    /// The ids in the path.
    pub(crate) ids: &'a [String],
    pub(crate) params: &'a Params,
    pub(crate) data: &'a mut DataSet,
    pub(crate) random: &'a mut Random,
    /// Unix time in seconds.
    pub(crate) now: i64,
    /// Whether the request changed something.
    pub(crate) effect: bool,
}

/// What a request is answered with.
pub(crate) enum Answered {
    Json(String),
    /// Bytes, and what they are.
    File(Bytes, &'static str),
}

/// Carries out a request.
pub(crate) fn execute(context: &mut Context<'_>) -> Result<Answered, ApiError> {
    references::check(context)?;
    match context.plan.verb {
        Verb::File => return file::content(context),
        // Expanded item by item.
        Verb::List => {
            list::check_moments(context.params)?;
            return list::list(context).map(Answered::Json);
        }
        Verb::Search => return search::search(context).map(Answered::Json),
        _ => {}
    }
    let paths = context.expand();
    check(context.plan.shape, &paths)?;
    let answer = by_hand(context)?;
    Ok(Answered::Json(expand(answer, context.plan.shape, &paths, context.data)))
}

fn by_hand(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(schema) = context.plan.schema() else {
        return generic::execute(context);
    };
    match (schema, context.plan.verb) {
        (g::PRODUCT, Verb::Create) => product::create(context),
        (g::PRODUCT, Verb::Update) => product::update(context),
        (g::PRODUCT, Verb::Delete) => product::delete(context),
        (g::PRICE, Verb::Create) => price::create(context),
        (g::PRICE, Verb::Update) => price::update(context),
        (g::PLAN, Verb::Create) => price::create_plan(context),
        (g::QUOTE | g::PAYMENT_LINK, Verb::Create) => checkout::with_lines(context, schema),
        (g::COUPON, Verb::Create) => coupon::create(context),
        (g::COUPON, Verb::Delete) => coupon::delete(context),
        (g::CUSTOMER, Verb::Create) => customer::create(context),
        (g::CUSTOMER, Verb::Update) => customer::update(context),
        (g::CUSTOMER, Verb::Delete) => customer::delete(context),
        (g::FILE, Verb::Create) => file::create(context),
        (g::EVENT, Verb::Retrieve) => event::retrieve(context),
        (g::PAYMENT_INTENT, Verb::Create) => payment_intent::create(context),
        (g::PAYMENT_INTENT, Verb::Update) => payment_intent::update(context),
        (g::PAYMENT_INTENT, Verb::Act("confirm")) => payment_intent::confirm(context),
        (g::PAYMENT_INTENT, Verb::Act("capture")) => payment_intent::capture(context),
        (g::PAYMENT_INTENT, Verb::Act("cancel")) => payment_intent::cancel(context),
        (g::PAYMENT_INTENT, Verb::Act("increment_authorization")) => payment_intent::increment(context),
        (g::ACCOUNT, Verb::Singleton) => Ok(generic::own_account(context)),
        (g::BALANCE, Verb::Singleton) => money::balance(context),
        (g::PAYOUT | g::TRANSFER | g::TOPUP, Verb::Create) => money::create(context, schema),
        (g::TRANSFER_REVERSAL, Verb::Create) => money::reverse(context),
        (g::TOPUP, Verb::Act("cancel")) => money::cancel_topup(context),
        (g::PAYOUT, Verb::Act(word @ ("cancel" | "reverse"))) => money::end_payout(context, word),
        (g::DISPUTE, Verb::Update) => dispute::update(context),
        (g::DISPUTE, Verb::Act("close")) => dispute::close(context),
        (g::CUSTOMER_BALANCE_TRANSACTION, Verb::Create) => money::customer_balance(context),
        (g::CHARGE, Verb::Create) => charge::create(context),
        (g::CHARGE, Verb::Act("capture")) => charge::capture_by_hand(context),
        (g::CHARGE, Verb::Act("refund")) => refund::of_charge(context),
        (g::REFUND, Verb::Create) => refund::create(context),
        (g::REFUND, Verb::Act("cancel")) => refund::cancel(context),
        (g::PAYMENT_METHOD, Verb::Create) => payment_method::create(context),
        (g::PAYMENT_METHOD, Verb::Retrieve) if context.plan.owner.is_none() => payment_method::retrieve(context),
        (g::PAYMENT_METHOD, Verb::Update) => payment_method::update(context),
        (g::PAYMENT_METHOD, Verb::Act("attach")) => payment_method::attach(context),
        (g::PAYMENT_METHOD, Verb::Act("detach")) => payment_method::detach(context),
        (g::TOKEN, Verb::Create) => payment_method::create_token(context),
        (g::SETUP_INTENT, Verb::Create) => setup_intent::create(context),
        (g::SETUP_INTENT, Verb::Update) => setup_intent::update(context),
        (g::SETUP_INTENT, Verb::Act("confirm")) => setup_intent::confirm(context),
        (g::SETUP_INTENT, Verb::Act("cancel")) => setup_intent::cancel(context),
        (g::SUBSCRIPTION, Verb::Create) => subscription::create(context),
        (g::SUBSCRIPTION, Verb::Update) => subscription::update(context),
        (g::SUBSCRIPTION, Verb::Delete) => subscription::cancel(context),
        (g::SUBSCRIPTION, Verb::Act("resume")) => subscription::resume(context),
        (g::SUBSCRIPTION_ITEM, Verb::Create) => subscription::items::create(context),
        (g::SUBSCRIPTION_ITEM, Verb::Update) => subscription::items::update(context),
        (g::SUBSCRIPTION_ITEM, Verb::Delete) => subscription::items::delete(context),
        (g::CREDIT_NOTE, Verb::Create) => credit_note::create(context),
        (g::CREDIT_NOTE, Verb::Act("void")) => credit_note::void(context),
        (g::PROMOTION_CODE, Verb::Create) => discount::create_promotion_code(context),
        (g::INVOICEITEM, Verb::Create) => invoice::create_item(context),
        (g::INVOICEITEM, Verb::Update) => invoice::update_item(context),
        (g::INVOICEITEM, Verb::Delete) => invoice::delete_item(context),
        (g::INVOICE, Verb::Create) => invoice::create(context),
        (g::INVOICE, Verb::Preview) => invoice::preview(context),
        (g::INVOICE, Verb::Update) => invoice::update(context),
        (g::INVOICE, Verb::Delete) => invoice::delete(context),
        (g::INVOICE, Verb::Act("finalize")) => invoice::finalize(context),
        (g::INVOICE, Verb::Act("pay")) => invoice::pay(context),
        (g::INVOICE, Verb::Act("void")) => invoice::void(context),
        (g::INVOICE, Verb::Act("mark_uncollectible")) => invoice::mark_uncollectible(context),
        (g::INVOICE, Verb::Act("send")) => invoice::send(context),
        (g::INVOICE, Verb::Act(word @ ("add_lines" | "update_lines" | "remove_lines"))) => {
            invoice::change_lines(context, word)
        }
        (g::LINE_ITEM, Verb::Update) => invoice::update_line(context),
        (g::CHECKOUT_SESSION, Verb::Create) => checkout::create(context),
        (g::CHECKOUT_SESSION, Verb::Act("expire")) => checkout::expire(context),
        (g::ACCOUNT | g::BANK_ACCOUNT | g::CARD, Verb::Create) => match payment_method::create_source(context)? {
            Some(json) => Ok(json),
            None => generic::execute(context),
        },
        _ => generic::execute(context),
    }
}

impl<'a> Context<'a> {
    /// The last id in the path; empty if there is none.
    pub(crate) fn id(&self) -> &'a str {
        self.ids.last().map_or("", String::as_str)
    }

    /// A text that is not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&'a str> {
        text_of(self.params, name)
    }

    pub(crate) fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        integer_of(self.params, name)
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        flag_of(self.params, name)
    }

    pub(crate) fn given(&self, name: &str) -> bool {
        self.params.get(name).is_some_and(|value| !clears(value))
    }

    pub(crate) fn map(&self, name: &str) -> Option<&'a Params> {
        self.params.get(name)?.as_map()
    }

    pub(crate) fn list(&self, name: &str) -> &'a [Value] {
        self.params.get(name).and_then(Value::as_list).unwrap_or_default()
    }

    fn expand(&self) -> Vec<&'a str> {
        self.list("expand").iter().filter_map(Value::as_text).collect()
    }

    /// A new id for an object of this kind.
    pub(crate) fn new_id(&mut self, schema: SchemaId) -> String {
        let (prefix, length) = prefix(schema);
        self.random.id(prefix, length)
    }

    /// A new object with an id of its own.
    pub(crate) fn fresh(&mut self, schema: SchemaId) -> Object {
        let id = self.new_id(schema);
        Object::new(schema, id, self.now)
    }

    /// A copy of the object that the path names.
    pub(crate) fn existing(&mut self, schema: SchemaId) -> Result<Object, ApiError> {
        let found = self.data.get(schema, self.id()).cloned();
        found.ok_or_else(|| self.no_such(schema))
    }

    /// A copy of the object of that id.
    pub(crate) fn find(&self, schema: SchemaId, id: &str) -> Option<Object> {
        self.data.get(schema, id).cloned()
    }

    /// A copy of the object that a parameter names.
    pub(crate) fn referred(&self, schema: SchemaId, name: &str) -> Result<Option<Object>, ApiError> {
        let Some(id) = self.text(name) else { return Ok(None) };
        let found = self.find(schema, id);
        found
            .map(Some)
            .ok_or_else(|| ApiError::no_such(schema_name(schema), id, name))
    }

    /// That the object of the path does not exist.
    pub(crate) fn no_such(&self, schema: SchemaId) -> ApiError {
        let param = match schema {
            g::CUSTOMER | g::SUBSCRIPTION => "id",
            _ => self.operation.path_params.last().copied().unwrap_or("id"),
        };
        ApiError::no_such(schema_name(schema), self.id(), param).status(404)
    }

    /// Adds a new object.
    pub(crate) fn add(&mut self, mut object: Object) {
        self.effect = true;
        if let Some(kind) = lifecycle(object.schema).created {
            self.data.events.add(kind, &mut object, None, self.now);
        }
        self.data.table_mut(object.schema).insert(object);
    }

    /// Adds a new object and answers with it.
    pub(crate) fn insert(&mut self, object: Object) -> Result<String, ApiError> {
        let json = self.json(&object);
        self.add(object);
        Ok(json)
    }

    /// Puts a changed object in its place.
    pub(crate) fn put(&mut self, object: Object) {
        let old = self.data.get(object.schema, &object.id);
        if old.is_some_and(|old| old.is_same(&object)) {
            // Nothing happened that anybody is told of.
            self.effect = true;
            return;
        }
        let updated = lifecycle(object.schema).updated;
        self.put_as(object, updated);
    }

    /// Puts a changed object in its place; what happened to it is this, or is told by the caller.
    pub(crate) fn put_as(&mut self, mut object: Object, happened: Option<&'static str>) {
        self.effect = true;
        let Some(old) = self.data.get(object.schema, &object.id) else {
            return self.add(object);
        };
        object.event = 0;
        if old.event != 0 || happened.is_some() {
            let old = old.clone();
            let snapshot = self.data.events.keep(&old);
            if let Some(kind) = happened {
                self.data.events.add(kind, &mut object, Some(snapshot), self.now);
            }
        }
        if let Some(place) = self.data.table_mut(object.schema).get_mut(&object.id) {
            *place = object;
        }
    }

    /// Puts a changed object in its place and answers with it.
    pub(crate) fn replace(&mut self, object: Object) -> Result<String, ApiError> {
        let json = self.json(&object);
        self.put(object);
        Ok(json)
    }

    /// Notes an event about a kept object. Names that Stripe has no event of are passed over.
    pub(crate) fn emit(&mut self, name: &str, schema: SchemaId, id: &str) {
        if let Some(kind) = crate::event::kind(name) {
            self.data.note(kind, schema, id, self.now);
        }
    }

    /// Removes an object; whether it was there.
    pub(crate) fn remove(&mut self, schema: SchemaId, id: &str) -> bool {
        let Some(old) = self.data.get(schema, id) else {
            return false;
        };
        let mut old = old.clone();
        if let Some(kind) = lifecycle(schema).deleted {
            self.data.events.add(kind, &mut old, None, self.now);
        }
        self.data.events.keep(&old);
        self.effect = true;
        self.data.table_mut(schema).remove(id).is_some()
    }

    /// Carries something out, or leaves everything as it was. That takes a copy of the whole account, so it is for what cannot be checked
    /// before anything is made.
    pub(crate) fn all_or_nothing(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<String, ApiError>,
    ) -> Result<String, ApiError> {
        let before = self.data.copy();
        let effect = self.effect;
        act(self).map_err(|mut error| {
            self.data.go_back_to(before);
            self.effect = effect;
            // They are there no more.
            if let Some(details) = &mut error.details {
                details.charge = None;
                details.intent = None;
            }
            error
        })
    }

    pub(crate) fn json(&self, object: &Object) -> String {
        let mut out = String::with_capacity(1024);
        object.push_json(&mut out, self.data);
        out
    }

    /// Applies the parameters and whatever `also` does, or nothing if that fails.
    pub(crate) fn update(
        &mut self,
        schema: SchemaId,
        also: impl FnOnce(&mut Self, &mut Object) -> Result<(), ApiError>,
    ) -> Result<String, ApiError> {
        let mut object = self.existing(schema)?;
        self.apply(&mut object)?;
        also(self, &mut object)?;
        self.replace(object)
    }

    /// Sets every field that a parameter has the name of.
    pub(crate) fn apply(&self, object: &mut Object) -> Result<(), ApiError> {
        apply_params(object, self.params, self.data)
    }
}

/// Sets every field that one of these parameters has the name of, where the value fits it.
pub(crate) fn apply_params(object: &mut Object, params: &Params, data: &DataSet) -> Result<(), ApiError> {
    for (name, value) in params.iter() {
        if name == "metadata" {
            apply_metadata(object, value)?;
        } else if clears(value) {
            object.clear(name);
        } else if let Some(field) = object.schema.field(name).filter(|_| !matches!(name, "id" | "object")) {
            match fit(field.shape, value, data) {
                // What a nested map does not say stays as it is.
                Some(json) if object.has(name) && value.as_map().is_some() => {
                    let merged = merged(object.json(name), &json, value);
                    object.set(name, merged);
                }
                Some(json) => object.set(name, json),
                None => check_range(name, field.shape, value)?,
            }
        }
    }
    Ok(())
}

/// A nested object after an update: what was given is new, the rest as it was.
fn merged(before: &str, after: &str, given: &Value) -> String {
    let read = |json: &str| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json);
    let (Ok(before), Ok(mut merged), Some(given)) = (read(before), read(after), given.as_map()) else {
        return after.to_owned();
    };
    for (name, value) in before {
        if given.get(&name).is_none() {
            merged.insert(name, value);
        }
    }
    serde_json::Value::Object(merged).to_string()
}

/// A number that no field can hold is the caller's mistake.
fn check_range(name: &str, shape: Shape, value: &Value) -> Result<(), ApiError> {
    match (shape, value) {
        (Shape::Integer | Shape::Timestamp | Shape::Number, Value::Text(text))
            if text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) =>
        {
            Err(ApiError::invalid_integer(name, text))
        }
        _ => Ok(()),
    }
}

/// What Stripe's messages call a kind of object.
pub(crate) fn schema_name(schema: SchemaId) -> &'static str {
    match schema {
        g::PAYMENT_METHOD => "PaymentMethod",
        _ => schema.object(),
    }
}

pub(crate) fn text_of<'p>(params: &'p Params, name: &str) -> Option<&'p str> {
    params
        .get(name)
        .and_then(Value::as_text)
        .filter(|text| !text.is_empty())
}

pub(crate) fn flag_of(params: &Params, name: &str) -> Option<bool> {
    match params.get(name)? {
        Value::Bool(flag) => Some(*flag),
        Value::Text(text) => Some(text == "true"),
        _ => None,
    }
}

pub(crate) fn integer_of(params: &Params, name: &str) -> Result<Option<i64>, ApiError> {
    let Some(text) = text_of(params, name) else {
        return Ok(match params.get(name) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        });
    };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(ApiError::invalid_integer(name, text)),
    }
}

pub(crate) fn clears(value: &Value) -> bool {
    matches!(value, Value::Null) || value.as_text().is_some_and(str::is_empty)
}
