//! Every operation of Stripe's API, called by scripts: what is sound is sent as the specification says, what is not is refused with
//! the path of the mistake.

use std::collections::BTreeMap;

use inflight_core::testing::ManualTransport;
use inflight_core::{IdempotencyKey, Registry, Request};
use inflight_rhai::Locals;
use inflight_stripe::{API_VERSION, Encoding, Kind, Method, Operation, Param, operations, resources};
use inflight_stripe_rhai::{ApiKey, HostOptions, StripeHost, StripePackage, constructor_name};
use percent_encoding::percent_decode_str;
use rhai::{Dynamic, Engine, EvalAltResult, Map, Scope};
use serde_json::Value as Json;

use crate::sample::{Extent, FILE, Sample, Sampler};

/// An id with everything in it that a path must not have, and what it is in a path.
const ID: &str = "id_1/ü ?";
const ID_IN_PATH: &str = "id_1%2F%C3%BC%20%3F";

struct Recorder {
    engine: Engine,
    registry: Registry,
    transport: ManualTransport,
    unset: Dynamic,
}

impl Recorder {
    fn new() -> Self {
        let (registry, queue) = Registry::new();
        let host = StripeHost::new(HostOptions {
            api_key: Some(ApiKey::new("sk_test_123456789").unwrap()),
            ..HostOptions::default()
        });
        let engine = StripePackage::new_engine(&host);
        let unset = engine.eval("stripe::unset").unwrap();
        let mut recorder = Self {
            engine,
            registry,
            transport: ManualTransport::new(queue),
            unset,
        };
        recorder.new_session();
        recorder
    }

    /// A session keeps the results that nobody asks for; a new one is empty.
    fn new_session(&mut self) {
        Locals::for_session(self.registry.session()).set_default(&mut self.engine);
    }

    fn sampler(&self, extent: Extent) -> Sampler {
        Sampler {
            extent,
            unset: self.unset.clone(),
        }
    }

    fn try_script(&mut self, script: &str, params: &Dynamic) -> Result<(), Box<EvalAltResult>> {
        let mut scope = Scope::new();
        scope.push("p", params.clone());
        self.engine.run_with_scope(&mut scope, script)
    }

    /// The request that the script submits.
    fn request(&mut self, script: &str, params: &Dynamic) -> Request {
        self.try_script(script, params)
            .unwrap_or_else(|error| panic!("{script} {params}: {error}"));
        let sent = self.transport.try_next().expect("a request is submitted");
        let request = sent.request().clone();
        sent.succeed("x_1");
        request
    }

    fn refused(&mut self, script: &str, params: &Dynamic) -> String {
        let submitted = self.registry.counts().submitted;
        let error = self.try_script(script, params).expect_err(script);
        assert_eq!(self.registry.counts().submitted, submitted, "{script}");
        inflight_rhai::describe(&self.engine, &error).0
    }
}

/// `stripe::checkout::session::create_async("id_1", p)`
fn call(operation: &Operation) -> String {
    let name = operation.name.replace('.', "::");
    let ids = format!("{ID:?}, ").repeat(operation.path_params.len());
    format!("stripe::{name}_async({ids}p)")
}

fn all(operation: &'static Operation) -> impl Iterator<Item = &'static Param> {
    operation.query.iter().chain(operation.body)
}

/// The pairs of a form, read by a library that did not write it.
fn read_form(form: &str) -> BTreeMap<String, String> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').expect("a name and a value"));
    pairs.map(|(name, text)| (decoded(name), decoded(text))).collect()
}

/// `[items][0]` is `items[0]` where it is not nested.
fn expected_form(sample: &Sample) -> BTreeMap<String, String> {
    let top = |name: &str| name.replacen('[', "", 1).replacen(']', "", 1);
    sample
        .pairs
        .iter()
        .map(|(name, text)| (top(name), text.clone()))
        .collect()
}

