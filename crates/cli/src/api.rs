//! `inflight api`.

use std::fmt::Write;

use inflight::stripe::pages::Pages;
use inflight::stripe::{Kind, Operation, Param, Resource, nearest, operations, resources, unnamed};
use inflight::stripe_rhai::{OPTION_SETTERS, aliases, beside_operations, constructor_name};

use crate::OK;
use crate::args::ApiArguments;
use crate::stream::say;
use crate::text::printable;

/// How deeply parameters are searched: those of Stripe's go seven levels down.
const DEEPEST: usize = 12;

/// A word that nothing has in its name.
#[derive(Debug, thiserror::Error)]
#[error("nothing of Stripe's API is called `{word}`: {hint}")]
pub(crate) struct NothingFound {
    word: String,
    hint: String,
}

/// Prints all operations, one resource or operation with its parameters, or whatever has a word in it.
pub(crate) fn api(arguments: &ApiArguments) -> Result<u8, Box<dyn std::error::Error>> {
    let text = match &arguments.word {
        None => everything(),
        Some(word) => about(word)?,
    };
    say(&text);
    Ok(OK)
}

fn everything() -> String {
    let mut text = String::new();
    for operation in operations().chain(unnamed()) {
        line(&mut text, operation);
    }
    for (name, what) in beside_operations() {
        beside(&mut text, &name, what);
    }
    text
}

fn about(word: &str) -> Result<String, NothingFound> {
    let mut text = String::new();
    let name = dotted(word);
    let constructed = || resources().iter().find(|resource| constructor_name(resource) == word);
    if let Some(resource) = Resource::by_name(&name).or_else(constructed) {
        for operation in resource.operations {
            line(&mut text, operation);
            if let Some(operation) = paged(operation) {
                pages_line(&mut text, operation);
            }
        }
        introduce(&mut text);
        for operation in resource.operations {
            explain(&mut text, operation, Nested::Named);
        }
        let _ = writeln!(text, "\nFor the request itself: {}", OPTION_SETTERS.join(", "));
    } else if let Ok(operation) = Operation::by_name(&name) {
        line(&mut text, operation);
        introduce(&mut text);
        explain(&mut text, operation, Nested::Shown);
    } else if let Some(operation) = name
        .strip_suffix("_all")
        .and_then(|of| paged(Operation::by_name(of).ok()?))
    {
        pages_line(&mut text, operation);
        explain(&mut text, operation, Nested::Shown);
    } else {
        search(&mut text, word);
    }
    if text.is_empty() {
        return Err(nothing_found(word));
    }
    Ok(text)
}

/// A name as the catalogue has it: `checkout.session.create` for `stripe::checkout::session::create`.
fn dotted(word: &str) -> String {
    word.strip_prefix("stripe::").unwrap_or(word).replace("::", ".")
}

/// The operation, where scripts can go through its pages.
fn paged(operation: &'static Operation) -> Option<&'static Operation> {
    Pages::gives(operation).then_some(operation)
}

fn beside(text: &mut String, name: &str, what: &str) {
    let _ = writeln!(text, "{name:<46} {what}");
}

fn pages_line(text: &mut String, operation: &Operation) {
    let call = called(operation).replacen('(', "_all(", 1);
    beside(
        text,
        &format!("{}_all", operation.name),
        &format!("every object of all its pages, for a `for` loop: {call}"),
    );
}

/// `product.create  POST /v1/products  stripe::product::create(parameters)`
fn line(text: &mut String, operation: &Operation) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "{:<46} {:<6} {:<66} {}",
        if operation.name.is_empty() { "-" } else { operation.name },
        operation.method.as_str(),
        operation.path,
        called(operation),
    );
}

fn called(operation: &Operation) -> String {
    if operation.name.is_empty() {
        return format!("raw only: stripe::raw({:?}, …)", operation.method.as_str());
    }
    let mut arguments = operation.path_params.to_vec();
    if operation.known_params().next().is_some() {
        arguments.push("#{…}");
    }
    format!(
        "stripe::{}({})",
        operation.name.replace('.', "::"),
        arguments.join(", ")
    )
}

fn introduce(text: &mut String) {
    let _ = writeln!(
        text,
        "\nEvery operation also as …_async(…), which gives the request's id at once, and as a method of the resource's builder."
    );
}

/// How parameters within parameters are shown.
#[derive(Clone, Copy)]
enum Nested {
    /// By their names.
    Named,
    /// Each on a line of its own.
    Shown,
}

fn explain(text: &mut String, operation: &'static Operation, nested: Nested) {
    if operation.known_params().next().is_none() {
        return;
    }
    let resource = Resource::by_name(operation.resource());
    let builder = resource.map(constructor_name).unwrap_or_default();
    let _ = writeln!(text, "\n{}  {builder}()", operation.name);
    for param in operation.known_params() {
        describe(text, param, nested);
        let aliases = resource.into_iter().flat_map(aliases);
        for (alias, _) in aliases.filter(|(_, spelled)| *spelled == param.name) {
            let _ = writeln!(text, "  .{alias:<32} the same as .{}", param.name);
        }
    }
}

