//! What is read from a script's syntax tree.

use std::collections::BTreeSet;

use inflight_stripe::{Method, Operation};
use rhai::{AST, ASTNode, Expr, FnCallExpr, Position, ScriptFnMetadata, Stmt, StmtBlock};

use crate::check::variable;
use crate::namespace::{ROOT, operation_of};

/// Parameters that give what is created a name which other requests may use for it.
const NAMING: [&str; 3] = ["id", "code", "lookup_key"];

/// A call that waits until Stripe has answered.
#[derive(Clone, Copy)]
pub(super) struct Blocking<'a> {
    pub(super) call: &'a FnCallExpr,
    pub(super) position: Position,
    /// Unknown for `stripe::raw`.
    pub(super) operation: Option<&'static Operation>,
    /// Whether it gives the whole object, not its id.
    pub(super) gives_object: bool,
    /// Whether nothing is done with what it gives but to give it on.
    pub(super) is_whole: bool,
}

/// The statements of each function and closure. Rhai shows them one after another only, and alone where there is one function.
pub(super) fn function_bodies(ast: &AST) -> Vec<Vec<Stmt>> {
    let body = |function: ScriptFnMetadata<'_>| {
        let (name, count) = (function.name, function.params.len());
        let alone = ast.clone_functions_only_filtered(|_, _, _, of, params| of == name && params == count);
        let mut statements = Vec::new();
        alone.walk(&mut |path: &[ASTNode]| {
            if let [ASTNode::Stmt(statement)] = path {
                statements.push((*statement).clone());
            }
            true
        });
        statements
    };
    ast.iter_functions().map(body).collect()
}

pub(super) fn blocking_function(call: &FnCallExpr, position: Position) -> Option<Blocking<'_>> {
    let path: Vec<&str> = call.namespace.path.iter().map(|step| step.name.as_str()).collect();
    let (&ROOT, path) = path.split_first()? else {
        return None;
    };
    let operation = operation_of(path, &call.name).filter(|operation| operation.verb() == call.name.as_str());
    let is_raw = path.is_empty() && call.name == "raw";
    (operation.is_some() || is_raw).then_some(Blocking {
        call,
        position,
        operation,
        gives_object: true,
        is_whole: true,
    })
}

/// Whether neither needs the other: both create something or both read, they mention nothing in common, and bear different names.
pub(super) fn are_independent(before: &(&str, &Stmt, Blocking<'_>), after: &(&str, &Stmt, Blocking<'_>)) -> bool {
    let kind = |call: &Blocking<'_>| {
        let operation = call.operation?;
        let reads = operation.method == Method::Get;
        (reads || operation.path_params.is_empty()).then_some(reads)
    };
    let (Some(first), Some(second)) = (kind(&before.2), kind(&after.2)) else {
        return false;
    };
    let (about_before, about_after) = (subjects(before.1), subjects(after.1));
    let needs = about_after.contains(before.0) || before.0 == after.0;
    let shares = !about_before.is_disjoint(&about_after)
        || !own_names(before.1).is_disjoint(&texts(after.1))
        || !own_names(after.1).is_disjoint(&texts(before.1));
    first == second && !needs && (first || !shares)
}

/// What a statement is about: variables, and texts that look like ids.
pub(super) fn subjects(statement: &Stmt) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(ASTNode::Stmt(statement), &mut |path| {
        if let Some(ASTNode::Expr(expression)) = path.last() {
            found.extend(variable(expression).map(str::to_owned));
            if let Expr::StringConstant(text, _) = expression
                && text
                    .split_once('_')
                    .is_some_and(|(_, rest)| rest.chars().any(|c| c.is_ascii_digit()))
            {
                found.insert(text.to_string());
            }
        }
    });
    found
}

fn texts(statement: &Stmt) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(ASTNode::Stmt(statement), &mut |path| {
        if let Some(ASTNode::Expr(Expr::StringConstant(text, _))) = path.last() {
            found.insert(text.to_string());
        }
    });
    found
}

/// The texts by which a statement makes what it creates known to others, as `.id("mug")` and `#{ id: "mug" }` do.
fn own_names(statement: &Stmt) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut add = |name: &str, value: &Expr| {
        if let Expr::StringConstant(text, _) = value
            && NAMING.contains(&name)
        {
            found.insert(text.to_string());
        }
    };
    walk(ASTNode::Stmt(statement), &mut |path| match path.last() {
        Some(ASTNode::Expr(Expr::MethodCall(call, _))) => call.args.iter().for_each(|value| add(&call.name, value)),
        Some(ASTNode::Expr(Expr::Map(map, _))) => map.0.iter().for_each(|(name, value)| add(&name.name, value)),
        _ => {}
    });
    found
}

/// `list.push(what)`.
pub(super) fn pushed(expression: &Expr) -> Option<(&str, &Expr)> {
    let Expr::Dot(pair, ..) = expression else {
        return None;
    };
    match (&pair.lhs, &pair.rhs) {
        (list @ Expr::Variable(..), Expr::MethodCall(call, _)) if call.name == "push" => {
            let [what] = &call.args[..] else { return None };
            Some((variable(list)?, what))
        }
        _ => None,
    }
}

pub(super) fn is_loop(statement: &Stmt) -> bool {
    matches!(statement, Stmt::For(..) | Stmt::While(..) | Stmt::Do(..))
}

pub(super) fn is_empty_list(value: &Expr) -> bool {
    value
        .get_literal_value(None)
        .and_then(|value| value.into_array().ok())
        .is_some_and(|list| list.is_empty())
}

/// Whether a chain is calls to its end: no field, no index.
pub(super) fn is_all_methods(mut rest: &Expr) -> bool {
    loop {
        match rest {
            Expr::MethodCall(..) => return true,
            Expr::Dot(pair, ..) if matches!(pair.lhs, Expr::MethodCall(..)) => rest = &pair.rhs,
            _ => return false,
        }
    }
}

/// Whether a turn of a loop may end before its last statement. A `break` of a loop within counts too.
pub(super) fn skips(body: &StmtBlock) -> bool {
    let mut found = false;
    for statement in body.statements() {
        walk(ASTNode::Stmt(statement), &mut |path| {
            found |= matches!(path.last(), Some(ASTNode::Stmt(Stmt::BreakLoop(..))));
        });
    }
    found
}

/// The line in which a variable of this name is mentioned.
pub(super) fn mentioned(node: ASTNode<'_>, name: &str) -> Option<usize> {
    let mut line = None;
    walk(node, &mut |path| {
        if let Some(ASTNode::Expr(expression)) = path.last()
            && variable(expression) == Some(name)
        {
            line = line.or(expression.position().line());
        }
    });
    line
}

/// Sees a node and all within it, each with the path that leads there.
pub(super) fn walk(node: ASTNode<'_>, see: &mut dyn FnMut(&[ASTNode<'_>])) {
    let mut on_node = |path: &[ASTNode<'_>]| {
        see(path);
        true
    };
    match node {
        ASTNode::Stmt(statement) => statement.walk(&mut Vec::new(), &mut on_node),
        ASTNode::Expr(expression) => expression.walk(&mut Vec::new(), &mut on_node),
        _ => true,
    };
}

/// The line of a `return` or `throw` that leaves more than a loop.
pub(super) fn returns(whole: &Stmt) -> Option<usize> {
    let mut line = None;
    walk(ASTNode::Stmt(whole), &mut |path| {
        if let Some(ASTNode::Stmt(Stmt::Return(_, _, position))) = path.last() {
            line = line.or(position.line());
        }
    });
    line
}
