//! What a script is told when something fails, and what a host is told when a script does.

use std::error::Error;
use std::fmt;

use inflight_core::{Effect, Failure, ResultError, SubmitError, SubmitErrorKind};
use rhai::{AST, ASTNode, Dynamic, Engine, EvalAltResult, Expr, ImmutableString, Map, Position, Stmt};

/// The fields of the map that a failed request throws, beside `kind`, `message`, `effect` and `retryable`.
const OPTIONAL_FIELDS: [&str; 5] = ["status", "code", "param", "decline_code", "request_id"];

/// The map that a script catches for this failure.
///
/// `kind`, `message`, `status`, `code`, `param`, `decline_code`, `request_id`, `effect`, `retryable`; a field that is not known
/// is `()`. `details` is a map of what else the other side said. Its text is one readable line.
#[must_use]
pub fn failure_map(failure: &Failure) -> Map {
    let mut map = error_map(
        failure.kind.as_str(),
        &failure.message,
        failure.effect,
        failure.retryable,
    );
    let mut set = |name: &str, value: Option<Dynamic>| {
        if let Some(value) = value {
            map.insert(name.into(), value);
        }
    };
    set("status", failure.status().map(|status| i64::from(status).into()));
    set("code", failure.code.as_deref().map(Into::into));
    set("param", failure.param.as_deref().map(Into::into));
    set("decline_code", failure.decline_code.as_deref().map(Into::into));
    set("request_id", failure.request_id.as_deref().map(Into::into));
    let details = failure.details.iter();
    let details: Map = details.map(|(name, text)| ((*name).into(), (&**text).into())).collect();
    map.insert("details".into(), details.into());
    map
}

pub(crate) fn error_map(kind: &str, message: &str, effect: Effect, retryable: bool) -> Map {
    let mut map = Map::new();
    map.insert("kind".into(), kind.into());
    map.insert("message".into(), message.into());
    map.insert("effect".into(), effect.as_str().into());
    map.insert("retryable".into(), retryable.into());
    for name in OPTIONAL_FIELDS {
        map.insert(name.into(), Dynamic::UNIT);
    }
    map.insert("details".into(), Map::new().into());
    map
}

/// An error that a script can catch, as the same kind of map that a failed request throws, with effect `none`.
#[must_use]
pub fn script_error(kind: &str, message: &str) -> Box<EvalAltResult> {
    thrown(error_map(kind, message, Effect::None, false))
}

/// The error of a call of a function that does not exist, with a better message than Rhai's own. Rhai does not say where the
/// call is; the name, in the field `function`, lets the script's text be searched for it.
#[must_use]
pub fn unknown_function_error(kind: &str, message: &str, function: &str) -> Box<EvalAltResult> {
    let mut map = error_map(kind, message, Effect::None, false);
    map.insert("function".into(), function.into());
    thrown(map)
}

/// The error of a failed request.
#[must_use]
pub fn failure_error(failure: &Failure) -> Box<EvalAltResult> {
    thrown(failure_map(failure))
}

/// The error of a request that was not accepted: nothing of it was sent.
#[must_use]
pub fn submit_error(error: &SubmitError) -> Box<EvalAltResult> {
    not_submitted(error.kind())
}

/// The error of requests that were not accepted for this reason.
pub(crate) fn not_submitted(reason: SubmitErrorKind) -> Box<EvalAltResult> {
    let kind = match reason {
        SubmitErrorKind::Closed => "shutdown",
        // What the other side would answer.
        SubmitErrorKind::KeyReused => "idempotency_error",
        _ => "queue_full",
    };
    thrown(error_map(
        kind,
        &reason.to_string(),
        Effect::None,
        reason.is_temporary(),
    ))
}

/// The error of a question about a request that has no answer.
#[must_use]
pub(crate) fn result_error(error: ResultError) -> Box<EvalAltResult> {
    match error {
        ResultError::Unknown => script_error("unknown_request", "no request of this script has that id"),
        ResultError::Pending => thrown(error_map(
            "not_completed",
            "not completed yet: ask is_complete first, or use await_result",
            Effect::None,
            true,
        )),
    }
}

pub(crate) fn thrown(map: Map) -> Box<EvalAltResult> {
    Box::new(EvalAltResult::ErrorRuntime(Dynamic::from(map), Position::NONE))
}

