//! The typed builders.

use std::collections::BTreeMap;

use crate::Operation;

/// File names and texts.
pub(crate) fn render(_resources: &BTreeMap<String, Vec<Operation>>) -> Vec<(String, String)> {
    Vec::new()
}
