//! What an operation is called.

use std::collections::HashMap;

/// Names of v1 operations by their id in the specification.
pub(crate) struct Names<'a>(HashMap<&'a str, &'a str>);

impl<'a> Names<'a> {
    pub(crate) fn read(tsv: &'a str) -> Self {
        let rows = tsv.lines().filter(|line| !line.starts_with('#'));
        Self(rows.filter_map(|line| line.split_once('\t')).collect())
    }

    pub(crate) fn of(&self, id: &str, method: &str, path: &str) -> Option<String> {
        match path.strip_prefix("/v2/") {
            Some(rest) => Some(v2_name(method, rest)),
            None => self.0.get(id).map(|name| (*name).to_owned()),
        }
    }
}

/// `core/accounts/{id}/persons` is about a `v2.core.account_person`. A word after an id that is no plural is a verb.
fn v2_name(method: &str, path: &str) -> String {
    let (namespace, path) = path.split_once('/').unwrap_or(("", path));
    let mut words = Vec::new();
    let mut verb = None;
    let mut after_id = false;
    let mut plural = false;
    for segment in path.split('/') {
        if segment.starts_with('{') {
            after_id = true;
            continue;
        }
        let singular = segment.strip_suffix('s');
        if after_id && singular.is_none() {
            verb = Some(segment);
        } else {
            words.push(singular.unwrap_or(segment));
            plural = singular.is_some();
        }
        after_id = false;
    }
    let verb = verb.unwrap_or(match (method, after_id) {
        ("get", false) if plural => "list",
        ("get", _) => "retrieve",
        ("delete", _) => "delete",
        (_, true) => "update",
        (_, false) => "create",
    });
    format!("v2.{namespace}.{}.{verb}", words.join("_"))
}
