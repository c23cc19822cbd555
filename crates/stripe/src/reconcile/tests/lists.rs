//! What lists say, and what they do not.

use super::*;

/// A list asks for what it would hide otherwise, and says that something is not there only where it hides nothing.
#[test]
fn lists_that_hide_something() {
    const WINDOW: &str = "&created[gte]=1700000000&created[lte]=1700000060";
    let window = |query: &str| format!("{query}{WINDOW}");
    for (path, form, queries, absent) in [
        (
            "/v1/subscriptions",
            "customer=cus%2B1&items[0][price]=p",
            vec![
                "&customer=cus%2B1&status=all".to_owned(),
                "&customer=cus%2B1&status=canceled".to_owned(),
            ],
            Settled::NotDone,
        ),
        (
            "/v1/prices",
            "currency=usd",
            vec![window("") + "&active=true", window("") + "&active=false"],
            Settled::NotDone,
        ),
        ("/v1/customers", "email=a", vec![window("")], Settled::NotDone),
        (
            "/v1/customers",
            "email=a&test_clock=clock_1",
            vec!["&test_clock=clock_1".into()],
            Settled::NotDone,
        ),
        (
            "/v1/quotes",
            "test_clock=clock_1",
            vec!["&test_clock=clock_1".into()],
            Settled::NotDone,
        ),
        // On whose clock what it was copied from is, nobody says.
        (
            "/v1/quotes",
            "from_quote[quote]=qt_1",
            vec![String::new()],
            Settled::Unknown,
        ),
        (
            "/v1/invoices",
            "customer=cus_1",
            vec!["&customer=cus_1".into()],
            Settled::NotDone,
        ),
        (
            "/v1/invoices",
            "from_invoice[invoice]=in_1",
            vec![window("")],
            Settled::Unknown,
        ),
        // The customer whose payment method is copied is not whose it becomes.
        (
            "/v1/payment_methods",
            "type=custom&customer=cus_1",
            vec!["&type=custom".into()],
            Settled::Unknown,
        ),
        (
            "/v1/customers/cus_1/subscriptions",
            "items[0][price]=p",
            vec![String::new()],
            Settled::Unknown,
        ),
        (
            "/v1/subscription_items",
            "subscription=sub_1&price=p",
            vec!["&subscription=sub_1".into()],
            Settled::NotDone,
        ),
        (
            "/v1/treasury/outbound_transfers",
            "financial_account=fa_1&amount=1",
            vec!["&financial_account=fa_1".into()],
            Settled::NotDone,
        ),
    ] {
        let pages = vec![page(&[PLAIN], false); queries.len()];
        let mut world = World::new(post(path, form));
        let (settled, asked) = world.reconcile(IfAbsent::SettleAsNone, &pages);
        let expected: Vec<String> = queries.iter().map(|query| format!("{path}?limit=100{query}")).collect();
        assert_eq!((settled.unwrap(), asked), (absent, expected), "{path} {form}");
    }
    // What only the second pass shows is found, from its own beginning.
    let mut world = World::new(post("/v1/prices", "currency=usd&active=false"));
    let mine = world.tagged("price_1");
    let pages = [page(&[PLAIN], true), page(&[], false), page(&[&mine], false)];
    let (settled, asked) = world.reconcile(IfAbsent::SettleAsNone, &pages);
    assert_eq!(settled.unwrap(), Settled::Done);
    assert!(
        asked[1].ends_with("&starting_after=prod_y") && asked[2].ends_with("&active=false"),
        "{asked:?}"
    );
}

#[test]
fn a_list_that_leads_nowhere_says_nothing() {
    for last in [r#"{"object":"product"}"#, r#"{"id":""}"#] {
        let mut world = World::new(request("product.create", &[], Params::new().with("name", "Mug")));
        let (settled, _) = world.reconcile(IfAbsent::SettleAsNone, &[page(&[PLAIN, last], true)]);
        assert_eq!(settled.unwrap(), Settled::Unknown);
    }
    let mut world = World::new(request("product.create", &[], Params::new().with("name", "Mug")));
    let (settled, _) = world.reconcile(IfAbsent::SettleAsNone, &[page(&[], true)]);
    assert_eq!(settled.unwrap(), Settled::Unknown);
}

#[test]
fn a_list_without_end_is_given_up() {
    let mut world = World::new(request("product.create", &[], Params::new().with("name", "Mug")));
    let answers = vec![page(&[PLAIN], true); 1000];
    let (settled, asked) = world.reconcile(IfAbsent::SettleAsNone, &answers);
    assert_eq!((settled.unwrap(), asked.len()), (Settled::Unknown, 1000));
}
