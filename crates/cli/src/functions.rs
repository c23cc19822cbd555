//! `inflight functions`.

use std::fmt::Write;

use inflight::rhai::FunctionDoc;
use inflight::stripe::pages::Pages;
use inflight::stripe::{Operation, Resource, nearest, resources};
use inflight::stripe_rhai::{constructor_name, reference};

use crate::OK;
use crate::args::FunctionsArguments;
use crate::stream::say;
use crate::text::printable;

const HEAD: &str = "\
# The script API

Every function that a script can call, from the functions' own documentation: `inflight functions --markdown` prints
this page, `inflight functions NAME` one function. [What a script can say](../scripts.md) tells the same as a story,
[errors](../errors.md) what to do about each error.

A signature names what a function takes and gives: `number` is an integer or a float, `any` what the text says. Where
there is no arrow it gives `()`. `batch.add(…)` may also be called as `add(batch, …)`. Every function throws
`invalid_argument` for an argument that it cannot use, and `no_session` in an engine without a session. Every example
runs, as it stands, on the simulator.
";

const CONSTANTS: &str = "
## Constants

They can be used and not changed. A closure (`|| …`) does not see the first two: take the one that it needs into a
variable before, `let key = STRIPE_API_KEY;`.

| constant | what it is |
|---|---|
| `STRIPE_API_KEY` | the host's key, which can be used and not read. Absent where the host has none |
| `STRIPE_WEBHOOK_SECRET` | the secret of the host's webhook endpoint, which verifies and can be neither read nor signed with. Absent where the host has none, as in `inflight run` |
| `stripe::unset` | as a parameter's value it clears the parameter at Stripe; `()` leaves the parameter out |
";

const CATALOGUE: &str = "
## Stripe's operations

The functions below are those of the catalogue. `stripe::product::update(id, parameters, options)` waits for the whole
object as a map: the ids of the path go first, and the last two may be left out. `stripe::product::update_async(…)`
gives the request's id at once. On a builder, `new_product().name(\"Mug\").update(id)` does the same. An operation
marked with `*` gives pages: its twin with `_all` gives every object. `inflight api RESOURCE` shows all parameters with
their types.

| resource | builder | operations |
|---|---|---|
";

/// A name that no function has.
#[derive(Debug, thiserror::Error)]
#[error("there is no function `{name}`: {hint}")]
struct NoSuchFunction {
    name: String,
    hint: String,
}

/// Prints all signatures, all that is known of one function, or the page of the documentation.
pub(crate) fn functions(arguments: &FunctionsArguments) -> Result<u8, Box<dyn std::error::Error>> {
    let text = match &arguments.name {
        _ if arguments.markdown => page(),
        Some(name) => about(name)?,
        None => signatures(),
    };
    say(&text);
    Ok(OK)
}

fn signatures() -> String {
    let mut text = String::new();
    let mut group = "";
    for entry in reference() {
        if entry.group != group {
            let between = if group.is_empty() { "" } else { "\n" };
            let _ = writeln!(text, "{between}{}", entry.group);
            group = entry.group;
        }
        for signature in &entry.signatures {
            let _ = writeln!(text, "  {signature}");
        }
    }
    let _ = writeln!(
        text,
        "\n`inflight functions NAME` explains one; `inflight api` lists Stripe's operations."
    );
    text
}

fn about(name: &str) -> Result<String, NoSuchFunction> {
    let all = reference();
    let is_meant = |entry: &&FunctionDoc| {
        let mut functions = entry.functions();
        entry.name == name || functions.any(|full| full == name || full.rsplit("::").next() == Some(name))
    };
    let found: Vec<String> = all.iter().filter(is_meant).map(plain).collect();
    if !found.is_empty() {
        return Ok(found.join("\n"));
    }
    let hint = nearest(name, all.iter().flat_map(FunctionDoc::functions)).map_or_else(
        || "`inflight functions` lists all, `inflight api` Stripe's operations".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Err(NoSuchFunction {
        name: printable(name).chars().take(80).collect(),
        hint,
    })
}

fn plain(entry: &FunctionDoc) -> String {
    let example: String = entry.example.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "{}\n\n{}\n\nExample:\n{example}",
        entry.signatures.join("\n"),
        entry.text
    )
}

/// The page `docs/generated/script-api.md`.
fn page() -> String {
    let mut text = HEAD.to_owned();
    let mut group = "";
    for entry in reference() {
        if entry.group != group {
            group = entry.group;
            let _ = writeln!(text, "\n## {group}");
            if !entry.introduction.is_empty() {
                let _ = writeln!(text, "\n{}", entry.introduction);
            }
        }
        let _ = writeln!(
            text,
            "\n### {}\n\n```text\n{}\n```\n\n{}\n\n```rhai\n{}```",
            entry.name,
            entry.signatures.join("\n"),
            entry.text,
            entry.example
        );
    }
    text.push_str(CONSTANTS);
    text.push_str(CATALOGUE);
    for resource in resources() {
        let operations: Vec<String> = resource.operations.iter().map(operation_name).collect();
        let _ = writeln!(
            text,
            "| `stripe::{}` | `{}()` | {} |",
            path(resource),
            constructor_name(resource),
            operations.join(", ")
        );
    }
    text
}

fn path(resource: &Resource) -> String {
    resource.name.replace('.', "::")
}

/// `update(id)`, `list*()`
fn operation_name(operation: &Operation) -> String {
    let pages = if Pages::gives(operation) { "\\*" } else { "" };
    format!("{}({}){pages}", operation.verb(), operation.path_params.join(", "))
}
