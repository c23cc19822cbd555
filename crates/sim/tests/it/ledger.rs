//! Whatever is paid, captured, refunded, invoiced and paid out: the books add up.

use std::time::Instant;

use inflight_sim::{Api, ApiRequest};
use proptest::prelude::*;
use serde_json::Value;

#[derive(Debug, Clone)]
enum Step {
    Pay(i64, bool, &'static str),
    Capture(usize, i64),
    Refund(usize, i64),
    Invoice(i64, i64),
    PayInvoice(usize),
    Credit(usize, i64),
    PayOut(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let cards = prop::sample::select(vec!["pm_card_visa", "pm_card_visa", "pm_card_chargeDeclined"]);
    prop_oneof![
        (1..5000_i64, any::<bool>(), cards).prop_map(|(amount, manual, card)| Step::Pay(amount, manual, card)),
        (0..9_usize, 1..5000_i64).prop_map(|(which, amount)| Step::Capture(which, amount)),
        (0..9_usize, 1..5000_i64).prop_map(|(which, amount)| Step::Refund(which, amount)),
        (1..5000_i64, 0..=100_i64).prop_map(|(amount, percent)| Step::Invoice(amount, percent)),
        (0..9_usize).prop_map(Step::PayInvoice),
        (0..9_usize, 1..5000_i64).prop_map(|(which, amount)| Step::Credit(which, amount)),
        (1..5000_i64).prop_map(Step::PayOut),
    ]
}

struct Books(Api);

impl Books {
    fn send(&mut self, method: &str, path: &str, form: &str) -> (u16, Value) {
        let request = ApiRequest {
            method,
            path,
            authorization: Some("Bearer sk_test_1"),
            body: form.as_bytes(),
            ..ApiRequest::default()
        };
        let response = self.0.handle(&request, Instant::now());
        (response.status, serde_json::from_slice(&response.body).unwrap())
    }

    fn post(&mut self, path: &str, form: &str) -> Value {
        let (status, body) = self.send("POST", path, form);
        assert!(matches!(status, 200 | 400 | 402), "{path} {form}: {body}");
        body
    }

    /// The id of one of the objects of a kind.
    fn one(&self, kind: &str, which: usize) -> Option<String> {
        let all = self.0.objects(kind);
        Some(all.get(which % all.len().max(1))?["id"].as_str()?.to_owned())
    }

    fn take(&mut self, customer: &str, step: &Step) {
        match step {
            Step::Pay(amount, manual, card) => {
                let method = if *manual { "manual" } else { "automatic" };
                let form =
                    format!("amount={amount}&currency=usd&confirm=true&payment_method={card}&capture_method={method}");
                self.post("/v1/payment_intents", &form);
            }
            Step::Capture(which, amount) => {
                if let Some(id) = self.one("payment_intent", *which) {
                    self.post(
                        &format!("/v1/payment_intents/{id}/capture"),
                        &format!("amount_to_capture={amount}"),
                    );
                }
            }
            Step::Refund(which, amount) => {
                if let Some(id) = self.one("charge", *which) {
                    self.post("/v1/refunds", &format!("charge={id}&amount={amount}"));
                }
            }
            Step::Invoice(amount, percent) => {
                let coupon = self.post("/v1/coupons", &format!("percent_off={}", (*percent).max(1)));
                let coupon = coupon["id"].as_str().unwrap();
                let invoice = self.post(
                    "/v1/invoices",
                    &format!("customer={customer}&discounts[0][coupon]={coupon}"),
                );
                let id = invoice["id"].as_str().unwrap();
                self.post(
                    "/v1/invoiceitems",
                    &format!("customer={customer}&invoice={id}&amount={amount}&currency=usd"),
                );
            }
            Step::PayInvoice(which) => {
                if let Some(id) = self.one("invoice", *which) {
                    self.post(&format!("/v1/invoices/{id}/pay"), "payment_method=pm_card_visa");
                }
            }
            Step::Credit(which, amount) => {
                if let Some(id) = self.one("invoice", *which) {
                    self.post("/v1/credit_notes", &format!("invoice={id}&amount={amount}"));
                }
            }
            Step::PayOut(amount) => drop(self.post("/v1/payouts", &format!("amount={amount}&currency=usd"))),
        }
    }

    fn sum(&self, kind: &str, field: &str) -> i64 {
        self.0
            .objects(kind)
            .iter()
            .map(|object| object[field].as_i64().unwrap_or(0))
            .sum()
    }
}

proptest! {
    #[test]
    fn the_books_add_up(steps in prop::collection::vec(step(), 1..25)) {
        let mut books = Books(Api::new(1).unix_clock(|| 1_800_000_000));
        let customer = books.post("/v1/customers", "")["id"].as_str().unwrap().to_owned();
        for step in &steps {
            books.take(&customer, step);
        }
        let (_, balance) = books.send("GET", "/v1/balance", "");
        prop_assert_eq!(balance["available"][0]["amount"].as_i64(), Some(books.sum("balance_transaction", "net")));
        let fees = books.sum("balance_transaction", "fee");
        let moved = books.sum("charge", "amount_captured") - books.sum("refund", "amount") - books.sum("payout", "amount");
        prop_assert_eq!(books.sum("balance_transaction", "net"), moved - fees);
        let of_intents = books.0.objects("payment_intent");
        let received: i64 = of_intents.iter().map(|intent| intent["amount_received"].as_i64().unwrap()).sum();
        prop_assert_eq!(received, books.sum("charge", "amount_captured"));
        for charge in books.0.objects("charge") {
            let field = |name: &str| charge[name].as_i64().unwrap();
            prop_assert!((0..=field("amount")).contains(&field("amount_refunded")), "{}", charge);
            prop_assert_eq!(charge["refunded"] == true, charge["captured"] == true && field("amount_refunded") == field("amount"), "{}", charge);
        }
        for invoice in books.0.objects("invoice") {
            let field = |name: &str| invoice[name].as_i64().unwrap();
            prop_assert_eq!(field("amount_due"), field("amount_paid") + field("amount_remaining"), "{}", invoice);
            prop_assert_eq!(field("total") <= field("subtotal") && field("amount_remaining") >= 0, true, "{}", invoice);
        }
    }
}
