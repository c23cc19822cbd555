//! `inflight api`.

use std::fmt::Write;
use std::io;

use inflight::stripe::{Operation, Param, Resource, nearest, resources};
use inflight::stripe_rhai::{OPTION_SETTERS, aliases, constructor_name};

use crate::OK;
use crate::args::ApiArguments;
use crate::stream::say;

/// A resource that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("there is no resource `{name}`: {hint}")]
pub(crate) struct UnknownResource {
    name: String,
    hint: String,
}

/// Prints the operations, and one resource's parameters.
pub(crate) fn api(arguments: &ApiArguments) -> Result<u8, Box<dyn std::error::Error>> {
    let mut text = String::new();
    match &arguments.resource {
        None => {
            for resource in resources() {
                for operation in resource.operations {
                    line(&mut text, resource, operation);
                }
            }
        }
        Some(name) => {
            let resource = Resource::by_name(name).ok_or_else(|| unknown(name))?;
            for operation in resource.operations {
                line(&mut text, resource, operation);
            }
            parameters(&mut text, resource);
        }
    }
    say(io::stdout(), &text);
    Ok(OK)
}

/// `product.create  POST /v1/products  new_product().create()`
fn line(text: &mut String, resource: &Resource, operation: &Operation) {
    let ids = operation.path_params.join(", ");
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "{:<40} {:<6} {:<58} {}().{}({ids})",
        operation.name,
        operation.method.as_str(),
        operation.path,
        constructor_name(resource),
        operation.verb(),
    );
}

fn parameters(text: &mut String, resource: &Resource) {
    let _ = writeln!(
        text,
        "\nEvery operation also as …_async(…), which gives the request's id at once."
    );
    for operation in resource.operations {
        let params: Vec<&Param> = operation.params().collect();
        if params.is_empty() {
            continue;
        }
        let _ = writeln!(text, "\n{}", operation.name);
        for param in params {
            let required = if param.required { "  (required)" } else { "" };
            let _ = writeln!(text, "  .{:<32} {}{required}", param.name, param.kind);
            for (alias, _) in aliases(resource).filter(|(_, spelled)| *spelled == param.name) {
                let _ = writeln!(text, "  .{alias:<32} the same as .{}", param.name);
            }
        }
    }
    let _ = writeln!(text, "\nFor the request itself: .{}", OPTION_SETTERS.join(", ."));
}

fn unknown(name: &str) -> UnknownResource {
    let known = resources().iter().map(|resource| resource.name);
    let hint = nearest(name, known.clone()).map_or_else(
        || format!("known are {}", known.collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    UnknownResource {
        name: name.chars().take(80).collect(),
        hint,
    }
}
