use inflight_stripe::{Params, Value};

use super::{Context, price};
use crate::error::ApiError;
use crate::json;
use crate::object::{Object, Type};

pub(super) fn create(context: &mut Context<'_>) -> Result<String, ApiError> {
    let mut product = with_id(context, context.text("id"))?;
    context.apply(&mut product)?;
    product.set("updated", context.now.to_string());
    if let Some(Value::Map(given)) = context.params.get("default_price_data") {
        let mut params = given.clone();
        params.set("product", &*product.id);
        let price = price::build(context, &params)?;
        product.set("default_price", json::text(&price.id));
        price::add(context, price);
    }
    context.insert(product)
}

pub(super) fn update(context: &mut Context<'_>) -> Result<String, ApiError> {
    context.check_reference("default_price", Type::Price)?;
    context.update(Type::Product, |context, product| {
        product.set("updated", context.now.to_string());
        Ok(())
    })
}

pub(super) fn delete(context: &mut Context<'_>) -> Result<String, ApiError> {
    if context.data.priced_products.contains(context.id) {
        return Err(ApiError::invalid(
            "This product cannot be deleted because it has one or more user-created prices.",
        )
        .param("id"));
    }
    context.delete(Type::Product)
}

/// A product made along with a price.
pub(super) fn inline(context: &mut Context<'_>, params: &Params) -> Result<Object, ApiError> {
    let mut product = with_id(context, super::text_of(params, "id"))?;
    product.set("updated", context.now.to_string());
    for (name, value) in params.iter() {
        match value {
            _ if name == "metadata" => super::apply_metadata(&mut product, value)?,
            Value::Text(text) if name == "active" => product.set(name, text.as_str()),
            Value::Text(text) if name != "id" => product.set(name, json::text(text)),
            _ => {}
        }
    }
    Ok(product)
}

fn with_id(context: &mut Context<'_>, given: Option<&str>) -> Result<Object, ApiError> {
    let id = match given {
        Some(id) if context.data.table(Type::Product).contains(id) => return Err(ApiError::already_exists("Product")),
        Some(id) => id.to_owned(),
        None => context.random.id("prod_", 14),
    };
    Ok(Object::new(Type::Product, id, context.now))
}
