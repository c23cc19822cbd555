//! The kinds of objects, and one object: what differs from a fresh one of its kind.

use crate::json::{push_number, push_text};
use crate::store::DataSet;

/// The kinds of objects that the simulator keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Coupon,
    Customer,
    PaymentIntent,
    Price,
    Product,
    Subscription,
}

/// A field that every object of a type has, with what it is until something else is set.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// JSON.
    default: &'static str,
    /// The type of object whose id the field holds, which `expand` puts in its place.
    refers: Option<Type>,
}

const fn field(name: &'static str, default: &'static str) -> Field {
    Field {
        name,
        default,
        refers: None,
    }
}

const fn reference(name: &'static str, to: Type) -> Field {
    Field {
        name,
        default: "null",
        refers: Some(to),
    }
}

impl Type {
    pub(crate) const ALL: [Self; 6] = [
        Self::Coupon,
        Self::Customer,
        Self::PaymentIntent,
        Self::Price,
        Self::Product,
        Self::Subscription,
    ];

    pub(crate) fn by_resource(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// What its `object` says; the resource's name too.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Coupon => "coupon",
            Self::Customer => "customer",
            Self::PaymentIntent => "payment_intent",
            Self::Price => "price",
            Self::Product => "product",
            Self::Subscription => "subscription",
        }
    }

    /// Its fields beside `id`, `object`, `created`, `livemode`, `metadata` and a subscription's `items`: names as in the
    /// response schemas of Stripe's specification.
    pub(crate) fn fields(self) -> &'static [Field] {
        match self {
            Self::Coupon => COUPON,
            Self::Customer => CUSTOMER,
            Self::PaymentIntent => PAYMENT_INTENT,
            Self::Price => PRICE,
            Self::Product => PRODUCT,
            Self::Subscription => SUBSCRIPTION,
        }
    }

    fn index_of(self, field: &str) -> Option<u8> {
        let index = self.fields().iter().position(|f| f.name == field)?;
        u8::try_from(index).ok()
    }
}

static COUPON: &[Field] = &[
    field("amount_off", "null"),
    field("currency", "null"),
    field("duration", "\"once\""),
    field("duration_in_months", "null"),
    field("max_redemptions", "null"),
    field("name", "null"),
    field("percent_off", "null"),
    field("redeem_by", "null"),
    field("times_redeemed", "0"),
    field("valid", "true"),
];

static CUSTOMER: &[Field] = &[
    field("address", "null"),
    field("balance", "0"),
    field("currency", "null"),
    field("default_source", "null"),
    field("delinquent", "false"),
    field("description", "null"),
    field("discount", "null"),
    field("email", "null"),
    field("invoice_prefix", "null"),
    field(
        "invoice_settings",
        r#"{"custom_fields":null,"default_payment_method":null,"footer":null,"rendering_options":null}"#,
    ),
    field("name", "null"),
    field("next_invoice_sequence", "1"),
    field("phone", "null"),
    field("preferred_locales", "[]"),
    field("shipping", "null"),
    field("tax_exempt", "\"none\""),
    field("test_clock", "null"),
];

