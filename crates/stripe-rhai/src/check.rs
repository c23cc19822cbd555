//! Finds calls of builders, setters and functions that do not exist, without running the script.

mod migrate;
pub(crate) mod namespaced;
mod source;
mod versions;

pub use migrate::{Migration, Rewritten, migrations};

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use inflight_rhai::{BATCH_OPTIONS, EACH_OPTIONS};
use inflight_stripe::{Resource, nearest};
use rhai::{AST, ASTNode, Engine, Expr, FnCallExpr, FuncInfo, Position, Stmt};

use self::versions::Versions;

use crate::builder::{check_value, constructed_by, is_option, knows, setter, unknown_constructor, unknown_method};
use crate::configure::{self, unknown_setting};
use crate::options::{OPTION_SETTERS, unknown_name, unknown_option};

/// What Rhai itself answers to, beside its packages.
const BUILT_IN: [&str; 12] = [
    "print",
    "debug",
    "type_of",
    "eval",
    "Fn",
    "call",
    "curry",
    "is_shared",
    "is_def_var",
    "is_def_fn",
    "this",
    "to_string",
];

/// Something that a script gets wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The line, counted from 1.
    pub line: usize,
    /// The column, counted from 1.
    pub column: usize,
    /// What is wrong, in one line.
    pub message: String,
}

impl Finding {
    fn at(position: Position, message: String) -> Self {
        Self {
            line: position.line().unwrap_or(1),
            column: position.position().unwrap_or(1),
            message,
        }
    }
}

/// Parses a script and looks up every builder, setter, operation and function that it names, in the order of its lines.
///
/// `engine` has the bindings installed. A builder is followed through a chain of calls and through variables that hold
/// nothing else; a method of anything else is only known not to exist where no function of that name does.
#[must_use]
pub fn check_script(engine: &Engine, text: &str) -> Vec<Finding> {
    match engine.compile(text) {
        Ok(ast) => check_ast(engine, &ast),
        Err(error) => {
            let (message, position) = inflight_rhai::describe(engine, &error.into());
            vec![Finding::at(position, message)]
        }
    }
}

/// [`check_script`] for a script that is compiled already.
#[must_use]
pub fn check_ast(engine: &Engine, ast: &AST) -> Vec<Finding> {
    let mut findings = Checker::new(engine, ast).run(ast);
    findings.sort_by_key(|finding| (finding.line, finding.column));
    findings.dedup();
    findings
}

struct Checker<'e> {
    engine: &'e Engine,
    functions: BTreeSet<String>,
    /// Functions of modules, with their modules: `stripe::product::create`. There are thousands, and few scripts need the list.
    qualified: OnceCell<BTreeSet<String>>,
    /// Every variable and parameter, since one may hold a function.
    variables: BTreeSet<String>,
    /// Variables that hold a builder of one resource, wherever they are assigned.
    builders: HashMap<String, Option<&'static Resource>>,
    versions: Versions,
    findings: Vec<Finding>,
}

impl<'e> Checker<'e> {
    fn new(engine: &'e Engine, ast: &AST) -> Self {
        let mut functions: BTreeSet<String> = BUILT_IN.map(str::to_owned).into();
        let of_no_module = |info: FuncInfo<'_>| info.namespace.is_empty().then(|| info.metadata.name.to_string());
        functions.extend(engine.collect_fn_metadata(None, of_no_module, true));
        let mut variables = BTreeSet::new();
        for function in ast.iter_functions() {
            functions.insert(function.name.to_owned());
            variables.extend(function.params.iter().map(|name| (*name).to_owned()));
        }
        Self {
            engine,
            functions,
            qualified: OnceCell::new(),
            variables,
            builders: HashMap::new(),
            versions: Versions::default(),
            findings: Vec::new(),
        }
    }

