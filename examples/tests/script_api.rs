//! The script API's documentation is whole: every function that an engine knows has an entry with the same arguments, every entry is of a
//! function, and every example runs on the simulator.

mod support;

use std::any::TypeId;
use std::collections::BTreeSet;
use std::time::Duration;

use inflight::ScriptOptions;
use inflight::core::block_on;
use inflight::rhai::{Batch, Task};
use inflight::stripe::Resource;
use inflight::stripe_rhai::{
    HostOptions, OPTION_SETTERS, StripeBuilder, StripeHost, StripePackage, StripePages, check_script, constructed_by,
    reference,
};
use rhai::{Dynamic, Engine, FnPtr, FuncInfo, INT, ImmutableString, Map};
use support::on_simulator;

/// A function's name with its module, and the types that it takes.
type Overload = (String, Vec<TypeId>);

fn overload(info: &FuncInfo<'_>) -> Overload {
    let name = &info.metadata.name;
    let name = match info.namespace.as_str() {
        "" => name.to_string(),
        module => format!("{module}::{name}"),
    };
    (name, info.metadata.param_types.to_vec())
}

fn engine() -> Engine {
    StripePackage::new_engine(&StripeHost::new(HostOptions::default()))
}

/// What our engines have beside Rhai's own functions, bounded or not, and beside what follows from the catalogue.
fn registered() -> BTreeSet<Overload> {
    let of_rhai = Engine::new().collect_fn_metadata(None, |info| Some(info.metadata.name.to_string()), true);
    let of_rhai: BTreeSet<String> = of_rhai.into_iter().collect();
    let documented: BTreeSet<&str> = reference().iter().flat_map(|entry| entry.functions()).collect();
    let signatures = reference().into_iter().flat_map(|entry| entry.signatures);
    let methods = signatures.filter_map(|of| of.strip_prefix("builder.")?.split_once('('));
    let mut methods: BTreeSet<&str> = methods.map(|(method, _)| method).collect();
    methods.extend(OPTION_SETTERS);
    methods.extend(["metadata", "params", "request_options"]);
    let all = engine().collect_fn_metadata(None, |info| Some(overload(&info)), false);
    let ours = |(name, types): &Overload| {
        (documented.contains(&**name) || !of_rhai.contains(name)) && !is_of_the_catalogue(name, types, &methods)
    };
    all.into_iter().filter(ours).collect()
}

/// Constructors of builders, their setters and most of their operations, and the operations in the module `stripe`.
fn is_of_the_catalogue(name: &str, types: &[TypeId], to_document: &BTreeSet<&str>) -> bool {
    if let Some((module, _)) = name.rsplit_once("::") {
        let resource = module.trim_start_matches("stripe::").replace("::", ".");
        return Resource::by_name(&resource).is_some();
    }
    let is_of_builders = types.first() == Some(&TypeId::of::<StripeBuilder>());
    constructed_by(name).is_some() || is_of_builders && !to_document.contains(name)
}

/// A signature's name, and the types of each of its arguments: none for `any`, two for `number`.
fn documented(signature: &str) -> (&str, Vec<Vec<TypeId>>) {
    let (called, rest) = signature.split_once('(').expect("a signature has arguments");
    let (arguments, _) = rest.rsplit_once(')').expect("they end");
    let (receiver, name) = called
        .split_once('.')
        .map_or((None, called), |(of, name)| (Some(of), name));
    let arguments = arguments.split(", ").filter(|argument| !argument.is_empty());
    let types = arguments.map(|argument| argument.split_once(": ").expect("an argument has a type").1);
    (name, receiver.into_iter().chain(types).map(types_of).collect())
}

fn types_of(word: &str) -> Vec<TypeId> {
    match word {
        "any" => vec![],
        "text" => vec![TypeId::of::<ImmutableString>()],
        "int" => vec![TypeId::of::<INT>()],
        "float" => vec![TypeId::of::<f64>()],
        "number" => vec![TypeId::of::<INT>(), TypeId::of::<f64>()],
        "map" => vec![TypeId::of::<Map>()],
        "function" => vec![TypeId::of::<FnPtr>()],
        "batch" => vec![TypeId::of::<Batch>()],
        "task" => vec![TypeId::of::<Task>()],
        "builder" => vec![TypeId::of::<StripeBuilder>()],
        "pages" => vec![TypeId::of::<StripePages>()],
        other => panic!("`{other}` is no type of the reference"),
    }
}

/// Whether the function takes what the signature says. What takes anything checks its arguments itself.
fn fits(signature: &str, (name, types): &Overload) -> bool {
    let (documented_name, wanted) = documented(signature);
    let takes = |(wanted, given): (&Vec<TypeId>, &TypeId)| {
        wanted.is_empty() || wanted.contains(given) || *given == TypeId::of::<Dynamic>()
    };
    documented_name == name && wanted.len() == types.len() && wanted.iter().zip(types).all(takes)
}

#[test]
fn every_function_has_an_entry_and_every_entry_is_of_a_function() {
    let registered = registered();
    assert!(registered.len() > 50, "only {} functions were found", registered.len());
    let reference = reference();
    let signatures = || reference.iter().flat_map(|entry| &entry.signatures);
    let undocumented: Vec<String> = registered
        .iter()
        .filter(|function| !signatures().any(|signature| fits(signature, function)))
        .map(|(name, types)| format!("{name} with {} arguments", types.len()))
        .collect();
    assert_eq!(
        undocumented, [""; 0],
        "functions without an entry in reference/functions.md"
    );
    let invented: Vec<_> = signatures()
        .filter(|signature| {
            let of_one = |types: &&Overload| fits(signature, types);
            let kinds: BTreeSet<_> = registered.iter().filter(of_one).collect();
            // `number` is two functions.
            let needed = if signature.contains(": number") { 2 } else { 1 };
            kinds.len() < needed
        })
        .collect();
    assert_eq!(
        invented, [&""; 0],
        "entries in reference/functions.md that no function has"
    );
}

#[test]
fn every_entry_says_what_it_gives_and_has_an_example_that_calls_it() {
    for entry in reference() {
        assert!(!entry.group.is_empty() && !entry.text.is_empty(), "{}", entry.name);
        assert!(!entry.signatures.is_empty(), "{} has no signature", entry.name);
        for function in entry.functions() {
            let called = entry.example.contains(&format!("{function}("));
            let is_one_of_many = entry.name == "Options of a request";
            assert!(
                called || is_one_of_many,
                "the example of {} does not call {function}",
                entry.name
            );
        }
    }
}

#[test]
fn every_example_runs() {
    let (_simulator, inflight) = on_simulator();
    let engine = inflight.engine();
    for entry in reference() {
        assert_eq!(check_script(&engine, entry.example), [], "{}", entry.name);
        let options = ScriptOptions {
            time_limit: Some(Duration::from_secs(60)),
            ..ScriptOptions::default()
        };
        let report = block_on(inflight.run(entry.example, options));
        assert!(report.result.is_ok(), "{}: {report:?}\n{}", entry.name, entry.example);
        assert_eq!(report.warnings, Vec::<String>::new(), "{}", entry.name);
    }
}