fn describe(text: &mut String, param: &'static Param, nested: Nested) {
    let shown = match nested {
        Nested::Named => param.kind.to_string(),
        Nested::Shown => outline(&param.kind),
    };
    let _ = writeln!(text, "  .{:<32} {shown}{}", param.name, marks(param));
    if let Nested::Shown = nested {
        within_lines(text, &param.kind, "    ", DEEPEST);
    }
}

fn marks(param: &Param) -> String {
    let required = if param.required { "  (required)" } else { "" };
    let clears = if param.clearable { "  (may be cleared)" } else { "" };
    format!("{required}{clears}")
}

/// The kind, where the lines below it say what it holds.
fn outline(kind: &Kind) -> String {
    match kind {
        Kind::Object(_) => "map".to_owned(),
        Kind::List(item) => format!("list of {}", outline(item)),
        Kind::Map(entry) => format!("map of {}", outline(entry)),
        Kind::Open(usual) => format!("usually {}", outline(usual)),
        Kind::AnyOf(kinds) => kinds.iter().map(outline).collect::<Vec<_>>().join(", or "),
        other => other.to_string(),
    }
}

/// The parameters within a parameter, each with those within it.
fn within_lines(text: &mut String, kind: &'static Kind, indent: &str, depth: usize) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match kind {
        Kind::Object(params) => {
            for param in *params {
                let _ = writeln!(text, "{indent}{}: {}{}", param.name, outline(&param.kind), marks(param));
                within_lines(text, &param.kind, &format!("{indent}  "), depth);
            }
        }
        Kind::List(of) | Kind::Map(of) | Kind::Open(of) => within_lines(text, of, indent, depth),
        Kind::AnyOf(kinds) => kinds.iter().for_each(|kind| within_lines(text, kind, indent, depth)),
        _ => {}
    }
}

/// Operations whose name, path or route (`POST /v1/products`) has the word in it, and parameters whose name or path
/// (`items[0].price_data`) has.
fn search(text: &mut String, word: &str) {
    let word = word.to_lowercase();
    for operation in operations().chain(unnamed()) {
        let called = operation.name.replace('.', "::");
        let route = format!("{} {}", operation.method.as_str().to_lowercase(), operation.path);
        if [operation.name, &route, &called]
            .iter()
            .any(|name| name.contains(&word))
        {
            line(text, operation);
        }
    }
    for operation in operations().filter_map(paged) {
        if format!("{}_all", operation.name.replace('.', "::")).contains(&word.replace('.', "::"))
            && word.contains("_all")
        {
            pages_line(text, operation);
        }
    }
    for (name, what) in beside_operations().filter(|(name, _)| name.contains(&word.replace('.', "::"))) {
        beside(text, &name, what);
    }
    let path = without_numbers(&word);
    for operation in operations() {
        let mut found = Vec::new();
        for param in operation.known_params() {
            matches(param, "", &path, DEEPEST, &mut found);
        }
        for (path, param) in found {
            let _ = writeln!(text, "{:<46} .{path}  {}{}", operation.name, param.kind, marks(param));
        }
    }
}

/// A parameter's path without the places in lists: `items[].price` for `items[0].price`.
fn without_numbers(path: &str) -> String {
    let mut within = false;
    path.chars()
        .filter(|c| {
            within = (within || *c == '[') && *c != ']';
            !(within && c.is_ascii_digit())
        })
        .collect()
}

type Found = Vec<(String, &'static Param)>;

fn matches(param: &'static Param, parent: &str, word: &str, depth: usize, found: &mut Found) {
    let path = format!("{parent}{}", param.name);
    if param.name.contains(word) || (word.contains(['.', '[']) && path.ends_with(word)) {
        found.push((path.clone(), param));
    }
    within(&param.kind, &path, word, depth, found);
}

fn within(kind: &'static Kind, path: &str, word: &str, depth: usize, found: &mut Found) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match kind {
        Kind::Object(params) => {
            for param in *params {
                matches(param, &format!("{path}."), word, depth, found);
            }
        }
        Kind::Open(usual) => within(usual, path, word, depth, found),
        Kind::List(item) => within(item, &format!("{path}[]"), word, depth, found),
        Kind::Map(entry) => within(entry, &format!("{path}.*"), word, depth, found),
        Kind::AnyOf(kinds) => kinds.iter().for_each(|kind| within(kind, path, word, depth, found)),
        _ => {}
    }
}

fn nothing_found(word: &str) -> NothingFound {
    let params = operations().flat_map(Operation::known_params).map(|param| param.name);
    let named = operations().map(|operation| operation.name);
    let known = resources()
        .iter()
        .map(|resource| resource.name)
        .chain(named)
        .chain(params);
    let hint = nearest(&dotted(word), known).map_or_else(
        || "`inflight api` lists everything".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    NothingFound {
        word: printable(word).chars().take(80).collect(),
        hint,
    }
}