static PAYMENT_INTENT: &[Field] = &[
    field("amount", "0"),
    field("amount_capturable", "0"),
    field("amount_details", r#"{"tip":{}}"#),
    field("amount_received", "0"),
    field("application", "null"),
    field("application_fee_amount", "null"),
    field("automatic_payment_methods", "null"),
    field("canceled_at", "null"),
    field("cancellation_reason", "null"),
    field("capture_method", "\"automatic_async\""),
    field("client_secret", "null"),
    field("confirmation_method", "\"automatic\""),
    field("currency", "null"),
    reference("customer", Type::Customer),
    field("description", "null"),
    field("last_payment_error", "null"),
    field("latest_charge", "null"),
    field("next_action", "null"),
    field("on_behalf_of", "null"),
    field("payment_method", "null"),
    field("payment_method_configuration_details", "null"),
    field("payment_method_options", "{}"),
    field("payment_method_types", r#"["card"]"#),
    field("processing", "null"),
    field("receipt_email", "null"),
    field("review", "null"),
    field("setup_future_usage", "null"),
    field("shipping", "null"),
    field("source", "null"),
    field("statement_descriptor", "null"),
    field("statement_descriptor_suffix", "null"),
    field("status", "\"requires_payment_method\""),
    field("transfer_data", "null"),
    field("transfer_group", "null"),
];

static PRICE: &[Field] = &[
    field("active", "true"),
    field("billing_scheme", "\"per_unit\""),
    field("currency", "null"),
    field("custom_unit_amount", "null"),
    field("lookup_key", "null"),
    field("nickname", "null"),
    reference("product", Type::Product),
    field("recurring", "null"),
    field("tax_behavior", "\"unspecified\""),
    field("tiers_mode", "null"),
    field("transform_quantity", "null"),
    field("type", "\"one_time\""),
    field("unit_amount", "null"),
    field("unit_amount_decimal", "null"),
];

static PRODUCT: &[Field] = &[
    field("active", "true"),
    reference("default_price", Type::Price),
    field("description", "null"),
    field("images", "[]"),
    field("marketing_features", "[]"),
    field("name", "null"),
    field("package_dimensions", "null"),
    field("shippable", "null"),
    field("statement_descriptor", "null"),
    field("tax_code", "null"),
    field("type", "\"service\""),
    field("unit_label", "null"),
    field("updated", "0"),
    field("url", "null"),
];

static SUBSCRIPTION: &[Field] = &[
    field("application", "null"),
    field("application_fee_percent", "null"),
    field(
        "automatic_tax",
        r#"{"disabled_reason":null,"enabled":false,"liability":null}"#,
    ),
    field("billing_cycle_anchor", "0"),
    field("billing_cycle_anchor_config", "null"),
    field(
        "billing_mode",
        r#"{"flexible":{"proration_discounts":"included"},"type":"flexible"}"#,
    ),
    field("billing_schedules", "[]"),
    field("billing_thresholds", "null"),
    field("cancel_at", "null"),
    field("cancel_at_period_end", "false"),
    field("canceled_at", "null"),
    field(
        "cancellation_details",
        r#"{"comment":null,"feedback":null,"reason":null}"#,
    ),
    field("collection_method", "\"charge_automatically\""),
    field("currency", "null"),
    reference("customer", Type::Customer),
    field("days_until_due", "null"),
    field("default_payment_method", "null"),
    field("default_source", "null"),
    field("default_tax_rates", "[]"),
    field("description", "null"),
    field("discounts", "[]"),
    field("ended_at", "null"),
    field(
        "invoice_settings",
        r#"{"account_tax_ids":null,"issuer":{"type":"self"}}"#,
    ),
    field("latest_invoice", "null"),
    field("next_pending_invoice_item_invoice", "null"),
    field("on_behalf_of", "null"),
    field("pause_collection", "null"),
    field(
        "payment_settings",
        r#"{"payment_method_options":null,"payment_method_types":null,"save_default_payment_method":"off"}"#,
    ),
    field("pending_invoice_item_interval", "null"),
    field("pending_setup_intent", "null"),
    field("pending_update", "null"),
    field("schedule", "null"),
    field("start_date", "0"),
    field("status", "\"active\""),
    field("test_clock", "null"),
    field("transfer_data", "null"),
    field("trial_end", "null"),
    field(
        "trial_settings",
        r#"{"end_behavior":{"missing_payment_method":"create_invoice"}}"#,
    ),
    field("trial_start", "null"),
];

/// One price on a subscription.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) id: Box<str>,
    pub(crate) created: i64,
    pub(crate) price: Box<str>,
    pub(crate) quantity: i64,
    pub(crate) period_start: i64,
    pub(crate) period_end: i64,
}

/// One object. Only what differs from the type's defaults takes memory.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) r#type: Type,
    pub(crate) id: Box<str>,
    pub(crate) created: i64,
    /// JSON by the index of the field, sorted.
    fields: Vec<(u8, Box<str>)>,
    pub(crate) metadata: Vec<(Box<str>, Box<str>)>,
    pub(crate) items: Vec<Item>,
}

impl Object {
    pub(crate) fn new(r#type: Type, id: String, created: i64) -> Self {
        Self {
            r#type,
            id: id.into(),
            created,
            fields: Vec::new(),
            metadata: Vec::new(),
            items: Vec::new(),
        }
    }

