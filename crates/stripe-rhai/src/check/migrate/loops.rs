//! Calls that wait in each turn of a loop.

use rhai::{ASTNode, Expr, Position, Stmt, StmtBlock};

use super::syntax::{is_empty_list, mentioned, pushed, returns, skips, walk};
use super::{Finder, variable};
use crate::check::source::{Edits, Place, Source};

/// Functions that wait, beside Stripe's operations, or may: `call` calls any.
const WAITS: [&str; 12] = [
    "await_result",
    "await_object",
    "await_all",
    "await_settled",
    "await_any",
    "await_race",
    "await_batch",
    "call",
    "each",
    "join",
    "sleep",
    "sleep_ms",
];

impl<'a> Finder<'_> {
    pub(super) fn within_loop(
        &mut self,
        statements: &'a [Stmt],
        at: usize,
        body: &'a StmtBlock,
        condition: Option<&'a Expr>,
    ) {
        self.block(body.statements());
        let whole = &statements[at];
        let of_body = body
            .statements()
            .iter()
            .flat_map(|statement| self.all_blocking(ASTNode::Stmt(statement)));
        let of_condition = condition
            .into_iter()
            .flat_map(|guard| self.all_blocking(ASTNode::Expr(guard)));
        let calls: Vec<(String, Position)> = of_body.chain(of_condition).collect();
        let Some((name, position)) = calls.first() else { return };
        let mut edits = Edits::default();
        let outcome = if let Some((second, at)) = calls.get(1) {
            let line = at.line().unwrap_or(1);
            Err(format!(
                ", and so does `{second}` in line {line}: one may need what the other has done"
            ))
        } else if let Some(other) = self.waits_or_calls(whole) {
            Err(format!(", which also calls `{other}`"))
        } else {
            self.rewrite_loop(statements, at, body, *position, &mut edits)
        };
        let (message, edits) = match outcome {
            Ok(()) => (
                format!(
                    "`{name}` waits in each turn of the loop: start them all, and wait once after it \
                     (for more than 1,000 turns, use `each`)"
                ),
                Some(edits),
            ),
            Err(why) => (
                format!("`{name}` waits in each turn of the loop{why}: left as it is"),
                None,
            ),
        };
        self.push(*position, message, edits.as_ref());
    }

    /// A function that waits, or one of the script's own or in a variable, which may.
    pub(super) fn waits_or_calls(&self, whole: &'a Stmt) -> Option<String> {
        let mut found = None;
        walk(ASTNode::Stmt(whole), &mut |path| {
            let (call, is_method) = match path.last() {
                Some(ASTNode::Stmt(Stmt::FnCall(call, _)) | ASTNode::Expr(Expr::FnCall(call, _))) => (call, false),
                Some(ASTNode::Expr(Expr::MethodCall(call, _))) => (call, true),
                _ => return,
            };
            let name = call.name.as_str();
            let is_in_a_variable = !is_method && self.checker.variables.contains(name);
            let is_known = WAITS.contains(&name) || self.functions.contains(name) || is_in_a_variable;
            if !call.is_qualified() && is_known {
                found.get_or_insert_with(|| name.to_owned());
            }
        });
        found
    }

