//! The layers: which crate may depend on which, and what the lower ones do without.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use support::packages;

/// Of ours, all that each crate may depend on.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("inflight-core", &[]),
    ("inflight-transport", &["inflight-core"]),
    ("inflight-stripe", &["inflight-core"]),
    ("inflight-rhai", &["inflight-core"]),
    (
        "inflight-stripe-rhai",
        &["inflight-stripe", "inflight-rhai", "inflight-core"],
    ),
    ("inflight-store", &["inflight-core"]),
    ("inflight-sim", &["inflight-stripe", "inflight-core"]),
    (
        "inflight",
        &[
            "inflight-core",
            "inflight-transport",
            "inflight-stripe",
            "inflight-rhai",
            "inflight-stripe-rhai",
            "inflight-sim",
            "inflight-store",
        ],
    ),
    ("inflight-cli", &["inflight", "inflight-sim"]),
];

/// What a crate knows nothing of, directly.
const FORBIDDEN: [(&str, &[&str]); 5] = [
    ("inflight-core", &["tokio", "reqwest", "hyper", "rhai"]),
    ("inflight-stripe", &["tokio", "reqwest", "hyper", "rhai"]),
    ("inflight-transport", &["rhai"]),
    ("inflight-rhai", &["reqwest", "hyper"]),
    ("inflight-store", &["reqwest", "hyper", "rhai"]),
];

/// The normal dependencies of each package of the workspace.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    packages()
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().expect("dependencies").iter();
            let normal = dependencies.filter(|dependency| dependency["kind"].is_null());
            (
                text(&package["name"]),
                normal.map(|dependency| text(&dependency["name"])).collect(),
            )
        })
        .collect()
}

#[test]
fn crates_depend_on_the_layers_below_them_only() {
    let dependencies = dependencies();
    for (package, allowed) in ALLOWED {
        let ours = dependencies[package].iter().filter(|name| name.starts_with("inflight"));
        let too_many: Vec<_> = ours.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(too_many.is_empty(), "{package} must not depend on {too_many:?}");
    }
    let known: BTreeSet<&str> = ALLOWED.iter().map(|(package, _)| *package).collect();
    for package in dependencies.keys() {
        let outside = matches!(package.as_str(), "inflight-examples" | "inflight-benches");
        assert!(
            outside || known.contains(package.as_str()),
            "{package} has no place in the layers"
        );
    }
}

#[test]
fn lower_layers_know_nothing_of_what_is_above_them() {
    let dependencies = dependencies();
    for (package, forbidden) in FORBIDDEN {
        for name in forbidden {
            assert!(
                !dependencies[package].contains(*name),
                "{package} must not depend on {name}"
            );
        }
    }
}