fn check(operation: &'static Operation, sample: &Sample, request: &Request) {
    let name = operation.name;
    let in_path = |segment: &'static str| if segment.starts_with('{') { ID_IN_PATH } else { segment };
    let path: Vec<&str> = operation.path.split('/').map(in_path).collect();
    let (sent_path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    assert_eq!(
        (request.method, sent_path),
        (operation.method, &*path.join("/")),
        "{name}"
    );

    let is_v2 = operation.path.starts_with("/v2/");
    let keyed = operation.method == Method::Post || (is_v2 && operation.method == Method::Delete);
    assert_eq!(request.idempotency_key == IdempotencyKey::Generated, keyed, "{name}");
    assert_eq!(
        request.headers,
        [("Stripe-Version".into(), API_VERSION.to_owned())],
        "{name}"
    );

    if operation.method != Method::Post {
        assert_eq!(request.body, None, "{name}");
        assert_eq!(read_form(query), expected_form(sample), "{name}");
        return;
    }
    assert_eq!(query, "", "{name}");
    let body = request.body.as_ref().expect("a POST has a body");
    match operation.encoding {
        Encoding::Form => {
            assert_eq!(body.content_type, "application/x-www-form-urlencoded");
            let form = std::str::from_utf8(&body.bytes).unwrap();
            assert!(form.is_ascii() && !form.contains(' '), "{name}: {form}");
            assert_eq!(read_form(form), expected_form(sample), "{name}");
        }
        Encoding::Json => {
            assert_eq!(body.content_type, "application/json");
            let json: Json = serde_json::from_slice(&body.bytes).unwrap();
            assert_eq!(json, sample.json, "{name}");
        }
        Encoding::Multipart => check_parts(sample, &body.content_type, &body.bytes),
    }
}

fn check_parts(sample: &Sample, content_type: &str, bytes: &[u8]) {
    let boundary = content_type
        .strip_prefix("multipart/form-data; boundary=")
        .expect("a boundary");
    let text = String::from_utf8_lossy(bytes);
    let parts: Vec<&str> = text.split(&*format!("--{boundary}")).collect();
    assert_eq!((parts[0], *parts.last().unwrap()), ("", "--\r\n"));
    for (name, value) in expected_form(sample) {
        let part = format!("\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        assert!(parts.contains(&&*part), "{part} is not in {text}");
    }
    let file = format!(
        "name=\"file\"; filename=\"blob\"\r\nContent-Type: application/octet-stream\r\n\r\n{}\r\n",
        String::from_utf8_lossy(FILE)
    );
    assert!(text.contains(&file), "{text}");
}

#[test]
fn every_operation_is_sent_as_the_specification_says() {
    let mut recorder = Recorder::new();
    let extents = [
        Extent::Minimal,
        Extent::Maximal(0),
        Extent::Maximal(1),
        Extent::Maximal(2),
        Extent::Cleared,
    ];
    let mut calls = 0;
    for operation in operations() {
        recorder.new_session();
        for extent in extents {
            let sample = recorder.sampler(extent).params(all(operation));
            let request = recorder.request(&call(operation), &sample.value);
            check(operation, &sample, &request);
            calls += 1;
        }
    }
    assert_eq!(calls, 564 * extents.len());
}

/// Every function is there under both of its names, with and without parameters and options.
#[test]
fn every_function_is_there_in_every_form() {
    let (registry, _queue) = Registry::new();
    let mut engine = StripePackage::new_engine(&StripeHost::new(HostOptions::default()));
    Locals::for_session(registry.session()).set_default(&mut engine);
    let mut forms = 0;
    for operation in operations() {
        let name = operation.name.replace('.', "::");
        let ids = vec!["`id`"; operation.path_params.len()];
        for further in [&[][..], &["#{}"], &["#{}", "#{}"], &["()", "()"]] {
            let arguments = [&ids[..], further].concat().join(", ");
            for suffix in ["", "_async"] {
                let script = format!("stripe::{name}{suffix}({arguments})");
                let error = engine.run(&script).expect_err("no key is configured");
                let message = inflight_rhai::describe(&engine, &error).0;
                assert!(message.contains("call configure_stripe first"), "{script}: {message}");
                forms += 1;
            }
        }
    }
    assert_eq!(forms, 564 * 8);
}

/// The same by a builder: `new_checkout_session()` and one setter after the other.
#[test]
fn every_resource_that_can_be_created_has_a_builder() {
    let mut recorder = Recorder::new();
    let mut created = 0;
    for resource in resources() {
        let Some(create) = resource.operation("create") else {
            continue;
        };
        recorder.new_session();
        let sample = recorder.sampler(Extent::Maximal(0)).params(all(create));
        let mut script = format!("let b = {}();\n", constructor_name(resource));
        for param in all(create) {
            script.push_str(&format!("b.{name}(p.{name});\n", name = param.name));
        }
        let ids = vec![format!("{ID:?}"); create.path_params.len()];
        script.push_str(&format!("b.create_async({})", ids.join(", ")));
        let request = recorder.request(&script, &sample.value);
        check(create, &sample, &request);
        created += 1;
    }
    assert_eq!(created, 99);
}

/// A place within parameters: how it is written, how to get there, and what belongs there.
struct Site {
    path: String,
    steps: Vec<Step>,
    kind: &'static Kind,
}

#[derive(Clone)]
enum Step {
    Name(&'static str),
    First,
}

/// Every place that the first maximal sample fills; of alternatives, which take many things, none.
fn sites(params: impl Iterator<Item = &'static Param>, parent: Option<&Site>, found: &mut Vec<Site>) {
    for param in params {
        let (mut path, mut steps) =
            parent.map_or_else(Default::default, |parent| (parent.path.clone(), parent.steps.clone()));
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(param.name);
        steps.push(Step::Name(param.name));
        add_site(&param.kind, path, steps, found);
    }
}

fn add_site(kind: &'static Kind, path: String, steps: Vec<Step>, found: &mut Vec<Site>) {
    let site = Site { path, steps, kind };
    match kind {
        Kind::Object(params) => sites(params.iter(), Some(&site), found),
        Kind::List(item) => {
            let steps = [site.steps.clone(), vec![Step::First]].concat();
            add_site(item, format!("{}[0]", site.path), steps, found);
        }
        _ => {}
    }
    found.push(site);
}

fn put(value: &mut Dynamic, steps: &[Step], new: Dynamic) {
    let Some((step, rest)) = steps.split_first() else {
        *value = new;
        return;
    };
    match step {
        Step::Name(name) => {
            let mut map = value.write_lock::<Map>().unwrap();
            put(map.entry((*name).into()).or_default(), rest, new);
        }
        Step::First => put(&mut value.write_lock::<rhai::Array>().unwrap()[0], rest, new),
    }
}

/// A value that this kind does not take, and the words in which that is said.
fn defect(kind: &Kind) -> Option<(Dynamic, &'static str)> {
    match kind {
        Kind::Integer | Kind::Timestamp => Some(("seven".into(), "expected")),
        Kind::Number | Kind::Decimal | Kind::IntegerText => Some(("1,5".into(), "expected")),
        Kind::Boolean => Some((7.into(), "expected boolean")),
        Kind::Text | Kind::OpenEnum(_) => Some((Map::new().into(), "expected")),
        Kind::TextUpTo(max) => Some(("é".repeat(*max as usize + 1).into(), "characters long")),
        Kind::Enum(_) => Some(("no_such_value".into(), "expected")),
        Kind::List(_) | Kind::Object(_) | Kind::Map(_) => Some(("text".into(), "expected")),
        _ => None,
    }
}

#[test]
fn every_operation_refuses_what_is_wrong_and_says_where() {
    let mut recorder = Recorder::new();
    let (mut unknown, mut wrong, mut missing) = (0, 0, 0);
    for operation in operations() {
        let script = call(operation);
        let sound = recorder.sampler(Extent::Maximal(0)).params(all(operation)).value;
        let mut refuse = |steps: &[Step], new: Dynamic, path: &str, words: &str| {
            let mut params = sound.clone();
            put(&mut params, steps, new);
            let message = recorder.refused(&script, &params);
            assert!(
                message.contains(&format!("`{path}`")) && message.contains(words),
                "{}: {path}: {message}",
                operation.name
            );
        };
        refuse(
            &[Step::Name("no_such_name")],
            1.into(),
            "no_such_name",
            "unknown parameter",
        );
        unknown += 1;
        let mut found = Vec::new();
        sites(all(operation), None, &mut found);
        // The largest operations have hundreds: one in a few is enough of those.
        for site in found.iter().step_by(1 + found.len() / 25) {
            if matches!(site.kind, Kind::Object(_)) {
                let steps = [&site.steps[..], &[Step::Name("no_such_name")]].concat();
                let path = format!("{}.no_such_name", site.path);
                refuse(&steps, 1.into(), &path, "unknown parameter");
                unknown += 1;
            }
            if let Some((value, words)) = defect(site.kind) {
                refuse(&site.steps, value, &site.path, words);
                wrong += 1;
            }
        }
        // Amounts that name no currency are in the configured one.
        let has_default = |param: &Param| {
            param.name == "currency" && matches!(operation.name, "price.create" | "payment_intent.create")
        };
        for param in all(operation).filter(|param| param.required && !has_default(param)) {
            refuse(&[Step::Name(param.name)], Dynamic::UNIT, param.name, "missing required");
            missing += 1;
        }
    }
    assert!(
        unknown > 1000 && wrong > 3000 && missing > 150,
        "{unknown} {wrong} {missing}"
    );
}
