//! Valid parameters for any operation.

use std::collections::HashMap;

use inflight_stripe::{Kind, Param};
use serde_json::{Map, Value, json};

/// How much is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What is required, and nothing else.
    Minimal,
    /// Everything that goes together; the number chooses among the ways to say a value.
    Maximal(usize),
}

pub(crate) struct Sampler<'a> {
    pub(crate) extent: Extent,
    /// Objects that parameters may refer to, by the parameter's name.
    pub(crate) world: &'a HashMap<&'static str, String>,
}

/// Parameters that exclude each other: the first is left out where the second is.
const EXCLUSIVE: [(&str, &str); 39] = [
    ("account_token", "type"),
    ("amount_off", "percent_off"),
    ("cancel_at", "cancel_at_period_end"),
    ("coupon", "promotion_code"),
    ("currency_options", "unit_amount"),
    ("custom_unit_amount", "unit_amount"),
    ("default_price_data", "name"),
    ("deleted", "id"),
    ("discount", "coupon"),
    ("duration_in_months", "percent_off"),
    ("flat_amount_decimal", "flat_amount"),
    ("from_invoice", "customer"),
    ("invoice", "customer"),
    ("invoice_item", "pricing"),
    ("items", "plan"),
    ("payment_method_data", "payment_method"),
    ("payment_method_types", "automatic_payment_methods"),
    ("plan", "price"),
    ("price_data", "price"),
    ("product_data", "product"),
    ("refund", "amount"),
    ("refunds", "amount"),
    ("credit_amount", "amount"),
    ("lines", "amount"),
    ("out_of_band_amount", "amount"),
    ("refund_amount", "amount"),
    ("tiers", "unit_amount"),
    ("tiers_mode", "unit_amount"),
    ("transform_quantity", "unit_amount"),
    ("trial_period_days", "trial_end"),
    ("unit_amount_decimal", "unit_amount"),
    ("unit_amount_decimal", "price"),
    ("unit_amount", "price"),
    ("unit_amount", "pricing"),
    ("amount", "pricing"),
    ("quantity_decimal", "quantity"),
    ("starting_after", "ending_before"),
    ("payment_intent", "charge"),
    ("from_subscription", "customer"),
];

impl Sampler<'_> {
    pub(crate) fn params(&self, params: &[&'static Param]) -> Map<String, Value> {
        let has = |name: &str| params.iter().any(|param| param.name == name);
        let excluded = |param: &Param| EXCLUSIVE.iter().any(|(out, other)| *out == param.name && has(other));
        let mut map = Map::new();
        for param in params {
            let wanted = match self.extent {
                Extent::Minimal => param.required,
                Extent::Maximal(_) => param.required || !excluded(param),
            };
            if wanted
                && !matches!(param.name, "expand" | "starting_after" | "ending_before" | "page")
                && (param.name != "id" || param.required)
            {
                map.insert(param.name.to_owned(), self.value(param.name, &param.kind));
            }
        }
        map
    }

    fn variant(&self) -> usize {
        match self.extent {
            Extent::Minimal => 0,
            Extent::Maximal(variant) => variant,
        }
    }

    fn value(&self, name: &str, kind: &'static Kind) -> Value {
        match kind {
            // A charge has a least amount, and a card a year that is not past.
            Kind::Integer if name == "amount" => json!(100),
            Kind::Integer if name == "exp_year" => json!(2034),
            Kind::Integer => json!(7),
            // Some moments must be in the future, and trials end within two years.
            Kind::Timestamp => json!(1_850_000_000),
            Kind::Number => json!(12.5),
            Kind::Decimal => json!("12.5"),
            Kind::IntegerText => json!("7"),
            Kind::Boolean => json!(true),
            Kind::Text | Kind::Any | Kind::TextUpTo(_) => json!(self.text(name)),
            Kind::Enum(values) | Kind::OpenEnum(values) => {
                let values: Vec<&str> = values.iter().copied().filter(|value| !value.is_empty()).collect();
                json!(
                    values
                        .get(self.variant() % values.len().max(1))
                        .copied()
                        .unwrap_or_default()
                )
            }
            Kind::Open(usual) => self.value(name, usual),
            Kind::List(item) => json!([self.value(name, item)]),
            Kind::Map(entry) => json!({ "key_1": self.value("", entry) }),
            Kind::AnyOf(kinds) => self.value(name, &kinds[self.variant() % kinds.len()]),
            Kind::Object(params) => {
                let all: Vec<&'static Param> = params.iter().collect();
                let map = self.params(&all);
                // An empty one sends nothing.
                match (map.is_empty(), params.first()) {
                    (true, Some(first)) => json!({ first.name: self.value(first.name, &first.kind) }),
                    _ => map.into(),
                }
            }
            other => panic!("no sample of {other}"),
        }
    }

    fn text(&self, name: &str) -> String {
        if let Some(id) = self.world.get(name) {
            return id.clone();
        }
        match name {
            "default_payment_method" => return self.world.get("payment_method").cloned().unwrap_or_default(),
            "default_price" => return self.world.get("once").cloned().unwrap_or_default(),
            "currency" | "settlement_currency" | "default_currency" | "minimum_amount_currency" => "usd",
            "email" | "receipt_email" => "a@example.com",
            "country" => "US",
            "success_url" | "cancel_url" => "https://example.com/",
            "query" => "created>0",
            "number" => "4242424242424242",
            "exp_month" => "12",
            "exp_year" => "2034",
            "cvc" => "123",
            "token" => "tok_visa",
            "trial_end" => "now",
            "up_to" => "inf",
            _ => "x",
        }
        .to_owned()
    }
}

/// Parameters as a form.
pub(crate) fn form(params: &Map<String, Value>) -> String {
    let mut pairs = Vec::new();
    for (name, value) in params {
        push(name, value, &mut pairs);
    }
    pairs.join("&")
}

fn push(name: &str, value: &Value, pairs: &mut Vec<String>) {
    match value {
        Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| push(&format!("{name}[{key}]"), value, pairs)),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                push(&format!("{name}[{index}]"), item, pairs);
            }
        }
        Value::String(text) => {
            let escaped = text
                .replace('%', "%25")
                .replace('&', "%26")
                .replace('=', "%3D")
                .replace('+', "%2B");
            pairs.push(format!("{name}={escaped}"));
        }
        other => pairs.push(format!("{name}={other}")),
    }
}
