//! Checkout sessions: a page of Stripe's on which a customer pays. <https://docs.stripe.com/api/checkout/sessions>

use inflight_stripe::Value;

use super::discount::{self, Share, Target};
use super::invoice::{price_amount, price_of};
use super::{Context, generic, integer_of, text_of};
use crate::error::ApiError;
use crate::generated as g;
use crate::object::Object;
use crate::schema::SchemaId;

/// A session is open for so long unless told otherwise. <https://docs.stripe.com/api/checkout/sessions/create>
const OPEN_FOR: i64 = 24 * 60 * 60;
const HALF_HOUR: i64 = 30 * 60;

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let setup = context.text("mode") == Some("setup");
    let given = context.list("line_items");
    if given.is_empty() && !setup && context.text("mode").is_some() {
        return Err(ApiError::missing("line_items"));
    }
    check_urls(context)?;
    check_expiry(context)?;
    let mut session = generic::build(context, g::CHECKOUT_SESSION)?;
    let mut lines = Vec::new();
    for (index, given) in given.iter().enumerate() {
        lines.push(line(context, given, index)?);
    }
    check_mode(context, &lines)?;
    let subtotal = lines
        .iter()
        .map(|line| line.amount("amount_subtotal"))
        .fold(0_i64, i64::saturating_add);
    let customer = session.json("customer").to_owned();
    let discounts = match discount::given(context.params) {
        Some(given) => {
            let target = Target {
                field: "checkout_session",
                id: &session.id.clone(),
                customer: &customer,
            };
            discount::apply(context, given, &target)?
        }
        None => Vec::new(),
    };
    let mut shares: Vec<Share> = lines.iter().map(|line| share(context, line)).collect();
    discount::take(context, &discounts, &mut shares);
    let off = subtotal.saturating_sub(discount::left(&shares));
    session.clear("line_items");
    session.clear("discounts");
    if !setup {
        session.set_integer("amount_subtotal", subtotal);
        session.set_integer("amount_total", subtotal.saturating_sub(off));
        session.set(
            "total_details",
            format!("{{\"amount_discount\":{off},\"amount_shipping\":0,\"amount_tax\":0}}"),
        );
        let currency = lines
            .first()
            .and_then(|line| line.word("currency"))
            .unwrap_or("usd")
            .to_owned();
        session.set_text("currency", &currency);
    }
    session.set_text("payment_status", if setup { "no_payment_required" } else { "unpaid" });
    if !session.has("expires_at") {
        session.set_integer("expires_at", context.now.saturating_add(OPEN_FOR));
    }
    let url = format!("https://checkout.stripe.com/c/pay/{}", session.id);
    let hosted = is_hosted(context);
    if hosted {
        session.set("client_secret", "null");
    }
    session.set(
        "url",
        if hosted {
            crate::json::text(&url)
        } else {
            "null".to_owned()
        },
    );
    let ids: Vec<String> = lines.iter().map(|line| line.id.to_string()).collect();
    session.set("line_items", discount::ids_json(&ids));
    for mut line in lines {
        line.parent = Some(session.id.clone());
        context.data.table_mut(g::ITEM).insert(line);
    }
    context.insert(session)
}

/// What discounts can take off a line.
fn share(context: &Context<'_>, line: &Object) -> Share {
    let price = line.word("price").and_then(|id| context.data.get(g::PRICE, id));
    Share {
        product: price.and_then(|price| price.word("product")).map(str::to_owned),
        discountable: true,
        left: line.amount("amount_subtotal"),
        taken: Vec::new(),
    }
}

fn is_hosted(context: &Context<'_>) -> bool {
    !matches!(
        context.text("ui_mode"),
        Some("embedded" | "custom" | "elements" | "embedded_page")
    )
}

