//! `inflight api`.

use std::fmt::Write;
use std::io;

use inflight::stripe::{Kind, Operation, Param, Resource, nearest, operations, resources, unnamed};
use inflight::stripe_rhai::{OPTION_SETTERS, aliases, constructor_name};

use crate::OK;
use crate::args::ApiArguments;
use crate::stream::say;

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
    say(io::stdout(), &text);
    Ok(OK)
}

fn everything() -> String {
    let mut text = String::new();
    for operation in operations().chain(unnamed()) {
        line(&mut text, operation);
    }
    text
}

fn about(word: &str) -> Result<String, NothingFound> {
    let mut text = String::new();
    let name = word.strip_prefix("stripe::").unwrap_or(word).replace("::", ".");
    let constructed = || resources().iter().find(|resource| constructor_name(resource) == word);
    if let Some(resource) = Resource::by_name(&name).or_else(constructed) {
        for operation in resource.operations {
            line(&mut text, operation);
        }
        explain(&mut text, resource.operations.iter());
        let _ = writeln!(text, "\nFor the request itself: {}", OPTION_SETTERS.join(", "));
    } else if let Ok(operation) = Operation::by_name(&name) {
        line(&mut text, operation);
        explain(&mut text, std::iter::once(operation));
    } else {
        search(&mut text, word);
    }
    if text.is_empty() {
        return Err(nothing_found(word));
    }
    Ok(text)
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

fn explain(text: &mut String, operations: impl Iterator<Item = &'static Operation>) {
    let _ = writeln!(
        text,
        "\nEvery operation also as …_async(…), which gives the request's id at once, and as a method of the resource's builder."
    );
    for operation in operations {
        if operation.known_params().next().is_none() {
            continue;
        }
        let builder = Resource::by_name(operation.resource())
            .map(constructor_name)
            .unwrap_or_default();
        let _ = writeln!(text, "\n{}  {builder}()", operation.name);
        for param in operation.known_params() {
            let required = if param.required { "  (required)" } else { "" };
            let clears = if param.clearable { "  (may be cleared)" } else { "" };
            let _ = writeln!(text, "  .{:<32} {}{required}{clears}", param.name, param.kind);
            let resource = Resource::by_name(operation.resource());
            let aliases = resource.into_iter().flat_map(aliases);
            for (alias, _) in aliases.filter(|(_, spelled)| *spelled == param.name) {
                let _ = writeln!(text, "  .{alias:<32} the same as .{}", param.name);
            }
        }
    }
}

/// Operations whose name or path has the word in it, and parameters whose name has.
fn search(text: &mut String, word: &str) {
    let word = word.to_lowercase();
    for operation in operations().chain(unnamed()) {
        let called = operation.name.replace('.', "::");
        if [operation.name, operation.path, &called]
            .iter()
            .any(|name| name.contains(&word))
        {
            line(text, operation);
        }
    }
    for operation in operations() {
        let mut found = Vec::new();
        for param in operation.known_params() {
            matches(param, "", &word, DEEPEST, &mut found);
        }
        for (path, kind) in found {
            let _ = writeln!(text, "{:<46} .{path}  {kind}", operation.name);
        }
    }
}

fn matches(param: &'static Param, parent: &str, word: &str, depth: usize, found: &mut Vec<(String, Kind)>) {
    let path = format!("{parent}{}", param.name);
    if param.name.contains(word) {
        found.push((path.clone(), param.kind));
    }
    within(&param.kind, &path, word, depth, found);
}

fn within(kind: &'static Kind, path: &str, word: &str, depth: usize, found: &mut Vec<(String, Kind)>) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match kind {
        Kind::Object(params) => {
            for param in *params {
                matches(param, &format!("{path}."), word, depth, found);
            }
        }
        Kind::List(item) => within(item, &format!("{path}[]"), word, depth, found),
        Kind::Map(entry) => within(entry, &format!("{path}.*"), word, depth, found),
        Kind::AnyOf(kinds) => kinds.iter().for_each(|kind| within(kind, path, word, depth, found)),
        _ => {}
    }
}

fn nothing_found(word: &str) -> NothingFound {
    let params = operations().flat_map(Operation::known_params).map(|param| param.name);
    let known = resources().iter().map(|resource| resource.name).chain(params);
    let hint = nearest(word, known).map_or_else(
        || "`inflight api` lists everything".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    NothingFound {
        word: word.chars().take(80).collect(),
        hint,
    }
}
