//! What every operation does by rule.

use inflight_stripe::Value;

use super::{Context, clears, text_of};
use crate::defaults::{filled, of_type};
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::plan::{Verb, is_made};
use crate::prefix::prefix;
use crate::schema::{SchemaId, Shape};

/// The account that all keys belong to.
const OWN_ACCOUNT: &str = "acct_1Simulator0000000";

pub(super) fn execute(context: &mut Context<'_>) -> Result<String, ApiError> {
    match context.plan.verb {
        Verb::Create => create(context),
        Verb::Retrieve => retrieve(context),
        Verb::Update => update(context),
        Verb::Delete => delete(context),
        Verb::Act(word) => act(context, word),
        Verb::Singleton => singleton(context),
        Verb::Find => find(context),
        Verb::Preview | Verb::List | Verb::Search | Verb::File => preview(context),
    }
}

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(schema) = kind_to_create(context) else {
        return Ok(filled("", context.plan.shape, 0));
    };
    let object = build(context, schema)?;
    context.insert(object)
}

/// A new object from the parameters. It is not kept yet.
pub(super) fn build(context: &mut Context<'_>, schema: SchemaId) -> Result<Object, ApiError> {
    let id = match context.text("id").filter(|_| schema.index_of("id").is_some()) {
        Some(id) if context.data.get(schema, id).is_some() => return Err(ApiError::already_exists(schema.object())),
        Some(id) => id.to_owned(),
        None => context.new_id(schema),
    };
    let mut object = Object::new(schema, id, context.now);
    context.apply(&mut object)?;
    if let Some((_, place)) = &context.plan.owner
        && let Some(owner) = context.ids.get(*place)
    {
        object.parent = Some(owner.as_str().into());
        if let Some(name) = context.operation.path_params.get(*place) {
            object.set_text(name.strip_suffix("_id").unwrap_or(name), owner);
        }
    }
    complete(context, &mut object);
    Ok(object)
}

/// What is drawn at random, and the part that goes with the object's `type`.
fn complete(context: &mut Context<'_>, object: &mut Object) {
    let secret = format!("{}_secret_{}", object.id, context.random.id("", 25));
    let schema = object.schema;
    let is_text = |name: &str| {
        schema
            .field(name)
            .is_some_and(|field| matches!(field.shape, Shape::Text))
    };
    if is_text("client_secret") {
        object.set_text("client_secret", &secret);
    }
    if is_text("secret") && !object.has("secret") {
        let prefix = if object.schema == g::WEBHOOK_ENDPOINT {
            "whsec_"
        } else {
            "ek_test_"
        };
        let secret = context.random.id(prefix, 32);
        object.set_text("secret", &secret);
    }
    if is_text("url") && !object.has("url") {
        let url = format!("https://simulator.test/{}/{}", object.schema.object(), object.id);
        object.set_text("url", &url);
    }
    if let Some(kind) = object.word("type").map(str::to_owned)
        && !object.has(&kind)
        && let Some((name, json)) = of_type(object.schema, &kind, 0)
    {
        object.set(name, json);
    }
}

/// A token for a bank account makes one, any other makes a card.
fn kind_to_create(context: &Context<'_>) -> Option<SchemaId> {
    let schemas = &context.plan.schemas;
    if schemas.len() > 1 && schemas.contains(&g::BANK_ACCOUNT) && schemas.contains(&g::CARD) {
        let given = ["source", "external_account", "bank_account", "card"];
        let value = given.iter().find_map(|name| context.params.get(name));
        let is_bank = match value {
            Some(Value::Text(token)) => token.starts_with("btok_") || token.starts_with("ba_"),
            Some(Value::Map(given)) => text_of(given, "object") == Some("bank_account"),
            _ => false,
        };
        return Some(if is_bank || context.given("bank_account") {
            g::BANK_ACCOUNT
        } else {
            g::CARD
        });
    }
    schemas.first().copied()
}

/// The kind that the object of the path has, of those that it may have. One of a kind that nothing makes is made here.
fn kind_in_path(context: &mut Context<'_>) -> Result<SchemaId, ApiError> {
    let schemas = &context.plan.schemas;
    let id = context.id();
    if let Some(found) = schemas.iter().find(|schema| context.data.get(**schema, id).is_some()) {
        return Ok(*found);
    }
    let Some(schema) = context.plan.schema() else {
        return Err(ApiError::no_such("object", id, "id").status(404));
    };
    let known = prefix(schema).0.trim_end_matches(|c: char| c.is_ascii_digit());
    let appears = !is_made(schema) || schema == g::ACCOUNT;
    if appears && id.starts_with(known) && id.len() <= 255 {
        let mut object = Object::new(schema, id, context.now);
        complete(context, &mut object);
        context.data.table_mut(schema).insert(object);
        return Ok(schema);
    }
    Err(context.no_such(schema))
}