/// A hosted page leads back to the shop.
fn check_urls(context: &Context<'_>) -> Result<(), ApiError> {
    let is_url = |url: &str| {
        let rest = url.split_once("://").map(|(scheme, rest)| (scheme, rest.is_empty()));
        matches!(rest, Some(("http" | "https", false)))
    };
    for name in ["success_url", "cancel_url"] {
        if context.text(name).is_some_and(|url| !is_url(url)) {
            let message = "Not a valid URL. URLs must begin with `http://` or `https://`.";
            return Err(ApiError::invalid(message).code("url_invalid").param(name));
        }
    }
    if context.text("mode").is_some() && is_hosted(context) && context.text("success_url").is_none() {
        return Err(ApiError::missing("success_url"));
    }
    Ok(())
}

/// From half an hour to a day from now. <https://docs.stripe.com/api/checkout/sessions/create>, `expires_at`
fn check_expiry(context: &Context<'_>) -> Result<(), ApiError> {
    let Some(end) = context.integer("expires_at")? else {
        return Ok(());
    };
    if (HALF_HOUR..=OPEN_FOR).contains(&end.saturating_sub(context.now)) {
        return Ok(());
    }
    Err(ApiError::invalid(
        "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout Session creation.",
    )
    .param("expires_at"))
}

/// A subscription needs something that recurs; a payment can have nothing that does.
fn check_mode(context: &Context<'_>, lines: &[Object]) -> Result<(), ApiError> {
    let price = |line: &Object| line.word("price").and_then(|id| context.data.get(g::PRICE, id));
    let recurs = |line: &Object| price(line).is_some_and(|price| price.word("type") == Some("recurring"));
    match context.text("mode") {
        Some("payment") if lines.iter().any(recurs) => Err(ApiError::invalid(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use \
             only one-time prices.",
        )
        .param("line_items")),
        Some("subscription") if !lines.iter().any(recurs) => Err(ApiError::invalid(
            "You must provide at least one recurring price in `subscription` mode when using prices.",
        )
        .param("line_items")),
        _ => Ok(()),
    }
}

/// A quote or a payment link: what it is for, and what that comes to.
pub(super) fn with_lines(context: &mut Context<'_>, schema: SchemaId) -> Result<String, ApiError> {
    let mut object = generic::build(context, schema)?;
    object.clear("line_items");
    let mut total = 0_i64;
    for (index, given) in context.list("line_items").iter().enumerate() {
        let mut line = line(context, given, index)?;
        line.parent = Some(object.id.clone());
        total = total.saturating_add(line.amount("amount_total"));
        object.set("currency", line.json("currency"));
        context.data.table_mut(g::ITEM).insert(line);
    }
    if schema == g::QUOTE {
        object.set_integer("amount_subtotal", total);
        object.set_integer("amount_total", total);
    }
    context.insert(object)
}

fn line(context: &mut Context<'_>, given: &Value, index: usize) -> Result<Object, ApiError> {
    let name = format!("line_items[{index}][price]");
    let Value::Map(given) = given else {
        return Err(ApiError::missing(&name));
    };
    let Some(price) = price_of(context, given, &name)? else {
        return Err(ApiError::missing(&name));
    };
    let quantity = integer_of(given, "quantity")?.unwrap_or(1);
    let amount = price_amount(&price, quantity);
    let mut line = context.fresh(g::ITEM);
    line.set_integer("amount_subtotal", amount);
    line.set_integer("amount_total", amount);
    line.set("currency", price.json("currency"));
    line.set_integer("quantity", quantity);
    line.set_text("price", &price.id);
    let product = price.word("product").and_then(|id| context.data.get(g::PRODUCT, id));
    if let Some(description) = text_of(given, "description") {
        line.set_text("description", description);
    } else if let Some(product) = product {
        line.set("description", product.json("name"));
    }
    Ok(line)
}

pub(super) fn expire(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut session = context.existing(g::CHECKOUT_SESSION)?;
    if session.word("status") != Some("open") {
        return Err(ApiError::invalid(format!(
            "Only Checkout Sessions with a status in [\"open\"] can be expired. This Checkout Session has a status of {}.",
            session.word("status").unwrap_or_default()
        )));
    }
    session.set_text("status", "expired");
    session.set("url", "null");
    let id = session.id.clone();
    let json = context.replace(session)?;
    context.emit("checkout.session.expired", g::CHECKOUT_SESSION, &id);
    Ok(json)
}