    fn run(mut self, ast: &AST) -> Vec<Finding> {
        self.learn_all(ast);
        ast.walk(&mut |path: &[ASTNode]| {
            match path {
                [.., ASTNode::Stmt(Stmt::FnCall(call, position))] => self.function(call, *position),
                [.., parent, ASTNode::Expr(Expr::Dot(pair, ..))] if !continues(parent, &path[path.len() - 1]) => {
                    self.chain(&pair.lhs, &pair.rhs);
                }
                [ASTNode::Expr(Expr::Dot(pair, ..))] => self.chain(&pair.lhs, &pair.rhs),
                [.., ASTNode::Expr(Expr::FnCall(call, position))] => self.function(call, *position),
                [.., ASTNode::Expr(Expr::Variable(parts, _, position))] => {
                    namespaced::check_constant(&parts.2, &parts.1, *position, &mut self.findings);
                }
                _ => {}
            }
            true
        });
        self.findings
    }

    fn learn_all(&mut self, ast: &AST) {
        ast.walk(&mut |path: &[ASTNode]| {
            if let Some(node) = path.last() {
                self.versions.learn(node);
            }
            if let Some(ASTNode::Stmt(statement)) = path.last() {
                self.learn(statement);
            }
            true
        });
    }

    /// Which variables hold builders. One that is also given something else is not followed.
    fn learn(&mut self, statement: &Stmt) {
        match statement {
            Stmt::Var(parts, ..) => {
                let (name, value) = (parts.0.name.to_string(), &parts.1);
                self.variables.insert(name.clone());
                self.hold(name, value);
            }
            Stmt::Assignment(parts) => {
                if let Some(name) = variable(&parts.1.lhs) {
                    self.hold(name.to_owned(), &parts.1.rhs);
                }
            }
            Stmt::For(parts, ..) => {
                self.variables.insert(parts.0.name.to_string());
                self.builders.insert(parts.0.name.to_string(), None);
            }
            Stmt::TryCatch(parts, ..) => {
                if let Some(name) = variable(&parts.expr) {
                    self.variables.insert(name.to_owned());
                }
            }
            _ => {}
        }
    }

    fn hold(&mut self, name: String, value: &Expr) {
        let resource = self.resource_of(value);
        self.builders
            .entry(name)
            .and_modify(|known| {
                if *known != resource {
                    *known = None;
                }
            })
            .or_insert(resource);
    }

    /// The resource whose builder this expression gives.
    fn resource_of(&self, value: &Expr) -> Option<&'static Resource> {
        match value {
            Expr::FnCall(call, _) if call.args.is_empty() => constructed_by(&call.name),
            Expr::Variable(..) => *self.builders.get(variable(value)?)?,
            Expr::Dot(pair, ..) => {
                let resource = self.resource_of(&pair.lhs)?;
                methods(&pair.rhs)
                    .iter()
                    .all(|(call, _)| is_setter(resource, &call.name))
                    .then_some(resource)
            }
            _ => None,
        }
    }

    /// The calls on one value, in a row.
    fn chain(&mut self, first: &Expr, rest: &Expr) {
        let mut builder = self.resource_of(first);
        for (call, position) in methods(rest) {
            let name = call.name.as_str();
            if let Some(resource) = builder {
                on_builder(resource, call, !self.versions.of_builders(), &mut self.findings);
            }
            match builder {
                Some(resource) if !knows(resource, name) && !self.is_common(name) => {
                    self.findings
                        .push(Finding::at(position, unknown_method(resource, name)));
                    builder = None;
                }
                Some(resource) => builder = is_setter(resource, name).then_some(resource),
                None if !self.is_known(name) => self.unknown(name, position),
                None => {}
            }
        }
    }

    fn function(&mut self, call: &FnCallExpr, position: Position) {
        if call.is_qualified() {
            let is_known = |name: &str| self.qualified.get_or_init(|| qualified(self.engine)).contains(name);
            namespaced::check(call, position, is_known, &self.versions, &mut self.findings);
            return;
        }
        if let ("configure_stripe", [Expr::Map(entries, _)]) = (call.name.as_str(), &call.args[..]) {
            for (name, _) in &entries.0 {
                if !configure::SETTINGS.contains(&name.as_str()) {
                    self.findings.push(Finding::at(name.pos, unknown_setting(&name.name)));
                }
            }
        }
        let options = match (call.name.as_str(), &call.args[..]) {
            ("batch", [Expr::Map(entries, _)]) => Some((entries, &BATCH_OPTIONS[..])),
            ("each", [_, _, Expr::Map(entries, _)]) => Some((entries, &EACH_OPTIONS[..])),
            _ => None,
        };
        if let Some((entries, known)) = options {
            for (name, _) in &entries.0 {
                if !known.contains(&name.as_str()) {
                    let what = format!("option of {}", call.name);
                    let message = unknown_name(&name.name, &what, known);
                    self.findings.push(Finding::at(name.pos, message));
                }
            }
        }
        if call.op_token.is_some() || self.is_known(&call.name) {
            return;
        }
        if call.name.starts_with("new_") {
            self.findings
                .push(Finding::at(position, unknown_constructor(&call.name)));
        } else {
            self.unknown(&call.name, position);
        }
    }

    fn unknown(&mut self, name: &str, position: Position) {
        let hint = nearest(name, self.functions.iter().map(String::as_str))
            .map_or_else(String::new, |near| format!(": did you mean `{near}`?"));
        self.findings
            .push(Finding::at(position, format!("there is no function `{name}`{hint}")));
    }

    fn is_known(&self, name: &str) -> bool {
        self.functions.contains(name) || self.variables.contains(name) || name.contains('$')
    }

    /// What can be called on any value.
    fn is_common(&self, name: &str) -> bool {
        BUILT_IN.contains(&name) || name == "to_debug"
    }
}

