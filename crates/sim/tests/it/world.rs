//! An account with objects in it, and calls of operations in it.

use std::collections::HashMap;
use std::time::Instant;

use inflight_sim::{Api, ApiRequest};
use inflight_stripe::{Encoding, Kind, Method, Operation, Param};
use serde_json::{Map, Value, json};

use crate::sample::{Extent, Sampler, form};

/// An account in which the objects are that others refer to.
pub(crate) struct World {
    api: Api,
    pub(crate) known: HashMap<&'static str, String>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            api: Api::new(1).unix_clock(|| 1_800_000_000),
            known: HashMap::new(),
        };
        for (name, path, form) in [
            ("customer", "/v1/customers", "email=a%40example.com&source=tok_visa"),
            ("product", "/v1/products", "name=Mug"),
            (
                "price",
                "/v1/prices",
                "currency=usd&unit_amount=500&product={product}&recurring[interval]=month",
            ),
            ("once", "/v1/prices", "currency=usd&unit_amount=500&product={product}"),
            ("coupon", "/v1/coupons", "percent_off=10"),
            (
                "promotion_code",
                "/v1/promotion_codes",
                "promotion[type]=coupon&promotion[coupon]={coupon}",
            ),
            (
                "payment_method",
                "/v1/payment_methods",
                "type=card&card[token]=tok_visa",
            ),
            (
                "attached",
                "/v1/payment_methods/{payment_method}/attach",
                "customer={customer}",
            ),
            (
                "payment_intent",
                "/v1/payment_intents",
                "amount=500&currency=usd&confirm=true&payment_method=pm_card_visa",
            ),
            ("setup_intent", "/v1/setup_intents", ""),
            (
                "tax_rate",
                "/v1/tax_rates",
                "display_name=VAT&inclusive=false&percentage=19",
            ),
            ("shipping_rate", "/v1/shipping_rates", "display_name=Post"),
            ("test_clock", "/v1/test_helpers/test_clocks", "frozen_time=1800000000"),
            (
                "payment_link",
                "/v1/payment_links",
                "line_items[0][price]={once}&line_items[0][quantity]=1",
            ),
            (
                "subscription",
                "/v1/subscriptions",
                "customer={customer}&items[0][price]={price}",
            ),
            // Only a paused subscription can be resumed; a trial's end without a card pauses it.
            ("without_card", "/v1/customers", "email=a%40example.com"),
            (
                "paused",
                "/v1/subscriptions",
                "customer={without_card}&items[0][price]={price}&trial_period_days=7&\
                 trial_settings[end_behavior][missing_payment_method]=pause",
            ),
            ("trial_ended", "/v1/subscriptions/{paused}", "trial_end=now"),
            ("invoice", "/v1/invoices", "customer={customer}&auto_advance=false"),
            (
                "invoiceitem",
                "/v1/invoiceitems",
                "customer={customer}&invoice={invoice}&amount=700&currency=usd",
            ),
            (
                "plan",
                "/v1/plans",
                "amount=5&currency=usd&interval=month&product={product}",
            ),
            // A subscription has one item of a price.
            (
                "other_price",
                "/v1/prices",
                "currency=usd&unit_amount=900&product={product}&recurring[interval]=month",
            ),
            (
                "second_item",
                "/v1/subscription_items",
                "subscription={subscription}&price={other_price}",
            ),
            (
                "third_price",
                "/v1/prices",
                "currency=usd&unit_amount=800&product={product}&recurring[interval]=month",
            ),
            (
                "external_account",
                "/v1/accounts/acct_1/external_accounts",
                "external_account=btok_us",
            ),
            ("open_invoice", "/v1/invoices", "customer={customer}&auto_advance=false"),
            (
                "open_item",
                "/v1/invoiceitems",
                "customer={customer}&invoice={open_invoice}&amount=70000&currency=usd",
            ),
            ("finalized", "/v1/invoices/{open_invoice}/finalize", ""),
            ("secret", "/v1/apps/secrets", "name=x&payload=x&scope[type]=account"),
            (
                "cash",
                "/v1/test_helpers/customers/{customer}/fund_cash_balance",
                "amount=5&currency=usd",
            ),
            ("bank", "/v1/customers/{customer}/sources", "source=btok_us"),
            ("topup", "/v1/topups", "amount=100000&currency=usd"),
        ] {
            let made = world.ok("POST", &world.filled(path), &world.filled(form));
            world.known.insert(name, made["id"].as_str().unwrap().to_owned());
        }
        let intent = world.ok("GET", &world.filled("/v1/payment_intents/{payment_intent}"), "");
        world
            .known
            .insert("charge", intent["latest_charge"].as_str().unwrap().to_owned());
        let lines = world.ok("GET", &world.filled("/v1/invoices/{invoice}/lines"), "");
        let customer = world.ok("GET", &world.filled("/v1/customers/{customer}"), "");
        world
            .known
            .insert("source", customer["default_source"].as_str().unwrap().to_owned());
        for (name, path) in [
            ("transaction", "/v1/balance_transactions"),
            ("event", "/v1/events"),
            ("invoice_payment", "/v1/invoice_payments"),
            (
                "subscription_item",
                "/v1/subscription_items?subscription={subscription}",
            ),
        ] {
            let path = world.filled(path);
            let (path, query) = path.split_once('?').unwrap_or((&path, ""));
            let list = world.ok("GET", path, query);
            world
                .known
                .insert(name, list["data"][0]["id"].as_str().unwrap().to_owned());
        }
        world
            .known
            .insert("line", lines["data"][0]["id"].as_str().unwrap().to_owned());
        world
    }

    fn filled(&self, text: &str) -> String {
        let known = self.known.iter();
        known.fold(text.to_owned(), |text, (name, id)| {
            text.replace(&format!("{{{name}}}"), id)
        })
    }

    fn send(&mut self, method: &str, path: &str, body: &[u8], content_type: Option<&str>) -> (u16, Value) {
        let in_body = method == "POST";
        let request = ApiRequest {
            method,
            path,
            query: if in_body {
                ""
            } else {
                std::str::from_utf8(body).unwrap()
            },
            authorization: Some("Bearer sk_test_1"),
            content_type,
            body: if in_body { body } else { b"" },
            ..ApiRequest::default()
        };
        let response = self.api.handle(&request, Instant::now());
        let is_json = response.content_type == "application/json";
        let body = if is_json {
            serde_json::from_slice(&response.body).unwrap()
        } else {
            json!(response.body.len())
        };
        (response.status, body)
    }

    fn ok(&mut self, method: &str, path: &str, form: &str) -> Value {
        let (status, body) = self.send(method, path, form.as_bytes(), None);
        assert_eq!(status, 200, "{method} {path} {form}: {body}");
        body
    }

    pub(crate) fn call(
        &mut self,
        operation: &'static Operation,
        path: &str,
        params: &Map<String, Value>,
    ) -> (u16, Value) {
        let method = operation.method.as_str();
        match operation.encoding {
            Encoding::Json if operation.method == Method::Post => {
                let body = Value::Object(params.clone()).to_string();
                self.send(method, path, body.as_bytes(), Some("application/json"))
            }
            Encoding::Multipart => {
                let (kind, body) = multipart(params);
                self.send(method, path, &body, Some(&kind))
            }
            _ => self.send(method, path, form(params).as_bytes(), None),
        }
    }

    /// The operation's path, with ids of objects that are there.
    pub(crate) fn path(&mut self, operation: &'static Operation) -> String {
        let mut path = String::new();
        let mut route = String::new();
        for segment in operation.path.split('/').skip(1) {
            let above = path.clone();
            path.push('/');
            route.push('/');
            if segment.starts_with('{') {
                route.push_str("{}");
                let id = self.id_at(&route, &above, operation);
                path.push_str(&id);
            } else {
                route.push_str(segment);
                path.push_str(segment);
            }
        }
        path
    }

    fn id_at(&mut self, route: &str, above: &str, operation: &'static Operation) -> String {
        let is_last = route.matches('{').count() == operation.path_params.len();
        if let Some(setup) = prepared(operation).filter(|_| is_last) {
            let (path, form) = (self.filled(setup.0), self.filled(setup.1));
            return self.ok("POST", &path, &form)["id"].as_str().unwrap().to_owned();
        }
        if let Some((_, id)) = KNOWN.iter().find(|(known, _)| *known == route) {
            if let Some((name, path)) = MADE.iter().find(|(name, _)| *id == format!("{{{name}}}")) {
                let (create, _) = Operation::by_route(Method::Post, path).unwrap();
                let id = self.create(create, path);
                self.known.insert(name, id);
            }
            return self.filled(id);
        }
        // What the path's collection makes.
        match Operation::by_route(Method::Post, above) {
            Some((create, _)) => self.create(create, above),
            None => panic!("{route} is made by nothing"),
        }
    }
}