/// The one-line text of an error map, where this is one.
pub(crate) fn error_text(map: &Map) -> Option<String> {
    let text = |name: &str| {
        let value = map.get(name)?;
        value.read_lock::<ImmutableString>().map(|text| text.to_string())
    };
    let (kind, message, effect) = (text("kind")?, text("message")?, text("effect")?);
    map.get("retryable")?;
    let mut line = format!("{kind}: {}", message.replace(['\n', '\r'], " "));
    let mut details = Vec::new();
    if let Some(status) = map.get("status").and_then(|status| status.as_int().ok()) {
        details.push(format!("status {status}"));
    }
    for (name, label) in [
        ("code", "code"),
        ("decline_code", "decline code"),
        ("param", "param"),
        ("request_id", "request"),
    ] {
        if let Some(value) = text(name) {
            details.push(format!("{label} {value}"));
        }
    }
    if effect != "none" {
        details.push(format!("effect {effect}"));
    }
    if !details.is_empty() {
        line.push_str(&format!(" ({})", details.join(", ")));
    }
    Some(line)
}

/// What ended a script that did not end well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ScriptErrorKind {
    /// It does not parse.
    Syntax,
    /// It threw something that it did not catch, or did what Rhai does not allow.
    Runtime,
    /// Its wall time ran out.
    TimeLimit,
    /// Its operations ran out.
    OperationLimit,
    /// It used up its stack.
    StackLimit,
    /// It held more memory than it may.
    HeapLimit,
    /// It was cancelled.
    Cancelled,
    /// A host function panicked.
    Panic,
    /// No stack could be had for it: too many scripts live at once.
    Admission,
    /// It is a run that is replayed, and it has changed since the run began: it asks for something else in the same place.
    ReplayDiverged,
    /// It is a run, and its journal cannot be read or written.
    Store,
}

impl ScriptErrorKind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Syntax,
        Self::Runtime,
        Self::TimeLimit,
        Self::OperationLimit,
        Self::StackLimit,
        Self::HeapLimit,
        Self::Cancelled,
        Self::Panic,
        Self::Admission,
        Self::ReplayDiverged,
        Self::Store,
    ];

    /// `syntax`, `runtime`, `time_limit`, `operation_limit`, `stack_limit`, `heap_limit`, `cancelled`, `panic`, `admission`,
    /// `replay_diverged` or `store_error`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::Runtime => "runtime",
            Self::TimeLimit => "time_limit",
            Self::OperationLimit => "operation_limit",
            Self::StackLimit => "stack_limit",
            Self::HeapLimit => "heap_limit",
            Self::Cancelled => "cancelled",
            Self::Panic => "panic",
            Self::Admission => "admission",
            Self::ReplayDiverged => "replay_diverged",
            Self::Store => "store_error",
        }
    }
}

/// Why a script did not end well, as one readable line with its position.
#[derive(Debug)]
pub struct ScriptError {
    kind: ScriptErrorKind,
    message: String,
    position: Position,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ScriptError {
    pub(crate) fn new(kind: ScriptErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            position: Position::NONE,
            source: None,
        }
    }

    pub(crate) fn at(mut self, position: Position) -> Self {
        self.position = position;
        self
    }

    /// At this place, unless it is known better.
    pub(crate) fn or_at(self, position: Position) -> Self {
        if self.position.is_none() {
            self.at(position)
        } else {
            self
        }
    }