fn retrieve(context: &mut Context<'_>) -> Result<String, ApiError> {
    let is_deleted = |schema: &&SchemaId| context.data.deleted.contains(&(**schema, context.id().into()));
    if let Some(schema) = context.plan.schemas.iter().find(is_deleted) {
        return Ok(stub(context.plan.shape, &Object::new(*schema, context.id(), 0)));
    }
    let schema = kind_in_path(context)?;
    let object = context.existing(schema)?;
    Ok(context.json(&object))
}

fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    let schema = kind_in_path(context)?;
    context.update(schema, |_, _| Ok(()))
}

pub(super) fn delete(context: &mut Context<'_>) -> Result<String, ApiError> {
    if !context.operation.path.ends_with('}') {
        return delete_by_owner(context);
    }
    let schema = kind_in_path(context)?;
    let mut object = context.existing(schema)?;
    // Some are not removed but come to an end, and are answered with as they are then.
    let answers_with_it = context.plan.shape.resources().contains(&schema);
    if answers_with_it && set_state(&mut object, "cancel", context.now) {
        return context.replace(object);
    }
    let json = context.json(&object);
    context.remove(schema, context.id());
    if answers_with_it && !matches!(context.plan.shape, Shape::AnyOf(_)) {
        return Ok(json);
    }
    if is_still_answered_for(schema) {
        context.data.deleted.insert((schema, context.id().into()));
    }
    Ok(stub(context.plan.shape, &object))
}

/// What there is one of to each owner, such as a discount, or what parameters name, such as a secret.
fn delete_by_owner(context: &mut Context<'_>) -> Result<String, ApiError> {
    let found = context
        .plan
        .schema()
        .and_then(|schema| Some((schema, of_owner(context, schema)?)));
    if let Some((schema, object)) = found {
        context.remove(schema, &object.id);
        if context.plan.shape.resources().contains(&schema) {
            return Ok(context.json(&object));
        }
        return Ok(stub(context.plan.shape, &object));
    }
    match context.plan.schema() {
        Some(schema) if context.operation.path_params.is_empty() => {
            let object = build(context, schema)?;
            Ok(context.json(&object))
        }
        _ => Ok(filled("", context.plan.shape, 0).replace("\"deleted\":false", "\"deleted\":true")),
    }
}

fn is_still_answered_for(schema: SchemaId) -> bool {
    [
        g::CUSTOMER,
        g::TERMINAL_CONFIGURATION,
        g::TERMINAL_LOCATION,
        g::TERMINAL_READER,
    ]
    .contains(&schema)
}

/// What is left of a deleted object, in the shape that the answer has.
pub(super) fn stub(shape: Shape, object: &Object) -> String {
    let id = text(&object.id);
    let name = object.schema.object();
    if object.schema.is_v2() {
        return format!("{{\"id\":{id},\"object\":\"{name}\"}}");
    }
    // Some stubs say more than that.
    let of_kind = |schema: &SchemaId| schema.object() == name;
    let more = shape
        .deletion_stub()
        .filter(of_kind)
        .map_or(&[][..], |schema| schema.get().fields);
    let mut out = format!("{{\"id\":{id},\"object\":\"{name}\",\"deleted\":true");
    for field in more
        .iter()
        .filter(|field| field.required && !matches!(field.name, "id" | "object" | "deleted"))
    {
        let json = if object.has(field.name) {
            object.json(field.name)
        } else {
            &filled(field.name, field.shape, 0)
        };
        out.push_str(&format!(",\"{}\":{json}", field.name));
    }
    out.push('}');
    out
}

fn act(context: &mut Context<'_>, word: &str) -> Result<String, ApiError> {
    let schema = kind_in_path(context)?;
    let mut object = context.existing(schema)?;
    let before = object.json("status").to_owned();
    context.apply(&mut object)?;
    let led = set_state(&mut object, word, context.now);
    // What has come to its end does not come to it again.
    if led
        && matches!(
            word,
            "cancel" | "accept" | "finalize" | "finalize_quote" | "reverse" | "release"
        )
        && object.json("status") == before
    {
        let (name, status) = (schema.object(), object.word("status").unwrap_or_default());
        return Err(ApiError::invalid(format!(
            "You cannot {word} this {name} because it has a status of `{status}`."
        )));
    }
    let json = context.replace(object)?;
    if let Some(kind) = crate::event::kind_for(schema, &past(word)) {
        context.emit(kind, schema, context.id());
    }
    Ok(json)
}

/// `canceled` for `cancel`.
fn past(word: &str) -> String {
    match word {
        "cancel" => "canceled".to_owned(),
        "pay" => "paid".to_owned(),
        "void" => "voided".to_owned(),
        _ if word.ends_with('e') => format!("{word}d"),
        _ => format!("{word}ed"),
    }
}

