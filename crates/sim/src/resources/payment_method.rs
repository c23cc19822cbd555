//! Payment methods, and the cards behind them. <https://docs.stripe.com/api/payment_methods>

pub(super) mod owner;

use inflight_stripe::{Params, Value};

use super::card::{Card, full_year, outcome, refused_at_once};
use super::{Context, apply_params, generic, text_of};
use crate::defaults::nested;
use crate::error::ApiError;
use crate::generated as g;
use crate::json::text;
use crate::object::Object;
use crate::schema::{SchemaId, Shape};

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    if let Some(id) = context.text("payment_method") {
        // A copy of one that is there already.
        let mut copy = existing(context, id, "payment_method")?;
        owner::check_fresh(&copy)?;
        copy.id = context.new_id(g::PAYMENT_METHOD).into();
        copy.created = context.now;
        copy.clear("customer");
        copy.event = 0;
        return context.insert(copy);
    }
    if context.text("type").is_none() {
        return Err(ApiError::missing("type"));
    }
    let method = build(context, context.params)?;
    context.insert(method)
}

/// A new payment method from `payment_method.create`'s parameters or nested ones of the same names.
pub(super) fn build(context: &mut Context<'_>, params: &Params) -> Result<Object, ApiError> {
    let kind = text_of(params, "type").unwrap_or("card");
    let card = match params.get("card").and_then(Value::as_map) {
        Some(given) if kind == "card" => Some(card_of(context, given)?),
        None if kind == "card" => return Err(ApiError::missing("card")),
        _ => None,
    };
    let mut method = context.fresh(g::PAYMENT_METHOD);
    apply_params(&mut method, params, context.data)?;
    method.clear("customer");
    match card {
        Some(card) => set_card(&mut method, &card, params),
        None => {
            if !method.has(kind)
                && let Some((name, json)) = crate::defaults::of_type(g::PAYMENT_METHOD, kind, 0)
            {
                method.set(name, json);
            }
        }
    }
    Ok(method)
}

fn card_of(context: &Context<'_>, given: &Params) -> Result<Card, ApiError> {
    if let Some(token) = text_of(given, "token") {
        return card_of_token(context, token, "card[token]");
    }
    match text_of(given, "number") {
        Some(number) => {
            let card = Card::by_number(number)?;
            Card::check(given, context.now)?;
            Ok(card)
        }
        None => Err(ApiError::missing("card[number]")),
    }
}

/// The card of a token, one of the test tokens or one that was made.
pub(super) fn card_of_token(context: &Context<'_>, token: &str, param: &str) -> Result<Card, ApiError> {
    if let Some(card) = Card::by_name(token) {
        return Ok(card);
    }
    let made = context.data.get(g::TOKEN, token).map(|made| made.value("card"));
    match made.as_ref().and_then(|card| card["last4"].as_str()) {
        Some(last4) => Ok(Card {
            brand: "visa",
            funding: "credit",
            last4: last4.to_owned(),
        }),
        None => Err(ApiError::no_such("token", token, param)),
    }
}

/// What a card's object says, in whatever schema cards are described.
pub(super) fn card_json(schema: SchemaId, card: &Card, given: &Params) -> String {
    let number = |name: &str| text_of(given, name).and_then(|text| text.parse::<i64>().ok());
    let mut fields = vec![
        ("brand", text(card.brand)),
        ("country", "\"US\"".to_owned()),
        ("funding", text(card.funding)),
        ("last4", text(&card.last4)),
        ("exp_month", number("exp_month").unwrap_or(12).to_string()),
        ("exp_year", number("exp_year").map_or(2034, full_year).to_string()),
        ("fingerprint", text(&format!("SimFingerprint{}", card.last4))),
    ];
    fields.retain(|(name, _)| schema.field(name).is_some());
    nested(schema, &fields, 0)
}

fn card_schema(method: SchemaId) -> Option<SchemaId> {
    match method.field("card")?.shape {
        Shape::Object(schema) => Some(schema),
        _ => None,
    }
}

fn set_card(method: &mut Object, card: &Card, params: &Params) {
    let none = Params::new();
    let given = params.get("card").and_then(Value::as_map).unwrap_or(&none);
    if let Some(schema) = card_schema(g::PAYMENT_METHOD) {
        method.set_text("type", "card");
        method.set("card", card_json(schema, card, given));
    }
}

/// A copy of the payment method of that id. A test id makes a new one, as it does at Stripe.
pub(super) fn existing(context: &mut Context<'_>, id: &str, param: &str) -> Result<Object, ApiError> {
    if let Some(method) = context.find(g::PAYMENT_METHOD, id) {
        return Ok(method);
    }
    if id.starts_with("pm_card_")
        && let Some(card) = Card::by_name(id)
    {
        return Ok(of_card(context, &card));
    }
    if let Some(source) = context.find(g::CARD, id) {
        let mut method = Object::new(g::PAYMENT_METHOD, id, context.now);
        let card = Card {
            brand: "visa",
            funding: "credit",
            last4: source.word("last4").unwrap_or("4242").to_owned(),
        };
        set_card(&mut method, &card, &Params::new());
        method.set("customer", source.json("customer"));
        return Ok(method);
    }
    Err(ApiError::no_such("PaymentMethod", id, param))
}