    fn rewrite_loop(
        &self,
        statements: &'a [Stmt],
        at: usize,
        body: &'a StmtBlock,
        position: Position,
        edits: &mut Edits,
    ) -> Result<(), String> {
        let whole = &statements[at];
        let shape = || ", in a place where the lines cannot be rewritten".to_owned();
        if matches!(whole, Stmt::Do(..)) {
            return Err(shape());
        }
        if let Some(line) = returns(whole) {
            return Err(format!(
                ", which may be left in line {line} for good, before it is waited for"
            ));
        }
        let of_statement = |statement: &'a Stmt| Some((statement, self.called(statement)?));
        let direct = body.statements().iter().filter_map(of_statement);
        let mut direct = direct.filter(|(_, call)| call.is_whole && call.position == position);
        let (statement, first) = direct
            .next()
            .ok_or_else(|| ", where its result is used at once, or only in some turns".to_owned())?;
        let place = Source::place(position).ok_or_else(shape)?;
        let (name, end) = self.source.call(place, &first.call.name).ok_or_else(shape)?;
        let begin = Source::place(whole.position()).ok_or_else(shape)?;
        let close = Source::place(body.end_position()).ok_or_else(shape)?;
        if !self.source.is_first(begin) || !self.source.is_last((close.0, close.1 + 1)) || begin.0 == close.0 {
            return Err(shape());
        }
        edits.within.push((name, "_async".to_owned()));
        let (list, is_new) = match statement {
            Stmt::Expr(expression) if pushed(expression).is_some() => {
                let (list, _) = pushed(expression).ok_or_else(shape)?;
                (list.to_owned(), false)
            }
            Stmt::Var(parts, ..) => self.kept(body, statement, &parts.0.name, end, edits)?,
            _ => {
                if !self.source.ends_statement(end) {
                    return Err(shape());
                }
                let begins = match statement {
                    Stmt::Expr(expression) if !first.call.is_qualified() => Source::place(expression.start_position()),
                    _ => Some(self.source.path_begin(name)),
                };
                let begins = begins.ok_or_else(shape)?;
                let list = self.unused_name("pending");
                edits.within.push((begins, format!("{list}.push(")));
                edits.within.push((end, ")".to_owned()));
                (list, true)
            }
        };
        let indent = self.source.indent(begin.0);
        if is_new {
            edits.lines.push((begin.0, format!("{indent}let {list} = [];")));
        } else {
            self.is_filled_here_only(statements, at, &list)?;
        }
        let waiting = match (first.gives_object, is_new) {
            (_, true) => format!("await_all({list});"),
            (true, false) => format!("{list} = {list}.map(|id| await_object(id));"),
            (false, false) => format!("{list} = await_all({list});"),
        };
        edits.lines.push((close.0 + 1, format!("{indent}{waiting}")));
        Ok(())
    }

    /// What becomes of `let name = call;` in a loop: the list that its ids go to, and whether it is a new one.
    fn kept(
        &self,
        body: &'a StmtBlock,
        statement: &'a Stmt,
        name: &str,
        end: Place,
        edits: &mut Edits,
    ) -> Result<(String, bool), String> {
        let mut list = None;
        for other in body
            .statements()
            .iter()
            .filter(|other| !std::ptr::eq(*other, statement))
        {
            let Some(line) = mentioned(ASTNode::Stmt(other), name) else {
                continue;
            };
            match other {
                Stmt::Expr(expression) if pushed(expression).is_some_and(|(_, what)| variable(what) == Some(name)) => {
                    if list.is_some() {
                        return Err(format!(
                            ", and `{name}` is used twice before the loop ends (line {line})"
                        ));
                    }
                    list = pushed(expression).map(|(list, _)| list.to_owned());
                }
                _ => {
                    return Err(format!(
                        ", and its result `{name}` is used in line {line} before the loop ends"
                    ));
                }
            }
        }
        if let Some(list) = list {
            // What is skipped would be started, and never waited for.
            return match skips(body) {
                true => Err(format!(", which may go on before `{name}` is in `{list}`")),
                false => Ok((list, false)),
            };
        }
        if !self.source.ends_statement(end) || !self.source.is_last(end) {
            return Err(", in a place where the lines cannot be rewritten".to_owned());
        }
        let list = self.unused_name("pending");
        let indent = self.source.indent(statement.position().line().unwrap_or(1) - 1);
        edits.lines.push((end.0 + 1, format!("{indent}{list}.push({name});")));
        Ok((list, true))
    }

    /// Whether the list is empty before the loop, and nothing in the loop looks into it.
    fn is_filled_here_only(&self, statements: &'a [Stmt], at: usize, list: &str) -> Result<(), String> {
        let whole = ASTNode::Stmt(&statements[at]);
        let mut mentions = 0;
        walk(whole, &mut |path| {
            if let Some(ASTNode::Expr(expression)) = path.last()
                && variable(expression) == Some(list)
            {
                mentions += 1;
            }
        });
        let declared = statements[..at].iter().rposition(|statement| {
            matches!(statement, Stmt::Var(parts, ..) if parts.0.name.as_str() == list && is_empty_list(&parts.1))
        });
        let is_fresh = declared.is_some_and(|declared| {
            let mut between = statements[declared + 1..at].iter();
            between.all(|statement| mentioned(ASTNode::Stmt(statement), list).is_none())
        });
        if mentions > 1 {
            return Err(format!(", which looks into `{list}` before it ends"));
        }
        if !is_fresh {
            return Err(format!(
                ", and `{list}` may hold something else besides: it is not `[]` just before the loop"
            ));
        }
        Ok(())
    }
}
