//! Typed builders and dynamic calls make the requests that Stripe expects.

use std::time::Duration;

use inflight_core::IdempotencyKey;
use inflight_stripe::{
    API_VERSION, CancelSubscription, CreateCoupon, CreateCustomer, CreatePaymentIntent, CreatePrice, CreateProduct,
    CreateSubscription, DeleteProduct, Kind, ListPrices, Method, Operation, Param, Params, Priority, Request,
    RequestOptions, RetrieveCustomer, UpdateProduct, Upload, Value, operations, resources,
};

fn post(target: &str, operation: &'static str, form: &str) -> Request {
    Request::new(Method::Post, target)
        .operation(operation)
        .body("application/x-www-form-urlencoded", form.to_owned())
        .header("Stripe-Version", API_VERSION)
        .idempotency_key(IdempotencyKey::Generated)
}

fn without_body(method: Method, target: &str, operation: &'static str) -> Request {
    Request::new(method, target)
        .operation(operation)
        .header("Stripe-Version", API_VERSION)
}

#[test]
fn one_of_each_resource() {
    assert_eq!(
        CreateProduct::new("Mug")
            .description("Blue & big")
            .active(true)
            .metadata("k", "v")
            .metadata("l", "")
            .expand("default_price")
            .images(["https://example.com/a.png"])
            .request()
            .unwrap(),
        post(
            "/v1/products",
            "product.create",
            "name=Mug&description=Blue%20%26%20big&active=true&metadata[k]=v&metadata[l]=&expand[0]=default_price\
             &images[0]=https%3A%2F%2Fexample.com%2Fa.png"
        ),
    );
    assert_eq!(
        CreatePrice::new("usd")
            .unit_amount(1000)
            .product("prod_1")
            .request()
            .unwrap(),
        post(
            "/v1/prices",
            "price.create",
            "currency=usd&unit_amount=1000&product=prod_1"
        ),
    );
    assert_eq!(
        CreateCoupon::new()
            .percent_off(12.5)
            .duration("once")
            .request()
            .unwrap(),
        post("/v1/coupons", "coupon.create", "percent_off=12.5&duration=once"),
    );
    assert_eq!(
        CreateCustomer::new().email("a@example.com").request().unwrap(),
        post("/v1/customers", "customer.create", "email=a%40example.com"),
    );
    assert_eq!(
        CreatePaymentIntent::new(500, "eur").confirm(true).request().unwrap(),
        post(
            "/v1/payment_intents",
            "payment_intent.create",
            "amount=500&currency=eur&confirm=true"
        ),
    );
    assert_eq!(
        CreateSubscription::new()
            .customer("cus_1")
            .items([Params::new().with("price", "price_1").with("quantity", 2)])
            .request()
            .unwrap(),
        post(
            "/v1/subscriptions",
            "subscription.create",
            "customer=cus_1&items[0][price]=price_1&items[0][quantity]=2"
        ),
    );
}

#[test]
fn reading_changing_and_removing() {
    assert_eq!(
        RetrieveCustomer::new("cus/1").expand("test_clock").request().unwrap(),
        without_body(
            Method::Get,
            "/v1/customers/cus%2F1?expand[0]=test_clock",
            "customer.retrieve"
        ),
    );
    assert_eq!(
        UpdateProduct::new("prod_1")
            .unset("description")
            .metadata("k", "v")
            .request()
            .unwrap(),
        post("/v1/products/prod_1", "product.update", "description=&metadata[k]=v"),
    );
    assert_eq!(
        DeleteProduct::new("prod_1").request().unwrap(),
        without_body(Method::Delete, "/v1/products/prod_1", "product.delete"),
    );
    assert_eq!(
        CancelSubscription::new("sub_1").prorate(false).request().unwrap(),
        without_body(
            Method::Delete,
            "/v1/subscriptions/sub_1?prorate=false",
            "subscription.cancel"
        ),
    );
    assert_eq!(
        ListPrices::new().limit(3).lookup_keys(["a", "b"]).request().unwrap(),
        without_body(
            Method::Get,
            "/v1/prices?limit=3&lookup_keys[0]=a&lookup_keys[1]=b",
            "price.list"
        ),
    );
}

#[test]
fn options_and_mistakes() {
    let request = CreateProduct::new("Mug")
        .idempotency_key("order-7")
        .stripe_account("acct_1")
        .priority(Priority::High)
        .timeout(Duration::from_secs(5))
        .request()
        .unwrap();
    let expected = post("/v1/products", "product.create", "name=Mug")
        .header("Stripe-Account", "acct_1")
        .idempotency_key(IdempotencyKey::Given("order-7".into()))
        .priority(Priority::High)
        .attempt_timeout(Duration::from_secs(5));
    assert_eq!(request, expected);

    let error = CreateProduct::new("Mug").param("nmae", 1).request().unwrap_err();
    assert_eq!(error.to_string(), "unknown parameter `nmae`: did you mean `name`?");
    let error = RetrieveCustomer::new("").request().unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("customer.retrieve needs a usable `customer`"),
        "{error}"
    );
}

/// A small value of that kind.
fn sample(kind: Kind) -> Value {
    match kind {
        Kind::Enum(values) | Kind::OpenEnum(values) => values[0].into(),
        Kind::List(item) => Value::List(vec![sample(*item)]),
        Kind::Map(entry) => Params::new().with("k", sample(*entry)).into(),
        Kind::Object(params) => {
            // Not an empty one: that sends nothing.
            let at_least_one = |(n, p): &(usize, &Param)| p.required || *n == 0;
            let given = params.iter().enumerate().filter(at_least_one);
            given.map(|(_, p)| (p.name, sample(p.kind))).collect::<Params>().into()
        }
        Kind::AnyOf(kinds) => sample(kinds[0]),
        Kind::Boolean => true.into(),
        Kind::File => Upload::new("f.txt", &b"x"[..]).into(),
        _ => 1.into(),
    }
}

/// No operation is special: each makes a request from what it requires, and refuses what it does not know.
#[test]
fn every_operation_can_be_called_dynamically() {
    assert_eq!(resources().len(), 166);
    for operation in operations() {
        let ids = vec!["id_1"; operation.path_params.len()];
        let mut params = Params::new();
        for param in operation.known_params().filter(|p| p.required) {
            params.set(param.name, sample(param.kind));
        }
        let options = RequestOptions::new();
        let request = operation
            .request(&ids, params.clone(), &options)
            .unwrap_or_else(|error| panic!("{}: {error}", operation.name));
        let path = request.target.split('?').next().unwrap();
        assert_eq!(Operation::by_route(request.method, path).unwrap().0, operation);
        params.set("no_such_thing", 1);
        assert!(operation.request(&ids, params, &options).is_err(), "{}", operation.name);
    }
}
