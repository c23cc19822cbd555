//! Calls of `stripe::…::…()`: whether there is such a function, and whether it takes what can be seen of the arguments.

use inflight_stripe::{Kind, Operation, Param, Value, nearest};
use rhai::{Expr, FnCallExpr, Namespace, Position};

use super::Finding;
use super::versions::Versions;
use crate::call::has_default;
use crate::convert::parameter;
use crate::namespace::{ROOT, UNSET, operation_of, unknown_function};
use crate::options::{OPTION_SETTERS, options_of, unknown_option};
use crate::pages;

/// What is wrong with a qualified call, whose full name (`stripe::product::create`) the engine knows or not.
pub(super) fn check(
    call: &FnCallExpr,
    position: Position,
    is_known: impl Fn(&str) -> bool,
    versions: &Versions,
    findings: &mut Vec<Finding>,
) {
    let path: Vec<&str> = call.namespace.path.iter().map(|step| step.name.as_str()).collect();
    let Some((&ROOT, path)) = path.split_first() else {
        return;
    };
    let full = [&[ROOT], path, &[&call.name]].concat().join("::");
    let Some(operation) = operation_of(path, &call.name) else {
        // It may be one that is no operation, such as `raw`.
        if !is_known(&full) {
            findings.push(Finding::at(position, unknown_function(path, &call.name)));
        }
        return;
    };
    // `list_all`: where a resource has an operation of that very name, it is not one of pages.
    let is_paged = operation.verb() != call.name.as_str() && call.name.ends_with(pages::SUFFIX);
    let ids = operation.path_params.len();
    if !(ids..=ids + 2).contains(&call.args.len()) {
        findings.push(Finding::at(position, wrong_arguments(operation, &full)));
        return;
    }
    let further: &[&str] = if is_paged {
        &pages::SETTINGS
    } else {
        options_of(operation)
    };
    let mut seen = Seen { findings };
    match call.args.get(ids) {
        _ if versions.of_call(call.args.get(ids + 1)) => {}
        Some(Expr::Map(entries, at)) => seen.parameters(operation, &entries.0, *at),
        None => seen.missing(operation.known_params(), |_| false, "", operation.name, position),
        Some(_) => {}
    }
    if let Some(Expr::Map(entries, _)) = call.args.get(ids + 1) {
        for (name, _) in &entries.0 {
            let known = OPTION_SETTERS.contains(&name.as_str()) || further.contains(&name.as_str());
            if !known {
                seen.push(name.pos, unknown_option(&name.name, further));
            }
        }
    }
}

/// What is wrong with a variable of a module: of `stripe`'s there is one.
pub(super) fn check_constant(module: &Namespace, name: &str, position: Position, findings: &mut Vec<Finding>) {
    if let [root] = &module.path[..]
        && root.name == ROOT
        && name != UNSET
    {
        let hint = nearest(name, [UNSET]).map_or_else(String::new, |near| format!(": did you mean `{ROOT}::{near}`?"));
        findings.push(Finding::at(position, format!("there is no `{ROOT}::{name}`{hint}")));
    }
}

/// How a function is called that was called with too few or too many arguments.
pub(crate) fn wrong_arguments(operation: &Operation, called: &str) -> String {
    let ids: Vec<&str> = operation.path_params.to_vec();
    let arguments = [&ids[..], &["parameters", "options"]].concat().join(", ");
    format!("`{called}` takes ({arguments}), of which the last two may be left out")
}

type Entries = [(rhai::Ident, Expr)];

struct Seen<'a> {
    findings: &'a mut Vec<Finding>,
}

impl Seen<'_> {
    fn push(&mut self, position: Position, message: impl Into<String>) {
        self.findings.push(Finding::at(position, message.into()));
    }

    fn parameters(&mut self, operation: &'static Operation, entries: &Entries, position: Position) {
        for (name, value) in entries {
            match operation.param(&name.name) {
                Some(param) => self.value(operation, param, value, &name.name),
                None => self.unknown(operation.known_params(), name, &name.name),
            }
        }
        let given = |name: &str| gives(entries, name);
        self.missing(operation.known_params(), given, "", operation.name, position);
    }

    fn unknown(&mut self, known: impl Iterator<Item = &'static Param>, name: &rhai::Ident, path: &str) {
        let hint = nearest(&name.name, known.map(|param| param.name))
            .map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
        self.push(name.pos, format!("unknown parameter `{path}`{hint}"));
    }

    fn missing(
        &mut self,
        params: impl Iterator<Item = &'static Param>,
        given: impl Fn(&str) -> bool,
        path: &str,
        operation: &str,
        position: Position,
    ) {
        for param in params.filter(|param| param.required && !given(param.name)) {
            if !has_default(operation, param.name) {
                self.push(position, format!("missing required parameter `{path}{}`", param.name));
            }
        }
    }

    fn value(&mut self, operation: &'static Operation, param: &'static Param, value: &Expr, path: &str) {
        if let Some(constant) = constant(value) {
            if let Err(mut error) = operation.check_param(param, &constant) {
                error.path = error.path.replacen(param.name, path, 1);
                self.push(value.position(), error.to_string());
            }
            return;
        }
        self.kind(operation, &param.kind, value, path);
    }

    /// A map or a list that is written out, of which not everything is known.
    fn kind(&mut self, operation: &'static Operation, kind: &'static Kind, value: &Expr, path: &str) {
        match (kind, value) {
            (Kind::Object(params), Expr::Map(entries, position)) => {
                for (name, value) in &entries.0 {
                    let path = format!("{path}.{}", name.name);
                    match params.iter().find(|param| param.name == name.as_str()) {
                        Some(param) => self.value(operation, param, value, &path),
                        None => self.unknown(params.iter(), name, &path),
                    }
                }
                let given = |name: &str| gives(&entries.0, name);
                self.missing(params.iter(), given, &format!("{path}."), "", *position);
            }
            (Kind::List(item), Expr::Array(items, _)) => {
                for (index, value) in items.iter().enumerate() {
                    self.kind(operation, item, value, &format!("{path}[{index}]"));
                }
            }
            _ => {}
        }
    }
}

/// Whether a map that is written out gives this name a value: `()` leaves it out.
fn gives(entries: &Entries, name: &str) -> bool {
    entries
        .iter()
        .any(|(given, value)| given.as_str() == name && !matches!(value, Expr::Unit(..)))
}

/// The value of an expression that is one whatever happens, and that is a parameter: not of `()`, which leaves it out.
pub(super) fn constant(value: &Expr) -> Option<Value> {
    parameter(&value.get_literal_value(None)?).ok()?
}
