//! Products. <https://docs.stripe.com/api/products>

use inflight_stripe::{Params, Value};

use super::{Context, price};
use crate::error::ApiError;
use crate::generated as g;
use crate::json;
use crate::object::Object;

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
    context.update(g::PRODUCT, |context, product| {
        product.set("updated", context.now.to_string());
        Ok(())
    })
}

pub(super) fn delete(context: &mut Context<'_>) -> Result<String, ApiError> {
    if context.data.priced_products.contains(context.id()) {
        return Err(ApiError::invalid(
            "This product cannot be deleted because it has one or more user-created prices.",
        )
        .param("id"));
    }
    super::generic::delete(context)
}

/// A product made along with a price.
pub(super) fn inline(context: &mut Context<'_>, params: &Params) -> Result<Object, ApiError> {
    let mut product = with_id(context, super::text_of(params, "id"))?;
    product.set("updated", context.now.to_string());
    super::apply_params(&mut product, params, context.data)?;
    Ok(product)
}

fn with_id(context: &mut Context<'_>, given: Option<&str>) -> Result<Object, ApiError> {
    let id = match given {
        Some(id) if context.data.get(g::PRODUCT, id).is_some() => return Err(ApiError::already_exists("Product")),
        Some(id) => id.to_owned(),
        None => context.new_id(g::PRODUCT),
    };
    Ok(Object::new(g::PRODUCT, id, context.now))
}