    pub(crate) fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(source));
        self
    }

    /// From an error of a script with this syntax tree.
    pub(crate) fn in_script(engine: &Engine, ast: &AST, error: &EvalAltResult) -> Self {
        let mut described = Self::from_rhai(engine, error);
        // The position of a call around it is not where it is.
        if let EvalAltResult::ErrorRuntime(value, position) = innermost(error)
            && position.is_none()
            && let Some(map) = value.read_lock::<Map>()
            && let Some(name) = map.get("function").and_then(|name| name.read_lock::<ImmutableString>())
        {
            described.position = only_call(ast, &name);
        }
        described
    }

    /// From an error of Rhai's own, in the words of [`describe`].
    #[must_use]
    pub fn from_rhai(engine: &Engine, error: &EvalAltResult) -> Self {
        let kind = match error {
            EvalAltResult::ErrorParsing(..) => ScriptErrorKind::Syntax,
            _ => ScriptErrorKind::Runtime,
        };
        let (message, position) = describe(engine, error);
        Self::new(kind, message).at(position)
    }

    /// An error of this kind, for hosts that end a script themselves.
    #[must_use]
    pub fn of_kind(kind: ScriptErrorKind, message: &str) -> Self {
        Self::new(kind, one_line(message))
    }

    /// The error of a script that was cancelled.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(ScriptErrorKind::Cancelled, "the script was cancelled")
    }

    /// The same error once more, without its cause: for a script that is started again and fails again.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(self.kind, self.message.clone()).at(self.position)
    }

    /// The same error in other words, on one line.
    #[must_use]
    pub fn reworded(mut self, message: &str) -> Self {
        self.message = one_line(message);
        self
    }

    /// What kind of error.
    #[must_use]
    pub fn kind(&self) -> ScriptErrorKind {
        self.kind
    }

    /// One readable line, without the position.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn raw_position(&self) -> Position {
        self.position
    }

    /// The same error at another place, line and column counted from 1.
    #[must_use]
    pub fn at_line(self, line: usize, column: usize) -> Self {
        let position = match (u16::try_from(line), u16::try_from(column)) {
            (Ok(line), Ok(column)) if line > 0 => Position::new(line, column),
            _ => Position::NONE,
        };
        self.at(position)
    }

    /// Line and column, counted from 1.
    #[must_use]
    pub fn position(&self) -> Option<(usize, usize)> {
        Some((self.position.line()?, self.position.position().unwrap_or(1)))
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match self.position() {
            Some((line, column)) => write!(f, " (line {line}, column {column})"),
            None => Ok(()),
        }
    }
}

impl Error for ScriptError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}

/// The error that another one reports from inside a function or a module.
fn innermost(mut error: &EvalAltResult) -> &EvalAltResult {
    while let EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) = error {
        error = inner;
    }
    error
}

/// Where a function of this name is called, if it is called in one place only: a wrong position is worse than none.
fn only_call(ast: &AST, name: &str) -> Position {
    let mut calls = Vec::new();
    ast.walk(&mut |path: &[ASTNode]| {
        match path.last() {
            Some(
                ASTNode::Expr(Expr::MethodCall(call, position) | Expr::FnCall(call, position))
                | ASTNode::Stmt(Stmt::FnCall(call, position)),
            ) if call.name == name && !calls.contains(position) => calls.push(*position),
            _ => {}
        }
        true
    });
    match calls[..] {
        [position] => position,
        _ => Position::NONE,
    }
}

/// An error of Rhai's as one readable line without its position, and the position of what failed: of the innermost script
/// statement, not of the outermost call.
#[must_use]
pub fn describe(engine: &Engine, error: &EvalAltResult) -> (String, Position) {
    let mut position = error.position();
    let mut inner = error;
    while let EvalAltResult::ErrorInFunctionCall(_, _, next, _) | EvalAltResult::ErrorInModule(_, next, _) = inner {
        inner = next;
        if !inner.position().is_none() {
            position = inner.position();
        }
    }
    let text = match inner {
        EvalAltResult::ErrorRuntime(value, _) if value.is_unit() => "the script threw ()".to_owned(),
        EvalAltResult::ErrorRuntime(value, _) => crate::text::value_text(engine, value),
        EvalAltResult::ErrorDataRace(name, _) => {
            let name = if name.is_empty() {
                "a captured variable"
            } else {
                name.as_str()
            };
            format!("{name} is in use by a task that waits, or by itself; copy it first")
        }
        EvalAltResult::ErrorStackOverflow(_) => format!(
            "functions call one another more than {} levels deep, which is the limit",
            engine.max_call_levels()
        ),
        other => {
            let mut bare = other.to_string();
            // Rhai appends the position; ours is shown in one place.
            if let Some(end) = bare.rfind(" (line ") {
                bare.truncate(end);
            }
            bare
        }
    };
    (one_line(&text), position)
}

/// An error of Rhai's as one line with its place.
pub(crate) fn line_with_place(engine: &Engine, error: &EvalAltResult) -> String {
    let (message, position) = describe(engine, error);
    ScriptError::new(ScriptErrorKind::Runtime, message)
        .at(position)
        .to_string()
}

/// A text as one line of bounded length, without control characters.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 2000;
    let mut line: String = text
        .chars()
        .take(LONGEST)
        .map(|c| match c {
            '\n' | '\r' | '\t' => ' ',
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}
