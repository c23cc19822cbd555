//! Finds calls that wait one after another and need not, and how the lines would be.

mod loops;
mod syntax;

use std::collections::BTreeSet;

use inflight_core::DEFAULT_SESSION_PENDING;
use rhai::{ASTNode, BinaryExpr, Engine, Expr, Position, Stmt};

use self::syntax::{
    Blocking, are_independent, blocking_function, function_bodies, is_all_methods, is_loop, pushed, walk,
};
use super::source::{Edits, Source};
use super::{Checker, check_ast, continues, is_setter, methods, variable};
use crate::builder::{gives_object, setter};

/// Calls that wait one after another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The line of the first call, counted from 1.
    pub line: usize,
    /// Its column, counted from 1.
    pub column: usize,
    /// What waits, and what can be done or why it is left as it is.
    pub message: String,
    /// How the script would be, where it is known to do the same; else nothing.
    pub rewritten: Option<Rewritten>,
}

/// A script in which the calls of one [`Migration`] no longer wait for each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// The whole script.
    pub script: String,
    /// What differs: a line's number, counted from 1; whether it is a new one, which comes before the line of that number; and its text.
    pub lines: Vec<(usize, bool, String)>,
}

/// Finds calls that look blocking and wait in each turn of a loop, and those in consecutive `let` statements that do not need one another.
///
/// A loop is rewritten where it has one such call, does not wait otherwise, calls no function of the script, and does not use the result
/// but to push it to a list that it does not look into. Statements are rewritten where all create something or all read, and none mentions
/// what another one does. What is not rewritten is said where it is in a loop. What only functions and closures do that are called from a
/// loop is not seen. A script that does not parse has no migrations: [`check_script`](crate::check_script) says why.
#[must_use]
pub fn migrations(engine: &Engine, text: &str) -> Vec<Migration> {
    let Ok(ast) = engine.compile(text) else {
        return Vec::new();
    };
    let mut checker = Checker::new(engine, &ast);
    checker.learn_all(&ast);
    let bodies = function_bodies(&ast);
    let mut finder = Finder {
        checker,
        source: Source::new(text),
        findings: check_ast(engine, &ast).len(),
        functions: ast.iter_functions().map(|function| function.name.to_owned()).collect(),
        found: Vec::new(),
    };
    finder.block(ast.statements());
    for body in &bodies {
        finder.block(body);
    }
    let mut found = finder.found;
    found.sort_by_key(|migration| (migration.line, migration.column));
    found
}

struct Finder<'e> {
    checker: Checker<'e>,
    source: Source,
    /// How much is wrong with the script as it is.
    findings: usize,
    functions: BTreeSet<String>,
    found: Vec<Migration>,
}

impl<'a> Finder<'_> {
    fn block(&mut self, statements: &'a [Stmt]) {
        self.runs(statements);
        for (at, statement) in statements.iter().enumerate() {
            match statement {
                Stmt::For(parts, _) => self.within_loop(statements, at, &parts.2.body, None),
                Stmt::While(flow, _) | Stmt::Do(flow, ..) => {
                    self.within_loop(statements, at, &flow.body, Some(&flow.expr));
                }
                Stmt::If(flow, _) | Stmt::TryCatch(flow, _) => {
                    self.block(flow.body.statements());
                    self.block(flow.branch.statements());
                }
                Stmt::Block(block) => self.block(block.statements()),
                _ => {}
            }
        }
    }