impl World {
    fn create(&mut self, create: &'static Operation, path: &str) -> String {
        let params = params(self, create, Extent::Minimal);
        let (status, made) = self.call(create, path, &params);
        assert_eq!(status, 200, "{path}: {made}");
        made["id"]
            .as_str()
            .unwrap_or_else(|| panic!("no id in {made}"))
            .to_owned()
    }
}

/// Operations whose object must be in a certain state.
fn prepared(operation: &Operation) -> Option<(&'static str, &'static str)> {
    let intent = "/v1/payment_intents";
    let draft = "customer={customer}&auto_advance=false";
    Some(match (operation.method, operation.path) {
        (
            Method::Post,
            "/v1/payment_intents/{intent}/capture" | "/v1/payment_intents/{intent}/increment_authorization",
        ) => (
            intent,
            "amount=500&currency=usd&confirm=true&payment_method=pm_card_visa&capture_method=manual",
        ),
        (Method::Post, "/v1/payment_intents/{intent}/confirm") => {
            // The sampled method is this customer's.
            (
                intent,
                "amount=500&currency=usd&customer={customer}&payment_method=pm_card_visa",
            )
        }
        (Method::Post, "/v1/payment_intents/{intent}" | "/v1/payment_intents/{intent}/cancel") => {
            (intent, "amount=500&currency=usd")
        }
        (Method::Post, "/v1/setup_intents/{intent}/confirm") => {
            ("/v1/setup_intents", "customer={customer}&payment_method=pm_card_visa")
        }
        (Method::Post, "/v1/charges/{charge}/capture") => {
            ("/v1/charges", "amount=500&currency=usd&source=tok_visa&capture=false")
        }
        (Method::Post, "/v1/charges/{charge}/refund") => ("/v1/charges", "amount=500&currency=usd&source=tok_visa"),
        (Method::Post, "/v1/payment_methods/{payment_method}/attach") => {
            ("/v1/payment_methods", "type=card&card[token]=tok_visa")
        }
        (Method::Post, "/v1/customers/{customer}/sources/{id}/verify") => {
            ("/v1/customers/{customer}/sources", "source=btok_us")
        }
        (Method::Post, "/v1/subscriptions/{subscription}/resume") => ("/v1/subscriptions/{paused}", ""),
        // Only what is open can be given up.
        (Method::Post, "/v1/invoices/{invoice}/void" | "/v1/invoices/{invoice}/mark_uncollectible") => {
            ("/v1/invoices/{open_invoice}", "description=x")
        }
        (Method::Post, path)
            if path.starts_with("/v1/invoices/{invoice}/") && !path.contains("_lines") && !path.contains("lines/{") =>
        {
            ("/v1/invoices", draft)
        }
        (Method::Delete, "/v1/invoices/{invoice}") => ("/v1/invoices", draft),
        (Method::Delete, "/v1/products/{id}") => ("/v1/products", "name=Cup"),
        _ => return None,
    })
}

