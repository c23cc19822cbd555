//! Defaults that no rule gives: what Stripe's documentation shows of a fresh object. <https://docs.stripe.com/api>

use crate::schema::Shape;

/// A field of one schema.
pub(super) fn default(schema: &str, field: &str) -> Option<&'static str> {
    Some(match (schema, field) {
        ("account", "capabilities") => "{}",
        ("account", "charges_enabled" | "details_submitted" | "payouts_enabled") => "false",
        ("account", "country") => "\"US\"",
        ("account", "default_currency") => "\"usd\"",
        ("account", "type") => "\"none\"",
        ("balance_transaction", "status") => "\"available\"",
        ("charge", "status") => "\"succeeded\"",
        ("charge", "paid" | "captured") => "true",
        ("charge", "amount_captured") => "0",
        ("charge", "outcome") => {
            r#"{"advice_code":null,"network_advice_code":null,"network_decline_code":null,"network_status":"approved_by_network","reason":null,"risk_level":"normal","seller_message":"Payment complete.","type":"authorized"}"#
        }
        ("charge", "fraud_details") => "{}",
        ("charge", "billing_details") => {
            r#"{"address":{"city":null,"country":null,"line1":null,"line2":null,"postal_code":null,"state":null},"email":null,"name":null,"phone":null,"tax_id":null}"#
        }
        ("checkout.session", "mode") => "\"payment\"",
        ("checkout.session", "payment_method_types") => r#"["card"]"#,
        ("checkout.session", "payment_status") => "\"unpaid\"",
        ("checkout.session", "status") => "\"open\"",
        ("checkout.session", "automatic_tax") => r#"{"enabled":false,"liability":null,"provider":null,"status":null}"#,
        ("coupon", "duration") => "\"once\"",
        ("coupon", "valid") => "true",
        ("customer", "balance") => "0",
        ("customer", "delinquent") => "false",
        ("customer", "invoice_settings") => {
            r#"{"custom_fields":null,"default_payment_method":null,"footer":null,"rendering_options":null}"#
        }
        ("customer", "next_invoice_sequence") => "1",
        ("customer", "preferred_locales") => "[]",
        ("customer", "tax_exempt") => "\"none\"",
        ("customer" | "charge" | "price" | "product" | "subscription" | "invoice", "metadata") => "{}",
        ("event", "api_version") => "\"2026-05-27.dahlia\"",
        ("invoice", "automatic_tax") => {
            r#"{"disabled_reason":null,"enabled":false,"liability":null,"provider":null,"status":null}"#
        }
        ("invoice", "billing_reason") => "\"manual\"",
        ("invoice", "collection_method") => "\"charge_automatically\"",
        ("invoice", "status") => "\"draft\"",
        ("invoice", "issuer") => r#"{"type":"self"}"#,
        ("invoice", "total_discount_amounts" | "total_taxes") => "[]",
        ("invoiceitem", "discountable") => "true",
        ("invoiceitem", "quantity") => "1",
        ("line_item", "discountable") => "true",
        ("payment_intent", "amount_capturable" | "amount_received") => "0",
        ("payment_intent", "amount_details") => r#"{"tip":{}}"#,
        ("payment_intent", "capture_method") => "\"automatic_async\"",
        ("payment_intent", "confirmation_method") => "\"automatic\"",
        ("payment_intent" | "setup_intent", "payment_method_options") => "{}",
        ("payment_intent" | "setup_intent", "payment_method_types") => r#"["card"]"#,
        ("payment_intent" | "setup_intent", "status") => "\"requires_payment_method\"",
        ("payment_link", "active") | ("product", "active") | ("promotion_code", "active") => "true",
        ("payment_method", "billing_details") => {
            r#"{"address":{"city":null,"country":null,"line1":null,"line2":null,"postal_code":null,"state":null},"email":null,"name":null,"phone":null,"tax_id":null}"#
        }
        ("payment_method", "type") => "\"card\"",
        ("plan" | "price", "active") => "true",
        ("plan" | "price", "billing_scheme") => "\"per_unit\"",
        ("plan", "interval") => "\"month\"",
        ("plan", "interval_count") => "1",
        ("plan", "usage_type") => "\"licensed\"",
        ("price", "tax_behavior") => "\"unspecified\"",
        ("price", "type") => "\"one_time\"",
        ("product", "type") => "\"service\"",
        ("promotion_code", "restrictions") => {
            r#"{"first_time_transaction":false,"minimum_amount":null,"minimum_amount_currency":null}"#
        }
        ("setup_intent", "usage") => "\"off_session\"",
        ("subscription", "automatic_tax") => r#"{"disabled_reason":null,"enabled":false,"liability":null}"#,
        ("subscription", "billing_mode") => r#"{"flexible":{"proration_discounts":"included"},"type":"flexible"}"#,
        ("subscription", "billing_schedules") => "[]",
        ("subscription", "cancellation_details") => r#"{"comment":null,"feedback":null,"reason":null}"#,
        ("subscription", "invoice_settings") => r#"{"account_tax_ids":null,"issuer":{"type":"self"}}"#,
        ("subscription", "payment_settings") => {
            r#"{"payment_method_options":null,"payment_method_types":null,"save_default_payment_method":"off"}"#
        }
        ("subscription", "status") => "\"active\"",
        ("subscription", "trial_settings") => r#"{"end_behavior":{"missing_payment_method":"create_invoice"}}"#,
        ("subscription" | "subscription_item", "discounts") => "[]",
        ("subscription_item", "quantity") => "1",
        ("webhook_endpoint", "status") => "\"enabled\"",
        ("reporting.report_run", "status") => "\"pending\"",
        ("source", "status") => "\"chargeable\"",
        ("payout", "method") => "\"standard\"",
        ("payout", "source_type") => "\"card\"",
        ("issuing.cardholder", "type") => "\"individual\"",
        ("identity.verification_session", "status") => "\"requires_input\"",
        ("balance_transaction", "balance_type") => "\"payments\"",
        ("tax_rate", "active") | ("shipping_rate", "active") | ("entitlements.feature", "active") => "true",
        _ => return None,
    })
}

/// A required field of this name, whatever it is in.
pub(super) fn by_name(name: &str, shape: Shape) -> Option<&'static str> {
    Some(match (name, shape) {
        ("exp_month", Shape::Integer) => "12",
        ("exp_year", Shape::Integer) => "2034",
        ("last4", Shape::Text) => "\"4242\"",
        ("brand", Shape::Text) => "\"visa\"",
        ("funding", Shape::Text) => "\"credit\"",
        ("country", Shape::Text) => "\"US\"",
        ("active", Shape::Boolean) => "true",
        ("quantity" | "interval_count", Shape::Integer) => "1",
        _ if matches!(shape, Shape::Text) && (name == "url" || name.ends_with("_url")) => "\"https://simulator.test/\"",
        _ => return None,
    })
}

/// What the state of a fresh object is called, in the order of preference.
const FRESH: [&str; 14] = [
    "draft",
    "requires_payment_method",
    "needs_response",
    "active",
    "open",
    "enabled",
    "pending",
    "created",
    "new",
    "succeeded",
    "ready",
    "in_progress",
    "processing",
    "incomplete",
];

/// The value that a fresh object has. Enums of other things than states have none of the known words: their first will do.
pub(super) fn likeliest(values: &[&'static str]) -> &'static str {
    let known = FRESH.iter().find(|word| values.contains(word));
    known
        .or(values.iter().find(|value| !value.is_empty()))
        .copied()
        .unwrap_or("")
}