/// What can be seen of the arguments of a builder's method: of a setter, `params` and `request_options`. Parameters are looked at where
/// they are the catalogue's.
fn on_builder(resource: &'static Resource, call: &FnCallExpr, of_catalogue: bool, findings: &mut Vec<Finding>) {
    let mut set = |name: &str, value: &Expr, position: Position| match setter(resource, name) {
        _ if !of_catalogue => {}
        Some((name, operation)) => {
            if let Some(value) = namespaced::constant(value)
                && let Err(error) = check_value(resource, operation, name, &value)
            {
                findings.push(Finding::at(position, error.to_string()));
            }
        }
        None if !is_option(resource, name) => {
            findings.push(Finding::at(position, unknown_method(resource, name)));
        }
        None => {}
    };
    match (call.name.as_str(), &call.args[..]) {
        ("params", [Expr::Map(entries, _)]) => {
            for (name, value) in &entries.0 {
                set(&name.name, value, name.pos);
            }
        }
        ("request_options", [Expr::Map(entries, _)]) => {
            for (name, _) in &entries.0 {
                if !OPTION_SETTERS.contains(&name.as_str()) {
                    findings.push(Finding::at(name.pos, unknown_option(&name.name, &[])));
                }
            }
        }
        (name, [value]) if setter(resource, name).is_some() && resource.operation(name).is_none() => {
            set(name, value, value.position());
        }
        _ => {}
    }
}

fn qualified(engine: &Engine) -> BTreeSet<String> {
    let with_module = |info: FuncInfo<'_>| Some(format!("{}::{}", info.namespace, info.metadata.name));
    engine
        .collect_fn_metadata(None, with_module, false)
        .into_iter()
        .collect()
}

/// The name of the variable that this expression is.
fn variable(expression: &Expr) -> Option<&str> {
    match expression {
        Expr::Variable(parts, ..) => Some(&parts.1),
        _ => None,
    }
}

/// Whether a setter of this name leaves a builder a builder.
fn is_setter(resource: &'static Resource, name: &str) -> bool {
    matches!(name, "params" | "request_options") || OPTION_SETTERS.contains(&name) || setter(resource, name).is_some()
}

/// Whether this chain is only the rest of the chain above it.
fn continues(parent: &ASTNode, chain: &ASTNode) -> bool {
    match (parent, chain) {
        (ASTNode::Expr(Expr::Dot(pair, ..)), ASTNode::Expr(chain)) => std::ptr::eq(&raw const pair.rhs, *chain),
        _ => false,
    }
}

/// The methods of a chain, in order, up to the first index.
fn methods(mut rest: &Expr) -> Vec<(&FnCallExpr, Position)> {
    let mut found = Vec::new();
    loop {
        match rest {
            Expr::MethodCall(call, position) => {
                found.push((&**call, *position));
                return found;
            }
            Expr::Dot(pair, ..) => match &pair.lhs {
                Expr::MethodCall(call, position) => {
                    found.push((&**call, *position));
                    rest = &pair.rhs;
                }
                _ => return found,
            },
            _ => return found,
        }
    }
}