    /// The call, where the expression is one or begins with one.
    fn blocking<'x>(&self, expression: &'x Expr) -> Option<Blocking<'x>> {
        match expression {
            Expr::Dot(pair, ..) => self.blocking_method(pair),
            Expr::FnCall(call, position) => blocking_function(call, *position),
            _ => None,
        }
    }

    fn blocking_method<'x>(&self, pair: &'x BinaryExpr) -> Option<Blocking<'x>> {
        let resource = self.checker.resource_of(&pair.lhs)?;
        let chain = methods(&pair.rhs);
        let (at, (call, position)) = chain
            .iter()
            .enumerate()
            .find(|(_, (call, _))| !is_setter(resource, &call.name) || resource.operation(&call.name).is_some())?;
        let operation = resource.operation(&call.name)?;
        // `confirm(true)` sets a parameter, and `confirm("pi_1")` is a call.
        let may_be_a_setter = setter(resource, &call.name).is_some() && call.args.len() == 1;
        if may_be_a_setter || call.args.len() != operation.path_params.len() {
            return None;
        }
        Some(Blocking {
            call,
            position: *position,
            operation: Some(operation),
            gives_object: gives_object(operation),
            is_whole: at + 1 == chain.len() && is_all_methods(&pair.rhs),
        })
    }

    /// The call that a statement makes and nothing else: `let name = …;`, `list.push(…);`, or the call alone.
    fn called(&self, statement: &'a Stmt) -> Option<Blocking<'a>> {
        match statement {
            Stmt::Var(parts, ..) => self.blocking(&parts.1),
            Stmt::FnCall(call, position) => blocking_function(call, *position),
            Stmt::Expr(expression) => self.blocking(pushed(expression).map_or(&**expression, |(_, what)| what)),
            _ => None,
        }
    }

    /// Names and positions of all calls that wait here, but for those in loops within.
    fn all_blocking(&self, node: ASTNode<'_>) -> Vec<(String, Position)> {
        let mut found = Vec::new();
        walk(node, &mut |path| {
            let is_in_a_loop = path
                .iter()
                .any(|node| matches!(node, ASTNode::Stmt(statement) if is_loop(statement)));
            let call = match path {
                _ if is_in_a_loop => None,
                [.., ASTNode::Stmt(Stmt::FnCall(call, position))] => blocking_function(call, *position),
                [.., parent, chain @ ASTNode::Expr(Expr::Dot(..))] if continues(parent, chain) => None,
                [.., ASTNode::Expr(expression)] => self.blocking(expression),
                _ => None,
            };
            found.extend(call.map(|call| (call.call.name.to_string(), call.position)));
        });
        found
    }

    /// A name that the script does not use.
    fn unused_name(&self, name: &str) -> String {
        let mut names = std::iter::once(name.to_owned()).chain((2..).map(|number| format!("{name}_{number}")));
        let is_free = |name: &String| !self.checker.variables.contains(name) && !self.functions.contains(name);
        names.find(is_free).unwrap_or_default()
    }

    /// Consecutive `let` statements whose calls do not need one another.
    fn runs(&mut self, statements: &'a [Stmt]) {
        let mut run: Vec<(&'a str, &'a Stmt, Blocking<'a>)> = Vec::new();
        for statement in statements {
            let next = self.declared(statement);
            let joins = next.is_some_and(|next| run.iter().all(|before| are_independent(before, &next)));
            if !joins {
                self.run(&run);
                run.clear();
            }
            run.extend(next);
        }
        self.run(&run);
    }

    /// `let name = call;`
    fn declared(&self, statement: &'a Stmt) -> Option<(&'a str, &'a Stmt, Blocking<'a>)> {
        let Stmt::Var(parts, flags, _) = statement else {
            return None;
        };
        let call = self.blocking(&parts.1).filter(|call| call.is_whole)?;
        if self.waits_or_calls(statement).is_some() || self.all_blocking(ASTNode::Stmt(statement)).len() > 1 {
            return None;
        }
        (flags.is_empty() && call.operation.is_some()).then_some((parts.0.name.as_str(), statement, call))
    }

    fn run(&mut self, run: &[(&'a str, &'a Stmt, Blocking<'a>)]) {
        let [(_, _, first), .., (_, last_statement, _)] = run else {
            return;
        };
        if run.len() > DEFAULT_SESSION_PENDING {
            let message = format!(
                "{} calls wait one after another and do not need each other, and a script may have \
                 {DEFAULT_SESSION_PENDING} requests pending: send them with `each`; left as it is",
                run.len()
            );
            return self.push(first.position, message, None);
        }
        let mut edits = Edits::default();
        let mut last_end = None;
        for (_, _, call) in run {
            let found = Source::place(call.position).and_then(|place| self.source.call(place, &call.call.name));
            let Some((name, end)) = found else { return };
            edits.within.push((name, "_async".to_owned()));
            last_end = Some(end);
        }
        let Some(end) = last_end.filter(|end| self.source.ends_statement(*end) && self.source.is_last(*end)) else {
            return;
        };
        let Some(begin) = Source::place(last_statement.position()) else {
            return;
        };
        let indent = self.source.indent(begin.0);
        for (name, _, call) in run {
            let wait = if call.gives_object {
                "await_object"
            } else {
                "await_result"
            };
            edits
                .lines
                .push((end.0 + 1, format!("{indent}let {name} = {wait}({name});")));
        }
        let message = format!(
            "{} calls wait one after another and do not need each other: start them together \
             (all are sent then, also where the first one fails)",
            run.len()
        );
        self.push(first.position, message, Some(&edits));
    }

    fn push(&mut self, position: Position, message: String, edits: Option<&Edits>) {
        let rewritten = edits.and_then(|edits| {
            let (script, lines) = self.source.with(edits);
            // What was misread in the text does not parse, or names something that does not exist.
            let ast = self.checker.engine.compile(&script).ok()?;
            let is_sound = check_ast(self.checker.engine, &ast).len() <= self.findings;
            is_sound.then_some(Rewritten { script, lines })
        });
        self.found.push(Migration {
            line: position.line().unwrap_or(1),
            column: position.position().unwrap_or(1),
            message,
            rewritten,
        });
    }
}
