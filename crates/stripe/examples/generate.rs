//! Writes the tables under `src/generated/` from Stripe's OpenAPI specification (<https://github.com/stripe/openapi>).
//!
//! ```text
//! cargo run -p inflight-stripe --example generate -- path/to/openapi.spec3.json
//! ```
//!
//! The specification does not say what the SDKs call an operation; `data/sdk-names.tsv` does. Operations without a name
//! there are left out, and counted.

#[path = "generate/builders.rs"]
mod builders;
#[path = "generate/tables.rs"]
mod tables;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The resources to write. To write all of them, empty this list.
const RESOURCES: &[&str] = &[
    "coupon",
    "customer",
    "payment_intent",
    "price",
    "product",
    "subscription",
];

/// An operation as the specification has it.
struct Operation {
    /// `product.create`
    name: String,
    method: String,
    path: String,
    query: Vec<Property>,
    body: Vec<Property>,
}

/// A named schema: a parameter, or a property of a nested object.
struct Property {
    name: String,
    schema: Value,
    required: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let spec = std::env::args().nth(1).ok_or("usage: generate SPEC.json (unpacked)")?;
    let spec: Value = serde_json::from_slice(&fs::read(spec)?)?;
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = fs::read_to_string(home.join("data/sdk-names.tsv"))?;
    let names = read_names(&names);

    let resources = read_operations(&spec, &names)?;
    let out = home.join("src/generated");
    let mut written = Vec::new();
    for (file, text) in tables::render(&resources)
        .into_iter()
        .chain(builders::render(&resources))
    {
        let path = out.join(file);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, text)?;
        written.push(path);
    }
    format(&written)
}

fn format(files: &[PathBuf]) -> Result<(), Box<dyn Error>> {
    let status = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .args(files)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err("rustfmt failed".into())
    }
}

fn read_names(tsv: &str) -> HashMap<&str, &str> {
    tsv.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .collect()
}

/// Operations by resource, sorted by name.
fn read_operations(
    spec: &Value,
    names: &HashMap<&str, &str>,
) -> Result<BTreeMap<String, Vec<Operation>>, Box<dyn Error>> {
    let mut resources: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    let mut unnamed = 0;
    for (path, methods) in spec["paths"].as_object().ok_or("the specification has no paths")? {
        for (method, operation) in methods.as_object().ok_or("a path has no methods")? {
            let id = operation["operationId"].as_str().unwrap_or_default();
            let Some(name) = names.get(id) else {
                unnamed += 1;
                continue;
            };
            let resource = name.rsplit_once('.').map_or(*name, |(resource, _)| resource);
            if !RESOURCES.is_empty() && !RESOURCES.contains(&resource) {
                continue;
            }
            resources.entry(resource.to_owned()).or_default().push(Operation {
                name: (*name).to_owned(),
                method: method.clone(),
                path: path.clone(),
                query: query(operation),
                body: body(operation),
            });
        }
    }
    for operations in resources.values_mut() {
        operations.sort_by(|a, b| a.name.cmp(&b.name));
    }
    eprintln!(
        "{} resources, {} operations; {unnamed} operations of the specification have no SDK name",
        resources.len(),
        resources.values().map(Vec::len).sum::<usize>(),
    );
    Ok(resources)
}

fn query(operation: &Value) -> Vec<Property> {
    let mut query: Vec<Property> = operation["parameters"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|p| p["in"] == "query")
        .map(|p| Property {
            name: p["name"].as_str().unwrap_or_default().to_owned(),
            schema: p["schema"].clone(),
            required: p["required"] == true,
        })
        .collect();
    query.sort_by(|a, b| a.name.cmp(&b.name));
    query
}

fn body(operation: &Value) -> Vec<Property> {
    let content = operation["requestBody"]["content"].as_object();
    let schema = content.and_then(|types| types.values().next()).map(|t| &t["schema"]);
    schema.map(properties).unwrap_or_default()
}

/// The properties of an object's schema, sorted by name.
fn properties(schema: &Value) -> Vec<Property> {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut properties: Vec<Property> = schema["properties"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, schema)| Property {
            name: name.clone(),
            schema: schema.clone(),
            required: required.contains(&name.as_str()),
        })
        .collect();
    properties.sort_by(|a, b| a.name.cmp(&b.name));
    properties
}

/// Whether this is the enum `[""]`, which says that a parameter may be cleared.
fn is_clearing(schema: &Value) -> bool {
    schema["enum"] == serde_json::json!([""])
}
