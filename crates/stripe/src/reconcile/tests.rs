use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use inflight_core::testing::ManualTransport;
use inflight_core::{FailureKind, Method, Registry, RequestStatus, Response, Success};

use super::*;
use crate::{Operation, Params, RequestOptions};

mod lists;

fn request(name: &str, ids: &[&str], params: Params) -> Request {
    let operation = Operation::by_name(name).unwrap();
    operation
        .request(ids, params, &RequestOptions::new().credential("shop"))
        .unwrap()
}

fn body(request: &Request) -> String {
    let bytes = request
        .body
        .as_ref()
        .map(|body| body.bytes.to_vec())
        .unwrap_or_default();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_tag_goes_where_metadata_goes() {
    let id = RequestId::random();
    let full = (0..50)
        .map(|n| format!("metadata[k{n}]=1"))
        .collect::<Vec<_>>()
        .join("&");
    for (name, target, form, expected) in [
        ("product.create", "/v1/products", "name=Mug", Some(TAG)),
        ("product.update", "/v1/products/prod_1", "", Some(CHANGE_TAG)),
        // A copy of what an object bears says nothing of who changes it.
        (
            "product.update",
            "/v1/products/prod_1",
            "metadata[inflight_request_id]=mine",
            Some(CHANGE_TAG),
        ),
        (
            "payment_intent.capture",
            "/v1/payment_intents/pi_1/capture",
            "metadata[a]=b",
            Some(CHANGE_TAG),
        ),
        ("product.create", "/v1/products", "metadata=", None),
        ("product.create", "/v1/products", &full, None),
        (
            "product.create",
            "/v1/products",
            "metadata[inflight_request_id]=mine",
            None,
        ),
        (
            "product.update",
            "/v1/products/prod_1",
            "metadata[inflight_change_id]=mine",
            None,
        ),
        (
            "payment_intent.confirm",
            "/v1/payment_intents/pi_1/confirm",
            "a=b",
            None,
        ),
        ("product.retrieve", "/v1/products/prod_1", "", None),
    ] {
        let mut tagged = Request::new(Method::Post, target)
            .operation(name)
            .body("application/x-www-form-urlencoded", form.to_owned());
        tag(id, &mut tagged);
        let whole = body(&tagged);
        for key in [TAG, CHANGE_TAG] {
            let field = format!("metadata[{key}]={id}");
            let has_it = whole.split('&').any(|part| part == field);
            assert_eq!(has_it, expected == Some(key), "{name} {form}: {whole}");
            let found = tagged.body.as_ref().is_some_and(|body| is_tagged(body, key, id));
            assert_eq!(found, has_it);
        }
        assert!(whole.starts_with(form), "{whole}");
    }
    let mut raw = Request::new(Method::Post, "/v1/products?x=1").body("application/x-www-form-urlencoded", "");
    tag(id, &mut raw);
    assert_eq!(body(&raw), format!("metadata[inflight_request_id]={id}"));
    let mut foreign = Request::new(Method::Post, "/v1/widgets").body("text/plain", "");
    tag(id, &mut foreign);
    assert_eq!(body(&foreign), "");
    // Parts are no form, and one that is has its type in any case, with or without its encoding.
    for (content_type, expected) in [
        ("multipart/form-data; boundary=x", false),
        ("application/json", false),
        ("Application/X-WWW-Form-URLEncoded; charset=utf-8", true),
    ] {
        let mut tagged = Request::new(Method::Post, "/v1/products").body(content_type, "--x");
        tag(id, &mut tagged);
        assert_eq!(body(&tagged).contains(TAG), expected, "{content_type}");
        assert_eq!(is_tagged(tagged.body.as_ref().unwrap(), TAG, id), expected);
    }
}

/// A request that has ended with its effect unknown, and a transport for its look-up.
struct World {
    session: Session,
    transport: ManualTransport,
    id: RequestId,
}

impl World {
    fn new(in_doubt: Request) -> Self {
        let (registry, queue) = Registry::builder().on_submit(tagging()).build();
        let session = registry.session();
        let mut transport = ManualTransport::new(queue);
        let id = session.submit(in_doubt).unwrap();
        transport
            .next()
            .fail(Failure::new(FailureKind::Connection, Effect::Unknown, "m"));
        Self { session, transport, id }
    }

    /// Looks the request up, with these answers; gives what was asked for, too.
    fn reconcile(
        &mut self,
        if_absent: IfAbsent,
        answers: &[(u16, String)],
    ) -> (Result<Settled, ReconcileError>, Vec<String>) {
        let session = self.session.clone();
        let mut future = pin!(reconcile(
            &session,
            self.id,
            Some(1_700_000_000..=1_700_000_060),
            if_absent
        ));
        let mut cx = Context::from_waker(Waker::noop());
        let mut asked = Vec::new();
        let mut answers = answers.iter();
        loop {
            if let Poll::Ready(settled) = future.as_mut().poll(&mut cx) {
                assert!(answers.next().is_none(), "not all was asked for: {asked:?}");
                return (settled, asked);
            }
            let sent = self.transport.try_next().expect("something is asked for");
            assert_eq!(sent.request().credential.as_deref(), Some("shop"));
            assert_eq!(sent.request().headers[0].0, "Stripe-Version");
            assert_eq!(sent.request().method, Method::Get);
            asked.push(sent.request().target.clone());
            let (status, body) = answers.next().expect("there is an answer");
            let response = Response::new(*status, body.clone());
            let policy = crate::StripePolicy::new();
            let outcome = inflight_core::Policy::classify(&policy, sent.request(), response);
            sent.complete(outcome);
        }
    }

    /// An object that this request has created, and another one has changed.
    fn tagged(&self, id: &str) -> String {
        format!(
            r#"{{"id":"{id}","metadata":{{"a":"b","inflight_request_id":"{}","inflight_change_id":"another"}}}}"#,
            self.id
        )
    }

    /// An object that this request has changed, and another one has created.
    fn changed(&self, id: &str) -> String {
        format!(
            r#"{{"id":"{id}","metadata":{{"inflight_change_id":"{}","inflight_request_id":"another"}}}}"#,
            self.id
        )
    }
}

const OTHER: &str = r#"{"id":"prod_x","metadata":{"inflight_request_id":"another","inflight_change_id":"another"}}"#;
const PLAIN: &str = r#"{"id":"prod_y","metadata":{}}"#;

const MISSING: &str = r#"{"error":{"type":"invalid_request_error","code":"resource_missing","message":"m"}}"#;

fn page(objects: &[&str], has_more: bool) -> (u16, String) {
    let data = objects.join(",");
    (
        200,
        format!(r#"{{"object":"list","data":[{data}],"has_more":{has_more}}}"#),
    )
}

#[test]
fn what_was_created_is_found_in_its_list() {
    let mut world = World::new(request("product.create", &[], Params::new().with("name", "Mug")));
    let found = world.tagged("prod_1");
    let answers = [page(&[PLAIN, OTHER], true), page(&[PLAIN, &found, OTHER], true)];
    let (settled, asked) = world.reconcile(IfAbsent::LeaveUnknown, &answers);
    assert_eq!(settled.unwrap(), Settled::Done);
    let list = "/v1/products?limit=100&created[gte]=1700000000&created[lte]=1700000060";
    assert_eq!(asked, [list.to_owned(), format!("{list}&starting_after=prod_x")]);
    assert_eq!(world.session.status(world.id), Some(RequestStatus::Completed));
    let outcome = world.session.take_result(world.id).unwrap().unwrap();
    let expected = Success {
        object_id: Some("prod_1".into()),
        response: Response::new(200, found),
    };
    assert_eq!(outcome, expected);
}

#[test]
fn what_is_not_found_is_settled_only_where_asked() {
    let answers = [page(&[PLAIN, OTHER], false)];
    for (if_absent, expected, effect) in [
        (IfAbsent::LeaveUnknown, Settled::Unknown, Effect::Unknown),
        (IfAbsent::SettleAsNone, Settled::NotDone, Effect::None),
    ] {
        let mut world = World::new(request("product.create", &[], Params::new().with("name", "Mug")));
        let (settled, _) = world.reconcile(if_absent, &answers);
        assert_eq!(settled.unwrap(), expected);
        let failure = world.session.take_result(world.id).unwrap().unwrap_err();
        assert_eq!((failure.effect, failure.kind), (effect, FailureKind::Connection));
    }
}

#[test]
fn a_changed_object_says_who_changed_it() {
    let update = || {
        World::new(request(
            "product.update",
            &["prod_1"],
            Params::new().with("name", "Mug"),
        ))
    };
    let mine = update().changed("prod_1");
    // A tag that is not there may have been cleared since, or be gone with the object.
    for (status, object) in [
        (200, OTHER),
        (200, PLAIN),
        (200, r#"{"id":"prod_1","deleted":true}"#),
        (404, MISSING),
    ] {
        let (settled, asked) = update().reconcile(IfAbsent::SettleAsNone, &[(status, object.to_owned())]);
        assert_eq!(settled.unwrap(), Settled::Unknown, "{object}");
        assert_eq!(asked, ["/v1/products/prod_1"]);
    }
    // Someone else's tag is not ours.
    let (settled, _) = update().reconcile(IfAbsent::SettleAsNone, &[(200, mine)]);
    assert_eq!(settled.unwrap(), Settled::Unknown);
    let mut world = update();
    let mine = world.changed("prod_1");
    let (settled, _) = world.reconcile(IfAbsent::LeaveUnknown, &[(200, mine)]);
    assert_eq!(settled.unwrap(), Settled::Done);
    // An action on an object is found there, too.
    let mut world = World::new(request("payment_intent.capture", &["pi_1"], Params::new()));
    let mine = world.changed("pi_1");
    let (settled, asked) = world.reconcile(IfAbsent::LeaveUnknown, &[(200, mine)]);
    assert_eq!(
        (settled.unwrap(), &*asked[0]),
        (Settled::Done, "/v1/payment_intents/pi_1")
    );
}

#[test]
fn what_is_gone_was_deleted() {
    for (status, answer, expected) in [
        (404, MISSING, Settled::Done),
        (200, r#"{"id":"cus_1234567a","deleted":true}"#, Settled::Done),
        (200, r#"{"id":"cus_1234567a"}"#, Settled::NotDone),
    ] {
        let mut world = World::new(request("customer.delete", &["cus_1234567a"], Params::new()));
        let (settled, asked) = world.reconcile(IfAbsent::SettleAsNone, &[(status, answer.to_owned())]);
        assert_eq!(settled.unwrap(), expected);
        assert_eq!(asked, ["/v1/customers/cus_1234567a"]);
        if expected == Settled::Done {
            let success = world.session.take_result(world.id).unwrap().unwrap();
            assert_eq!(success.object_id.as_deref(), Some("cus_1234567a"));
            assert_eq!(success.response.status, 200);
            assert!(
                std::str::from_utf8(&success.response.body)
                    .unwrap()
                    .contains("\"deleted\":true")
            );
        }
    }
    // An id as it is, and not as the path has it.
    let mut world = World::new(request("coupon.delete", &["10% off/\"x\""], Params::new()));
    let (settled, asked) = world.reconcile(IfAbsent::LeaveUnknown, &[(404, MISSING.to_owned())]);
    assert_eq!(
        (settled.unwrap(), &*asked[0]),
        (Settled::Done, "/v1/coupons/10%25%20off%2F%22x%22")
    );
    let success = world.session.take_result(world.id).unwrap().unwrap();
    assert_eq!(success.object_id.as_deref(), Some("10% off/\"x\""));
    let answer: serde_json::Value = serde_json::from_slice(&success.response.body).unwrap();
    assert_eq!(answer, serde_json::json!({ "id": "10% off/\"x\"", "deleted": true }));
}

#[test]
fn only_stripe_says_what_is_gone() {
    const OTHER_CODE: &str = r#"{"error":{"type":"invalid_request_error","code":"other","message":"m"}}"#;
    for answer in ["<html>", "{}", r#"{"error":"not found"}"#, OTHER_CODE] {
        let mut world = World::new(request("customer.delete", &["cus_1234567a"], Params::new()));
        let (settled, _) = world.reconcile(IfAbsent::SettleAsNone, &[(404, answer.to_owned())]);
        assert!(
            matches!(settled, Err(ReconcileError::Failed(_))),
            "{answer}: {settled:?}"
        );
        assert!(world.session.in_doubt(world.id).is_some());
    }
}

#[test]
fn what_was_deleted_is_looked_for_itself() {
    // Its customer is there whether the card is or not.
    let mut world = World::new(request(
        "customer_payment_source.delete",
        &["cus_1234567a", "card_1234567a"],
        Params::new(),
    ));
    let card = r#"{"id":"card_1234567a"}"#.to_owned();
    let (settled, asked) = world.reconcile(IfAbsent::SettleAsNone, &[(200, card)]);
    assert_eq!(
        (settled.unwrap(), &*asked[0]),
        (Settled::NotDone, "/v1/customers/cus_1234567a/sources/card_1234567a")
    );
    for (status, expected) in [
        ("canceled", Settled::Done),
        ("incomplete_expired", Settled::Done),
        ("active", Settled::NotDone),
    ] {
        let mut world = World::new(request("subscription.cancel", &["sub_1234567a"], Params::new()));
        let subscription = format!(r#"{{"id":"sub_1234567a","status":"{status}"}}"#);
        let (settled, asked) = world.reconcile(IfAbsent::SettleAsNone, &[(200, subscription)]);
        assert_eq!(
            (settled.unwrap(), &*asked[0]),
            (expected, "/v1/subscriptions/sub_1234567a")
        );
    }
}

/// Whoever deleted it may have made another one of its name since.
#[test]
fn a_name_may_come_back_after_it_was_deleted() {
    for (path, is_known) in [
        ("/v1/customers/cus_NffrFeUfNV2Hib", true),
        ("/v1/products/prod_NWjs8kKbJWmuuc", true),
        ("/v1/subscription_items/si_1234567a", true),
        // Too short for one of Stripe's, without a prefix, or with what Stripe puts into none.
        ("/v1/customers/cus_1", false),
        ("/v1/customers/walkin", false),
        ("/v1/customers/cus_anna-maria", false),
        ("/v1/customers/_12345678", false),
        // Those that an account names look as it likes.
        ("/v1/products/mug_ceramic2024", false),
        ("/v1/coupons/summer_sale2024x", false),
        ("/v1/plans/plan_enterprise", false),
        // There is one of them, and perhaps another one now.
        ("/v1/customers/cus_NffrFeUfNV2Hib/discount", false),
        (
            "/v1/customers/cus_NffrFeUfNV2Hib/subscriptions/sub_1MowQVLkdIwHu7ix/discount",
            false,
        ),
    ] {
        let delete = Request::new(Method::Delete, path).header("Stripe-Version", crate::API_VERSION);
        let mut world = World::new(delete.credential("shop"));
        let (settled, _) = world.reconcile(IfAbsent::SettleAsNone, &[(200, r#"{"id":"x"}"#.to_owned())]);
        let expected = if is_known { Settled::NotDone } else { Settled::Unknown };
        assert_eq!(settled.unwrap(), expected, "{path}");
    }
}

#[test]
fn what_was_changed_is_looked_for_itself() {
    for (path, operation) in [
        ("/v1/customers/cus_1/sources/card_1", "customer_payment_source.update"),
        ("/v1/accounts/acct_1/persons/person_1", "account_person.update"),
        (
            "/v1/application_fees/fee_1/refunds/fr_1",
            "application_fee_refund.update",
        ),
        ("/v1/transfers/tr_1/reversals/trr_1", "transfer_reversal.update"),
        (
            "/v1/customers/cus_1/balance_transactions/cbtxn_1",
            "customer_balance_transaction.update",
        ),
        ("/v1/charges/ch_1/dispute", ""),
    ] {
        let change = || World::new(post(path, "metadata[a]=b"));
        assert_eq!(
            operation_of(&post(path, "")).map(|operation| operation.name),
            Some(operation)
        );
        let (settled, asked) = change().reconcile(IfAbsent::SettleAsNone, &[(200, PLAIN.to_owned())]);
        assert_eq!((settled.unwrap(), &*asked[0]), (Settled::Unknown, path));
        let mut world = change();
        let mine = world.changed("x");
        let (settled, _) = world.reconcile(IfAbsent::SettleAsNone, &[(200, mine)]);
        assert_eq!(settled.unwrap(), Settled::Done);
    }
}

fn post(path: &str, form: &str) -> Request {
    Request::new(Method::Post, path)
        .body("application/x-www-form-urlencoded", form.to_owned())
        .header("Stripe-Version", crate::API_VERSION)
        .credential("shop")
}

#[test]
fn what_cannot_be_found_out() {
    for in_doubt in [
        // What these write is not what their path names first, or bears no metadata of theirs.
        request("payout.reverse", &["po_1"], Params::new()),
        post("/v1/terminal/readers/tmr_1/refund_payment", "payment_intent=pi_1"),
        post("/v1/terminal/readers/tmr_1/collect_inputs", "inputs[0][type]=text"),
        post("/v1/invoices/in_1/lines/il_1", "amount=1"),
        post("/v1/charges/ch_1/refund", "amount=1"),
        post("/v1/payment_records/pr_1/report_refund", "outcome=refunded"),
        post("/v1/payment_records/report_payment", "outcome=guaranteed"),
        // No name of an object, although it looks like one.
        post("/v1/tax/transactions/create_reversal", "mode=full"),
        // Their lists are asked for by what they do not name.
        post("/v1/subscription_items", "price=p"),
        post("/v1/treasury/credit_reversals", "received_credit=rc_1"),
        request("subscription.delete_discount", &["sub_1"], Params::new()),
        request("payment_intent.confirm", &["pi_1"], Params::new()),
        Request::new(Method::Post, "/v1/widgets"),
        Request::new(Method::Post, "/v2/core/event_destinations"),
        Request::new(Method::Delete, "/v1/widgets/wd_1"),
    ] {
        let mut world = World::new(in_doubt);
        let (settled, asked) = world.reconcile(IfAbsent::SettleAsNone, &[]);
        assert!(matches!(settled, Err(ReconcileError::Impossible(_))), "{settled:?}");
        assert!(asked.is_empty());
        assert!(world.session.in_doubt(world.id).is_some());
    }
}

#[test]
fn a_look_up_that_fails_changes_nothing() {
    for answer in [
        "{",
        r#"{"data":7}"#,
        r#"{"data":["x"],"has_more":false}"#,
        r#"{"data":[]}"#,
        "[]",
    ] {
        let mut world = World::new(request("product.create", &[], Params::new().with("name", "Mug")));
        let (settled, _) = world.reconcile(IfAbsent::SettleAsNone, &[(200, answer.to_owned())]);
        assert!(
            matches!(settled, Err(ReconcileError::Failed(_))),
            "{answer}: {settled:?}"
        );
        assert!(world.session.in_doubt(world.id).is_some());
    }
    let mut world = World::new(request("product.create", &[], Params::new().with("name", "Mug")));
    let (settled, _) = world.reconcile(IfAbsent::SettleAsNone, &[(401, "{}".to_owned())]);
    assert!(matches!(settled, Err(ReconcileError::Failed(_))), "{settled:?}");
    // A request whose effect is known, and one that nobody knows.
    let found = world.tagged("prod_1");
    let _ = world
        .reconcile(IfAbsent::LeaveUnknown, &[page(&[&found], false)])
        .0
        .unwrap();
    assert!(world.session.in_doubt(world.id).is_none());
    for id in [world.id, RequestId::random()] {
        world.id = id;
        let (settled, _) = world.reconcile(IfAbsent::LeaveUnknown, &[]);
        assert!(matches!(settled, Err(ReconcileError::NotInDoubt)), "{settled:?}");
    }
}