/// A new payment method that is this card.
pub(super) fn of_card(context: &mut Context<'_>, card: &Card) -> Object {
    let mut method = context.fresh(g::PAYMENT_METHOD);
    let key = format!("{} {} {}", card.brand, card.funding, card.last4);
    if let Some(schema) = card_schema(g::PAYMENT_METHOD) {
        let shown = context.data.shown(&key, || card_json(schema, card, &Params::new()));
        method.set("type", "\"card\"");
        method.set("card", shown);
    }
    context.data.table_mut(g::PAYMENT_METHOD).insert(method.clone());
    method
}

/// The last four digits of a payment method's card. Methods of other types behave like a card that works.
pub(super) fn last4(method: &Object) -> String {
    // Written here, by `card_json`: the digits follow the name.
    let digits = method
        .json("card")
        .split_once("\"last4\":\"")
        .and_then(|(_, rest)| rest.get(..4));
    digits.unwrap_or("4242").to_owned()
}

/// Whether charging a payment method succeeds.
pub(super) fn outcome_of(method: &Object) -> super::card::Outcome {
    outcome(&last4(method))
}

pub(super) fn attach(context: &mut Context<'_>) -> Result<String, ApiError> {
    let Some(customer) = context.text("customer") else {
        return Err(ApiError::missing("customer"));
    };
    let mut method = in_path(context)?;
    if let Some(owner) = method.word("customer")
        && owner != customer
    {
        return Err(
            ApiError::invalid("The payment method you provided has already been attached to a customer.")
                .code("payment_method_already_attached"),
        );
    }
    owner::check_fresh(&method)?;
    if let Some(refusal) = refused_at_once(&last4(&method)) {
        return Err(refusal.error(None, None));
    }
    method.set_text("customer", customer);
    let id = method.id.clone();
    let json = context.json(&method);
    context.put_as(method, None);
    context.emit("payment_method.attached", g::PAYMENT_METHOD, &id);
    Ok(json)
}

pub(super) fn detach(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut method = in_path(context)?;
    if method.json("customer") == "null" {
        return Err(ApiError::invalid(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
        ));
    }
    owner::forget_default(context, &method);
    method.clear("customer");
    owner::use_up(&mut method);
    let id = method.id.clone();
    let json = context.json(&method);
    context.put_as(method, None);
    context.emit("payment_method.detached", g::PAYMENT_METHOD, &id);
    Ok(json)
}

/// `POST /v1/payment_methods/{payment_method}`: a card's date is checked as that of a new one.
pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    if let Some(given) = context.map("card") {
        Card::check(given, context.now)?;
    }
    generic::execute(context)
}

fn in_path(context: &mut Context<'_>) -> Result<Object, ApiError> {
    let id = context.id();
    existing(context, id, "payment_method").map_err(|error| error.status(404))
}

pub(super) fn retrieve(context: &mut Context<'_>) -> Result<String, ApiError> {
    let method = in_path(context)?;
    Ok(context.json(&method))
}

/// A token for a card, a bank account or something else that must not pass through the shop's servers.
pub(super) fn create_token(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut token = generic::build(context, g::TOKEN)?;
    if let Some(given) = context.map("card") {
        let card = card_of(context, given)?;
        let id = context.new_id(g::CARD);
        let json = card_json(g::CARD, &card, given).replace("\"card_10\"", &text(&id));
        token.set_text("type", "card");
        token.set("card", json);
    } else if context.given("bank_account") {
        token.set_text("type", "bank_account");
        token.id = format!("btok_{}", context.random.id("1", 23)).into();
    }
    context.insert(token)
}

/// A card on a customer or an account, from a token: the way before payment methods. `None` if that is not what is asked for.
pub(super) fn create_source(context: &mut Context<'_>) -> Result<Option<String>, ApiError> {
    let token = context
        .text("source")
        .or(context.text("card"))
        .filter(|token| token.starts_with("tok_"));
    let (Some(token), Some(owner)) = (token, context.ids.first()) else {
        return Ok(None);
    };
    let Some(mut customer) = context.find(g::CUSTOMER, owner) else {
        return Ok(None);
    };
    let mut source = source_of(context, &customer, token)?;
    super::apply_params(&mut source, context.params, context.data)?;
    if customer.json("default_source") == "null" {
        customer.set_text("default_source", &source.id);
        context.put(customer);
    }
    context.insert(source).map(Some)
}

/// A customer's card, from a token. It is not kept yet.
pub(super) fn source_of(context: &mut Context<'_>, customer: &Object, token: &str) -> Result<Object, ApiError> {
    let card = card_of_token(context, token, "source")?;
    if let Some(refusal) = refused_at_once(&card.last4) {
        return Err(refusal.error(None, None));
    }
    let mut source = context.fresh(g::CARD);
    source.parent = Some(customer.id.clone());
    source.set_text("customer", &customer.id);
    source.set_text("brand", "Visa");
    source.set_text("last4", &card.last4);
    source.set_text("funding", card.funding);
    Ok(source)
}
