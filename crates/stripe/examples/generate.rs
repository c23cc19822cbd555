//! Writes the tables under `src/generated/` from Stripe's OpenAPI specification (<https://github.com/stripe/openapi>).
//!
//! ```text
//! cargo run -p inflight-stripe --example generate -- path/to/openapi.spec3.json
//! ```
//!
//! The file may be packed (`.gz`). The specification does not say what the SDKs call an operation of v1; `data/sdk-names.tsv`
//! does. Those without a name there are old aliases; they go into a list of their own. Operations of v2 are named by rule.

#[path = "generate/builders.rs"]
mod builders;
#[path = "generate/names.rs"]
mod names;
#[path = "generate/tables.rs"]
mod tables;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use self::names::Names;

/// An operation as the specification has it.
struct Operation {
    /// `product.create`; empty where the SDKs have none.
    name: String,
    method: String,
    path: String,
    query: Vec<Property>,
    body: Vec<Property>,
    /// The body's content type, if it has one.
    content_type: Option<String>,
    /// The variant of `Answer`.
    answer: &'static str,
    /// The variant of `Server`.
    server: &'static str,
}

impl Operation {
    /// The names in braces in the path.
    fn ids(&self) -> Vec<&str> {
        let segments = self.path.split('/');
        segments
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .collect()
    }

    fn is_v2(&self) -> bool {
        self.path.starts_with("/v2/")
    }
}

/// A named schema: a parameter, or a property of a nested object.
struct Property {
    name: String,
    schema: Value,
    required: bool,
}

/// Everything that is written.
struct Catalogue {
    /// Operations by resource, sorted by name.
    resources: BTreeMap<String, Vec<Operation>>,
    /// Operations of v1 without a name, sorted by path and method.
    unnamed: Vec<Operation>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let spec = std::env::args().nth(1).ok_or("usage: generate SPEC.json[.gz]")?;
    let spec: Value = serde_json::from_slice(&read(Path::new(&spec))?)?;
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = fs::read_to_string(home.join("data/sdk-names.tsv"))?;

    let catalogue = read_operations(&spec, &Names::read(&names))?;
    let out = home.join("src/generated");
    let mut written = Vec::new();
    for (file, text) in builders::render(&catalogue.resources) {
        written.push(write(&out, &file, &text)?);
    }
    format(&written)?;
    // These are laid out by the generator: one parameter a line.
    for (file, text) in tables::render(&catalogue) {
        write(&out, &file, &text)?;
    }
    Ok(())
}

fn read(spec: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let bytes = fs::read(spec)?;
    if spec.extension().is_some_and(|extension| extension == "gz") {
        let mut unpacked = Vec::new();
        flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut unpacked)?;
        return Ok(unpacked);
    }
    Ok(bytes)
}

fn write(out: &Path, file: &str, text: &str) -> Result<PathBuf, Box<dyn Error>> {
    let path = out.join(file);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(&path, text)?;
    Ok(path)
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

fn read_operations(spec: &Value, names: &Names) -> Result<Catalogue, Box<dyn Error>> {
    let mut resources: BTreeMap<String, Vec<Operation>> = BTreeMap::new();
    let mut unnamed = Vec::new();
    for (path, methods) in spec["paths"].as_object().ok_or("the specification has no paths")? {
        for (method, operation) in methods.as_object().ok_or("a path has no methods")? {
            let id = operation["operationId"].as_str().unwrap_or_default();
            let name = names.of(id, method, path).unwrap_or_default();
            let operation = Operation {
                method: method.clone(),
                path: path.clone(),
                query: query(operation),
                body: body(operation),
                content_type: content_type(operation),
                answer: answer(spec, operation),
                server: server(operation)?,
                name,
            };
            match operation.name.rsplit_once('.') {
                Some((resource, _)) => resources.entry(resource.to_owned()).or_default().push(operation),
                None => unnamed.push(operation),
            }
        }
    }
    for operations in resources.values_mut() {
        operations.sort_by(|a, b| a.name.cmp(&b.name));
    }
    unnamed.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    eprintln!(
        "{} resources, {} named operations; {} of the specification have no SDK name",
        resources.len(),
        resources.values().map(Vec::len).sum::<usize>(),
        unnamed.len(),
    );
    Ok(Catalogue { resources, unnamed })
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

fn content_type(operation: &Value) -> Option<String> {
    let content = operation["requestBody"]["content"].as_object()?;
    content.keys().next().cloned()
}

/// What kind of answer the schema of a success describes.
fn answer(spec: &Value, operation: &Value) -> &'static str {
    let Some(schema) = operation["responses"]["200"]["content"]["application/json"].get("schema") else {
        return "File";
    };
    let name = schema["$ref"].as_str().unwrap_or_default();
    let name = name.rsplit('/').next().unwrap_or_default();
    if name.starts_with("deleted_") || name.ends_with(".deleted_object") {
        return "Deleted";
    }
    let schema = if name.is_empty() {
        schema
    } else {
        &spec["components"]["schemas"][name]
    };
    let properties = &schema["properties"];
    let object = |of: &str| properties["object"]["enum"] == serde_json::json!([of]);
    if object("search_result") {
        "Search"
    } else if properties["data"]["type"] == "array" && (object("list") || !properties["next_page_url"].is_null()) {
        "List"
    } else {
        "Object"
    }
}

fn server(operation: &Value) -> Result<&'static str, Box<dyn Error>> {
    match operation["servers"][0]["url"].as_str() {
        None => Ok("Api"),
        Some("https://files.stripe.com/") => Ok("Files"),
        Some("https://meter-events.stripe.com/") => Ok("MeterEvents"),
        Some(other) => Err(format!("an operation is served by {other}, which `Server` does not know").into()),
    }
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