    /// Sets a field to this JSON. Names that the type does not have are passed over.
    pub(crate) fn set(&mut self, field: &str, json: impl Into<Box<str>>) {
        let Some(index) = self.r#type.index_of(field) else {
            return;
        };
        let json = json.into();
        match self.fields.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => self.fields[at].1 = json,
            Err(at) => self.fields.insert(at, (index, json)),
        }
    }

    /// Sets a field to what it is in a fresh object.
    pub(crate) fn clear(&mut self, field: &str) {
        if let Some(index) = self.r#type.index_of(field) {
            self.fields.retain(|(i, _)| *i != index);
        }
    }

    /// A field's JSON; `null` if the type does not have it.
    pub(crate) fn json(&self, field: &str) -> &str {
        let Some(index) = self.r#type.index_of(field) else {
            return "null";
        };
        match self.fields.binary_search_by_key(&index, |(i, _)| *i) {
            Ok(at) => &self.fields[at].1,
            Err(_) => self.r#type.fields()[usize::from(index)].default,
        }
    }

    /// A field's text, for fields whose texts need no escapes: ids, statuses, currencies.
    pub(crate) fn word(&self, field: &str) -> Option<&str> {
        self.json(field).strip_prefix('"')?.strip_suffix('"')
    }

    pub(crate) fn integer(&self, field: &str) -> Option<i64> {
        self.json(field).parse().ok()
    }

    /// Appends the whole object. `expand` holds the paths to expand in it: `product`, `customer.default_source`.
    pub(crate) fn push_json(&self, out: &mut String, data: &DataSet, expand: &[&str]) {
        out.push_str("{\"id\":");
        push_text(out, &self.id);
        push_number(
            out,
            format_args!(
                ",\"object\":\"{}\",\"created\":{},\"livemode\":false,\"metadata\":{{",
                self.r#type.name(),
                self.created
            ),
        );
        for (n, (key, value)) in self.metadata.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            push_text(out, key);
            out.push(':');
            push_text(out, value);
        }
        out.push('}');
        self.push_fields(out, data, expand);
        if self.r#type == Type::Subscription {
            self.push_items(out, data);
        }
        out.push('}');
    }

    fn push_fields(&self, out: &mut String, data: &DataSet, expand: &[&str]) {
        let mut set = self.fields.iter().peekable();
        for (index, field) in self.r#type.fields().iter().enumerate() {
            let json = match set.next_if(|(i, _)| usize::from(*i) == index) {
                Some((_, json)) => json,
                None => field.default,
            };
            push_number(out, format_args!(",\"{}\":", field.name));
            match field.refers.and_then(|to| expanded(field.name, json, to, data, expand)) {
                Some((object, deeper)) => object.push_json(out, data, &deeper),
                None => out.push_str(json),
            }
        }
    }

    fn push_items(&self, out: &mut String, data: &DataSet) {
        out.push_str(",\"items\":{\"object\":\"list\",\"data\":[");
        for (n, item) in self.items.iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            push_number(
                out,
                format_args!(
                    "{{\"id\":\"{}\",\"object\":\"subscription_item\",\"billing_thresholds\":null,\"created\":{},\
                     \"current_period_end\":{},\"current_period_start\":{},\"discounts\":[],\"metadata\":{{}},\
                     \"quantity\":{},\"subscription\":\"{}\",\"tax_rates\":[],\"price\":",
                    item.id, item.created, item.period_end, item.period_start, item.quantity, self.id
                ),
            );
            match data.table(Type::Price).get(&item.price) {
                Some(price) => price.push_json(out, data, &[]),
                None => out.push_str("null"),
            }
            out.push('}');
        }
        push_number(
            out,
            format_args!(
                "],\"has_more\":false,\"total_count\":{},\"url\":\"/v1/subscription_items?subscription={}\"}}",
                self.items.len(),
                self.id
            ),
        );
    }
}

/// The object to show in place of an id, and what to expand in it.
fn expanded<'d, 'e>(
    field: &str,
    json: &str,
    to: Type,
    data: &'d DataSet,
    expand: &[&'e str],
) -> Option<(&'d Object, Vec<&'e str>)> {
    let mut asked = false;
    let mut deeper = Vec::new();
    for path in expand {
        let (first, rest) = path.split_once('.').unwrap_or((path, ""));
        if first == field {
            asked = true;
            if !rest.is_empty() {
                deeper.push(rest);
            }
        }
    }
    let id = json.strip_prefix('"')?.strip_suffix('"')?;
    let object = data.table(to).get(id)?;
    asked.then_some((object, deeper))
}
