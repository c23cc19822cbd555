//! The specification's own schemas of answers, and whether an answer fits one. What the simulator makes its answers from is not used.

use std::io::Read;
use std::sync::OnceLock;

use serde_json::Value;

/// `responses` by method and route, `schemas` by name.
pub(crate) fn specification() -> &'static Value {
    static SPECIFICATION: OnceLock<Value> = OnceLock::new();
    SPECIFICATION.get_or_init(|| {
        let packed: &[u8] = include_bytes!("../generated/responses.json.gz");
        let mut text = String::new();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    })
}

/// What is wrong with an operation's answer. Nothing is where the specification describes no JSON.
pub(crate) fn mistakes(method: &str, route: &str, answer: &Value) -> Vec<String> {
    let mut mistakes = Vec::new();
    let schema = &specification()["responses"][format!("{method} {route}")];
    assert!(!schema.is_null(), "{method} {route} is not in the specification");
    check(schema, answer, "", &mut mistakes);
    // These have the schema of another route, whose URL it says.
    let aliases = [
        "/v1/billing/credit_balance_transactions",
        "/v1/balance/history",
        "/v1/linked_accounts",
    ];
    mistakes.retain(|mistake| !(aliases.contains(&route) && mistake.starts_with(".url:")));
    mistakes
}

fn check(schema: &Value, value: &Value, path: &str, mistakes: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str().and_then(|target| target.rsplit('/').next()) {
        let target = &specification()["schemas"][name];
        assert!(!target.is_null(), "no schema {name}");
        return check(target, value, path, mistakes);
    }
    if value.is_null() && schema["nullable"] == true {
        return;
    }
    if let Some(alternatives) = schema["anyOf"].as_array() {
        return check_any(alternatives, value, path, mistakes);
    }
    let fits = match schema["type"].as_str() {
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !fits {
        mistakes.push(format!("{path}: {value} is no {}", schema["type"]));
        return;
    }
    match value {
        Value::String(text) => check_text(schema, text, path, mistakes),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                check(&schema["items"], item, &format!("{path}[{index}]"), mistakes);
            }
        }
        Value::Object(_) => check_object(schema, value, path, mistakes),
        _ => {}
    }
}

/// One must fit. If none does, the one with the fewest mistakes was meant.
fn check_any(alternatives: &[Value], value: &Value, path: &str, mistakes: &mut Vec<String>) {
    let each = alternatives.iter().map(|schema| {
        let mut found = Vec::new();
        check(schema, value, path, &mut found);
        found
    });
    mistakes.extend(each.min_by_key(Vec::len).unwrap_or_default());
}

fn check_text(schema: &Value, text: &str, path: &str, mistakes: &mut Vec<String>) {
    let open = schema["x-stripeBypassValidation"] == true;
    if let Some(values) = schema["enum"].as_array()
        && !open
        && !values.iter().any(|value| value == text)
    {
        mistakes.push(format!("{path}: {text:?} is none of {values:?}"));
    }
    if let Some(max) = schema["maxLength"].as_u64()
        && text.chars().count() as u64 > max
    {
        mistakes.push(format!("{path}: {text:?} has more than {max} characters"));
    }
    if let Some(pattern) = schema["pattern"].as_str()
        && !begins_as(text, pattern)
    {
        mistakes.push(format!("{path}: {text:?} does not begin with {pattern}"));
    }
}

/// The specification's patterns say how a URL begins; `[^/]+` stands for one segment.
fn begins_as(text: &str, pattern: &str) -> bool {
    let pattern = pattern.strip_prefix('^').expect(pattern).replace("[^/]+", "*");
    pattern
        .split('/')
        .zip(text.split('/'))
        .all(|(pattern, segment)| pattern == "*" || pattern == segment)
}

fn check_object(schema: &Value, value: &Value, path: &str, mistakes: &mut Vec<String>) {
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if value.get(name).is_none() {
            mistakes.push(format!("{path}.{name} is missing"));
        }
    }
    let properties = &schema["properties"];
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match (&properties[name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) if properties.is_null() => {}
            (Value::Null, Value::Null) => mistakes.push(format!("{path} is not in the specification")),
            (Value::Null, entry) => check(entry, inner, &path, mistakes),
            (property, _) => check(property, inner, &path, mistakes),
        }
    }
}

#[test]
fn mistakes_are_found() {
    let stub = serde_json::json!({"id": "cus_1", "object": "customer", "deleted": true});
    let route = "/v1/customers/{customer}";
    assert_eq!(mistakes("DELETE", route, &stub), Vec::<String>::new());
    for (field, value) in [
        ("object", serde_json::json!("zebra")),
        ("id", serde_json::json!(5)),
        ("deleted", serde_json::Value::Null),
        ("stripes", serde_json::json!(1)),
        ("id", serde_json::json!("x".repeat(5001))),
    ] {
        let mut wrong = stub.clone();
        wrong[field] = value;
        assert_eq!(mistakes("DELETE", route, &wrong).len(), 1, "{wrong}");
    }
    assert_eq!(
        mistakes("DELETE", route, &serde_json::json!({"id": "a", "object": "customer"})).len(),
        1
    );
}
