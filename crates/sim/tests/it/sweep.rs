//! Every operation of Stripe's API: what is sound is answered as the specification says, what is not is refused in Stripe's shape.

use inflight_stripe::{Answer, Kind, Method, Operation, operations, unnamed};
use serde_json::{Value, json};

use crate::sample::{Extent, form};
use crate::schema::mistakes;
use crate::world::{World, params};

/// Operations on a state that no operation leads to.
const REFUSED: [&str; 4] = [
    "/v1/payouts/{payout}/cancel",
    "/v1/payouts/{payout}/reverse",
    "/v1/refunds/{refund}/cancel",
    "/v1/topups/{topup}/cancel",
];

fn all() -> impl Iterator<Item = &'static Operation> {
    operations().chain(unnamed())
}

fn sound(extent: Extent) {
    let mut wrong = Vec::new();
    let mut answered = 0;
    for operation in all() {
        let mut world = World::new();
        let path = world.path(operation);
        let params = params(&world, operation, extent);
        let (status, body) = world.call(operation, &path, &params);
        let name = format!("{} {}", operation.method.as_str(), operation.path);
        if REFUSED.contains(&operation.path) && operation.method == Method::Post {
            assert_eq!(
                (status, &body["error"]["type"]),
                (400, &json!("invalid_request_error")),
                "{name}"
            );
        } else if status != 200 {
            wrong.push(format!("{name} {}: {status} {body}", form(&params)));
        } else if operation.answer != Answer::File {
            let mistakes = mistakes(operation.method.as_str(), operation.path, &body);
            if !mistakes.is_empty() {
                wrong.push(format!("{name}: {}", mistakes.join("; ")));
            }
        }
        answered += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {answered} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(answered, 619);
}

#[test]
fn minimal_parameters() {
    sound(Extent::Minimal);
}

#[test]
fn maximal_parameters() {
    sound(Extent::Maximal(0));
}

#[test]
fn maximal_parameters_said_another_way() {
    sound(Extent::Maximal(1));
}

/// A value that a parameter of this kind cannot have.
fn wrong_value(kind: &Kind) -> Option<Value> {
    match kind {
        Kind::Integer | Kind::Timestamp | Kind::Number | Kind::Boolean | Kind::IntegerText | Kind::Decimal => {
            Some(json!("zebra"))
        }
        Kind::List(_) | Kind::Object(_) | Kind::Map(_) => Some(json!("zebra")),
        Kind::Text | Kind::TextUpTo(_) => Some(json!({"a": "b"})),
        _ => None,
    }
}

#[test]
fn one_defect_each() {
    let (mut defects, mut wrong) = (0, Vec::new());
    for operation in all() {
        let mut world = World::new();
        let path = world.path(operation);
        let sound = params(&world, operation, Extent::Minimal);
        let mut tried = vec![("zebra".to_owned(), {
            let mut params = sound.clone();
            params.insert("zebra".into(), json!("x"));
            params
        })];
        let mut with = |name: &str, value: Option<Value>| {
            let mut params = sound.clone();
            match value {
                Some(value) => drop(params.insert(name.to_owned(), value)),
                None => drop(params.remove(name)),
            }
            tried.push((name.to_owned(), params));
        };
        for param in operation.known_params().filter(|param| param.name != "metadata") {
            if let Some(value) = wrong_value(&param.kind) {
                with(param.name, Some(value));
            }
            if matches!(param.kind, Kind::Enum(_)) {
                with(param.name, Some(json!("zebra")));
            }
            if param.required && param.kind != Kind::File {
                with(param.name, None);
            }
        }
        for (name, params) in tried {
            let (status, body) = world.call(operation, &path, &params);
            let error = &body["error"];
            let refused = status == 400
                && error["type"] == "invalid_request_error"
                && error["message"].as_str().is_some_and(|message| !message.is_empty())
                && error["param"].as_str().is_some_and(|param| param.starts_with(&name));
            if !refused {
                wrong.push(format!(
                    "{} {} with {name}: {status} {body}",
                    operation.method.as_str(),
                    operation.path
                ));
            }
            defects += 1;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {defects} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(defects > 3800, "{defects}");
}