/// Objects that are made by other ways than their collection, and those that nothing makes.
const KNOWN: &[(&str, &str)] = &[
    ("/v1/accounts/{}/capabilities/{}", "transfers"),
    ("/v1/application_fees/{}", "fee_1"),
    ("/v1/balance/history/{}", "{transaction}"),
    ("/v1/balance_transactions/{}", "{transaction}"),
    ("/v1/billing/credit_balance_transactions/{}", "cbtxn_1"),
    ("/v1/charges/{}", "{charge}"),
    ("/v1/climate/products/{}", "climsku_1"),
    ("/v1/climate/suppliers/{}", "climsup_1"),
    ("/v1/confirmation_tokens/{}", "{confirmation_token}"),
    ("/v1/country_specs/{}", "US"),
    ("/v1/coupons/{}", "{coupon}"),
    ("/v1/credit_notes/{}/lines/{}", "cnli_1"),
    ("/v1/customers/{}", "{customer}"),
    ("/v1/customers/{}/bank_accounts/{}", "{bank}"),
    ("/v1/customers/{}/cards/{}", "{source}"),
    ("/v1/customers/{}/cash_balance_transactions/{}", "{cash}"),
    ("/v1/customers/{}/payment_methods/{}", "{payment_method}"),
    ("/v1/customers/{}/sources/{}", "{source}"),
    ("/v1/customers/{}/subscriptions/{}", "{subscription}"),
    ("/v1/disputes/{}", "dp_1"),
    ("/v1/entitlements/active_entitlements/{}", "ent_test_1"),
    ("/v1/events/{}", "{event}"),
    ("/v1/exchange_rates/{}", "usd"),
    ("/v1/external_accounts/{}", "{external_account}"),
    ("/v1/financial_connections/accounts/{}", "fca_1"),
    ("/v1/financial_connections/transactions/{}", "fctxn_1"),
    ("/v1/identity/verification_reports/{}", "vr_1"),
    ("/v1/invoice_payments/{}", "{invoice_payment}"),
    ("/v1/invoice_rendering_templates/{}", "inrtem_1"),
    ("/v1/invoiceitems/{}", "{invoiceitem}"),
    ("/v1/invoices/{}", "{invoice}"),
    ("/v1/invoices/{}/lines/{}", "{line}"),
    ("/v1/issuing/authorizations/{}", "{authorization}"),
    ("/v1/issuing/physical_bundles/{}", "ics_1"),
    ("/v1/issuing/settlements/{}", "{settlement}"),
    ("/v1/issuing/tokens/{}", "intok_1"),
    ("/v1/issuing/transactions/{}", "{issuing_transaction}"),
    ("/v1/linked_accounts/{}", "fca_1"),
    ("/v1/mandates/{}", "mandate_1"),
    ("/v1/payment_attempt_records/{}", "par_1"),
    ("/v1/payment_intents/{}", "{payment_intent}"),
    ("/v1/payment_methods/{}", "{payment_method}"),
    ("/v1/payment_records/{}", "{payment_record}"),
    ("/v1/plans/{}", "{plan}"),
    ("/v1/prices/{}", "{price}"),
    ("/v1/products/{}", "{product}"),
    ("/v1/promotion_codes/{}", "{promotion_code}"),
    ("/v1/radar/early_fraud_warnings/{}", "issfr_1"),
    ("/v1/refunds/{}", "{refund}"),
    ("/v1/reporting/report_types/{}", "balance.summary.1"),
    ("/v1/reviews/{}", "prv_1"),
    ("/v1/setup_intents/{}", "{setup_intent}"),
    ("/v1/sigma/saved_queries/{}", "sqry_1"),
    ("/v1/sigma/scheduled_query_runs/{}", "sqr_1"),
    ("/v1/sources/{}/mandate_notifications/{}", "srcmn_1"),
    ("/v1/sources/{}/source_transactions/{}", "srctxn_1"),
    ("/v1/subscription_items/{}", "{subscription_item}"),
    ("/v1/subscriptions/{}", "{subscription}"),
    ("/v1/tax/transactions/{}", "{tax_transaction}"),
    ("/v1/tax_codes/{}", "txcd_10000000"),
    ("/v1/test_helpers/issuing/authorizations/{}", "{authorization}"),
    ("/v1/test_helpers/issuing/cards/{}", "{issuing_card}"),
    ("/v1/test_helpers/issuing/personalization_designs/{}", "{design}"),
    ("/v1/test_helpers/issuing/settlements/{}", "{settlement}"),
    ("/v1/test_helpers/issuing/transactions/{}", "{issuing_transaction}"),
    ("/v1/test_helpers/customers/{}", "{customer}"),
    ("/v1/test_helpers/refunds/{}", "{refund}"),
    ("/v1/test_helpers/terminal/readers/{}", "{reader}"),
    ("/v1/test_helpers/treasury/inbound_transfers/{}", "{inbound_transfer}"),
    ("/v1/test_helpers/treasury/outbound_payments/{}", "{outbound_payment}"),
    ("/v1/test_helpers/treasury/outbound_transfers/{}", "{outbound_transfer}"),
    ("/v1/treasury/received_credits/{}", "{received_credit}"),
    ("/v1/treasury/received_debits/{}", "{received_debit}"),
    ("/v1/treasury/transaction_entries/{}", "trxne_1"),
    ("/v1/treasury/transactions/{}", "trxn_1"),
    ("/v2/commerce/product_catalog/imports/{}", "{import}"),
    ("/v2/core/account_tokens/{}", "{account_token}"),
    ("/v2/core/events/{}", "evt_test_1"),
];

