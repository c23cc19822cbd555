//! The packages: what a registry and a reader are told of each, and the oldest Rust that they need.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use support::packages;

/// What a registry takes. <https://doc.rust-lang.org/cargo/reference/manifest.html#the-keywords-field>
const MOST_KEYWORDS: usize = 5;
const LONGEST_KEYWORD: usize = 20;

/// The packages that are published, by their names.
fn published() -> BTreeMap<String, Value> {
    packages()
        .into_iter()
        .filter(|package| package["publish"].is_null())
        .map(|package| (text(&package["name"]), package))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn list(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// The words of a file of the repository, wherever its lines are broken.
fn words(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_package_says_what_it_is() {
    let packages = published();
    assert_eq!(packages.len(), 9, "{:?}", packages.keys());
    for (name, package) in &packages {
        for field in ["description", "license", "readme"] {
            assert!(!text(&package[field]).is_empty(), "{name} has no {field}");
        }
        let keywords = list(&package["keywords"]);
        assert!((1..=MOST_KEYWORDS).contains(&keywords.len()), "{name}: {keywords:?}");
        assert!(
            keywords.iter().all(|word| word.len() <= LONGEST_KEYWORD),
            "{name}: {keywords:?}"
        );
        assert!(!list(&package["categories"]).is_empty(), "{name} has no categories");
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE"] {
            assert!(folder.join(file).is_file(), "{name} has no {file}");
        }
    }
}

/// Without a version a package cannot be published.
#[test]
fn what_a_package_depends_on_has_a_version() {
    for (name, package) in published() {
        for dependency in package["dependencies"].as_array().unwrap() {
            let is_of_tests = dependency["kind"] == "dev";
            assert!(
                is_of_tests || dependency["req"] != "*",
                "{name} depends on any version of {}",
                dependency["name"]
            );
        }
    }
}

/// What needs the store needs sqlx, and sqlx needs a newer Rust than everything else.
#[test]
fn the_oldest_rust_is_what_the_documentation_says() {
    let packages = published();
    let versions: BTreeMap<&str, String> = packages
        .iter()
        .map(|(name, package)| (name.as_str(), text(&package["rust_version"])))
        .collect();
    let (all, store) = (&versions["inflight-core"], &versions["inflight-store"]);
    for (name, version) in &versions {
        let wanted = match *name {
            "inflight-store" | "inflight-cli" => store,
            _ => all,
        };
        assert_eq!(version, wanted, "{name}");
    }
    assert!(words("README.md").contains(&format!("Rust {store} or newer")));
    let contributing = words("CONTRIBUTING.md");
    assert!(contributing.contains(&format!("The crates need Rust {all}.")));
    assert!(contributing.contains(&format!("need {store}, which sqlx asks for")));
    assert!(contributing.contains(&format!("rustup toolchain install {all} {store} ")));
    let gate = words(".ci/run");
    assert!(gate.contains(&format!("with_rust {all} ")) && gate.contains(&format!("with_rust {store} ")));
}