/// Sets the state that a verb leads to, where the object can have it. Whether it could.
fn set_state(object: &mut Object, word: &str, now: i64) -> bool {
    let past = past(word);
    let candidates: &[&str] = match word {
        "finalize" | "finalize_quote" => &["open"],
        "void" | "void_grant" | "void_credit_note" => &["void", "voided"],
        "pay" => &["paid"],
        "activate" | "unarchive" | "reactivate" | "resume" => &["active"],
        "archive" | "deactivate" => &["archived", "inactive"],
        "mark_uncollectible" => &["uncollectible"],
        "succeed" | "report_payment_attempt_guaranteed" => &["succeeded"],
        "reject" => &["rejected"],
        "ship" => &["shipped"],
        "submit" => &["submitted"],
        "deliver" => &["delivered"],
        "validate" | "verify" => &["verified", "active", "valid"],
        "reverse" => &["reversed", "closed"],
        "close" => &["closed", "lost"],
        "cancel" => &["canceled", "cancelled"],
        "return" => &["returned"],
        _ => &[],
    };
    let values = match object.schema.field("status").map(|field| field.shape) {
        Some(Shape::Enum(values)) => Shape::enumeration(values),
        _ => &[],
    };
    let flag = match word {
        "activate" | "unarchive" | "reactivate" => Some(("active", "true")),
        "archive" | "deactivate" => Some(("active", "false")),
        "close" => Some(("closed", "true")),
        _ => None,
    };
    if let Some((name, value)) = flag
        && object
            .schema
            .field(name)
            .is_some_and(|field| field.shape == Shape::Boolean)
    {
        object.set(name, value);
    }
    let state = candidates
        .iter()
        .copied()
        .chain([past.as_str()])
        .find(|state| values.contains(state));
    let Some(state) = state else { return false };
    object.set_text("status", state);
    let at = format!("{state}_at");
    if object
        .schema
        .field(&at)
        .is_some_and(|field| field.shape == Shape::Timestamp)
    {
        object.set_integer(&at, now);
    }
    true
}

/// The one object of its kind, or of its owner: made when it is first asked for.
fn singleton(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(schema) = context.plan.schema() else {
        return Ok(filled("", context.plan.shape, 0));
    };
    let changes = !context.params.is_empty() && context.operation.method == inflight_stripe::Method::Post;
    let Some(mut object) = of_owner(context, schema) else {
        let object = build(context, schema)?;
        let json = context.json(&object);
        // Reading changes nothing that anybody is told of.
        context.data.table_mut(schema).insert(object);
        context.effect |= changes;
        return Ok(json);
    };
    if changes {
        context.apply(&mut object)?;
        return context.replace(object);
    }
    Ok(context.json(&object))
}

/// `GET /v1/account`: whose data this is.
pub(super) fn own_account(context: &Context<'_>) -> String {
    let id = if context.account.is_empty() {
        OWN_ACCOUNT
    } else {
        context.account
    };
    let mut account = Object::new(g::ACCOUNT, id, 0);
    account.set("charges_enabled", "true");
    account.set("payouts_enabled", "true");
    account.set("details_submitted", "true");
    context.json(&account)
}

/// The object of a kind that belongs to the object in the path; without one there, the first of its kind.
fn of_owner(context: &Context<'_>, schema: SchemaId) -> Option<Object> {
    let owner = context
        .plan
        .owner
        .as_ref()
        .and_then(|(_, place)| context.ids.get(*place));
    let mut objects = context.data.table(schema).iter();
    let found = match owner {
        Some(owner) => objects.find(|object| object.parent.as_deref() == Some(owner)),
        None if schema == g::APPS_SECRET => {
            let name = text(context.text("name").unwrap_or_default());
            objects.find(|object| object.json("name") == name)
        }
        None => objects.next(),
    };
    found.cloned()
}

/// The object whose fields are what the parameters say; where there is none, one that would be.
fn find(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(schema) = context.plan.schema() else {
        return preview(context);
    };
    let wanted: Vec<(&str, String)> = context
        .params
        .iter()
        .filter(|(name, value)| *name != "expand" && !clears(value))
        .filter_map(|(name, value)| Some((name, text(value.as_text()?))))
        .collect();
    let takes = |object: &&Object| wanted.iter().all(|(name, json)| object.json(name) == json);
    let found = context.data.table(schema).iter().find(takes).cloned();
    match found {
        Some(object) => Ok(context.json(&object)),
        None if schema == g::APPS_SECRET => {
            let name = context.text("name").unwrap_or_default();
            Err(ApiError::no_such("secret", name, "name").status(404))
        }
        None => preview(context),
    }
}

/// An object that is not kept.
pub(super) fn preview(context: &mut Context<'_>) -> Result<String, ApiError> {
    match context.plan.schema() {
        Some(schema) => {
            let object = build(context, schema)?;
            Ok(context.json(&object))
        }
        None => Ok(filled("", context.plan.shape, 0)),
    }
}