/// Objects that only some operations need, with the operations that make them.
const MADE: &[(&str, &str)] = &[
    ("confirmation_token", "/v1/test_helpers/confirmation_tokens"),
    ("authorization", "/v1/test_helpers/issuing/authorizations"),
    ("settlement", "/v1/test_helpers/issuing/settlements"),
    (
        "issuing_transaction",
        "/v1/test_helpers/issuing/transactions/create_force_capture",
    ),
    ("issuing_card", "/v1/issuing/cards"),
    ("design", "/v1/issuing/personalization_designs"),
    ("reader", "/v1/terminal/readers"),
    ("inbound_transfer", "/v1/treasury/inbound_transfers"),
    ("outbound_payment", "/v1/treasury/outbound_payments"),
    ("outbound_transfer", "/v1/treasury/outbound_transfers"),
    ("received_credit", "/v1/test_helpers/treasury/received_credits"),
    ("received_debit", "/v1/test_helpers/treasury/received_debits"),
    ("payment_record", "/v1/payment_records/report_payment"),
    ("tax_transaction", "/v1/tax/transactions/create_from_calculation"),
    ("import", "/v2/commerce/product_catalog/imports"),
    ("account_token", "/v2/core/account_tokens"),
    ("refund", "/v1/refunds"),
    ("account", "/v1/accounts"),
];

/// Parameters that the specification does not require, but Stripe does.
fn needed(path: &str) -> &'static str {
    match path {
        "/v1/charges" => "amount=500&currency=usd&source=tok_visa",
        "/v1/coupons" => "percent_off=10",
        "/v1/prices" => "unit_amount=500&product={product}",
        "/v1/refunds" => "charge={charge}",
        "/v1/subscriptions" => "customer={customer}&items[0][price]={price}",
        // Others are another customer's.
        "/v1/customers" => "payment_method=pm_card_visa&invoice_settings[default_payment_method]=pm_card_visa",
        "/v1/customers/{customer}/subscriptions" => "items[0][price]={price}",
        "/v1/subscription_items" => "price={third_price}",
        "/v1/invoices/create_preview" => "customer={customer}",
        "/v1/invoices/{invoice}/update_lines" | "/v1/invoices/{invoice}/remove_lines" => "lines[0][id]={line}",
        "/v1/payment_methods" => "type=card&card[token]=tok_visa",
        "/v1/payment_methods/{payment_method}/attach" => "customer={customer}",
        "/v1/invoices" => "customer={customer}",
        "/v1/invoiceitems" => "customer={customer}&amount=500&currency=usd",
        "/v1/checkout/sessions" => {
            // A hosted page leads back, and is open for a day at most.
            "mode=payment&line_items[0][price]={once}&line_items[0][quantity]=1&success_url=https://example.com/&expires_at=1800003600"
        }
        "/v1/promotion_codes" => "promotion[coupon]={coupon}",
        "/v1/payment_links" => "line_items[0][price]={once}&line_items[0][quantity]=1",
        "/v1/credit_notes" => "invoice={open_invoice}&amount=100",
        // More than is held already.
        "/v1/payment_intents/{intent}/increment_authorization" => "amount=600",
        "/v1/transfers" => "amount=100",
        _ => "",
    }
}

pub(crate) fn params(world: &World, operation: &'static Operation, extent: Extent) -> Map<String, Value> {
    let sampler = Sampler {
        extent,
        world: &world.known,
    };
    let known: Vec<&'static Param> = operation
        .known_params()
        .filter(|param| param.kind != Kind::File)
        .collect();
    let mut params = sampler.params(&known);
    let needed = if operation.method == Method::Post {
        needed(operation.path)
    } else {
        ""
    };
    for pair in needed.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap();
        // A whole card needs no token.
        if name != "card[token]" || !params.contains_key("card") {
            set(&mut params, name, &world.filled(value));
        }
    }
    // A price that the subscription has already cannot be added.
    if params.contains_key("items") && operation.path.ends_with("{subscription_exposed_id}") {
        set(&mut params, "items[0][price]", &world.known["third_price"]);
    }
    params
}

/// Sets `items[0][price]`.
fn set(params: &mut Map<String, Value>, name: &str, value: &str) {
    let mut segments = name.split(['[', ']']).filter(|segment| !segment.is_empty());
    let first = segments.next().unwrap();
    let rest: Vec<&str> = segments.collect();
    let place = rest.iter().fold(
        params.entry(first).or_insert(Value::Null),
        |place, segment| match segment.parse::<usize>() {
            Ok(index) => {
                if !place.is_array() {
                    *place = json!([{}]);
                }
                &mut place[index]
            }
            Err(_) => {
                if !place.is_object() {
                    *place = json!({});
                }
                &mut place[*segment]
            }
        },
    );
    *place = value.into();
}

fn multipart(params: &Map<String, Value>) -> (String, Vec<u8>) {
    let mut body = Vec::new();
    for pair in form(params).split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap();
        let part = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head = "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n";
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(b"\x00\xff\r\n--B--\r\n");
    ("multipart/form-data; boundary=B".to_owned(), body)
}
